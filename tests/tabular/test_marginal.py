"""Charts and the monotone maps to N(0, 1)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from scipy import stats

from ptilde.tabular.charts import HalfLine, HeavyLine, Line, Segment
from ptilde.tabular.marginal import NUM_KNOTS, Marginal, _knots

LAWS = {
    "normal": ([Line(1.0, 2.0)], stats.norm(1, 3)),
    "t2": ([HeavyLine(0.0, 1.5)], stats.t(2)),
    "lognormal": ([HalfLine()], stats.lognorm(1.5)),
    "gamma": ([HalfLine()], stats.gamma(0.3)),
    "beta": ([Segment(0.0, 1.0)], stats.beta(0.5, 2)),
    "shifted": ([Segment(-3.0, 0.0)], stats.uniform(-3, 3)),
    "laplace": ([Line(0.0, 1.4), HeavyLine(0.0, 1.4)], stats.laplace()),
}
chosen_laws = st.sampled_from(sorted(LAWS))
sizes = st.sampled_from([1, 2, 3, 10, 100, 1000])
seeds = st.integers(0, 100)


def fitted(law, size, seed):
    charts, distribution = LAWS[law]
    x = distribution.rvs(size, random_state=seed)
    return Marginal.fit(charts, x), x


def between_knots(marginal, seed):
    """Values inside every interval of the spline and in both tails."""
    rng = np.random.default_rng(seed)
    z = marginal.knots[1]
    inner = z[:-1] + np.diff(z) * rng.uniform(0.05, 0.95, (5, len(z) - 1))
    return marginal.inverse(
        np.sort(np.r_[inner.ravel(), z[0] - rng.uniform(0.1, 2, 3), z[-1] + rng.uniform(0.1, 2, 3)])
    )


def at_knots(knots, values):
    """The spline on the line with the knots, at values."""
    return Marginal(Line(), knots).forward(values)


@settings(max_examples=60)
@given(chosen_laws, sizes, seeds)
def test_forward_undoes_inverse_far_into_the_tails(law, size, seed):
    marginal, _ = fitted(law, size, seed)
    z = np.linspace(-12, 12, 481)
    x = marginal.inverse(z)
    got, log_slope = marginal.forward(x)
    assert np.all(np.isfinite(x)) and np.all(np.diff(x) >= 0)
    # x is a float: what its last digits are worth in z cannot be had back.
    assert np.all(np.abs(got - z) <= 1e-9 + 4 * np.exp(log_slope) * np.spacing(np.abs(x)))


@settings(max_examples=60)
@given(chosen_laws, sizes, seeds)
def test_inverse_undoes_forward_and_the_map_increases(law, size, seed):
    marginal, x = fitted(law, size, seed)
    x = np.sort(x)
    z, _ = marginal.forward(x)
    assert np.all(np.diff(z) >= 0)
    np.testing.assert_allclose(marginal.inverse(z), x, rtol=1e-11, atol=1e-11 * np.abs(x).max())


@settings(max_examples=60)
@given(chosen_laws, sizes, seeds)
def test_log_slope_and_bend_are_derivatives(law, size, seed):
    marginal, _ = fitted(law, size, seed)
    x = between_knots(marginal, seed)
    log_slope = marginal.forward(x)[1]
    slope = np.exp(log_slope)
    step = np.maximum(1e-5 / slope, 1e-9 * np.abs(x))
    (z_up, log_up), (z_down, log_down) = marginal.forward(x + step), marginal.forward(x - step)
    twice = (x + step) - (x - step)
    rounding = 1e-15 * (1 + np.abs(z_up)) / (slope * twice)
    assert np.all(np.abs((z_up - z_down) / twice / slope - 1) <= 1e-6 + rounding)
    bend = marginal.bend(x)
    difference = (log_up - log_down) / twice
    rounding = 1e-14 * (1 + np.abs(log_slope)) / twice
    assert np.all(np.abs(difference - bend) <= 1e-5 * (np.abs(bend) + slope) + rounding)


@settings(max_examples=40)
@given(chosen_laws, st.sampled_from([3, 100, 1000]), seeds)
def test_the_implied_density_integrates_to_one(law, size, seed):
    marginal, _ = fitted(law, size, seed)
    ends = marginal.inverse(np.unique(np.r_[np.linspace(-9, 9, 145), marginal.knots[1]]))
    nodes, weights = leggauss(20)
    low, width = ends[:-1, None], np.diff(ends)[:, None]
    x = low + width * (nodes + 1) / 2
    inside = np.diff(ends) > 1e6 * np.spacing(np.abs(ends[1:]))  # narrower cells have no room for 20 nodes
    z, log_slope = marginal.forward(x[inside].ravel())
    density = np.exp(stats.norm.logpdf(z) + log_slope).reshape(-1, 20)
    left_out = 1 - np.diff(stats.norm.cdf(marginal.forward(ends)[0]))[inside].sum()
    assert left_out < 1e-6
    assert abs(np.sum(density * weights * width[inside] / 2) + left_out - 1) < 1e-9


@pytest.mark.parametrize("law", LAWS)
def test_tails_do_not_clip(law):
    marginal, x = fitted(law, 500, 0)
    low, high = marginal.inverse(np.array([-8.0, 8.0]))
    assert np.isfinite([low, high]).all()
    assert low < x.min() and x.max() < high


@pytest.mark.parametrize("law", LAWS)
def test_the_implied_density_is_near_the_truth(law):
    charts, distribution = LAWS[law]
    marginal, _ = fitted(law, 4000, 0)
    fresh = distribution.rvs(20_000, random_state=1)
    z, log_slope = marginal.forward(fresh)
    divergence = np.mean(distribution.logpdf(fresh) - stats.norm.logpdf(z) - log_slope)
    assert -0.005 < divergence < 0.03  # its standard error is below 0.002


def test_the_divergence_sees_a_plain_gaussian():
    """The sibling that must fail: two knots on data that are not normal."""
    distribution = LAWS["laplace"][1]
    x = distribution.rvs(4000, random_state=0)
    straight = Marginal(Line(), _knots(np.sort(x), np.ones(len(x)), 2))
    fresh = distribution.rvs(20_000, random_state=1)
    z, log_slope = straight.forward(fresh)
    assert np.mean(distribution.logpdf(fresh) - stats.norm.logpdf(z) - log_slope) > 0.05


@settings(max_examples=30)
@given(st.sampled_from(["lognormal", "gamma", "laplace"]), st.integers(-900, 900), seeds)
def test_a_map_knows_no_unit(law, power, seed):
    x = LAWS[law][1].rvs(300, random_state=seed)
    unit = 2.0**power
    charts = [HalfLine()] if law != "laplace" else [Line(0.0, 1.4), HeavyLine(0.0, 1.4)]
    scaled = [HalfLine()] if law != "laplace" else [Line(0.0, 1.4 * unit), HeavyLine(0.0, 1.4 * unit)]
    z, log_slope = Marginal.fit(charts, x).forward(x)
    same, log_scaled = Marginal.fit(scaled, x * unit).forward(x * unit)
    np.testing.assert_allclose(same, z, atol=1e-9)
    np.testing.assert_allclose(log_scaled + np.log(unit), log_slope, atol=1e-9)


def modes(distance, size=3000):
    rng = np.random.default_rng(0)
    return np.where(rng.random(size) < 0.3, 0.0, distance) + rng.normal(size=size)


def test_modes_far_apart_keep_their_valley():
    x = modes(10.0)
    marginal = Marginal.fit([Line(0.0, 4.0), HeavyLine(0.0, 4.0)], x)
    assert marginal.knots.shape[1] == 2
    z = marginal.forward(x)[0]
    share, edges = np.histogram(z, np.linspace(-2, 1.5, 8))
    assert share.min() < 0.01 * share.max()


@pytest.mark.parametrize("x", [modes(2.0), np.random.default_rng(0).uniform(-1, 1, 3000)], ids=["near", "even"])
def test_no_valley_no_straight_map(x):
    marginal = Marginal.fit([Line()], x)
    assert marginal.knots.shape[1] > 2
    assert stats.kstest(marginal.forward(x)[0], "norm").statistic < 0.02


def test_far_outliers_have_no_monstrous_z():
    x = np.r_[np.random.default_rng(0).normal(1, 0.003, 2000), [50.0, 60.0, 70.0, 80.0, 100.0]]
    assert np.abs(Marginal.fit([HalfLine()], x).forward(x)[0]).max() < 12


@pytest.mark.parametrize("num_knots", [2, 9, 17, 33])
@pytest.mark.parametrize("law", ["normal", "t2", "gamma", "beta"])
def test_whole_weights_are_near_repeated_rows(law, num_knots):
    """Exactly for straight maps; else quantiles stand between rows, and tails start at another one: 0.1 in z."""
    chart, x = LAWS[law][0][0], np.sort(LAWS[law][1].rvs(2000, random_state=0))
    weight = np.random.default_rng(1).integers(0, 4, len(x)).astype(float)
    x, weight = x[weight > 0], weight[weight > 0]
    repeated = chart.forward(np.repeat(x, weight.astype(int)))[0]
    y = chart.forward(x)[0]
    by_weight, by_rows = _knots(y, weight, num_knots), _knots(repeated, np.ones(len(repeated)), num_knots)
    z = np.linspace(-2, 2, 41)
    at = Marginal(Line(), by_weight).inverse(z)
    np.testing.assert_allclose(at_knots(by_rows, at)[0], z, rtol=0, atol=1e-9 if num_knots == 2 else 0.1)
    unequal = _knots(y, np.where(y > np.median(y), 1.0, 0.1), num_knots)
    assert np.abs(at_knots(unequal, at)[0] - z).max() > 0.5  # the sibling: weights that matter are seen


def test_rows_without_weight_do_not_matter():
    x = LAWS["gamma"][1].rvs(500, random_state=0)
    weight = np.random.default_rng(1).integers(0, 2, len(x)).astype(float)
    left = Marginal.fit([HalfLine()], x, weight).knots
    np.testing.assert_array_equal(left, Marginal.fit([HalfLine()], x[weight > 0]).knots)


@pytest.mark.parametrize("scale", [1e300, 1.0, 1e-300])
@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [1.0, 2.0], [1.0, 1.0, 3.0], [2.0] * 50, [1.0] * 50 + [3.0]])
def test_few_equal_and_extreme_values(values, scale):
    x = np.array(values) * scale
    for charts in ([HalfLine()], [Line(scale, scale), HeavyLine(scale, scale)], [Segment(0.0, 4 * scale)]):
        marginal = Marginal.fit(charts, x)
        z, log_slope = marginal.forward(x)
        assert np.all(np.isfinite([z, log_slope, marginal.bend(x)])) and np.abs(z).max() < 20
        np.testing.assert_allclose(marginal.inverse(z), x, rtol=1e-9)
        assert np.all(np.isfinite(marginal.inverse(np.array([-40.0, 40.0]))))


def test_more_rows_bear_more_knots():
    y = np.sort(np.random.default_rng(0).normal(size=5000))
    for num_knots in NUM_KNOTS:
        knots = _knots(y, np.ones(len(y)), num_knots)
        assert knots.shape == (3, num_knots)
        np.testing.assert_allclose(at_knots(knots, knots[0])[0], knots[1], atol=1e-12)
        np.testing.assert_allclose(at_knots(knots, knots[0])[1], np.log(knots[2]), atol=1e-9)
