"""Stochastic descent, its plan and its guards.

Steps run in one compiled `lax.scan` of `CHUNK` at a time, over several processes if there are (`ptilde.fit.spread`);
step t uses `fold_in(key, t)`. A step whose gradient is not
finite is not taken; the chunk is then undone and the step size halved. The weights that count are an exponential moving
average: the last ones, or earlier ones, those of the start among them, if held-out rows clearly speak for them. If the
objective is `separate`, its terms are the losses of separate parts of the model, which lie along the first axis of each
of its arrays, and each part keeps its own best weights.
"""

import math
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from numpy.typing import NDArray

from ptilde.batches import Data, batch
from ptilde.fit import spread
from ptilde.fit.events import Event

CHUNK = 100
HELD_OUT_POINTS = 8192
MAX_RETREATS = 6
_AVERAGE_OVER = 1000
_SETTLED = 0.002  # nats, or units of the dual loss
_PROBE = 2**32 - 1  # no step and no retreat folds a key with this


class Descent(eqx.Module):
    """AdamW under a global-norm clip, with a linear warm-up and a cosine to zero.

    Args:
        batch_size: rows a step.
        num_steps: to the end of the cosine.
        step_size: the largest.
        weight_decay: of AdamW, on matrices only.
        warm_up: steps until the step size is the largest, at most a quarter of all.
        patience: for this share of the plan the held-out loss may fail to improve before the descent stops.
    """

    batch_size: int = eqx.field(static=True)
    num_steps: Float[Array, ""] = eqx.field(converter=lambda v: jnp.asarray(v, jnp.float32))
    step_size: Float[Array, ""] = eqx.field(converter=lambda v: jnp.asarray(v, jnp.float32))
    weight_decay: Float[Array, ""] = eqx.field(converter=lambda v: jnp.asarray(v, jnp.float32))
    warm_up: int = 200
    patience: float = 0.4

    def transformation(self) -> optax.GradientTransformation:
        """As an optax transformation; made where it is traced, so that equal plans share one compiled program."""

        def step_size(t: Any) -> Array:
            warm = jnp.minimum(1.0, (t + 1) / jnp.minimum(self.warm_up, 0.25 * self.num_steps + 1))
            return self.step_size * warm * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(t / self.num_steps, 1.0)))

        return optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.scale_by_adam(b2=0.99),
            optax.add_decayed_weights(self.weight_decay, mask=lambda p: jax.tree.map(lambda a: a.ndim > 1, p)),
            optax.scale_by_learning_rate(step_size),
        )


class Trajectory(NamedTuple):
    """What a descent leaves: the model, and by chunk the step, the training loss, its terms and the held-out loss."""

    model: Any
    step: list[int]
    loss: list[float]
    terms: list[list[float]]
    validation: list[float]


class _Walk(NamedTuple):
    params: PyTree
    average: PyTree
    optimiser: PyTree


class Position(NamedTuple):
    """Where a descent stands between two chunks: all that it needs to go on, to the last bit.

    Attributes:
        walk: the weights, their average, the optimiser; None once it is over.
        best: the best weights so far.
        held, best_loss: the held-out losses of the average and of the best; none at the start.
        step, best_step: how far it is, and where it found the best.
        num_steps: of the plan as it is now.
        retreats: how often the step size was halved.
        elapsed: seconds.
        seen: by chunk: step, loss, its terms, held-out loss.
    """

    walk: _Walk | None
    best: PyTree
    held: tuple[float, ...]
    best_loss: tuple[float, ...]
    step: int
    best_step: int
    num_steps: int
    retreats: int
    elapsed: float
    seen: tuple[list[int], list[float], list[list[float]], list[float]]


class Keeper(Protocol):
    """What remembers where descents stand, so that a process that has died can go on."""

    def begun(self, start: Position) -> Position:
        """Where the next descent is to begin: at its start, or where it was left."""
        ...

    def reached(self, position: Position) -> None:
        """Told where it stands, chunk by chunk, and when it is over."""
        ...


@eqx.filter_jit
def _chunk(*arguments: Any, blocks: Array | None = None) -> tuple[_Walk, Array]:
    """Some steps, by this process alone or by all."""
    return _steps(None, *arguments) if blocks is None else spread.on_each_device(_steps, blocks, *arguments)


def _steps(
    mine: Any, objective: Any, static: Any, walk: _Walk, descent: Descent, data: Data, key: Any, start: Any, length: int
) -> tuple[_Walk, Array]:
    """`length` steps; returns by step the loss, its terms, and whether the step was not finite."""
    transformation = descent.transformation()

    def gradient_of(params: PyTree, rows: PyTree, u: Array) -> Any:
        model = lambda p: eqx.combine(p, static)  # noqa: E731
        if mine is None:
            return jax.value_and_grad(lambda p: objective(model(p), rows, u), has_aux=True)(params)
        points = spread.apart(mine, objective.points, rows, u)
        return spread.gradient(mine, lambda p, points: objective.mean(model(p), points), params, points)

    def moved(walk: _Walk, gradient: PyTree, t: Array) -> _Walk:
        update, optimiser = transformation.update(gradient, walk.optimiser, walk.params)
        params = optax.apply_updates(walk.params, update)
        decay = jnp.minimum(1 - 1 / _AVERAGE_OVER, (t + 1) / (t + 10))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, walk.average, params)
        return _Walk(params, average, optimiser)

    def step(walk: _Walk, t: Array) -> tuple[_Walk, Array]:
        rows, u = batch(objective, data, descent.batch_size, jr.fold_in(key, t))
        (value, terms), gradient = gradient_of(walk.params, rows, u)
        fine = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradient))
        taken = fine & (t < descent.num_steps)  # the last chunk may be longer than what is left
        new = moved(walk, gradient, t) if mine is None else spread.apart(mine, moved, walk, gradient, t)
        walk = jax.tree.map(lambda new, old: jnp.where(taken, new, old), new, walk)
        return walk, jnp.concatenate([jnp.stack([value, 1.0 - fine]), terms])

    return jax.lax.scan(step, walk, start + jnp.arange(length))


@eqx.filter_jit
def _held_out_loss(objective: Any, static: Any, params: PyTree, data: Data, size: int, key: PRNGKeyArray) -> Array:
    """The loss (1,), or those (d,) of separate parts."""

    def one(i: Array) -> Array:
        rows, u = batch(objective, data, size, jr.fold_in(key, i))
        loss, terms = objective(eqx.combine(params, static), rows, u)
        return terms if objective.separate else loss[None]

    return jnp.mean(jax.lax.map(one, jnp.arange(HELD_OUT_POINTS // size)), 0)


def descend(
    objective: Any,
    model: Any,
    data: Data,
    held_out: Data | None,
    descent: Descent,
    key: PRNGKeyArray,
    *,
    stage: str = "",
    seconds: float | None = None,
    callback: Callable[[Event], None] | None = None,
    keeper: Keeper | None = None,
) -> Trajectory:
    """Fit a model's weights.

    Args:
        objective: (model, rows, uniforms) ↦ (mean loss, terms).
        model: an `eqx.Module`; its inexact arrays are fitted.
        data: rows to fit to.
        held_out: rows by which weights are chosen; the last ones if None.
        descent: the plan.
        key: of all randomness.
        stage: what the callback is told this is.
        seconds: time to spend; the plan's number of steps is then set from the speed of the first chunks.
        callback: told after each chunk.
        keeper: told where it stands, and asked where to begin.

    Raises:
        FloatingPointError: if the loss is not finite even with a much smaller step size.
    """
    params, static = eqx.partition(model, eqx.is_inexact_array)
    probe = jr.fold_in(key, _PROBE)  # one for all: the loss changes with the weights alone, after a retreat too
    walk = _Walk(params, params, descent.transformation().init(params))

    def judge(weights: PyTree) -> NDArray[np.float32]:
        return np.asarray(_held_out_loss(objective, static, weights, held_out or data, descent.batch_size, probe))

    at = Position(walk, params, (), (), 0, 0, int(descent.num_steps), 0, 0.0, ([], [], [], []))
    at = at if keeper is None else keeper.begun(at)
    spread.agreed("the same rows, settings and start", params, data, held_out, descent, key, at)
    best, best_step, step, num_steps, retreats = at.best, at.best_step, at.step, at.num_steps, at.retreats
    seen: Any = at.seen
    if at.walk is None:
        return Trajectory(eqx.combine(best, static), *seen)
    walk, length = at.walk, min(CHUNK, int(descent.num_steps))
    for i in range(1, retreats + 1):
        descent, key = _slower(descent), jr.fold_in(key, 2**31 - i)
    descent = _until(descent, num_steps)
    began = first = time.monotonic()
    paced = step + length  # the first chunk is compiled: the clock of a step starts after it
    held, best_loss = np.array(at.held, np.float32), np.array(at.best_loss, np.float32)
    if not step:
        held = best_loss = np.nan_to_num(judge(params), nan=np.inf) if held_out else np.array([np.inf])
    while step < num_steps and step - best_step <= max(descent.patience * num_steps, 5 * length):
        start = jnp.asarray(step)
        moved, record = spread.everywhere(_chunk, objective, static, walk, descent, data, key, start, length)
        record = np.asarray(record)
        if record[:, 1].any():
            retreats += 1
            _tell_of_retreat(descent, retreats, step)
            descent, key = _slower(descent), jr.fold_in(key, 2**31 - retreats)
            continue
        walk, step = moved, min(step + length, num_steps)
        held = judge(walk.average)
        better = held < best_loss if held_out else np.ones(held.shape, bool)
        best, best_loss = _where(better, walk.average, best), np.where(better, held, best_loss)
        best_step = step if better.any() else best_step
        told = step, float(record[:, 0].mean()), record[:, 2:].mean(0).tolist(), float(held.sum())
        seen = tuple([*values, value] for values, value in zip(seen, told, strict=True))
        now = time.monotonic()
        elapsed = at.elapsed + now - began
        first = now if step == paced else first
        pace = (now - first) / (step - paced) if step > paced else math.nan
        if seconds is not None and step > paced:
            num_steps = spread.first(_affordable(seconds - elapsed, pace, step))
            descent = _until(descent, num_steps)
        if callback is not None:
            callback(Event(stage, step, num_steps, told[1], told[3], pace * (num_steps - step)))
        if keeper is not None:
            losses = tuple(held.tolist()), tuple(best_loss.tolist())
            keeper.reached(Position(walk, best, *losses, step, best_step, num_steps, retreats, elapsed, seen))
    # The last weights have settled most: they are kept unless the held-out rows speak clearly for earlier ones.
    best = _where(np.asarray(held <= best_loss + _SETTLED / len(held)), walk.average, best)
    spread.agreed("the same weights at the end", best)
    if keeper is not None:
        keeper.reached(at._replace(walk=None, best=best, seen=seen))
    return Trajectory(eqx.combine(best, static), *seen)


def _where(chosen: NDArray[np.bool_], new: PyTree, old: PyTree) -> PyTree:
    """The new weights of the chosen parts, the old ones of the others."""
    if len(chosen) == 1:
        return new if chosen[0] else old
    return jax.tree.map(lambda a, b: jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)


def _affordable(seconds: float, pace: float, done: int) -> int:
    """How many steps fit into what is left, in whole chunks."""
    return done + max(0, int(seconds / pace) // CHUNK) * CHUNK


def _slower(descent: Descent) -> Descent:
    return eqx.tree_at(lambda d: d.step_size, descent, descent.step_size / 2)


def _until(descent: Descent, num_steps: int) -> Descent:
    return eqx.tree_at(lambda d: d.num_steps, descent, jnp.asarray(float(num_steps), jnp.float32))


def _tell_of_retreat(descent: Descent, retreats: int, step: int) -> None:
    if retreats > MAX_RETREATS:
        raise FloatingPointError(
            f"The loss was not finite near step {step}, even with a step size of {float(descent.step_size):.1e}. "
            "A column may hold values too extreme for its kind: look at `Schema.infer(table)`, and declare atoms, "
            "bounds or grids."
        )
    warnings.warn(
        f"The loss was not finite near step {step}: the last steps are undone and the step size is halved to "
        f"{float(descent.step_size) / 2:.1e}.",
        RuntimeWarning,
        stacklevel=3,
    )
