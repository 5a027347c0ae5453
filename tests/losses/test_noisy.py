"""Losses of blurred data: their minimum, their mean and their variance, by quadrature over data and noise."""

from itertools import product
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import chi2, chisquare, kstest, norm

from ptilde.losses import Denoising, Hyvarinen, NoiseConditional, Sliced

KEY = jr.key(0)
FALSE_ALARM = 1e-5
THETA = np.array([0.8, 0.3, -0.5])
SIGMAS = (2.0, 0.7, 0.1)
POINT, NOISE = np.array([0.4, -1.1]), np.array([-0.6, 1.3])
LOSSES = [Denoising(0.5), Denoising(0.5, control=False), NoiseConditional(SIGMAS)]
IDS = ["with control", "without", "NoiseConditional"]
BOTH = pytest.mark.parametrize("control", [True, False])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key_is_the_draw(monkeypatch):
    """What stands in place of the key is what is drawn: the noise, or (level, noise)."""
    given = SimpleNamespace(
        normal=lambda key, shape, dtype: jnp.reshape(key, shape).astype(dtype),
        split=lambda key: key,
        randint=lambda key, shape, low, high: key,
    )
    monkeypatch.setattr("ptilde.losses.noisy.jr", given)


def gauss_hermite(dimension, num_nodes):
    node, mass = np.polynomial.hermite_e.hermegauss(num_nodes)
    nodes = np.array(list(product(node, repeat=dimension)))
    return nodes, np.array(list(product(mass / mass.sum(), repeat=dimension))).prod(1)


def bent(x, theta=THETA):
    """A log density in two dimensions, whose derivatives of all orders depend on x and on all of θ."""
    a, b, c = theta
    return -0.5 * a * jnp.vdot(x, x) + jnp.sin(b * x[0] * x[1] + c * x[0]) - jnp.cosh(b * (x[0] - x[1]))


def score(x, theta=THETA):
    return jax.grad(bent)(x, theta)


def noisy_score(x, log_sigma, theta=THETA):
    return jax.grad(bent)(x, theta) / (1 + jnp.exp(log_sigma)) + jnp.sin(log_sigma * x)


def moments(f):
    """Mean and variance of f(x, noise) over data with two clusters in the plane, and N(0, I)."""
    nodes, mass = gauss_hermite(2, 9)
    x = jnp.concatenate([0.5 * nodes - 1, nodes + jnp.array([1.0, 0.2])])
    table = jax.jit(jax.vmap(jax.vmap(f, (None, 0)), (0, None)))(x, nodes)
    weigh = lambda values: jnp.einsum("i,j,ij...->...", np.concatenate([0.4 * mass, 0.6 * mass]), mass, values)  # noqa: E731
    mean = weigh(table)
    return mean, weigh((table - mean) ** 2)


def best_precision(loss):
    """Of the model N(0, 1/precision) for data N(0, 1), by quadrature that is exact for quartics."""
    nodes, mass = gauss_hermite(2, 5)

    def mean(precision):
        return mass @ jax.vmap(lambda node: loss(lambda y: -precision * y, node[:1], node[1:]))(nodes)

    slope, bend = jax.jit(lambda: (jax.grad(mean)(0.0), jax.hessian(mean)(0.0)))()
    return -slope / bend


@BOTH
@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0])
def test_the_best_precision_for_standard_normal_data_is_that_of_the_blurred_data(key_is_the_draw, sigma, control):
    np.testing.assert_allclose(best_precision(Denoising(sigma, control)), 1 / (1 + sigma**2), rtol=1e-10)


@BOTH
@pytest.mark.parametrize("factor", [0.9, -1.0])
def test_with_noise_of_a_wrong_factor_it_is_not(key_is_the_draw, factor, control):
    def wrong(score, x, noise):  # the point moves by another noise than the loss is told
        return Denoising(0.5, control)(lambda y: score(x + factor * (y - x)), x, noise)

    assert abs(best_precision(wrong) - 0.8) > 0.02


def test_the_control_changes_the_mean_by_a_constant_and_no_gradient(key_is_the_draw):
    def both(theta, sigma=0.3):
        loss = lambda control: lambda x, e: Denoising(sigma, control)(lambda y: score(y, theta), x, e)  # noqa: E731
        return jnp.stack([moments(loss(control))[0] for control in (True, False)])

    with_control, plain = jax.jit(both)(THETA)
    np.testing.assert_allclose(plain - with_control, 2 / (2 * 0.3**2), rtol=1e-12)
    with_control, plain = jax.jit(jax.jacobian(both))(THETA)
    np.testing.assert_allclose(with_control, plain, rtol=1e-10)
    assert np.abs(plain).min() > 1e-3


def test_the_mean_loss_is_hyvarinens_at_the_blurred_point(key_is_the_draw):
    sigma, (nodes, mass) = 0.4, gauss_hermite(2, 40)
    both = lambda e: (Denoising(sigma)(score, POINT, e), Hyvarinen()(score, POINT + sigma * e, KEY))  # noqa: E731
    denoising, implicit = jax.jit(jax.vmap(both))(nodes)
    np.testing.assert_allclose(mass @ denoising, mass @ implicit, rtol=1e-9)


def variances(sigma, control):
    """Of the loss, and of its gradient, over data and noise."""

    def value_and_gradient(x, e):
        value = lambda theta: Denoising(sigma, control)(lambda y: score(y, theta), x, e)  # noqa: E731
        return jnp.append(*jax.value_and_grad(value)(THETA))

    return moments(value_and_gradient)[1]


def test_with_control_the_variance_is_bounded_as_the_noise_goes_and_without_it_is_not(key_is_the_draw):
    small, smaller = 1e-3, 1e-4
    np.testing.assert_allclose(variances(smaller, True) / variances(small, True), 1, rtol=0.01)
    np.testing.assert_allclose(variances(smaller, False) / variances(small, False), [1e4, 1e2, 1e2, 1e2], rtol=0.01)


def test_as_the_noise_goes_the_controlled_loss_is_the_sliced_loss_along_the_noise(key_is_the_draw, monkeypatch):
    monkeypatch.setattr("ptilde.losses.implicit.jr", SimpleNamespace(normal=lambda key, shape, dtype: key[None]))
    limit = jax.jit(lambda: Sliced(gaussian=True)(score, jnp.asarray(POINT), NOISE))()
    error = [abs(jax.jit(lambda s=s: Denoising(s)(score, POINT, NOISE))() - limit) for s in (1e-3, 1e-4)]
    np.testing.assert_allclose(error[0] / error[1], 10, rtol=0.02)


def test_the_loss_of_all_levels_is_the_mean_of_that_of_each_times_its_variance(key_is_the_draw):
    nodes, mass = gauss_hermite(2, 5)

    def of_level(i, e):
        at_level = lambda y: noisy_score(y, np.log(SIGMAS[i]))  # noqa: E731
        return SIGMAS[i] ** 2 * Denoising(SIGMAS[i], control=False)(at_level, POINT, e)

    expected = jax.jit(lambda: jnp.stack([jax.vmap(lambda e, i=i: of_level(i, e))(nodes) for i in range(3)]))()
    joint = jax.vmap(jax.vmap(lambda *key: NoiseConditional(SIGMAS)(noisy_score, POINT, key), (None, 0)), (0, None))
    np.testing.assert_allclose(jax.jit(joint)(jnp.arange(3), nodes), expected, rtol=1e-12)
    assert np.ptp(expected @ mass) > 0.1


def told(loss, num_keys=6000):
    """By key: the point at which the score is asked for, and the level it is told."""

    def told_by(key):
        seen = []
        loss(lambda *given: seen.append(given) or jnp.zeros(2), jnp.asarray(POINT), key)
        return seen[0]

    return map(np.asarray, jax.jit(jax.vmap(told_by))(jr.split(KEY, num_keys)))


def normality(noise):
    """The p-value of N(0, I): of its shape, of its size and of its correlation the smallest, times three."""
    n, correlation = noise.size, np.corrcoef(noise.T)[0, 1]
    size = chi2.cdf(np.sum(noise**2), n)
    shape = kstest(noise.ravel(), norm.cdf).pvalue
    return 3 * min(shape, 2 * min(size, 1 - size), 2 * norm.sf(abs(correlation) * np.sqrt(len(noise))))


def test_all_levels_are_drawn_alike_with_noise_of_their_own_size():
    y, log_sigma = told(NoiseConditional(SIGMAS))
    level = np.abs(log_sigma[:, None] - np.log(SIGMAS)).argmin(1)
    np.testing.assert_allclose(log_sigma, np.log(SIGMAS)[level], rtol=1e-14)
    counts = np.bincount(level)
    assert chisquare(counts).pvalue > FALSE_ALARM
    assert chisquare(counts, len(level) * np.array([0.3, 0.3, 0.4])).pvalue < FALSE_ALARM
    noise = (y - POINT) / np.exp(log_sigma)[:, None]
    for i in range(3):  # in each level apart: the noise must not know of the level
        assert normality(noise[level == i]) > FALSE_ALARM / 3
        assert normality(1.1 * noise[level == i]) < FALSE_ALARM / 3


def test_the_noise_of_one_level_is_standard_normal_times_sigma():
    (y,) = told(Denoising(0.5, control=False))
    noise = (y - POINT) / 0.5
    assert normality(noise) > FALSE_ALARM
    assert normality(1.1 * noise) < FALSE_ALARM
    assert normality(noise[:, [0, 0]]) < FALSE_ALARM


def test_geometric_levels_have_one_ratio_and_both_ends():
    sigmas = np.array(NoiseConditional.geometric(10.0, 0.01, 7).sigmas)
    np.testing.assert_allclose(sigmas[1:] / sigmas[:-1], 1e-3 ** (1 / 6), rtol=1e-12)
    assert (sigmas[0], sigmas[-1]) == (10.0, 0.01)


def test_levels_may_be_given_as_any_array_and_equal_losses_share_one_compiled_program():
    traced = []

    @eqx.filter_jit
    def evaluated(loss, key):
        traced.append(loss)
        return loss(noisy_score, jnp.asarray(POINT), key)

    forms = [SIGMAS, list(SIGMAS), np.array(SIGMAS), jnp.array(SIGMAS)]
    assert len({float(evaluated(NoiseConditional(form), KEY)) for form in forms}) == 1
    assert len(traced) == 1


def given_to(loss, theta):
    noisy = loss.needs == "noisy score"
    return (lambda y, s: noisy_score(y, s, theta)) if noisy else (lambda y: score(y, theta))


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_the_second_derivative_in_the_parameters_is_that_of_the_gradient(loss):
    points, keys = jnp.asarray([POINT, -POINT, 0.3 * POINT]), jr.split(KEY, 3)

    def mean_loss(theta):
        return jnp.mean(jax.vmap(lambda x, key: loss(given_to(loss, theta), x, key))(points, keys))

    first, h = jax.jit(jax.value_and_grad(mean_loss)), 1e-5
    rises = [jax.tree.map(jnp.subtract, first(THETA + h * e), first(THETA - h * e)) for e in np.eye(3)]
    differences = [np.stack(d) / (2 * h) for d in zip(*rises, strict=True)]
    np.testing.assert_allclose(first(THETA)[1], differences[0], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(jax.jit(jax.hessian(mean_loss))(THETA), differences[1], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_float32_stays_float32_and_near_float64(loss, key_is_the_draw):
    draw = (1, NOISE) if loss.needs == "noisy score" else NOISE
    theta = np.asarray(THETA, np.float32)
    single, double = (loss(given_to(loss, theta), jnp.asarray(POINT, t), draw) for t in (jnp.float32, jnp.float64))
    assert single.dtype == jnp.float32 and double.dtype == jnp.float64
    np.testing.assert_allclose(single, double, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Denoising(0.0), "`sigma` must be positive and finite; got 0.0."),
        (lambda: Denoising(float("nan")), "`sigma` must be positive and finite; got nan."),
        (lambda: Denoising(0.1, control=2), "`control` must be one of True, False; got 2."),
        (lambda: NoiseConditional([]), "`len(sigmas)` must be at least 1; got 0."),
        (lambda: NoiseConditional([1.0, -0.1]), "`sigmas[1]` must be positive and finite; got -0.1."),
        (lambda: NoiseConditional([[1.0, 0.1]]), "`sigmas[0]` must be positive and finite; got [1.0, 0.1]."),
        (lambda: NoiseConditional([0.1, 1.0]), "`sigmas` must be strictly decreasing; got 1.0 after 0.1. Sort them"),
        (lambda: NoiseConditional([0.1, 0.1]), "`sigmas` must be strictly decreasing; got 0.1 after 0.1."),
        (lambda: NoiseConditional.geometric(1.0, 0.0, 5), "`low` must be positive and finite; got 0.0."),
        (lambda: NoiseConditional.geometric(1.0, 2.0, 2), "`sigmas` must be strictly decreasing; got 2.0 after 1.0."),
        (lambda: NoiseConditional.geometric(1.0, 0.1, 1), "`num` must be at least 2; got 1."),
    ],
)
def test_hyperparameters_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError) as refusal:
        make()
    assert message in str(refusal.value)
