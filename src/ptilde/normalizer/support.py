"""Where a density lives: a kind for each column, and all patterns of their atoms and categories."""

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde import _validate
from ptilde.samplers.columns import Column, Columns
from ptilde.tabular.kinds import Categorical, Count, Kind, Real
from ptilde.tabular.points import atoms_of, ends_of

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


def kinds_of(support: Any, dim: int | None, **points: ArrayLike | None) -> tuple[Kind, ...]:
    """A kind for each column.

    Args:
        support: a kind for each column, or one for all; all real if None.
        dim: how many columns there are.
        points: what else says it: points (n, d) or (d,), by their names.
    """
    listed: tuple[Any, ...] = ()
    if support is not None and not isinstance(support, Kind):
        listed = tuple(getattr(support, "columns", {}).values()) or tuple(support)
    told = {"dim": dim, "support": len(listed) or None} | {name: _width(x) for name, x in points.items()}
    widths = {name: width for name, width in told.items() if width is not None}
    if not widths:
        raise ValueError("`dim` must be given, or a `support` with a kind for each column, or `x0`; got none of them.")
    if len(set(widths.values())) > 1:
        raise ValueError(f"`dim`, `support`, `x0` and `draws` must have one number of columns; got {widths}.")
    width = next(iter(widths.values()))
    _validate.whole("dim", width, 1)
    kinds = listed or (Real() if support is None else support,) * width
    for column, kind in enumerate(kinds):
        _refuse(kind, column)
    return kinds


def columns_of(kinds: tuple[Kind, ...]) -> Columns:
    """Their charts and options."""
    body = lambda kind: None if isinstance(kind, Categorical) else ends_of(kind)  # noqa: E731
    return Columns.of([Column(atoms_of(kind), body(kind)) for kind in kinds])


def num_patterns(columns: Columns) -> int:
    """How many there are of the options of all columns."""
    return math.prod(map(int, columns.num_options))


def patterns(columns: Columns, most: int) -> Whole:
    """All patterns of options (p, d), or some of them, drawn, where there are more than `most`."""
    counts = columns.num_options
    if num_patterns(columns) <= most:
        return np.array(list(itertools.product(*map(range, counts))))
    return np.random.default_rng(0).integers(counts, size=(most, len(counts)))


def bodies_of(columns: Columns, option: Whole) -> Whole:
    """The columns that are in their bodies."""
    return np.flatnonzero(np.array(columns.has_body) & (option == np.array(columns.num_atoms)))


def points_on(kinds: tuple[Kind, ...], name: str, x: ArrayLike) -> Floats:
    """Points (n, d), refused where they are not on their support."""
    x = np.asarray(x, float)
    x = x.reshape(-1, len(kinds)) if x.ndim < 2 else x
    for column, kind in enumerate(kinds):
        among = x[:, column]
        fits = np.isin(among, atoms_of(kind)) if isinstance(kind, Categorical) else np.asarray(kind.holds(among))
        if not fits.all():
            raise ValueError(
                f"`{name}` must lie in its support {kind}; got {among[np.argmin(fits)]} in column {column}."
            )
    return x


def _width(points: ArrayLike | None) -> int | None:
    return None if points is None else int(np.shape(points)[-1]) if np.ndim(points) else 1


def _refuse(kind: Any, column: int) -> None:
    if isinstance(kind, Count):
        raise ValueError(
            f"`support` must have finitely many categories; got Count() in column {column}. Give "
            "Categorical(range(n)), with n so large that what is beyond does not matter."
        )
    if not isinstance(kind, Kind):
        raise ValueError(f"`support` must hold a kind for each column, such as Positive(); got {kind!r}.")
    if kind.missing or getattr(kind, "grid", None) is not None:
        raise ValueError(
            f"`support` must have no missing values and no grid; got {kind!r} in column {column}. Give the kind "
            "without them, or the values of the grid as Categorical(...)."
        )
