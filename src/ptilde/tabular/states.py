r"""P(state): a masked network for any order.

A state is a row of tokens $s_1, \dots, s_K$. Given any set $O$ of observed columns, one network gives the law of each
other column, $P(s_k \mid s_O)$. It is trained by cross-entropy on masked columns, the number masked being uniform on
1..K, whose mean is $-\log P(s)$ averaged over all orders (Uria, Murray & Larochelle 2014; Hoogeboom et al. 2022,
equation 6): the concrete score of the absorbing diffusion. By the chain rule in the order of the columns,
$\log P(s) = \sum_k \log P(s_k \mid s_{<k})$ is exact, and a draw takes K evaluations.

Beside covariates the logits have a part that is linear in their features: an additive model, to which the network adds.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ptilde._typing import Scalar
from ptilde.tabular.covariates import NO_COVARIATES, Basis

Tokens = Int[Array, " K"]


class StateDensity(eqx.Module):
    """The law of a row of tokens.

    Args:
        num_tokens: of each column, at least 2.
        width: of the network's two hidden layers.
        log_shares: at the start, every column has this law whatever is observed, given for all tokens of all columns.
        basis: the features of covariates.
    """

    num_tokens: tuple[int, ...] = eqx.field(static=True)
    basis: Basis = eqx.field(static=True)
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    last: eqx.nn.Linear
    additive: Float[Array, "m f"] | None

    def __init__(
        self,
        num_tokens: tuple[int, ...],
        width: int,
        log_shares: Float[Array, " m"],
        basis: Basis = NO_COVARIATES,
        *,
        key: PRNGKeyArray,
    ):
        keys = jr.split(key, 3)
        total, num_features = sum(num_tokens), basis.num_features
        self.num_tokens, self.basis = num_tokens, basis
        self.first = eqx.nn.Linear(total + len(num_tokens) + num_features, width, key=keys[0])
        self.second = eqx.nn.Linear(width, width, key=keys[1])
        last = eqx.nn.Linear(width, total, key=keys[2])
        self.last = eqx.tree_at(lambda m: (m.weight, m.bias), last, (jnp.zeros_like(last.weight), log_shares))
        self.additive = jnp.zeros((total, num_features)) if num_features else None

    @property
    def owner(self) -> Int[Array, " m"]:
        """The column of each token."""
        return _owner(self.num_tokens)

    def features(self, tokens: Tokens) -> Float[Array, " m"]:
        """One-hot tokens, column after column."""
        return one_hot(tokens, self.num_tokens)

    def __call__(
        self, tokens: Tokens, observed: Bool[Array, " K"], given: Float[Array, " c"] | None = None
    ) -> Float[Array, " m"]:
        """Log probabilities of all tokens of all columns, given the observed ones and the covariates."""
        seen = self.features(tokens) * observed[self.owner]
        known = jnp.zeros(0) if given is None else self.basis(given)
        h = jax.nn.silu(self.first(jnp.concatenate([seen, observed.astype(seen.dtype), known])))
        h = h + jax.nn.silu(self.second(h))
        logits = self.last(h) if self.additive is None else self.last(h) + self.additive @ known
        return _log_softmax(logits, self.num_tokens)

    def log_prob(self, tokens: Tokens, given: Float[Array, " c"] | None = None) -> Scalar:
        r"""$\log P(s)$ by the chain rule."""
        columns = jnp.arange(len(self.num_tokens))
        laws = jax.vmap(lambda k: self(tokens, columns < k, given))(columns)
        return jnp.sum(laws[self.owner, jnp.arange(self.owner.size)] * self.features(tokens))

    def sample(self, key: PRNGKeyArray, given: Float[Array, " c"] | None = None) -> Tokens:
        """One draw, column after column."""
        columns = jnp.arange(len(self.num_tokens))
        start = jnp.asarray(_starts(self.num_tokens))

        def step(tokens: Tokens, k: Scalar) -> tuple[Tokens, None]:
            logits = jnp.where(self.owner == k, self(tokens, columns < k, given), -jnp.inf)
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
