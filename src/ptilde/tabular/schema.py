"""What each column of a table may hold: declared by a person or inferred, printed, corrected, checked.

A schema names every column of the table once, either with its kind or as left out with the reason.
"""

import difflib
import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde._validate import DataError
from ptilde.tabular import spelling
from ptilde.tabular.frames import Table, open_table
from ptilde.tabular.infer import infer_columns
from ptilde.tabular.kinds import (
    Body,
    Categorical,
    Count,
    Interval,
    Kind,
    Positive,
    Real,
    SemiContinuous,
    empty,
    is_missing,
    is_number,
    on_atom,
    on_grid,
    value_family,
)

__all__ = [
    "Body",
    "Categorical",
    "Count",
    "Interval",
    "Kind",
    "Positive",
    "Real",
    "Schema",
    "SemiContinuous",
    "on_atom",
    "on_grid",
]


@dataclass(frozen=True)
class Schema:
    """The kinds of a table's columns.

    Args:
        columns: the kind of each column that is modelled, in the order of the table.
        left_out: the columns that are not, with the reason.
        shares: for each column the share of rows on each atom or category when it was inferred; to be read, no more.
        notes: for each column a word on what was decided; to be read, no more.
    """

    columns: dict[str, Kind]
    left_out: dict[str, str] = field(default_factory=dict)
    shares: dict[str, dict[Any, float]] = field(default_factory=dict, compare=False, repr=False)
    notes: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.columns, Mapping) or not self.columns:
            raise DataError(f"`columns` must hold at least one column; got {self.columns!r}.")
        for name, kind in self.columns.items():
            if not isinstance(name, str):
                raise DataError(f"Column names must be strings; got {name!r}.")
            if not isinstance(kind, Kind):
                raise DataError(f"Column {name!r} must be a kind, such as Positive(); got {kind!r}.")
            if name in self.left_out:
                raise DataError(f"Column {name!r} must be either modelled or left out; got both.")

    @classmethod
    def infer(cls, table: object, sample_weight: ArrayLike | None = None) -> "Schema":
        """Find the kinds of a table's columns.

        Args:
            table: a pandas, polars or pyarrow table, a 2-D array, or what `open_table` returned.
            sample_weight: one weight a row. Whole weights count as repeated rows; others are scaled to mean one.
        """
        opened = table if isinstance(table, Table) else open_table(table)
        found = infer_columns(opened, sample_weight)
        columns = {name: finding.kind for name, finding in found.items() if finding.kind is not None}
        left_out = {name: finding.note for name, finding in found.items() if finding.kind is None}
        if not columns:
            reasons = "; ".join(f"{name!r} is {reason}" for name, reason in left_out.items())
            one = " A single row (n_samples=1, one sample) has no law to learn." if opened.num_rows == 1 else ""
            raise DataError(f"The table must have at least one column whose values vary; got {reasons}.{one}")
        shares = {name: found[name].shares for name in columns}
        return cls(columns, left_out, shares, {name: found[name].note for name in columns})

    def check(self, table: Table, holes: bool = False, absent: bool = False) -> dict[str, NDArray[Any]]:
        """The modelled columns of a table in the schema's order, or a `DataError` if they are not there.

        Columns in another order are put in order. A column that was left out may be there or not. Every column comes
        as its kind wants it: float64 for numbers, objects for strings and booleans. Values are not checked against
        the kind (`Kind.holds` does that), but empty cells are, where the kind has none.

        Args:
            table: what `open_table` returned.
            holes: whether any cell may be empty.
            absent: whether whole columns may be left out, which are then empty.
        """
        if absent:
            nothing = np.full(table.num_rows, np.nan)
            table = table._replace(columns=dict.fromkeys(self.columns, nothing) | table.columns)
        self._check_names(list(table.columns))
        kinds = {name: replace(kind, missing=True) if holes else kind for name, kind in self.columns.items()}
        return {name: _conform(name, kind, table.columns[name]) for name, kind in kinds.items()}

    def _check_names(self, names: list[str]) -> None:
        absent = [name for name in self.columns if name not in names]
        extra = [name for name in names if name not in self.columns and name not in self.left_out]
        if absent:
            near = [difflib.get_close_matches(name, extra, 1) for name in absent]
            hints = [f"rename {n[0]!r} to {name!r}" for name, n in zip(absent, near, strict=True) if n]
            cure = f"Perhaps {', '.join(hints)}." if hints else f"The table has {_listed(names)}."
            raise DataError(f"The table must have the columns of the schema; got none named {_listed(absent)}. {cure}")
        if extra:
            raise DataError(
                f"The table must have no columns but those of the schema; got also {_listed(extra)}. "
                "Drop them, or name them as left out in the schema."
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, strings and numbers, for JSON."""
        columns = {name: spelling.kind_to_dict(kind) for name, kind in self.columns.items()}
        return {"columns": columns, "left_out": dict(self.left_out)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Schema":
        """The inverse of `to_dict`; a `DataError` names the column and the key that are wrong."""
        columns, left_out = spelling.read_fields(fields)
        return cls(columns, left_out)

    def to_toml(self, path: str | Path) -> None:
        """Write a file that a person can read, correct, and read in again with `from_toml`."""
        Path(path).write_text(self.to_toml_text(), encoding="utf-8", newline="\n")

    def to_toml_text(self) -> str:
        """The text that `to_toml` writes."""
        comments = {name: _shares_in_words(shares) for name, shares in self.shares.items()}
        return spelling.toml_text(self.to_dict(), comments)

    @classmethod
    def from_toml(cls, path: str | Path) -> "Schema":
        """Read the file that `to_toml` wrote, as a person may have changed it."""
        return cls.from_dict(spelling.read_toml(Path(path)))

    def __str__(self) -> str:
        head = ("column", "kind", "atoms", "body", "grid", "missing", "note")
        rows = [head] + [self._row(name, kind) for name, kind in self.columns.items()]
        widths = [max(len(row[j]) for row in rows) for j in range(len(head))]
        used = [j for j in range(len(head)) if any(row[j] for row in rows[1:])]
        lines = ["  ".join(row[j].ljust(widths[j]) for j in used).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * widths[j] for j in used))
        if self.left_out:
            width = max(len(_shown(name)) for name in self.left_out)
            lines += ["", "left out"] + [
                f"  {_shown(name).ljust(width)}  {_shown(why)}" for name, why in self.left_out.items()
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def _row(self, name: str, kind: Kind) -> tuple[str, ...]:
        atoms = _shares_in_words(self.shares.get(name) or dict.fromkeys(spelling.points_of(kind)))
        body = spelling.body_in_words(kind)
        grid = "" if isinstance(kind, Categorical) else spelling.grid_in_words(kind.grid)
        missing, note = "yes" if kind.missing else "", self.notes.get(name, "")
        return _shown(name), type(kind).__name__, atoms, body, grid, missing, note and _shown(note)


def _conform(name: str, kind: Kind, values: NDArray[Any]) -> NDArray[Any]:
    wanted = str(value_family(kind.categories[0])) if isinstance(kind, Categorical) else "number"
    holes = empty(values)
    if holes.any() and not kind.missing:
        row = int(np.argmax(holes))
        raise DataError(
            f"Column {name!r} must have no missing values, as its kind says; got one in row {row}. "
            "Fill it in, drop the row, or set missing = true in the schema and fit again."
        )
    row = int(np.argmin(holes))
    got = "number" if values.dtype != object else value_family(values[row])
    if holes.all():
        return np.full(len(values), *((np.nan, np.float64) if wanted == "number" else (None, object)))
    if wanted == "number" and got in ("number", "boolean"):
        return values if values.dtype != object else np.array([np.nan if is_missing(v) else float(v) for v in values])
    if wanted == got:
        return values
    if got == "text":  # the whole column is text because of a word among numbers: name that word
        row = next((i for i, v in enumerate(values) if not is_missing(v) and not is_number(v)), row)
    raise DataError(
        f"Column {name!r} must hold {wanted if wanted == 'text' else wanted + 's'}, as its kind {type(kind).__name__} "
        f"says; got {np.asarray(values[row]).item()!r} in row {row}. "
        "Convert the column, or correct its kind in the schema."
    )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(map(repr, names[:10]))
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


def _shown(name: str) -> str:
    return name if name.isprintable() and name.strip() == name and name else repr(name)


def _shares_in_words(shares: Mapping[Any, float | None]) -> str:
    """The points of a column with their shares: every one if few, else the first ones and how many there are."""
    words = []
    for value, share in shares.items():
        point = f"{value:.10g}" if isinstance(value, float) else _shown(value) if isinstance(value, str) else str(value)
        words.append(point if share is None else f"{point}: {100 * share:.3g} %")
    return ", ".join(words) if len(words) <= 8 else ", ".join(words[:4]) + f", ... {len(words)} values"
