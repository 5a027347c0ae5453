"""The kernel Stein test: its kernel by derivatives, its mean by quadrature, its level by replicates, what it sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from ptilde import diagnostics as d
from ptilde.diagnostics import ksd, quadratic
from ptilde.diagnostics.kernels import median_distance, stein, stein_diagonal

KERNELS = [d.Imq(1.3), d.Imq(0.7, beta=-0.2), d.GaussianKernel(0.9)]


def rng(*seed):
    return np.random.default_rng(seed)


def pairs(kernel, score, x):
    return stein(kernel, x, score(x), x, score(x))


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_stein_kernel_is_made_of_derivatives_of_the_kernel(kernel):
    x, y, s, r = rng(1).normal(size=(4, 3))
    with jax.enable_x64(True):
        beta = getattr(kernel, "beta", None)

        def k(x, y):
            t = jnp.sum((x - y) ** 2) / kernel.bandwidth**2
            return jnp.exp(-t / 2) if beta is None else (1 + t) ** beta

        by_x, by_y = jax.grad(k)(x, y), jax.grad(k, 1)(x, y)
        both = jnp.trace(jax.jacfwd(jax.grad(k), 1)(x, y))
        expected = float(s @ r * k(x, y) + s @ by_y + r @ by_x + both)
    assert stein(kernel, x[None], s[None], y[None], r[None]).item() == pytest.approx(expected, rel=1e-12)
    diagonal = stein(kernel, x[None], s[None], x[None], s[None]).item()
    assert stein_diagonal(kernel, s[None]).item() == pytest.approx(diagonal, rel=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_stein_kernel_has_mean_zero_under_its_density_and_not_under_another(kernel):
    x = np.linspace(-12, 12, 4001)[:, None]
    weight = np.exp(-0.5 * x[:, 0] ** 2) * (x[1] - x[0]) / np.sqrt(2 * np.pi)
    y = np.array([[-1.5], [0.2], [2.0]])
    assert stein(kernel, y, -y, x, -x) @ weight == pytest.approx(0, abs=1e-12)
    assert np.all(np.abs(stein(kernel, y, -1.1 * y, x, -1.1 * x) @ weight) > 1e-3)


def test_the_discrepancy_of_a_shifted_normal_is_its_closed_form():
    # The scores differ by m everywhere, so the discrepancy is m² E k(x, y) = m² h / sqrt(h² + 2).
    m, h = 0.4, 0.8
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    x, weight = node[:, None] + m, weight / weight.sum()
    value = weight @ pairs(d.GaussianKernel(h), np.negative, x) @ weight
    assert value == pytest.approx(m**2 * h / np.sqrt(h**2 + 2), rel=1e-10)
    drawn = rng(2).normal(m, size=3000)
    assert d.ksd_test(drawn, -drawn, kernel=d.GaussianKernel(h)).statistic == pytest.approx(value, rel=0.2)


def test_the_statistic_is_the_mean_over_pairs_within_blocks_however_rows_are_sliced(monkeypatch):
    x = rng(3).normal(size=(43, 2))
    kernel = d.Imq(1.0)

    def by_hand(rows):
        u = pairs(kernel, np.negative, rows)
        return (u.sum() - np.trace(u)) / (len(rows) * (len(rows) - 1))

    def statistic(block_size):
        return ksd.signed_means([kernel], x, -x, 9, rng(4), block_size)[0][0, 0]

    for entries in (2_000_000, 50):
        monkeypatch.setattr(quadratic, "ENTRIES", entries)
        monkeypatch.setattr(ksd, "ENTRIES", entries)
        assert statistic(None) == pytest.approx(by_hand(x), rel=1e-12)
        for size in (2, 8):
            blocks = [by_hand(x[i : i + size]) for i in range(0, 43 - size + 1, size)]
            assert statistic(size) == pytest.approx(np.mean(blocks), rel=1e-12)


def test_signs_change_the_statistic_by_the_form_they_say():
    x, signs = rng(5).normal(size=(20, 1)), rng(6).choice([-1.0, 1.0], (3, 20))
    u = pairs(d.Imq(1.0), np.negative, x)
    total, sums = quadratic.forms(lambda rows: u[rows], signs)
    assert total == pytest.approx([e @ u @ e for e in signs], rel=1e-12)
    assert sums == pytest.approx(u.sum(1), rel=1e-12)


def rejections(replicates, draw, score, **options):
    """How many replicates have a p-value of 5 % at most."""
    count = 0
    for r in range(replicates):
        x = draw(rng(7, r))
        count += d.ksd_test(x, score(x), num_signs=99, seed=r, **options).p_value <= 0.05
    return count


def level_holds(count, replicates, level=0.05, alarm=1e-5):
    return binom.ppf(alarm / 2, replicates, level) <= count <= binom.isf(alarm / 2, replicates, level)


@pytest.mark.parametrize("options", [{}, {"block_size": 10}, {"factors": (0.25, 1, 4)}], ids=str)
def test_the_level_holds_and_a_wider_law_is_seen(options):
    normal = lambda g: g.normal(size=(60, 2))  # noqa: E731
    assert level_holds(rejections(300, normal, np.negative, **options), 300)
    seen = rejections(40, lambda g: 2.5 * g.normal(size=(60, 2)), np.negative, **options)
    assert seen > binom.isf(1e-5, 40, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [d.Imq(), d.GaussianKernel()], ids=str)
def test_the_error_of_the_first_kind_is_five_per_cent_within_one(kernel):
    count = rejections(2000, lambda g: g.normal(size=(100, 1)), np.negative, kernel=kernel)
    assert 0.04 <= count / 2000 <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [2, 10])
def test_small_blocks_of_few_rows_reject_too_seldom_and_never_too_often(block_size):
    count = rejections(2000, lambda g: g.normal(size=(100, 1)), np.negative, block_size=block_size)
    assert 0.02 <= count / 2000 <= 0.06


def test_ripples_are_seen_by_several_bandwidths_and_not_by_the_median_alone():
    x = rng(8).normal(size=4000)
    x = x[rng(9).random(4000) < 0.5 + 0.5 * np.sin(12 * x)][:800]
    factors = (0.05, 0.2, 1.0, 4.0)
    assert d.ksd_test(x, -x).p_value > 0.05
    assert d.ksd_test(x, -x, factors=factors).p_value < 0.01
    tuned = d.ksd_test(x, -x, factors=factors, tune=0.3)
    assert tuned.p_value < 0.01
    assert tuned.num_rows == len(x) - int(0.3 * len(x))
    assert tuned.bandwidth < 0.5 * median_distance(x[:, None], rng(0))


def test_a_narrow_bandwidth_beside_does_not_bury_a_smooth_fault():
    x = rng(14).normal(0.25, size=400)
    narrow = d.ksd_test(x, -x, factors=(0.02,))
    both = d.ksd_test(x, -x, factors=(0.02, 1.0))
    assert narrow.null_spread > 10 * both.null_spread
    assert narrow.p_value > 0.05
    assert both.p_value < 0.01
    chosen = [d.ksd_test(x, -x, factors=(0.02, 1.0), tune=0.5, num_signs=1, seed=seed) for seed in range(8)]
    assert all(test.bandwidth == pytest.approx(both.bandwidth, rel=0.1) for test in chosen)


def test_the_first_of_all_statistics_counts_itself_whatever_its_sign():
    assert ksd.share_above(np.array([-3.0, -1.0, 2.0, 5.0])) == 1.0
    assert ksd.share_above(np.array([3.0, -1.0, 2.0, 5.0])) == 0.5


def test_an_exponential_law_passes_in_its_support_and_fails_without_it():
    x = rng(10).exponential(size=(800, 1))
    score = -np.ones_like(x)
    assert d.ksd_test(x, score, support=[(0, np.inf)]).p_value > 0.01
    assert d.ksd_test(-x, -score, support=[(-np.inf, 0)]) == d.ksd_test(x, score, support=[(0, np.inf)])
    assert d.ksd_test(x, score).p_value < 0.01  # the density does not vanish at 0
    assert d.ksd_test(1.5 * x, score, support=[(0, np.inf)]).p_value < 0.01


def test_a_law_on_an_interval_passes_and_another_does_not():
    x = rng(11).beta(2.0, 3.0, size=(800, 1)) * 4 + 1
    z = (x - 1) / 4
    score = (1 / z - 2 / (1 - z)) / 4
    assert d.ksd_test(x, score, support=[(1, 5)]).p_value > 0.01
    assert d.ksd_test(x, 1.4 * score, support=[(1, 5)]).p_value < 0.01


def test_a_score_may_be_a_function_of_one_point():
    x = rng(12).normal(size=(50, 2))
    given, called = d.ksd_test(x, -x), d.ksd_test(x, lambda point: -point)
    assert called.p_value == given.p_value
    assert called.statistic == pytest.approx(given.statistic, rel=1e-4)  # JAX's single precision


def test_a_long_table_is_cut_into_blocks_by_itself(monkeypatch):
    monkeypatch.setattr(ksd, "PRODUCTS", 1e6)
    x = rng(13).normal(size=2000)
    result = d.ksd_test(x, -x, num_signs=99)
    assert result.block_size * 2000 * 99 <= 2e6
    assert result.p_value > 0.01
    assert d.ksd_test(2 * x, -2 * x, num_signs=99).p_value == 0.01


def test_what_cannot_be_tested_is_refused():
    x = np.zeros((5, 2))
    with pytest.raises(ValueError, match=r"`score` must have a gradient of length 2 for each row; got \(5, 1\)"):
        d.ksd_test(x, np.zeros(5))
    with pytest.raises(ValueError, match="`score` must be finite; got nan in row 3, column 0"):
        d.ksd_test(x, np.array([[0, 0]] * 3 + [[np.nan, 0]] * 2))
    with pytest.raises(ValueError, match=r"column 1 of `x` must lie within \(0, inf\); got 0.0 to 0.0"):
        d.ksd_test(x, x, support=[(-1, 1), (0, np.inf)])
    with pytest.raises(ValueError, match="`support` must have two ends for each of the 2 columns; got 1"):
        d.ksd_test(x, x, support=[(0, 1)])
    with pytest.raises(ValueError, match="`beta` must be between -1 and 0; got 0.5"):
        d.Imq(beta=0.5)
    with pytest.raises(ValueError, match=r"`tune` must be in \[0, 1\)"):
        d.ksd_test(x, x, tune=1.0)
