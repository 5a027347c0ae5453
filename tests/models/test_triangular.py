"""The triangular map: the identity at the start, always invertible, blind to later and to inactive columns."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import noise
from scipy.optimize import brentq
from scipy.special import softmax

from ptilde.models import TriangularMap
from ptilde.models.triangular import _LEAST, _REACH, _SHARPEST, Spline, _features

PATTERNS = np.array(list(itertools.product([0.0, 1.0], repeat=3)))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


# The spline


@eqx.filter_jit
def along(raw, x):
    """Value and log slope at points, and the derivative of the value."""
    spline = Spline(raw)
    return *jax.vmap(spline)(x), jax.vmap(jax.grad(lambda x: spline(x)[0]))(x)


@eqx.filter_jit
def back(raw, y):
    return jax.vmap(Spline(raw).inverse)(y)


def some_raw(num_intervals=8, seed=0, scale=2.0):
    return jnp.asarray(scale * np.random.default_rng(seed).normal(size=3 * num_intervals - 1))


def knots_and_slopes(raw):
    """Of both axes the knots, and the slope at each, by NumPy."""
    k = (len(raw) + 1) // 3
    sizes = softmax(np.reshape(raw[: 2 * k], (2, k)), axis=1) * (1 - _LEAST * k) + _LEAST
    knots = 2 * _REACH * np.pad(np.cumsum(sizes, axis=1), [(0, 0), (1, 0)]) - _REACH
    inner = np.log1p(np.exp(raw[2 * k :]) * np.expm1(1 - _LEAST)) + _LEAST
    return knots, np.concatenate([[1], inner, [1]])


def by_numpy(raw, x):
    """Durkan et al. (2019), equation 4."""
    (x_knots, y_knots), slopes = knots_and_slopes(raw)
    if abs(x) >= _REACH:
        return x
    i = np.searchsorted(x_knots, x, side="right") - 1
    xi = (x - x_knots[i]) / (x_knots[i + 1] - x_knots[i])
    rise = y_knots[i + 1] - y_knots[i]
    s = rise / (x_knots[i + 1] - x_knots[i])
    top = rise * (s * xi**2 + slopes[i] * xi * (1 - xi))
    return y_knots[i] + top / (s + (slopes[i + 1] + slopes[i] - 2 * s) * xi * (1 - xi))


GRID = np.concatenate([np.linspace(-7, 7, 400), [-50, -_REACH, _REACH, 50]])


def test_a_spline_of_zeros_is_the_identity():
    value, log_slope, _ = along(jnp.zeros(23), jnp.asarray(GRID))
    np.testing.assert_allclose(value, GRID, rtol=1e-14)
    np.testing.assert_allclose(log_slope, 0, atol=1e-14)


@pytest.mark.parametrize("num_intervals", [1, 2, 8])
def test_a_spline_has_the_value_of_the_formula(num_intervals):
    raw = some_raw(num_intervals)
    np.testing.assert_allclose(along(raw, jnp.asarray(GRID))[0], [by_numpy(raw, x) for x in GRID], rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_a_spline_is_monotone_and_its_log_slope_that_of_its_value_from_both_sides_of_every_knot(seed):
    raw = some_raw(seed=seed, scale=1.0)
    (x_knots, y_knots), slopes = knots_and_slopes(raw)
    value, log_slope, slope = along(raw, jnp.asarray(GRID))
    np.testing.assert_allclose(log_slope, np.log(slope), atol=1e-10)
    assert np.all(np.diff(value[np.argsort(GRID)]) > 0) and np.all(slope > 0)
    for side in (-1e-11, 1e-11):
        value, log_slope, _ = along(raw, jnp.asarray(x_knots + side))
        np.testing.assert_allclose(value, y_knots, atol=1e-8)
        np.testing.assert_allclose(log_slope, np.log(slopes), atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 5.0, 30.0])
def test_the_inverse_of_a_spline_is_where_its_value_is_taken(scale):
    raw = some_raw(scale=scale)
    y = jnp.asarray(GRID)
    found = back(raw, y)
    np.testing.assert_allclose(along(raw, found)[0], GRID, rtol=1e-9, atol=1e-9)
    for i in range(0, len(GRID), 50):
        assert found[i] == pytest.approx(brentq(lambda x: by_numpy(raw, x) - GRID[i], -60, 60, xtol=1e-13), abs=1e-8)  # noqa: B023


# One form of the root cancels where the slope at the right end is far above the mean slope of the interval.
@pytest.mark.parametrize("scale", [1.0, 3.0, 10.0])
def test_in_single_precision_the_inverse_of_a_spline_loses_no_more_than_the_slope_amplifies(scale):
    with jax.enable_x64(False):
        raw = jnp.stack([some_raw(seed=seed, scale=scale) for seed in range(50)])
        x = jnp.asarray(np.random.default_rng(0).uniform(-6.2, 6.2, (50, 400)), jnp.float32)
        value, log_slope, _ = jax.vmap(along)(raw, x)
        again = jax.vmap(back)(raw, value)
    assert again.dtype == np.float32
    unit = np.finfo(np.float32).eps * _REACH * (1 + np.exp(-np.asarray(log_slope, float)))
    assert np.max(np.abs(again - x) / unit) < 30


# The map


@eqx.filter_jit
def through(model, x, context, active):
    return model(x, context, active)


@eqx.filter_jit
def back_through(model, u, context, active):
    return model.inverse(u, context, active)


@eqx.filter_jit
def jacobians(model, x, context, active):
    one = lambda x, c, a: jax.jacfwd(lambda x: model(x[None], c[None], a[None])[0][0])(x)  # noqa: E731
    return jax.vmap(one)(x, context, active)


def start():
    return eqx.filter_jit(TriangularMap)(3, 2, 8, 1, 2, 8, key=jr.key(0))


def moved(dim=3, num_context=2, seed=0, scale=0.4):
    return noise(TriangularMap, dim, num_context, 8, 1, 2, 8, seed=seed, scale=scale)


def sharpened(model, a):
    """All columns scaled by about e^a."""
    return eqx.tree_at(lambda m: m.columns.last_shift, model, model.columns.last_shift + a * (np.arange(25) == 1))


def rows(dim=3, num_context=2, seed=0, spread=2.0):
    """Forty points, and of each eight a pattern of activity."""
    rng = np.random.default_rng(seed)
    active = np.tile(PATTERNS, (5, 1)) if dim == 3 else np.ones((40, dim))
    return tuple(
        jnp.asarray(a) for a in (spread * rng.normal(size=(40, dim)), rng.normal(size=(40, num_context)), active)
    )


def test_at_the_start_the_map_is_the_identity():
    x, context, active = rows(spread=10.0)
    u, log_slope = through(start(), x, context, active)
    np.testing.assert_allclose(u, active * x, rtol=1e-13)
    np.testing.assert_allclose(log_slope, 0, atol=1e-13)
    np.testing.assert_allclose(back_through(start(), x, context, active), active * x, rtol=1e-13)


def test_its_jacobian_is_triangular_and_its_log_slopes_add_up_to_the_log_determinant_on_the_active_columns():
    x, context, active = rows()
    jacobian = np.asarray(jacobians(moved(), x, context, active))
    log_slope = through(moved(), x, context, active)[1]
    for matrix, values, on in zip(jacobian, log_slope, np.asarray(active) > 0, strict=True):
        assert np.all(np.triu(matrix, 1) == 0)
        assert np.all(matrix[~on] == 0) and np.all(matrix[:, ~on] == 0)
        np.testing.assert_allclose(values[on], np.log(np.diag(matrix)[on]), atol=1e-9)
        assert np.all(values[~on] == 0)
        np.testing.assert_allclose(np.sum(values), np.linalg.slogdet(matrix[np.ix_(on, on)])[1], atol=1e-9)
    below = jacobian[np.all(np.asarray(active) > 0, axis=1)][:, *np.tril_indices(3, -1)]
    assert np.abs(below).max(0).min() > 0.01  # each column does see those before it


def test_a_column_never_sees_later_ones():
    x, context, _ = rows()
    active = jnp.ones_like(x)
    model = moved()
    u, x_back = through(model, x, context, active)[0], back_through(model, x, context, active)
    for j in range(3):
        other = x.at[:, j].add(0.7)
        for new, old in [
            (through(model, other, context, active)[0], u),
            (back_through(model, other, context, active), x_back),
        ]:
            np.testing.assert_array_equal(new[:, :j], old[:, :j])
            assert np.all(new[:, j:] != old[:, j:])


def misses(model, x, context, active):
    """By how many units of rounding, as the map amplifies them, each entry misses what it was before the map."""
    u, _ = through(model, x, context, active)
    again = back_through(model, u, context, active)
    jacobian = np.asarray(jacobians(model, x, context, active)) + np.eye(3) * (1 - np.asarray(active))[:, :, None]
    amplified = (np.abs(np.linalg.inv(jacobian)) @ np.abs(np.asarray(u))[:, :, None])[:, :, 0]
    assert again.dtype == x.dtype
    return np.abs(np.asarray(again - active * x)) / (np.finfo(x.dtype).eps * (1 + np.abs(np.asarray(x)) + amplified))


@pytest.mark.parametrize("spread", [1.0, 50.0])
@pytest.mark.parametrize("a", [0.0, 4.0, -4.0, 100.0])
def test_the_inverse_undoes_the_map_near_far_and_however_sharp_it_is(a, spread):
    model, x = sharpened(moved(), a), rows(spread=spread)
    assert np.max(misses(model, *x)) < 300
    assert np.all(through(model, *x)[1] <= _SHARPEST + np.log(1 / _LEAST))


def test_a_column_that_is_far_and_that_none_sees_comes_back_to_the_last_digits():
    x, context, active = rows()
    x = x.at[:, 2].set(jnp.where(x[:, 2] > 0, 50.0, -50.0))
    u, _ = through(moved(), x, context, active)
    np.testing.assert_allclose(back_through(moved(), u, context, active), active * x, rtol=1e-12, atol=1e-12)


def test_in_single_precision_the_inverse_undoes_the_map():
    model, (x, *state) = jax.tree.map(lambda a: np.asarray(a, np.float32), (moved(scale=0.2), rows()))
    with jax.enable_x64(False):
        u, log_slope = through(model, x, *state)
        again = back_through(model, u, *state)
    assert again.dtype == np.float32 and np.ptp(log_slope.sum(1)) > 1
    np.testing.assert_allclose(again, x * state[1], rtol=1e-4, atol=1e-4)


def test_what_stands_in_an_inactive_column_never_matters():
    x, context, active = rows()
    garbage = jnp.where(active > 0, x, 1e6 * rows(seed=1)[0])
    for new, old in zip(through(moved(), garbage, context, active), through(moved(), x, context, active), strict=True):
        np.testing.assert_array_equal(new, old)
    u = through(moved(), x, context, active)[0]
    assert np.all(u[active == 0] == 0) and np.all(u[active > 0] != 0)
    spoilt = jnp.where(active > 0, u, garbage)
    np.testing.assert_array_equal(
        back_through(moved(), spoilt, context, active), back_through(moved(), u, context, active)
    )


def test_context_and_activity_do_matter():
    x, context, _ = rows()
    active = jnp.ones_like(x)
    u = through(moved(), x, context, active)[0]
    assert np.all(through(moved(), x, context + 1.0, active)[0] != u)
    assert np.all(through(moved(), x, context, active.at[:, 1].set(0.0))[0] != u)  # x₁ sees that x₂ is inactive


def mass(model, axes, context, count_slope=True):
    """∫ N(u(x)) |du/dx| dx by the trapezoidal rule on a grid."""
    grid = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)
    u, log_slope = through(model, jnp.asarray(grid), jnp.tile(context, (len(grid), 1)), jnp.ones(grid.shape))
    log_density = -0.5 * np.sum(u**2 + np.log(2 * np.pi), axis=1) + count_slope * np.sum(log_slope, axis=1)
    return np.exp(log_density).sum() * np.prod([a[1] - a[0] for a in axes])


@pytest.mark.parametrize("seed", range(3))
def test_behind_any_map_a_normal_density_keeps_its_mass(seed):
    line, plane = [np.linspace(-20, 20, 6001)], [np.linspace(-12, 12, 241)] * 2
    without_context, context = jnp.zeros(0), jnp.array([1.0, -0.5])
    assert mass(moved(1, 0, seed, 0.2), line, without_context) == pytest.approx(1, abs=1e-5)
    assert mass(moved(2, 2, seed, 0.2), plane, context) == pytest.approx(1, abs=1e-3)
    assert abs(mass(moved(2, 2, seed, 0.2), plane, context, count_slope=False) - 1) > 0.01


def test_a_map_tells_the_sizes_that_it_was_made_of():
    model = eqx.filter_eval_shape(TriangularMap, 3, 5, 7, 2, 4, 6, key=jr.key(0))
    assert (model.width, model.depth, model.num_frequencies, model.num_intervals) == (7, 2, 4, 6)


def test_an_additive_part_moves_each_column_by_a_linear_function_of_what_is_known():
    model, (x, context, active) = eqx.filter_jit(TriangularMap)(3, 2, 8, 1, 2, 8, True, key=jr.key(0)), rows()
    np.testing.assert_allclose(through(model, x, context, active)[0], active * x, rtol=1e-13)  # at the start it is flat
    slope = np.random.default_rng(2).normal(size=(3, 5))
    part = model.columns.additive.at[:, 0].set(slope)  # of the shift m; the networks say nothing yet
    model = eqx.tree_at(lambda m: m.columns.additive, model, part)
    shift = np.concatenate([context, active], axis=1) @ slope.T
    u, log_slope = through(model, x, context, active)
    np.testing.assert_allclose(u, active * (x - shift), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_slope, 0, atol=1e-9)
    np.testing.assert_allclose(back_through(model, u, context, active), active * x, rtol=1e-9, atol=1e-9)
    assert start().columns.additive is None and np.abs(shift).min() > 1e-3


@pytest.mark.parametrize("additive", [False, True])
def test_a_map_that_is_blind_to_a_part_of_the_context_is_the_same_function_of_the_rest_and_may_learn_that_part(
    additive,
):
    model, (x, context, active) = noise(TriangularMap, 3, 2, 8, 1, 2, 8, additive, scale=0.3), rows()
    blind = model.blind(jnp.array([True, False]))
    other, without = context.at[:, 0].add(3.0), context.at[:, 0].set(0.0)
    for one, two, seeing in zip(
        through(blind, x, other, active),
        through(blind, x, context, active),
        through(model, x, without, active),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, seeing, atol=1e-12)
    assert np.abs(through(model, x, other, active)[0] - through(model, x, context, active)[0]).max() > 0.01
    slope = eqx.filter_jit(eqx.filter_grad(lambda m: jnp.sum(m(x, context, active)[0])))(blind).columns
    assert np.all(slope.first[..., -5] != 0) and (not additive or np.any(slope.additive[..., -5] != 0))


def test_the_map_of_the_first_column_is_that_of_the_rows():
    model, (x, context, active) = noise(TriangularMap, 3, 2, 8, 1, 2, 8, True, scale=0.3), rows()
    active = active.at[:, 0].set(1.0)
    u, log_slope = through(model, x, context, active)

    @eqx.filter_jit
    def first(x, context, active):
        column = model.first(context, active)
        return *column(x[0]), column.inverse(column(x[0])[0])

    value, slope, again = jax.vmap(first)(x, context, active)
    np.testing.assert_allclose(value, u[:, 0], rtol=1e-12)
    np.testing.assert_allclose(slope, log_slope[:, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(again, x[:, 0], rtol=1e-9, atol=1e-9)
    assert np.abs(value - u[:, 1]).min() > 1e-6  # the other columns have maps of their own


def test_columns_are_seen_with_sines_and_cosines_whose_frequencies_double():
    x = np.array([0.3, -1.7])
    expected = [[v, *(f(np.pi / 2 * k * v) for f in (np.sin, np.cos) for k in (1, 2, 4))] for v in x]
    np.testing.assert_allclose(_features(jnp.asarray(x), 7), np.ravel(expected), rtol=1e-12)


@pytest.mark.parametrize(("few", "many"), [(0, 2), (1, 4), (2, 2)])
def test_a_refined_map_is_the_same_function_and_learns_from_the_frequencies_that_are_new(few, many):
    model, (x, context, active) = noise(TriangularMap, 3, 2, 8, 1, few, 8, scale=0.4), rows()
    finer = model.refined(many)
    made = eqx.filter_eval_shape(TriangularMap, 3, 2, 8, 1, many, 8, key=jr.key(0))
    assert jax.tree.structure(finer) == jax.tree.structure(made)
    assert [a.shape for a in jax.tree.leaves(finer)] == [a.shape for a in jax.tree.leaves(made)]
    for new, old in zip(through(finer, x, context, active), through(model, x, context, active), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-12)
    # The new weights are those that are 0: no old one is.
    slope = eqx.filter_jit(eqx.filter_grad(lambda m: jnp.sum(m(x, context, active)[0])))(finer).columns.first
    seen = [slope[i][finer.columns.first[i] == 0].reshape(8, 3, 2 * (many - few)) for i in range(3)]
    for i in range(3):
        assert np.all(seen[i][:, :i] != 0) and np.all(seen[i][:, i:] == 0)


def test_a_map_cannot_be_refined_to_fewer_frequencies():
    with pytest.raises(ValueError, match="`num_frequencies` must be at least 2; got 1"):
        moved().refined(1)


@pytest.mark.parametrize(
    ("what", "value"), [("dim", 0), ("width", 0), ("depth", -1), ("num_frequencies", -1), ("num_intervals", 1)]
)
def test_sizes_that_make_no_map_are_refused(what, value):
    sizes = {"dim": 1, "num_context": 0, "width": 4, "depth": 1} | {what: value}
    with pytest.raises(ValueError, match=f"`{what}` must be at least .*; got {value}"):
        TriangularMap(**sizes, key=jr.key(0))
