"""log Z by importance sampling: exact where the answer is known, honest about its error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from ptilde.normalizer import effective_sample_size, importance

ratios = st.lists(st.floats(-30, 30), min_size=2, max_size=20)


@given(ratios)
def test_it_is_the_logarithm_of_the_mean_ratio_with_the_error_of_the_mean(log_ratio):
    weight = np.exp(log_ratio)
    value, error = importance(log_ratio)
    np.testing.assert_allclose(value, np.log(weight.mean()), atol=1e-9)
    np.testing.assert_allclose(error, weight.std(ddof=1) / np.sqrt(len(weight)) / weight.mean(), atol=1e-9)


@given(ratios, st.floats(-2000, 2000))
def test_a_factor_moves_the_value_and_leaves_the_error(log_ratio, shift):
    here, there = importance(log_ratio), importance(np.add(log_ratio, shift))
    np.testing.assert_allclose(there.value, here.value + shift, atol=1e-8)
    np.testing.assert_allclose(there.standard_error, here.standard_error, atol=1e-8)


def test_a_proposal_that_is_the_target_knows_z_without_error():
    assert importance(np.full(7, np.log(3.0))) == pytest.approx((np.log(3.0), 0), abs=1e-15)


def errors_in_units_of_their_estimate(divide_error_by=1.0):
    """3·N(0.3, 0.9²) by draws of N(0, 1), 2000 times."""
    x = np.random.default_rng(0).normal(size=(2000, 400))
    found = [importance(r) for r in np.log(3) + norm.logpdf(x, 0.3, 0.9) - norm.logpdf(x)]
    return np.array([(f.value - np.log(3)) * divide_error_by / f.standard_error for f in found])


def variance_is_one(z):
    """Whether it is within five standard errors of one (false alarm 6e-7), and a bit for the delta method."""
    return abs(z.var() - 1) < 5 * np.sqrt(2 / len(z)) + 0.03


def test_the_standard_error_is_the_spread_over_replicates():
    assert variance_is_one(errors_in_units_of_their_estimate())


def test_a_standard_error_off_by_a_fifth_would_be_seen():
    assert not variance_is_one(errors_in_units_of_their_estimate(1.2))
    assert not variance_is_one(errors_in_units_of_their_estimate(1 / 1.2))


def test_the_effective_number_of_draws_counts_equal_weights_and_no_others():
    assert effective_sample_size([2.0] * 5 + [-np.inf] * 3) == pytest.approx(5)
    assert effective_sample_size(np.log([1.0, 3.0])) == pytest.approx(16 / 10)
    assert effective_sample_size([700.0, -700.0]) == pytest.approx(1)


def test_one_draw_has_no_error_to_speak_of():
    with pytest.raises(ValueError, match="`number of draws` must be at least 2; got 1"):
        importance([0.0])
