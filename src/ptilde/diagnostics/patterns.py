r"""Which columns sit on which atom together: shares, distances and tests of discrete states.

A state is a row of an integer array. Under the hypothesis that two tables of a and b rows have one law of states, the
counts of the first given those of both together are multivariate hypergeometric; under a given law π those of one table
are multinomial. So p-values come from draws of these laws, and are right however rare the states are. The statistic is

$$G = 2\sum_k n_k\log\frac{n_k}{\hat n_k}$$

over the whole states, and over each column alone, which sees a wrong mass at one atom among many columns. The least of
their p-values, by gamma laws with the mean and variance of the draws, is held against its own law under these draws
(Westfall & Young 1993, Resampling-based multiple testing, Section 2.3), so that the gamma laws only set the scales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde.diagnostics.results import Estimate, Test
from ptilde.diagnostics.tables import Columns

Floats = NDArray


def atom_shares(x: ArrayLike, atoms: Sequence[float]) -> dict[float, Estimate]:
    """The share of values that sit on each atom (to 1e-7 of its size), with the binomial standard error."""
    x = np.asarray(x, float)
    shares = {float(a): float(np.mean(np.isclose(x, a, rtol=1e-7, atol=1e-12))) for a in atoms}
    return {a: Estimate(p, float(np.sqrt(p * (1 - p) / max(len(x), 1)))) for a, p in shares.items()}


def atom_states(table: Columns, atoms: Mapping[str, Sequence[float]]) -> NDArray[np.int_]:
    """For each row and each column with atoms: which atom it is on, from 1; 0 where on none, -1 where missing."""
    codes = np.zeros((len(next(iter(table.values()))), len(atoms)), int)
    for j, (name, values) in enumerate(atoms.items()):
        column = np.asarray(table[name], float)
        for code, atom in enumerate(values, start=1):
            codes[np.isclose(column, atom, rtol=1e-7, atol=1e-12), j] = code
        codes[np.isnan(column), j] = -1
    return codes


def pattern_total_variation(a: ArrayLike, b: ArrayLike, *, seed: int = 0, num_resamples: int = 200) -> Estimate:
    """Half the L1 distance between the shares of the patterns (rows) of two arrays, with its bootstrap standard error.

    Two samples of one law are about the square root of (patterns / rows) apart: compare with a floor.
    """
    _, count_a, count_b = _counts(_states(a), _states(b))
    rng = np.random.default_rng(seed)
    again_a = rng.multinomial(count_a.sum(), count_a / count_a.sum(), num_resamples)
    again_b = rng.multinomial(count_b.sum(), count_b / count_b.sum(), num_resamples)
    spread = np.std(_total_variation(again_a, again_b), ddof=1)
    return Estimate(float(_total_variation(count_a, count_b)), float(spread))


def pattern_test(a: ArrayLike, b: ArrayLike, *, num_draws: int = 999, seed: int = 0) -> Test:
    """The test that two arrays of states, rows of integers, have one law; the statistic is G of the whole states.

    Args:
        a: the one array, (n, columns).
        b: the other, such as the states of a model's draws.
        num_draws: of the null law; the least p-value is 1/(num_draws + 1).
        seed: of these.
    """
    states, count_a, count_b = _counts(_states(a), _states(b))
    rng, both = np.random.default_rng(seed), count_a + count_b
    drawn = np.vstack([count_a, rng.multivariate_hypergeometric(both, count_a.sum(), num_draws)])
    drawn, other, shares = (_grouped(counts, states) for counts in (drawn, both - drawn, both / both.sum()))
    return _least(
        [_likelihood_ratio(m, p) + _likelihood_ratio(n, p) for m, n, p in zip(drawn, other, shares, strict=True)]
    )


def pattern_fit_test(
    states: ArrayLike, law: Mapping[tuple[int, ...], float], *, num_draws: int = 999, seed: int = 0
) -> Test:
    """The test that states have a given law, {state: probability}; what is missing to one is any other state.

    Args:
        states: rows of integers.
        law: the probability of each state, as a tuple of its row.
        num_draws: of the null law.
        seed: of these.
    """
    rows, rest = _states(states), 1 - sum(law.values())
    if rest < -1e-6 or min(law.values()) < 0:
        raise ValueError(f"`law` must hold probabilities that sum to one at most; got a sum of {1 - rest:.6g}.")
    place = {tuple(state): k for k, state in enumerate(law)}
    index = np.array([place.get(tuple(row), len(law)) for row in rows.tolist()])
    shares = np.append(list(law.values()), max(rest, 0.0))
    shares /= shares.sum()
    counts = np.bincount(index, minlength=len(shares))
    if np.any((shares == 0) & (counts > 0)):
        return Test(np.inf, 1 / (num_draws + 1))  # a state that the law excludes
    drawn = np.vstack([counts, np.random.default_rng(seed).multinomial(len(rows), shares, num_draws)])
    known = np.array(list(law))
    known = np.vstack([known, known.min(axis=0) - 1])  # the rest is a state of its own
    drawn, shares = _grouped(drawn, known), _grouped(shares, known)
    return _least([_likelihood_ratio(n, p) for n, p in zip(drawn, shares, strict=True)])


def _states(a: ArrayLike) -> NDArray:
    a = np.asarray(a)
    return a[:, None] if a.ndim == 1 else a


def _counts(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """The distinct rows of both, and how often each is in either."""
    states, index = np.unique(np.concatenate([a, b]), axis=0, return_inverse=True)
    index = index.ravel()
    count_a, count_b = (np.bincount(part, minlength=len(states)) for part in (index[: len(a)], index[len(a) :]))
    return states, count_a, count_b


def _grouped(counts: Floats, states: NDArray) -> list[Floats]:
    """Counts of the states (last axis), as they are and then summed by the value of each column."""
    result = [counts]
    for column in states.T if states.shape[1] > 1 else ():
        order = np.argsort(column, kind="stable")
        starts = np.flatnonzero(np.diff(column[order], prepend=column[order[0]] - 1))
        result.append(np.add.reduceat(counts[..., order], starts, axis=-1))
    return result


def _likelihood_ratio(counts: Floats, shares: Floats) -> Floats:
    from scipy.special import xlogy

    counts = counts.astype(float)
    expected = counts.sum(1, keepdims=True) * shares
    return 2 * np.sum(xlogy(counts, counts / np.where(expected > 0, expected, 1.0)), axis=1)


def _least(statistics: list[Floats]) -> Test:
    """The least p-value of several statistics, each with its draws behind it, held against its own law."""
    from scipy.stats import gamma

    log_p = np.zeros(len(statistics[0]))
    for g in statistics:
        mean, variance = np.mean(g[1:]), np.var(g[1:])
        if variance > 1e-12:  # else the column is constant
            log_p = np.minimum(log_p, gamma.logsf(np.maximum(g, 0.0), mean**2 / variance, scale=variance / mean))
    return Test(float(statistics[0][0]), float(np.mean(log_p <= log_p[0] + 1e-9)))


def _total_variation(a: NDArray, b: NDArray) -> NDArray:
    return 0.5 * np.abs(a / a.sum(-1, keepdims=True) - b / b.sum(-1, keepdims=True)).sum(-1)


def pair_patterns(a: ArrayLike, b: ArrayLike, *, seed: int = 0) -> dict[tuple[int, int], Estimate]:
    """The total variation between the joint states of each pair of columns of two tables."""
    a, b = _states(a), _states(b)
    pairs = combinations(range(a.shape[1]), 2)
    return {pair: pattern_total_variation(a[:, pair], b[:, pair], seed=seed) for pair in pairs}
