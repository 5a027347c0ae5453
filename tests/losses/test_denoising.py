"""The dual loss is least at the truth, by quadrature; targets pooled over a batch keep their conditional means."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import COVARIANCE, mixture, shaken, stratum
from scipy.stats import norm

from ptilde.losses import Dual, Noise, pooled_noise
from ptilde.models import NoiseConditionalDensity

LAW = {"weights": [0.3, 0.7], "means": [[-1.0, 0.5], [1.5, 0.0]], "spreads": [0.6, 0.9]}
SIGMAS = [0.2, 1.0, 5.0]
LIMIT = norm.isf(0.5e-5 / 5)  # five |z|, one of them above it: a false alarm of 1e-5 at most


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def noise_given(noisy, sigma, num_nodes=24):
    """Nodes (m, 2) of the noise in a noisy point, and their posterior probabilities under `LAW`.

    Given the component the clean row is Gaussian, so Gauss-Hermite nodes about its mean are exact for polynomials.
    """
    weights, means, spreads = map(np.asarray, LAW.values())
    node, mass = np.polynomial.hermite_e.hermegauss(num_nodes)
    grid, mass = np.stack(np.meshgrid(node, node), -1).reshape(-1, 2), np.outer(mass, mass).ravel() / (2 * np.pi)
    total = spreads**2 + sigma**2
    share = weights * norm.pdf(noisy, means, np.sqrt(total)[:, None]).prod(1)
    centre = means + (spreads**2 / total)[:, None] * (noisy - means)
    clean = centre[:, None] + (spreads * sigma / np.sqrt(total))[:, None, None] * grid
    return (noisy - clean.reshape(-1, 2)) / sigma, np.outer(share / share.sum(), mass).ravel()


def exact_noise(e):
    return Noise(e, jnp.sum(e**2))


NOISY = np.array([0.7, -0.4])
BASE = {"active": [1, 1], "mean": np.zeros(2), "covariance": np.array([[2.0, 0.6], [0.6, 0.8]])}
BUMPS = {
    "a constant shift of the field": lambda x, s: x[0] - 2 * x[1],
    "a bend": lambda x, s: jnp.sin(2 * x[0]) * x[1],
    "a bend that changes with σ": lambda x, s: jnp.cos(x[1]) * jnp.exp(-s),
    "a level": lambda x, s: jnp.tanh(s),
}


@pytest.mark.parametrize("sigma", SIGMAS)
def test_both_derivatives_of_the_log_density_are_conditional_means_of_the_noise(sigma):
    derivatives = jax.jit(jax.grad(mixture(**LAW), argnums=(0, 1)))
    for noisy in np.array([[0.0, 0.0], [1.7, -0.4], [-2.5, 1.0]]):
        nodes, mass = noise_given(noisy, sigma)
        score, slope = derivatives(jnp.asarray(noisy), jnp.log(sigma))
        np.testing.assert_allclose(sigma * score, -mass @ nodes, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(slope, mass @ (nodes**2).sum(1) - 2, rtol=1e-10, atol=1e-10)


@eqx.filter_jit
def expected_loss_slope(tilt, bump, sigma, law):
    """Derivative in `tilt` of E[loss | noisy point], of the log density of `law` moved by `tilt` times a bump."""
    nodes, mass = noise_given(NOISY, sigma)

    def expected_loss(tilt):
        model = lambda x, s: mixture(**law)(x, s) + tilt * bump(x, s)  # noqa: E731
        at = lambda e: Dual(0.7)(model, NOISY, jnp.log(sigma), exact_noise(e), stratum(**BASE))[0]  # noqa: E731
        return mass @ jax.vmap(at)(jnp.asarray(nodes))

    return jax.grad(expected_loss)(tilt)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("bump", BUMPS.values(), ids=BUMPS)
def test_the_expected_loss_is_least_at_the_truth(bump, sigma):
    at_truth, above, below = (expected_loss_slope(jnp.asarray(t), bump, sigma, LAW) for t in (0.0, 0.1, -0.1))
    np.testing.assert_allclose(at_truth, 0, atol=1e-10 * max(above, 1))
    assert above > 1e-6 and below < -1e-6


@pytest.mark.parametrize("bump", BUMPS.values(), ids=BUMPS)
def test_at_another_law_the_expected_loss_is_not_least(bump):
    assert abs(expected_loss_slope(jnp.asarray(0.0), bump, 1.0, LAW | {"weights": [0.5, 0.5]})) > 1e-3


def test_a_factor_that_depends_on_sigma_alone_raises_the_level_term_by_its_squared_slope_and_no_other():
    sigma, base, model = 0.8, stratum(**BASE), mixture(**LAW)
    nodes, mass = noise_given(NOISY, sigma)

    @jax.jit
    def terms(tilt):
        scaled = lambda x, s: model(x, s) + tilt * s  # noqa: E731
        return jax.vmap(lambda e: Dual()(scaled, NOISY, jnp.log(sigma), exact_noise(e), base)[1])(nodes)

    plain, scaled = terms(0.0), terms(0.3)
    np.testing.assert_allclose(scaled.space, plain.space, rtol=1e-14)
    expected = 0.3**2 / (2 * base.signal(sigma).sum())
    np.testing.assert_allclose(mass @ (scaled.level - plain.level), expected, rtol=1e-10)


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("pattern", [[1, 1, 1], [1, 0, 1]])
def test_without_the_level_term_it_is_denoising_score_matching_in_the_metric_of_the_signal(pattern, rotate):
    base, sigma, active = stratum(pattern, rotate=rotate), 0.4, np.array(pattern) > 0
    model = shaken(NoiseConditionalDensity(3, 0, 8, 1, key=jr.key(0)), scale=0.3)
    x, e = jnp.array([0.2, -1.0, 0.4]) * active, jnp.array([0.5, -1.5, 2.0]) * active

    @jax.jit
    def both(x, e):
        log_density = lambda x, s: model(x, s, base)  # noqa: E731
        loss = Dual(level_weight=0)(log_density, x, jnp.log(sigma), exact_noise(e), base)
        return *loss, jax.grad(log_density)(x, jnp.log(sigma))

    value, terms, score = both(x, e)
    residual = (sigma * score + e)[active]
    block = (COVARIANCE if rotate else np.diag(np.diag(COVARIANCE)))[np.ix_(active, active)]
    metric = (block + sigma**2 * np.eye(len(block))) @ np.linalg.inv(block)
    np.testing.assert_allclose(value, residual @ metric @ residual / active.sum(), rtol=1e-8)
    assert value == terms.space


def test_a_row_without_amounts_has_no_loss_and_no_gradient():
    base, model = stratum(np.zeros(3)), NoiseConditionalDensity(3, 0, 8, 1, key=jr.key(0))

    @jax.jit
    def loss(model):
        log_density = lambda x, s: model(x, s, base)  # noqa: E731
        return Dual()(log_density, jnp.zeros(3), jnp.log(0.1), exact_noise(jnp.zeros(3)), base)[0]

    value, gradient = jax.value_and_grad(loss)(shaken(model, scale=0.3))
    assert value == 0
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("sigma", [0.01, 1.0, 20.0])
def test_on_gaussian_data_the_loss_begins_at_one_in_space_and_between_one_and_two_in_level(sigma):
    # Given the noisy point, ε ~ N(μ, r) with E μ² = 1 - r: E Var(ε | x̃)/r = 1 and E Var(ε² | x̃)/(2r) = 2 - r.
    variance = 1.7
    base, (node, mass) = stratum([1], np.zeros(1), np.array([[variance]])), np.polynomial.hermite_e.hermegauss(6)
    mass = np.outer(mass, mass) / (2 * np.pi)

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    @partial(jax.vmap, in_axes=(None, 0))
    def terms(u, e):
        log_density = lambda x, s: base.log_density(x, jnp.exp(s))  # noqa: E731
        x = jnp.sqrt(variance) * u + sigma * e
        return Dual()(log_density, x[None], jnp.log(sigma), exact_noise(e[None]), base)[1]

    found = terms(jnp.asarray(node), jnp.asarray(node))
    np.testing.assert_allclose(np.sum(mass * found.space), 1, rtol=1e-8)
    np.testing.assert_allclose(np.sum(mass * found.level), 2 - variance / (variance + sigma**2), rtol=1e-8)


def test_a_negative_level_weight_is_refused():
    with pytest.raises(ValueError, match="`level_weight` must be at least 0; got -0.1"):
        Dual(-0.1)


def posterior_means(x, sigma, noise, group, temperature=1.0):
    """The mean noise over the rows of each group, row by row, in NumPy; right only at temperature 1."""
    x, sigma, noise = map(np.asarray, (x, sigma, noise))
    mean, square = np.zeros_like(x), np.zeros(len(x))
    for i in range(len(x)):
        others = np.flatnonzero(group == group[i])
        candidates = (x[i] + sigma[i] * noise[i] - x[others]) / sigma[i]
        log_weight = -0.5 * (candidates**2).sum(1) / temperature
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        mean[i], square[i] = weight @ candidates, weight @ (candidates**2).sum(1)
    return mean, square


def batch(key, num=48, dim=2):
    """Rows of a law with two groups, levels and noise."""
    of_x, of_level, of_noise = jr.split(key, 3)
    x = jr.normal(of_x, (num, dim))
    group = (x[:, 0] + x[:, 1] > 0).astype(int)
    sigma = jnp.exp(jr.uniform(of_level, (num,), minval=-3, maxval=1.5))
    return x, sigma, jr.normal(of_noise, x.shape), group


def test_pooled_noise_is_the_posterior_mean_over_the_rows_of_the_group():
    x, sigma, noise, group = batch(jr.key(0))
    noisy, pooled = pooled_noise(x, sigma, noise, group)
    mean, square = posterior_means(x, sigma, noise, np.asarray(group))
    np.testing.assert_allclose(noisy, x + sigma[:, None] * noise, rtol=1e-12)
    np.testing.assert_allclose(pooled.mean, mean, atol=1e-10)
    np.testing.assert_allclose(pooled.square, square, atol=1e-10)
    assert np.abs(pooled.mean - noise).max() > 0.1  # it does pool


def test_pooled_noise_keeps_its_digits_at_small_sigma_in_single_precision():
    x, _, noise, group = batch(jr.key(1))
    x, sigma = 5 * x, jnp.full(len(x), 0.003)
    single = [a.astype(jnp.float32) for a in (x, sigma, noise)]
    _, pooled = pooled_noise(*single, group)
    mean, square = posterior_means(*map(np.float64, single), np.asarray(group))
    np.testing.assert_allclose(pooled.mean, mean, atol=2e-3)  # σ is 1/5000 of the data; float32 has 7 digits
    np.testing.assert_allclose(pooled.square, square, atol=5e-3)


@pytest.mark.parametrize("reason", ["far apart", "of different groups"])
def test_rows_that_cannot_be_confused_keep_their_own_noise(reason):
    x, sigma, noise, _ = batch(jr.key(0), num=8)
    if reason == "far apart":
        x, group = x + 1e4 * jnp.arange(8)[:, None], jnp.zeros(8, int)
    else:
        group = jnp.arange(8)
    _, pooled = pooled_noise(x, sigma, noise, group)
    np.testing.assert_allclose(pooled.mean, noise, rtol=1e-12)
    np.testing.assert_allclose(pooled.square, (noise**2).sum(1), rtol=1e-12)


@eqx.filter_jit
def _shifts(key, temperature):
    """By test function, the mean over a batch of g(x̃, σ)·(pooled - own noise): zero in expectation for every g."""
    x, sigma, noise, group = batch(key)
    square = jnp.sum(((x + sigma[:, None] * noise)[:, None] - x) ** 2, -1) / sigma[:, None] ** 2
    weight = jax.nn.softmax(jnp.where(group[:, None] == group, -0.5 * square / temperature, -jnp.inf), axis=1)
    noisy, pooled = pooled_noise(x, sigma, noise, group)
    tempered = jnp.sum(weight[:, :, None] * (noisy[:, None] - x) / sigma[:, None, None], 1)
    if temperature != 1:
        pooled = Noise(tempered, jnp.sum(weight * square, 1))
    off, excess = pooled.mean - noise, pooled.square - jnp.sum(noise**2, 1)
    tests = [off * noisy, off * jnp.sin(noisy), off * noisy / sigma[:, None], excess, excess * jnp.log(sigma)]
    return jnp.stack([jnp.mean(t) for t in tests])


def largest_shift(temperature):
    shifts = jax.lax.map(lambda k: _shifts(k, temperature), jr.split(jr.key(3), 2000))
    return np.abs(shifts.mean(0) / shifts.std(0)).max() * np.sqrt(len(shifts))


def test_pooling_leaves_conditional_means_as_they_are():
    assert largest_shift(1.0) < LIMIT


def test_pooling_with_wrong_weights_would_be_seen():
    assert largest_shift(1.3) > LIMIT


def test_pooled_targets_are_nearer_to_the_conditional_mean_than_the_noise_itself():
    x, noise, sigma = jr.normal(jr.key(0), (256, 1)), jr.normal(jr.key(1), (256, 1)), jnp.ones(256)
    noisy, pooled = pooled_noise(x, sigma, noise, jnp.zeros(256, int))
    exact = noisy / 2  # E[ε | x̃] = σx̃/(1 + σ²)
    assert jnp.mean((pooled.mean - exact) ** 2) < 0.1 * jnp.mean((noise - exact) ** 2)
