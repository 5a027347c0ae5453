r"""Chains on mixed spaces: moves within the bodies, jumps between atoms and bodies.

On $\prod_j (A_j \cup I_j)$, atoms and an interval in each column, a step is two moves that leave q invariant.

* *Within*: one step of an inner sampler on the coordinates that are in their bodies, S, in their charts, of the law
  $\log q(x(u)) + \sum_{j \in S} \log|dx_j/du_j|$. The others are held. A move of all would be of a law that is flat in
  them, so what it does to S depends on S alone, and leaves its law as it is: with the preconditioner $M = LL^\top$ it
  is a move with $M_{SS}$, whose accept/reject sees the noise through $(L\xi)_S$ only, as scores are zero elsewhere.
* *Between*: for each column with a choice in turn, from its option o to another one, o', drawn uniformly; to the body
  at a value y drawn from a density $r_j$. It is accepted with the probability $0.8\min(1, e^{\ell(o') - \ell(o)})$,
  $$\ell(\text{atom}) = \log q, \qquad \ell(\text{body at } y) = \log q - \log r_j(y).$$
  (Green 1995 with the identity as the map between dimensions.) Counts go one up or down. The factor is there since two
  fair coins that are turned at every step would be equal for ever.

References:
    Green (1995), Reversible jump Markov chain Monte Carlo computation and Bayesian model determination, Biometrika 82,
    Equation (7).
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import NDArray

from ptilde._typing import LogDensity, Point, Scalar
from ptilde.samplers.base import Averaging, Density, Info, State, windows
from ptilde.samplers.columns import Columns, Options

_TRIED = 0.8  # share of the jumps that are tried: odds that are even give an autocorrelation of 1 - 2 · 0.8 = -0.6
_PRIOR = 5.0  # rows' worth of what proposals were before
_AIMED = 4  # chains whose conditional laws are looked at before warm-up


class Mixed(NamedTuple):
    """Where a chain is.

    Attributes:
        x: the point, exactly on its atoms.
        log_q: there.
        inner: the inner sampler's state, in charts; it means nothing in columns that are not in their bodies.
        option: where each column stands.
    """

    x: Point
    log_q: Scalar
    inner: State
    option: Options

    @property
    def score(self) -> Point:
        """In charts; 0 in columns that are not in their bodies."""
        return self.inner.score


class Slice(eqx.Module):
    """The log density of the coordinates of the bodies, at given options.

    Args:
        log_q: of x.
        columns: of x.
        option: of each column.
    """

    log_q: LogDensity
    columns: Columns
    option: Options

    def __call__(self, u: Point) -> Scalar:
        """Evaluate it at one point."""
        return self.log_q(self.columns.x(self.option, u)) + self.log_slope(u)

    def log_slope(self, u: Point) -> Scalar:
        """Of the charts."""
        return jnp.sum(jnp.where(self.columns.active(self.option), self.columns.log_slope(u), 0.0))


class Jump(eqx.Module):
    """Moves of an inner sampler within bodies, and reversible jumps between atoms and bodies; in charts throughout.

    All columns with a choice are tried at every step: in a hurdle law of five columns that gives more independent
    patterns for each evaluation of log q than one column drawn at random.

    Args:
        inner: of the bodies, such as `Mala()`; its acceptance is that of `Info`, 1 where all columns are on atoms.
        columns: a `Column` for each coordinate.
    """

    inner: Any
    columns: Columns = eqx.field(converter=Columns.of)

    def __check_init__(self) -> None:
        if hasattr(self.inner, "columns"):
            raise ValueError("`inner` must be a sampler of bodies, such as Mala(); got a Jump.")

    @property
    def goal(self) -> Any:
        """The inner sampler's."""
        return self.inner.goal

    @property
    def step_size(self) -> Any:
        """The inner sampler's."""
        return self.inner.step_size

    @property
    def scale(self) -> Any:
        """The inner sampler's, in charts."""
        return self.inner.scale

    def init(self, target: Density, x: Point) -> Mixed:
        """The state at a point; log q is NaN where a category or a value cannot be."""
        return self._at(target, *self.columns.split(x))

    def step(self, target: Density, state: Mixed, key: PRNGKeyArray) -> tuple[Mixed, Info]:
        """One move within the bodies, then one jump of each column that has a choice."""
        key_move, key_jump = jr.split(key)
        info = Info(jnp.ones(()), jnp.zeros((), bool))
        if any(self.columns.has_body):
            state, info = self._move(target, state, key_move)
        choices = self.columns.choices
        if not choices.size:
            return state, info

        def jump(place: tuple, at: tuple) -> tuple[tuple, None]:
            return self._jump(target.log_q, place, *at), None

        place = (state.x, state.log_q, state.option, state.inner.x)
        keys = jr.split(key_jump, choices.size)
        (x, log_q, option, u), _ = jax.lax.scan(jump, place, (jnp.asarray(choices), keys))
        if any(self.columns.has_body):
            return self._at(target, option, u), info
        return Mixed(x, log_q, state.inner, option), info

    def _at(self, target: Density, option: Options, u: Point) -> Mixed:
        density = Slice(target.log_q, self.columns, option)
        inner = self.inner.init(Density(density), u)
        return Mixed(self.columns.x(option, u), inner.log_q - density.log_slope(u), inner, option)

    def _move(self, target: Density, state: Mixed, key: PRNGKeyArray) -> tuple[Mixed, Info]:
        """A step of the inner sampler."""
        density, active = Slice(target.log_q, self.columns, state.option), self.columns.active(state.option)
        moved, info = self.inner.step(Density(density), state.inner, key)
        u = jnp.where(active, moved.x, state.inner.x)
        x, log_q = self.columns.x(state.option, u), moved.log_q - density.log_slope(u)
        return Mixed(x, log_q, moved._replace(x=u), state.option), info

    def _jump(self, log_q: LogDensity, place: tuple, j: Array, key: PRNGKeyArray) -> tuple:
        """Column j at another option, or where it was."""
        x, here, option, u = place
        key_option, key_body, key_accept = jr.split(key, 3)
        other, log_back = self.columns.other(j, option[j], key_option)
        leaves = self.columns.active(option)[j]
        fresh = self.columns.mean[j] + self.columns.std[j] * jr.normal(key_body, dtype=u.dtype)
        new_option, new_u = option.at[j].set(other), u.at[j].set(jnp.where(leaves, u[j], fresh))
        new_x = self.columns.x(new_option, new_u)
        there, log_r = log_q(new_x), self.columns.log_r(new_u)[j]
        arrives = self.columns.active(new_option)[j]
        log_ratio = there - jnp.where(arrives, log_r, 0.0) - here + jnp.where(leaves, log_r, 0.0) + log_back
        log_uniform = jnp.log(jr.uniform(key_accept, dtype=here.dtype) / _TRIED)
        taken = (log_uniform < 0) & (log_uniform < log_ratio)  # NaN is not taken
        new = (new_x, there, new_option, new_u)
        return jax.tree.map(lambda new, old: jnp.where(taken, new, old), new, place)

    def aimed(self, target: Density, states: Mixed) -> "Jump":
        """Proposals near the conditional laws of each body where chains start, found on a grid of its chart."""
        few = jax.tree.map(lambda leaf: leaf[:_AIMED], (states.option, states.inner.x))
        middle, half = (np.asarray(part, np.float64) for part in _conditional(self.columns, target.log_q, *few))
        known = np.array(self.columns.has_body) & np.isfinite(middle).all(0) & np.isfinite(half).all(0)
        mean = np.where(known, middle.mean(0), self.columns.mean)
        return self._proposing(mean, np.where(known, np.sqrt((half**2).mean(0) + middle.var(0)), self.columns.std))

    def warm_up(
        self, target: Density, states: Mixed, key: PRNGKeyArray, num_steps: int, dense: bool
    ) -> tuple["Jump", Mixed]:
        """Step size and preconditioner of the inner sampler, and proposals, that fit the target; chains near it.

        As `base.warm_up`, but with the moments of each column where it is in its body, and the acceptance of chains
        that are in some body.
        """
        jump, adapts = self, self.goal is not None
        if adapts and self.scale is None:
            jump = eqx.tree_at(lambda s: s.inner.scale, jump, self.columns.std, is_leaf=lambda leaf: leaf is None)
        step_size = jnp.asarray(jump.step_size, states.log_q.dtype)
        lengths = windows(num_steps)
        for i, length in enumerate(lengths):
            averaging = Averaging.around(step_size)
            states, averaging, gram = _window(
                jump, target, states, averaging, jr.fold_in(key, i), jnp.asarray(length), adapts
            )
            step_size = jnp.exp(averaging.average) if adapts else step_size
            if i + 1 < len(lengths):  # the last window only settles the step size
                mean, covariance = _moments(np.asarray(gram, np.float64), jump.columns)
                std = np.sqrt(np.diagonal(covariance))
                if adapts:
                    scale = jnp.asarray(np.linalg.cholesky(covariance) if dense else std, step_size.dtype)
                    bodies = np.flatnonzero(jump.columns.has_body)
                    ratio = np.mean(np.log(_sizes(scale) / _sizes(jump.scale))[bodies]) if bodies.size else 0.0
                    step_size = step_size * np.exp(-2 * ratio)  # so that steps are as long as before in the new units
                    jump = eqx.tree_at(lambda s: s.inner.scale, jump, scale)
                jump = jump._proposing(mean, std)
        return eqx.tree_at(lambda s: s.inner.step_size, jump, step_size), states

    def _proposing(self, mean: NDArray[np.floating], std: NDArray[np.floating]) -> "Jump":
        parts = [jnp.asarray(part, self.columns.mean.dtype) for part in (mean, std)]
        return eqx.tree_at(lambda s: [s.columns.mean, s.columns.std], self, parts)


@eqx.filter_jit
def _conditional(columns: Columns, log_q: LogDensity, option: Array, u: Array) -> tuple[Array, Array]:
    """Of each chain and column, the median and half the 68 % interval of the body given the other columns."""
    t = jnp.linspace(-24.0, 24.0, 193)
    unit = 1e-3 * jnp.sinh(t)  # finest around where the chain is, and up to a million away

    def at(option: Options, u: Point, j: Array) -> tuple[Scalar, Scalar]:
        density = Slice(log_q, columns, option.at[j].set(jnp.asarray(columns.num_atoms)[j]))
        grid = u[j] + unit
        log_mass = jax.vmap(lambda v: density(u.at[j].set(v)))(grid) + jnp.log(jnp.cosh(t))
        share = jnp.cumsum(jax.nn.softmax(jnp.where(jnp.isfinite(log_mass), log_mass, -jnp.inf)))
        low, middle, high = (grid[jnp.searchsorted(share, p)] for p in (0.16, 0.5, 0.84))
        spacing = 0.25 * jnp.sqrt(1e-6 + (middle - u[j]) ** 2)  # what the grid cannot see
        return jnp.where(jnp.isnan(share[-1]), jnp.nan, middle), 0.5 * (high - low) + spacing

    over = lambda j: jax.vmap(lambda option, u: at(option, u, j))(option, u)  # noqa: E731
    middle, half = jax.lax.map(over, jnp.arange(u.shape[1]))
    return middle.T, half.T


@eqx.filter_jit
def _window(
    jump: Jump, target: Density, states: Mixed, averaging: Averaging, key: PRNGKeyArray, num_steps: Array, adapts: bool
) -> tuple[Mixed, Averaging, Float[Array, "2*d 2*d"]]:
    """Warm-up steps; sums of products of (u - m, 1), both 0 where a column is not in its body, over all draws."""
    num_chains, d = states.x.shape

    def one(t: Array, carry: tuple) -> tuple:
        states, averaging, gram = carry
        tuned = eqx.tree_at(lambda s: s.inner.step_size, jump, jnp.exp(averaging.log_step)) if adapts else jump
        keys = jax.vmap(lambda i: jr.fold_in(jr.fold_in(key, t), i))(jnp.arange(num_chains))
        moves = jnp.any(jump.columns.active(states.option), 1)
        states, info = jax.vmap(tuned.step, (None, 0, 0))(target, states, keys)
        if adapts:
            short = jnp.sum(jnp.where(moves, jump.goal - info.acceptance, 0.0)) / jnp.maximum(jnp.sum(moves), 1)
            new = averaging.update(short)
            averaging = jax.tree.map(lambda new, old: jnp.where(jnp.any(moves), new, old), new, averaging)
        active = jump.columns.active(states.option)
        both = jnp.concatenate([jnp.where(active, states.inner.x - jump.columns.mean, 0.0), active], 1)
        return states, averaging, gram + both.T @ both

    zero = jnp.zeros((2 * d, 2 * d), states.inner.x.dtype)
    return jax.lax.fori_loop(0, num_steps, one, (states, averaging, zero))


def _moments(gram: NDArray[np.float64], columns: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Mean and covariance of the bodies, drawn towards what they were.

    Variances are those of the draws in the body; a covariance is $\sum (u_j - m_j)(u_k - m_k) / \sqrt{n_j n_k}$ over
    the draws with both columns there: positive definite, and less where both seldom are.
    """
    d = len(gram) // 2
    square, cross, pairs = gram[:d, :d], gram[:d, d:], gram[d:, d:]
    num = np.diagonal(pairs)
    some, share = np.maximum(num, 1), num / (num + _PRIOR)
    shift = np.diagonal(cross) / some
    central = square - cross * shift - (cross * shift).T + np.outer(shift, shift) * pairs
    weight = np.sqrt(share / some)
    prior = (1 - share) * np.asarray(columns.std, np.float64) ** 2
    covariance = weight[:, None] * 0.5 * (central + central.T) * weight + np.diag(np.maximum(prior, 1e-12))
    return np.asarray(columns.mean, np.float64) + share * shift, covariance


def _sizes(scale: Array) -> Array:
    return scale if scale.ndim == 1 else jnp.diagonal(scale)
