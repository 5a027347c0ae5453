r"""What the cells of a block B may be, given all others of their row: the law r that they are proposed from.

* Tokens by the masked network of the states, $P(s_k \mid s_\text{others})$, one after the other.
* Amounts by a multivariate t around the conditional law of a Gaussian, whose means are linear in the state and whose
  covariance C is that of draws of the model. With O the active columns outside B and F the active ones in it,

$$z_F \mid z_O: \quad m_F + G_F^\top (z_O - m_O), \qquad S_{FF}, \qquad
G = C_{OO}^{-1} C_{OB}, \quad S = C_{BB} - C_{BO} G .$$

  G and S are one for all tries of a row, as O is; only F and the means follow the tokens.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ptilde._typing import Scalar
from ptilde.joint import JointDensity
from ptilde.strata import Gaussian, Layout
from ptilde.tabular.states import StateDensity, one_hot

_DRAWS = 8192  # of the model, which the Gaussian is fitted to
_DEGREES = 5.0  # of the t: its tails must be no lighter than those of the amounts


class Block(NamedTuple):
    """The places of a block's cells in the state and in the amounts; K and d, which are none, fill it up."""

    tokens: Int[Array, " b"]
    amounts: Int[Array, " b"]


class Regression(NamedTuple):
    """Of a block's amounts on those outside it: which these are, G, and S."""

    given: Bool[Array, " d"]
    gain: Float[Array, "d b"]
    spread: Float[Array, "b b"]


class Proposal(eqx.Module):
    """The law r.

    Args:
        states: the law of the states; None if there are none.
        layout: which tokens put which amounts to use.
        coefficients: of the means.
        covariance: of the amounts about them.
        allowed: which tokens, of all columns, may be drawn.
    """

    states: StateDensity | None
    layout: Layout
    coefficients: Float[Array, "d 1+m"]
    covariance: Float[Array, "d d"]
    allowed: Bool[Array, " m"]

    @classmethod
    def of(cls, joint: JointDensity, layout: Layout, key: PRNGKeyArray) -> "Proposal":
        """A proposal that fits a density."""
        key_states, key_amounts = jr.split(key)
        state = joint.draw_states(_DRAWS, key_states)
        gaussian = Gaussian.fit(layout, state, joint.draw_amounts(state, key_amounts), np.ones(_DRAWS))
        allowed = jnp.ones(sum(layout.num_tokens), bool)
        return cls(joint.states, layout, jnp.asarray(gaussian.coefficients), jnp.asarray(gaussian.covariance), allowed)

    def tokens(self, tokens: Int[Array, " K"], block: Block, key: PRNGKeyArray) -> tuple[Int[Array, " K"], Scalar]:
        """The tokens with those of a block drawn anew, and the log probability of that."""
        if self.states is None:
            return tokens, jnp.zeros(())
        first = jnp.asarray(np.cumsum([0, *self.layout.num_tokens]))

        def step(tokens: Array, i: Array) -> tuple[Array, Scalar]:
            k, log_shares = block.tokens[i], self._log_shares(tokens, block, i)
            drawn = jr.categorical(jr.fold_in(key, i), log_shares)
            return tokens.at[k].set(drawn - first[k], mode="drop"), jnp.where(k < tokens.size, log_shares[drawn], 0.0)

        tokens, log_p = jax.lax.scan(step, tokens, jnp.arange(block.tokens.size))
        return tokens, jnp.sum(log_p)

    def log_tokens(self, tokens: Int[Array, " K"], block: Block) -> Scalar:
        """The log probability of a block's tokens."""
        if self.states is None:
            return jnp.zeros(())
        hot, owner = one_hot(tokens, self.layout.num_tokens) > 0, self.states.owner

        def one(i: Array) -> Scalar:
            return jnp.sum(jnp.where(hot & (owner == block.tokens[i]), self._log_shares(tokens, block, i), 0.0))

        return jnp.sum(jax.vmap(one)(jnp.arange(block.tokens.size)))

    def _log_shares(self, tokens: Array, block: Block, i: Array) -> Float[Array, " m"]:
        """Of the i-th column of a block, given those before it and those outside; -inf for all other tokens."""
        assert self.states is not None
        column, place = jnp.arange(tokens.size)[:, None], jnp.arange(block.tokens.size)
        observed = ~jnp.any((column == block.tokens) & (place >= i), axis=1)
        own = (self.states.owner == block.tokens[i]) & self.allowed
        return jax.nn.log_softmax(jnp.where(own, self.states(tokens, observed), -jnp.inf))

    def regression(self, tokens: Int[Array, " K"], block: Block) -> Regression:
        """Of a row's block."""
        d = len(self.covariance)
        given = (self.layout.active(tokens) > 0) & ~jnp.any(jnp.arange(d)[:, None] == block.amounts, axis=1)
        across = jnp.where(given[:, None] & (block.amounts < d), self.covariance[:, block.amounts % d], 0.0)
        inside = jnp.where(given[:, None] & given, self.covariance, jnp.eye(d))
        gain = cho_solve((jnp.linalg.cholesky(inside), True), across)
        return Regression(given, gain, self.covariance[block.amounts % d][:, block.amounts % d] - across.T @ gain)

    def amounts(
        self, tokens: Int[Array, " K"], z: Float[Array, " d"], block: Block, regression: Regression, key: PRNGKeyArray
    ) -> tuple[Float[Array, " d"], Scalar]:
        """The amounts with those of a block drawn anew, 0 where a column is not in its body; and their log density."""
        inside, centre, root = self._conditional(tokens, z, block, regression)
        key_noise, key_scale = jr.split(key)
        widening = jnp.sqrt(_DEGREES / (2 * jr.gamma(key_scale, _DEGREES / 2)))
        noise = widening * jnp.where(inside, jr.normal(key_noise, centre.shape), 0.0)
        drawn = jnp.where(inside, centre + root @ noise, 0.0)
        return z.at[block.amounts].set(drawn, mode="drop"), _log_t(noise, inside, root)

    def log_amounts(
        self, tokens: Int[Array, " K"], z: Float[Array, " d"], block: Block, regression: Regression
    ) -> Scalar:
        """The log density of a block's amounts."""
        inside, centre, root = self._conditional(tokens, z, block, regression)
        apart = jnp.where(inside, z[block.amounts % z.size] - centre, 0.0)
        return _log_t(solve_triangular(root, apart, lower=True), inside, root)

    def _conditional(self, tokens: Array, z: Array, block: Block, regression: Regression) -> tuple[Array, Array, Array]:
        """Which of a block's amounts are in their bodies, their means, and the root of S, 1 elsewhere."""
        inside = (block.amounts < z.size) & (self.layout.active(tokens) > 0)[block.amounts % z.size]
        mean = self.coefficients @ jnp.concatenate([jnp.ones(1), one_hot(tokens, self.layout.num_tokens)])
        centre = mean[block.amounts % z.size] + jnp.where(regression.given, z - mean, 0.0) @ regression.gain
        spread = jnp.where(inside[:, None] & inside, regression.spread, jnp.eye(inside.size))
        return inside, centre, jnp.linalg.cholesky(spread)


def _log_t(noise: Array, inside: Array, root: Array) -> Scalar:
    """Log density of a multivariate t of the coordinates that are inside, at so much noise."""
    k = jnp.sum(inside)
    norm = gammaln((_DEGREES + k) / 2) - gammaln(_DEGREES / 2) - 0.5 * k * jnp.log(_DEGREES * jnp.pi)
    return norm - jnp.sum(jnp.log(jnp.diagonal(root))) - 0.5 * (_DEGREES + k) * jnp.log1p(noise @ noise / _DEGREES)


@eqx.filter_jit
def proposed(
    proposal: Proposal,
    block: Block,
    state: Int[Array, "n K"],
    z: Float[Array, "n d"],
    keys: PRNGKeyArray,
    num_tries: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """Tries (n, tries) of each row: tokens, amounts, log r; log r of the row itself; Gumbel noise to choose by."""

    def one(block: Block, tokens: Array, z: Array, key: Array) -> tuple:
        regression = proposal.regression(tokens, block) if z.size else None

        def attempt(key: Array) -> tuple[Array, Array, Scalar]:
            key_state, key_z = jr.split(key)
            new, log_r = proposal.tokens(tokens, block, key_state)
            if regression is None:
                return new, z, log_r
            new_z, log_r_z = proposal.amounts(new, z, block, regression, key_z)
            return new, new_z, log_r + log_r_z

        key_tries, key_luck = jr.split(key)
        here = proposal.log_tokens(tokens, block)
        if regression is not None:
            here = here + proposal.log_amounts(tokens, z, block, regression)
        return *jax.vmap(attempt)(jr.split(key_tries, num_tries)), here, jr.gumbel(key_luck, (num_tries + 1,))

    return jax.vmap(one)(block, state, z, keys)
