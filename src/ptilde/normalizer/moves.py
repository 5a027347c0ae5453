r"""What particles do at one temperature: moves that leave the law $\pi_\beta \propto \pi_0^{1-\beta} q^\beta$ as it is.

A round is a few steps of MALA in the bodies with jumps between atoms and bodies (`samplers.Jump`), then random walks.
A walk moves one coordinate by δ, of many orders of length; and every other time it stretches the others by
$e^{a_{ji}\delta}$ about their medians, where $a_{ji}$ is the slope of $\log|u_i - m_i|$ on $u_j$ among the particles. A
coordinate that sets the scale of others, as in a funnel or a hierarchy, can go far by that alone. The volume grows by
$e^{\sum_i a_{ji}\delta}$, which enters the acceptance.
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ptilde._typing import LogDensity, Point, Scalar
from ptilde.normalizer.start import Start
from ptilde.samplers.base import Density
from ptilde.samplers.columns import Column, Columns
from ptilde.samplers.jump import Jump, Mixed, Slice
from ptilde.samplers.langevin import Mala

_STEPS = 2  # of MALA in a round
_WALKS = 10  # in a round, at most
_ORDERS = 5.0  # nats that the lengths of walks go up and down
_DENSE = 50  # columns up to which the preconditioner is a full matrix
_GAIN = 2.0  # of the log step size, for each unit that the acceptance is off its goal
Floats = NDArray[np.float64]


class Path(eqx.Module):
    """log π_β, up to a constant."""

    log_q: LogDensity
    start: Start
    beta: Scalar

    def __call__(self, x: Point) -> Scalar:
        return (1 - self.beta) * self.start(x) + self.beta * self.log_q(x)


class Seen(NamedTuple):
    """Particles as temperatures and moves are chosen by.

    Attributes:
        rise: log q - log π₀.
        log_q: of x.
        u: in charts.
        active: which coordinates are in their bodies.
        scores: of π₀ and of q in charts; 0 where they are not active.
    """

    rise: Floats
    log_q: Floats
    u: Floats
    active: NDArray[np.bool_]
    scores: tuple[Floats, Floats]


class Moves(eqx.Module):
    """Moves that fit the particles.

    Args:
        jump: steps of MALA, and jumps.
        length: of walks along each coordinate that leave the others; those that stretch them are as long as its spread.
        centre: m, which walks stretch about.
        stretch: a, by the coordinate that walks and the one that is stretched.
    """

    jump: Jump
    length: Float[Array, " d"]
    centre: Float[Array, " d"]
    stretch: Float[Array, "d d"]

    @classmethod
    def first(cls, columns: Columns) -> "Moves":
        """Before any particles are seen."""
        d = len(columns.has_body)
        scale = jnp.eye(d) if d <= _DENSE else jnp.ones(d)
        jump = eqx.tree_at(lambda jump: jump.columns, Jump(Mala(d ** (-1 / 3), scale), [Column()] * d), columns)
        return cls(jump, jnp.ones(d), jnp.zeros(d), jnp.zeros((d, d)))

    def fitted(self, seen: Seen, weight: Floats, beta: float) -> "Moves":
        """To particles that have come to a temperature."""
        score = (1 - beta) * seen.scores[0] + beta * seen.scores[1]
        scale = _preconditioner(score, weight, seen.active)
        (mean, std), (centre, stretch) = _moments(seen, weight), _stretch(seen, weight)
        length = np.abs(scale) if scale.ndim == 1 else np.linalg.norm(scale, axis=1)
        where = lambda m: [m.jump.inner.scale, m.jump.columns.mean, m.jump.columns.std, m.length, m.centre, m.stretch]  # noqa: E731
        return eqx.tree_at(where, self, [*map(jnp.asarray, (scale, mean, std, 2 * length, centre, stretch))])

    def paced(self, acceptance: Scalar) -> "Moves":
        """With a step size that comes nearer to the goal."""
        factor = jnp.exp(_GAIN * (acceptance - Mala.goal))
        return eqx.tree_at(lambda m: m.jump.inner.step_size, self, factor * self.jump.step_size)


def look(log_q: LogDensity, start: Start, x: Array) -> Seen:
    """Particles, and log q and the scores there."""
    log_q_x, log_start, u, active, of_start, of_q = map(np.asarray, _look(log_q, start, x))
    rise = log_q_x - log_start
    rise[np.isnan(rise)] = -np.inf  # as accept/reject has it: where log q is not defined there is none
    return Seen(rise, log_q_x, u, active, (np.nan_to_num(of_start), np.nan_to_num(of_q)))


@eqx.filter_jit
def _look(log_q: LogDensity, start: Start, x: Array) -> tuple[Array, ...]:
    def at(x: Point) -> tuple[Array, ...]:
        option, u = start.columns.split(x)
        of_start, of_q = (jax.grad(Slice(log_p, start.columns, option))(u) for log_p in (start, log_q))
        return log_q(x), start(x), u, start.columns.active(option), of_start, of_q

    return jax.vmap(at)(x)


def moved(moves: Moves, path: Path, x: Array, key: PRNGKeyArray) -> tuple[Array, Moves]:
    """Particles (n, d) after a round, and moves whose steps are nearer to the right size."""
    key_steps, key_walks = jr.split(key)
    # Most of what is compiled is random numbers; those of the walks, by themselves, are compiled for all targets.
    return _moved(moves, path, x, key_steps, _draws(key_walks, len(x), x.shape[1]))


class _Draws(NamedTuple):
    """What a walk is made of: a coordinate, its way in units of its length, whether others stretch, a uniform."""

    place: Array
    way: Array
    both: Array
    uniform: Array


@partial(jax.jit, static_argnums=(1, 2))
def _draws(key: PRNGKeyArray, num: int, d: int) -> _Draws:
    """Of walks (num, min(d, 10))."""
    shape = (num, min(d, _WALKS))
    noise, order, place, uniform = jr.normal(key, shape), *jr.uniform(jr.fold_in(key, 1), (3, *shape))
    way = noise * jnp.exp(_ORDERS * (2 * order - 1) ** 3)
    return _Draws(jnp.floor(d * place).astype(int), way, 2 * d * place % 2 < 1, uniform)


@eqx.filter_jit
def _moved(moves: Moves, path: Path, x: Array, key: PRNGKeyArray, draws: _Draws) -> tuple[Array, Moves]:
    target, columns = Density(path), moves.jump.columns

    def step(states: Mixed, key: PRNGKeyArray) -> tuple[Mixed, Array]:
        states, info = jax.vmap(moves.jump.step, (None, 0, 0))(target, states, jr.split(key, len(x)))
        return states, info.acceptance

    states = jax.vmap(moves.jump.init, (None, 0))(target, x)
    states, acceptance = jax.lax.scan(step, states, jr.split(key, _STEPS))
    if not any(columns.has_body):
        return states.x, moves
    moving = jnp.any(jax.vmap(columns.active)(states.option), 1)
    mean = jnp.sum(jnp.where(moving, acceptance, 0.0)) / jnp.maximum(_STEPS * jnp.sum(moving), 1)
    return jax.vmap(_walked, (None, None, 0, 0))(moves, path, states, draws), moves.paced(mean)


def _walked(moves: Moves, path: Path, state: Mixed, draws: _Draws) -> Point:
    """A particle after random walks along some of its coordinates."""
    columns = moves.jump.columns
    density, active = Slice(path, columns, state.option), columns.active(state.option)

    def walk(at: tuple[Point, Scalar], draw: _Draws) -> tuple[tuple[Point, Scalar], None]:
        (u, log_p), j = at, draw.place
        delta = draw.way * jnp.where(draw.both, columns.std[j], moves.length[j])
        stretch = jnp.where(active & active[j] & draw.both, delta * moves.stretch[j], 0.0)
        there = (moves.centre + jnp.exp(stretch) * (u - moves.centre)).at[j].add(delta)
        new = density(there)
        taken = jnp.log(draw.uniform) < new - log_p + jnp.sum(stretch)
        return (jnp.where(taken, there, u), jnp.where(taken, new, log_p)), None

    (u, _), _ = jax.lax.scan(walk, (state.inner.x, density(state.inner.x)), draws)
    return columns.x(state.option, u)


def _preconditioner(score: Floats, weight: Floats, active: NDArray[np.bool_]) -> Floats:
    """L with LLᵀ the inverse of the mean of ssᵀ: of a Gaussian the covariance, but local where there are modes.

    References:
        Titsias (2023), Optimal preconditioning and Fisher adaptive Langevin sampling, NeurIPS 36, Proposition 1.
    """
    share = np.maximum(weight @ active, 1e-3)
    score = np.sqrt(weight)[:, None] * score / np.sqrt(share)
    variance = np.sum(score**2, 0)
    variance = np.where(variance > 0, variance, 1.0)
    if score.shape[1] > _DENSE:
        return 1 / np.sqrt(variance)
    little = 5.0 / (5.0 + len(score))
    root = np.linalg.cholesky((1 - little) * score.T @ score + little * np.diag(variance))
    return solve_triangular(root, np.eye(len(root)), lower=True).T


def _moments(seen: Seen, weight: Floats) -> tuple[Floats, Floats]:
    """Means and standard deviations of the coordinates in their bodies."""
    weight = weight[:, None] * seen.active
    total = np.maximum(weight.sum(0), 1e-300)
    mean = (weight * seen.u).sum(0) / total
    std = np.sqrt((weight * (seen.u - mean) ** 2).sum(0) / total)
    return mean, np.where(std > 0, std, 1.0)


def _stretch(seen: Seen, weight: Floats) -> tuple[Floats, Floats]:
    """Medians of the coordinates in their bodies, and the slopes of log distances from them on each coordinate.

    Medians, as a mean is far from the neck of a funnel, in units of that neck.
    """
    centre = np.array([np.median(u[on]) if on.any() else 0.0 for u, on in zip(seen.u.T, seen.active.T, strict=True)])
    weight = weight[:, None] * seen.active
    total = np.maximum(weight.sum(0), 1e-300)
    distance = np.log(np.abs(seen.u - centre) + 1e-300)
    away, distance = (np.where(seen.active, y - (weight * y).sum(0) / total, 0.0) for y in (seen.u, distance))
    slope = (weight * away).T @ distance / np.maximum((weight * away**2).sum(0), 1e-300)[:, None]
    np.fill_diagonal(slope, 0.0)
    return centre, slope
