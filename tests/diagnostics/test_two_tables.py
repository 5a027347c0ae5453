"""MMD, sliced Wasserstein distance and Fisher divergence, against sums by hand and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from ptilde import diagnostics as d


def rng(*seed):
    return np.random.default_rng(seed)


def mmd_by_hand(x, y, kernel):
    """Three double loops over pairs of different rows."""

    def mean(a, b, skip):
        values = [
            kernel(np.sum((u - v) ** 2))[0] for i, u in enumerate(a) for j, v in enumerate(b) if not (skip and i == j)
        ]
        return np.mean(values)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.mark.parametrize("kernel", [d.GaussianKernel(1.2), d.Imq(0.8)])
def test_the_discrepancy_of_two_tables_is_its_sum_over_pairs(kernel):
    x, y = rng(1).normal(size=(13, 2)), rng(2).normal(0.3, size=(9, 2))
    assert d.mmd_test(x, y, kernel=kernel).statistic == pytest.approx(mmd_by_hand(x, y, kernel), rel=1e-10)


def test_the_discrepancy_of_shifted_normals_is_its_closed_form():
    # E k(x - y) for N(m, s²) and a Gaussian kernel: h/sqrt(h² + s²) exp(-m²/(2(h² + s²))), with s² = 2 here.
    m, h = 0.7, 1.1
    spread = h**2 + 2
    exact = 2 * h / np.sqrt(spread) * (1 - np.exp(-(m**2) / (2 * spread)))
    found = d.mmd_test(rng(3).normal(size=2500), rng(4).normal(m, size=2500), kernel=d.GaussianKernel(h))
    assert found.statistic == pytest.approx(exact, rel=0.15)
    assert found.p_value == 1 / 501


def test_permutations_hold_the_level_and_see_a_change_of_dependence():
    count = sum(d.mmd_test(*rng(5, r).normal(size=(2, 30, 2)), num_permutations=99).p_value <= 0.05 for r in range(300))
    assert binom.ppf(5e-6, 300, 0.05) <= count <= binom.isf(5e-6, 300, 0.05)
    z = rng(6).normal(size=(600, 2))
    linked = rng(7).normal(size=(600, 2)) @ np.linalg.cholesky([[1, 0.7], [0.7, 1]]).T
    assert d.mmd_test(z, linked).p_value < 0.01


def test_a_long_table_is_cut_to_the_rows_allowed():
    x = np.concatenate([np.zeros(50), np.ones(50)])
    assert d.mmd_test(x, x, max_rows=3, kernel=d.GaussianKernel(1.0)).p_value > 0.05
    with pytest.raises(ValueError, match="`x` and `y` must have the same columns; got 1 and 2 of them"):
        d.mmd_test(x, np.zeros((5, 2)))


def test_the_sliced_distance_of_a_shift_is_the_mean_of_its_projections():
    x, shift = rng(8).normal(size=(400, 3)), np.array([0.3, -0.4, 0.0])
    found = d.sliced_wasserstein(x, x + shift, num_directions=2000)
    assert abs(found.value - 0.5 / 2) < 4.5 * found.standard_error  # E|cos| = 1/2 on the sphere in three dimensions
    assert found.standard_error == pytest.approx(0.5 / np.sqrt(12 * 2000), rel=0.1)  # |cos| is uniform there
    assert d.sliced_wasserstein(x, x).value == 0


def test_columns_are_compared_one_by_one_in_their_units():
    table = {"a": rng(9).normal(size=50), "word": np.array(["x"] * 50, object), "b": np.arange(50)}
    moved = {**table, "a": table["a"] + 0.5, "b": table["b"] - 7}
    assert d.column_wasserstein(table, moved) == pytest.approx({"a": 0.5, "b": 7.0})


def test_the_fisher_divergence_is_that_of_normals_up_to_their_constant():
    # For N(0, 1) rows and the score of N(m, v): tr ∇s + s²/2 = -1/v + ((x - m)/v)²/2.
    x = rng(10).normal(size=(2000, 1))
    m, v = 0.3, 1.5
    found = d.fisher_divergence(lambda x: -(x - m) / v, x)
    by_hand = -1 / v + ((x[:, 0] - m) / v) ** 2 / 2
    assert found.value == pytest.approx(by_hand.mean(), rel=1e-5)
    assert found.standard_error == pytest.approx(by_hand.std(ddof=1) / np.sqrt(2000), rel=1e-5)


def test_a_difference_of_scores_is_half_the_mean_square_of_their_difference():
    x = rng(11).standard_t(5, size=(500, 2))
    right, wrong = lambda x: -6 * x / (5 + x**2), lambda x: -2.4 * x / (5 + x**2)
    apart = d.fisher_difference(wrong, right, x)
    grid = np.linspace(-200, 200, 400_001)
    density = (1 + grid**2 / 5) ** -3.0
    exact = 2 * 0.5 * np.sum((3.6 * grid / (5 + grid**2)) ** 2 * density) / np.sum(density)  # two columns
    assert abs(apart.value - exact) < 4.5 * apart.standard_error < apart.value
    assert apart.value == pytest.approx(
        d.fisher_divergence(wrong, x).value - d.fisher_divergence(right, x).value, rel=1e-4
    )


def test_near_scores_are_told_apart_far_better_by_rows_than_by_two_means():
    x = rng(11).standard_t(5, size=(500, 2))
    right, near = lambda x: -6 * x / (5 + x**2), lambda x: -5.7 * x / (5 + x**2)
    apart = d.fisher_difference(near, right, x)
    assert apart.standard_error < 0.1 * d.fisher_divergence(right, x).standard_error
    assert d.fisher_difference(jnp.negative, jnp.negative, x).value == 0
