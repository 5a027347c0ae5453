"""What cells are proposed from: laws that sum and integrate to one, and are those of a second route."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import COVARIANCE
from joint_densities import LAYOUT, STATES, joint_density
from scipy.stats import multivariate_t

from ptilde.conditional.proposal import Block, Proposal, proposed

JOINT = joint_density()
Z = jnp.asarray([0.4, -0.8, 1.1])


def proposal(allowed=(1, 1, 1, 1, 1)):
    coefficients = JOINT.amounts.gaussian.coefficients
    return Proposal(
        JOINT.states,
        LAYOUT,
        jnp.asarray(coefficients),
        jnp.asarray(COVARIANCE, jnp.float32),
        jnp.asarray(allowed, bool),
    )


def tokens_of(*places):
    return Block(jnp.asarray(places), jnp.full(len(places), 3))


def drawn_tokens(law, state, block, num, seed=0):
    draw = lambda key: law.tokens(jnp.asarray(state), block, key)  # noqa: E731
    return map(np.asarray, jax.jit(jax.vmap(draw))(jr.split(jr.key(seed), num)))


@pytest.mark.parametrize("block", [(0, 1), (0, 2), (1, 2), (2, 2)], ids=["both", "first", "second", "none"])
def test_the_tokens_of_a_block_have_probabilities_that_sum_to_one_given_the_others(block):
    law, fixed = proposal(), STATES[3]
    own = np.isin(np.arange(2), block)
    states = np.array([s for s in STATES if (s[~own] == fixed[~own]).all()])
    log_p = np.asarray(jax.vmap(lambda s: law.log_tokens(s, tokens_of(*block)))(states))
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)
    drawn, told = drawn_tokens(law, fixed, tokens_of(*block), 4000)
    which = (drawn[:, None] == states).all(2).argmax(1)
    np.testing.assert_allclose(told, log_p[which], rtol=1e-4, atol=1e-5)
    share = np.bincount(which, minlength=len(states)) / 4000
    np.testing.assert_allclose(share, np.exp(log_p), atol=4.5 * 0.5 / np.sqrt(4000))


def test_all_columns_proposed_at_once_have_the_law_of_the_states_themselves():
    log_p = jax.vmap(lambda s: proposal().log_tokens(s, tokens_of(0, 1)))(STATES)
    np.testing.assert_allclose(log_p, jax.vmap(JOINT.states.log_prob)(STATES), rtol=1e-5)


def test_a_token_that_is_not_allowed_is_never_drawn_and_the_others_share_its_probability():
    free, only = proposal(), proposal((1, 0, 1, 1, 1))
    drawn, _ = drawn_tokens(only, STATES[0], tokens_of(0, 1), 500, seed=1)
    assert set(drawn[:, 0]) == {0, 2}
    share = [float(jnp.exp(law.log_tokens(jnp.asarray([2, 0]), tokens_of(0, 2)))) for law in (only, free)]
    banned = float(jnp.exp(free.log_tokens(jnp.asarray([1, 0]), tokens_of(0, 2))))
    np.testing.assert_allclose(share[0], share[1] / (1 - banned), rtol=1e-5)


@pytest.mark.parametrize("free", [f for f in itertools.product([False, True], repeat=3) if any(f)])
def test_the_density_of_amounts_is_a_t_around_the_conditional_gaussian(free):
    law, places = proposal(), np.pad(np.flatnonzero(free), (0, 3 - sum(free)), constant_values=3)
    block = Block(jnp.full(3, 2), jnp.asarray(places))
    told = jax.jit(lambda tokens: law.log_amounts(tokens, Z, block, law.regression(tokens, block)))
    for tokens in STATES:
        active = np.asarray(LAYOUT.active(tokens)) > 0
        inside, given = np.flatnonzero(active & free), np.flatnonzero(active & ~np.array(free))
        features = np.concatenate([[1.0], np.eye(3)[tokens[0]], np.eye(2)[tokens[1]]])
        mean = JOINT.amounts.gaussian.coefficients @ features
        gain = COVARIANCE[np.ix_(inside, given)] @ np.linalg.inv(COVARIANCE[np.ix_(given, given)])
        centre = mean[inside] + gain @ (Z - mean)[given]
        spread = COVARIANCE[np.ix_(inside, inside)] - gain @ COVARIANCE[np.ix_(given, inside)]
        expected = multivariate_t.logpdf(Z[inside], centre, spread, 5) if inside.size else 0.0
        np.testing.assert_allclose(told(jnp.asarray(tokens)), expected, rtol=2e-4, atol=2e-4)


def test_amounts_are_drawn_from_the_density_that_is_told():
    # E exp(log h - log r) over draws of r is the integral of h: here of a normal density that r covers.
    tokens, block, law = jnp.asarray([2, 1]), Block(jnp.asarray([2, 2]), jnp.asarray([0, 2])), proposal()
    regression = law.regression(tokens, block)
    draw = lambda key: law.amounts(tokens, Z, block, regression, key)  # noqa: E731
    z, log_r = map(np.asarray, jax.jit(jax.vmap(draw))(jr.split(jr.key(2), 20_000)))
    assert np.all(z[:, 1] == Z[1])
    again = jax.jit(jax.vmap(lambda z: law.log_amounts(tokens, z, block, regression)))(jnp.asarray(z))
    np.testing.assert_allclose(log_r, again, rtol=1e-3, atol=1e-3)
    middle = z[:, [0, 2]].mean(0)
    log_h = -0.5 * (((z[:, [0, 2]] - middle) / 0.3) ** 2).sum(1) - np.log(2 * np.pi * 0.09)
    weight = np.exp(log_h - log_r)
    assert abs(weight.mean() - 1) < 4.5 * weight.std() / np.sqrt(len(weight))


def test_what_comes_into_its_body_is_drawn_and_what_leaves_it_is_zero():
    block = Block(*np.tile([[[0]]], (2, 64, 1)))
    state, z = np.tile([0, 1], (64, 1)), np.tile(np.float32([0.0, 0.5, 0.7]), (64, 1))
    tokens, amounts, *_ = map(np.asarray, proposed(proposal(), block, state, z, jr.split(jr.key(3), 64), 8))
    body = tokens[..., 0] == 2
    assert body.any() and not body.all()
    assert np.all(amounts[~body][:, 0] == 0) and np.all(amounts[body][:, 0] != 0)
    assert np.all(amounts[..., 1:] == np.float32([0.5, 0.7])) and np.all(tokens[..., 1] == 1)
