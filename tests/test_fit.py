"""Descent: its plan, its guards and its clock, on toys whose answers are known."""

import math
import warnings
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from ptilde.fit import CHUNK, Data, Descent, descend
from ptilde.fit import descent as fit


class Location(eqx.Module):
    """One number to be fitted."""

    w: jax.Array = eqx.field(converter=jnp.asarray)


class Square(eqx.Module):
    """(w - x)², whose minimiser is the mean; not a number once |w| is beyond a limit."""

    limit: float = math.inf
    separate: ClassVar[bool] = False

    def num_uniforms(self, rows):
        return 2

    def __call__(self, model, rows, u):
        value = jnp.mean((model.w - rows[0]) ** 2)
        value = jnp.where(jnp.abs(model.w) > self.limit, jnp.nan, value)
        return value, jnp.stack([value])


class Kink(Square):
    """A loss of zero whose gradient is not a number."""

    def __call__(self, model, rows, u):
        value = jnp.sqrt(model.w - model.w)
        return value, jnp.stack([value])


def toy(n=64, weight=None):
    return Data.of((np.random.default_rng(0).normal(1.0, 0.1, n).astype(np.float32),), np.ones(n))


def plan(num_steps=300, step_size=0.1, batch_size=64, weight_decay=0.0):
    return Descent(batch_size, num_steps, step_size, weight_decay)


# The plan


@pytest.mark.parametrize(("warm_up", "steps_of_it"), [(100, 100), (1000, 251)])  # at most a quarter of all
def test_steps_warm_up_follow_a_cosine_and_end_at_zero(warm_up, steps_of_it):
    # With a constant gradient Adam's step is the step size itself.
    transformation = Descent(64, 1000, 0.5, 0.0, warm_up).transformation()
    w, state, steps = {"w": jnp.zeros(())}, None, []
    state = transformation.init(w)

    def step(state, _):
        update, state = transformation.update({"w": jnp.ones(())}, state, w)
        return state, -update["w"]

    steps = np.asarray(jax.lax.scan(step, state, length=1000)[1])
    t = np.arange(1000)
    expected = 0.5 * np.minimum(1, (t + 1) / steps_of_it) * 0.5 * (1 + np.cos(np.pi * t / 1000))
    np.testing.assert_allclose(steps, expected, rtol=1e-3, atol=1e-6)


def test_matrices_decay_and_vectors_do_not():
    transformation = plan(10, 1.0, weight_decay=0.1).transformation()
    params = {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2)}
    zero = jax.tree.map(jnp.zeros_like, params)
    update, _ = transformation.update(zero, transformation.init(params), params)
    assert np.all(update["matrix"] < 0) and np.all(update["vector"] == 0)


# The descent


@pytest.mark.parametrize("num_steps", [7, 100, 250])
def test_it_takes_the_steps_that_it_was_told_and_finds_the_mean(num_steps):
    data = toy()
    found = descend(Square(), Location(0.0), data, None, plan(num_steps, 1.0 / num_steps + 0.03), jr.key(0))
    assert found.step[-1] == num_steps and len(found.step) == math.ceil(num_steps / CHUNK)
    if num_steps > 200:
        assert abs(found.model.w - data.rows[0][:64].mean()) < 0.01


def test_steps_beyond_the_plan_change_nothing():
    # The last chunk is longer than what is left of 250 steps: its end must be idle.
    data, key, descent = toy(), jr.key(0), plan(250)
    found = descend(Square(), Location(0.0), data, None, descent, key)
    params, static = eqx.partition(Location(0.0), eqx.is_inexact_array)
    walk = fit._Walk(params, params, descent.transformation().init(params))
    for start, length in [(0, 100), (100, 100), (200, 50)]:
        walk, _ = fit._chunk(Square(), static, walk, descent, data, key, jnp.asarray(start), length)
    np.testing.assert_allclose(found.model.w, walk.average.w, rtol=1e-6)


def test_the_same_key_gives_the_same_weights_to_the_last_bit_and_another_key_others():
    runs = [descend(Square(), Location(0.0), toy(), None, plan(), jr.key(k)).model.w for k in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def compilations(function):
    """How many programs JAX compiles, or fetches from its store on disk, while a function runs."""
    seen = []
    listen = lambda event, *_, **__: seen.append(event) if "backend_compile" in event else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        function()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len(seen)


def test_a_second_descent_of_about_the_same_size_compiles_nothing():
    def run(rows, step_size, batch_size=64):
        descent = plan(400, step_size, batch_size)
        return lambda: descend(Square(), Location(0.0), toy(rows), toy(10), descent, jr.key(rows))

    run(60, 0.1)()
    assert compilations(run(64, 0.05)) == compilations(run(50, 0.2)) == 0
    assert compilations(run(60, 0.1, batch_size=32)) > 0  # the count does count


def test_a_loss_that_is_not_finite_is_undone_and_tried_again_with_half_the_step():
    data, key = toy(), jr.key(0)
    with pytest.warns(RuntimeWarning, match="step 0: the last steps are undone and the step size is halved to") as seen:
        found = descend(Square(limit=1.5), Location(0.0), data, None, plan(step_size=2.0), key)
    assert abs(found.model.w - 1) < 0.02
    # What is left is the run that began with the smaller step and the last key: nothing of the failed one remains.
    words = [str(w.message) for w in seen if w.category is RuntimeWarning]
    for retreat in range(1, len(words) + 1):
        key = jr.fold_in(key, 2**31 - retreat)
    smaller = 2.0 / 2 ** len(words)
    assert words[-1].endswith(f" {smaller:.1e}.")
    again = descend(Square(limit=1.5), Location(0.0), data, None, plan(step_size=smaller), key)
    assert again.model.w == found.model.w


@pytest.mark.parametrize("objective", [Square(limit=-1.0), Kink()], ids=["loss", "gradient"])
def test_a_hopeless_loss_says_what_to_look_at(objective):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", RuntimeWarning)
        with pytest.raises(FloatingPointError) as error:
            descend(objective, Location(0.5), toy(), None, plan(step_size=0.064), jr.key(0))
    assert str(error.value) == (
        "The loss was not finite near step 0, even with a step size of 1.0e-03. A column may hold values too extreme "
        "for its kind: look at `Schema.infer(table)`, and declare atoms, bounds or grids."
    )
    assert sum(issubclass(w.category, RuntimeWarning) for w in seen) == fit.MAX_RETREATS


# Held-out rows


class Line(eqx.Module):
    """More coefficients than rows."""

    w: jax.Array


class LeastSquares(Square):
    def __call__(self, model, rows, u):
        x, y = rows
        value = jnp.mean((x @ model.w - y) ** 2)
        return value, jnp.stack([value])


def few_rows_many_columns(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 40)).astype(np.float32)
    return Data.of((x, (2 * x[:, 0] + rng.normal(size=n)).astype(np.float32)), np.ones(n))


def held_out_loss(model, data, key):
    params, static = eqx.partition(model, eqx.is_inexact_array)
    (loss,) = fit._held_out_loss(LeastSquares(), static, params, data, 64, jr.fold_in(key, fit._PROBE))
    return float(loss)


def test_weights_are_those_that_held_out_rows_liked_best_and_no_time_is_wasted_on_more():
    data, held_out = few_rows_many_columns(60, 0), few_rows_many_columns(200, 1)
    found = descend(LeastSquares(), Line(jnp.zeros(40)), data, held_out, plan(6000, 0.003), jr.key(0))
    best = int(np.argmin(found.validation))
    assert 0 < best and found.validation[-1] > found.validation[best] + 0.1  # the toy does overfit
    assert held_out_loss(found.model, held_out, jr.key(0)) == pytest.approx(found.validation[best], rel=1e-5)
    assert found.step[-1] - found.step[best] == 2500 < 6000 - found.step[best]  # 0.4 of the plan, and a chunk


def test_without_held_out_rows_the_last_weights_are_kept():
    data = few_rows_many_columns(30, 0)
    found = descend(LeastSquares(), Line(jnp.zeros(40)), data, None, plan(1000, 0.01), jr.key(0))
    assert found.step[-1] == 1000
    assert held_out_loss(found.model, data, jr.key(0)) == pytest.approx(found.validation[-1], rel=1e-5)
    assert found.validation[-1] < 0.1 * found.validation[0]


def test_the_start_is_kept_if_every_step_makes_held_out_rows_less_likely():
    start = Line(2 * jnp.eye(40)[0])  # the truth: all that there is to follow is noise
    data, held_out = few_rows_many_columns(30, 0), few_rows_many_columns(200, 1)
    found = descend(LeastSquares(), start, data, held_out, plan(1000, 0.01), jr.key(0))
    assert min(found.validation) > held_out_loss(start, held_out, jr.key(0)) + 0.01
    np.testing.assert_array_equal(found.model.w, start.w)
    assert found.step[-1] == 600 < 1000  # the start is what patience counts from


class TwoLines(eqx.Module):
    """Two parts."""

    w: jax.Array
    shift: jax.Array


class TwoLeastSquares(Square):
    """The sum of the losses of two lines."""

    separate: ClassVar[bool] = True

    def __call__(self, model, rows, u):
        x, y = rows
        terms = jnp.mean((x @ model.w.T + model.shift - y) ** 2, axis=0)
        return jnp.sum(terms), terms


def noisy_and_exact(n, seed):
    """Rows of a line that is lost in noise, and of another without any."""
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(n, 40)), rng.normal(size=n)
    return Data.of(jax.tree.map(np.float32, (x, np.stack([2 * x[:, 0] + noise, x[:, 1] + 0.5], axis=1))), np.ones(n))


def test_each_of_separate_parts_keeps_its_own_best_weights():
    data, held_out, key = noisy_and_exact(60, 0), noisy_and_exact(200, 1), jr.key(0)
    start, descent = TwoLines(jnp.zeros((2, 40)), jnp.zeros(2)), Descent(64, 1500, 0.003, 0.0, patience=1.0)
    found = descend(TwoLeastSquares(), start, data, held_out, descent, key)
    # The same steps by hand: after each chunk the weights, and the held-out loss of each part.
    params, static = eqx.partition(start, eqx.is_inexact_array)
    walk, visited, losses = fit._Walk(params, params, descent.transformation().init(params)), [], []
    for t in range(0, 1500, CHUNK):
        walk, _ = fit._chunk(TwoLeastSquares(), static, walk, descent, data, key, jnp.asarray(t), CHUNK)
        probe = jr.fold_in(key, fit._PROBE)
        losses.append(fit._held_out_loss(TwoLeastSquares(), static, walk.average, held_out, 64, probe))
        visited.append(walk.average)
    best, last = np.argmin(losses, axis=0), len(losses) - 1
    assert 0 < best[0] < last == best[1]  # one part overfits, the other does not
    for part, chosen in enumerate(best):
        np.testing.assert_allclose(found.model.w[part], visited[chosen].w[part], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.model.shift[part], visited[chosen].shift[part], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.validation, np.sum(losses, axis=1), rtol=1e-5)


class Glass(Square):
    """A loss that shows what was drawn and nothing of the weight, which walks down by the size of each step."""

    def __call__(self, model, rows, u):
        value = jnp.mean(u**2) + (model.w - jax.lax.stop_gradient(model.w))
        value = jnp.where(jnp.abs(model.w) > self.limit, jnp.nan, value)
        return value, jnp.stack([value])


def test_all_weights_are_judged_by_the_same_draws_before_and_after_a_retreat():
    with pytest.warns(RuntimeWarning, match="near step [1-9]00: the last steps are undone"):
        found = descend(Glass(limit=18.0), Location(0.0), toy(), toy(), plan(500), jr.key(0))
    assert found.step[-1] == 500 and len(set(found.loss)) == 5
    assert len(set(found.validation)) == 1


def test_the_last_weights_are_kept_where_held_out_rows_see_no_difference():
    found = descend(Glass(), Location(0.0), toy(), toy(), plan(300), jr.key(0))
    assert len(set(found.validation)) == 1 and found.model.w < -1


def test_the_draws_that_weights_are_judged_by_are_none_of_those_of_the_steps():
    steps = fit.HELD_OUT_POINTS // 512  # as many batches: were they the same, so would be their means
    found = descend(Glass(), Location(0.0), toy(), toy(), plan(steps, batch_size=512), jr.key(0))
    assert found.validation != pytest.approx(found.loss, rel=1e-6)
    assert found.validation == pytest.approx(found.loss, rel=1e-2)


# The clock


class Clock:
    """Time passes only in chunks: the first, which is compiled, takes 10 seconds, every other one 2."""

    def __init__(self, monkeypatch):
        self.now, self.chunks, chunk = 1000.0, 0, fit._chunk

        def slow(*args):
            self.now += 2.0 if self.chunks else 10.0
            self.chunks += 1
            return chunk(*args)

        monkeypatch.setattr(fit, "_chunk", slow)
        monkeypatch.setattr(fit.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize(("seconds", "chunks"), [(32.0, 12), (33.9, 12), (34.1, 13), (5.0, 2)])
def test_a_time_budget_is_spent_and_not_exceeded_once_the_speed_is_known(monkeypatch, seconds, chunks):
    clock, events = Clock(monkeypatch), []
    descend(Square(), Location(0.0), toy(), None, plan(500), jr.key(0), seconds=seconds, callback=events.append)
    assert clock.chunks == chunks
    assert clock.now - 1000 <= max(seconds, 12)
    assert events[-1].num_steps == events[-1].step == chunks * CHUNK


def test_the_callback_is_told_how_far_it_is_and_how_long_it_takes(monkeypatch):
    Clock(monkeypatch)
    events = []
    found = descend(Square(), Location(0.0), toy(), None, plan(500), jr.key(0), stage="toy", callback=events.append)
    assert [(e.stage, e.step, e.num_steps) for e in events] == [("toy", s, 500) for s in (100, 200, 300, 400, 500)]
    assert math.isnan(events[0].eta_seconds)
    assert [e.eta_seconds for e in events[1:]] == pytest.approx([6, 4, 2, 0])
    assert [e.train_loss for e in events] == found.loss and [e.validation_loss for e in events] == found.validation


def test_weights_are_an_average_over_the_last_steps():
    # Step by step and by hand, with decay (t + 1)/(t + 10) at the beginning.
    data, key, descent = toy(), jr.key(0), plan(100)
    params, static = eqx.partition(Location(0.0), eqx.is_inexact_array)
    walk = fit._Walk(params, params, descent.transformation().init(params))
    average = 0.0
    for t in range(30):
        walk, _ = fit._chunk(Square(), static, walk, descent, data, key, jnp.asarray(t), 1)
        decay = (t + 1) / (t + 10)
        average = decay * average + (1 - decay) * float(walk.params.w)
    np.testing.assert_allclose(walk.average.w, average, rtol=1e-4)
