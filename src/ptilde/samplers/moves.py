r"""Where particles start, the laws between start and target, and the moves that leave them as they are.

Particles are vectors $w = (u, z)$: real coordinates u, then one number for each choice. A real coordinate that a choice
has switched off keeps a value, with its law under the start, which the target must give it, too (Carlin & Chib): so all
patterns have one dimension, and jumps between them are flips of z. A round of moves is

* a few steps of MALA for u, of varied lengths;
* random walks along single coordinates of u;
* a proposed flip of each choice, in turn.

References:
    Carlin & Chib (1995), Bayesian model choice via Markov chain Monte Carlo methods, JRSS B 57.
"""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.stats import t
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ptilde._typing import LogDensity, Point, Scalar
from ptilde.samplers.base import Density, Info, State, Target, run
from ptilde.samplers.langevin import Mala

STEPS = 4  # of MALA in a round of moves
_NUDGES = 10  # of single coordinates in a round
_VARIED = 5.0  # nats that the step size goes up and down
_DEGREES = 4.0  # of the start


class Start(eqx.Module):
    r"""$\pi_0$: u by Student's t with four degrees, so that no tail of the mass is out of reach; every choice uniform.

    Args:
        mean: of u.
        root: L, lower triangular, of the scale $LL^\top$.
        inverse: of L.
        counts: how many values each choice has.
        num_atoms: how many of them switch its real coordinate off; these come first.
        owned: which real coordinate that is; −1 for none.
        joint: whether it is the multivariate law; else L is diagonal and coordinates are independent, as they must be
            where choices switch them off.
    """

    mean: Float[Array, " k"]
    root: Float[Array, "k k"]
    inverse: Float[Array, "k k"]
    counts: Int[Array, " c"]
    num_atoms: Int[Array, " c"]
    owned: Int[Array, " c"]
    joint: bool = eqx.field(static=True)

    def split(self, w: Point) -> tuple[Point, Point]:
        """The real coordinates, and the choices."""
        return w[: self.mean.size], w[self.mean.size :]

    def draw(self, key: PRNGKeyArray) -> Point:
        """One particle."""
        key_u, key_scale, key_z = jr.split(key, 3)
        z = jnp.floor(jr.uniform(key_z, self.counts.shape) * self.counts)
        scale = jnp.sqrt(_DEGREES / jr.chisquare(key_scale, _DEGREES, () if self.joint else self.mean.shape))
        return jnp.concatenate([self.mean + self.root @ (scale * jr.normal(key_u, self.mean.shape)), z])

    def log_density(self, w: Point) -> Scalar:
        """The log of its density."""
        noise = self.inverse @ (self.split(w)[0] - self.mean)
        constant = -jnp.sum(jnp.log(jnp.diagonal(self.root))) - jnp.sum(jnp.log(self.counts))
        if not self.joint:
            return constant + jnp.sum(t.logpdf(noise, _DEGREES))
        k, sum_ = noise.size, _DEGREES + noise.size
        norm = math.lgamma(sum_ / 2) - math.lgamma(_DEGREES / 2) - k / 2 * math.log(_DEGREES * math.pi)
        return constant + norm - sum_ / 2 * jnp.log1p(noise @ noise / _DEGREES)

    def log_marginals(self, u: Point) -> Point:
        """The log density of each real coordinate by itself, where they are independent."""
        return t.logpdf(u, _DEGREES, self.mean, jnp.diagonal(self.root))

    def refreshed(self, u: Scalar, j: Array, key: PRNGKeyArray) -> Scalar:
        """Another draw of coordinate j by itself."""
        return (self.mean[j] + self.root[j, j] * jr.t(key, _DEGREES)).astype(u.dtype)


class Path(eqx.Module):
    """log π_β, up to a constant."""

    log_q: LogDensity
    start: Start
    beta: Scalar

    def __call__(self, w: Point) -> Scalar:
        u, z = self.start.split(w)
        w = jnp.concatenate([u, jax.lax.stop_gradient(z)])
        return (1 - self.beta) * self.start.log_density(w) + self.beta * self.log_q(w)


class Varied(eqx.Module):
    r"""MALA with a step size of many orders, $\varepsilon e^{5t^3}$ with t uniform on (-1, 1) at each step.

    Most steps are near ε; the others serve regions that are narrower or wider than most of the mass. What is drawn does
    not depend on the state, so each step leaves the target as it is.
    """

    mala: Mala
    goal: ClassVar[float] = Mala.goal

    @property
    def step_size(self) -> Scalar:
        """ε."""
        return self.mala.step_size

    @property
    def scale(self) -> Array | None:
        """The preconditioner."""
        return self.mala.scale

    def init(self, target: Target, x: Point) -> State:
        """The state at a point."""
        return self.mala.init(target, x)

    def step(self, target: Target, state: State, key: PRNGKeyArray) -> tuple[State, Info]:
        """One step, of its own length."""
        key_length, key_step = jr.split(key)
        length = jnp.exp(_VARIED * jr.uniform(key_length, minval=-1, maxval=1) ** 3)
        varied = eqx.tree_at(lambda mala: mala.step_size, self.mala, length * self.mala.step_size)
        return varied.step(target, state, key_step)


def one_round(path: Path, w: Array, sampler: Mala, key: PRNGKeyArray) -> tuple[Array, Scalar]:
    """Particles after a few steps of MALA and a flip of every choice, and the mean acceptance of MALA."""
    acceptance = jnp.asarray(sampler.goal, w.dtype)
    if path.start.mean.size:
        varied: Any = Varied(sampler)
        states = jax.vmap(sampler.init, (None, 0))(Density(path), w)
        states, _, infos = run(varied, Density(path), states, key, jnp.asarray(0), 1, STEPS)
        w, acceptance = states.x, jnp.mean(infos.acceptance)
        keys = jr.split(jr.fold_in(key, STEPS + 1), len(w))
        w = jax.vmap(_nudged, (None, None, 0, 0))(path, sampler.scale, w, keys)
    if path.start.counts.size:
        keys = jr.split(jr.fold_in(key, STEPS), len(w))
        w = jax.vmap(_flipped, (None, 0, 0))(path, w, keys)
    return w, acceptance


def _nudged(path: Path, scale: Any, w: Point, key: PRNGKeyArray) -> Point:
    """A particle after random walks along a few single coordinates, of many lengths, which a funnel asks for."""
    k = path.start.mean.size
    lengths = jnp.abs(scale) if scale.ndim == 1 else jnp.sqrt(jnp.sum(scale**2, 1))

    def nudge(i: Array, carry: tuple[Point, Scalar]) -> tuple[Point, Scalar]:
        w, log_p = carry
        key_j, key_length, key_noise, key_accept = jr.split(jr.fold_in(key, i), 4)
        j = jr.randint(key_j, (), 0, k)
        length = 2 * lengths[j] * jnp.exp(_VARIED * jr.uniform(key_length, minval=-1, maxval=1) ** 3)
        there = w.at[j].add(length * jr.normal(key_noise))
        new = path(there)
        taken = jnp.log(jr.uniform(key_accept)) < new - log_p
        return jnp.where(taken, there, w), jnp.where(taken, new, log_p)

    return jax.lax.fori_loop(0, min(k, _NUDGES), nudge, (w, path(w)))[0]


def _flipped(path: Path, w: Point, key: PRNGKeyArray) -> Point:
    """A particle after one proposed flip of each choice in turn."""
    start = path.start
    k = start.mean.size

    def flip(c: Array, carry: tuple[Point, Scalar]) -> tuple[Point, Scalar]:
        w, log_p = carry
        key_u, key_z, key_accept = jr.split(jr.fold_in(key, c), 3)
        if k:  # a coordinate that is off is drawn anew: its law is its marginal, at every temperature
            j = start.owned[c]
            off = (j >= 0) & (w[k + c] < start.num_atoms[c])
            fresh = w.at[j].set(jnp.where(off, start.refreshed(w[j], j, key_u), w[j]))
            log_p = log_p + start.log_marginals(fresh[:k])[j] - start.log_marginals(w[:k])[j]
            w = fresh
        move = 1 + jnp.floor(jr.uniform(key_z) * (start.counts[c] - 1))
        there = w.at[k + c].set(jnp.mod(w[k + c] + move, start.counts[c]))
        new = path(there)
        taken = jnp.log(jr.uniform(key_accept)) < new - log_p
        return jnp.where(taken, there, w), jnp.where(taken, new, log_p)

    return jax.lax.fori_loop(0, start.counts.size, flip, (w, path(w)))[0]
