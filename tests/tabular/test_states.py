"""P(state): exact by the chain rule, and drawn from."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from ptilde.tabular.states import StateDensity, one_hot

NUM_TOKENS = (2, 3, 4)
STATES = np.array(list(itertools.product(*map(range, NUM_TOKENS))), np.int32)
SHARES = np.array([0.3, 0.7, 0.2, 0.5, 0.3, 0.1, 0.2, 0.3, 0.4])


def fresh(key=0):
    return StateDensity(NUM_TOKENS, 16, jnp.log(jnp.asarray(SHARES, jnp.float32)), key=jr.key(key))


def stirred(key=0, size=1.5):
    """A density whose columns depend on each other: the last layer is random too."""
    model = fresh(key)
    weight = size * jr.normal(jr.key(100 + key), model.last.weight.shape)
    return eqx.tree_at(lambda m: m.last.weight, model, weight)


def log_probs(model, states=STATES):
    return np.asarray(eqx.filter_jit(eqx.filter_vmap(lambda m, s: m.log_prob(s), in_axes=(None, 0)))(model, states))


@pytest.mark.parametrize("key", range(5))
def test_probabilities_of_all_states_add_to_one(key):
    model = stirred(key)
    log_p = log_probs(model)
    assert log_p.max() - log_p.min() > 2  # the weights matter
    assert abs(np.exp(log_p.astype(float)).sum() - 1) < 1e-5


@pytest.mark.parametrize("key", range(3))
def test_log_prob_is_the_product_of_the_conditionals(key):
    model, starts = stirred(key), np.r_[0, np.cumsum(NUM_TOKENS)]
    for state in STATES[::5]:
        product = 1.0
        for k in range(len(NUM_TOKENS)):
            known = jnp.asarray(np.where(np.arange(len(NUM_TOKENS)) < k, state, 0))  # what is not known cannot help
            law = np.exp(model(known, jnp.arange(len(NUM_TOKENS)) < k)[starts[k] : starts[k + 1]])
            np.testing.assert_allclose(law.sum(), 1.0, rtol=1e-5)
            product *= law[state[k]]
        np.testing.assert_allclose(np.exp(model.log_prob(jnp.asarray(state))), product, rtol=1e-5)


def test_hidden_columns_are_not_seen_and_observed_ones_are():
    model, observed = stirred(), jnp.array([True, False, True])
    laws = np.array([model(jnp.asarray(s), observed) for s in STATES.reshape(*NUM_TOKENS, 3)[1, :, 2]])
    np.testing.assert_array_equal(laws, laws[[0]].repeat(3, 0))
    other = np.asarray(model(jnp.array([0, 0, 2]), observed))
    assert np.abs(other - laws[0]).max() > 0.1


def test_at_the_start_the_columns_are_independent_with_the_shares_given():
    by_column = np.split(SHARES, np.cumsum(NUM_TOKENS)[:-1])
    product = [np.prod([share[t] for share, t in zip(by_column, state, strict=True)]) for state in STATES]
    np.testing.assert_allclose(np.exp(log_probs(fresh())), product, rtol=1e-5)


def chi_square(model, counts):
    expected = counts.sum() * np.exp(log_probs(model).astype(float))
    pooled = expected < 5  # too few for the approximation
    observed = np.r_[counts[~pooled], counts[pooled].sum()]
    expected = np.r_[expected[~pooled], expected[pooled].sum()]
    keep = expected > 0
    observed, expected = observed[keep], expected[keep]
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


def test_draws_follow_the_law_and_no_other():
    """The statistic fails right draws with chance 1e-5, and sees the weights of the last layer a tenth too small."""
    model = stirred()
    draws = np.asarray(jax.jit(jax.vmap(model.sample))(jr.split(jr.key(7), 40_000)))
    counts = np.bincount(np.ravel_multi_index(draws.T, NUM_TOKENS), minlength=len(STATES))
    assert chi_square(model, counts) > 1e-5
    perturbed = eqx.tree_at(lambda m: m.last.weight, model, model.last.weight * 0.9)
    assert chi_square(perturbed, counts) < 1e-5


def test_one_hot_marks_one_token_of_each_column():
    got = np.array([one_hot(jnp.asarray(s), NUM_TOKENS) for s in STATES])
    wanted = np.concatenate([np.eye(n)[STATES[:, k]] for k, n in enumerate(NUM_TOKENS)], axis=1)
    np.testing.assert_array_equal(got, wanted)


def test_log_probs_far_from_zero_stay_finite():
    model = stirred(size=300.0)
    log_p = log_probs(model)
    assert np.all(np.isfinite(log_p)) and log_p.min() < -100
    assert abs(np.exp(log_p.astype(float)).sum() - 1) < 1e-4  # logits of a thousand have four digits less in float32
