"""Independent components: a logistic source of variance one, and the score of a linear mix of them."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ptilde.models import Gaussian, Ica, LogisticSource

UNMIXING = np.array([[1.2, 0.5], [-0.4, 0.9]])
ICA = Ica(UNMIXING)
POINTS = np.random.default_rng(0).normal(size=(10, 2)) * 2
SOURCE = stats.logistic(scale=math.sqrt(3) / math.pi)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def test_the_source_is_the_logistic_law_of_variance_one():
    s = np.linspace(-30, 30, 61)
    np.testing.assert_allclose(jax.vmap(LogisticSource())(s), SOURCE.logpdf(s), rtol=1e-12)
    np.testing.assert_allclose(SOURCE.var(), 1, rtol=1e-12)


def test_the_source_is_the_form_of_the_paper_but_for_its_constant():
    s = np.linspace(-3, 3, 7)
    paper = -2 * np.log(np.cosh(np.pi / (2 * np.sqrt(3)) * s)) - np.log(4)
    np.testing.assert_allclose(jax.vmap(LogisticSource())(s) - paper, np.log(np.pi / np.sqrt(3)), rtol=1e-12)


def test_the_source_has_derivatives_at_zero_and_far_out():
    source, slope = LogisticSource(), math.pi / math.sqrt(3)
    np.testing.assert_allclose(jax.grad(jax.grad(source))(0.0), -(slope**2) / 2, rtol=1e-14)
    np.testing.assert_allclose([jax.grad(source)(1e4), jax.grad(source)(-1e4)], [-slope, slope], rtol=1e-14)


def test_the_gradient_is_the_score_in_closed_form():
    for x in POINTS:
        pull = -math.pi / math.sqrt(3) * np.tanh(math.pi / (2 * math.sqrt(3)) * (UNMIXING @ x))
        np.testing.assert_allclose(jax.grad(ICA)(jnp.asarray(x)), UNMIXING.T @ pull, rtol=1e-12)


def test_the_density_does_not_depend_on_order_and_signs_of_the_sources():
    turned = Ica(np.array([[0, -1], [1, 0]]) @ UNMIXING)
    for x in jnp.asarray(POINTS):
        np.testing.assert_allclose(turned(x), ICA(x), rtol=1e-13)


def grid(side, num=241):
    """Points, and the area of each, whose images under the unmixing matrix fill a square."""
    s = np.linspace(-side, side, num)
    sources = np.stack(np.meshgrid(s, s), -1).reshape(-1, 2)
    return jnp.asarray(sources @ np.linalg.inv(UNMIXING).T), (s[1] - s[0]) ** 2 / np.linalg.det(UNMIXING)


def test_the_log_likelihood_is_that_of_a_density():
    x, area = grid(18)
    np.testing.assert_allclose(jnp.exp(jax.vmap(ICA.log_likelihood)(x)).sum() * area, 1, rtol=1e-10)


def test_the_expected_loss_of_hyvarinen_is_stationary_at_the_truth_only():
    x, area = grid(18)
    p = jnp.exp(jax.vmap(ICA.log_likelihood)(x)) * area

    def slope(unmixing):
        def loss(w, x):
            score = jax.grad(Ica(w))
            return jnp.trace(jax.jacobian(score)(x)) + 0.5 * score(x) @ score(x)

        return jax.grad(lambda w: p @ jax.vmap(lambda x: loss(w, x))(x))(unmixing)

    slope = eqx.filter_jit(slope)
    assert np.abs(slope(jnp.asarray(UNMIXING))).max() < 1e-9
    assert np.abs(slope(1.01 * UNMIXING)).max() > 1e-3


def test_normal_sources_make_it_a_gaussian():
    model = Ica(UNMIXING, lambda s: -0.5 * s**2)
    gaussian = Gaussian(np.zeros(2), (UNMIXING.T @ UNMIXING)[np.triu_indices(2)])
    for x in jnp.asarray(POINTS):
        np.testing.assert_allclose(model(x), gaussian(x), rtol=1e-12)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_the_mixing_matrix_is_the_inverse(array):
    np.testing.assert_allclose(Ica(array(UNMIXING)).mixing @ UNMIXING, np.eye(2), atol=1e-14)


def test_the_start_takes_the_columns_for_the_sources():
    x = jnp.asarray(POINTS[0])
    np.testing.assert_allclose(Ica.start(2).log_likelihood(x), SOURCE.logpdf(POINTS[0]).sum(), rtol=1e-12)


def test_values_have_the_precision_of_parameters_and_point():
    cast = lambda dtype: Ica(jnp.asarray(UNMIXING, dtype))(jnp.asarray(POINTS[0], dtype))  # noqa: E731
    double, single = cast(jnp.float64), cast(jnp.float32)
    assert (double.dtype, single.dtype) == (jnp.float64, jnp.float32)
    np.testing.assert_allclose(single, double, rtol=1e-5)


@pytest.mark.parametrize("unmixing", [np.ones((2, 3)), np.ones(2)])
def test_an_unmixing_matrix_that_is_not_square_is_refused(unmixing):
    with pytest.raises(ValueError, match=r"`unmixing` must be an array of floats of shape \(2, 2\), a row a source"):
        Ica(unmixing)
