"""Estimates from many fresh data sets of one law, and what they say of bias, intervals, standard errors and tests."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.random as jr
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.estimation.laws import Floats, Law, flat

LEVEL = 0.95


@dataclass(frozen=True)
class Replicates:
    """What `num` data sets gave.

    Attributes:
        names: of the p parameters.
        truth: (p,)
        estimates: (num, p)
        intervals: (num, p, 2)
        std_errs: (num, p)
        p_values: of each hypothesis, (num,)
        converged: (num,)
    """

    names: tuple[str, ...]
    truth: Floats
    estimates: Floats
    intervals: Floats
    std_errs: Floats
    p_values: dict[str, Floats]
    converged: NDArray[np.bool_]

    @property
    def num(self) -> int:
        return len(self.estimates)

    @property
    def spread(self) -> Floats:
        """Standard deviation of the estimates."""
        return self.estimates.std(0, ddof=1)

    @property
    def bias(self) -> Floats:
        """Mean error, in Monte-Carlo standard errors of that mean."""
        return (self.estimates.mean(0) - self.truth) / (self.spread / np.sqrt(self.num))

    @property
    def coverage(self) -> Floats:
        """Share of intervals that hold the truth."""
        low, high = np.moveaxis(self.intervals, 2, 0)
        return np.mean((low <= self.truth) & (self.truth <= high), axis=0)

    @property
    def calibration(self) -> Floats:
        """Mean standard error over the spread."""
        return self.std_errs.mean(0) / self.spread

    @property
    def errors(self) -> Floats:
        """Root mean squared error of each parameter."""
        return np.sqrt(np.mean((self.estimates - self.truth) ** 2, axis=0))


def replicate(law: Law, n: int, num: int, key: jax.Array) -> Replicates:
    """Estimates from `num` data sets of n rows; each has a key of its own, for what the loss draws, too."""
    truth, found = law.truth, []
    held = {name: law.held(name) for name in law.hypotheses}
    for i in range(num):
        fit = law.estimate(n, jr.fold_in(key, i))
        intervals = [np.reshape(leaf, (-1, 2)) for leaf in jax.tree.leaves(fit.confidence_intervals(LEVEL))]
        p_values = {name: fit.wald_test(hypothesis).p_value for name, hypothesis in held.items()}
        errors = np.sqrt(np.diag(fit.covariance))
        found.append((flat(fit.theta), np.concatenate(intervals), errors, p_values, fit.converged))
    estimates, intervals, std_errs, p_values, converged = zip(*found, strict=True)
    by_test = {name: np.array([p[name] for p in p_values]) for name in law.hypotheses}
    return Replicates(
        fit.names, truth, np.array(estimates), np.array(intervals), np.array(std_errs), by_test, np.array(converged)
    )


def band(num: int, num_shares: int, level: float = LEVEL, alarm: float = 1e-3) -> tuple[float, float]:
    """Where all of `num_shares` shares of `num` trials lie, but with probability `alarm` at most."""
    tail = alarm / (2 * num_shares)
    return float(binom.ppf(tail, num, level) / num), float(binom.isf(tail, num, level) / num)


def slopes(sizes: list[int], errors: Floats) -> Floats:
    """Least-squares slopes of log error in log n, of errors (size, parameter)."""
    log_n = np.log(sizes) - np.mean(np.log(sizes))
    return log_n @ np.log(errors) / (log_n @ log_n)
