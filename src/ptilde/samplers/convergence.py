r"""Have chains converged, and what are their draws worth?

Rank-normalised split R-hat and effective sample sizes: every draw becomes the normal score of its rank among all,
$z = \Phi^{-1}((r - 3/8)/(S + 1/4))$, so that heavy tails do no harm; chains are halved, so that a drift shows.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Rank-normalization, folding, and localization: an improved R-hat,
Bayesian Analysis 16; autocovariances are summed by Geyer's (1992) initial monotone sequence.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.stats import norm, rankdata

Draws = Float[np.ndarray, "chain draw"]
Floats = NDArray[np.floating]


def rank_normalized_rhat(x: Draws) -> float:
    """The larger of the R-hats of the ranks and of the folded ranks: 1 at convergence; NaN where nothing moves."""
    halves = _split(x)
    folded = np.abs(halves - np.median(halves))
    return max(_rhat(_scores(halves)), _rhat(_scores(folded)))


def bulk_ess(x: Draws) -> float:
    """Independent draws that would tell the centre as well."""
    return _ess(_scores(_split(x)))


def tail_ess(x: Draws) -> float:
    """Independent draws that would tell the 5 % and the 95 % quantile as well, the worse of both."""
    halves = _split(x)
    return min(_ess((halves <= np.quantile(halves, q)).astype(float)) for q in (0.05, 0.95))


def mean_error(x: Draws) -> float:
    """Monte-Carlo standard error of the mean."""
    return float(np.std(x, ddof=1) / np.sqrt(_ess(_split(x))))


def _split(x: Draws) -> Draws:
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, x.shape[1] - half :]])


def _scores(x: Draws) -> Draws:
    ranks = rankdata(x, axis=None).reshape(x.shape)
    return norm.ppf((ranks - 0.375) / (x.size + 0.25))


def _rhat(x: Draws) -> float:
    num_draws = x.shape[1]
    within = np.mean(np.var(x, axis=1, ddof=1))
    between = num_draws * np.var(np.mean(x, axis=1), ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt((between / within + num_draws - 1) / num_draws))


def _ess(x: Draws) -> float:
    num_chains, num_draws = x.shape
    if num_draws < 4 or np.ptp(x) == 0:
        return float("nan")
    covariance = _autocovariance(x)
    within = np.mean(covariance[:, 0]) * num_draws / (num_draws - 1)
    total = within * (num_draws - 1) / num_draws
    if num_chains > 1:
        total += np.var(np.mean(x, axis=1), ddof=1)
    rho = 1 - (within - np.mean(covariance, axis=0)) / total
    rho[0] = 1.0
    pairs = rho[: num_draws // 2 * 2].reshape(-1, 2).sum(1)  # Geyer: sums of neighbours are positive and fall
    negative = np.flatnonzero(pairs <= 0)
    last = min(int(negative[0]) if negative.size else num_draws, (num_draws - 3) // 2)
    time = 2 * np.minimum.accumulate(pairs[:last]).sum() - 1 + max(rho[2 * last], 0.0)
    num = num_chains * num_draws
    return float(num / max(time, 1 / np.log10(num)))


def _autocovariance(x: Draws) -> Floats:
    """Of each chain at every lag, divided by the number of draws."""
    num_draws = x.shape[1]
    size = next_fast_len(2 * num_draws)
    spectrum = rfft(x - x.mean(axis=1, keepdims=True), size, axis=1)
    return np.asarray(irfft(np.abs(np.asarray(spectrum)) ** 2, size, axis=1))[:, :num_draws] / num_draws
