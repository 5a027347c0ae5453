"""The table of an estimate, as text and as a frame."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Summary:
    """Estimates with their uncertainty; `print` it.

    Attributes:
        facts: how they were found, by name.
        names: of the parameters.
        estimate: (p,).
        std_err: (p,).
        intervals: (p, 2).
        level: of the intervals.
    """

    facts: dict[str, str]
    names: tuple[str, ...]
    estimate: Floats
    std_err: Floats
    intervals: Floats
    level: float

    @property
    def z(self) -> Floats:
        """Estimates over their standard errors."""
        return self.estimate / self.std_err

    @property
    def p_value(self) -> Floats:
        """Of the test that a parameter is 0, two-sided."""
        return 2 * norm.sf(np.abs(self.z))

    def columns(self) -> dict[str, Any]:
        """The table's columns by name."""
        low, high = (f"{q:.3f}" for q in ((1 - self.level) / 2, (1 + self.level) / 2))
        return {
            "name": list(self.names),
            "estimate": self.estimate,
            "std err": self.std_err,
            "z": self.z,
            "P>|z|": self.p_value,
            f"[{low}": self.intervals[:, 0],
            f"{high}]": self.intervals[:, 1],
        }

    def to_frame(self) -> Any:
        """A frame of pandas, its index the names, or a table of pyarrow where pandas is not installed."""
        table = pa.table(self.columns())
        return table.to_pandas().set_index("name") if find_spec("pandas") else table

    def __str__(self) -> str:
        columns = self.columns()
        names = ["", *columns.pop("name")]
        cells = [names] + [[head, *(_cell(head, value) for value in values)] for head, values in columns.items()]
        widths = [max(map(len, column)) for column in cells]
        lines = [
            "  ".join([names[i].ljust(widths[0]), *(c[i].rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
            for i in range(len(names))
        ]
        rule = "-" * len(lines[0])
        wide = max(map(len, self.facts))
        facts = [f"{name.ljust(wide)}  {value}" for name, value in self.facts.items()]
        return "\n".join(["Score matching", *facts, rule, lines[0], rule, *lines[1:], rule])


def _cell(head: str, value: float) -> str:
    return f"{value:.3f}" if head in ("z", "P>|z|") else f"{value:.5g}"
