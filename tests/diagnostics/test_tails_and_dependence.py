"""Tails and dependence: closed forms, scipy's numbers, intervals that cover, and laws that must be told apart."""

import numpy as np
import pytest
from scipy import stats

from ptilde import diagnostics as d


def rng(*seed):
    return np.random.default_rng(seed)


def test_the_mean_excess_is_flat_for_an_exponential_law_and_rises_for_a_pareto_one():
    flat = d.mean_excess(rng(1).exponential(2.0, size=20_000))
    assert len(flat) == 5
    assert all(abs(e.value - 2.0) < 4.5 * e.standard_error for e in flat.values())
    index = 0.25  # E[x - u | x > u] = u ξ/(1 - ξ) for x = U^-ξ
    rising = d.mean_excess(rng(2).random(20_000) ** -index)
    assert all(abs(e.value - u * index / (1 - index)) < 4.5 * e.standard_error for u, e in rising.items())


def test_the_mean_excess_is_exact_on_a_small_example():
    found = d.mean_excess([1.0, 2.0, 4.0, 6.0, np.nan], [2.0, 5.0])
    assert found == {
        2.0: (3.0, pytest.approx(np.sqrt(2) / np.sqrt(2)))
    }  # 2 and 4 above; one value above 5 tells no error


def test_hills_estimate_is_the_mean_of_logarithms():
    x = np.exp([0.0, 1.0, 1.5, 3.0])
    found = d.hill(x, 2)
    assert found.value == pytest.approx(((1.5 - 1) + (3 - 1)) / 2)
    # 2kξ^/ξ is chi-square with 2k degrees of freedom: the ends are where it has its 2.5 % quantiles.
    ends = stats.chi2.cdf([4 * found.value / found.high, 4 * found.value / found.low], 4)
    assert ends == pytest.approx([0.025, 0.975])


def test_hills_interval_covers_the_index_of_a_pareto_law_and_not_that_of_another():
    covered, other = 0, 0
    for seed in range(300):
        found = d.hill(rng(3, seed).random(500) ** -0.5, 100)
        covered += found.low <= 0.5 <= found.high
        other += found.low <= 0.8 <= found.high
    assert stats.binom.ppf(5e-6, 300, 0.95) <= covered <= stats.binom.isf(5e-6, 300, 0.95)
    assert other < 30


def test_a_tail_without_positive_values_is_refused():
    with pytest.raises(ValueError, match="more than `num_largest` = 10 positive values; got 5"):
        d.hill(np.concatenate([np.zeros(50), np.arange(1, 6)]))


def test_rank_correlations_are_scipys():
    x = rng(4).normal(size=(60, 3))
    x[:, 2] = np.round(x[:, 0] + x[:, 2])  # ties
    assert d.spearman(x) == pytest.approx(stats.spearmanr(x).statistic, abs=1e-12)
    assert d.kendall(x)[0, 2] == pytest.approx(stats.kendalltau(x[:, 0], x[:, 2]).statistic, abs=1e-12)
    assert d.kendall(x)[1, 1] == pytest.approx(1)


@pytest.mark.parametrize("correlation", [d.spearman, d.kendall])
def test_a_difference_of_correlations_is_within_its_error_or_seen(correlation):
    link = np.linalg.cholesky([[1, 0.6], [0.6, 1]]).T
    x, same, apart = (
        rng(5).normal(size=(600, 2)) @ link,
        rng(6).normal(size=(600, 2)) @ link,
        rng(7).normal(size=(600, 2)),
    )
    equal, other = (d.compare_correlations(x, y, correlation=correlation, num_resamples=50) for y in (same, apart))
    assert abs(equal.difference[0, 1]) < 4.5 * equal.standard_error[0, 1]
    assert -other.difference[0, 1] > 4.5 * other.standard_error[0, 1]
    assert np.array_equal(other.difference, other.second - other.first)
    if correlation is d.kendall:  # asin(ρ) 2/π for a Gaussian copula
        assert equal.first[0, 1] == pytest.approx(2 / np.pi * np.arcsin(0.6), abs=4.5 * equal.standard_error[0, 1])


def test_the_error_of_an_independent_correlation_is_one_over_the_root_of_the_rows():
    found = d.compare_correlations(*rng(8).normal(size=(2, 400, 2)), num_resamples=200)
    assert found.standard_error[0, 1] == pytest.approx(np.sqrt(2 / 400), rel=0.25)


def test_tail_dependence_of_independent_equal_and_gumbel_columns():
    x, y = rng(9).random((2, 40_000))
    free = d.tail_dependence(x, y)
    assert abs(free.value - 0.05) < 4.5 * free.standard_error
    assert d.tail_dependence(x, x**3).value == 1
    # A Gumbel copula with parameter 2 by its frailty (Kanter 1975): P(U > q, V > q) = 1 - 2q + q^sqrt(2).
    angle, noise = np.pi * rng(10).random(40_000), rng(11).exponential(size=40_000)
    frailty = np.sin(angle / 2) ** 2 / np.sin(angle) ** 2 / noise
    u = np.exp(-np.sqrt(rng(12).exponential(size=(2, 40_000)) / frailty))
    found = d.tail_dependence(*u)
    assert abs(found.value - (1 - 2 * 0.95 + 0.95 ** np.sqrt(2)) / 0.05) < 4.5 * found.standard_error
    lower = d.tail_dependence(*u, upper=False)
    assert abs(lower.value - 0.05 ** (np.sqrt(2) - 1)) < 4.5 * lower.standard_error


def test_a_level_beyond_the_rows_is_refused():
    with pytest.raises(ValueError, match="no row lies beyond the level 0.999 of `x`; got 20 rows"):
        d.tail_dependence(np.arange(20), np.arange(20), level=0.999)
