"""States and amounts joined: exact at the Gaussian start, the same for a row whatever lies beside it."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import COVARIANCE, shaken
from scipy.stats import multivariate_normal

from ptilde import joint
from ptilde.joint import BLOCK, JointDensity
from ptilde.models import NoiseConditionalDensity
from ptilde.normalizer import importance
from ptilde.strata import Gaussian, Layout
from ptilde.tabular.states import StateDensity

LAYOUT = Layout((3, 2), ((0, 2), (1, 1), None))
STATES = np.array(list(itertools.product(range(3), range(2))), np.int32)
LOW, HIGH = 0.02, 10.0


def density(scale=0.0, layout=LAYOUT):
    """A joint density whose amounts are Gaussian, or moved away from it by weights of some scale."""
    total, dim = sum(layout.num_tokens), len(layout.bodies)
    states = amounts = gaussian = None
    if layout.num_tokens:
        states = shaken(StateDensity(layout.num_tokens, 8, jnp.zeros(total), key=jr.key(0)), scale=0.5)
    if layout.bodies:
        amounts = shaken(NoiseConditionalDensity(dim, total, 8, 1, key=jr.key(1)), scale=scale) if scale else None
        amounts = amounts or NoiseConditionalDensity(dim, total, 8, 1, key=jr.key(1))
        coefficients = np.random.default_rng(0).normal(size=(dim, 1 + total)).astype(np.float32)
        gaussian = Gaussian(coefficients, COVARIANCE[:dim, :dim].astype(np.float32), dim > 1)
    return JointDensity(layout, states, amounts, gaussian, jnp.log(jnp.array([LOW, HIGH])))


@pytest.fixture(scope="module")
def at_start():
    return density()


@pytest.fixture(scope="module")
def moved():
    return density(scale=0.1)


def rows(n, seed=0, states=STATES):
    rng = np.random.default_rng(seed)
    state = states[rng.integers(len(states), size=n)]
    return state, rng.normal(size=(n, 3)) * LAYOUT.active_rows(state)


def of_amounts(model, state, z, sigma=LOW):
    """log p(z | state) and its gradient at the Gaussian start, by scipy and NumPy."""
    active = LAYOUT.active_rows(state)
    hot = np.concatenate([np.ones((len(z), 1))] + [np.eye(n)[state[:, k]] for k, n in enumerate(LAYOUT.num_tokens)], 1)
    mean = hot @ model.gaussian.coefficients.T
    value, gradient = np.zeros(len(z)), np.zeros(z.shape)
    for i, on in enumerate(active):
        block = COVARIANCE[np.ix_(on, on)] + sigma**2 * np.eye(on.sum())
        value[i] = multivariate_normal(mean[i, on], block).logpdf(z[i, on])
        gradient[i, on] = -np.linalg.solve(block, z[i, on] - mean[i, on])
    return value, gradient


def test_the_probabilities_of_all_states_sum_to_one(at_start):
    np.testing.assert_allclose(np.exp(at_start._log_states(STATES)).sum(), 1, rtol=1e-5)


def test_it_is_the_law_of_the_state_times_the_law_of_the_amounts_and_its_gradient_that_of_the_amounts(at_start):
    state, z = rows(50)
    value, gradient = of_amounts(at_start, state, z)
    by_state = jax.vmap(at_start.states.log_prob)(jnp.asarray(state))
    np.testing.assert_allclose(at_start.log_prob(state, z), by_state + value, rtol=1e-4, atol=1e-4)  # float32
    np.testing.assert_allclose(at_start.gradient(state, z), gradient, rtol=1e-3, atol=1e-3)


def test_the_flow_is_another_route_to_the_same_density(at_start):
    state, z = rows(20)
    value, error = at_start.flow_log_prob(state, z, jr.key(0))
    np.testing.assert_allclose(value, at_start.log_prob(state, z), rtol=1e-3)
    assert np.all(np.abs(value - at_start.log_prob(state, z)) <= 2 * error + 1e-3)


def test_a_value_does_not_depend_on_the_rows_beside_it(moved):
    state, z = rows(BLOCK + 7)
    whole = moved.log_prob(state, z)
    np.testing.assert_array_equal(moved.log_prob(state[::-1], z[::-1])[::-1], whole)
    # With fewer patterns the base has another layout: the same up to rounding.
    np.testing.assert_allclose(moved.log_prob(state[-3:], z[-3:]), whole[-3:], rtol=1e-5, atol=1e-5)


def test_spans_that_bound_the_memory_change_nothing(moved, monkeypatch):
    state, z = rows(3 * BLOCK)
    whole = moved.log_prob(state, z)
    monkeypatch.setattr(joint, "MOST_ROTATION", 1)
    assert len(list(moved._spans(len(z)))) == 3
    np.testing.assert_allclose(moved.log_prob(state, z), whole, rtol=1e-6, atol=1e-6)


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
    assert share_statistic(moved, moved._log_states(STATES)) < 31


def test_drawn_states_of_another_law_would_be_seen(moved):
    exact = np.exp(moved._log_states(STATES)) + np.array([0.03, -0.03, 0, 0, 0, 0])
    assert share_statistic(moved, np.log(exact)) > 31


def test_the_ratio_certifies_a_density_that_is_normalised_and_measures_one_that_is_not(at_start):
    def off(model, expected):
        value, error = importance(model.log_ratio(2000, jr.key(7)))
        return abs(value - expected) / (error + 1e-4)

    assert off(at_start, 0.0) < 4.5  # false alarm 7e-6
    assert off(at_start, 0.02) > 4.5
    # A level head of one adds √Σr·(1 + log(1 + σ⁻²)) to log p in every state, whose mass is then known.
    tilted = eqx.tree_at(lambda m: m.amounts.network.last.bias, at_start, jnp.array([0.0, 0.0, 0.0, 0.1]))
    share = np.exp(at_start._log_states(STATES))
    lift = 0.1 * np.sqrt(signal(STATES)) * (1 + np.log1p(LOW**-2.0))
    assert off(tilted, np.log(share @ np.exp(lift))) < 4.5


def signal(state):
    """Σr of the active block of each state: tr C(C + σ²I)⁻¹."""
    blocks = [COVARIANCE[np.ix_(on, on)] for on in LAYOUT.active_rows(state)]
    return np.array([np.trace(b @ np.linalg.inv(b + LOW**2 * np.eye(len(b)))) for b in blocks])


def test_without_amounts_it_is_the_law_of_the_state_and_without_states_that_of_the_amounts():
    of_states = density(layout=Layout((3, 2), ()))
    nothing = np.zeros((6, 0))
    np.testing.assert_array_equal(of_states.log_prob(STATES, nothing), of_states._log_states(STATES))
    np.testing.assert_array_equal(of_states.flow_log_prob(STATES, nothing, jr.key(0))[0], of_states._log_states(STATES))
    np.testing.assert_array_equal(of_states.log_ratio(5, jr.key(0)), 0)
    assert of_states.draw_amounts(STATES, jr.key(0)).shape == of_states.gradient(STATES, nothing).shape == (6, 0)

    of_bodies, state = density(layout=Layout((), (None, None))), np.zeros((8, 0), np.int32)
    z = np.random.default_rng(0).normal(size=(8, 2))
    exact = multivariate_normal(of_bodies.gaussian.coefficients[:, 0], COVARIANCE[:2, :2] + LOW**2 * np.eye(2))
    np.testing.assert_allclose(of_bodies.log_prob(state, z), exact.logpdf(z), rtol=1e-4, atol=1e-4)
    assert of_bodies.draw_states(8, jr.key(0)).shape == (8, 0)
