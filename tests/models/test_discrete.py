"""Laws on discrete points, against sums over all points and against SciPy."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats
from scipy.special import softmax

from ptilde.models import ConwayMaxwellPoisson, Ising, Potts

FIELDS, COUPLINGS = np.array([0.3, -0.8, 0.5]), np.array([0.9, -0.4, 0.6])
ISING = Ising(FIELDS, COUPLINGS)
POTTS = Potts(np.array([[0.3, -0.5], [0.2, 0.7], [-1.0, 0.1]]), np.random.default_rng(0).normal(size=(3, 2, 2)))
COUNTS = ConwayMaxwellPoisson(np.log([2.5, 0.8]), np.array([1.3, 0.6]))
PAIRS = [(0, 1), (0, 2), (1, 2)]


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def listed(num_levels, dim=3):
    return np.array(list(itertools.product(range(num_levels), repeat=dim)), float)


CASES = [(ISING, listed(2)), (POTTS, listed(3)), (COUNTS, listed(15, 2))]


def energies(model, points):
    return np.asarray(jax.jit(jax.vmap(model))(jnp.asarray(points)))


def parameters(model):
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    theta, unravel = ravel_pytree(arrays)
    return theta, lambda theta: eqx.combine(unravel(theta), rest)


def ising_energy(x):
    return x @ FIELDS + sum(c * x[j] * x[k] for c, (j, k) in zip(COUPLINGS, PAIRS, strict=True))


def potts_energy(x):
    """By tables whose row and column of code 0 are written out as zeros."""
    codes = x.astype(int)
    fields = np.pad(POTTS.fields, ((0, 0), (1, 0)))
    tables = np.pad(POTTS.couplings, ((0, 0), (1, 0), (1, 0)))
    single = sum(fields[j, codes[j]] for j in range(3))
    return single + sum(table[codes[j], codes[k]] for table, (j, k) in zip(tables, PAIRS, strict=True))


def test_ising_energies_are_the_sums_over_columns_and_pairs():
    np.testing.assert_allclose(energies(ISING, listed(2)), [ising_energy(x) for x in listed(2)], rtol=1e-14)


def test_potts_energies_are_the_sums_of_entries_of_tables():
    np.testing.assert_allclose(energies(POTTS, listed(3)), [potts_energy(x) for x in listed(3)], rtol=1e-13)


def test_an_ising_column_given_the_others_is_a_logistic_regression_on_them():
    matrix = ISING.interaction_matrix
    for x, j in itertools.product(listed(2), range(3)):
        up, down = (np.where(np.arange(3) == j, value, x) for value in (1.0, 0.0))
        np.testing.assert_allclose(ISING(up) - ISING(down), FIELDS[j] + matrix[j] @ x - matrix[j, j] * x[j], atol=1e-14)


def test_potts_of_two_codes_is_ising():
    potts = Potts(FIELDS[:, None], COUPLINGS[:, None, None])
    np.testing.assert_allclose(energies(potts, listed(2)), energies(ISING, listed(2)), rtol=1e-14)


@pytest.mark.parametrize("x", [[3.0, 0.0, 1.0], [0.0, -1.0, 1.0], [0.0, 0.5, 1.0]])
def test_potts_has_no_mass_off_its_codes(x):
    assert POTTS(jnp.array(x)) == -np.inf


@pytest.mark.parametrize(
    ("model", "law"),
    [
        (ConwayMaxwellPoisson(np.log([2.5, 0.8]), np.ones(2)), stats.poisson([2.5, 0.8])),
        (ConwayMaxwellPoisson(np.log([0.7, 0.2]), np.zeros(2)), stats.geom(1 - np.array([0.7, 0.2]), loc=-1)),
        (ConwayMaxwellPoisson.start(2), stats.poisson([1, 1])),
    ],
)
def test_counts_are_poisson_or_geometric_up_to_one_constant(model, law):
    apart = energies(model, listed(15, 2)) - law.logpmf(listed(15, 2)).sum(1)
    assert np.ptp(apart) < 1e-11
    assert np.ptp(apart + 0.001 * listed(15, 2)[:, 0]) > 0.01


def test_the_rate_is_the_exponential_of_the_natural_parameter():
    np.testing.assert_allclose(COUNTS.rate, [2.5, 0.8], rtol=1e-14)


@pytest.mark.parametrize(("model", "points"), CASES)
def test_log_densities_are_affine_in_the_parameters_and_all_of_these_are_identified(model, points):
    theta, build = parameters(model)
    assert not jax.jit(jax.hessian(lambda theta: jnp.sum(jax.vmap(build(theta))(points))))(theta).any()
    statistics = np.asarray(jax.jit(jax.jacobian(lambda theta: jax.vmap(build(theta))(points)))(theta))
    np.testing.assert_allclose(statistics @ theta, energies(model, points), atol=1e-12)
    assert np.linalg.matrix_rank(statistics - statistics.mean(0)) == theta.size  # up to a constant


@pytest.mark.parametrize(("model", "energy", "num_levels"), [(ISING, ising_energy, 2), (POTTS, potts_energy, 3)])
def test_draws_have_the_probabilities_of_all_points(model, energy, num_levels):  # false alarm 1e-5
    points = listed(num_levels)
    x = model.draw(40_000, jr.key(0))
    counts = np.array([(x == point).all(1).sum() for point in points])
    expected = np.array([energy(point) for point in points])
    assert stats.chisquare(counts, len(x) * softmax(expected)).pvalue > 1e-5
    assert stats.chisquare(counts, len(x) * softmax(expected + 0.1 * (points[:, 0] == 1))).pvalue < 1e-5


@pytest.mark.parametrize(("model", "points"), [(Ising.start(3), listed(2)), (Potts.start(3, 3), listed(3))])
def test_the_start_gives_all_points_the_same_probability(model, points):
    assert not energies(model, points).any()
    assert len(np.unique(model.draw(1_000, jr.key(0)), axis=0)) == len(points)


def test_packed_couplings_are_of_the_upper_triangle_row_by_row():
    model = Ising(np.zeros(4), np.arange(1.0, 7.0))
    np.testing.assert_array_equal(model.interaction_matrix, [[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]])


def test_one_column_has_no_couplings():
    assert Ising(np.array([0.7]), np.zeros(0))(np.ones(1)) == 0.7
    assert Potts(np.array([[0.7, 0.2]]), np.zeros((0, 2, 2)))(np.array([2.0])) == 0.2


@pytest.mark.parametrize(("model", "points"), CASES)
def test_values_have_the_precision_of_parameters_and_point(model, points):
    cast = lambda dtype: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), model)(jnp.asarray(points[-1], dtype))  # noqa: E731
    double, single = cast(jnp.float64), cast(jnp.float32)
    assert (double.dtype, single.dtype) == (jnp.float64, jnp.float32)
    np.testing.assert_allclose(single, double, rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Ising(np.zeros(3), np.zeros(6)), r"`couplings` must be .* \(3\), an upper triangle without its diag"),
        (lambda: Potts(np.zeros((3, 2)), np.zeros((3, 2, 3))), r"`couplings` must be .* \(3, 2, 2\), a table for each"),
        (lambda: Potts(np.zeros(3), np.zeros((3, 2, 2))), r"`fields` must be .* \(any, any\), a row a column"),
        (lambda: Potts.start(2, 1), "`num_levels` must be at least 2; got 1"),
        (lambda: ConwayMaxwellPoisson(np.zeros(2), np.zeros(1)), "`dispersion` must be"),
        (lambda: Ising.start(13).draw(1, jr.key(0)), "at most 4096 points.*; got 2 codes in each of 13 columns"),
    ],
)
def test_parameters_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
