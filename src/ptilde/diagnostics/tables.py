"""Tables of two kinds as arrays: matrices, and mappings from column name to column.

An object is coded by its place among the sorted values of both tables, so that any two tables with the same columns
become two matrices of floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Columns = Mapping[str, NDArray]


def columns(table: Columns | ArrayLike) -> dict[str, NDArray]:
    """A table as name to column."""
    if isinstance(table, Mapping):
        return {str(name): np.asarray(column) for name, column in table.items()}
    rows = np.asarray(table)
    rows = rows[:, None] if rows.ndim == 1 else rows
    return {f"x{j}": rows[:, j] for j in range(rows.shape[1])}


def matrix(table: Columns, names: Sequence[str]) -> NDArray:
    """The columns of these names, side by side."""
    return np.column_stack([np.asarray(table[name], float) for name in names])


def coded(first: dict[str, NDArray], second: dict[str, NDArray]) -> tuple[NDArray, NDArray]:
    """Two matrices of floats; an object becomes its place in the sorted list of both columns' values."""
    if list(first) != list(second):
        raise ValueError(f"the two tables must have the same columns; got {list(first)} and {list(second)}.")
    pairs = [_coded_pair(first[name], second[name]) for name in first]
    return np.column_stack([a for a, _ in pairs]), np.column_stack([b for _, b in pairs])


def _coded_pair(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
    if a.dtype != object and a.dtype.kind in "biuf" and b.dtype.kind in "biuf":
        return a.astype(float), b.astype(float)
    place = {word: float(i) for i, word in enumerate(sorted({_word(v) for v in a} | {_word(v) for v in b}))}
    return np.array([place[_word(v)] for v in a]), np.array([place[_word(v)] for v in b])


def _word(value: object) -> str:
    return f"{type(value).__name__}:{value}"


def present(x: ArrayLike) -> NDArray:
    """The values that are not missing, one after the other."""
    x = np.asarray(x, float).ravel()
    x = x[~np.isnan(x)]
    if not len(x):
        raise ValueError("`x` must hold at least one value that is not missing; got none.")
    return x


def points(name: str, x: ArrayLike, *, min_rows: int = 2) -> NDArray[np.float64]:
    """Rows of finite numbers, (n, d); a 1-D array is a column."""
    x = np.asarray(x, float)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or len(x) < min_rows:
        raise ValueError(f"`{name}` must be an array (n, d) of {min_rows} rows or more; got shape {x.shape}.")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"`{name}` must be finite; got {x[row, column]} in row {row}, column {column}.")
    return x


def same_width(x: NDArray, y: NDArray) -> None:
    """Refuse two tables of different widths."""
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"`x` and `y` must have the same columns; got {x.shape[1]} and {y.shape[1]} of them.")
