r"""Columns by themselves: what they hold, their quantiles, and the places of real values among drawn ones.

The band around $q(p)$ in a plot of quantiles, and around an even histogram of n places among m draws, is where 95 % of
them lie under equal laws: the standard error of a share p is $\sqrt{p(1-p)(1/n + 1/m)}$.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from ptilde.report.canvas import (
    FAINT,
    INK,
    MODEL,
    REAL,
    histogram,
    listed,
    logarithmic_scale,
    one,
    plainly,
    shown,
    sticks,
)
from ptilde.report.rows import atoms_of, off_atoms, on_log_scale, paired, step_of
from ptilde.tabular.kinds import empty
from ptilde.tabular.schema import Categorical, Count, Kind, Schema, on_atom

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 12  # atoms or categories of one column
NUM_BINS = 20
BAND = 1.96
GAP = 0.2  # of the width, between the sticks of a column and its body


def plot_marginals(
    real: Any, drawn: Any, schema: Schema | None = None, columns: Sequence[str] | None = None, axes: Any = None
) -> NDArray[Any]:
    """What each column holds: atoms, categories and empty cells as sticks, the body as a histogram.

    Args:
        real: real rows.
        drawn: rows of a model.
        schema: what the columns may hold; inferred from `real` if None.
        columns: which ones; all if None.
        axes: one for each column.

    Returns:
        The axes, one for each column. A column with sticks and a body has two of its own inside (`child_axes`).
    """
    pair = paired(real, drawn, schema, columns)
    places = listed(axes, len(pair.kinds))
    for place, (name, kind) in zip(places, pair.kinds.items(), strict=True):
        _marginal(place, kind, pair.real[name], pair.drawn[name])
    return _named(places, [*pair.kinds])


def _named(places: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    for place, name in zip(places, names, strict=True):
        place.set_title(shown(name), fontweight="bold")
    plainly(*places)
    return places


def points_and_shares(kind: Kind, *columns: NDArray) -> dict[str, list[float]]:
    """The share of each atom or category, and of empty cells, in each of some columns of one kind."""
    if isinstance(kind, Categorical):
        found = {str(p): [float(np.mean(x == p)) for x in columns] for p in kind.categories[:MAX_POINTS]}
    else:
        points = _atoms(kind) or few_counts(kind, *columns)
        found = {f"{a:g}": [float(np.mean(on_atom(x, a))) for x in columns] for a in points}
    return found | ({"empty": [float(np.mean(empty(x))) for x in columns]} if kind.missing else {})


def few_counts(kind: Kind, *columns: NDArray) -> tuple[float, ...]:
    """The values of a count, where they are few enough to be seen one by one."""
    values = np.unique(np.concatenate(columns)) if isinstance(kind, Count) else np.empty(0)
    values = values[np.isfinite(values)]
    return tuple(values) if len(values) <= MAX_POINTS else ()


def _atoms(kind: Kind) -> tuple[float, ...]:
    return atoms_of(Schema({"": kind})).get("", ())


def _marginal(axes: Axes, kind: Kind, real: NDArray, drawn: NDArray) -> None:
    shares = points_and_shares(kind, real, drawn)
    left, right, has_body = axes, axes, not (isinstance(kind, Categorical) or few_counts(kind, real, drawn))
    if shares and has_body:
        width = (1 - GAP) * (1 + len(shares)) / (9 + len(shares))
        axes.set_axis_off()
        left, right = axes.inset_axes((0, 0, width, 1)), axes.inset_axes((width + GAP, 0, 1 - width - GAP, 1))
    if shares:
        labels = [shown(label, 10) for label in shares]
        sticks(left, labels, *(list(side) for side in zip(*shares.values(), strict=True)))
        left.tick_params(axis="x", rotation=0 if len(shares) <= 3 else 45 if isinstance(kind, Categorical) else 90)
    if has_body:
        bodies, totals = (_body(kind, real), _body(kind, drawn)), (len(real), len(drawn))
        histogram(right, *bodies, totals, logarithmic=on_log_scale(kind), step=step_of(kind))


def _body(kind: Kind, values: NDArray) -> NDArray:
    return values[off_atoms(values, _atoms(kind)) & ((values > 0) | (not on_log_scale(kind)))]


def plot_quantiles(
    real: Any, drawn: Any, schema: Schema | None = None, columns: Sequence[str] | None = None, axes: Any = None
) -> NDArray[Any]:
    """Quantiles of each body, drawn against real: on the diagonal where the laws are equal, level by level.

    Args:
        real: real rows.
        drawn: rows of a model.
        schema: what the columns may hold; inferred from `real` if None.
        columns: which numeric ones; all of them if None.
        axes: one for each column.

    Returns:
        The axes, one for each column.
    """
    pair = paired(real, drawn, schema, columns)
    names = [name for name in pair.names if columns is None or name in columns]
    if not names or (columns is not None and len(names) < len(columns)):
        raise ValueError(f"`columns` must name numeric columns, of which there are {', '.join(pair.names) or 'none'}.")
    places = listed(axes, len(names), (2.6, 2.6))
    for place, name in zip(places, names, strict=True):
        kind = pair.kinds[name]
        _quantiles(place, _body(kind, pair.real[name]), _body(kind, pair.drawn[name]), on_log_scale(kind))
    return _named(places, names)


def _quantiles(axes: Axes, real: NDArray, drawn: NDArray, logarithmic: bool) -> None:
    if not len(real) or not len(drawn):
        axes.text(0.5, 0.5, "nothing off the atoms", ha="center", transform=axes.transAxes)
        return
    n, m = len(real), len(drawn)
    levels = norm.cdf(np.linspace(-3.5, 3.5, 141))
    levels = levels[(levels * min(n, m) >= 1) & ((1 - levels) * min(n, m) >= 1)]
    levels = levels if len(levels) else np.array([0.5])
    reach = BAND * np.sqrt(levels * (1 - levels) * (1 / n + 1 / m))
    of_real, of_drawn = np.quantile(real, levels), np.quantile(drawn, levels)
    low, high = (np.quantile(real, np.clip(levels + sign * reach, 0, 1)) for sign in (-1, 1))
    axes.fill_between(of_real, low, high, color=REAL, alpha=0.2, linewidth=0)
    ends = [min(of_real[0], of_drawn[0]), max(of_real[-1], of_drawn[-1])]
    axes.plot(ends, ends, color=FAINT, linewidth=0.8)
    axes.plot(of_real, of_drawn, ".", color=MODEL, markersize=3)
    axes.set_xlabel("real quantiles")
    axes.set_ylabel("model's quantiles")
    if logarithmic:
        logarithmic_scale(axes, "x")
        logarithmic_scale(axes, "y")


def plot_pit(u: ArrayLike, axes: Axes | None = None, num_draws: int | None = None) -> Axes:
    """The histogram of the places of real values in their predicted laws: even if the laws are right.

    Args:
        u: the places, from `diagnostics.pit` (of predicted laws) or `diagnostics.pit_among` (of draws).
        axes: to draw on.
        num_draws: how many draws the laws were known by; None if they were known exactly.
    """
    axes, u = one(axes), np.asarray(u, float)
    share = np.histogram(u, NUM_BINS, (0.0, 1.0))[0] / max(len(u), 1) * NUM_BINS
    chance = (1 / NUM_BINS) * (1 - 1 / NUM_BINS) * (1 / max(len(u), 1) + (1 / num_draws if num_draws else 0))
    reach = BAND * NUM_BINS * np.sqrt(chance)
    axes.axhspan(max(0, 1 - reach), 1 + reach, color=REAL, alpha=0.2, linewidth=0)
    axes.axhline(1, color=INK, linewidth=0.6)
    axes.stairs(share, np.linspace(0, 1, NUM_BINS + 1), color=MODEL, fill=True, alpha=0.6)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1])
    axes.set_ylim(0, max(2.0, 1.05 * float(share.max(initial=0.0)), 1.05 + reach))
    axes.set_xlabel("place in the predicted law")
    axes.set_ylabel("rows against even")
    plainly(axes)
    return axes
