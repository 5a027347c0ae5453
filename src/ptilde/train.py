"""From encoded rows to a fitted joint density: what is held out, how large, how long.

The sizes are chosen from the data by the rules of `Plan.of`; a person gives steps or seconds instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import NDArray

from ptilde.fit import Data, Denoise, Descent, Event, Trajectory, Unmask, descend
from ptilde.joint import JointDensity
from ptilde.losses import Dual
from ptilde.models import NoiseConditionalDensity
from ptilde.strata import Gaussian, Layout
from ptilde.tabular.states import StateDensity

# Of the level term. 1, 2 and 3 give the same held-out log density; more ties one-pass and ODE density closer together.
LEVEL_WEIGHT = 2.0
# Here the Gaussian base, which has the data's mean and covariance, differs from blurred data in terms of order σ⁻³.
LARGEST_SIGMA = 8.0
# The least σ is this share of the narrowest direction of the data, within the bounds: finer structure is blurred.
SIGMA_SHARE = 0.1
SIGMA_BOUNDS = (0.003, 0.03)
HELD_OUT_SHARE = 0.1
FEW_ROWS = 100  # below it nothing is held out
ROWS_PER_PAIR = 10  # of tokens, from which on a law of states is learnt without holding rows out


class Plan(NamedTuple):
    """Sizes of the networks and of the descent."""

    width: int
    depth: int
    num_steps: int
    batch_size: int
    step_size: float
    weight_decay: float

    @classmethod
    def of(cls, num_rows: int, num_columns: int, max_iter: int | str) -> "Plan":
        """The plan for rows × columns of amounts, or with the number of steps that is asked for."""
        width = 64 if num_columns <= 6 else 96 if num_columns <= 16 else 128
        auto = int(np.clip(10 * num_rows, 500, 4000) // 100 * 100)
        return cls(width, 2, auto if isinstance(max_iter, str) else int(max_iter), 512, 2e-3, 0.1)


class Encoded(NamedTuple):
    """Rows to learn from.

    Attributes:
        state: (n, K) tokens.
        z: (n, d) amounts.
        weight: (n,) of mean one.
        held_out: (n,) rows by which weights are chosen.
    """

    state: NDArray[np.int32]
    z: NDArray[Any]
    weight: NDArray[np.float64]
    held_out: NDArray[np.bool_]


def held_out_rows(n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A tenth of the rows, or none if there are few."""
    out = np.zeros(n, bool)
    if n >= FEW_ROWS:
        out[rng.permutation(n)[: round(HELD_OUT_SHARE * n)]] = True
    return out


def train(
    layout: Layout,
    rows: Encoded,
    max_iter: int | str,
    seconds: float | None,
    key: PRNGKeyArray,
    callback: Callable[[Event], None] | None = None,
) -> tuple[JointDensity, dict[str, Trajectory]]:
    """Fit the law of the states and the law of the amounts given the state.

    Args:
        layout: how states and amounts hang together.
        rows: what to learn from.
        max_iter: steps of each descent, or "auto".
        seconds: to spend in all, if limited.
        key: of all randomness.
        callback: told of the progress.
    """
    to_states, to_amounts = jr.split(key)
    histories: dict[str, Trajectory] = {}
    share = 0.25 if layout.bodies else 1.0
    states, amounts, gaussian = None, None, None
    log_sigma = np.log(np.array([SIGMA_BOUNDS[1], LARGEST_SIGMA], np.float32))
    if layout.num_tokens:
        budget = None if seconds is None else share * seconds
        histories["states"] = _train_states(layout, rows, max_iter, budget, to_states, callback)
        states = histories["states"].model
    if layout.bodies:
        gaussian = Gaussian.fit(layout, rows.state, rows.z, rows.weight)
        log_sigma[0] = np.log(np.clip(SIGMA_SHARE * gaussian.least_spread, *SIGMA_BOUNDS))
        budget = None if seconds is None else seconds * (1 - share if layout.num_tokens else 1.0)
        histories["amounts"] = _train_amounts(layout, gaussian, log_sigma, rows, max_iter, budget, to_amounts, callback)
        amounts = histories["amounts"].model
    joint = JointDensity(layout, states, amounts, gaussian, log_sigma)  # type: ignore[arg-type]
    return jax.tree.map(np.asarray, joint), histories


def _train_states(
    layout: Layout, rows: Encoded, max_iter: Any, seconds: Any, key: PRNGKeyArray, callback: Any
) -> Trajectory:
    plan = Plan.of(len(rows.weight), len(layout.num_tokens), max_iter)
    init, walk = jr.split(key)
    shares = [_log_shares(rows.state[:, k], rows.weight, n) for k, n in enumerate(layout.num_tokens)]
    model = StateDensity(layout.num_tokens, plan.width, jnp.asarray(np.concatenate(shares), jnp.float32), key=init)
    # A law of few tokens is learnt from all rows: it cannot follow them one by one.
    few = sum(layout.num_tokens) ** 2 * ROWS_PER_PAIR < len(rows.weight)
    out = np.zeros_like(rows.held_out) if few else rows.held_out
    data, held_out = _split((rows.state,), rows.weight, out, np.lexsort(rows.state.T))
    descent = Descent(plan.batch_size, plan.num_steps, plan.step_size, plan.weight_decay)
    return descend(Unmask(), model, data, held_out, descent, walk, stage="states", seconds=seconds, callback=callback)


def _train_amounts(
    layout: Layout,
    gaussian: Gaussian,
    log_sigma: Any,
    rows: Encoded,
    max_iter: Any,
    seconds: Any,
    key: Any,
    callback: Any,
) -> Trajectory:
    active = layout.active_rows(rows.state)
    plan = Plan.of(int(active.any(1).sum()), active.shape[1], max_iter)
    init, walk = jr.split(key)
    base, pattern = gaussian.base(layout, rows.state)
    model = NoiseConditionalDensity(active.shape[1], sum(layout.num_tokens), plan.width, plan.depth, key=init)
    group = np.unique(rows.state, axis=0, return_inverse=True)[1].ravel().astype(np.int32)
    order = np.lexsort((rows.z[:, 0], pattern))
    data, held_out = _split(
        (pattern, rows.z.astype(np.float32), rows.state, group),
        _column_weight(active, rows.weight),
        rows.held_out,
        order,
    )
    descent = Descent(plan.batch_size, plan.num_steps, plan.step_size, plan.weight_decay)
    objective = Denoise(Dual(LEVEL_WEIGHT), base, jnp.asarray(log_sigma))
    return descend(objective, model, data, held_out, descent, walk, stage="amounts", seconds=seconds, callback=callback)


def _split(
    rows: Any, weight: NDArray[Any], held_out: NDArray[np.bool_], order: NDArray[Any]
) -> tuple[Data, Data | None]:
    """The rows to fit to and the held-out ones, each in an order in which neighbours are alike."""
    parts = []
    for chosen in (order[~held_out[order]], order[held_out[order]]):
        total = weight[chosen].sum()
        parts.append(Data.of(jax.tree.map(lambda a: a[chosen], rows), weight[chosen]) if total > 0 else None)  # noqa: B023
    return parts[0] or parts[1], parts[1]


def _column_weight(active: NDArray[np.bool_], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""How often a row is drawn: $\sum_{j \in A} \pi_j^{-1/2}$, so that rarely active columns learn too.

    A factor that depends on the state alone leaves the law given the state as it is.
    """
    share = np.maximum(np.average(active, axis=0, weights=weight), 1e-6)
    return weight * (active / np.sqrt(share)).sum(1)


def _log_shares(token: NDArray[np.int32], weight: NDArray[np.float64], num_tokens: int) -> NDArray[np.float64]:
    share = np.bincount(token, weight, num_tokens) + 0.5
    return np.log(share / share.sum())
