r"""How far out do large values go?

* Quantiles between order statistics, right for any law.
* The mean excess $e(u) = E[x - u \mid x > u]$: constant for an exponential tail, rising in a straight line with slope
  $\xi/(1-\xi)$ for a Pareto tail of index ξ < 1.
* Hill's estimate of ξ, the mean of $\log x_{(n-i+1)} - \log x_{(n-k)}$ over the k largest values. In a tail that is
  Pareto these are exponential with mean ξ, so that $2k\hat\xi/\xi$ is $\chi^2_{2k}$.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde import _validate
from ptilde.diagnostics.results import Bounded, Estimate
from ptilde.diagnostics.tables import present


def tail_quantiles(
    x: ArrayLike, q: Sequence[float] = (0.5, 0.9, 0.99, 0.999), confidence: float = 0.95
) -> dict[float, Bounded]:
    """Quantiles between order statistics, which hold the true one with the given confidence whatever the law.

    The number of values at or below the quantile q of n is binomial(n, q), so the interval runs between the order
    statistics at that law's two tail quantiles. An end that falls beyond the sample is infinite: the sample cannot say.
    """
    from scipy.stats import binom

    x = np.sort(present(x))
    padded = np.concatenate([[-np.inf], x, [np.inf]])
    tail = (1 - confidence) / 2
    result = {}
    for level in q:
        low, high = binom.ppf([tail, 1 - tail], len(x), level).astype(int)
        result[float(level)] = Bounded(float(np.quantile(x, level)), float(padded[low]), float(padded[high + 1]))
    return result


def q99_ratio(
    real: ArrayLike, model: ArrayLike, *, q: float = 0.99, seed: int = 0, num_resamples: int = 200
) -> Estimate:
    """The 99 % quantile of the model's row sums over that of the real ones, with its bootstrap standard error."""
    real, model = _row_sums(real), _row_sums(model)
    rng = np.random.default_rng(seed)

    def resampled(x: NDArray) -> NDArray:
        return np.array([np.quantile(rng.choice(x, len(x)), q) for _ in range(num_resamples)])

    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.divide(np.quantile(model, q), np.quantile(real, q))
        spread = np.std(resampled(model) / resampled(real), ddof=1)
    return Estimate(float(ratio), float(spread))


def _row_sums(x: ArrayLike) -> NDArray:
    x = np.asarray(x, float)
    return present(x if x.ndim == 1 else np.nansum(x, axis=1))


def mean_excess(x: ArrayLike, thresholds: Sequence[float] | None = None) -> dict[float, Estimate]:
    """The mean of x - u over the values above each threshold u, with its standard error.

    Args:
        x: values; missing ones are left out.
        thresholds: by default the quantiles .5, .75, .9, .95 and .99; one with fewer than two values above is left out.
    """
    x = present(x)
    chosen = np.quantile(x, (0.5, 0.75, 0.9, 0.95, 0.99)) if thresholds is None else thresholds
    above = {float(u): x[x > u] - u for u in chosen}
    return {
        u: Estimate(float(over.mean()), float(over.std(ddof=1) / np.sqrt(len(over))))
        for u, over in above.items()
        if len(over) > 1
    }


def hill(x: ArrayLike, num_largest: int | None = None, confidence: float = 0.95) -> Bounded:
    r"""The index ξ of the tail, 1/α for a tail like $x^{-\alpha}$, between the ends of its interval.

    Args:
        x: values; missing ones are left out.
        num_largest: how many of the largest are the tail; by default the square root of their number, 10 at least.
        confidence: of the interval, in a tail that is Pareto.

    References:
        Hill (1975), A simple general approach to inference about the tail of a distribution, Annals of Statistics 3.
    """
    from scipy.stats import chi2

    x = np.sort(present(x))
    num = max(10, int(np.sqrt(len(x)))) if num_largest is None else num_largest
    _validate.whole("num_largest", num, 1)
    if num >= len(x) or x[-num - 1] <= 0:
        raise ValueError(f"`x` must hold more than `num_largest` = {num} positive values; got {np.sum(x > 0)}.")
    index = float(np.mean(np.log(x[-num:] / x[-num - 1])))
    low, high = 2 * num * index / chi2.ppf([0.5 + confidence / 2, 0.5 - confidence / 2], 2 * num)
    return Bounded(index, float(low), float(high))
