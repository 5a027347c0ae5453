r"""Do rows fall where a predicted law says? The randomised probability integral transform.

For a law with cumulative distribution function F, atoms and grids included,

$$u = F(y^-) + v\,(F(y) - F(y^-)), \qquad v \sim U(0, 1)$$

is uniform, and $\Phi^{-1}(u)$ standard normal, if y is from F: where F is continuous u = F(y), and over an atom u is
spread evenly over its jump.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde import _validate
from ptilde.diagnostics.results import Test

Floats = NDArray[np.float64]
ROUNDING = 1e-6  # by which a computed F may leave [0, 1] or fall


def pit(cdf: ArrayLike, cdf_below: ArrayLike | None = None, *, seed: int = 0) -> Floats:
    """The transform u of each value, uniform if the law is right.

    Args:
        cdf: F(y) of the law predicted for each value.
        cdf_below: F(y⁻), the probability strictly below it; None where all laws are continuous.
        seed: of v.

    References:
        Dunn & Smyth (1996), Randomized quantile residuals, Journal of Computational and Graphical Statistics 5.
    """
    upper = np.asarray(cdf, float)
    lower = upper if cdf_below is None else np.asarray(cdf_below, float)
    if upper.shape != lower.shape:
        raise ValueError(f"`cdf` and `cdf_below` must be of one shape; got {upper.shape} and {lower.shape}.")
    right = (lower >= -ROUNDING) & (lower <= upper + ROUNDING) & (upper <= 1 + ROUNDING)
    if not right.all():
        i = int(np.argmin(right.ravel()))
        raise ValueError(
            f"`cdf_below` and `cdf` must rise within [0, 1]; got {lower.ravel()[i]} and {upper.ravel()[i]} in row {i}."
        )
    v = np.random.default_rng(seed).random(upper.shape)
    return np.clip(lower + v * (upper - lower), 0.0, 1.0)


def pit_among(values: ArrayLike, draws: ArrayLike, *, seed: int = 0) -> Floats:
    r"""The places of values among draws: the transform by the law that puts them among m draws at random.

    With v uniform, $u = (\#\{d_j < y\} + v\,(1 + \#\{d_j = y\}))/(m + 1)$ is exactly uniform if y and the draws have
    one law, with atoms, on a grid or continuous, however few draws there are. Values that share draws depend on each
    other.

    Args:
        values: (n,) numbers.
        draws: (m,) numbers.
        seed: of v.
    """
    y, d = np.asarray(values, float), np.sort(np.asarray(draws, float))
    if not len(d) or not (np.isfinite(y).all() and np.isfinite(d).all()):
        raise ValueError("`values` and `draws` must be finite, and there must be draws; got others, or none.")
    below, up_to = (np.searchsorted(d, y, side) for side in ("left", "right"))
    return pit((up_to + 1) / (len(d) + 1), below / (len(d) + 1), seed=seed)


def quantile_residuals(cdf: ArrayLike, cdf_below: ArrayLike | None = None, *, seed: int = 0) -> Floats:
    """Φ⁻¹(u) for each value, standard normal if the law is right; the arguments are those of `pit`."""
    from scipy.stats import norm

    tiny = np.finfo(float).eps
    return norm.ppf(np.clip(pit(cdf, cdf_below, seed=seed), tiny, 1 - tiny))


def uniformity_test(u: ArrayLike, *, num_bins: int | None = None) -> Test:
    """The test that independent values are uniform on [0, 1].

    Args:
        u: the values.
        num_bins: of equal width, for a chi-square test, which sees many narrow faults; None for Kolmogorov and
            Smirnov's, which sees one broad one.
    """
    from scipy.stats import chisquare, kstest

    u = np.asarray(u, float).ravel()
    if not len(u) or not np.all((u >= 0) & (u <= 1)):
        raise ValueError("`u` must hold numbers in [0, 1]; got others, or none.")
    if num_bins is None:
        result = kstest(u, "uniform")
    else:
        _validate.whole("num_bins", num_bins, 2)
        result = chisquare(np.histogram(u, num_bins, (0.0, 1.0))[0])
    return Test(float(result.statistic), float(result.pvalue))
