"""Rows by column, as the report reads them: what is on an atom, what is off, which columns are off together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptilde._validate import DataError
from ptilde.tabular.frames import open_table
from ptilde.tabular.kinds import empty
from ptilde.tabular.schema import Categorical, Kind, Real, Schema, SemiContinuous, on_atom

Columns = dict[str, NDArray]
MIN_ROWS = 20  # of a table: with fewer nothing can be said, and the classifier has no folds


def opened(schema: Schema, frame: Any, what: str) -> Columns:
    """The modelled columns of a frame.

    Raises:
        DataError: if they are not there, or there are too few rows to say anything.
    """
    columns = schema.check(open_table(frame))
    num_rows = len(next(iter(columns.values())))
    if num_rows < MIN_ROWS:
        raise DataError(f"The {what} must have {MIN_ROWS} rows or more to be compared; got {num_rows}.")
    for name, values in columns.items():
        if empty(values).all():
            raise DataError(f"Column {name!r} of the {what} must hold some value; got only empty cells.")
    return columns


class Pair(NamedTuple):
    """Columns of real rows and of drawn ones, with their kinds."""

    kinds: dict[str, Kind]
    real: Columns
    drawn: Columns

    @property
    def schema(self) -> Schema:
        """Of these columns alone."""
        return Schema(self.kinds)

    @property
    def names(self) -> list[str]:
        """The columns that are amounts or counts."""
        return numeric(self.schema)


def paired(real: Any, drawn: Any, schema: Schema | None = None, columns: Sequence[str] | None = None) -> Pair:
    """Two tables, column by column.

    Args:
        real: a frame, a 2-D array, or a mapping from column name to 1-D array.
        drawn: another.
        schema: what the columns may hold; inferred from `real` if None.
        columns: which ones; all that the schema models if None.

    Raises:
        ValueError: if a column is not one that the schema models.
        DataError: if a table lacks one.
    """
    tables = [open_table(_frame(table)) for table in (real, drawn)]
    schema = Schema.infer(tables[0]) if schema is None else schema
    names = list(schema.columns) if columns is None else list(columns)
    unknown = [name for name in names if name not in schema.columns]
    if unknown or not names:
        got = repr(unknown[0]) if unknown else "none"
        raise ValueError(f"`columns` must name modelled columns, {', '.join(map(repr, schema.columns))}; got {got}.")
    kinds = {name: schema.columns[name] for name in names}
    kept = [t._replace(columns={name: v for name, v in t.columns.items() if name in kinds}) for t in tables]
    return Pair(kinds, *(Schema(kinds).check(table) for table in kept))


def _frame(table: Any) -> Any:
    if not isinstance(table, Mapping):
        return table
    import pyarrow as pa

    return pa.table(dict(table))


def on_log_scale(kind: Kind) -> bool:
    """Whether a body is looked at on a logarithmic scale: one that cannot fall below zero."""
    body = getattr(kind, "body", kind)
    return not isinstance(body, Real) and getattr(body, "low", 0.0) >= 0


def step_of(kind: Kind) -> float | None:
    """The step that values are recorded in, where there is one."""
    grid = getattr(kind, "grid", None)
    return float(grid) if isinstance(grid, int | float) else None


def halves(columns: Columns, seed: int) -> tuple[Columns, Columns]:
    """The rows in two halves, at random."""
    num_rows = len(next(iter(columns.values())))
    order = np.random.default_rng(seed).permutation(num_rows)
    first, second = order[: num_rows // 2], order[num_rows // 2 :]
    return tuple({name: values[part] for name, values in columns.items()} for part in (first, second))  # type: ignore


def joined(first: Columns, second: Columns) -> Columns:
    """The rows of both, one after the other."""
    return {name: np.concatenate([first[name], second[name]]) for name in first}


def at_most(columns: Columns, most: int) -> Columns:
    """The first rows."""
    return {name: values[:most] for name, values in columns.items()}


def numeric(schema: Schema) -> list[str]:
    """The columns that are amounts or counts."""
    return [name for name, kind in schema.columns.items() if not isinstance(kind, Categorical)]


def atoms_of(schema: Schema) -> dict[str, tuple[float, ...]]:
    """The atoms of each column that has some."""
    return {name: kind.atoms for name, kind in schema.columns.items() if isinstance(kind, SemiContinuous)}


def off_atoms(values: NDArray, atoms: Sequence[float]) -> NDArray[np.bool_]:
    """Which values are there, and on none of the atoms."""
    on = np.isnan(values)
    for atom in atoms:
        on = on | on_atom(values, atom)
    return ~on


def pattern_shares(
    atoms: Mapping[str, tuple[float, ...]], real: Columns, draws: Columns, largest: int = 12
) -> list[tuple[str, float, float]]:
    """The commonest patterns in words ("all on an atom", "a, b off"), with their shares in real and in drawn rows."""
    if not atoms:
        return []
    ours, theirs = _pattern_counts(draws, atoms), _pattern_counts(real, atoms)
    common = sorted(theirs, key=lambda pattern: -theirs[pattern])[:largest]
    return [(_pattern_name(pattern, list(atoms)), theirs[pattern], ours.get(pattern, 0.0)) for pattern in common]


def _pattern_counts(rows: Columns, atoms: Mapping[str, tuple[float, ...]]) -> dict[bytes, float]:
    off = np.column_stack([off_atoms(rows[name], values) for name, values in atoms.items()])
    patterns, count = np.unique(off, axis=0, return_counts=True)
    return {pattern.tobytes(): float(c / len(off)) for pattern, c in zip(patterns, count, strict=True)}


def _pattern_name(pattern: bytes, names: list[str]) -> str:
    off = [name for name, is_off in zip(names, np.frombuffer(pattern, bool), strict=True) if is_off]
    if not off:
        return "all on an atom"
    return ", ".join(off) if len(off) <= 3 else f"{', '.join(off[:3])} and {len(off) - 3} more"
