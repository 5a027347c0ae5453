r"""Chains on any density that is known up to a constant, or on a score.

On half-lines and intervals chains move in a chart, $u = \log(x - a)$, $-\log(b - x)$ or $\log\frac{x-a}{b-x}$, with the
target $\log q(x(u)) + \log|dx/du|$, so that no step leaves the support.
"""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from ptilde import _validate
from ptilde._typing import LogDensity, Point, Scalar
from ptilde.samplers import Chains, Density, Field, Mala
from ptilde.samplers.base import Sampler, State, Target, run, warm_up
from ptilde.tabular.kinds import Kind
from ptilde.tabular.points import ends_of

DENSE = 50  # columns up to which the preconditioner is a full matrix


class Charted(eqx.Module):
    """A log density in the coordinates of a chart of its support.

    Args:
        log_q: of x.
        low: ends of each coordinate; −inf where there is none.
        high: the same; inf where there is none.
    """

    log_q: LogDensity
    low: Float[Array, " d"]
    high: Float[Array, " d"]

    def x(self, u: Point) -> Point:
        """The point with these coordinates."""
        both, left, right = self._ends()
        low, high = jnp.where(both | left, self.low, 0.0), jnp.where(both | right, self.high, 0.0)
        near = jnp.exp(jnp.where(left, u, jnp.where(right, -u, 0.0)))  # the distance to the only end
        one = jnp.where(left, low + near, high - near)
        return jnp.where(both, low + (high - low) * jax.nn.sigmoid(u), jnp.where(left | right, one, u))

    def u(self, x: Point) -> Point:
        """The coordinates of a point inside."""
        both, left, right = self._ends()
        above = jnp.log(jnp.where(both | left, x - self.low, 1.0))
        below = jnp.log(jnp.where(both | right, self.high - x, 1.0))
        return jnp.where(both | left | right, above - below, x)

    def log_slope(self, u: Point) -> Scalar:
        """The log of |dx/du|."""
        both, left, right = self._ends()
        log_width = jnp.log(jnp.where(both, self.high - self.low, 1.0))
        inside = log_width + jax.nn.log_sigmoid(u) + jax.nn.log_sigmoid(-u)
        return jnp.sum(jnp.where(both, inside, 0.0) + jnp.where(left, u, 0.0) - jnp.where(right, u, 0.0))

    def __call__(self, u: Point) -> Scalar:
        """The log density of the coordinates."""
        return self.log_q(self.x(u)) + self.log_slope(u)

    def _ends(self) -> tuple[Array, Array, Array]:
        low, high = jnp.isfinite(self.low), jnp.isfinite(self.high)
        return low & high, low & ~high, high & ~low


def sample(
    log_q: Callable[..., Any],
    x0: ArrayLike,
    *,
    sampler: Sampler | None = None,
    support: Any = None,
    num_steps: int = 1000,
    warmup: int = 1000,
    num_chains: int = 4,
    thin: int = 1,
    key: PRNGKeyArray | int = 0,
) -> Chains:
    """Draw from a density by Markov chains.

    Args:
        log_q: x ↦ log q(x), up to a constant; or a score, x ↦ ∇ log q(x) of shape (d,), for which accept/reject is
            approximate.
        x0: where chains start: (d,) for all, or (chain, d).
        sampler: `samplers.Mala()` if None. Warm-up finds its step size and its preconditioner, a full matrix up to
            50 columns.
        support: a kind for each column, `Real()`, `Positive()` or `Interval(low, high)`, or one for all; all real if
            None.
        num_steps: draws of each chain that are kept.
        warmup: steps before them, which are not.
        num_chains: if x0 is one point.
        thin: steps from one draw to the next.
        key: of all randomness, or a seed.

    Raises:
        ValueError: if log q or its gradient is not finite at x0, or shapes do not fit.
    """
    for name, value, least in (("num_steps", num_steps, 4), ("warmup", warmup, 0), ("num_chains", num_chains, 1)):
        _validate.whole(name, value, least)
    _validate.whole("thin", thin, 1)
    key = jr.key(key) if isinstance(key, int) else key
    start = _starts(x0, num_chains)
    low, high = _ends(support, start)
    bounded = bool(np.isfinite([low, high]).any())
    target, chart = _target(log_q, low, high, bounded)
    sampler = Mala() if sampler is None else sampler
    x = jnp.asarray(start, jnp.result_type(float))
    states = jax.vmap(sampler.init, (None, 0))(target, jax.vmap(chart.u)(x) if bounded else x)
    _refuse_undefined(states, start)
    sampler, states = _warmed(sampler, target, states, jr.fold_in(key, 0), warmup)
    _, kept, infos = run(sampler, target, states, jr.fold_in(key, 1), jnp.asarray(0), num_steps, thin)
    draws, log_density = kept.x, kept.log_q
    if bounded:
        draws = jax.vmap(jax.vmap(chart.x))(kept.x)
        log_density = kept.log_q - jax.vmap(jax.vmap(chart.log_slope))(kept.x)
    bare = isinstance(target, Field)
    chains = Chains(
        x=np.asarray(draws).swapaxes(0, 1),
        log_q=np.full(kept.log_q.shape[::-1], np.nan) if bare else np.asarray(log_density).T,
        acceptance=np.asarray(infos.acceptance).T,
        diverged=np.asarray(infos.diverged).T,
        step_size=float(sampler.step_size),
        scale=None if sampler.scale is None else np.asarray(sampler.scale),
        names=tuple(f"x{j}" for j in range(start.shape[1])),
        exact=not bare and sampler.goal is not None,
    )
    if chains.doubts():
        doubts = "; ".join(chains.doubts())
        cure = "Draw more (`num_steps`, `warmup`), or start chains elsewhere (`x0`)."
        warnings.warn(f"The chains are not to be trusted yet: {doubts}. {cure}", ConvergenceWarning, stacklevel=2)
    return chains


def _starts(x0: ArrayLike, num_chains: int) -> NDArray[np.floating]:
    start = np.asarray(x0, float)
    if start.ndim not in (1, 2) or start.size == 0:
        raise ValueError(f"`x0` must be a point (d,), or one for each chain (chain, d); got shape {start.shape}.")
    return np.broadcast_to(start, (num_chains, start.size)) if start.ndim == 1 else start


def _ends(support: Any, start: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The ends of each column, within which the chains must start."""
    d = start.shape[1]
    kinds = [support] * d if isinstance(support, Kind) else support
    if kinds is None:
        return np.full(d, -np.inf), np.full(d, np.inf)
    if len(kinds) != d or any(getattr(kind, "atoms", ()) or not hasattr(kind, "grid") for kind in kinds):
        raise ValueError(
            f"`support` must be Real(), Positive() or Interval(low, high) for each of the {d} columns; got {support!r}."
        )
    low, high = np.transpose([ends_of(kind) for kind in kinds])
    wrong = ~((start > low) & (start < high))
    if wrong.any():
        chain, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"`x0` must lie inside its support {kinds[column]}; got {start[chain, column]} in column {column} of chain "
            f"{chain}."
        )
    return low, high


def _target(
    log_q: Callable[..., Any], low: NDArray[np.floating], high: NDArray[np.floating], bounded: bool
) -> tuple[Target, Charted]:
    """The target in the coordinates of the chart, and the chart."""
    d = len(low)
    chart = Charted(log_q, jnp.asarray(low, float), jnp.asarray(high, float))
    try:
        value = jax.eval_shape(log_q, jax.ShapeDtypeStruct((d,), jnp.result_type(float)))
    except Exception as error:  # it is the user's function: whatever it raises is told
        raise ValueError(
            f"`log_q` must be defined at a point of shape ({d},); got {type(error).__name__}: {str(error)[:200]}"
        ) from error
    shape = getattr(value, "shape", None)
    if shape == ():
        return Density(chart if bounded else log_q), chart
    if shape != (d,):
        raise ValueError(f"`log_q` must return one number, or a score of shape ({d},); got {shape or value!r}.")
    if bounded:
        raise ValueError("`support` must be all real for a bare score; give a log density, or transform the score.")
    return Field(log_q), chart


def _refuse_undefined(states: State, start: NDArray[np.floating]) -> None:
    for what, values in (("log q", states.log_q[:, None]), ("its gradient", states.score)):
        fine = np.isfinite(np.asarray(values)).all(1)
        if not fine.all():
            chain = int(np.argmin(fine))
            raise ValueError(
                f"`x0` must be where log q and its gradient are finite; got {what} = "
                f"{np.asarray(values)[chain].tolist()} at {start[chain].tolist()} (chain {chain}). Start elsewhere."
            )


def _warmed(
    sampler: Sampler, target: Target, states: State, key: PRNGKeyArray, num_steps: int
) -> tuple[Sampler, State]:
    d = states.x.shape[1]
    if not num_steps:
        return sampler, states
    if sampler.goal is None:
        return sampler, run(sampler, target, states, key, jnp.asarray(0), 1, num_steps)[0]
    if sampler.scale is None:
        sampler = eqx.tree_at(lambda s: s.scale, sampler, jnp.ones(d), is_leaf=lambda leaf: leaf is None)
    return warm_up(sampler, target, states, key, num_steps, dense=d <= DENSE)
