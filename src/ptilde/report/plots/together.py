"""Columns together: which are off their atoms at once, rank correlations, and scatters of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ptilde.report.canvas import (
    MODEL,
    REAL,
    heat_map,
    histogram,
    logarithmic_scale,
    many,
    one,
    plainly,
    scatter,
    shown,
)
from ptilde.report.rows import Columns, Pair, atoms_of, off_atoms, on_log_scale, paired, pattern_shares, step_of
from ptilde.tabular.schema import Schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PAIRED, MOST_CORRELATED = 5, 40
NUM_POINTS = 600


def plot_pairs(
    real: Any, drawn: Any, schema: Schema | None = None, columns: Sequence[str] | None = None, axes: Any = None
) -> NDArray[Any]:
    """Scatters of every two of up to five numeric columns, where both are off their atoms.

    Real rows lie below the diagonal, drawn ones above it, with the same axes; the diagonal has the histograms.

    Args:
        real: real rows.
        drawn: rows of a model.
        schema: what the columns may hold; inferred from `real` if None.
        columns: two to five numeric ones; those in the most dependent pairs if None.
        axes: (k, k) of them.

    Returns:
        The axes (k, k).
    """
    pair = paired(real, drawn, schema, columns)
    names = pair.names if columns is not None else dependent(pair)
    if not 2 <= len(names) <= MOST_PAIRED or (columns is not None and len(names) < len(columns)):
        raise ValueError(
            f"`columns` must name two to {MOST_PAIRED} numeric columns; got {', '.join(map(repr, names)) or 'none'}."
        )
    places = many(axes, len(names), len(names), (1.4, 1.3))
    for i, below in enumerate(names):
        for j, across in enumerate(names):
            if i == j:
                _histogram(places[i, i], pair, below)
            else:
                _scatter(places[i, j], pair, across, below, of_real=i > j)
            _outer_labels(places[i, j], names, i, j)
    plainly(*places.ravel())
    return places


def dependent(pair: Pair, most: int = MOST_PAIRED) -> list[str]:
    """The numeric columns in the most dependent pairs, in the order of the table."""
    names = pair.names
    if len(names) <= most:
        return names
    strength = np.abs(np.triu(np.nan_to_num(_rank_correlation(pair.real, names)), 1))
    chosen: list[int] = []
    for place in np.argsort(strength, axis=None, kind="stable")[::-1]:
        new = [int(i) for i in np.unravel_index(place, strength.shape) if i not in chosen]
        chosen += new[: most - len(chosen)]
        if len(chosen) == most:
            break
    return [names[i] for i in sorted(chosen)]


def _histogram(axes: Axes, pair: Pair, name: str) -> None:
    real, drawn = (_body(pair, rows, name) for rows in (pair.real, pair.drawn))
    totals = len(pair.real[name]), len(pair.drawn[name])
    kind = pair.kinds[name]
    logarithmic, step = on_log_scale(kind), step_of(kind)
    histogram(axes, real, drawn, totals, logarithmic=logarithmic, step=step, num_bins=24, legend=False)
    if logarithmic:
        logarithmic_scale(axes, "x", num_ticks=3)


def _body(pair: Pair, rows: Columns, name: str) -> NDArray:
    values = rows[name]
    return values[_there(pair, values, name)]


def _there(pair: Pair, values: NDArray, name: str) -> NDArray[np.bool_]:
    kind = pair.kinds[name]
    return off_atoms(values, atoms_of(pair.schema).get(name, ())) & ((values > 0) | (not on_log_scale(kind)))


def _scatter(axes: Axes, pair: Pair, across: str, below: str, *, of_real: bool) -> None:
    rows = pair.real if of_real else pair.drawn
    number = min(len(pair.real[across]), len(pair.drawn[across]))  # as many rows on either side
    x, y = rows[across][:number], rows[below][:number]
    there = _there(pair, x, across) & _there(pair, y, below)
    scatter(axes, x[there], y[there], REAL if of_real else MODEL, most=NUM_POINTS)
    for name, which in ((across, "x"), (below, "y")):
        if on_log_scale(pair.kinds[name]):
            logarithmic_scale(axes, which, num_ticks=3)
        both = np.concatenate([_body(pair, rows, name) for rows in (pair.real, pair.drawn)])
        if len(both):
            low, high = np.quantile(both, [0.001, 0.999])
            (axes.set_xlim if which == "x" else axes.set_ylim)(low, high if high > low else low + 1)


def _outer_labels(axes: Axes, names: list[str], i: int, j: int) -> None:
    """Names and numbers at the left and at the foot of the whole alone."""
    last = len(names) - 1
    axes.tick_params(labelleft=j == 0 and i > 0, labelbottom=i == last, left=j == 0 and i > 0, labelsize=6)
    if i == j:
        axes.set_yticks([])
    if i == last:
        axes.set_xlabel(shown(names[j], 14))
    if j == 0:
        axes.set_ylabel(shown(names[i], 14))


def plot_patterns(real: Any, drawn: Any, schema: Schema | None = None, axes: Axes | None = None) -> Axes:
    """The commonest patterns: which columns are off their atoms together.

    Args:
        real: real rows.
        drawn: rows of a model.
        schema: what the columns may hold; inferred from `real` if None.
        axes: to draw on.

    Raises:
        ValueError: if no column has atoms.
    """
    pair = paired(real, drawn, schema)
    shares = pattern_shares(atoms_of(pair.schema), pair.real, pair.drawn)
    if not shares:
        raise ValueError("`schema` must have a column with atoms for a picture of patterns; got none.")
    axes, place = one(axes), np.arange(len(shares))[::-1]
    axes.barh(place + 0.2, [real for _, real, _ in shares], 0.38, color=REAL, label="real")
    axes.barh(place - 0.2, [model for _, _, model in shares], 0.38, color=MODEL, label="model")
    axes.set_yticks(place, [shown(name, 36) for name, _, _ in shares])
    axes.set_xlabel("share of rows")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)  # above: bars reach every corner
    plainly(axes)
    return axes


def plot_correlations(real: Any, drawn: Any, schema: Schema | None = None, axes: Any = None) -> NDArray[Any]:
    """Rank correlations of the numeric columns, real beside model; `axes` are two, and so are those returned."""
    pair = paired(real, drawn, schema)
    names = pair.names[:MOST_CORRELATED]
    if len(names) < 2:
        raise ValueError(f"`real` must have two numeric columns or more; got {len(names)}.")
    places, labels = many(axes, 1, 2, (3.5, 3.4)).ravel(), [shown(name, 12) for name in names]
    for place, rows, title in zip(places, (pair.real, pair.drawn), ("real", "model"), strict=True):
        heat_map(place, _rank_correlation(rows, names), labels, named=title == "real")
        place.set_title(title)
    places[0].figure.colorbar(places[0].collections[0], ax=list(places), shrink=0.7)
    plainly(*places)
    return places


def largest_difference(pair: Pair) -> float:
    """Of a rank correlation in real rows and in drawn ones."""
    names = pair.names[:MOST_CORRELATED]
    return float(np.nanmax(np.abs(_rank_correlation(pair.real, names) - _rank_correlation(pair.drawn, names))))


def _rank_correlation(rows: Columns, names: list[str]) -> NDArray:
    ranks = np.array([rankdata(np.nan_to_num(rows[name], nan=-np.inf)) for name in names])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(ranks)
