r"""Rough shares of a grid's values: a table of masses behind the smooth marginal.

Prices end in 99, policies do not begin on Sundays: the shares of a grid's values may be rough where no spline follows.
Let $s_k$ be the mass that the smooth marginal gives the cell of value k among the cells of its level, which tile the
line, $n_k$ the weight of the rows on it, and $n = \sum_k n_k$. With a Dirichlet prior of mean $s$ and strength
$\alpha$ the mass becomes
$$m_k = \frac{n_k + \alpha s_k}{n + \alpha}, \qquad
\log L(\alpha) = \log\frac{\Gamma(\alpha)}{\Gamma(n + \alpha)}
+ \sum_{k:\,n_k > 0} \log\frac{\Gamma(n_k + \alpha s_k)}{\Gamma(\alpha s_k)},$$
and $\alpha$ is where the marginal likelihood $L$ is largest (Minka 2000). The smooth law is $\alpha = \infty$, with
$\log L = \sum_k n_k \log s_k$. It stays unless the gain is above `LEAST_GAIN` a row, below which a classifier
sees little, and above $\log n$ plus `LEAST_NATS`, which chance does not reach; then there is no table at all.

**As a map.** $z = \Phi^{-1}(G(\Phi(z_s)))$ of the smooth $z_s$, where G is linear in each seen cell, with slope
$m_k/s_k$, and with slope $\alpha/(n+\alpha)$ in each run of cells that were not seen. So G is given by pairs
$(z_s, z)$ at the ends of the seen cells. On each piece
$$\frac{dz}{dz_s} = G'\,\frac{\varphi(z_s)}{\varphi(z)},$$
and the inverse is the map of the swapped pairs. All of it is done with logs of both tails, which keep their digits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, log_ndtr, ndtri_exp
from scipy.stats import norm

Array = NDArray[np.float64]

# With ε nats a row to gain, the best classifier's AUC between data and the smooth law is about ½ + 0.4√ε: here 0.513.
LEAST_GAIN, LEAST_NATS = 1e-3, 5.0
MOST_CELLS = 20_000
# In pieces narrower than `NARROW` Φ(b) - Φ(a) is φ(middle)(b - a), to 1e-11 for |z| < 8. Narrower than `NARROWEST`
# they are a few floats wide.
NARROW, NARROWEST = 1e-6, 1e-12


@dataclass(frozen=True, eq=False)
class Masses:
    """The map of one level of a grid: from the smooth z to that of the observed shares.

    Attributes:
        knots: (2, m) rows $z_s$ and $z$ at the ends of the seen cells, both increasing.
    """

    knots: Array

    @classmethod
    def fit(cls, low: Array, high: Array, weight: Array) -> "Masses | None":
        """The map of disjoint seen cells (m,), of these ends in the smooth z and these weights; None if it is smooth.

        Args:
            low: lower ends, increasing, the first perhaps minus infinity; cells that touch share the very number.
            high: upper ends, the last perhaps infinity.
            weight: weight of the rows in each cell.
        """
        smooth = np.unique(np.concatenate([low, high]))
        smooth = smooth[np.isfinite(smooth)]
        if len(low) > MOST_CELLS or not len(smooth) or min(_least(smooth), (high - low).min()) < NARROWEST:
            return None
        n, log_s = weight.sum(), _log_between(low, high)
        tried = _log_likelihoods(weight, log_s, alphas := 2.0 ** np.arange(np.ceil(np.log2(100 * n + 1)) + 1))
        best = int(np.argmax(tried))
        if tried[best] - weight @ log_s <= max(LEAST_GAIN * n, np.log(n) + LEAST_NATS):
            return None
        ends, held = np.concatenate([[-np.inf], smooth, [np.inf]]), np.zeros(len(smooth) + 1)
        held[np.searchsorted(ends, low)] = weight
        log_alpha, log_s = np.log(alphas[best]), _log_between(ends[:-1], ends[1:])
        with np.errstate(divide="ignore"):
            log_m = np.logaddexp(np.log(held), log_alpha + log_s) - np.log(n + alphas[best])
        below, above = np.logaddexp.accumulate(log_m)[:-1], np.logaddexp.accumulate(log_m[::-1])[::-1][1:]
        rough = _of_tails(below, above)
        return cls(np.array([smooth, rough])) if _least(rough) >= NARROWEST else None

    def forward(self, z: Array) -> tuple[Array, Array]:
        r"""The rough z of smooth ones (n,), and the log slope $\log dz/dz_s$ there."""
        return _map(self.knots[0], self.knots[1], z)

    def inverse(self, z: Array) -> Array:
        """The smooth z that `forward` sends to `z` (n,)."""
        return _map(self.knots[1], self.knots[0], z)[0]


def _log_likelihoods(weight: Array, log_s: Array, alphas: Array) -> Array:
    """Of each strength, the log marginal likelihood of the weights (m,) of the seen cells."""
    n = weight.sum()
    found = []
    for alpha in alphas:
        a = alpha * np.exp(log_s)
        # log Γ(a) = log Γ(1 + a) - log a, for masses below the least float.
        of_cells = gammaln(weight + a) - gammaln(1 + a) + np.log(alpha) + log_s
        found.append(gammaln(alpha) - gammaln(n + alpha) + of_cells.sum())
    return np.array(found)


def _map(start: Array, end: Array, z: Array) -> tuple[Array, Array]:
    """Φ⁻¹(G(Φ(z))) and its log slope, G linear between the knots `start` and sending them to `end`."""
    i = np.searchsorted(start, z)
    low, high = _pieces(start, i)
    to_low, to_high = _pieces(end, i)
    left, right = _log_between(low, z), _log_between(z, high)
    whole = np.logaddexp(left, right)
    below = np.logaddexp(log_ndtr(to_low) + right - whole, log_ndtr(to_high) + left - whole)
    above = np.logaddexp(log_ndtr(-to_low) + right - whole, log_ndtr(-to_high) + left - whole)
    found = _of_tails(below, above)
    return found, _log_between(to_low, to_high) - whole + norm.logpdf(z) - norm.logpdf(found)


def _pieces(knots: Array, i: NDArray[np.intp]) -> tuple[Array, Array]:
    """The ends of the i-th pieces of the line, which begins and ends at infinity."""
    ends = np.concatenate([[-np.inf], knots, [np.inf]])
    return ends[i], ends[i + 1]


def _of_tails(below: Array, above: Array) -> Array:
    """Normal quantiles from the logs of the two masses beside it, by the smaller one."""
    tail = ndtri_exp(np.minimum(np.minimum(below, above), np.log(0.5)))
    return np.where(below < above, tail, -tail)


def _log_between(low: Array, high: Array) -> Array:
    """log(Φ(high) - Φ(low)), minus infinity where they are equal."""
    flip = low > -high  # work in the left tail, where Φ keeps its digits
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    top = log_ndtr(high)
    with np.errstate(divide="ignore", invalid="ignore"):
        wide = top + np.log(-np.expm1(log_ndtr(low) - top))
        narrow = norm.logpdf((low + high) / 2) + np.log(high - low)
    return np.where(high - low < NARROW, narrow, wide)


def _least(knots: Array) -> float:
    """The least distance between two knots."""
    return float(np.diff(knots).min(initial=np.inf))
