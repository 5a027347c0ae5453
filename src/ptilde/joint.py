r"""The density of a table's rows, $P(s)\,p(z \mid s)$: the law of the states times that of the amounts given the state.

A table without choices has one state, a table without amounts only states. Where rows have covariates (n, c), both laws
are given these, too.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from numpy.typing import NDArray

from ptilde.amounts import AmountDensity, in_blocks, known, row_keys
from ptilde.samplers import NoiseSampler
from ptilde.tabular.states import StateDensity


class JointDensity(eqx.Module):
    """The law of (state, amounts).

    Args:
        states: the law of the state; None if no column has a choice.
        amounts: the law of the amounts given it; None if no column has a body.
    """

    states: StateDensity | None
    amounts: AmountDensity | None

    def log_prob(
        self, state: NDArray[np.int32], z: NDArray[Any], given: NDArray[np.float32] | None = None
    ) -> NDArray[np.float64]:
        """(n,) log density of rows (n, K), (n, d): one forward pass of the amounts."""
        return self.log_states(state, given) + (self.amounts.log_prob(state, z, given) if self.amounts else 0.0)

    def flow_log_prob(
        self, state: NDArray[np.int32], z: NDArray[Any], key: PRNGKeyArray, given: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) log density of rows by the probability-flow ODE, and an estimate (n,) of its numerical error."""
        value, error = self.amounts.flow_log_prob(state, z, key, given) if self.amounts else np.zeros((2, len(state)))
        return self.log_states(state, given) + value, error

    def gradient(self, state: NDArray[np.int32], z: NDArray[Any]) -> NDArray[np.float64]:
        """(n, d) gradient of the amounts' log density; 0 where a column is not in its body."""
        return self.amounts.gradient(state, z) if self.amounts else np.zeros(z.shape)

    def draw_states(self, n: int, key: PRNGKeyArray, given: NDArray[np.float32] | None = None) -> NDArray[np.int32]:
        """(n, K) states."""
        if self.states is None:
            return np.zeros((n, 0), np.int32)
        return in_blocks(partial(_draw_states, self.states), n, known(given, n), row_keys(key, n)).astype(np.int32)

    def draw_amounts(
        self,
        state: NDArray[np.int32],
        key: PRNGKeyArray,
        sampler: NoiseSampler | None = None,
        given: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """(n, d) amounts given states (n, K), by a sampler of noise-conditional densities; as ever if None."""
        return self.amounts.sample(state, key, sampler, given) if self.amounts else np.zeros((len(state), 0))

    def log_ratio(self, n: int, key: PRNGKeyArray) -> NDArray[np.float64]:
        """(n,) log of one-pass density over true density at rows drawn by the flow: its exponential has mean Z."""
        return self.amounts.log_ratio(self.draw_states(n, key), key) if self.amounts else np.zeros(n)

    def log_states(self, state: NDArray[np.int32], given: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        """(n,) log probability of states (n, K)."""
        if self.states is None:
            return np.zeros(len(state))
        return in_blocks(partial(_log_states, self.states), len(state), state, known(given, len(state)))


@eqx.filter_jit
def _log_states(states: StateDensity, tokens: Array, given: Array) -> Array:
    return jax.vmap(states.log_prob)(tokens, given)


@eqx.filter_jit
def _draw_states(states: StateDensity, given: Array, keys: Array) -> Array:
    return jax.vmap(states.sample)(keys, given)
