"""Hyvärinen's loss is the Fisher divergence less its constant, by quadrature; the others average to it, or nearly."""

from itertools import product
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import binom, chi2, chisquare, kstest

from ptilde.losses import FiniteDifference, Hyvarinen, Sliced

KEY = jr.key(0)
POINT = np.array([0.4, -1.1, 0.7])
SIGNS = np.array(list(product([-1.0, 1.0], repeat=3)))
FALSE_ALARM = 1e-5
LOSSES = [Hyvarinen(), Sliced(2, gaussian=True), Sliced(reduced=False), FiniteDifference(0.1, 2)]
IDS = ["Hyvarinen", "Sliced", "unreduced", "FiniteDifference"]


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key_is_the_draw(monkeypatch):
    """What stands in place of the key is what is drawn, so that a test can go through all of it."""
    given = lambda key, shape, dtype: jnp.reshape(key, shape).astype(dtype)  # noqa: E731
    monkeypatch.setattr("ptilde.losses.implicit.jr", SimpleNamespace(rademacher=given, normal=given))


def gauss_hermite(dimension, num_nodes):
    node, mass = np.polynomial.hermite_e.hermegauss(num_nodes)
    nodes = np.array(list(product(node, repeat=dimension)))
    return nodes, np.array(list(product(mass / mass.sum(), repeat=dimension))).prod(1)


def mixture(x, weights=(0.3, 0.7), means=(-1.0, 1.5), spreads=(0.5, 1.1)):
    weights, means, spreads = map(jnp.asarray, (weights, means, spreads))
    return jax.nn.logsumexp(jnp.log(weights / spreads) - 0.5 * ((x[0] - means) / spreads) ** 2)


def bent(x, theta=(0.8, 0.3, -0.5, 1.2)):
    """A log density in three dimensions, whose derivatives of all orders depend on x and on all of θ."""
    a, b, c, e = theta
    return -0.5 * a * jnp.vdot(x, x) + jnp.sin(b * x[0] * x[1] + c * x[2]) + jnp.cos(e * (x[0] - x[2]))


def given_to(loss, log_density):
    return log_density if loss.needs == "log density" else jax.grad(log_density)


def excess(loss, score, truth, x, mass):
    """Of the mean loss over the Fisher divergence less its constant, as a share of the divergence."""
    s, t, losses = jax.jit(jax.vmap(lambda x: (score(x), truth(x), loss(score, x, KEY))))(x)
    divergence, constant = mass @ jnp.sum((s - t) ** 2, 1) / 2, mass @ jnp.sum(t**2, 1) / 2
    return abs(mass @ losses + constant - divergence) / divergence


def gaussian_case():
    # The model's field is no gradient: it need not be.
    precision, mean = jnp.array([[1.5, 0.4], [-0.2, 0.9]]), jnp.array([0.3, -0.8])
    covariance, centre = np.array([[1.2, 0.5], [0.5, 0.7]]), np.array([-0.4, 0.1])
    nodes, mass = gauss_hermite(2, 5)
    x = centre + nodes @ np.linalg.cholesky(covariance).T
    return lambda x: -precision @ (x - mean), lambda x: -jnp.linalg.solve(covariance, x - centre), jnp.asarray(x), mass


def mixture_case():
    x = jnp.linspace(-14.0, 16.0, 1501)[:, None]  # the trapezoidal rule, exact to rounding for what is so smooth
    mass = jnp.exp(jax.vmap(mixture)(x))
    model = lambda x: mixture(x, (0.5, 0.5), (-0.5, 2.0), (0.8, 0.9))  # noqa: E731
    return jax.grad(model), jax.grad(mixture), x, mass / mass.sum()


CASES = pytest.mark.parametrize("case", [gaussian_case, mixture_case], ids=["a Gaussian", "a mixture"])


@CASES
def test_the_mean_loss_is_the_fisher_divergence_less_its_constant(case):
    assert excess(Hyvarinen(), *case()) < 1e-10


@CASES
@pytest.mark.parametrize("factors", [(1, 1.1), (1.1, 1), (1, -1)])
def test_with_a_wrong_factor_it_is_not(case, factors):
    def wrong(score, x, key):
        half_square = 0.5 * jnp.sum(score(x) ** 2)
        return factors[0] * (Hyvarinen()(score, x, key) - half_square) + factors[1] * half_square

    assert excess(wrong, *case()) > 1e-3


@pytest.mark.parametrize("reduced", [True, False])
@pytest.mark.parametrize("gaussian", [True, False])
def test_over_all_sign_vectors_slices_average_to_the_exact_loss(key_is_the_draw, gaussian, reduced):
    score, x = jax.grad(bent), jnp.asarray(POINT)
    one, all_at_once = Sliced(1, gaussian, reduced), Sliced(len(SIGNS), gaussian, reduced)
    exact = Hyvarinen()(score, x, KEY)
    losses = jax.vmap(lambda v: one(score, x, v))(SIGNS)
    assert np.ptp(losses) > 0.1
    np.testing.assert_allclose([jnp.mean(losses), all_at_once(score, x, SIGNS)], exact, rtol=1e-13)


@pytest.mark.parametrize("reduced", [True, False])
def test_over_gaussian_directions_slices_average_to_the_exact_loss(key_is_the_draw, reduced):
    score, x = jax.grad(bent), jnp.asarray(POINT)
    nodes, mass = gauss_hermite(3, 3)
    losses = jax.vmap(lambda v: Sliced(gaussian=True, reduced=reduced)(score, x, v))(nodes)
    np.testing.assert_allclose(mass @ losses, Hyvarinen()(score, x, KEY), rtol=1e-13)


def test_the_variance_of_slices_is_what_their_documentation_says(key_is_the_draw):
    score, x = jax.grad(bent), jnp.asarray(POINT)
    squares = jax.hessian(bent)(x) ** 2
    slices = lambda v: Sliced()(score, x, v) - Hyvarinen()(score, x, KEY)  # noqa: E731
    nodes, mass = gauss_hermite(3, 3)
    np.testing.assert_allclose(jnp.mean(jax.vmap(slices)(SIGNS) ** 2), 2 * (squares.sum() - jnp.trace(squares)))
    np.testing.assert_allclose(mass @ jax.vmap(slices)(nodes) ** 2, 2 * squares.sum())


def drawn(loss, i, j, num_keys=4000):
    """v_i v_j by key, from the loss of a linear score at zero; the mean over slices where there are several."""
    score = lambda x: jnp.zeros_like(x).at[i].set(x[j])  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(lambda key: loss(score, jnp.zeros(3), key)))(jr.split(KEY, num_keys)))


def test_directions_are_signs_or_gaussian():
    assert set(drawn(Sliced(), 0, 0)) == {1.0}
    assert kstest(drawn(Sliced(gaussian=True), 1, 1), chi2(1).cdf).pvalue > FALSE_ALARM
    assert kstest(drawn(Sliced(), 1, 1), chi2(1).cdf).pvalue < FALSE_ALARM


def test_the_slices_at_a_point_are_independent():
    def fit(product):
        seen = np.array([np.sum(product == value) for value in np.linspace(-1, 1, 5)])
        assert seen.sum() == len(product)
        return chisquare(seen, len(product) * binom.pmf(range(5), 4, 0.5)).pvalue

    assert fit(drawn(Sliced(4), 0, 2)) > FALSE_ALARM
    assert fit(drawn(Sliced(1), 0, 2)) < FALSE_ALARM  # as if one direction were drawn for all four


def test_finite_differences_err_by_the_square_of_the_step(key_is_the_draw):
    x, steps = jnp.asarray(POINT), np.array([0.1, 0.05, 0.025, 0.0125])

    def errors(moved):
        sliced = jax.vmap(lambda v: Sliced(reduced=False)(jax.grad(bent), x, v))(SIGNS)
        by_step = [jax.vmap(lambda v, h=h: FiniteDifference(h)(bent, x + moved * h, v))(SIGNS) for h in steps]
        return np.abs(np.stack(by_step) - sliced).max(1)

    np.testing.assert_allclose(np.diff(np.log2(errors(0.0))), -2, atol=0.05)
    np.testing.assert_allclose(np.diff(np.log2(errors(1.0))), -1, atol=0.2)  # off centre it is of first order


def test_finite_differences_of_a_quadratic_are_exact_at_any_step_and_average_to_the_exact_loss(key_is_the_draw):
    x, a = jnp.asarray(POINT), jnp.array([[1.0, 0.3, 0.1], [0.3, 2.0, -0.4], [0.1, -0.4, 0.7]])
    log_q = lambda x: 3.0 - 0.5 * x @ a @ x + x[0]  # noqa: E731
    for step in (0.01, 1.0, 10.0):
        np.testing.assert_allclose(
            FiniteDifference(step, len(SIGNS))(log_q, x, SIGNS), Hyvarinen()(jax.grad(log_q), x, KEY), rtol=1e-10
        )


def test_in_float32_the_documented_step_errs_little_and_a_smaller_one_drowns_in_rounding(key_is_the_draw):
    points = np.random.default_rng(0).normal(size=(200, 3))
    exact = jax.jit(jax.vmap(lambda x: Hyvarinen()(jax.grad(bent), x, KEY)))(points)

    def error(step):
        loss = lambda x: FiniteDifference(step, len(SIGNS))(bent, x, SIGNS)  # noqa: E731
        return np.sqrt(np.mean((jax.jit(jax.vmap(loss))(points.astype(np.float32)) - exact) ** 2))

    assert error(0.02) < 3e-3
    assert error(0.001) > 0.1


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_the_second_derivative_in_the_parameters_is_that_of_the_gradient(loss):
    points, theta = jnp.asarray([POINT, -POINT, 0.3 * POINT]), jnp.array([0.8, 0.3, -0.5, 1.2])

    def mean_loss(theta):
        return jnp.mean(jax.vmap(lambda x: loss(given_to(loss, lambda x: bent(x, theta)), x, KEY))(points))

    first, h = jax.jit(jax.value_and_grad(mean_loss)), 1e-5
    rises = [jax.tree.map(jnp.subtract, first(theta + h * e), first(theta - h * e)) for e in np.eye(4)]
    differences = [np.stack(d) / (2 * h) for d in zip(*rises, strict=True)]
    np.testing.assert_allclose(first(theta)[1], differences[0], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(jax.jit(jax.hessian(mean_loss))(theta), differences[1], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_float32_stays_float32_and_near_float64(loss, key_is_the_draw):
    draw = SIGNS[: getattr(loss, "num_slices", 1)]
    at = jax.jit(lambda x: loss(given_to(loss, bent), x, draw))
    single, double = at(jnp.asarray(POINT, jnp.float32)), at(jnp.asarray(POINT, jnp.float64))
    assert single.dtype == jnp.float32 and double.dtype == jnp.float64
    np.testing.assert_allclose(single, double, rtol=1e-5 if loss.needs == "score" else 1e-3)


def test_equal_losses_share_one_compiled_program():
    traced = []

    @eqx.filter_jit
    def evaluated(loss, x, key):
        traced.append(loss)
        return loss(given_to(loss, bent), x, key)

    for make in (Hyvarinen, lambda: Sliced(2, reduced=False), lambda: FiniteDifference(0.1)):
        first, second = (evaluated(make(), jnp.asarray(POINT), KEY) for _ in range(2))
        assert first == second
    assert len(traced) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sliced(0), "`num_slices` must be at least 1; got 0."),
        (lambda: Sliced(2.5), "`num_slices` must be a whole number; got 2.5."),
        (lambda: Sliced(1, jr.normal), "`gaussian` must be one of True, False; got"),
        (lambda: Sliced(reduced=None), "`reduced` must be one of True, False; got None."),
        (lambda: FiniteDifference(0.0), "`step` must be positive and finite; got 0.0."),
        (lambda: FiniteDifference(float("inf")), "`step` must be positive and finite; got inf."),
        (lambda: FiniteDifference(0.1, 0), "`num_slices` must be at least 1; got 0."),
    ],
)
def test_hyperparameters_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError) as refusal:
        make()
    assert message in str(refusal.value)
