"""The noise-conditional density: a Gaussian at the start, anchored at large σ, blind to inactive columns."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import COVARIANCE, MEAN, PATTERNS, shaken, stratum
from scipy.linalg import sqrtm
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from ptilde.models import NoiseConditionalDensity

ACTIVE = [p for p in PATTERNS if p.any()]
CONTEXT = (1.0, 0.0)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def network(dim=3, num_context=2):
    return NoiseConditionalDensity(dim, num_context, 16, 2, key=jr.key(0))


@eqx.filter_jit
def values(model, x, sigma, base):
    return jax.vmap(lambda x: model(x, jnp.log(sigma), base))(x)


@eqx.filter_jit
def values_and_gradients(model, x, sigma, base):
    return jax.vmap(jax.value_and_grad(lambda x: model(x, jnp.log(sigma), base)))(x)


def name(pattern):
    return "".join("ab"[int(p)] for p in pattern)


def points(num=5, dim=3, seed=0):
    return jnp.asarray(2 * np.random.default_rng(seed).normal(size=(num, dim)))


@pytest.mark.parametrize("sigma", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("pattern", ACTIVE, ids=name)
def test_training_begins_at_the_gaussian_base_blurred_by_sigma(pattern, rotate, sigma):
    on = np.flatnonzero(pattern)
    block = COVARIANCE[np.ix_(on, on)] if rotate else np.diag(np.diag(COVARIANCE)[on])
    exact = multivariate_normal(MEAN[on], block + sigma**2 * np.eye(len(on)))
    base = stratum(pattern, context=CONTEXT, rotate=rotate)
    expected = exact.logpdf(points()[:, on])
    np.testing.assert_allclose(values(network(), points(), jnp.asarray(sigma), base), expected, rtol=1e-9)
    np.testing.assert_allclose(jax.vmap(base.log_density, (0, None))(points(), sigma), expected, rtol=1e-9)


@pytest.mark.parametrize("pattern", ACTIVE, ids=name)
def test_a_draw_of_the_base_is_linear_in_the_noise_with_the_blurred_covariance(pattern):
    base, sigma = stratum(pattern), 0.7
    jacobian = jax.jacobian(lambda e: base.draw(sigma, e))(jnp.zeros(3))
    on = np.outer(pattern, pattern) > 0
    expected = np.where(on, COVARIANCE + sigma**2 * np.eye(3), 0)
    np.testing.assert_allclose(jacobian @ jacobian.T, expected, atol=1e-12)
    np.testing.assert_allclose(base.draw(sigma, jnp.zeros(3)), MEAN * pattern, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("pattern", PATTERNS, ids=name)
def test_inactive_columns_never_matter(pattern, sigma):
    model, base = shaken(network()), stratum(pattern, context=CONTEXT)
    here, slope = values_and_gradients(model, points(), jnp.asarray(sigma), base)
    moved = jnp.where(pattern > 0, points(), points(seed=1))
    np.testing.assert_array_equal(values_and_gradients(model, moved, jnp.asarray(sigma), base)[0], here)
    assert np.all(slope[:, pattern == 0] == 0) and np.all(slope[:, pattern > 0] != 0)


def test_without_an_active_column_every_derivative_is_finite_and_the_value_is_the_lift_of_nothing():
    model, base = shaken(network(), scale=0.1), stratum(np.zeros(3), context=CONTEXT)
    of_weights = eqx.filter_jit(jax.grad(lambda m: m(jnp.ones(3), jnp.log(0.1), base)))(model)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(of_weights))
    # √(0 + 1e-12)·(1 + log 101)·c, with c of order one.
    assert abs(model(jnp.ones(3), jnp.log(0.1), base)) < 1e-4


@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("pattern", ACTIVE, ids=name)
def test_the_heads_enter_as_the_formula_says(pattern, sigma):
    # With C the active block and V = C + σ²I: yᵀ√R F̃/σ = (x-m)ᵀ(CV⁻¹)^½ F/σ, and Σ r F̃² = Fᵀ CV⁻¹ F.
    heads = jnp.array([0.7, -0.4, 1.1, 0.3])
    model = eqx.tree_at(lambda m: m.network.last.bias, network(), heads)
    on = np.flatnonzero(pattern)
    field, block = np.array(heads)[:3][on], COVARIANCE[np.ix_(on, on)]
    share = block @ np.linalg.inv(block + sigma**2 * np.eye(len(on)))
    centred = np.asarray(points())[:, on] - MEAN[on]
    pull = centred @ np.real(sqrtm(share)) @ field / sigma - 0.5 * field @ share @ field
    lift = 0.3 * np.sqrt(np.trace(share)) * (1 + np.log1p(sigma**-2.0))
    base = stratum(pattern, context=CONTEXT)
    found = values(model, points(), jnp.asarray(sigma), base) - values(network(), points(), jnp.asarray(sigma), base)
    np.testing.assert_allclose(found, pull + lift, rtol=1e-7, atol=1e-9)


def log_mass(model, sigma):
    """By quadrature, in one column with law N(0.4, 2)."""
    base = stratum([1.0], np.array([0.4]), np.array([[2.0]]))
    spread = np.sqrt(2 + sigma**2)
    x = np.linspace(0.4 - 12 * spread, 0.4 + 12 * spread, 8001)
    return logsumexp(values(model, jnp.asarray(x)[:, None], jnp.asarray(sigma), base)) + np.log(x[1] - x[0])


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_whatever_the_weights_the_mass_is_anchored_at_large_sigma(seed):
    model = shaken(network(1, 0), seed, scale=0.15)
    assert abs(log_mass(model, 0.3)) > 0.1  # the weights do matter
    at_end = log_mass(model, 20.0)
    assert abs(at_end) < 0.25
    # What is left falls like 1/σ, as the root of the signal does.
    assert abs(log_mass(model, 20_000.0)) < abs(at_end) / 100 + 1e-5


@pytest.mark.parametrize("pattern", ACTIVE, ids=name)
def test_directions_and_columns_are_one_point_seen_from_two_sides(pattern):
    base, x = stratum(pattern), points()[0] * pattern
    np.testing.assert_allclose(base.back(base.along(x)), x, atol=1e-12)
    np.testing.assert_array_equal(base.along(x)[base.live == 0], 0)
    assert base.live.sum() == pattern.sum()
    np.testing.assert_allclose(jnp.trace(base.rotation @ jnp.diag(base.signal(0.5)) @ base.rotation.T),
                               _signal_share(pattern, 0.5), rtol=1e-10)  # fmt: skip


def _signal_share(pattern, sigma):
    """tr C(C + σ²I)⁻¹ of the active block."""
    block = COVARIANCE[np.ix_(pattern > 0, pattern > 0)]
    return np.trace(block @ np.linalg.inv(block + sigma**2 * np.eye(len(block))))


@pytest.mark.parametrize(("what", "value"), [("dim", 0), ("width", 0), ("depth", -1)])
def test_sizes_that_make_no_network_are_refused(what, value):
    sizes = {"dim": 1, "num_context": 0, "width": 4, "depth": 1} | {what: value}
    with pytest.raises(ValueError, match=f"`{what}` must be at least .*; got {value}"):
        NoiseConditionalDensity(**sizes, key=jr.key(0))
