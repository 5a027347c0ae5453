r"""Do columns hang together as they should? Ranks only, so that no unit and no monotone change matters.

* Spearman's ρ and Kendall's τ of all pairs of columns, and how much two tables differ in them.
* Tail dependence at a level q, $P(F_2(y) > q \mid F_1(x) > q)$: 1 - q if independent, and it falls to 0 as q → 1 for a
  Gaussian copula, whatever its correlation, but not where extremes come together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde.diagnostics.results import Estimate
from ptilde.diagnostics.tables import points, same_width

Floats = NDArray[np.float64]


def spearman(x: ArrayLike) -> Floats:
    """ρ of all pairs of columns, ties at their mean rank; NaN for a column that is constant."""
    from scipy.stats import rankdata

    ranks = rankdata(points("x", x), axis=0)
    ranks -= ranks.mean(0)
    spread = np.sqrt(np.sum(ranks**2, 0))
    with np.errstate(invalid="ignore"):
        return ranks.T @ ranks / np.outer(spread, spread)


def kendall(x: ArrayLike) -> Floats:
    """τ-b of all pairs of columns, which allows for ties; NaN for a column that is constant."""
    from scipy.stats import kendalltau

    rows = points("x", x)
    pairs = [kendalltau(a, b) for a in rows.T for b in rows.T]
    return np.reshape([pair[0] for pair in pairs], (rows.shape[1],) * 2).astype(float)


class Correlations(NamedTuple):
    """Rank correlations of two tables, each (d, d); the standard errors are those of the difference."""

    first: Floats
    second: Floats
    difference: Floats
    standard_error: Floats


def compare_correlations(
    x: ArrayLike,
    y: ArrayLike,
    *,
    correlation: Callable[[ArrayLike], Floats] = spearman,
    num_resamples: int = 100,
    seed: int = 0,
) -> Correlations:
    """The rank correlations of two tables, and those of y less those of x with bootstrap standard errors.

    Args:
        x: rows, (n, d).
        y: rows, (m, d).
        correlation: `spearman` or `kendall` (for 5,000 rows some hundred times as slow).
        num_resamples: of the rows of each table.
        seed: of these.
    """
    x, y = points("x", x), points("y", y)
    same_width(x, y)
    rng = np.random.default_rng(seed)

    def variance(rows: Floats) -> Floats:
        again = [correlation(rows[rng.integers(0, len(rows), len(rows))]) for _ in range(num_resamples)]
        return np.var(again, axis=0, ddof=1)

    first, second = correlation(x), correlation(y)
    return Correlations(first, second, second - first, np.sqrt(variance(x) + variance(y)))


def tail_dependence(x: ArrayLike, y: ArrayLike, *, level: float = 0.95, upper: bool = True) -> Estimate:
    """The share of rows with an extreme x whose y is extreme too, with its binomial standard error.

    Args:
        x: a column.
        y: another, row by row.
        level: q; extreme is what lies beyond this quantile.
        upper: whether large values are the extreme ones; else the smallest 1 - q.

    References:
        Coles, Heffernan & Tawn (1999), Dependence measures for extreme value analyses, Extremes 2.
    """
    from scipy.stats import rankdata

    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1; got {level!r}.")
    rows = points("x, y", np.column_stack([np.asarray(x, float), np.asarray(y, float)]))
    ranks = rankdata(rows if upper else -rows, axis=0) / (len(rows) + 1)
    extreme = ranks > level
    num = int(extreme[:, 0].sum())
    if not num:
        raise ValueError(f"no row lies beyond the level {level} of `x`; got {len(rows)} rows. Try a lower level.")
    share = float(extreme.all(1).sum() / num)
    return Estimate(share, float(np.sqrt(share * (1 - share) / num)))
