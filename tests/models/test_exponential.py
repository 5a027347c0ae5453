"""Exponential families: densities, scores and draws are those of SciPy, and the parameters enter affinely."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats

from ptilde.models import Exponential, Exponents, Gamma, Gaussian, LogNormal, VonMises

MEAN, COVARIANCE = np.array([0.5, -1.0, 2.0]), np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]])
PRECISION = np.linalg.inv(COVARIANCE)
GAUSSIAN = Gaussian(PRECISION @ MEAN, PRECISION[np.triu_indices(3)])
RATE, SHAPE = np.array([0.5, 3.0]), np.array([0.7, 2.5])
LOG_MEAN, LOG_STD = np.array([-0.4, 1.2]), np.array([0.8, 0.3])
KAPPA, MU = np.array([0.7, 4.0]), np.array([2.5, -1.0])
THETA = np.array([0.3, -1.1, 0.2])


def statistic(x):
    return jnp.stack([x[0] * x[1], jnp.cos(x[0]), x[1] ** 3])


def statistic_score(x):
    return np.array([THETA[0] * x[1] - THETA[1] * np.sin(x[0]), THETA[0] * x[0] + 3 * THETA[2] * x[1] ** 2])


# A model, its score in closed form, and its columns as SciPy has them (None where SciPy has no such law).
LAWS = {
    "Gaussian": (GAUSSIAN, lambda x: PRECISION @ (MEAN - x), None),
    "Exponential": (Exponential(RATE), lambda x: -RATE, stats.expon(scale=1 / RATE)),
    "Gamma": (Gamma(SHAPE, RATE), lambda x: (SHAPE - 1) / x - RATE, stats.gamma(SHAPE, scale=1 / RATE)),
    "LogNormal": (
        LogNormal(LOG_MEAN / LOG_STD**2, LOG_STD**-2.0),
        lambda x: -((np.log(x) - LOG_MEAN) / LOG_STD**2 + 1) / x,
        stats.lognorm(LOG_STD, scale=np.exp(LOG_MEAN)),
    ),
    "VonMises": (
        VonMises(KAPPA * np.cos(MU), KAPPA * np.sin(MU)),
        lambda x: -KAPPA * np.sin(x - MU),
        stats.vonmises(KAPPA, MU),
    ),
    "Exponents": (Exponents(statistic, THETA), statistic_score, None),
}
PRODUCTS = {name: (model, law) for name, (model, _, law) in LAWS.items() if law}
STARTS = {
    "Gaussian": (Gaussian.start(2), stats.norm()),
    "Exponential": (Exponential.start(2), stats.expon()),
    "Gamma": (Gamma.start(2), stats.expon()),
    "LogNormal": (LogNormal.start(2), stats.lognorm(1)),
    "VonMises": (VonMises.start(2), stats.uniform(0, 2 * np.pi)),
    "Exponents": (Exponents.start(statistic, 2), stats.uniform(0, 2 * np.pi)),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def points(dim, num=7):
    return np.random.default_rng(1).uniform(0.1, 3.0, (num, dim))


def parameters(model):
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    theta, unravel = ravel_pytree(arrays)
    return theta, lambda theta: eqx.combine(unravel(theta), rest)


def columns(name):
    return 3 if name == "Gaussian" else 2


@pytest.mark.parametrize("name", LAWS)
def test_the_gradient_is_the_score_in_closed_form(name):
    model, score, _ = LAWS[name]
    for x in points(columns(name)):
        np.testing.assert_allclose(jax.grad(model)(x), score(x), rtol=1e-12)


def constant_apart(model, log_density, x):
    apart = np.array([float(model(row)) for row in jnp.asarray(x)]) - log_density(x)
    return np.ptp(apart) < 1e-12 * np.abs(apart).max() + 1e-12


def test_the_gaussian_is_scipys_up_to_one_constant():
    assert constant_apart(GAUSSIAN, stats.multivariate_normal(MEAN, COVARIANCE).logpdf, points(3))
    assert not constant_apart(GAUSSIAN, stats.multivariate_normal(MEAN, 1.001 * COVARIANCE).logpdf, points(3))


@pytest.mark.parametrize(("model", "law"), [*PRODUCTS.values(), *STARTS.values()])
def test_columns_are_scipys_up_to_one_constant(model, law):
    assert constant_apart(model, lambda x: law.logpdf(x).sum(1), points(2))
    assert not constant_apart(model, lambda x: law.logpdf(1.01 * x).sum(1) + 0.01 * x[:, 0], points(2))


@pytest.mark.parametrize("name", LAWS)
def test_log_density_and_score_are_affine_in_the_parameters(name):
    theta, build = parameters(LAWS[name][0])
    x = jnp.asarray(points(columns(name))[0])
    score = jax.jit(lambda theta: jax.grad(build(theta))(x))
    assert not jax.jit(jax.hessian(lambda theta: build(theta)(x)))(theta).any()
    assert not jax.jit(jax.hessian(score))(theta).any()
    np.testing.assert_allclose(score(0 * theta) + jax.jacobian(score)(theta) @ theta, score(theta), rtol=1e-12)


def test_one_linear_solve_of_hyvarinens_loss_gives_the_sample_mean_and_covariance():
    x = jnp.asarray(np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, 50))
    theta, build = parameters(Gaussian.start(3))

    def loss(theta):
        score = jax.grad(build(theta))
        return jnp.mean(jax.vmap(lambda x: jnp.trace(jax.jacobian(score)(x)) + 0.5 * score(x) @ score(x))(x))

    curvature, slope = jax.jit(lambda theta: (jax.hessian(loss)(theta), jax.grad(loss)(theta)))(0 * theta)
    best = build(-jnp.linalg.solve(curvature, slope))
    np.testing.assert_allclose(best.mean, x.mean(0), rtol=1e-10)
    np.testing.assert_allclose(best.covariance, jnp.cov(x.T, bias=True), rtol=1e-10)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_usual_parameters_come_back_from_the_natural_ones(array):
    gaussian, gamma, exponential, log_normal, von_mises = (
        jax.tree.map(array, LAWS[name][0]) for name in ["Gaussian", "Gamma", "Exponential", "LogNormal", "VonMises"]
    )
    expected = {
        "precision": (gaussian.precision_matrix, PRECISION),
        "covariance": (gaussian.covariance, COVARIANCE),
        "mean": (gaussian.mean, MEAN),
        "gamma mean": (gamma.mean, stats.gamma.mean(SHAPE, scale=1 / RATE)),
        "gamma variance": (gamma.variance, stats.gamma.var(SHAPE, scale=1 / RATE)),
        "exponential": (exponential.mean, 1 / RATE),
        "log mean": (log_normal.mean, LOG_MEAN),
        "log std": (log_normal.std, LOG_STD),
        "concentration": (von_mises.concentration, KAPPA),
        "direction": (von_mises.direction, MU),
    }
    for name, (got, want) in expected.items():
        np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=name)


def test_numpy_parameters_keep_double_precision_where_jax_has_none():
    with jax.enable_x64(False):
        np.testing.assert_allclose(GAUSSIAN.mean, MEAN, rtol=1e-12)
        np.testing.assert_allclose(LAWS["VonMises"][0].direction, MU, rtol=1e-12)


def test_the_mean_has_a_derivative_in_the_parameters():
    theta, build = parameters(GAUSSIAN)
    slope = jax.jacobian(lambda theta: build(theta).mean)(theta)
    np.testing.assert_allclose(slope[:, :3], COVARIANCE, rtol=1e-12)  # of the mean in h


def test_one_parameter_may_be_traced_and_the_other_not():
    slope = jax.grad(lambda sine: jnp.sum(VonMises(np.ones(2), sine).direction))(jnp.array([0.0, 2.0]))
    np.testing.assert_allclose(slope, [1, 0.2], rtol=1e-14)  # d atan(s/c)/ds = c/(c² + s²)


def test_a_packed_triangle_is_the_upper_one_row_by_row():
    model = Gaussian(np.zeros(3), np.arange(1.0, 7.0))
    np.testing.assert_array_equal(model.precision_matrix, [[1, 2, 3], [2, 4, 5], [3, 5, 6]])


@pytest.mark.parametrize("name", LAWS)
def test_values_have_the_precision_of_parameters_and_point(name):
    model, x = LAWS[name][0], points(columns(name))[0]
    cast = lambda dtype: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), model)(jnp.asarray(x, dtype))  # noqa: E731
    double, single = cast(jnp.float64), cast(jnp.float32)
    assert (double.dtype, single.dtype) == (jnp.float64, jnp.float32)
    np.testing.assert_allclose(single, double, rtol=1e-5)


def p_value(uniforms):
    """Of the smallest of the columns' Kolmogorov-Smirnov tests, corrected for their number."""
    return len(uniforms.T) * min(stats.kstest(column, "uniform").pvalue for column in uniforms.T)


@pytest.mark.parametrize("name", PRODUCTS)
def test_draws_have_the_law_of_the_density(name):  # false alarm 1e-5
    model, law = PRODUCTS[name]
    x = model.draw(20_000, jr.key(0))
    around = (lambda x: MU + np.angle(np.exp(1j * (x - MU)))) if name == "VonMises" else np.asarray  # SciPy's circle
    assert p_value(law.cdf(around(x))) > 1e-5
    assert p_value(law.cdf(around(1.1 * x))) < 1e-5
    assert abs(stats.spearmanr(x).statistic) < 4.5 / np.sqrt(len(x))  # columns are independent


def test_gaussian_draws_have_the_mean_and_covariance_of_the_density():  # false alarm 1e-5
    white = (GAUSSIAN.draw(20_000, jr.key(0)) - MEAN) @ np.linalg.cholesky(PRECISION)
    directions = np.concatenate([np.eye(3), np.array([[1, 1, 0], [0, 1, 1], [1, 0, -1]]) / np.sqrt(2)])
    assert p_value(stats.norm.cdf(white @ directions.T)) > 1e-5
    correlated = white + 0.2 * white[:, [1, 2, 0]]
    assert p_value(stats.norm.cdf(correlated @ directions.T)) < 1e-5


def test_a_key_gives_the_same_draws_again_and_another_key_others():
    first, again, other = (GAUSSIAN.draw(5, jr.key(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).any()


def test_models_of_axes_map_over_models():
    models = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), GAUSSIAN)
    x = jnp.asarray(MEAN)
    values = jax.vmap(lambda model: model(x), in_axes=(Gaussian(0, 0),))(models)
    np.testing.assert_allclose(values, [GAUSSIAN(x), 2 * GAUSSIAN(x)], rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Gaussian(np.zeros(2), np.zeros(4)), r"`precision` must be .* \(3\), an upper triangle with its diag"),
        (lambda: Gaussian(np.zeros((2, 1)), np.zeros(3)), r"`linear` must be .* \(any\), .* got shape \(2, 1\)"),
        (lambda: Gaussian([0.0, 0.0], np.zeros(3)), r"`linear` must be an array .* got a list; try `numpy.asarray"),
        (lambda: Exponential(np.arange(2)), r"`rate` must be an array of floats .* of int64"),
        (lambda: Gamma(np.ones(2), np.ones(3)), r"`rate` must be .* \(2\), one number a column; got shape \(3,\)"),
        (lambda: LogNormal(np.ones(2), np.ones(1)), "`precision` must be"),
        (lambda: VonMises(np.ones(2), np.ones(1)), "`sine` must be"),
        (lambda: Exponents(statistic, np.zeros((3, 1))), "`theta` must be .* one number a statistic"),
        (lambda: Gaussian(np.zeros(2), np.array([1.0, 2, 1])).draw(3, jr.key(0)), "`precision` .* eigenvalue -1"),
    ],
)
def test_parameters_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
