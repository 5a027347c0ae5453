r"""A goodness-of-fit test of rows that are on atoms in some columns and continuous in the others.

A row is a state (which column is on which atom, in which category, in its body) and amounts on the active columns, and
a density is P(state) p(amounts | state). So the hypothesis falls apart:

* the states have the law P: `patterns`, against a law or against draws;
* within each state the amounts have the score ∇ log p(· | state): a Stein statistic $U_z$ of the $n_z$ rows in state z,
  on the columns where the score is a number, in units of their spread there.

The bodies are joined into $T = \sum_z n_z U_z / \operatorname{sd}(U_z^*)$, whose law the signs of all rows give. It is
free of units, and has the best weights if all states are equally wrong: the mean of $U_z$ is then $n_z$ times as many
null spreads. Given the states its p-value is uniform under the hypothesis, so it is independent of that of the states,
and
$1 - (1 - \min p)^2$ is uniform too: a fault is mostly in one of the two, and the smaller p-value says in which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde.diagnostics.charts import Ends, unbounded
from ptilde.diagnostics.kernels import Imq, Kernel, with_bandwidth
from ptilde.diagnostics.ksd import share_above, signed_means
from ptilde.diagnostics.patterns import pattern_fit_test, pattern_test
from ptilde.diagnostics.results import Test

Floats = NDArray[np.float64]
MIN_ROWS = 20  # of a state whose body is tested: fewer do not tell a median distance


@dataclass(frozen=True)
class MixedTest:
    """The result of a test of mixed rows.

    Attributes:
        p_value: of states and bodies together.
        states: the test of the states; None if nothing was given to hold them against.
        bodies: the test of the amounts in all states together; None if no state has rows enough.
        by_state: the p-value of each state's body alone.
        num_rows: whose amounts were tested.
    """

    p_value: float
    states: Test | None
    bodies: Test | None
    by_state: dict[tuple[int, ...], float]
    num_rows: int


def mixed_ksd_test(
    x: ArrayLike,
    score: ArrayLike,
    *,
    states: ArrayLike | None = None,
    drawn_states: ArrayLike | None = None,
    law: Mapping[tuple[int, ...], float] | None = None,
    kernel: Kernel = Imq(),  # noqa: B008
    support: Ends | None = None,
    num_signs: int = 500,
    seed: int = 0,
) -> MixedTest:
    """The test that rows have these scores in their bodies, and their states the law of draws or a given one.

    Args:
        x: the rows, (n, d), independent and unseen by the model; cells whose score is NaN are not looked at.
        score: ∇ log p(amounts | state) at each row, (n, d), NaN on atoms: what `ScoreDensity.grad_log_density` gives.
        states: rows of integers that say each row's state; by default which scores are there, 1, and which not, 0.
        drawn_states: the states of draws of the model, in the same code.
        law: in place of draws, the probability of each state.
        kernel: of the Stein statistics.
        support: both ends of each column's body (see `charts`): (0, inf) for a claim with any density at 0.
        num_signs: draws of the bootstrap.
        seed: of all that is drawn.
    """
    x, s = np.asarray(x, float), np.asarray(score, float)
    if x.ndim != 2 or x.shape != s.shape or np.isinf(s).any():
        raise ValueError(f"`x` and `score` must be of one shape (n, d), without inf; got {x.shape} and {s.shape}.")
    x, s = unbounded(x, s, support)
    codes = (~np.isnan(s)).astype(int) if states is None else np.asarray(states).reshape(len(x), -1)
    by_state, bodies, num_rows = _bodies(x, s, codes, kernel, num_signs, np.random.default_rng(seed))
    tests = [] if bodies is None else [bodies]
    of_states = _of_states(codes, drawn_states, law, num_signs, seed)
    tests += [] if of_states is None else [of_states]
    if not tests:
        raise ValueError(f"nothing to test: no state has {MIN_ROWS} rows with a score, and no law of states is given.")
    return MixedTest(least([test.p_value for test in tests]), of_states, bodies, by_state, num_rows)


def least(p_values: Sequence[float]) -> float:
    """The p-value of the least of independent ones (Tippett 1931, The methods of statistics)."""
    return float(-np.expm1(len(p_values) * np.log1p(-min(p_values)))) if min(p_values) < 1 else 1.0


def _of_states(
    codes: NDArray, drawn: ArrayLike | None, law: Mapping[tuple[int, ...], float] | None, num: int, seed: int
) -> Test | None:
    if drawn is not None and law is not None:
        raise ValueError("one of `drawn_states` and `law` must be None; got both.")
    if drawn is not None:
        return pattern_test(codes, np.asarray(drawn).reshape(-1, codes.shape[1]), num_draws=num, seed=seed)
    return None if law is None else pattern_fit_test(codes, law, num_draws=num, seed=seed)


def _bodies(
    x: Floats, s: Floats, codes: NDArray, kernel: Kernel, num_signs: int, rng: np.random.Generator
) -> tuple[dict[tuple[int, ...], float], Test | None, int]:
    found, index = np.unique(codes, axis=0, return_inverse=True)
    joined, by_state, num_rows = np.zeros(num_signs + 1), {}, 0
    for z, state in enumerate(found.tolist()):
        rows = rng.permutation(np.flatnonzero(index.ravel() == z))
        there = ~np.isnan(s[rows])
        if np.any(there != there[:1]):
            raise ValueError(f"all rows of a state must have a score in the same columns; state {state} has not.")
        if len(rows) < MIN_ROWS or not there[0].any():
            continue
        part, slope = (a[np.ix_(rows, np.flatnonzero(there[0]))] for a in (x, s))
        scale = np.std(part, axis=0)
        scale[scale == 0] = 1.0
        chosen = with_bandwidth(kernel, part / scale, 1.0, rng)
        means = signed_means([chosen], part / scale, slope * scale, num_signs, rng, None)[0][0]
        joined += len(rows) * means / np.sqrt(np.mean(means[1:] ** 2))
        by_state[tuple(state)] = share_above(means)
        num_rows += len(rows)
    return by_state, Test(float(joined[0] / num_rows), share_above(joined)) if num_rows else None, num_rows
