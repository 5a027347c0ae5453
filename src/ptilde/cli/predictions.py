"""What `ptilde predict` says of each row: the job, its columns and their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from ptilde.cli import work
from ptilde.launch.parts import OfTable


@dataclass(frozen=True)
class Predict(OfTable):
    """Mean, shares of the atoms and quantiles of the target of each row of a table."""

    levels: tuple[float, ...]
    exposure: str | None
    verb: ClassVar[str] = "predicting"
    kind: ClassVar[str] = "ScoreRegressor"

    def part(self, model: Any, rows: pa.Table, number: int) -> pa.Table:
        """A part, from its rows."""
        X = work.columns_of(rows, work.covariates_of(model), "TABLE")
        exposure = None if self.exposure is None else work.numbers_of(rows, self.exposure, "--exposure")
        mean, atoms = model.predict(X, exposure), model.predict_atoms(X, exposure)
        quantiles = model.predict_quantile(X, list(self.levels), exposure)
        names = list(model.schema_.columns)
        if len(names) == 1:
            mean, quantiles, atoms = mean[:, None], quantiles[:, :, None], {names[0]: atoms}
        found = {}
        for k, name in enumerate(names):
            of = "" if len(names) == 1 else f" {name}"
            found[f"mean{of}"] = mean[:, k]
            found |= {f"P(={atom:.10g}){of}": share for atom, share in atoms[name].items()}
            found |= {f"q{level:.10g}{of}": quantiles[:, i, k] for i, level in enumerate(self.levels)}
        return pa.table(found)
