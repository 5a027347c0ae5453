"""Rows by column, as the report reads them: what is on an atom, what is off, which columns are off together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptilde._validate import DataError
from ptilde.tabular.frames import open_table
from ptilde.tabular.kinds import empty
from ptilde.tabular.schema import Categorical, Schema, SemiContinuous, on_atom

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
