"""The Gaussian mixture: density, score, draws, and that score matching hardly sees the weights of modes apart."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats
from scipy.special import logsumexp

from ptilde import datasets
from ptilde.models import GaussianMixture

WEIGHTS = np.array([0.5, 0.2, 0.3])
MEANS = np.array([[0.0, 0.0], [4.0, -3.0], [-5.0, 2.0]])
COVARIANCES = np.array([[[1.0, 0.4], [0.4, 0.7]], [[0.5, -0.2], [-0.2, 0.9]], [[2.0, 0.0], [0.0, 0.3]]])
PRECISIONS = np.linalg.inv(COVARIANCES)


def packed(precision):
    """The upper root, row by row, with logs on its diagonal."""
    root = np.linalg.cholesky(precision).T
    return np.where(np.eye(2), np.log(np.where(np.eye(2), root, 1)), root)[np.triu_indices(2)]


MIXTURE = GaussianMixture(np.log(WEIGHTS[1:] / WEIGHTS[0]), MEANS, np.stack([packed(p) for p in PRECISIONS]))
POINTS = np.random.default_rng(0).normal(size=(20, 2)) * [4, 3]


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def log_parts(x):
    normals = zip(MEANS, COVARIANCES, strict=True)
    return np.log(WEIGHTS) + np.stack([stats.multivariate_normal(m, c).logpdf(x) for m, c in normals], -1)


def test_the_log_density_is_scipys_up_to_the_constant_of_the_first_weight():
    ours = jax.jit(jax.vmap(MIXTURE))(jnp.asarray(POINTS))
    constant = -np.log(2 * np.pi) + np.log(WEIGHTS[0])
    np.testing.assert_allclose(ours + constant, logsumexp(log_parts(POINTS), axis=1), rtol=1e-12)


def test_the_gradient_is_the_mean_pull_to_the_components():
    for x in POINTS:
        posterior = np.exp(log_parts(x) - logsumexp(log_parts(x)))
        expected = sum(p * k @ (m - x) for p, k, m in zip(posterior, PRECISIONS, MEANS, strict=True))
        np.testing.assert_allclose(jax.jit(jax.grad(MIXTURE))(jnp.asarray(x)), expected, rtol=1e-10)


@pytest.mark.parametrize("std", [1.0, [1.0, 1.0]])
def test_round_components_are_the_simulators(std):
    model = GaussianMixture.isotropic(datasets.simulators.TOY_WEIGHTS, datasets.simulators.TOY_MEANS, std)
    apart = jax.jit(jax.vmap(model))(jnp.asarray(POINTS)) - datasets.gaussian_mixture_log_density(POINTS)
    assert np.ptp(apart) < 1e-11
    ours = jax.jit(jax.vmap(jax.grad(model)))(jnp.asarray(POINTS))
    np.testing.assert_allclose(ours, datasets.gaussian_mixture_score(POINTS), rtol=1e-10)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_usual_parameters_come_back(array):
    model = jax.tree.map(array, MIXTURE)
    np.testing.assert_allclose(model.weights, WEIGHTS, rtol=1e-13)
    np.testing.assert_allclose(model.covariances, COVARIANCES, atol=1e-14)
    round_ones = jax.tree.map(array, GaussianMixture.isotropic(WEIGHTS, MEANS, [0.5, 1, 2]))
    np.testing.assert_allclose(round_ones.covariances, np.array([0.25, 1, 4])[:, None, None] * np.eye(2), rtol=1e-13)


def test_factors_are_upper_triangles_row_by_row_with_logs_on_the_diagonal():
    factors = np.array([[0.0, 2.0, 3.0, np.log(2.0), 5.0, np.log(3.0)]])
    root = np.array([[1.0, 2.0, 3.0], [0.0, 2.0, 5.0], [0.0, 0.0, 3.0]])
    model = GaussianMixture(np.zeros(0), np.zeros((1, 3)), factors)
    np.testing.assert_allclose(np.linalg.inv(model.covariances[0]), root.T @ root, rtol=1e-8)


def test_steep_factors_have_the_derivatives_of_a_single_gaussian():
    model = GaussianMixture(np.zeros(0), np.zeros((1, 2)), np.array([[0.5, 900.0, -0.2]]))
    x = jnp.array([0.3, 0.01])
    slope = jax.grad(lambda factors: eqx.tree_at(lambda m: m.factors, model, factors)(x))(model.factors)
    root = np.array([[np.exp(0.5), 900.0], [0.0, np.exp(-0.2)]])
    white = root @ x
    expected = [1 - white[0] * x[0] * root[0, 0], -white[0] * x[1], 1 - white[1] * x[1] * root[1, 1]]
    np.testing.assert_allclose(slope[0], expected, rtol=1e-12)


def sensitivity(separation):
    """Mean square of the derivative of the score in the log weight, at draws of the law."""
    means = separation / 2 * np.array([[-1.0], [1.0]])
    model = GaussianMixture.isotropic([0.5, 0.5], means, 1.0)
    change = lambda x: jax.jacobian(lambda w: jax.grad(eqx.tree_at(lambda m: m.log_weights, model, w))(x))  # noqa: E731
    slopes = jax.jit(jax.vmap(lambda x: change(x)(model.log_weights)))(jnp.asarray(model.draw(2_000, jr.key(0))))
    return float(jnp.mean(slopes**2))


def test_score_matching_is_blind_to_the_weights_of_modes_apart():
    assert sensitivity(20.0) < 1e-10
    assert sensitivity(2.0) > 0.05


def test_it_is_not_affine_in_its_parameters():
    arrays, rest = eqx.partition(MIXTURE, eqx.is_inexact_array)
    theta, unravel = ravel_pytree(arrays)
    curvature = jax.jit(jax.hessian(lambda theta: eqx.combine(unravel(theta), rest)(jnp.array([2.0, -1.0]))))(theta)
    assert np.linalg.matrix_rank(curvature) > len(MEANS)


def test_draws_have_the_weights_and_the_gaussians(num=20_000):  # false alarm 1e-5 each
    x = MIXTURE.draw(num, jr.key(2))
    posterior = log_parts(x)
    posterior = np.exp(posterior - logsumexp(posterior, axis=1, keepdims=True))
    spread = posterior.std(0) / np.sqrt(num)  # the mean posterior is the weight, exactly
    assert (np.abs(posterior.mean(0) - WEIGHTS) < 4.7 * spread).all()
    assert not (np.abs(posterior.mean(0) - WEIGHTS[[0, 2, 1]]) < 4.7 * spread).any(where=[False, True, True])
    for direction in np.array([[1, 0], [0, 1], [0.6, 0.8], [0.8, -0.6]]):
        sds = np.sqrt(np.einsum("i,kij,j->k", direction, COVARIANCES, direction))
        uniforms = stats.norm.cdf((x @ direction)[:, None], MEANS @ direction, sds) @ WEIGHTS
        shifted = stats.norm.cdf((x @ direction)[:, None], MEANS @ direction + 0.1, sds) @ WEIGHTS
        assert stats.kstest(uniforms, "uniform").pvalue > 1e-5 / 4
        assert stats.kstest(shifted, "uniform").pvalue < 1e-5 / 4


def test_the_start_has_different_means_and_unit_covariances():
    model = GaussianMixture.start(2, 3, jr.key(0))
    assert min(np.linalg.norm(a - b) for a, b in [model.means[:2], model.means[1:], model.means[::2]]) > 0.1
    np.testing.assert_array_equal(model.covariances, np.broadcast_to(np.eye(2), (3, 2, 2)))
    np.testing.assert_allclose(model.weights, 1 / 3, rtol=1e-15)


def test_values_have_the_precision_of_parameters_and_point():
    cast = lambda dtype: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), MIXTURE)(jnp.asarray(POINTS[0], dtype))  # noqa: E731
    double, single = cast(jnp.float64), cast(jnp.float32)
    assert (double.dtype, single.dtype) == (jnp.float64, jnp.float32)
    np.testing.assert_allclose(single, double, rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GaussianMixture(np.zeros(2), MEANS[:2], np.zeros((2, 3))), r"`log_weights` must be .* \(1\), one num"),
        (lambda: GaussianMixture(np.zeros(1), MEANS[:2], np.zeros((2, 4))), r"`factors` must be .* \(2, 3\), an upper"),
        (lambda: GaussianMixture(np.zeros(1), np.zeros(2), np.zeros((2, 1))), r"`means` must be .* a row a component"),
        (lambda: GaussianMixture.isotropic([0.5, 0.5, 1], MEANS[:2], 1), r"`weights` must be .* \(2\)"),
        (lambda: GaussianMixture.isotropic([1, 0], MEANS[:2], 1), "`weights` and `std` must be positive"),
        (lambda: GaussianMixture.start(2, 0, jr.key(0)), "`num_components` must be at least 1; got 0"),
    ],
)
def test_parameters_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
