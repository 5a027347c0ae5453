"""Where the time goes: of one step, its parts alone in loops of their own; of a whole fit, its programs by a clock."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from benchmarks.cost.products import loop, repeated
from benchmarks.cost.programs import KEY, Descending
from benchmarks.cost.simulated import randhie
from benchmarks.cost.timing import Compiling, in_turn
from benchmarks.harness import peak_memory
from ptilde import ScoreDensity, amounts
from ptilde.batches import batch
from ptilde.fit import descent as fit

# What a fit calls compiled, by what it is for.
COMPILED = {
    "steps": [(fit, "_chunk")],
    "held-out losses": [(fit, "_held_out_loss")],
    "laws compared, mass": [(amounts, "_one_pass"), (amounts, "_base_ratio"), (amounts, "_transported")],
}


def of_step(descending: Descending, length: int, repeats: int) -> dict[str, float]:
    """Milliseconds a step of the whole and of its parts."""
    objective, (params, static), size = descending.objective, descending.parts, descending.descent.batch_size
    rows, u = batch(objective, descending.data, size, KEY)
    gradient = jax.tree.map(jnp.ones_like, params)
    held_out = partial(fit._held_out_loss, objective, static, params, descending.data, size, KEY)
    seconds = in_turn(
        {
            "step": partial(descending.chunk, descending.walk, length),
            "products": loop(repeated(descending.found, length), KEY),
            "loss, gradient": partial(_gradients, objective, static, params, rows, u, length),
            "batches": partial(_batches, objective, descending.data, size, length),
            "optimiser": partial(_updates, descending.descent, descending.walk, gradient, length),
            "held-out": held_out,
        },
        repeats,
    )
    times = {name: 1e3 * statistics.median(s) / length for name, s in seconds.items()}
    times["held-out"] *= length / fit.CHUNK
    times["unexplained"] = times["step"] - times["loss, gradient"] - times["batches"] - times["optimiser"]
    return times


@eqx.filter_jit
def _batches(objective: Any, data: Any, size: int, length: int) -> Any:
    """The rows and uniforms of so many steps, the last ones returned."""
    turn = lambda _, t: (batch(objective, data, size, jr.fold_in(KEY, t)), None)  # noqa: E731
    return jax.lax.scan(turn, batch(objective, data, size, KEY), jnp.arange(length))[0]


@eqx.filter_jit
def _gradients(objective: Any, static: Any, params: Any, rows: Any, u: Any, length: int) -> Any:
    """The gradient of the loss at one batch, so often; a barrier keeps it in the loop."""

    def turn(carry: Any, _: None) -> tuple[Any, None]:
        params, rows, u, _ = jax.lax.optimization_barrier(carry)
        loss = lambda p: objective(eqx.combine(p, static), rows, u)  # noqa: E731
        return (params, rows, u, jax.value_and_grad(loss, has_aux=True)(params)), None

    start = jax.tree.map(jnp.zeros_like, jax.eval_shape(lambda: turn((params, rows, u, None), None)[0][3]))
    return jax.lax.scan(turn, (params, rows, u, start), length=length)[0][3]


@eqx.filter_jit
def _updates(descent: fit.Descent, walk: fit._Walk, gradient: Any, length: int) -> fit._Walk:
    """What `ptilde.fit` does with a gradient, so often: a step, the average, neither where it is not finite."""
    transformation = descent.transformation()

    def turn(walk: fit._Walk, t: Any) -> tuple[fit._Walk, None]:
        taken = jnp.isfinite(optax.tree.norm(gradient)) & (t < descent.num_steps)
        update, optimiser = transformation.update(gradient, walk.optimiser, walk.params)
        params = optax.apply_updates(walk.params, update)
        decay = jnp.minimum(0.999, (t + 1) / (t + 10))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, walk.average, params)
        new = fit._Walk(params, average, optimiser)
        return jax.tree.map(lambda new, old: jnp.where(taken, new, old), new, walk), None

    return jax.lax.scan(turn, walk, jnp.arange(length))[0]


def of_fit(max_iter: int | None) -> dict[str, dict[str, float]]:
    """Seconds that a fit of RAND HIE spends in what, by name; call it in a process of its own.

    The last line is all of it, with the most memory held.
    """
    compiling = Compiling()
    spent: dict[str, float] = defaultdict(float)
    for name, functions in COMPILED.items():
        for module, function in functions:
            setattr(module, function, _clocked(getattr(module, function), name, spent, compiling))
    start = time.perf_counter()
    ScoreDensity(random_state=0, max_iter=max_iter or "auto").fit(randhie())
    whole = time.perf_counter() - start
    host = whole - sum(spent.values()) - compiling.seconds()
    lines = {**spent, "compilation": compiling.seconds(), "the host, small programs": host, "all": whole}
    rows = {name: {"s": seconds, "share": seconds / whole} for name, seconds in lines.items()}
    rows["all"]["peak MB"] = peak_memory()
    return rows


def _clocked(function: Callable, name: str, spent: dict[str, float], compiling: Compiling) -> Callable:
    """The function, with the seconds that it runs, but does not compile, added up under a name."""

    def call(*args: Any) -> Any:
        start = time.perf_counter()
        result = jax.block_until_ready(function(*args))
        spent[name] += time.perf_counter() - start - compiling.seconds(start)
        return result

    return call
