r"""Markov chains: what a sampler is, the one loop, and warm-up.

A sampler is a frozen Module of two methods, at one chain, with the target as an argument:

* `init(target, x) -> State`,
* `step(target, state, key) -> (State, Info)`.

Step sizes and preconditioners are array fields, targets are Modules or functions: a second run with others of the same
shapes compiles nothing. In warm-up the step size follows the acceptance by dual averaging (Hoffman & Gelman 2014,
Section 3.2), and the preconditioner is the covariance of all chains' draws, taken anew in windows that double.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ptilde._typing import LogDensity, Point, Scalar, Score

_GAMMA, _DELAY, _DECAY = 0.05, 10.0, 0.75  # of dual averaging, as Hoffman & Gelman have them
_FIRST = 50  # steps of the first window


class State(NamedTuple):
    """Where a chain is: the point, log q there (0 of a bare score), the score."""

    x: Point
    log_q: Scalar
    score: Point


class Info(NamedTuple):
    """What a step did: the probability of acceptance, and whether it went astray."""

    acceptance: Scalar
    diverged: Bool[Array, ""]


def _called(function: Any) -> Any:
    """A Module as it is; of a function what calls it, as Equinox warns of fields that are what `jax.grad` returns."""
    return Partial(function) if jax.tree.structure(function) == jax.tree.structure(0) else function


def returned(log_q: Callable[..., Any], d: int) -> Any:
    """The shape of what a person's function returns at a point (d,); what it returns itself, if that is no array.

    Raises:
        ValueError: if it is not defined there.
    """
    try:
        value = jax.eval_shape(log_q, jax.ShapeDtypeStruct((d,), jnp.result_type(float)))
    except Exception as error:  # whatever it raises is told
        raise ValueError(
            f"`log_q` must be defined at a point of shape ({d},); got {type(error).__name__}: {str(error)[:200]}"
        ) from error
    return getattr(value, "shape", value)


class Density(eqx.Module):
    """A target given by its log density, up to a constant: accept/reject is exact."""

    log_q: LogDensity

    def __init__(self, log_q: LogDensity) -> None:
        self.log_q = _called(log_q)

    def at(self, x: Point) -> State:
        """The state at a point."""
        value, score = jax.value_and_grad(self.log_q)(x)
        return State(x, value, score)

    def rise(self, here: State, there: State) -> Scalar:
        """By how much log q rises from here to there."""
        return there.log_q - here.log_q


class Field(eqx.Module):
    r"""A target given by a score alone: $\log q(y) - \log q(x) \approx \int \langle s, dx \rangle$ along the segment.

    Gauss-Legendre at a few nodes. Exact in the limit if the field is a gradient; if it is none there is no target, and
    what chains sample depends on the path.

    Args:
        score: of x.
        num_nodes: on a segment.
    """

    score: Score
    num_nodes: int = eqx.field(static=True)

    def __init__(self, score: Score, num_nodes: int = 4) -> None:
        self.score, self.num_nodes = _called(score), num_nodes

    def at(self, x: Point) -> State:
        """The state at a point."""
        return State(x, jnp.zeros((), x.dtype), self.score(x))

    def rise(self, here: State, there: State) -> Scalar:
        """The line integral from here to there."""
        nodes, weights = np.polynomial.legendre.leggauss(self.num_nodes)
        move = there.x - here.x
        at = lambda t: jnp.vdot(self.score(here.x + t * move), move)  # noqa: E731
        return jnp.sum(jnp.asarray(weights / 2, move.dtype) * jax.vmap(at)(jnp.asarray((nodes + 1) / 2, move.dtype)))


Target = Density | Field


class Sampler(Protocol):
    """What the loop needs of a sampler; `goal` is the mean acceptance that warm-up aims at, None for no adaptation."""

    @property
    def goal(self) -> Any: ...

    @property
    def step_size(self) -> Any: ...

    @property
    def scale(self) -> Any: ...

    def init(self, target: Any, x: Point) -> State: ...

    def step(self, target: Any, state: State, key: PRNGKeyArray) -> tuple[State, Info]: ...


class Averaging(NamedTuple):
    """Dual averaging of a log step size: its centre, its running error, its two iterates."""

    centre: Scalar
    error: Scalar
    log_step: Scalar
    average: Scalar
    steps: Scalar

    @classmethod
    def around(cls, step_size: Array) -> "Averaging":
        """Afresh, near ten times a step size."""
        log_step, zero = jnp.log(step_size), jnp.zeros_like(step_size)
        return cls(jnp.log(10.0) + log_step, zero, log_step, log_step, zero)

    def update(self, shortfall: Scalar) -> "Averaging":
        """After a step whose mean acceptance fell short of the goal by so much."""
        steps = self.steps + 1
        rate = 1 / (steps + _DELAY)
        error = (1 - rate) * self.error + rate * shortfall
        log_step = self.centre - jnp.sqrt(steps) / _GAMMA * error
        share = steps**-_DECAY
        return Averaging(self.centre, error, log_step, share * log_step + (1 - share) * self.average, steps)


@eqx.filter_jit
def begin(sampler: Sampler, target: Target, x: Float[Array, "chain d"]) -> Any:
    """The states of chains at these points."""
    return jax.vmap(sampler.init, (None, 0))(target, x)


@eqx.filter_jit
def run(
    sampler: Sampler, target: Target, states: State, key: PRNGKeyArray, start: Array, num_draws: int, thin: int
) -> tuple[State, State, Info]:
    """Steps of all chains, of which every `thin`-th is kept: the last states, and by draw the states and infos.

    Step t of chain i has the key fold_in(fold_in(key, t), i), whatever the number of chains or of draws at a time.
    """

    def one(states: State, t: Array) -> tuple[State, Info]:
        keys = jax.vmap(lambda i: jr.fold_in(jr.fold_in(key, t), i))(jnp.arange(states.log_q.shape[0]))
        return jax.vmap(sampler.step, (None, 0, 0))(target, states, keys)

    def draw(states: State, first: Array) -> tuple[State, tuple[State, Info]]:
        states, infos = jax.lax.scan(one, states, first + jnp.arange(thin))
        return states, (states, Info(jnp.mean(infos.acceptance, 0), jnp.any(infos.diverged, 0)))

    states, (kept, infos) = jax.lax.scan(draw, states, start + thin * jnp.arange(num_draws))
    return states, kept, infos


class _Moments(NamedTuple):
    num: Scalar
    mean: Point
    square: Float[Array, "d d"]


@eqx.filter_jit
def _window(
    sampler: Sampler, target: Target, states: State, averaging: Averaging, key: PRNGKeyArray, num_steps: Array
) -> tuple[State, Averaging, _Moments]:
    """Warm-up steps with an adapting step size; the moments of all chains' draws on the way."""
    num_chains, d = states.x.shape

    def one(t: Array, carry: tuple[State, Averaging, _Moments]) -> tuple[State, Averaging, _Moments]:
        states, averaging, moments = carry
        tuned = eqx.tree_at(lambda s: s.step_size, sampler, jnp.exp(averaging.log_step))
        keys = jax.vmap(lambda i: jr.fold_in(jr.fold_in(key, t), i))(jnp.arange(num_chains))
        states, info = jax.vmap(tuned.step, (None, 0, 0))(target, states, keys)
        averaging = averaging.update(sampler.goal - jnp.mean(info.acceptance))
        away = states.x - moments.mean
        num = moments.num + num_chains
        mean = moments.mean + jnp.sum(away, 0) / num  # of all draws so far; the square is about it by parts
        return states, averaging, _Moments(num, mean, moments.square + away.T @ (states.x - mean))

    zero = _Moments(jnp.zeros((), states.x.dtype), jnp.mean(states.x, 0), jnp.zeros((d, d), states.x.dtype))
    return jax.lax.fori_loop(0, num_steps, one, (states, averaging, zero))


def warm_up(
    sampler: Sampler, target: Target, states: State, key: PRNGKeyArray, num_steps: int, dense: bool
) -> tuple[Sampler, State]:
    """A sampler whose step size and preconditioner fit the target, and chains that have come near it.

    Args:
        sampler: whose fields are where adaptation starts.
        target: of the chains.
        states: of all chains.
        key: of the steps.
        num_steps: in all.
        dense: whether the preconditioner is a full matrix.
    """
    step_size = jnp.asarray(sampler.step_size, states.x.dtype)
    for i, length in enumerate(windows(num_steps)):
        averaging = Averaging.around(step_size)
        states, averaging, moments = _window(
            sampler, target, states, averaging, jr.fold_in(key, i), jnp.asarray(length)
        )
        step_size = jnp.exp(averaging.average)
        if i + 1 < len(windows(num_steps)):  # the last window only settles the step size
            scale = _scale(moments, dense)
            ratio = jnp.mean(jnp.log(_sizes(scale))) - jnp.mean(jnp.log(_sizes(sampler.scale)))
            step_size = step_size * jnp.exp(-2 * ratio)  # so that steps are as long as before in the new units
            sampler = eqx.tree_at(lambda s: s.scale, sampler, scale)
    return eqx.tree_at(lambda s: s.step_size, sampler, step_size), states


def windows(num_steps: int) -> list[int]:
    """Lengths of warm-up windows: each twice the one before, the last one, for the step size alone, a fifth of all."""
    last = max(num_steps // 5, 1)
    left, lengths, length = num_steps - last, [], _FIRST
    while left > 0:
        take = left if left < 3 * length else length
        lengths.append(take)
        left, length = left - take, 2 * length
    return [*lengths, last]


def _scale(moments: _Moments, dense: bool) -> Array:
    """The root of the covariance, drawn towards its diagonal or its mean by five rows' worth."""
    n = jnp.maximum(moments.num - 1, 1.0)
    covariance = moments.square / n
    variance = jnp.maximum(jnp.diagonal(covariance), 1e-12)
    if not dense:
        return jnp.sqrt(variance)
    share = n / (n + 5.0)
    return jnp.linalg.cholesky(share * 0.5 * (covariance + covariance.T) + (1 - share) * jnp.diag(variance))


def _sizes(scale: Array) -> Array:
    return scale if scale.ndim == 1 else jnp.diagonal(scale)
