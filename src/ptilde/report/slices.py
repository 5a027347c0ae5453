r"""A density along two of its columns, the others held still, with its score there.

On a logarithmic axis densities are per unit of the logarithm, $\log p + \log x$, whose slope in $\log x$ is
$x\,\partial_x \log p + 1$. Slopes are given per side of the picture: times the length of the axis, in the logarithm
where it is logarithmic. So they do not depend on the units of the data, and at right angles to the contours of a
square picture stand arrows of the score.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptilde._validate import DataError
from ptilde.report.rows import Columns, atoms_of, numeric, off_atoms, on_log_scale
from ptilde.tabular.frames import open_table
from ptilde.tabular.kinds import empty
from ptilde.tabular.schema import Categorical, Kind, Schema

FEWEST = 20  # rows with both columns off their atoms
NUM_PLACES, NUM_ARROWS = 60, 13  # along a side
ENDS = 0.01, 0.99  # quantiles of the rows, between which the slice lies
DEEPEST = -12.0  # nats below the top, beyond which nothing is drawn


class Scored(Protocol):
    """What is asked of a model."""

    schema_: Schema

    def score_samples(self, X: Any) -> NDArray: ...
    def grad_log_density(self, X: Any) -> NDArray: ...


@dataclass(frozen=True, eq=False)
class Slice:
    """A density over two columns, both off their atoms.

    Attributes:
        names: of the two.
        logarithmic: whether each is looked at on a logarithmic scale.
        x, y: (n,) and (m,) their values.
        log_density: (n, m), 0 at the top; not finite where there is none.
        at: (k, 2) places of arrows.
        score: (k, 2) slopes of the log density there, per side of the picture.
        height: (k,) log density there.
        others: what the other columns were held at.
    """

    names: tuple[str, str]
    logarithmic: tuple[bool, bool]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    log_density: NDArray[np.float64]
    at: NDArray[np.float64]
    score: NDArray[np.float64]
    height: NDArray[np.float64]
    others: dict[str, Any]


def density_slice(model: Scored, X: Any, columns: Sequence[str] | None = None) -> Slice | None:
    """The density over two columns with the others held at what is typical of rows where these are off their atoms.

    Typical is the commonest atom or category if half of such rows are on one, else the median.

    Args:
        model: a fitted `ScoreDensity`.
        X: rows that say where to look.
        columns: two numeric columns that are not recorded in steps; the two that are most often off their atoms
            together if None.

    Returns:
        The slice, or None if `columns` is None and no two columns have 20 such rows.

    Raises:
        DataError: if the columns that were named cannot be used.
    """
    schema, rows = model.schema_, model.schema_.check(open_table(X))
    free = [name for name in numeric(schema) if getattr(schema.columns[name], "grid", None) is None]
    there = {name: _body(schema, rows, name) for name in free}
    if columns is None:
        pairs = [(a, b) for i, a in enumerate(free) for b in free[i + 1 :]]
        columns = max(pairs, key=lambda pair: np.sum(there[pair[0]] & there[pair[1]]), default=())
        if not columns or np.sum(there[columns[0]] & there[columns[1]]) < FEWEST:
            return None
    if len(columns) != 2 or not set(columns) <= set(free):
        raise DataError(
            f"`columns` must name two numeric columns that are not recorded in steps, of {', '.join(free) or 'none'}; "
            f"got {', '.join(map(repr, columns))}."
        )
    both = there[columns[0]] & there[columns[1]]
    if both.sum() < FEWEST:
        raise DataError(f"`X` must have {FEWEST} rows with both columns off their atoms; got {both.sum()}.")
    return _slice(model, {name: values[both] for name, values in rows.items()}, (columns[0], columns[1]))


def _slice(model: Scored, rows: Columns, names: tuple[str, str]) -> Slice:
    kinds = model.schema_.columns
    on_log = (on_log_scale(kinds[names[0]]), on_log_scale(kinds[names[1]]))
    ends = [np.quantile(rows[name], ENDS) for name in names]
    x, y = (_places(end, NUM_PLACES, log) for end, log in zip(ends, on_log, strict=True))
    others = {name: typical(kinds[name], rows[name]) for name in kinds if name not in names}
    grid = np.stack([a.ravel() for a in np.meshgrid(x, y, indexing="ij")], 1)
    log_density = _log_density(model, names, grid, others, on_log)
    top = float(np.max(log_density, where=np.isfinite(log_density), initial=-np.inf))
    sides = [_places(end, NUM_ARROWS + 2, log)[1:-1] for end, log in zip(ends, on_log, strict=True)]
    at = np.stack([a.ravel() for a in np.meshgrid(*sides, indexing="ij")], 1)
    height = _log_density(model, names, at, others, on_log) - top
    slope = _slope(model, names, at, others, on_log)
    length = [np.log(high / low) if log else high - low for (low, high), log in zip(ends, on_log, strict=True)]
    log_density = (log_density - top).reshape(len(x), len(y))
    return Slice(names, on_log, x, y, log_density, at, slope * np.array(length), height, others)


def typical(kind: Kind, values: NDArray) -> Any:
    """The commonest atom, category or empty cell if half of the values are on one, else the lower median of the rest.

    Categories have no median: theirs is the commonest.
    """
    atoms = atoms_of(Schema({"": kind})).get("", ())
    off = np.zeros(len(values), bool) if isinstance(kind, Categorical) else off_atoms(values, atoms)
    if 2 * off.sum() > len(values):
        return float(np.quantile(values[off], 0.5, method="lower"))
    points, counts = np.unique(values[~off & ~empty(values)], return_counts=True)
    if not len(points) or empty(values).sum() > counts.max():
        return None
    return points[np.argmax(counts)]


def in_words(others: dict[str, Any]) -> str:
    """What the other columns were held at."""
    words = [f"{n} = {'empty' if v is None else f'{v:.4g}' if isinstance(v, float) else v}" for n, v in others.items()]
    return ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")


def _body(schema: Schema, rows: Columns, name: str) -> NDArray[np.bool_]:
    values = rows[name]
    there = off_atoms(values, atoms_of(schema).get(name, ()))
    return there & ((values > 0) | (not on_log_scale(schema.columns[name])))


def _places(ends: NDArray[np.float64], number: int, on_log: bool) -> NDArray[np.float64]:
    return (np.geomspace if on_log else np.linspace)(ends[0], ends[1], number)


def _frame(model: Scored, names: tuple[str, str], at: NDArray, others: dict[str, Any]) -> Any:
    import pyarrow as pa

    held = {name: pa.array([getattr(value, "item", lambda v=value: v)()] * len(at)) for name, value in others.items()}
    moved = dict(zip(names, map(pa.array, at.T.copy()), strict=True))
    return pa.table({name: (moved | held)[name] for name in model.schema_.columns})


def _log_density(
    model: Scored, names: tuple[str, str], at: NDArray, others: dict[str, Any], on_log: tuple[bool, bool]
) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # places outside the support are left blank
        value = np.asarray(model.score_samples(_frame(model, names, at, others)), float)
    return value + sum(np.log(at[:, j]) for j in range(2) if on_log[j])


def _slope(
    model: Scored, names: tuple[str, str], at: NDArray, others: dict[str, Any], on_log: tuple[bool, bool]
) -> NDArray[np.float64]:
    """In the coordinates of the picture."""
    order = [str(name) for name in getattr(model, "feature_names_in_", model.schema_.columns)]
    score = np.asarray(model.grad_log_density(_frame(model, names, at, others)), float)
    found = score[:, [order.index(name) for name in names]]
    return np.where(on_log, found * at + 1, found)
