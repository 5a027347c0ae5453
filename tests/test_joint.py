"""States and amounts joined: the law of the state times that of the amounts, or the one that there is."""

import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import COVARIANCE
from joint_densities import LAYOUT, LOW, ONE_COLUMN, STATES, joint_density, rows
from scipy.stats import norm

from ptilde.amounts import BLOCK
from ptilde.strata import Layout


@pytest.fixture(scope="module")
def moved():
    return joint_density(scale=0.2, bend=0.2)


def test_the_probabilities_of_all_states_sum_to_one(moved):
    np.testing.assert_allclose(np.exp(moved.log_states(STATES)).sum(), 1, rtol=1e-5)


def test_it_is_the_law_of_the_state_times_the_law_of_the_amounts_and_its_gradient_that_of_the_amounts(moved):
    state, z = rows(50)
    index = 2 * state[:, 0] + state[:, 1]
    expected = moved.log_states(STATES)[index] + moved.amounts.log_prob(state, z)
    np.testing.assert_allclose(moved.log_prob(state, z), expected, rtol=1e-6)
    np.testing.assert_array_equal(moved.gradient(state, z), moved.amounts.gradient(state, z))


def test_the_first_draws_of_many_are_the_draws_of_few(moved):
    state = moved.draw_states(BLOCK + 5, jr.key(3))
    np.testing.assert_array_equal(moved.draw_states(10, jr.key(3)), state[:10])
    z = moved.draw_amounts(state, jr.key(4))
    np.testing.assert_allclose(moved.draw_amounts(state[:10], jr.key(4)), z[:10], rtol=1e-5, atol=1e-5)
    assert not np.array_equal(moved.draw_states(100, jr.key(5)), state[:100])
    np.testing.assert_array_equal(z[~LAYOUT.active_rows(state)], 0)


def share_statistic(model, exact):
    """χ² of 5,000 drawn states against log probabilities of all six; above 31 with probability 1e-5."""
    drawn = model.draw_states(5000, jr.key(0))
    count = np.array([np.all(drawn == s, 1).sum() for s in STATES])
    return np.sum((count - 5000 * np.exp(exact)) ** 2 / (5000 * np.exp(exact)))


def test_drawn_states_have_the_probabilities_of_the_model(moved):
    assert share_statistic(moved, moved.log_states(STATES)) < 31


def test_drawn_states_of_another_law_would_be_seen(moved):
    exact = np.exp(moved.log_states(STATES)) + np.array([0.03, -0.03, 0, 0, 0, 0])
    assert share_statistic(moved, np.log(exact)) > 31


def test_without_amounts_it_is_the_law_of_the_state():
    of_states = joint_density(layout=Layout((3, 2), ()))
    nothing = np.zeros((6, 0))
    np.testing.assert_array_equal(of_states.log_prob(STATES, nothing), of_states.log_states(STATES))
    np.testing.assert_array_equal(of_states.flow_log_prob(STATES, nothing, jr.key(0))[0], of_states.log_states(STATES))
    np.testing.assert_array_equal(of_states.log_ratio(5, jr.key(0)), 0)
    assert of_states.draw_amounts(STATES, jr.key(0)).shape == of_states.gradient(STATES, nothing).shape == (6, 0)


def test_without_states_it_is_the_law_of_the_amounts():
    of_amounts, state = joint_density(layout=ONE_COLUMN), np.zeros((8, 0), np.int32)
    z = np.random.default_rng(0).normal(size=(8, 1))
    exact = norm(of_amounts.amounts.gaussian.coefficients[0, 0], np.sqrt(COVARIANCE[0, 0] + LOW**2))
    np.testing.assert_allclose(of_amounts.log_prob(state, z), exact.logpdf(z[:, 0]), rtol=1e-5, atol=1e-5)
    assert of_amounts.draw_states(8, jr.key(0)).shape == (8, 0)
