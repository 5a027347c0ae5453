r"""The density of a table's rows, $P(s)\,p(z \mid s)$: states and amounts joined, evaluated in blocks of rows.

Every block has the same size, so one program is compiled, a row's value does not depend on the rows beside it, and
memory does not grow with the table. Row i draws with `fold_in(key, i)`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import NDArray

from ptilde.models import NoiseConditionalDensity
from ptilde.samplers import ProbabilityFlow
from ptilde.strata import MOST_ROTATION, Base, Gaussian, Layout
from ptilde.tabular.states import StateDensity

BLOCK = 1024


class JointDensity(eqx.Module):
    """The law of (state, amounts).

    Args:
        layout: which tokens put which amounts to use.
        states: the law of the state; None if no column has a choice.
        amounts: the law of the amounts; None if no column has a body.
        gaussian: what the amounts start from.
        log_sigma: the least and the largest noise level.
    """

    layout: Layout
    states: StateDensity | None
    amounts: NoiseConditionalDensity | None
    gaussian: Gaussian | None
    log_sigma: Float[Array, " 2"]

    def log_prob(self, state: NDArray[np.int32], z: NDArray[Any]) -> NDArray[np.float64]:
        """(n,) log density of rows (n, K), (n, d): one forward pass of the amounts."""
        return self._log_states(state) + self._of_amounts(_one_pass, state, z)

    def flow_log_prob(
        self, state: NDArray[np.int32], z: NDArray[Any], key: PRNGKeyArray
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) log density of rows by the probability-flow ODE, and an estimate (n,) of its numerical error."""
        keys = _row_keys(key, len(state))
        value, error = self._of_amounts(_flow_density, state, z, keys) if self.amounts else np.zeros((2, len(state)))
        return self._log_states(state) + value, error

    def gradient(self, state: NDArray[np.int32], z: NDArray[Any]) -> NDArray[np.float64]:
        """(n, d) gradient of the amounts' log density; 0 where a column is not in its body."""
        return self._of_amounts(_gradient, state, z) if self.amounts else np.zeros(z.shape)

    def draw_states(self, n: int, key: PRNGKeyArray) -> NDArray[np.int32]:
        """(n, K) states."""
        if self.states is None:
            return np.zeros((n, 0), np.int32)
        return _in_blocks(partial(_draw_states, self.states), n, _row_keys(key, n)).astype(np.int32)

    def draw_amounts(self, state: NDArray[np.int32], key: PRNGKeyArray) -> NDArray[np.float64]:
        """(n, d) amounts given states (n, K)."""
        if self.amounts is None:
            return np.zeros((len(state), 0))
        return self._of_amounts(_draw_amounts, state, _row_keys(key, len(state)))

    def log_ratio(self, n: int, key: PRNGKeyArray) -> NDArray[np.float64]:
        """(n,) log of one-pass density over true density at rows drawn by the flow: its exponential has mean Z."""
        state = self.draw_states(n, key)
        if self.amounts is None:
            return np.zeros(n)
        return self._of_amounts(_log_ratio, state, _row_keys(key, n))

    def _log_states(self, state: NDArray[np.int32]) -> NDArray[np.float64]:
        if self.states is None:
            return np.zeros(len(state))
        return _in_blocks(partial(_log_states, self.states), len(state), state)

    def _of_amounts(self, function: Callable, state: NDArray[np.int32], *arrays: Any) -> Any:
        """Apply a compiled function of (model, base, levels, pattern, state, *arrays) to rows."""
        if self.amounts is None or self.gaussian is None:
            return np.zeros(len(state))
        parts = []
        for rows in self._spans(len(state)):
            base, pattern = self.gaussian.base(self.layout, state[rows])
            call = partial(function, self.amounts, base, self.log_sigma)
            parts.append(_in_blocks(call, len(pattern), pattern, state[rows], *(a[rows] for a in arrays)))
        if isinstance(parts[0], tuple):
            return tuple(np.concatenate(p) for p in zip(*parts, strict=True))
        return np.concatenate(parts)

    def _spans(self, n: int) -> Iterator[slice]:
        """Spans of rows whose patterns, were they all different, fit the limit of the rotations."""
        d = max(len(self.layout.bodies), 1)
        size = max(BLOCK, MOST_ROTATION // d**2 // BLOCK * BLOCK)
        return (slice(a, a + size) for a in range(0, max(n, 1), size))


def _row_keys(key: PRNGKeyArray, n: int) -> Any:
    return jax.vmap(partial(jr.fold_in, key))(jnp.arange(-(-n // BLOCK) * BLOCK))[:n]


def _in_blocks(call: Callable, n: int, *arrays: Any) -> Any:
    """A compiled function of blocks of rows, over any number of rows."""
    parts = []
    for start in range(0, n, BLOCK):
        block = [a[start : start + BLOCK] for a in arrays]
        padding = BLOCK - len(block[0])
        out = call(*(_padded(a, padding) for a in block))
        parts.append(jax.tree.map(lambda a: np.asarray(a)[: BLOCK - padding], out))  # noqa: B023
    joined = jax.tree.map(lambda *a: np.concatenate(a), *parts)
    return jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, joined)


def _padded(a: Any, padding: int) -> Any:
    if isinstance(a, jax.Array):  # keys
        return jnp.concatenate([a, jnp.broadcast_to(a[-1:], (padding, *a.shape[1:]))]) if padding else a
    a = a.astype(np.float32) if a.dtype == np.float64 else a
    return np.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1)) if padding else a


def _at(model: NoiseConditionalDensity, base: Base, tokens: Array, pattern: Array) -> tuple[Callable, Any]:
    stratum = base.stratum(tokens, pattern)
    return (lambda x, level: model(x, level, stratum)), stratum


@eqx.filter_jit
def _log_states(states: StateDensity, tokens: Array) -> Array:
    return jax.vmap(states.log_prob)(tokens)


@eqx.filter_jit
def _draw_states(states: StateDensity, keys: Array) -> Array:
    return jax.vmap(states.sample)(keys)


@eqx.filter_jit
def _one_pass(model: Any, base: Base, levels: Array, pattern: Array, tokens: Array, z: Array) -> Array:
    def one(pattern: Array, tokens: Array, z: Array) -> Array:
        log_density, stratum = _at(model, base, tokens, pattern)
        return jnp.where(jnp.any(stratum.active > 0), log_density(z, levels[0]), 0.0)

    return jax.vmap(one)(pattern, tokens, z)


@eqx.filter_jit
def _gradient(model: Any, base: Base, levels: Array, pattern: Array, tokens: Array, z: Array) -> Array:
    def one(pattern: Array, tokens: Array, z: Array) -> Array:
        log_density, stratum = _at(model, base, tokens, pattern)
        return stratum.active * jax.grad(log_density)(z, levels[0])

    return jax.vmap(one)(pattern, tokens, z)


@eqx.filter_jit
def _flow_density(
    model: Any, base: Base, levels: Array, pattern: Array, tokens: Array, z: Array, keys: Array
) -> tuple[Array, Array]:
    def one(pattern: Array, tokens: Array, z: Array, key: Array) -> tuple[Array, Array]:
        log_density, stratum = _at(model, base, tokens, pattern)
        at_high = lambda x: stratum.log_density(x, jnp.exp(levels[1]))  # noqa: E731
        return ProbabilityFlow().log_density(log_density, at_high, stratum.active * z, levels[0], levels[1], key)

    return jax.vmap(one)(pattern, tokens, z, keys)


@eqx.filter_jit
def _draw_amounts(model: Any, base: Base, levels: Array, pattern: Array, tokens: Array, keys: Array) -> Array:
    def one(pattern: Array, tokens: Array, key: Array) -> Array:
        log_density, stratum = _at(model, base, tokens, pattern)
        start = stratum.draw(jnp.exp(levels[1]), jr.normal(key, stratum.active.shape))
        return stratum.active * ProbabilityFlow()(log_density, start, *levels)

    return jax.vmap(one)(pattern, tokens, keys)


@eqx.filter_jit
def _log_ratio(model: Any, base: Base, levels: Array, pattern: Array, tokens: Array, keys: Array) -> Array:
    def one(pattern: Array, tokens: Array, key: Array) -> Array:
        log_density, stratum = _at(model, base, tokens, pattern)
        sigma = jnp.exp(levels[1])
        start = stratum.draw(sigma, jr.normal(key, stratum.active.shape))
        end, stretch = ProbabilityFlow().stretch(log_density, start, *levels)
        ratio = log_density(end, levels[0]) - (stratum.log_density(start, sigma) - stretch)
        return jnp.where(jnp.any(stratum.active > 0), ratio, 0.0)

    return jax.vmap(one)(pattern, tokens, keys)
