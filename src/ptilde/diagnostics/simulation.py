r"""Is a posterior, a sampler or an interval right on average? Simulation-based calibration.

Draw θ from the prior, data given θ, and L draws from the posterior given the data: the rank of θ among the draws is
uniform on 0 .. L (Talts et al. 2018, Theorem 1). Of N such ranks the number below $k(L+1)/K$ is binomial at each point;
the band of Säilynoja, Bürkner & Vehtari (2022, Section 2) widens the binomial intervals to the level γ at which all of
them together hold with the given confidence, found here by simulation of uniform ranks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde import _validate
from ptilde.diagnostics.results import Bounded, share

Floats = NDArray[np.float64]
MOST_POINTS = 100  # at which the distribution function is looked at


class Calibration(NamedTuple):
    """The result of a simulation-based calibration of k parameters.

    Attributes:
        points: where the distribution function of the ranks is looked at, as shares, (m,).
        ecdf: the share of ranks below each point, (m, k).
        low: the lower end of the simultaneous band, (m,).
        high: its upper end.
        p_values: for each parameter, the chance of a distribution function as far from the diagonal.
    """

    points: Floats
    ecdf: Floats
    low: Floats
    high: Floats
    p_values: Floats


def simulation_calibration(
    ranks: ArrayLike, num_draws: int, *, confidence: float = 0.95, num_simulations: int = 2000, seed: int = 0
) -> Calibration:
    """The distribution of ranks against the band that uniform ones stay within as a whole.

    Args:
        ranks: of the true parameter among the draws, one a simulated data set, (N,) or (N, k); see `ranks_among`.
        num_draws: L, thinned so that draws are about independent.
        confidence: with which the whole of a right distribution function lies in the band.
        num_simulations: of uniform ranks; the least p-value is 1/(num_simulations + 1).
        seed: of these.

    References:
        Talts, Betancourt, Simpson, Vehtari & Gelman (2018), Validating Bayesian inference algorithms with
        simulation-based calibration, arXiv:1804.06788.
        Säilynoja, Bürkner & Vehtari (2022), Graphical test for discrete uniformity and its applications in
        goodness-of-fit evaluation and multiple sample comparison, Statistics and Computing 32.
    """
    _validate.whole("num_draws", num_draws, 1)
    ranks = np.asarray(ranks)
    ranks = ranks[:, None] if ranks.ndim == 1 else ranks
    if ranks.dtype.kind not in "iu" or ranks.min() < 0 or ranks.max() > num_draws:
        raise ValueError(f"`ranks` must be whole numbers from 0 to {num_draws}; got {ranks.min()} to {ranks.max()}.")
    num = len(ranks)
    edges = np.unique(np.linspace(0, num_draws + 1, min(num, num_draws + 1, MOST_POINTS) + 1).astype(int))
    places = edges[1:-1] / (num_draws + 1)
    below = np.sum(ranks[:, :, None] < edges[1:-1], axis=0).T
    bins = np.random.default_rng(seed).multinomial(num, np.diff(edges) / (num_draws + 1), num_simulations)
    simulated = _least_tail(np.cumsum(bins, axis=1)[:, :-1], num, places)
    observed = _least_tail(below.T, num, places)
    gamma = np.quantile(simulated, 1 - confidence)
    low, high = _ends(num, places, gamma)
    p_values = (1 + np.sum(simulated <= observed[:, None] * (1 + 1e-9), axis=1)) / (num_simulations + 1)
    return Calibration(places, below / num, low, high, p_values)


def _least_tail(counts: NDArray, num: int, places: Floats) -> Floats:
    """For each row of counts, the least two-sided binomial tail over the places."""
    from scipy.stats import binom

    return 2 * np.min(np.minimum(binom.cdf(counts, num, places), binom.sf(counts - 1, num, places)), axis=1)


def _ends(num: int, places: Floats, gamma: float) -> tuple[Floats, Floats]:
    from scipy.stats import binom

    return binom.ppf(gamma / 2, num, places) / num, binom.ppf(1 - gamma / 2, num, places) / num


def ranks_among(truth: ArrayLike, draws: ArrayLike, *, seed: int = 0) -> NDArray[np.int_]:
    """How many draws lie below each true value, ties broken at random.

    Args:
        truth: (N, k), or (N,).
        draws: for each of them L draws, (N, L, k), or (N, L).
        seed: of the ties.
    """
    truth, draws = np.asarray(truth, float)[:, None], np.asarray(draws, float)
    ties = np.sum(draws == truth, axis=1)
    return np.sum(draws < truth, axis=1) + np.random.default_rng(seed).integers(0, ties + 1)


def coverage(low: ArrayLike, high: ArrayLike, truth: ArrayLike, confidence: float = 0.95) -> Bounded:
    """The share of intervals that hold the truth, between the ends of its own binomial interval."""
    low, high, truth = np.broadcast_arrays(np.asarray(low, float), high, truth)
    return share(int(np.sum((low <= truth) & (truth <= high))), truth.size, confidence)
