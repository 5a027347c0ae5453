"""Probability transforms and ranks: uniform where a law is right, and visibly not where it is wrong."""

import numpy as np
import pytest
from scipy import stats

from ptilde import diagnostics as d


def rng(*seed):
    return np.random.default_rng(seed)


def hurdle(seed, n=3000):
    """Values that are 0 with probability 0.6 and exponential else, with F(y) and F(y⁻)."""
    y = np.where(rng(seed).random(n) < 0.6, 0.0, rng(seed, 1).exponential(size=n))
    at_most = 0.6 + 0.4 * stats.expon.cdf(y)
    return y, at_most, np.where(y == 0, 0.0, at_most)


def test_the_transform_of_a_continuous_law_is_its_distribution_function():
    cdf = rng(1).random(50)
    assert np.array_equal(d.pit(cdf), cdf)
    assert d.quantile_residuals(cdf) == pytest.approx(stats.norm.ppf(cdf), abs=1e-12)
    assert np.isfinite(d.quantile_residuals([0.0, 1.0])).all()


@pytest.mark.parametrize("num_bins", [None, 20])
def test_atoms_are_spread_over_their_jumps_and_a_wrong_mass_is_seen(num_bins):
    y, at_most, below = hurdle(2)
    u = d.pit(at_most, below)
    assert d.uniformity_test(u, num_bins=num_bins).p_value > 1e-3
    assert d.uniformity_test(at_most, num_bins=num_bins).p_value < 1e-6  # without the jump
    wrong = d.pit(at_most * 0.5 / 0.6, below * 0.5 / 0.6)
    assert d.uniformity_test(wrong, num_bins=num_bins).p_value < 1e-6
    assert np.all((u >= below) & (u <= at_most))


def test_a_gridded_column_is_uniform_after_the_transform():
    y = rng(3).poisson(2.5, size=3000)
    u = d.pit(stats.poisson.cdf(y, 2.5), stats.poisson.cdf(y - 1, 2.5))
    assert d.uniformity_test(u).p_value > 1e-3
    wrong = d.pit(stats.poisson.cdf(y, 2.8), stats.poisson.cdf(y - 1, 2.8))
    assert d.uniformity_test(wrong).p_value < 1e-6
    residuals = d.quantile_residuals(stats.poisson.cdf(y, 2.5), stats.poisson.cdf(y - 1, 2.5))
    assert stats.kstest(residuals, "norm").pvalue > 1e-3


def test_uniformity_is_tested_as_scipy_does_by_hand():
    u = np.array([0.05, 0.3, 0.31, 0.9])
    found = d.uniformity_test(u, num_bins=2)
    assert found == pytest.approx((1.0, stats.chi2.sf(1.0, 1)))  # three and one where two and two are expected
    # The largest gap is just after the third value, where 3/4 of them lie below 0.31.
    assert d.uniformity_test(u).statistic == pytest.approx(0.75 - 0.31)


def test_functions_that_fall_or_leave_the_unit_interval_are_refused():
    with pytest.raises(ValueError, match="must rise within .0, 1.; got 0.5 and 0.4 in row 1"):
        d.pit([0.2, 0.4], [0.1, 0.5])
    with pytest.raises(ValueError, match="`u` must hold numbers in"):
        d.uniformity_test([0.5, np.nan])


def posterior_ranks(seed, num=400, num_draws=63, wrong_spread=1.0, shift=0.0):
    """Of normal means with a normal prior: θ ~ N(0, 1), y ~ N(θ, 1), posterior N(y/2, 1/2)."""
    g = rng(4, seed)
    theta = g.normal(size=num)
    y = theta + g.normal(size=num)
    draws = (y / 2 + shift)[:, None] + wrong_spread * np.sqrt(0.5) * g.normal(size=(num, num_draws))
    return d.ranks_among(theta, draws, seed=seed)


def test_a_right_posterior_stays_in_the_band_as_often_as_it_says():
    inside, small = 0, 0
    for seed in range(150):
        result = d.simulation_calibration(posterior_ranks(seed), 63, num_simulations=300)
        curve = result.ecdf[:, 0]
        inside += np.all((result.low <= curve) & (curve <= result.high))
        small += result.p_values[0] <= 0.05
    assert stats.binom.ppf(5e-6, 150, 0.94) <= inside  # γ from 300 simulations is itself uncertain by .013
    assert small <= stats.binom.isf(5e-6, 150, 0.06)


@pytest.mark.parametrize("wrong", [{"wrong_spread": 0.75}, {"wrong_spread": 1.4}, {"shift": 0.3}], ids=str)
def test_a_posterior_that_is_narrow_wide_or_shifted_leaves_the_band(wrong):
    ranks = np.column_stack([posterior_ranks(1), posterior_ranks(1, **wrong)])
    result = d.simulation_calibration(ranks, 63)
    right, left = ((result.low <= curve) & (curve <= result.high) for curve in result.ecdf.T)
    assert right.all() and not left.all()
    assert result.p_values[1] < 1e-3 < result.p_values[0]


def test_the_band_is_wider_than_a_binomial_interval_and_near_the_ends_narrower_than_kolmogorovs():
    result = d.simulation_calibration(np.arange(200) % 100, 99)
    half = (result.high - result.low) / 2
    middle = np.argmin(np.abs(result.points - 0.5))
    assert half[middle] > 1.96 * np.sqrt(0.25 / 200)
    assert max(half[0], half[-1]) < 0.5 * stats.kstwo.ppf(0.95, 200)
    assert result.ecdf[:, 0] == pytest.approx(result.points, abs=1e-12)


def test_ranks_count_draws_below_and_break_ties_at_random():
    draws = np.arange(10.0)[None].repeat(3000, 0)
    assert np.all(d.ranks_among(np.full(3000, 4.5), draws) == 5)
    tied = d.ranks_among(np.full(3000, 2.0), np.full((3000, 4), 2.0))
    assert stats.chisquare(np.bincount(tied, minlength=5)).pvalue > 1e-5
    two = d.ranks_among(np.array([[0.5, 8.5]]), np.stack([draws[:1], draws[:1]], axis=-1))
    assert two.tolist() == [[1, 9]]


def test_coverage_counts_intervals_that_hold_the_truth():
    low, high = np.array([0, 0, 2, -1]), np.array([1, 0.5, 3, 2])
    found = d.coverage(low, high, 0.7)
    exact = stats.binomtest(2, 4).proportion_ci()
    assert found == pytest.approx((0.5, exact.low, exact.high))


def test_ranks_beyond_the_draws_are_refused():
    with pytest.raises(ValueError, match="`ranks` must be whole numbers from 0 to 9; got 0 to 10"):
        d.simulation_calibration([0, 10], 9)
