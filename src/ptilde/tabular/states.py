r"""P(state): a masked network for any order.

A state is a row of tokens $s_1, \dots, s_K$. Given any set $O$ of observed columns, one network gives the law of each
other column, $P(s_k \mid s_O)$. It is trained by cross-entropy on masked columns, the number masked being uniform on
1..K, whose mean is $-\log P(s)$ averaged over all orders (Uria, Murray & Larochelle 2014; Hoogeboom et al. 2022,
equation 6): the concrete score of the absorbing diffusion. By the chain rule in the order of the columns,
$\log P(s) = \sum_k \log P(s_k \mid s_{<k})$ is exact, and a draw takes K evaluations.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ptilde._typing import Scalar

Tokens = Int[Array, " K"]


class StateDensity(eqx.Module):
    """The law of a row of tokens.

    Args:
        num_tokens: of each column, at least 2.
        width: of the network's two hidden layers.
        log_shares: at the start, every column has this law whatever is observed, given for all tokens of all columns.
    """

    num_tokens: tuple[int, ...] = eqx.field(static=True)
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(self, num_tokens: tuple[int, ...], width: int, log_shares: Float[Array, " m"], *, key: PRNGKeyArray):
        keys = jr.split(key, 3)
        total = sum(num_tokens)
        self.num_tokens = num_tokens
        self.first = eqx.nn.Linear(total + len(num_tokens), width, key=keys[0])
        self.second = eqx.nn.Linear(width, width, key=keys[1])
        last = eqx.nn.Linear(width, total, key=keys[2])
        self.last = eqx.tree_at(lambda m: (m.weight, m.bias), last, (jnp.zeros_like(last.weight), log_shares))

    @property
    def owner(self) -> Int[Array, " m"]:
        """The column of each token."""
        return _owner(self.num_tokens)

    def features(self, tokens: Tokens) -> Float[Array, " m"]:
        """One-hot tokens, column after column."""
        return one_hot(tokens, self.num_tokens)

    def __call__(self, tokens: Tokens, observed: Bool[Array, " K"]) -> Float[Array, " m"]:
        """Log probabilities of all tokens of all columns, given the observed ones."""
        seen = self.features(tokens) * observed[self.owner]
        h = jax.nn.silu(self.first(jnp.concatenate([seen, observed.astype(seen.dtype)])))
        h = h + jax.nn.silu(self.second(h))
        return _log_softmax(self.last(h), self.num_tokens)

    def log_prob(self, tokens: Tokens) -> Scalar:
        r"""$\log P(s)$ by the chain rule."""
        columns = jnp.arange(len(self.num_tokens))
        given = jax.vmap(lambda k: self(tokens, columns < k))(columns)
        return jnp.sum(given[self.owner, jnp.arange(self.owner.size)] * self.features(tokens))

    def sample(self, key: PRNGKeyArray) -> Tokens:
        """One draw, column after column."""
        columns = jnp.arange(len(self.num_tokens))
        start = jnp.asarray(_starts(self.num_tokens))

        def step(tokens: Tokens, k: Scalar) -> tuple[Tokens, None]:
            logits = jnp.where(self.owner == k, self(tokens, columns < k), -jnp.inf)
            return tokens.at[k].set(jr.categorical(jr.fold_in(key, k), logits) - start[k]), None

        return jax.lax.scan(step, jnp.zeros(columns.size, jnp.int32), columns)[0]


def one_hot(tokens: Tokens, num_tokens: tuple[int, ...]) -> Float[Array, " m"]:
    """One-hot tokens, column after column."""
    total = sum(num_tokens)
    where = tokens + jnp.asarray(_starts(num_tokens), tokens.dtype)
    return jnp.zeros(total).at[where].set(1.0)


def _starts(num_tokens: tuple[int, ...]) -> list[int]:
    return [sum(num_tokens[:k]) for k in range(len(num_tokens))]


def _owner(num_tokens: tuple[int, ...]) -> Int[Array, " m"]:
    """The column of each position."""
    return jnp.repeat(jnp.arange(len(num_tokens)), jnp.array(num_tokens), total_repeat_length=sum(num_tokens))


def _log_softmax(logits: Float[Array, " m"], num_tokens: tuple[int, ...]) -> Float[Array, " m"]:
    owner, columns = _owner(num_tokens), len(num_tokens)
    highest = jax.ops.segment_max(jax.lax.stop_gradient(logits), owner, columns, indices_are_sorted=True)
    shifted = logits - highest[owner]
    return shifted - jnp.log(jax.ops.segment_sum(jnp.exp(shifted), owner, columns, indices_are_sorted=True))[owner]
