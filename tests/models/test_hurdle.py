"""The hurdle law: masses, moments and draws of every pattern, derivatives at atoms, and the shipped simulator."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats
from scipy.special import softmax

from ptilde import datasets
from ptilde.models import Hurdle, strata

LOGITS, LINEAR = np.array([0.4, -0.3]), np.array([0.8, -0.5])
INTERACTION, CROSS = 0.7, np.array([[0.0, -0.6], [0.9, 0.0]])
PRECISION = np.array([[1.5, -0.4], [-0.4, 0.8]])
LOGS = pytest.mark.parametrize("log", [False, True])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def pair(log=False, cross=True):
    entries = CROSS[~np.eye(2, dtype=bool)] if cross else None
    return Hurdle(LOGITS, np.array([INTERACTION]), LINEAR, PRECISION[np.triu_indices(2)], entries, log)


def triple(log=True):
    """Three columns, all interacting."""
    precision = np.array([[1.2, 0.3, -0.2], [0.3, 0.9, 0.1], [-0.2, 0.1, 1.5]])
    cross = np.array([0.5, -0.4, 0.3, 0.2, -0.1, 0.6])
    logits, linear, interactions = np.array([0.2, -0.1, 0.3]), np.array([0.1, 0.4, -0.3]), np.array([0.3, -0.2, 0.5])
    return Hurdle(logits, interactions, linear, precision[np.triu_indices(3)], cross, log)


def parameters(model):
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    theta, unravel = ravel_pytree(arrays)
    return theta, lambda theta: eqx.combine(unravel(theta), rest)


def tilt(model, x):
    """What acts on each log amount (or amount) at x, by the formula: (h + Cᵀv - Ky)."""
    v = (x != 0).astype(float)
    y = np.log(np.where(v > 0, x, 1)) if model.log else x
    return model.linear + model.cross_matrix.T @ v - model.precision_matrix @ y


@LOGS
@pytest.mark.parametrize("pattern", [(1, 0, 1), (0, 1, 0), (1, 1, 1), (0, 0, 0)])
def test_the_gradient_in_the_body_is_the_score_in_closed_form(pattern, log):
    on, model = np.flatnonzero(pattern), triple(log)
    x = np.array([1.7, 0.4, 2.2]) * pattern
    expected = (tilt(model, x) - 1)[on] / x[on] if log else tilt(model, x)[on]
    np.testing.assert_allclose(jax.grad(model)(jnp.asarray(x))[on], expected, rtol=1e-12)


def test_second_derivatives_at_atoms_are_those_of_the_amounts_and_zero_elsewhere():
    model, x = triple(log=True), np.array([1.7, 0.0, 2.2])
    on = np.ix_([0, 2], [0, 2])
    expected = np.zeros((3, 3))
    expected[on] = -model.precision_matrix[on] / np.outer(x, x)[on]
    expected[[0, 2], [0, 2]] -= (tilt(model, x) - 1)[[0, 2]] / x[[0, 2]] ** 2
    np.testing.assert_allclose(jax.jit(jax.hessian(model))(jnp.asarray(x)), expected, rtol=1e-12, atol=1e-15)


@LOGS
def test_log_density_and_score_are_affine_in_the_parameters_on_atoms_too(log):
    theta, build = parameters(triple(log))
    score = jax.jit(lambda theta, x: jax.grad(build(theta))(x))
    curvature = jax.jit(jax.hessian(lambda theta, x: build(theta)(x)))
    slopes = jax.jit(jax.jacobian(score))
    for x in jnp.array([[1.7, 0.0, 2.2], [0.0, 0.0, 0.0]]):
        assert not curvature(theta, x).any()
        np.testing.assert_allclose(score(0 * theta, x) + slopes(theta, x) @ theta, score(theta, x), rtol=1e-12)


def masses_and_moments(model, pattern):
    """Mass, mean and covariance of the amounts (or logs) on a pattern of two columns, by the trapezoid rule."""
    u = np.linspace(-14, 14, 561)
    grids = np.meshgrid(*[u if on else np.zeros(1) for on in pattern], indexing="ij")
    y = np.stack(grids, -1).reshape(-1, 2)
    x = np.where(pattern, np.exp(y) if model.log else y + 1e-9, 0.0)  # 1e-9: no grid point is on the atom
    jacobian = np.where(pattern, x, 1.0).prod(1) if model.log else 1.0
    q = np.exp(jax.jit(jax.vmap(model))(jnp.asarray(x))) * jacobian * (u[1] - u[0]) ** sum(pattern)
    mean = q @ y / q.sum()
    return q.sum(), mean, (y - mean).T @ ((y - mean) * q[:, None]) / q.sum()


@LOGS
def test_strata_are_what_quadrature_finds(log):
    law = strata(pair(log))
    for pattern, log_mass, mean, covariance in zip(*law, strict=True):
        expected = masses_and_moments(pair(log), pattern)
        np.testing.assert_allclose(np.exp(log_mass), expected[0], rtol=1e-7)
        np.testing.assert_allclose(mean, expected[1], atol=1e-7)
        np.testing.assert_allclose(covariance, expected[2], atol=1e-7)


def matching(interactions, log_means, log_covariance, logits):
    """The hurdle model with the simulator's law on all patterns (diagonal covariance), or on the full one (any)."""
    precision = np.linalg.inv(log_covariance)
    linear = precision @ log_means
    k = np.diag(precision)
    g = np.asarray(logits) - 0.5 * (linear**2 / k + np.log(2 * np.pi / k))
    upper = np.asarray(interactions)[np.triu_indices(3, 1)]
    return Hurdle(g, upper, linear, precision[np.triu_indices(3)], log=True)


def apart(model, x, **law):
    return jax.jit(jax.vmap(model))(jnp.asarray(x)) - datasets.hurdle_log_density(x, **law)


LAW = {
    "logits": np.array([0.5, -0.5, -2.0]),
    "interactions": np.array([[0.0, 0.8, 0.6], [0.8, 0.0, 1.0], [0.6, 1.0, 0.0]]),
    "log_means": np.array([3.0, 1.5, 5.0]),
}
DENSE = np.array([[1.0, 0.5, 0.3], [0.5, 1.5, 0.2], [0.3, 0.2, 0.8]])


def test_it_is_the_law_of_the_simulator_where_amounts_are_independent():
    law = {**LAW, "log_covariance": np.diag(np.diag(DENSE))}
    x = datasets.hurdle(200, seed=0, **law)
    assert len(np.unique(x > 0, axis=0)) == 8
    assert np.ptp(apart(matching(**law), x, **law)) < 1e-11
    assert np.ptp(apart(eqx.tree_at(lambda m: m.logits, matching(**law), LAW["logits"]), x, **law)) > 0.1


def test_it_is_the_law_of_the_simulator_on_the_full_pattern_but_not_across_patterns_where_amounts_depend():
    law = {**LAW, "log_covariance": DENSE}
    x = datasets.hurdle(2_000, seed=0, **law)
    full = (x > 0).all(1)
    assert np.ptp(apart(matching(**law), x[full], **law)) < 1e-11
    two = (x[:, 0] > 0) & (x[:, 1] > 0) & (x[:, 2] == 0)  # here the simulator has a margin, the model a slice
    assert np.ptp(apart(matching(**law), x[two], **law)) > 0.1


def test_the_pair_of_the_handbook_has_eight_parameters():
    assert parameters(pair(cross=False))[0].size == 8
    assert parameters(pair(cross=True))[0].size == 10


def test_no_cross_term_is_a_cross_term_of_zero():
    without, zero = pair(cross=False), eqx.tree_at(lambda m: m.cross, pair(cross=True), np.zeros(2))
    for x in jnp.array([[0.0, 1.3], [0.2, 0.0], [1.1, -0.4]]):
        np.testing.assert_allclose(without(x), zero(x), rtol=1e-14)
        np.testing.assert_array_equal(without.cross_matrix, np.zeros((2, 2)))


def test_packed_entries_are_of_the_upper_triangle_and_cross_ones_of_all_rows():
    model = Hurdle(np.zeros(3), np.arange(1.0, 4), np.zeros(3), np.arange(1.0, 7), np.arange(1.0, 7))
    np.testing.assert_array_equal(model.interaction_matrix, [[0, 1, 2], [1, 0, 3], [2, 3, 0]])
    np.testing.assert_array_equal(model.precision_matrix, [[1, 2, 3], [2, 4, 5], [3, 5, 6]])
    np.testing.assert_array_equal(model.cross_matrix, [[0, 1, 2], [3, 0, 4], [5, 6, 0]])


def counts(x):
    return np.bincount((x != 0) @ [2, 1], minlength=4)


@LOGS
def test_draws_have_the_masses_and_the_gaussians_of_the_patterns(log):  # false alarm 1e-5 each
    model, law = pair(log), strata(pair(log))
    x = model.draw(40_000, jr.key(1))
    masses = softmax(law.log_masses)
    assert stats.chisquare(counts(x), len(x) * masses).pvalue > 1e-5
    other = strata(eqx.tree_at(lambda m: m.logits, model, LOGITS + [0.1, 0]))
    assert stats.chisquare(counts(x), len(x) * softmax(other.log_masses)).pvalue < 1e-5
    for pattern, mean, covariance in zip(law.patterns[1:], law.means[1:], law.covariances[1:], strict=True):
        on = np.flatnonzero(pattern)
        y = x[((x != 0) == pattern).all(1)][:, on]
        root = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(on, on)]))
        white = ((np.log(y) if log else y) - mean[on]) @ root
        white = np.column_stack([white, white.sum(1) / np.sqrt(len(on))])
        assert min(stats.kstest(z, "norm").pvalue for z in white.T) > 1e-5 / 3
        assert min(stats.kstest(z + 0.3, "norm").pvalue for z in white.T) < 1e-5 / 3


@LOGS
def test_the_start_has_independent_fair_columns_and_standard_amounts(log):
    law = strata(Hurdle.start(2, log, cross=True))
    np.testing.assert_allclose(law.log_masses, 0.5 * np.log(2 * np.pi) * law.patterns.sum(1), rtol=1e-14)
    np.testing.assert_array_equal(law.covariances, law.patterns[:, :, None] * np.eye(2))
    assert not law.means.any()


@LOGS
def test_values_have_the_precision_of_parameters_and_point(log):
    x = np.array([1.7, 0.0, 2.2])
    cast = lambda dtype: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), triple(log))(jnp.asarray(x, dtype))  # noqa: E731
    double, single = cast(jnp.float64), cast(jnp.float32)
    assert (double.dtype, single.dtype) == (jnp.float64, jnp.float32)
    np.testing.assert_allclose(single, double, rtol=1e-5)


def hurdle(logits=2, interactions=1, linear=2, precision=3, cross=2):
    return Hurdle(*map(np.ones, (logits, interactions, linear, precision, cross)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: hurdle(interactions=3), r"`interactions` must be .* \(1\), an upper triangle without its diagonal"),
        (lambda: hurdle(precision=4), r"`precision` must be .* \(3\), an upper triangle with its diagonal"),
        (lambda: hurdle(linear=3), r"`linear` must be .* \(2\), one number a column; got shape \(3,\)"),
        (lambda: hurdle(cross=4), r"`cross` must be .* \(2\), what is off the diagonal, row by row, for 2 columns"),
        (lambda: Hurdle.start(13).draw(1, jr.key(0)), "`logits` must have at most 12 columns.*; got 13"),
        (lambda: strata(Hurdle(*map(np.array, ([0.0], [], [0.0], [-2.0])))), "`precision` must be .*eigenvalue -2"),
    ],
)
def test_parameters_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
