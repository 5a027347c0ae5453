"""Draws given some cells, against conditional laws that are known by enumeration and linear algebra."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import COVARIANCE
from joint_densities import LAYOUT, LOW, ONE_COLUMN, STATES, joint_density
from scipy.special import softmax
from scipy.stats import multivariate_normal, norm

from ptilde.conditional import chain
from ptilde.conditional.chain import Cells, redraw, reweighted
from ptilde.conditional.proposal import Proposal
from ptilde.joint import JointDensity
from ptilde.strata import Layout

CELLS = Cells(np.array([0, 1, -1]), np.array([0, 1, 2]))  # three columns: two with a choice, one that is always there
JOINT, ROWS = joint_density(), 1500
COEFFICIENTS = JOINT.amounts.gaussian.coefficients.astype(float)
BLURRED = COVARIANCE + LOW**2 * np.eye(3)


@pytest.fixture(scope="module")
def proposal():
    return Proposal.of(JOINT, LAYOUT, jr.key(0))


def means(state):
    hot = np.concatenate([np.ones((len(state), 1)), np.eye(3)[state[:, 0]], np.eye(2)[state[:, 1]]], axis=1)
    return hot @ COEFFICIENTS.T


VALUE = float(means(np.array([[2, 1]]))[0, 2]) + 0.2  # of the third column, where it is fixed


def test_given_one_amount_states_and_amounts_have_their_conditional_law(proposal):
    # P(s | z3) ∝ P(s) N(z3; m3(s), C33), and the others given s and z3 are Gaussian.
    free = np.tile([True, True, False], (ROWS, 1))
    z = np.tile([0.0, 0.0, VALUE], (ROWS, 1))
    drawn = redraw(JOINT, proposal, CELLS, free, np.zeros((ROWS, 2), np.int32), z, jr.key(1))
    assert np.all(drawn.z[:, 2] == VALUE)
    log_states = np.asarray(jax.vmap(JOINT.states.log_prob)(STATES))
    expected = softmax(log_states + norm.logpdf(VALUE, means(STATES)[:, 2], np.sqrt(BLURRED[2, 2])))
    share = np.array([(drawn.state == s).all(1).mean() for s in STATES])
    np.testing.assert_allclose(share, expected, atol=4.5 * 0.5 / np.sqrt(ROWS))
    both = (drawn.state == [2, 1]).all(1)
    gain = BLURRED[:2, 2] / BLURRED[2, 2]
    mean = means(np.array([[2, 1]]))[0]
    centre = mean[:2] + gain * (VALUE - mean[2])
    spread = BLURRED[:2, :2] - np.outer(gain, BLURRED[2, :2])
    found = drawn.z[both][:, :2]
    assert len(found) > 50
    np.testing.assert_allclose(found.mean(0), centre, atol=4.5 * np.sqrt(spread.max() / len(found)))
    np.testing.assert_allclose(np.cov(found.T), spread, atol=6 * spread.max() / np.sqrt(len(found)))


def test_a_body_may_be_drawn_given_an_atom_and_an_atom_given_a_body(proposal):
    free = np.tile([True, False, False], (ROWS, 1))
    state = np.tile(np.array([[0, 1]], np.int32), (ROWS, 1))
    z = np.tile([0.0, -0.3, 0.2], (ROWS, 1))
    drawn = redraw(JOINT, proposal, CELLS, free, state, z, jr.key(2))
    assert np.all(drawn.state[:, 1] == 1) and np.all(drawn.z[:, 1:] == [-0.3, 0.2])
    options = np.array([[0, 1], [1, 1], [2, 1]])
    log_states = np.asarray(jax.vmap(JOINT.states.log_prob)(options))
    log_z = [multivariate_normal.logpdf([-0.3, 0.2], m[1:], BLURRED[1:, 1:]) for m in means(options)]
    share = np.array([(drawn.state[:, 0] == s).mean() for s in range(3)])
    np.testing.assert_allclose(share, softmax(log_states + np.array(log_z)), atol=4.5 * 0.5 / np.sqrt(ROWS))
    assert np.all((drawn.z[:, 0] != 0) == (drawn.state[:, 0] == 2))


def test_a_ratio_that_forgets_the_proposal_is_seen(proposal, monkeypatch):
    # The sibling of the first test: resampling by p alone.
    monkeypatch.setattr("ptilde.conditional.proposal._log_t", lambda noise, inside, root: jnp.zeros(()))
    jax.clear_caches()
    free = np.tile([True, True, False], (ROWS, 1))
    z = np.tile([0.0, 0.0, VALUE], (ROWS, 1))
    drawn = redraw(JOINT, proposal, CELLS, free, np.zeros((ROWS, 2), np.int32), z, jr.key(1))
    jax.clear_caches()
    both = (drawn.state == [2, 1]).all(1)
    gain = BLURRED[:2, 2] / BLURRED[2, 2]
    spread = BLURRED[:2, :2] - np.outer(gain, BLURRED[2, :2])
    assert np.cov(drawn.z[both][:, :2].T).trace() < 0.9 * spread.trace()


def test_what_a_row_gets_does_not_depend_on_the_rows_beside_it(proposal):
    free = np.random.default_rng(0).random((300, 3)) < 0.6
    state, z = np.zeros((300, 2), np.int32), np.zeros((300, 3))
    whole = redraw(JOINT, proposal, CELLS, free, state, z, jr.key(3))
    same = free.sum(1).argmax()
    part = redraw(JOINT, proposal, CELLS, free[: same + 1], state[: same + 1], z[: same + 1], jr.key(3))
    np.testing.assert_array_equal(part.state, whole.state[: same + 1])
    np.testing.assert_allclose(part.z, whole.z[: same + 1], atol=1e-6)


def test_blocks_are_parts_of_what_is_free():
    luck = np.where(np.tile([True] * 6 + [False] * 2, (50, 1)), np.random.default_rng(0).random((50, 8)), -1.0)
    some = chain._some(luck)
    assert np.all(some.sum(1) == chain.MOST_CELLS) and not some[:, 6:].any()
    assert set(some[:, :6].sum(0) > 0) == {True}


# Weights


def test_a_condition_is_kept_and_the_rest_is_as_the_law_given_the_condition(proposal):
    z = JOINT.draw_amounts(JOINT.draw_states(20_000, jr.key(5)), jr.key(6))[:, 2]
    limit = np.quantile(z, 0.7)
    above = lambda state, z: np.where(z[:, 2] > limit, 0.0, -np.inf)  # noqa: E731
    drawn = reweighted(JOINT, proposal, CELLS, 2000, above, jr.key(4))
    assert np.all(drawn.z[:, 2] > limit)
    expected = z[z > limit]
    np.testing.assert_allclose(drawn.z[:, 2].mean(), expected.mean(), atol=5 * expected.std() / np.sqrt(2000))


def test_a_tilt_moves_a_gaussian_by_its_variance(proposal):
    # p(z) exp(t z) with z ~ N(m(s), v) given s: N(m + t v, v), and P(s) ∝ P(s) exp(t m(s)).
    tilt = 0.7
    drawn = reweighted(JOINT, proposal, CELLS, ROWS, lambda state, z: tilt * z[:, 2], jr.key(7))
    log_states = np.asarray(jax.vmap(JOINT.states.log_prob)(STATES)) + tilt * means(STATES)[:, 2]
    share = np.array([(drawn.state == s).all(1).mean() for s in STATES])
    np.testing.assert_allclose(share, softmax(log_states), atol=4.5 * 0.5 / np.sqrt(ROWS))
    residual = drawn.z[:, 2] - means(drawn.state)[:, 2]
    v = BLURRED[2, 2]
    np.testing.assert_allclose(residual.mean(), tilt * v, atol=4.5 * np.sqrt(v / ROWS))
    np.testing.assert_allclose(residual.var(), v, atol=6 * v / np.sqrt(ROWS))


def test_a_rare_condition_is_reached_by_a_chain_from_the_few_draws_that_meet_it(proposal, monkeypatch):
    monkeypatch.setattr(chain, "_MOST_POOLS", 1)
    limit = float(np.quantile(JOINT.draw_amounts(JOINT.draw_states(20_000, jr.key(8)), jr.key(9))[:, 2], 0.99))
    above = lambda state, z: np.where(z[:, 2] > limit, 0.0, -np.inf)  # noqa: E731
    drawn = reweighted(JOINT, proposal, CELLS, 2000, above, jr.key(10))
    assert np.all(drawn.z[:, 2] > limit) and len(np.unique(drawn.z[:, 2])) > 1500
    state = JOINT.draw_states(200_000, jr.key(11))
    excess = means(state)[:, 2] + np.sqrt(BLURRED[2, 2]) * np.random.default_rng(0).normal(size=len(state)) - limit
    excess = excess[excess > 0]
    np.testing.assert_allclose(drawn.z[:, 2].mean() - limit, excess.mean(), atol=6 * excess.std() / np.sqrt(1000))


def test_a_condition_that_nothing_meets_gives_no_rows(proposal, monkeypatch):
    monkeypatch.setattr(chain, "_MOST_POOLS", 1)
    never = lambda state, z: np.full(len(state), -np.inf)  # noqa: E731
    assert len(reweighted(JOINT, proposal, CELLS, 5, never, jr.key(12)).state) == 0


def test_a_law_of_states_alone_is_conditioned_exactly():
    states = joint_density().states
    joint, layout = JointDensity(states, None), Layout(LAYOUT.num_tokens, ())
    proposal = Proposal.of(joint, layout, jr.key(0))
    free, cells = np.tile([True, False], (ROWS, 1)), Cells(np.array([0, 1]), np.array([-1, -1]))
    state = np.tile(np.array([[0, 1]], np.int32), (ROWS, 1))
    drawn = redraw(joint, proposal, cells, free, state, np.zeros((ROWS, 0)), jr.key(13))
    share = np.array([(drawn.state[:, 0] == s).mean() for s in range(3)])
    expected = softmax(np.asarray(jax.vmap(states.log_prob)(np.array([[0, 1], [1, 1], [2, 1]]))))
    np.testing.assert_allclose(share, expected, atol=4.5 * 0.5 / np.sqrt(ROWS))


def test_a_law_of_one_amount_alone_is_tilted_exactly():
    joint, cells = joint_density(layout=ONE_COLUMN), Cells(np.array([-1]), np.array([0]))
    proposal = Proposal.of(joint, ONE_COLUMN, jr.key(0))
    drawn = reweighted(joint, proposal, cells, ROWS, lambda state, z: z[:, 0], jr.key(14))
    mean, v = joint.amounts.gaussian.coefficients[0, 0], BLURRED[0, 0]
    np.testing.assert_allclose(drawn.z.mean(), mean + v, atol=4.5 * np.sqrt(v / ROWS))
