r"""blackjax's tempered sequential Monte Carlo behind our interface: particles instead of chains.

They go from a Gaussian $\pi_0$ to q along $\pi_\beta \propto \pi_0^{1-\beta} q^\beta$: weighed by
$(q/\pi_0)^{\beta' - \beta}$, with β' such that enough of them keep their weight, resampled, and moved by chains of
$\pi_{\beta'}$. Weights carry mass between modes that no move joins; the means of the weights multiply to $\int q$.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike, NDArray

from ptilde import _validate
from ptilde._typing import LogDensity, Point, Scalar
from ptilde.samplers.base import Density, Info, State
from ptilde.samplers.ends import endless
from ptilde.samplers.langevin import Mala

_MOST_RUNGS = 1000
_GAIN = 2.0  # of the log step size of particles, for each unit that the acceptance is off its goal
_PRIOR = 5.0  # rows' worth of the diagonal in covariances
_NEVER = -1e30  # log q where it is −inf or NaN: 0 times it is 0 at π₀


class Particles(NamedTuple):
    """Draws of equal weight.

    Attributes:
        x: the draws.
        log_normalizer: the log of ∫q, estimated on the way.
        ess: the least effective sample size of the weights on the way, of as many as there are particles.
        num_rungs: temperatures on the way.
    """

    x: Float[np.ndarray, "particle d"]
    log_normalizer: float
    ess: float
    num_rungs: int


class TemperedSmc(eqx.Module):
    """Adaptive tempered sequential Monte Carlo, for modes far apart: no chains, but particles with a law.

    Particles start from a Gaussian with the mean and the covariance of the points that they are given, which should
    span all modes: a mode that the Gaussian hardly reaches is found by few of them, and its share is then vague.

    Args:
        num_particles: how many.
        inner: how they move; step size and preconditioner follow the particles.
        num_moves: steps of it at a temperature.
        kept: the effective sample size of the weights from one temperature to the next, as a share of all particles.

    References:
        Del Moral, Doucet & Jasra (2006), Sequential Monte Carlo samplers, JRSS B 68.
        Titsias (2023), Optimal preconditioning and Fisher adaptive Langevin sampling, NeurIPS 36.
    """

    num_particles: int = eqx.field(default=1000, static=True)
    inner: Any = eqx.field(default_factory=Mala)
    num_moves: int = eqx.field(default=10, static=True)
    kept: float = eqx.field(default=0.8, static=True)

    def __check_init__(self) -> None:
        _validate.whole("num_particles", self.num_particles, 2)
        _validate.whole("num_moves", self.num_moves, 1)
        _validate.positive("kept", self.kept)
        if not self.kept < 1:
            raise ValueError(f"`kept` must be below 1; got {self.kept}: no temperature keeps all.")
        if getattr(self.inner, "goal", None) is None or hasattr(self.inner, "columns"):
            raise ValueError(f"`inner` must be Mala(), Hmc() or Nuts(); got {self.inner!r}.")

    def draw(self, log_q: LogDensity, x0: ArrayLike, key: PRNGKeyArray) -> Particles:
        """Particles with the law of q.

        Args:
            log_q: x ↦ log q(x), up to a constant, on all of the space; for bounded columns write it in coordinates
                without ends, or use `ptilde.sample` with `support`.
            x0: points that span the modes, (n, d), at least two.
            key: of all randomness.

        Raises:
            ValueError: if shapes do not fit, particles do not arrive at q, or q has no integral.
        """
        points = np.asarray(x0, float)
        if points.ndim != 2 or len(points) < 2 or not np.isfinite(points).all():
            raise ValueError(f"`x0` must be finite points that span the modes, (n, d); got shape {points.shape}.")
        climb = _climbed(self, log_q, _start(points), key)
        if not climb.log_z > _NEVER / 2:
            raise ValueError(f"`log_q` must be finite near `x0`; it is not around {points.mean(0).tolist()}.")
        if not climb.moved >= 1:
            raise ValueError(
                f"`kept` must let particles arrive; after {int(climb.num_rungs)} temperatures with {self.kept:g} "
                f"they are at β = {float(climb.moved):.3g} of 1. Lower it, or give points nearer to the modes in `x0`."
            )
        if endless(Density(log_q), climb.smc.particles):
            raise ValueError(
                "`log_q` must fall far from its modes, so that q has an integral; it does not where particles are or "
                "along rays through them. Check its sign; if it ends somewhere, use `ptilde.sample` with `support`."
            )
        return Particles(np.asarray(climb.smc.particles), float(climb.log_z), float(climb.ess), int(climb.num_rungs))


class _Start(eqx.Module):
    mean: Point
    root: Float[Array, "d d"]
    inverse: Float[Array, "d d"]

    def __call__(self, x: Point) -> Scalar:
        return jnp.sum(norm.logpdf(self.inverse @ (x - self.mean))) - jnp.sum(jnp.log(jnp.diagonal(self.root)))

    def draw(self, key: PRNGKeyArray, n: int) -> Float[Array, "n d"]:
        return self.mean + jr.normal(key, (n, self.mean.size), self.mean.dtype) @ self.root.T


def _start(points: NDArray[np.float64]) -> _Start:
    share = _PRIOR / (_PRIOR + len(points))
    covariance = np.atleast_2d(np.cov(points.T))
    if not (spread := np.diagonal(covariance)).all():
        raise ValueError(f"`x0` must vary in every column; column {spread.argmin()} is constant.")
    root = np.linalg.cholesky((1 - share) * covariance + share * np.diag(spread))
    return _Start(*(jnp.asarray(part, jnp.result_type(float)) for part in (points.mean(0), root, np.linalg.inv(root))))


class _Placed(NamedTuple):
    """A chain's state as blackjax wants it."""

    position: Point
    state: State


class _Climb(NamedTuple):
    """Particles on their way; `moved` says at which temperature they have moved, one behind that of their weights."""

    smc: Any
    log_z: Scalar
    ess: Scalar
    step_size: Scalar
    num_rungs: Array
    moved: Scalar


@eqx.filter_jit
def _climbed(smc: TemperedSmc, log_q: LogDensity, start: _Start, key: PRNGKeyArray) -> _Climb:
    """Particles at the last temperature that is reached, moved there."""
    from blackjax.smc import adaptive_tempered, resampling

    n = smc.num_particles
    x = start.draw(jr.fold_in(key, 0), n)

    def rise(x: Point) -> Scalar:
        rise = log_q(x) - start(x)
        return jnp.where(rise > _NEVER, rise, _NEVER)  # NaN, too

    level = jnp.max(jax.vmap(rise)(x))  # blackjax takes differences of sums of exponentials, which it would drown

    def rung(climb: _Climb) -> _Climb:
        scale = _preconditioner(lambda x: start(x) + climb.smc.tempering_param * (rise(x) - level), climb.smc)
        tuned = eqx.tree_at(
            lambda s: (s.step_size, s.scale), smc.inner, (climb.step_size, scale), is_leaf=lambda leaf: leaf is None
        )

        def move(key: PRNGKeyArray, placed: _Placed, log_density: LogDensity) -> tuple[_Placed, Info]:
            state, info = tuned.step(Density(log_density), placed.state, key)
            return _Placed(state.x, state), info

        init = lambda x, log_density: _Placed(x, tuned.init(Density(log_density), x))  # noqa: E731
        kernel = adaptive_tempered.build_kernel(
            start, lambda x: rise(x) - level, move, init, resampling.systematic, smc.kept
        )
        new, info = kernel(jr.fold_in(key, climb.num_rungs + 1), climb.smc, smc.num_moves, {})
        acceptance = jnp.mean(info.update_info.acceptance)
        return _Climb(
            new,
            climb.log_z + info.log_likelihood_increment,
            jnp.minimum(climb.ess, 1 / jnp.sum(new.weights**2)),
            climb.step_size * jnp.exp(_GAIN * (acceptance - smc.inner.goal)),
            climb.num_rungs + 1,
            climb.smc.tempering_param,
        )

    zero = jnp.zeros((), x.dtype)
    first = adaptive_tempered.init(x)._replace(weights=jnp.full(n, 1 / n, x.dtype), tempering_param=zero)
    climb = _Climb(first, zero, zero + n, zero + x.shape[1] ** (-1 / 3), jnp.asarray(0), zero)
    going = lambda climb: (climb.moved < 1) & (climb.num_rungs < _MOST_RUNGS)  # noqa: E731
    climb = jax.lax.while_loop(going, rung, climb)  # at last from 1 to 1, so that weights are equal
    return climb._replace(log_z=climb.log_z + level)


def _preconditioner(log_density: LogDensity, smc: Any) -> Array:
    """L with LLᵀ the inverse of the mean of ssᵀ: the covariance of a Gaussian, but local where there are two."""
    score = jnp.nan_to_num(jax.vmap(jax.grad(log_density))(smc.particles))
    share = _PRIOR / (_PRIOR + len(score))
    outer = score.T @ (smc.weights[:, None] * score)
    variance = jnp.maximum(jnp.diagonal(outer), 1e-12)
    root = jnp.linalg.cholesky((1 - share) * outer + share * jnp.diag(variance))
    return solve_triangular(root, jnp.eye(len(variance), dtype=root.dtype), lower=True).T
