r"""Laws that can be drawn from and whose log density is known exactly.

* Tweedie: a Poisson number of gamma amounts, zero when there is none.
* Gaussian mixture with one common covariance; the default is the two-mode toy of Song & Ermon (2019), Section 3.2.2.
* Hurdle: which columns are positive is an Ising model, and the positive amounts are jointly log-normal.

Densities are with respect to Lebesgue measure plus a unit point mass at zero in each column that has an atom there. A
`seed` is a number or a `numpy.random.Generator`.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from ptilde import _validate

Seed = int | np.random.Generator | None
Array = NDArray[np.floating]

TOY_WEIGHTS = (0.2, 0.8)
TOY_MEANS = ((-5.0, -5.0), (5.0, 5.0))

HURDLE_LOGITS = (0.5, -0.5, -2.0)
HURDLE_INTERACTIONS = ((0.0, 0.8, 0.6), (0.8, 0.0, 1.0), (0.6, 1.0, 0.0))
HURDLE_LOG_MEANS = (3.0, 1.5, 5.0)
HURDLE_LOG_COVARIANCE = ((1.0, 0.5, 0.3), (0.5, 1.5, 0.2), (0.3, 0.2, 0.8))


def tweedie(n: int, *, power: float = 1.2, mean: float = 3.0, dispersion: float = 2.0, seed: Seed = None) -> Array:
    r"""Draws, (n,), of a Tweedie law with 1 < p < 2: a compound Poisson-gamma sum, exactly zero with probability e^-λ.

    $N \sim \mathrm{Poisson}(\lambda)$ amounts of law $\Gamma(\alpha, \text{scale } \gamma)$ are added up, with
    $\lambda = \mu^{2-p}/(\varphi(2-p))$, $\alpha = (2-p)/(p-1)$ and $\gamma = \varphi(p-1)\mu^{p-1}$, so that the mean
    is $\mu$ and the variance $\varphi\mu^p$.

    References:
        Jørgensen (1987), Exponential dispersion models, JRSS B 49, Section 4.
    """
    rate, shape, scale = _compound(power, mean, dispersion)
    generator = np.random.default_rng(seed)
    number = generator.poisson(rate, _validate_n(n))
    return np.where(number > 0, generator.gamma(np.maximum(number, 1) * shape, scale), 0.0)


def tweedie_log_density(y: ArrayLike, *, power: float = 1.2, mean: float = 3.0, dispersion: float = 2.0) -> Array:
    r"""Log density of `tweedie` at each y: -λ at zero, -inf below it, and above it the log of the Poisson-gamma series.

    The terms $\mathrm{Poisson}(j; \lambda)\,\Gamma(y; j\alpha, \gamma)$ are log-concave in $j$ and largest near
    $y^{2-p}/(\varphi(2-p))$; the sum is over the window around it outside which they are below 1e-20 of it.

    References:
        Dunn & Smyth (2005), Series evaluation of Tweedie exponential dispersion model densities, Statistics and
        Computing 15, Section 4.
    """
    rate, shape, scale = _compound(power, mean, dispersion)
    y = np.asarray(y, np.float64)
    out = np.where(y == 0, -rate, -np.inf)
    positive = (y > 0) & np.isfinite(y)
    parts = np.array_split(y[positive], 1 + positive.sum() // 1_000)  # bounds the memory of the windows
    out[positive] = np.concatenate([_series(part, rate, shape, scale) for part in parts])
    return np.where(np.isnan(y), np.nan, out)


def _compound(power: float, mean: float, dispersion: float) -> tuple[float, float, float]:
    """The rate, shape and scale of the compound Poisson-gamma sum."""
    if not 1 < power < 2:
        raise ValueError(f"`power` must be above 1 and below 2 (a sum of gamma amounts); got {power!r}.")
    _validate.positive("mean", mean)
    _validate.positive("dispersion", dispersion)
    rate = mean ** (2 - power) / (dispersion * (2 - power))
    return rate, (2 - power) / (power - 1), dispersion * (power - 1) * mean ** (power - 1)


def _series(y: Array, rate: float, shape: float, scale: float) -> Array:
    # Stirling in j for the log of a term, rate^j (y/scale)^(j shape) / (j! Γ(j shape)): its peak, and the curvature
    # (1 + shape)/j there. Twelve deviations and forty terms leave less than 1e-20 on either side.
    peak = np.exp((np.log(rate) + shape * np.log(y / scale) - shape * np.log(shape)) / (1 + shape))
    half = np.ceil(12 * np.sqrt(np.max(peak, initial=1.0)) + 40)
    first = np.maximum(1, np.floor(peak - half))
    j = first[:, None] + np.arange(2 * half + 1)
    z = y[:, None] / scale
    poisson = j * np.log(rate) - rate - gammaln(j + 1)
    gamma = (j * shape - 1) * np.log(z) - z - gammaln(j * shape) - np.log(scale)
    return np.logaddexp.reduce(poisson + gamma, axis=1)


def gaussian_mixture(
    n: int,
    *,
    weights: ArrayLike = TOY_WEIGHTS,
    means: ArrayLike = TOY_MEANS,
    covariance: ArrayLike | None = None,
    seed: Seed = None,
) -> Array:
    r"""Draws, (n, d), of $\sum_k w_k N(\mu_k, \Sigma)$; $\Sigma$ is the identity when `covariance` is None.

    References:
        Song & Ermon (2019), Generative modeling by estimating gradients of the data distribution, NeurIPS,
        Section 3.2.2.
    """
    weights, means, root = _mixture(weights, means, covariance)
    generator = np.random.default_rng(seed)
    which = generator.choice(len(weights), _validate_n(n), p=weights)
    return means[which] + generator.standard_normal((n, means.shape[1])) @ root.T


def gaussian_mixture_log_density(
    x: ArrayLike,
    *,
    weights: ArrayLike = TOY_WEIGHTS,
    means: ArrayLike = TOY_MEANS,
    covariance: ArrayLike | None = None,
) -> Array:
    """Log density of `gaussian_mixture` at each row of x."""
    weights, means, root = _mixture(weights, means, covariance)
    return np.logaddexp.reduce(_log_parts(np.asarray(x, np.float64), weights, means, root), axis=1)


def gaussian_mixture_score(
    x: ArrayLike,
    *,
    weights: ArrayLike = TOY_WEIGHTS,
    means: ArrayLike = TOY_MEANS,
    covariance: ArrayLike | None = None,
) -> Array:
    r"""Gradient in x of the log density of `gaussian_mixture`: $\sum_k P(k \mid x)\,\Sigma^{-1}(\mu_k - x)$, (n, d)."""
    weights, means, root = _mixture(weights, means, covariance)
    x = np.asarray(x, np.float64)
    parts = _log_parts(x, weights, means, root)
    posterior = np.exp(parts - np.logaddexp.reduce(parts, axis=1, keepdims=True))
    return np.linalg.solve(root @ root.T, (posterior @ means - x).T).T


def _mixture(weights: ArrayLike, means: ArrayLike, covariance: ArrayLike | None) -> tuple[Array, Array, Array]:
    """Normalised weights, means and the Cholesky root of the covariance."""
    means = np.atleast_2d(np.asarray(means, np.float64))
    weights = np.asarray(weights, np.float64)
    if weights.shape != means.shape[:1] or (weights < 0).any() or not weights.sum() > 0:
        raise ValueError(f"`weights` must be one number >= 0 for each of the {len(means)} means; got {weights}.")
    covariance = np.eye(means.shape[1]) if covariance is None else np.asarray(covariance, np.float64)
    return weights / weights.sum(), means, np.linalg.cholesky(covariance)


def _log_parts(x: Array, weights: Array, means: Array, root: Array) -> Array:
    """Log w_k + log N(x; mean_k, covariance), (n, k)."""
    with np.errstate(divide="ignore"):  # a weight of zero is a log weight of -inf
        log_weights = np.log(weights)
    return log_weights + np.stack([_log_normal(x - mean, root) for mean in means], axis=1)


def _log_normal(centred: Array, root: Array) -> Array:
    """Log density of N(0, root rootᵀ) at each row."""
    whitened = np.linalg.solve(root, centred.T)
    log_determinant = np.log(np.diag(root)).sum()
    return -0.5 * (whitened**2).sum(0) - log_determinant - 0.5 * len(root) * np.log(2 * np.pi)


def hurdle(
    n: int,
    *,
    logits: ArrayLike = HURDLE_LOGITS,
    interactions: ArrayLike = HURDLE_INTERACTIONS,
    log_means: ArrayLike = HURDLE_LOG_MEANS,
    log_covariance: ArrayLike = HURDLE_LOG_COVARIANCE,
    seed: Seed = None,
) -> Array:
    r"""Draws, (n, d), of a multivariate hurdle law: zeros that come together, and dependent log-normal amounts.

    The pattern $b \in \{0, 1\}^d$ of positive columns has $P(b) \propto \exp(a^\top b + \tfrac12 b^\top J b)$, with
    $a$ the `logits` and $J$ the `interactions` (symmetric, zero on the diagonal). Given it, the logs of the positive
    amounts are the matching coordinates of $N(m, S)$, `log_means` and `log_covariance`; the others are exactly zero.
    """
    mean, covariance = _amounts(log_means, log_covariance)
    patterns, log_p = _patterns(logits, interactions)
    generator = np.random.default_rng(seed)
    which = generator.choice(len(patterns), _validate_n(n), p=np.exp(log_p))
    amounts = np.exp(mean + generator.standard_normal((n, len(mean))) @ np.linalg.cholesky(covariance).T)
    return np.where(patterns[which], amounts, 0.0)


def hurdle_log_density(
    x: ArrayLike,
    *,
    logits: ArrayLike = HURDLE_LOGITS,
    interactions: ArrayLike = HURDLE_INTERACTIONS,
    log_means: ArrayLike = HURDLE_LOG_MEANS,
    log_covariance: ArrayLike = HURDLE_LOG_COVARIANCE,
) -> Array:
    r"""Log density of `hurdle` at each row: $\log P(b) + \log N(\log x_b; m_b, S_{bb}) - \sum_{j \in b} \log x_j$."""
    mean, covariance = _amounts(log_means, log_covariance)
    x = np.asarray(x, np.float64)
    out = np.full(len(x), -np.inf)
    for pattern, log_p in zip(*_patterns(logits, interactions), strict=True):
        rows = ((x > 0) == pattern).all(1) & (x >= 0).all(1)
        log_x = np.log(x[rows][:, pattern])
        root = np.linalg.cholesky(covariance[np.ix_(pattern, pattern)])
        out[rows] = log_p + _log_normal(log_x - mean[pattern], root) - log_x.sum(1)
    return out


def _patterns(logits: ArrayLike, interactions: ArrayLike) -> tuple[NDArray[np.bool_], Array]:
    """All 2^d patterns and their log probabilities."""
    logits, interactions = np.asarray(logits, np.float64), np.asarray(interactions, np.float64)
    if len(logits) > 16:
        raise ValueError(f"`logits` must have at most 16 columns, as all 2^d patterns are listed; got {len(logits)}.")
    if interactions.shape != 2 * logits.shape or not np.array_equal(interactions, interactions.T):
        raise ValueError(f"`interactions` must be a symmetric matrix, a row a column; got shape {interactions.shape}.")
    if np.diag(interactions).any():
        raise ValueError(f"`interactions` must be zero on its diagonal (use `logits`); got {np.diag(interactions)}.")
    patterns = np.array(list(itertools.product([False, True], repeat=len(logits))))
    energy = patterns @ logits + 0.5 * np.einsum("ni,ij,nj->n", patterns, interactions, patterns)
    return patterns, energy - np.logaddexp.reduce(energy)


def _amounts(log_means: ArrayLike, log_covariance: ArrayLike) -> tuple[Array, Array]:
    return np.asarray(log_means, np.float64), np.asarray(log_covariance, np.float64)


def _validate_n(n: int) -> int:
    _validate.at_least("n", n, 0)
    return n
