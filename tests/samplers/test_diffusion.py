"""The probability flow against laws whose transport and density are known."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import COVARIANCE, MEAN, mixture, stratum
from scipy.stats import multivariate_normal

from ptilde.samplers import ProbabilityFlow

LOW, HIGH = np.log(0.02), np.log(20.0)
LAW = {"weights": [0.3, 0.7], "means": [[-1.0, 0.5], [1.5, 0.0]], "spreads": [0.6, 0.9]}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def gaussian(base):
    return lambda x, level: base.log_density(x, jnp.exp(level))


def draw(num_steps, base, x):
    return jax.jit(lambda x: ProbabilityFlow(num_steps)(gaussian(base), x, LOW, HIGH))(jnp.asarray(x))


def factor(variance, num_steps):
    """By what the scheme multiplies a direction of this variance: its recursion, by hand."""
    levels = np.linspace(HIGH, LOW, num_steps + 1)
    q = np.exp(levels[1] - levels[0])
    x, before = 1.0, None
    for level in levels[:-1]:
        clean = x * variance / (variance + np.exp(2 * level))
        ahead = clean if before is None else 1.5 * clean - 0.5 * before
        x, before = q * x + (1 - q) * ahead, clean
    return x


@pytest.mark.parametrize("num_steps", [1, 2, 32])
def test_a_gaussian_is_carried_by_the_linear_map_of_the_scheme(num_steps):
    base, x = stratum([1, 1, 1]), np.array([10.0, -25.0, 3.0])
    factors = np.array([factor(e, num_steps) for e in base.eigenvalues])
    expected = MEAN + base.rotation @ (factors * (base.rotation.T @ (x - MEAN)))
    np.testing.assert_allclose(draw(num_steps, base, x), expected, rtol=1e-9)
    if num_steps > 1:  # the other route: log |det| from tangents, and as a sum over directions
        end, stretch = jax.jit(lambda x: ProbabilityFlow(num_steps).stretch(gaussian(base), x, LOW, HIGH))(x)
        np.testing.assert_allclose(end, expected, rtol=1e-9)
        np.testing.assert_allclose(stretch, np.log(np.abs(factors)).sum(), rtol=1e-9)


@pytest.mark.parametrize("variance", [1e-4, 0.3, 1.0, 4.0])
def test_the_scheme_converges_to_the_exact_transport_with_the_square_of_the_step(variance):
    base = stratum([1], np.zeros(1), np.array([[variance]]))
    exact = np.sqrt((variance + np.exp(2 * LOW)) / (variance + np.exp(2 * HIGH)))
    errors = [abs(float(draw(n, base, [1.0])[0]) - exact) / exact for n in (128, 256, 512)]
    assert errors[0] < 0.02
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 4, rtol=0.15)


def test_the_stretch_is_the_log_determinant_of_the_map_by_finite_differences():
    flow, model = ProbabilityFlow(8), mixture(**LAW)
    carry = jax.jit(lambda x: flow(model, x, LOW, HIGH))
    stretch = jax.jit(lambda x: flow.stretch(model, x, LOW, HIGH))
    step = 1e-4 * np.eye(2)
    for x in jnp.array([[12.0, -3.0], [-20.0, 15.0], [1.0, 0.0]]):
        columns = [(carry(x + h) - carry(x - h)) / 2e-4 for h in step]
        end, value = stretch(x)
        np.testing.assert_allclose(end, carry(x), rtol=1e-12)
        np.testing.assert_allclose(value, np.linalg.slogdet(np.stack(columns, 1))[1], rtol=1e-6)


def test_a_column_that_is_not_active_stays_and_has_no_part_in_the_stretch():
    on, both = stratum([1, 0, 1]), np.ix_([0, 2], [0, 2])
    alone = stratum([1, 1], MEAN[[0, 2]], COVARIANCE[both])
    end, stretch = ProbabilityFlow(16).stretch(gaussian(on), jnp.array([3.0, 0.0, -4.0]), LOW, HIGH)
    reduced, expected = ProbabilityFlow(16).stretch(gaussian(alone), jnp.array([3.0, -4.0]), LOW, HIGH)
    np.testing.assert_allclose(end, [reduced[0], 0, reduced[1]], atol=1e-12)
    np.testing.assert_allclose(stretch, expected, rtol=1e-9)


def test_draws_weighted_by_their_known_density_have_the_exact_normaliser_and_moments():
    # Quadrature over the start of the flow: draws, their density and the target meet in one identity.
    model, flow = mixture([0.4, 0.6], [[-2.0], [1.0]], [0.5, 1.0]), ProbabilityFlow(6)
    spread = np.sqrt(2.5 + np.exp(2 * HIGH))
    start = jnp.linspace(-8, 8, 4001)[:, None] * spread
    end, stretch = jax.jit(jax.vmap(lambda x: flow.stretch(model, x, LOW, HIGH)))(start)
    at_end = jax.vmap(partial(model, log_sigma=LOW))(end)
    weight = np.exp(at_end + stretch) * (start[1, 0] - start[0, 0])  # p(end)·|d end/d start|
    np.testing.assert_allclose(weight.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose((weight * end[:, 0]).sum(), -0.4 * 2 + 0.6 * 1, rtol=1e-5)


@eqx.filter_jit
def by_ode(model, at_high, x, tolerance, low=LOW):
    flow = ProbabilityFlow(tolerance=tolerance)
    return jax.vmap(lambda x: flow.log_density(model, at_high, x, low, HIGH, jr.key(0)))(x)


@pytest.mark.parametrize("tolerance", [1e-4, pytest.param(1e-6, marks=pytest.mark.slow)])
def test_the_ode_gives_the_density_of_a_mixture_within_its_own_estimate_of_the_error(tolerance):
    model = mixture(**LAW)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(40, 2)) * 2)
    value, error = by_ode(model, lambda x: model(x, HIGH), x, tolerance)
    exact = jax.vmap(lambda x: model(x, LOW))(x)
    np.testing.assert_allclose(value, exact, rtol=30 * tolerance, atol=30 * tolerance)
    assert np.mean(np.abs(value - exact) <= error) > 0.9
    assert np.all(np.abs(value - exact) <= 3 * error + 1e-9)
    assert np.median(error) < 600 * tolerance  # an estimate of the looser of two solutions: generous, not idle


@pytest.mark.slow
def test_the_ode_from_a_gaussian_end_is_off_by_no_more_than_that_end_is():
    # At σ = 20 the mixture is almost the Gaussian with its mean and variance: what the estimator starts from.
    model = mixture(**LAW)
    weights, means, spreads = map(np.array, LAW.values())
    centred = means - weights @ means
    end = stratum([1, 1], weights @ means, (weights * centred.T) @ centred + weights @ spreads**2 * np.eye(2))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(20, 2)))
    value, _ = by_ode(model, lambda x: end.log_density(x, jnp.exp(HIGH)), x, 1e-5)
    np.testing.assert_allclose(value, jax.vmap(lambda x: model(x, LOW))(x), atol=1e-3)


def test_beyond_fifty_columns_hutchinsons_estimate_is_exact_for_independent_columns():
    # The Jacobian of the flow is diagonal, so vᵀJv is its trace for every sign vector v.
    variances = np.linspace(0.1, 3, 60)
    base = stratum(np.ones(60), np.zeros(60), np.diag(variances), rotate=False)
    x = np.random.default_rng(0).normal(size=(3, 60)) * np.sqrt(variances)
    value, _ = by_ode(gaussian(base), lambda x: base.log_density(x, jnp.exp(HIGH)), jnp.asarray(x), 1e-6)
    exact = multivariate_normal(np.zeros(60), np.diag(variances + np.exp(2 * LOW))).logpdf(x)
    np.testing.assert_allclose(value, exact, rtol=1e-4)


def test_a_field_that_breaks_down_gives_nan_and_no_exception():
    broken = lambda x, level: jnp.sum(jnp.sqrt(x - 1e3))  # noqa: E731
    value, error = by_ode(broken, lambda x: jnp.zeros(()), jnp.ones((1, 2)), 1e-3)
    assert np.isnan(value).all() and np.isnan(error).all()


@eqx.filter_jit
def ends(flow, target, x):
    return jax.vmap(lambda x: flow.with_error(target, x, LOW, HIGH))(x)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-6])
def test_adaptive_draws_of_a_gaussian_are_carried_by_the_exact_linear_map(tolerance):
    base, x = stratum([1, 1, 1]), 20 * np.random.default_rng(0).normal(size=(50, 3))
    factors = np.sqrt((base.eigenvalues + np.exp(2 * LOW)) / (base.eigenvalues + np.exp(2 * HIGH)))
    exact = MEAN + (factors * ((x - MEAN) @ base.rotation)) @ base.rotation.T
    end, error = ends(ProbabilityFlow(None, tolerance), gaussian(base), jnp.asarray(x))
    off = np.linalg.norm(end - exact, axis=1)
    assert off.max() < 10 * tolerance
    assert np.mean(off <= error) > 0.9 and np.median(error) < 100 * tolerance
    assert np.linalg.norm(ends(ProbabilityFlow(8), gaussian(base), x)[0] - exact, axis=1).min() > 10 * tolerance


def test_the_schemes_error_is_estimated_by_half_the_steps():
    model, x = mixture(**LAW), 20 * jnp.asarray(np.random.default_rng(0).normal(size=(100, 2)))
    exact, _ = ends(ProbabilityFlow(None, 1e-9), model, x)
    end, error = ends(ProbabilityFlow(64), model, x)
    off = np.linalg.norm(end - exact, axis=1)
    assert np.mean(off <= error) > 0.95
    np.testing.assert_allclose(np.median(error / off), 3, rtol=0.2)  # of order 2: (2² - 1) times the error


@pytest.mark.parametrize("flow", [ProbabilityFlow(), ProbabilityFlow(None)], ids=["fixed", "adaptive"])
def test_a_score_is_as_good_as_its_log_density(flow):
    model, x = mixture(**LAW), jnp.array([[12.0, -3.0]])
    np.testing.assert_allclose(ends(flow, jax.grad(model), x)[0], ends(flow, model, x)[0], rtol=1e-12)


def test_an_adaptive_draw_of_a_field_that_breaks_down_is_nan():
    broken = lambda x, level: jnp.sum(jnp.sqrt(x - 1e3))  # noqa: E731
    assert np.isnan(ends(ProbabilityFlow(None), broken, jnp.ones((1, 2)))[0]).all()


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"num_steps": 0}, "`num_steps` must be at least 1; got 0"),
        ({"num_steps": 2.5}, "`num_steps` must be a whole number; got 2.5"),
        ({"tolerance": 0.0}, "`tolerance` must be positive and finite; got 0.0"),
    ],
)
def test_hyperparameters_that_mean_nothing_are_refused(hyperparameters, message):
    with pytest.raises(ValueError, match=message):
        ProbabilityFlow(**hyperparameters)
