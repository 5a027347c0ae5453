r"""Rows with some cells drawn given the others, and rows of a reweighted law, $\pi(x) \propto p(x)\,w(x)$.

Iterated sampling importance resampling: from a row x, whose free cells in a block B are to be drawn anew, propose rows
$y_1, \dots, y_K$ that differ from x in B only, from $r(\cdot \mid x_{\setminus B})$, put x beside them, and go to one
of the K + 1 with probability in proportion to $\pi(y)/r(y_B \mid x_{\setminus B})$. This leaves π invariant whatever r
is, and goes between any two states in one step, so nothing is tuned. Blocks are drawn at random among the free cells.

References:
    Andrieu, Lee & Vihola (2018), Uniform ergodicity of the iterated conditional SMC and geometric ergodicity of
    particle Gibbs samplers, Bernoulli 24: their sampler with one time (Section 3).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from numpy.typing import NDArray

from ptilde.amounts import row_keys
from ptilde.conditional.proposal import Block, Proposal, proposed
from ptilde.joint import JointDensity

NUM_TRIES = 32  # K
NUM_SWEEPS = 8  # of blocks, over the row with the most free cells
MOST_CELLS = 4  # of a block
_ROWS = 256  # proposed for at a time
_POOL, _MOST_POOLS = 8192, 16  # rows drawn at least, times that so many or more are drawn, for rows that w lets through

LogWeight = Callable[[NDArray[np.int32], NDArray[np.float64]], NDArray[np.float64]]


class Cells(NamedTuple):
    """Where the cells of a table's columns lie in a row's state and amounts, -1 for nowhere."""

    token: NDArray[np.int_]
    amount: NDArray[np.int_]


class Drawn(NamedTuple):
    """Rows, their log π up to a constant (-inf where nothing was found), and in which share of its steps each moved."""

    state: NDArray[np.int32]
    z: NDArray[np.float64]
    log_p: NDArray[np.float64]
    moved: NDArray[np.float64]


def redraw(
    joint: JointDensity,
    proposal: Proposal,
    cells: Cells,
    free: NDArray[np.bool_],
    state: NDArray[np.int32],
    z: NDArray[np.float64],
    key: PRNGKeyArray,
    *,
    log_weight: LogWeight | None = None,
    fresh: bool = True,
) -> Drawn:
    """Rows with their free cells drawn anew.

    Args:
        joint: p.
        proposal: r.
        cells: where the table's columns lie.
        free: (n, columns) which cells are free.
        state: (n, K) tokens.
        z: (n, d) amounts.
        key: of all draws; those of a row do not depend on the others.
        log_weight: log w of rows (n, K), (n, d); 0 if None.
        fresh: whether the free cells hold nothing yet: all are then proposed at once, until some row is found.
    """
    most = int(free.sum(1).max(initial=0))
    num_steps = fresh + NUM_SWEEPS * -(-most // MOST_CELLS)
    target = _target(joint, log_weight)
    log_p = np.full(len(state), -np.inf) if fresh else target(state, z)
    rows = Drawn(state, z, log_p, np.zeros(len(state)))
    keys = row_keys(key, len(state))
    for t in range(num_steps):
        nowhere = ~np.isfinite(rows.log_p)
        luck, keys_t = _folded(keys, jnp.asarray(t), free.shape[1])
        block = free & (nowhere[:, None] | _some(np.where(free, luck, -1.0)))
        size = most if nowhere.any() else min(MOST_CELLS, most)
        step = partial(_step, target, proposal, cells, size)
        parts = [step(*(a[i : i + _ROWS] for a in (block, *rows[:3], keys_t))) for i in range(0, len(state), _ROWS)]
        state, z, log_p, moved = (np.concatenate(part) for part in zip(*parts, strict=True))
        rows = Drawn(state, z, log_p, rows.moved + (moved & ~nowhere) / max(num_steps - fresh, 1))
    return rows


def _target(joint: JointDensity, log_weight: LogWeight | None) -> LogWeight:
    """Log π, -inf where it is not a number."""

    def log_p(state: NDArray[np.int32], z: NDArray[np.float64]) -> NDArray[np.float64]:
        value = joint.log_prob(state, z)
        if log_weight is not None:
            value = value + log_weight(state, z)
        return np.where(np.isnan(value), -np.inf, value)

    return log_p


@eqx.filter_jit
def _folded(keys: PRNGKeyArray, t: Array, num: int) -> tuple[Array, PRNGKeyArray]:
    """For every row so many numbers, and a key, of step t."""
    split = jax.vmap(lambda key: jr.split(jr.fold_in(key, t)))(keys)
    return jax.vmap(lambda key: jr.uniform(key, (num,)))(split[:, 0]), split[:, 1]


def _some(luck: NDArray[Any]) -> NDArray[np.bool_]:
    """The cells of each row with the largest numbers."""
    return luck >= np.sort(luck, axis=1)[:, -MOST_CELLS:][:, :1]


def _step(
    target: LogWeight,
    proposal: Proposal,
    cells: Cells,
    size: int,
    block: Any,
    state: Any,
    z: Any,
    log_p: Any,
    keys: Any,
) -> tuple[Any, Any, Any, Any]:
    """One step of a few rows, whose blocks have at most so many cells; and which of them moved."""
    (n, num), d = state.shape, z.shape[1]
    places = Block(*(jnp.asarray(_places(block, *where, size)) for where in ((cells.token, num), (cells.amount, d))))
    full = lambda a: np.pad(a, [(0, _ROWS - n), (0, 0)])  # noqa: E731
    keys = jnp.concatenate([keys, jnp.broadcast_to(keys[-1:], _ROWS - n)])
    places, tokens, z32 = jax.tree.map(full, (places, state, z.astype(np.float32)))
    tries = proposed(proposal, places, tokens, z32, keys, NUM_TRIES)
    new_state, new_z, log_r, log_r_here, luck = (np.asarray(a)[:n] for a in tries)
    drawn = np.zeros((n, d), bool)
    drawn[:, cells.amount[cells.amount >= 0]] = block[:, cells.amount >= 0]
    new_z = np.where(drawn[:, None], new_z, z[:, None])  # the others stay as they are, to the last bit
    flat = n * NUM_TRIES
    new_log_p = target(new_state.reshape(flat, num), new_z.reshape(flat, d)).reshape(n, NUM_TRIES)
    with np.errstate(invalid="ignore"):  # of rows that are nowhere yet
        log_ratio = np.concatenate([new_log_p - log_r, (log_p - log_r_here)[:, None]], axis=1)
    found = np.isfinite(log_ratio)
    chosen = np.argmax(np.where(found, log_ratio + luck, -np.inf), axis=1)
    moved = found.any(1) & (chosen < NUM_TRIES)
    at = np.arange(n), np.minimum(chosen, NUM_TRIES - 1)
    return (
        np.where(moved[:, None], new_state[at], state),
        np.where(moved[:, None], new_z[at], z),
        np.where(moved, new_log_p[at], log_p),
        moved,
    )


def _places(block: NDArray[np.bool_], place: NDArray[np.int_], none: int, size: int) -> NDArray[np.int32]:
    """(n, size) the places of each row's block, those that there are first."""
    places = np.sort(np.where(block & (place >= 0), place, none), axis=1)[:, :size]
    return np.pad(places, [(0, 0), (0, size - places.shape[1])], constant_values=none).astype(np.int32)


def reweighted(
    joint: JointDensity, proposal: Proposal, cells: Cells, n: int, log_weight: LogWeight, key: PRNGKeyArray
) -> Drawn:
    """Rows (n) of p w: draws of the model that w lets through, if it does no more and they are enough; else a chain."""
    pools, total = [], 0
    for i in range(_MOST_POOLS):
        key_state, key_z = jr.split(jr.fold_in(key, i))
        state = joint.draw_states(max(n, _POOL), key_state)
        z = joint.draw_amounts(state, key_z)
        log_w = log_weight(state, z)
        through = np.flatnonzero(log_w > -np.inf)
        pools.append((state[through], z[through], log_w[through]))
        total += through.size
        if total >= n:
            break
    state, z, log_w = (np.concatenate(part) for part in zip(*pools, strict=True))
    if total >= n and np.ptp(log_w) == 0:
        return Drawn(state[:n], z[:n], np.zeros(n), np.ones(n))
    if not total:
        return Drawn(state, z, np.zeros(0), np.zeros(0))
    places = (np.arange(n) + 0.5) / n
    share = np.cumsum(np.exp(log_w - log_w.max()))
    chosen = np.searchsorted(share / share[-1], places)
    free = np.ones((n, cells.token.size), bool)
    key = jr.fold_in(key, _MOST_POOLS)
    return redraw(joint, proposal, cells, free, state[chosen], z[chosen], key, log_weight=log_weight, fresh=False)
