r"""Simple densities on atom-at-zero and body that ours must beat; each has `fit`, `score_samples` and `sample`.

Densities are with respect to Lebesgue measure plus a unit point mass at zero in each column, in the units of the data,
so that their means over the same held-out rows compare with ours. Columns are non-negative.

* `IndependentColumns`: each column alone, P(0) and a kernel density (or a normal) of the log amounts.
* `PatternGaussian`: the pattern (which columns are positive) is that of a training row; given it, the logs of the
  positive amounts are jointly normal. `GaussianPerPattern` is the stronger form, with a normal law for each pattern.
* `KernelLog1p`: scikit-learn's KernelDensity on log(1 + x), as a person would use it; it puts no mass on an atom, so
  that its log density is of another kind and is not reported.
* `KernelCells`: the amounts of a table that is recorded in steps, each column alone, as probabilities of its values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr
from sklearn.neighbors import KernelDensity

LOG_2_PI = np.log(2 * np.pi)


class IndependentColumns:
    """The product of one-column hurdle laws; the logs of the positive amounts have a normal-kernel density."""

    name = "independent columns"

    def fit(self, x: NDArray) -> IndependentColumns:
        self.zero = [(np.sum(column == 0) + 0.5) / (len(column) + 1) for column in x.T]
        self.amounts = [np.log(column[column > 0]) for column in x.T]
        self.width = [_silverman(amounts) for amounts in self.amounts]
        return self

    def score_samples(self, x: NDArray) -> NDArray:
        return sum((self._column(j, column) for j, column in enumerate(x.T)), np.zeros(len(x)))

    def _column(self, j: int, column: NDArray) -> NDArray:
        out = np.full(len(column), np.log(self.zero[j]))
        active = column > 0
        logs = np.log(column[active])
        density = np.concatenate([_kernel(part, self.amounts[j], self.width[j]) for part in _parts(logs)])
        out[active] = np.log1p(-self.zero[j]) + density - logs
        return out

    def sample(self, n: int, seed: int) -> NDArray:
        rng = np.random.default_rng(seed)
        columns = [
            np.where(rng.random(n) < zero, 0.0, np.exp(rng.choice(amounts, n) + width * rng.standard_normal(n)))
            for zero, amounts, width in zip(self.zero, self.amounts, self.width, strict=True)
        ]
        return np.column_stack(columns)


class PatternGaussian:
    r"""P(pattern) from training frequencies, then the normal law of the logs of the positive amounts.

    One normal law serves every pattern: the mean of a column and the covariance of a pair are over all rows where they
    are positive, with negative eigenvalues lifted, and a pattern takes the part for its columns. P(pattern) is the
    frequency with Laplace's one row more for each of the 2^d patterns where 2^d is below the number of rows; above
    that, Good and Turing's mass of the unseen (the share of rows whose pattern is theirs alone) is spread by the law of
    independent columns.
    """

    name = "bootstrapped patterns + Gaussian log-amounts"
    enough = np.inf

    def fit(self, x: NDArray) -> PatternGaussian:
        active = x > 0
        self.rows, self.num_columns = x.shape
        self.pooled = _pairwise(np.where(active, np.log(np.where(active, x, 1.0)), np.nan))
        patterns, index, count = np.unique(active, axis=0, return_inverse=True, return_counts=True)
        index = index.ravel()
        self.count = {tuple(p): int(c) for p, c in zip(patterns, count, strict=True)}
        self.share = (active.sum(0) + 0.5) / (len(x) + 1)
        self.unseen = np.sum(count == 1) / len(x)
        self.law = {}
        for i, pattern in enumerate(patterns):
            if count[i] > self.enough * (pattern.sum() + 1):
                logs = np.log(x[index == i][:, pattern])
                self.law[tuple(pattern)] = logs.mean(0), np.atleast_2d(np.cov(logs.T)) if pattern.any() else np.eye(0)
        self.drawn_from = active
        return self

    def score_samples(self, x: NDArray) -> NDArray:
        out = np.empty(len(x))
        patterns, index = np.unique(x > 0, axis=0, return_inverse=True)
        for i, pattern in enumerate(patterns):
            rows = index.ravel() == i
            logs = np.log(x[rows][:, pattern])
            out[rows] = self._log_pattern(pattern) + _log_normal(logs, *self._amounts(pattern)) - logs.sum(1)
        return out

    def _log_pattern(self, pattern: NDArray) -> float:
        count = self.count.get(tuple(pattern), 0)
        if 2.0**self.num_columns <= self.rows:
            return float(np.log((count + 1) / (self.rows + 2**self.num_columns)))
        alone = np.prod(np.where(pattern, self.share, 1 - self.share))
        return float(np.log((1 - self.unseen) * count / self.rows + max(self.unseen, 1 / self.rows) * alone))

    def _amounts(self, pattern: NDArray) -> tuple[NDArray, NDArray]:
        mean, covariance = self.pooled
        return self.law.get(tuple(pattern), (mean[pattern], _lifted(covariance[np.ix_(pattern, pattern)])))

    def sample(self, n: int, seed: int) -> NDArray:
        rng = np.random.default_rng(seed)
        active = self.drawn_from[rng.integers(0, len(self.drawn_from), n)]
        out = np.zeros(active.shape)
        patterns, index = np.unique(active, axis=0, return_inverse=True)
        for i, pattern in enumerate(patterns):
            rows = np.flatnonzero(index.ravel() == i)
            if pattern.any():
                mean, covariance = self._amounts(pattern)
                logs = rng.multivariate_normal(mean, covariance, len(rows), method="eigh")
                out[np.ix_(rows, np.flatnonzero(pattern))] = np.exp(logs)
        return out


class GaussianPerPattern(PatternGaussian):
    """As `PatternGaussian`, but a pattern of k positive columns and over 10 (k + 1) rows has its own normal law."""

    name = "bootstrapped patterns + a Gaussian for each"
    enough = 10


class KernelLog1p:
    """scikit-learn's KernelDensity with Scott's bandwidth, on log(1 + x), standardised; draws go back by expm1."""

    name = "scikit-learn KernelDensity on log1p"

    def fit(self, x: NDArray) -> KernelLog1p:
        z = np.log1p(x)
        self.centre, self.scale = z.mean(0), z.std(0)
        self.density = KernelDensity(bandwidth="scott").fit((z - self.centre) / self.scale)
        return self

    def sample(self, n: int, seed: int) -> NDArray:
        return np.expm1(self.density.sample(n, random_state=seed) * self.scale + self.centre)


class KernelCells:
    r"""Of each column alone, $P(v \mid v > 0) = (F(\log(v + s/2)) - F(\log(v - s/2)))\,/\,(1 - F(\log(s/2)))$.

    s is the step of recording and F the normal-kernel law of the logs of the positive amounts. Of Silverman's width
    times 1/4, 1/2, 1 and 2 a column takes the best on a fifth of its amounts, held out.
    """

    name = "independent kernel densities of the amounts"

    def fit(self, x: NDArray, step: NDArray, seed: int = 0) -> KernelCells:
        self.step, rng = step, np.random.default_rng(seed)
        self.logs = [np.log(rng.permutation(column[column > 0])) for column in x.T]
        self.width = [self._width(j) for j in range(x.shape[1])]
        return self

    def log_prob(self, x: NDArray) -> NDArray:
        """The sum over each row's positive values."""
        out = np.zeros(x.shape)
        for j, column in enumerate(x.T):
            there = column > 0
            out[there, j] = self._log_cells(j, column[there], self.logs[j], self.width[j])
        return out.sum(1)

    def _width(self, j: int) -> float:
        few, rest = np.split(self.logs[j], [len(self.logs[j]) // 5])
        widths = _silverman(rest) * np.array([0.25, 0.5, 1.0, 2.0])
        return max(widths, key=lambda width: self._log_cells(j, np.exp(few), rest, width).sum())

    def _log_cells(self, j: int, values: NDArray, logs: NDArray, width: float) -> NDArray:
        half = self.step[j] / 2
        cells, index = np.unique(values, return_inverse=True)
        edges = np.log(np.stack([np.maximum(cells - half, half), cells + half]))
        mass = np.diff(ndtr((edges[..., None] - logs) / width).mean(-1), axis=0)[0]
        above = ndtr((logs - np.log(half)) / width).mean()
        return np.log(np.maximum(mass, 1e-300) / above)[index]


def _silverman(x: NDArray) -> float:
    """Silverman's rule of thumb (1986, Density estimation, equation 3.31)."""
    quartiles = np.subtract(*np.quantile(x, [0.75, 0.25])) / 1.34
    return float(0.9 * (min(np.std(x), quartiles) or np.std(x) or 1.0) * len(x) ** -0.2)


def _parts(x: NDArray) -> list[NDArray]:
    return np.array_split(x, max(1, len(x) // 500))


def _kernel(x: NDArray, centres: NDArray, width: float) -> NDArray:
    z = (x[:, None] - centres) / width
    return logsumexp(-0.5 * z**2, axis=1) - np.log(len(centres) * width) - 0.5 * LOG_2_PI


def _pairwise(logs: NDArray) -> tuple[NDArray, NDArray]:
    """Mean of each column and covariance of each pair, over the rows where they are there."""
    mean = np.nanmean(logs, axis=0)
    there = ~np.isnan(logs)
    centred = np.where(there, logs - mean, 0.0)
    number = np.maximum(there.T.astype(float) @ there, 1)
    return mean, centred.T @ centred / number


def _lifted(covariance: NDArray) -> NDArray:
    """The nearest covariance whose eigenvalues are at least 5 % of their mean: pairs estimated apart need not agree."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors @ np.diag(np.maximum(values, 0.05 * values.mean() if len(values) else 0.0)) @ vectors.T


def _log_normal(x: NDArray, mean: NDArray, covariance: NDArray) -> NDArray:
    if not x.shape[1]:
        return np.zeros(len(x))
    root = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(root, (x - mean).T)
    return -0.5 * (whitened**2).sum(0) - np.log(np.diag(root)).sum() - 0.5 * x.shape[1] * LOG_2_PI
