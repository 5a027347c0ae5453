r"""Tempered sequential Monte Carlo on real coordinates, choices, or both.

Particles are vectors $w = (u, z)$: real coordinates u, then one number for each choice. They go from a normalised start
$\pi_0$ to the target $\pi_1 = q$ along $\pi_\beta \propto \pi_0^{1-\beta} q^\beta$:

* reweight by $(q/\pi_0)^{\beta' - \beta}$; the mean weights multiply to an unbiased estimate of $Z = \int q$, if the
  temperatures and the kernels were fixed beforehand. So a *pilot* run chooses them, and other particles use them;
* resample, systematically, when the effective sample size falls below half;
* move: MALA for u, with the inverse of the mean $s s^\top$ of the scores as preconditioner, which is the covariance of
  a Gaussian but stays local where there are several modes; Metropolis flips for z, column by column.

A real coordinate that a choice has switched off keeps a value, drawn from its marginal under the start, which the
target must give it as its law (Carlin & Chib): so all patterns have one dimension, and jumps between them are flips.

References:
    Del Moral, Doucet & Jasra (2006), Sequential Monte Carlo samplers, JRSS B 68, equation (14).
    Zhou, Johansen & Aston (2016), Toward automatic model comparison: an adaptive sequential Monte Carlo approach, JCGS
    25: temperatures by the conditional effective sample size.
    Titsias (2023), Optimal preconditioning and Fisher adaptive Langevin sampling, NeurIPS 36.
    Carlin & Chib (1995), Bayesian model choice via Markov chain Monte Carlo methods, JRSS B 57.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ptilde._typing import LogDensity, Point, Scalar
from ptilde.samplers.base import Density, run
from ptilde.samplers.langevin import Mala

MOST_RUNGS = 400
DENSE = 50  # real coordinates up to which the preconditioner is a full matrix
_KEPT = 0.9  # of the effective sample size, from one temperature to the next
_ROUNDS, _STEPS = 2, 3  # of moves at a temperature; of MALA in a round
_GAIN = 2.0  # of the log step size, for each unit that the acceptance is off its goal
_BISECTIONS = 40


class Start(eqx.Module):
    r"""$\pi_0$: u Gaussian, every choice uniform.

    Args:
        mean: of u.
        root: L, lower triangular, of the covariance $LL^\top$; diagonal if choices switch coordinates off.
        counts: how many values each choice has.
        num_atoms: how many of them switch its real coordinate off; these come first.
        owned: which real coordinate that is; −1 for none.
    """

    mean: Float[Array, " k"]
    root: Float[Array, "k k"]
    counts: Int[Array, " c"]
    num_atoms: Int[Array, " c"]
    owned: Int[Array, " c"]

    def split(self, w: Point) -> tuple[Point, Point]:
        """The real coordinates, and the choices."""
        return w[: self.mean.size], w[self.mean.size :]

    def draw(self, key: PRNGKeyArray) -> Point:
        """One particle."""
        key_u, key_z = jr.split(key)
        z = jnp.floor(jr.uniform(key_z, self.counts.shape) * self.counts)
        return jnp.concatenate([self.mean + self.root @ jr.normal(key_u, self.mean.shape), z])

    def log_density(self, w: Point) -> Scalar:
        """log π₀."""
        uniform = -jnp.sum(jnp.log(self.counts))
        if not self.mean.size:
            return uniform
        noise = solve_triangular(self.root, self.split(w)[0] - self.mean, lower=True)
        return uniform + jnp.sum(norm.logpdf(noise) - jnp.log(jnp.diagonal(self.root)))

    def log_marginals(self, u: Point) -> Point:
        """The log density of each real coordinate by itself."""
        return norm.logpdf(u, self.mean, jnp.sqrt(jnp.sum(self.root**2, 1)))


class Path(eqx.Module):
    """log π_β, up to a constant."""

    log_q: LogDensity
    start: Start
    beta: Scalar

    def __call__(self, w: Point) -> Scalar:
        u, z = self.start.split(w)
        w = jnp.concatenate([u, jax.lax.stop_gradient(z)])
        return (1 - self.beta) * self.start.log_density(w) + self.beta * self.log_q(w)


class Cloud(NamedTuple):
    """Particles, their weights (which sum to one), the log normaliser so far, the least effective sample size."""

    w: Float[Array, "n k+c"]
    log_w: Float[Array, " n"]
    log_z: Scalar
    least: Scalar


class Rungs(NamedTuple):
    """What a pilot chose: temperatures, step sizes and preconditioners, of which `num` are used."""

    beta: Float[Array, " t"]
    step_size: Float[Array, " t"]
    scale: Float[Array, "t k+c k+c"] | Float[Array, "t k+c"]
    num: Int[Array, ""]


def begin(start: Start, key: PRNGKeyArray, num_particles: int) -> Cloud:
    """Particles of the start."""
    w = jax.vmap(start.draw)(jr.split(key, num_particles))
    equal = jnp.full(num_particles, -math.log(num_particles), w.dtype)
    return Cloud(w, equal, jnp.zeros((), w.dtype), jnp.asarray(float(num_particles), w.dtype))


@eqx.filter_jit
def pilot(log_q: LogDensity, start: Start, key: PRNGKeyArray, num_particles: int) -> tuple[Rungs, Cloud, Scalar]:
    """Temperatures and kernels that suit a target, the particles that found them, and the last temperature."""
    k, size = start.mean.size, start.mean.size + start.counts.size
    scales = jnp.zeros((MOST_RUNGS, size, size) if k <= DENSE else (MOST_RUNGS, size))
    first = Rungs(jnp.zeros(MOST_RUNGS), jnp.zeros(MOST_RUNGS), scales, jnp.asarray(0))

    def rung(carry):
        cloud, beta, step_size, rungs = carry
        key_t = jr.fold_in(key, rungs.num + 1)
        rise = _rise(log_q, start, cloud)
        there = _next(beta, rise, cloud.log_w)
        cloud = _reweighted(cloud, (there - beta) * rise, jr.fold_in(key_t, 0))
        path = Path(log_q, start, there)
        sampler = Mala(step_size, _preconditioner(path, cloud, k))
        cloud, acceptance = _moved(path, cloud, sampler, jr.fold_in(key_t, 1))
        new = (there, step_size, sampler.scale)
        tables = (old.at[rungs.num].set(value) for old, value in zip(rungs[:3], new, strict=True))
        step_size = step_size * jnp.exp(_GAIN * (acceptance - Mala.goal))
        return cloud, there, step_size, Rungs(*tables, rungs.num + 1)

    going = lambda carry: (carry[1] < 1) & (carry[3].num < MOST_RUNGS)  # noqa: E731
    initial = (begin(start, jr.fold_in(key, 0), num_particles), jnp.zeros(()), jnp.asarray(max(k, 1) ** (-1 / 3)), first)
    cloud, beta, _, rungs = jax.lax.while_loop(going, rung, initial)
    return rungs, cloud, beta


@eqx.filter_jit
def climb(log_q: LogDensity, start: Start, rungs: Rungs, keys: PRNGKeyArray, num_particles: int) -> Cloud:
    """Independent runs up a fixed ladder, one for each key."""

    def one(key: PRNGKeyArray) -> Cloud:
        def rung(t: Array, cloud: Cloud) -> Cloud:
            key_t = jr.fold_in(key, t + 1)
            below = jnp.where(t > 0, rungs.beta[t - 1], 0.0)
            rise = _rise(log_q, start, cloud)
            cloud = _reweighted(cloud, (rungs.beta[t] - below) * rise, jr.fold_in(key_t, 0))
            sampler = Mala(rungs.step_size[t], rungs.scale[t])
            return _moved(Path(log_q, start, rungs.beta[t]), cloud, sampler, jr.fold_in(key_t, 1))[0]

        return jax.lax.fori_loop(0, rungs.num, rung, begin(start, jr.fold_in(key, 0), num_particles))

    return jax.vmap(one)(keys)


def _rise(log_q: LogDensity, start: Start, cloud: Cloud) -> Float[Array, " n"]:
    rise = jax.vmap(log_q)(cloud.w) - jax.vmap(start.log_density)(cloud.w)
    return jnp.where(jnp.isnan(rise), -jnp.inf, rise)  # as accept/reject has it: where log q is not defined there is none


def _next(beta: Scalar, rise: Float[Array, " n"], log_w: Float[Array, " n"]) -> Scalar:
    """The largest temperature that keeps 0.9 of the conditional effective sample size."""

    def kept(there: Scalar) -> Scalar:
        gain = (there - beta) * rise
        return jnp.exp(2 * logsumexp(log_w + gain) - logsumexp(log_w + 2 * gain)) >= _KEPT

    def halve(_: Array, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = ends
        middle = 0.5 * (low + high)
        return jnp.where(kept(middle), middle, low), jnp.where(kept(middle), high, middle)

    one = jnp.ones_like(beta)
    _, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (beta, one))
    return jnp.where(kept(one), one, high)


def _reweighted(cloud: Cloud, gain: Float[Array, " n"], key: PRNGKeyArray) -> Cloud:
    """Weights after a gain, and equal ones again, by resampling, where fewer than half of the particles count."""
    log_w = cloud.log_w + gain
    step = logsumexp(log_w)
    log_w = log_w - step
    size, n = jnp.exp(-logsumexp(2 * log_w)), log_w.size
    places = (jnp.arange(n) + jr.uniform(key)) / n
    chosen = jnp.clip(jnp.searchsorted(jnp.cumsum(jnp.exp(log_w)), places), 0, n - 1)
    few = size < n / 2
    w = jnp.where(few, cloud.w[chosen], cloud.w)
    log_w = jnp.where(few, jnp.full(n, -math.log(n), log_w.dtype), log_w)
    return Cloud(w, log_w, cloud.log_z + step, jnp.minimum(cloud.least, size))


def _preconditioner(path: Path, cloud: Cloud, k: int) -> Array:
    """L with LLᵀ the inverse of the mean of ssᵀ; zero for choices, which do not move by Langevin's steps."""
    score = jnp.nan_to_num(jax.vmap(jax.grad(path))(cloud.w)[:, :k])
    weighted = jnp.exp(cloud.log_w)[:, None] * score
    num_choices = cloud.w.shape[1] - k
    variance = jnp.maximum(jnp.sum(weighted * score, 0), 1e-12)
    if k > DENSE:
        return jnp.pad(1 / jnp.sqrt(variance), (0, num_choices))
    share = 5.0 / (5.0 + score.shape[0])
    root = jnp.linalg.cholesky((1 - share) * (weighted.T @ score) + share * jnp.diag(variance)) if k else jnp.eye(0)
    inverse = solve_triangular(root, jnp.eye(k), lower=True).T if k else root
    return jnp.pad(inverse, (0, num_choices))


def _moved(path: Path, cloud: Cloud, sampler: Mala, key: PRNGKeyArray) -> tuple[Cloud, Scalar]:
    """Particles after rounds of MALA and flips, and the mean acceptance of MALA."""
    w, acceptance, n = cloud.w, jnp.zeros(()), cloud.log_w.size
    for i in range(_ROUNDS):
        key_i = jr.fold_in(key, i)
        if path.start.mean.size:
            states = jax.vmap(sampler.init, (None, 0))(Density(path), w)
            states, _, infos = run(sampler, Density(path), states, key_i, jnp.asarray(0), 1, _STEPS)
            w, acceptance = states.x, acceptance + jnp.mean(infos.acceptance) / _ROUNDS
        if path.start.counts.size:
            keys = jr.split(jr.fold_in(key_i, -1), n)
            w = jax.vmap(_flipped, (None, 0, 0))(path, w, keys)
    return cloud._replace(w=w), acceptance


def _flipped(path: Path, w: Point, key: PRNGKeyArray) -> Point:
    """A particle after one proposed flip of each choice in turn."""
    start = path.start
    k, sd = start.mean.size, jnp.sqrt(jnp.sum(start.root**2, 1))

    def flip(c: Array, carry: tuple[Point, Scalar]) -> tuple[Point, Scalar]:
        w, log_p = carry
        key_u, key_z, key_accept = jr.split(jr.fold_in(key, c), 3)
        if k:  # a coordinate that is off is drawn anew: its law is its marginal, at every temperature
            j = start.owned[c]
            off = (j >= 0) & (w[k + c] < start.num_atoms[c])
            fresh = w.at[j].set(jnp.where(off, start.mean[j] + sd[j] * jr.normal(key_u), w[j]))
            log_p = log_p + start.log_marginals(fresh[:k])[j] - start.log_marginals(w[:k])[j]
            w = fresh
        move = 1 + jnp.floor(jr.uniform(key_z) * (start.counts[c] - 1))
        there = w.at[k + c].set(jnp.mod(w[k + c] + move, start.counts[c]))
        new = path(there)
        taken = jnp.log(jr.uniform(key_accept)) < new - log_p
        return jnp.where(taken, there, w), jnp.where(taken, new, log_p)

    return jax.lax.fori_loop(0, start.counts.size, flip, (w, path(w)))[0]
