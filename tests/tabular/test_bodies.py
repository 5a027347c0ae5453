"""Bodies on grids: cells, their probabilities, and draws within them."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ptilde.tabular.bodies import NARROW, BodyMap, Cells
from ptilde.tabular.charts import HalfLine, HeavyLine, Line, Segment
from ptilde.tabular.kinds import Count, Interval, Positive, Real
from ptilde.tabular.marginal import Marginal

GRIDDED = {
    "coarse": (Real(grid=5.0), (), [Line(2.0, 4.0)]),
    "gap": (Real(grid=0.5), (-0.5, 0.0, 0.5, 2.0), [HeavyLine(0.0, 1.0)]),
    "rain": (Positive(grid=0.2), (0.0,), [HalfLine()]),
    "fine": (Positive(grid=0.01), (0.0, 0.5), [HalfLine()]),
    "days": (Interval(0.0, 1.0, grid=1 / 365.25), (0.0, 1.0), [Segment(-1 / 730.5, 1 + 1 / 730.5)]),
    "closed": (Interval(0.0, 3.0, grid=1.0), (), [Segment(-0.5, 3.5)]),
    "middle out": (Interval(0.0, 4.0, grid=1.0), (2.0,), [Segment(-0.5, 4.5)]),
    "last out": (Interval(0.0, 7.9, grid=2.0), (6.0,), [Segment(-1.0, 8.9)]),
    "counts": (Count(), (0.0, 1.0, 4.0), [HalfLine(-0.5)]),
}
LEVELLED = {
    "prices": (Positive(grid=(0.5, 0.1, 0.01)), (0.0, 0.3, 2.0, 0.07), [HalfLine()]),
    "halves": (Real(grid=(1.0, 0.5)), (-0.5, 2.0), [Line(0.0, 2.0)]),
    "coarse": (Real(grid=(5.0, 1.0, 0.0)), (0.25, 2.0), [HeavyLine(0.0, 4.0)]),
    "shares": (Interval(0.0, 1.0, grid=(0.1, 0.02)), (0.0, 0.5), [Segment(-0.05, 1.05)]),
    "shares or any": (Interval(0.0, 1.0, grid=(0.1, 0.02, 0.0)), (0.5,), [Segment(0.0, 1.0)]),
}
ONE = [(name, 0) for name in GRIDDED]
ALL = ONE + [(name, i) for name, (body, *_) in LEVELLED.items() for i in range(len(body.grid)) if body.grid[i]]


def body_map(name):
    """The map fitted to some thousand draws of a law that suits the body."""
    body, points, charts = (GRIDDED | LEVELLED)[name]
    rng = np.random.default_rng(0)
    straight = {"Line": rng.normal(0, 1, 2000), "HeavyLine": rng.standard_t(3, 2000)}
    y = straight.get(type(charts[0]).__name__, rng.logistic(0.3, 0.8, 2000))
    return BodyMap(Marginal.fit(charts, charts[0].inverse(y)), Cells.of(body, np.array(points)))


@pytest.mark.parametrize(("name", "level"), ALL)
def test_probabilities_of_all_cells_of_a_level_add_to_one(name, level):
    """Of two thousand grid values one by one, and by Φ of what lies beyond them."""
    mapped = body_map(name)
    cells = mapped.levels[level]
    k = np.arange(max(cells.first, -1000.0), min(cells.last, 1000.0) + 1)
    x = k[~np.isin(k, cells.excluded)] * cells.step
    x = x[mapped.level(x) == level]
    z, log_slope = mapped.encode(x, None)
    low, high = (mapped.marginal.forward(end[np.isfinite(end)])[0] for end in cells.ends(x[[0, -1]]))
    beyond = stats.norm.cdf(low[0]) if cells.first == -np.inf else 0.0
    beyond += stats.norm.sf(high[-1]) if cells.last == np.inf else 0.0
    assert beyond < 0.1
    assert abs(np.sum(np.exp(log_slope + stats.norm.logpdf(z))) * cells.step + beyond - 1) < 1e-11


@pytest.mark.parametrize(("name", "level"), ALL)
def test_draws_within_cells_are_standard_normal_and_decode_to_their_value(name, level):
    """Values drawn from the map itself; the test fails a right program with chance 1e-5."""
    mapped, rng, level = body_map(name), np.random.default_rng(1), np.full(20_000, level)
    x = mapped.decode(rng.normal(size=20_000), level)
    np.testing.assert_array_equal(mapped.level(x), level)
    z, log_slope = mapped.encode(x, rng)
    np.testing.assert_array_equal(mapped.decode(z, level), x)
    assert stats.kstest(z, "norm").pvalue > 1e-5
    medians, at_median = mapped.encode(x, None)
    np.testing.assert_array_equal(mapped.decode(medians, level), x)
    mass = np.exp(at_median + stats.norm.logpdf(medians))
    np.testing.assert_allclose(np.exp(log_slope + stats.norm.logpdf(z)), mass, rtol=1e-5)  # narrow cells use a slope


@pytest.mark.parametrize("name", ["coarse", "gap", "rain", "closed", "counts"])
def test_other_draws_within_cells_are_not(name):
    """The sibling that must fail: medians of the cells, and draws a tenth too high."""
    mapped, rng = body_map(name), np.random.default_rng(1)
    x = mapped.decode(rng.normal(size=20_000), np.zeros(20_000, int))
    assert stats.kstest(mapped.encode(x, None)[0], "norm").pvalue < 1e-5
    assert stats.kstest(mapped.encode(x, rng)[0] + 0.1, "norm").pvalue < 1e-5


@settings(max_examples=100)
@given(
    st.sampled_from([0.2, 1.0, 5.0, 1 / 365.25]),
    st.integers(-5, 5),
    st.integers(1, 12),
    st.sets(st.integers(-6, 18)),
    st.sampled_from([0, 2, 3, 5]),
    st.lists(st.floats(-9, 19), min_size=1),
)
def test_nearest_is_the_nearest_allowed_value(step, first, length, excluded, coarser, multiples):
    numbers = allowed(first, length, excluded, coarser)
    cells = Cells(step, float(first), float(first + length), tuple(map(float, sorted(excluded))), coarser)
    assert cells.empty == (not numbers)
    if not numbers:
        return
    x = np.array(multiples) * step
    found = np.rint(cells.nearest(x) / step)
    assert set(found) <= set(numbers)
    distance = np.abs(np.array(multiples)[:, None] - np.array(numbers, float))
    np.testing.assert_allclose(np.abs(found - multiples), distance.min(1), atol=1e-9)


@settings(max_examples=100)
@given(st.integers(-5, 5), st.integers(0, 12), st.sets(st.integers(-6, 18)), st.sampled_from([0, 2, 3, 5]))
def test_cells_leave_no_gap(first, length, excluded, coarser):
    numbers = np.array(allowed(first, length, excluded, coarser), float)
    if not len(numbers):
        return
    low, high = Cells(0.2, first, first + length, tuple(map(float, sorted(excluded))), coarser).ends(numbers * 0.2)
    assert low[0] == -np.inf and high[-1] == np.inf
    np.testing.assert_array_equal(low[1:], high[:-1])
    np.testing.assert_allclose(low[1:], 0.1 * (numbers[1:] + numbers[:-1]))


def allowed(first, length, excluded, coarser):
    """The numbers that a level owns."""
    return [k for k in range(first, first + length + 1) if k not in excluded and (not coarser or k % coarser)]


def test_only_atoms_on_the_grid_take_a_value_from_it():
    (cells,) = Cells.of(Real(grid=5.0), np.array([2.0, -1.4, 10.0]))
    assert cells.excluded == (2.0,)
    np.testing.assert_array_equal(cells.nearest(np.array([0.4, 9.0])), [0.0, 5.0])


@pytest.mark.parametrize("step", ["0.1", "0.2", "0.3", "1.1", "2.54", "0.01", "0.00001", "2.5", "5", "1000", "0.025"])
def test_grid_values_are_spelt_as_people_do(step):
    k = np.arange(-2000.0, 2000.0)
    spelt = [float(Decimal(step) * int(number)) for number in k]
    np.testing.assert_array_equal(Cells(float(step), -np.inf, np.inf, ()).values(k), spelt)


def test_days_of_a_year_are_whole_days_over_its_length():
    k = np.arange(1000.0)
    np.testing.assert_array_equal(Cells(1 / 365.25, 0, np.inf, ()).values(k), k / 365.25)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_narrow_cells_join_wide_ones_smoothly(scale):
    """On either side of the width where the difference of two Φ gives way to the slope, both agree with the slope."""
    x = np.random.default_rng(0).lognormal(0, 1, 1000)
    marginal = Marginal.fit([HalfLine()], x)
    at = np.array([marginal.inverse(np.array([0.7])).item()])
    z, log_slope = marginal.forward(at)
    step = scale * NARROW * np.exp(-log_slope).item()
    mapped = BodyMap(marginal, (Cells(step, -np.inf, np.inf, ()),))
    got_z, got = mapped.encode(np.rint(at / step) * step, None)
    np.testing.assert_allclose(got_z, z, atol=1e-6)
    np.testing.assert_allclose(got, log_slope, atol=1e-5)


def test_whole_numbers_beyond_the_digits_of_their_logarithm_have_a_finite_density():
    x = 1e15 + np.arange(-500.0, 500.0)
    mapped = BodyMap.fit(Positive(grid=1.0), np.zeros(0), x, np.ones(len(x)), np.random.default_rng(0))
    z, log_slope = mapped.encode(x, None)
    assert np.all(np.isfinite(z)) and np.all(np.abs(z) < 10)
    assert np.all(np.abs(log_slope + stats.norm.logpdf(z) + np.log(1000)) < 5)


def test_one_grid_value_has_all_the_probability():
    mapped = BodyMap.fit(Interval(0, 1, grid=1.0), np.array([0.0]), np.ones(9), np.ones(9), np.random.default_rng(0))
    z, log_slope = mapped.encode(np.ones(1), None)
    np.testing.assert_allclose(log_slope + stats.norm.logpdf(z), 0.0, atol=1e-12)
    np.testing.assert_array_equal(mapped.decode(np.array([-50.0, 0.0, 50.0]), np.zeros(3, int)), 1.0)


@pytest.mark.parametrize("decimals", [8, 10, None])
def test_decoded_values_are_cut_to_the_decimals_of_the_data(decimals):
    """One row in twenty is spelt otherwise, as sources do that round halves up."""
    k = np.random.default_rng(0).integers(1, 365, 5000)
    whole = k / 365.25
    x = whole if decimals is None else np.round(whole, decimals) + 1e-10 * (np.arange(5000) % 20 == 0)
    body, points, rng = Interval(0.0, 1.0, grid=1 / 365.25), np.array([0.0, 1.0]), np.random.default_rng(1)
    mapped = BodyMap.fit(body, points, x, np.ones(5000), rng)
    assert mapped.decimals == decimals
    drawn = mapped.decode(mapped.encode(x, rng)[0], np.zeros(5000, int))
    np.testing.assert_array_equal(drawn, whole if decimals is None else np.round(whole, decimals))


@pytest.mark.parametrize("step", [5.0, 0.5, 0.1, 0.01, 0.025])
def test_steps_that_people_write_have_no_decimals_to_cut(step):
    rng = np.random.default_rng(0)
    x = np.array([float(Decimal(str(step)) * int(number)) for number in rng.integers(1, 900, 500)])
    assert BodyMap.fit(Positive(grid=step), np.zeros(0), x, np.ones(500), rng).decimals is None
