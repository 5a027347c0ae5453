r"""Tempered sequential Monte Carlo on real coordinates, choices, or both.

Particles go from a normalised start $\pi_0$ to the target q along $\pi_\beta \propto \pi_0^{1-\beta} q^\beta$:

* reweight by $(q/\pi_0)^{\beta' - \beta}$; the mean weights multiply to an unbiased estimate of $Z = \int q$, if the
  temperatures and the kernels were fixed beforehand. So a *pilot* run chooses them, and other particles use them;
* resample, systematically, when the effective sample size falls below half;
* move (`samplers.moves`), in rounds until particles have forgotten where they were. The preconditioner of MALA is the
  inverse of the mean $s s^\top$ of the scores: the covariance of a Gaussian, but local where there are several modes.

References:
    Del Moral, Doucet & Jasra (2006), Sequential Monte Carlo samplers, JRSS B 68, equation (14).
    Zhou, Johansen & Aston (2016), Toward automatic model comparison: an adaptive sequential Monte Carlo approach, JCGS
    25: temperatures by the conditional effective sample size.
    Titsias (2023), Optimal preconditioning and Fisher adaptive Langevin sampling, NeurIPS 36.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ptilde._typing import LogDensity, Scalar
from ptilde.samplers.langevin import Mala
from ptilde.samplers.moves import Path, Start, one_round

MOST_RUNGS = 400
DENSE = 50  # real coordinates up to which the preconditioner is a full matrix
_KEPT = 0.9  # of the effective sample size, from one temperature to the next
_FORGOTTEN = 0.5  # the largest correlation with where a particle was, at which moves at a temperature end
_FEW_ROUNDS, _MOST_ROUNDS = 8, 64
_GAINED = 0.995  # of that correlation, by a round; else more of them are of no use
_MORE = 3  # rungs' worth of moves at the top, for whoever asks whether particles have settled
_GAIN = 2.0  # of the log step size, for each unit that the acceptance is off its goal
_BISECTIONS = 40


class Cloud(NamedTuple):
    """Particles, their weights (which sum to one), the log normaliser so far, the least effective sample size."""

    w: Float[Array, "n k+c"]
    log_w: Float[Array, " n"]
    log_z: Scalar
    least: Scalar


class Rungs(NamedTuple):
    """What a pilot chose: temperatures, step sizes, rounds of moves and preconditioners, of which `num` are used."""

    beta: Float[Array, " t"]
    step_size: Float[Array, " t"]
    rounds: Int[Array, " t"]
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
    none = jnp.zeros(MOST_RUNGS)
    first = Rungs(none, none, none.astype(int), scales, jnp.asarray(0))

    def rung(carry):
        cloud, beta, step_size, rungs = carry
        key_t = jr.fold_in(key, rungs.num + 1)
        rise = _rise(log_q, start, cloud)
        there = _next(beta, rise, cloud.log_w)
        cloud = _reweighted(cloud, (there - beta) * rise, jr.fold_in(key_t, 0))
        path = Path(log_q, start, there)
        sampler = Mala(step_size, _preconditioner(path, cloud, k))
        cloud, acceptance, rounds = _settled(path, cloud, sampler, jr.fold_in(key_t, 1))
        n = rungs.num
        rungs = Rungs(
            rungs.beta.at[n].set(there),
            rungs.step_size.at[n].set(step_size),
            rungs.rounds.at[n].set(rounds),
            rungs.scale.at[n].set(sampler.scale),
            n + 1,
        )
        step_size = step_size * jnp.exp(_GAIN * (acceptance - Mala.goal))
        return cloud, there, step_size, rungs

    going = lambda carry: (carry[1] < 1) & (carry[3].num < MOST_RUNGS)  # noqa: E731
    initial = (
        begin(start, jr.fold_in(key, 0), num_particles),
        jnp.zeros(()),
        jnp.asarray(max(k, 1) ** (-1 / 3)),
        first,
    )
    cloud, beta, _, rungs = jax.lax.while_loop(going, rung, initial)
    return rungs, cloud, beta


@eqx.filter_jit
def climb(log_q: LogDensity, start: Start, rungs: Rungs, keys: PRNGKeyArray, num_particles: int) -> tuple[Cloud, Cloud]:
    """Independent runs up a fixed ladder, one for each key: at its top, and after some more moves there."""

    def one(key: PRNGKeyArray) -> tuple[Cloud, Cloud]:
        def rung(i: Array, clouds: tuple[Cloud, Cloud]) -> tuple[Cloud, Cloud]:
            top, cloud = clouds
            key_i, at = jr.fold_in(key, i + 1), jnp.minimum(i, rungs.num - 1)
            below = jnp.where(i > at, rungs.beta[at], jnp.where(at > 0, rungs.beta[at - 1], 0.0))
            by = rungs.beta[at] - below
            gain = jnp.where(by > 0, by * _rise(log_q, start, cloud), 0.0)
            cloud = _reweighted(cloud, gain, jr.fold_in(key_i, 0))
            sampler, path = Mala(rungs.step_size[at], rungs.scale[at]), Path(log_q, start, rungs.beta[at])
            moved = lambda r, w: one_round(path, w, sampler, jr.fold_in(jr.fold_in(key_i, 1), r))[0]  # noqa: E731
            cloud = cloud._replace(w=jax.lax.fori_loop(0, rungs.rounds[at], moved, cloud.w))
            return jax.tree.map(lambda old, new: jnp.where(i < rungs.num, new, old), top, cloud), cloud

        cloud = begin(start, jr.fold_in(key, 0), num_particles)
        return jax.lax.fori_loop(0, rungs.num + _MORE, rung, (cloud, cloud))

    return jax.vmap(one)(keys)


def _rise(log_q: LogDensity, start: Start, cloud: Cloud) -> Float[Array, " n"]:
    rise = jax.vmap(log_q)(cloud.w) - jax.vmap(start.log_density)(cloud.w)
    return jnp.where(
        jnp.isnan(rise), -jnp.inf, rise
    )  # as accept/reject has it: where log q is not defined there is none


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


def _settled(path: Path, cloud: Cloud, sampler: Mala, key: PRNGKeyArray) -> tuple[Cloud, Scalar, Int[Array, ""]]:
    """Particles after so many rounds that they forget where they were; the mean acceptance of the last; the rounds."""

    def tie(w: Array) -> Scalar:
        """The largest correlation of a coordinate with itself before."""
        weight = jnp.exp(cloud.log_w)
        one, other = (each - weight @ each for each in (cloud.w, w))
        spread = jnp.sqrt((weight @ one**2) * (weight @ other**2))
        return jnp.max(jnp.where(spread > 0, weight @ (one * other) / jnp.where(spread > 0, spread, 1.0), 0.0))

    def more(carry: tuple[Array, Scalar, Scalar, Scalar, Array]) -> tuple[Array, Scalar, Scalar, Scalar, Array]:
        w, _, now, _, i = carry
        w, acceptance = one_round(path, w, sampler, jr.fold_in(key, i))
        return w, acceptance, tie(w), now, i + 1

    def going(carry: tuple[Array, Scalar, Scalar, Scalar, Array]) -> Array:
        _, _, now, before, i = carry
        gains = (i < _FEW_ROUNDS) | (now < _GAINED * before)  # between modes there is nothing to wait for
        return (now > _FORGOTTEN) & gains & (i < _MOST_ROUNDS)

    one = jnp.ones(())
    w, acceptance, _, _, rounds = jax.lax.while_loop(going, more, (cloud.w, one, one, one, jnp.asarray(0)))
    return cloud._replace(w=w), acceptance, rounds
