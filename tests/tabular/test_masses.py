"""Rough shares of a grid's values: masses, the map behind the smooth one, and when there is none."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_ndtr

from ptilde.tabular.bodies import BodyMap
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.kinds import Count, Interval, Positive, Real
from ptilde.tabular.masses import Masses
from ptilde.tabular.schema import Schema

NONE = np.zeros(0)


def rough_days(rng, n=20_000):
    """Days of a year, weekends at a quarter of the other days, from a law that is not flat."""
    days = np.arange(1, 365)
    share = np.where(days % 7 > 4, 0.25, 1.0) * (1 + days / 365)
    return (
        Interval(0.0, 1.0, grid=1 / 365.25),
        np.array([0.0, 1.0]),
        rng.choice(days, n, p=share / share.sum()) / 365.25,
    )


def rough_prices(rng, n=20_000):
    """Prices in whole numbers, tenths and hundredths; those of 9, 19, 29, ... steps are ten times as frequent."""
    steps = np.array([1.0, 0.1, 0.01])
    k = [np.arange(1, 60), *(k[k % 10 > 0] for k in (np.arange(1, 600), np.arange(1, 1000)))]
    level = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    x = np.empty(n)
    for i, numbers in enumerate(k):
        share = np.where(numbers % 10 == 9, 10.0, 1.0) * np.exp(-numbers * steps[i] / 20)
        x[level == i] = rng.choice(numbers, (level == i).sum(), p=share / share.sum()) / (1 / steps[i]).round()
    return Positive(grid=(1.0, 0.1, 0.01)), np.zeros(1), x


def rough_tails(rng, n=20_000):
    """Rounded Student's t of two degrees of freedom, every fourth value five times as frequent."""
    x = np.rint(10 * rng.standard_t(2, 4 * n)) / 2
    return Real(grid=0.5), NONE, x[(np.rint(2 * x) % 4 == 0) | (rng.random(4 * n) < 0.2)][:n]


ROUGH = {"days": rough_days, "prices": rough_prices, "tails": rough_tails}


def fitted(name):
    rng = np.random.default_rng(0)
    body, points, x = ROUGH[name](rng)
    return BodyMap.fit(body, points, x, np.ones(len(x)), rng), x


@pytest.mark.parametrize(("name", "level"), [("days", 0), ("prices", 0), ("prices", 1), ("prices", 2), ("tails", 0)])
def test_probabilities_of_a_rough_level_add_to_one_and_shrink_its_shares(name, level):
    """Each seen value has a mass between its share and its smooth one."""
    mapped, x = fitted(name)
    assert level in mapped.masses
    cells = mapped.levels[level]
    k = np.arange(max(cells.first, -3000.0), min(cells.last, 3000.0) + 1)
    grid = k[~np.isin(k, cells.excluded)] * cells.step
    grid = grid[mapped.level(grid) == level]
    z, log_slope = mapped.encode(grid, None)
    mass = np.exp(log_slope + stats.norm.logpdf(z)) * cells.step
    beyond = _beyond(mapped, cells, level, grid)
    assert abs(mass.sum() + beyond - 1) < 1e-9
    z, log_slope = BodyMap(mapped.marginal, mapped.levels).encode(grid, None)
    smooth = np.exp(log_slope + stats.norm.logpdf(z)) * cells.step
    own = np.rint(x[mapped.level(x) == level] / cells.step)
    share = np.array([np.mean(own == number) for number in np.rint(grid / cells.step)])
    assert np.all(mass >= np.minimum(share, smooth) * (1 - 1e-5))
    assert np.all(mass <= np.maximum(share, smooth) * (1 + 1e-5))


def _beyond(mapped, cells, level, grid):
    """The mass beyond a range of values."""
    low, high = mapped._ends_in_z(cells, level, grid)
    return stats.norm.cdf(low[0]) + stats.norm.sf(high[-1])


@pytest.mark.parametrize("name", ROUGH)
def test_draws_have_the_observed_shares_and_smooth_ones_have_not(name):
    """Chi-square over the values seen fifty times or more, both samples being draws; right ones fail with 1e-4."""
    mapped, x = fitted(name)
    level = mapped.level(x)
    z = np.random.default_rng(5).normal(size=len(x))
    for own, good in ((mapped, True), (BodyMap(mapped.marginal, mapped.levels), False)):
        drawn = own.decode(z, level)
        np.testing.assert_array_equal(own.level(drawn), level)
        values, index = np.unique(np.round(np.concatenate([x, drawn]), 9), return_inverse=True)
        counts = np.array([np.bincount(part, minlength=len(values)) for part in (index[: len(x)], index[len(x) :])])
        often = counts.sum(0) >= 50
        table = np.column_stack([counts[:, often], counts[:, ~often].sum(1)])
        pvalue = stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue
        assert (pvalue > 1e-4) == good


@pytest.mark.parametrize("name", ROUGH)
def test_encoding_a_draw_brings_it_back_far_out_and_where_nothing_was_seen(name):
    mapped, x = fitted(name)
    z = np.concatenate([np.linspace(-8, 8, 4001), np.random.default_rng(1).normal(size=4000)])
    for level in range(len(mapped.levels)):
        at = np.full(len(z), level)
        drawn = mapped.decode(z, at)
        again, log_slope = mapped.encode(drawn, np.random.default_rng(2))
        assert np.isfinite(again).all() and np.isfinite(log_slope).all()
        np.testing.assert_array_equal(mapped.decode(again, at), drawn)
    assert not np.isin(drawn, x).all() or name == "days"  # of which every day was seen


def test_amounts_drawn_within_the_cells_of_rough_values_are_standard_normal():
    mapped, x = fitted("days")
    z = mapped.encode(x, np.random.default_rng(1))[0]
    smooth = BodyMap(mapped.marginal, mapped.levels).encode(x, np.random.default_rng(1))[0]
    assert stats.kstest(z, "norm").pvalue > 1e-3
    low, high = mapped._ends_in_z(mapped.levels[0], 0, np.unique(x))
    share = stats.norm.cdf(high) - stats.norm.cdf(low)
    assert np.abs(np.unique(x, return_counts=True)[1] / len(x) - share).max() < 1e-3
    assert not np.array_equal(z, smooth)


@pytest.mark.parametrize("name", ROUGH)
def test_slope_is_the_derivative_of_the_log_density_within_a_cell(name):
    """Of log φ(z) + log dz/dx between the ends of a cell, by central differences."""
    mapped, x = fitted(name)
    x = np.unique(x)[::7]
    log_slope, bend = mapped.slope(x)
    level = mapped.level(x)
    for i, cells in enumerate(mapped.levels):
        at, h = level == i, 1e-4 * cells.step

        def around(by, at=at, i=i):
            z, slope = mapped.forward(x[at] + by, i)
            return z, slope

        (z, middle), (up, above), (down, below) = around(0.0), around(h), around(-h)
        np.testing.assert_array_equal(log_slope[at], middle)
        np.testing.assert_allclose((up - down) / (2 * h), np.exp(middle), rtol=1e-4)
        wanted = (above + stats.norm.logpdf(up) - below - stats.norm.logpdf(down)) / (2 * h)
        found = -z * np.exp(middle) + bend[at]
        # Knots of the spline are kinks of its slope: one value or two may have one within h.
        assert np.mean(np.abs(found - wanted) < 1e-4 * (1 + np.abs(wanted))) > 0.97


SMOOTH = {
    "normal": (Real(grid=0.1), NONE, lambda rng, n: np.round(rng.normal(size=n), 1)),
    "lognormal": (Positive(grid=0.01), NONE, lambda rng, n: np.maximum(np.round(rng.lognormal(size=n), 2), 0.01)),
    "counts": (Count(), NONE, lambda rng, n: rng.poisson(rng.gamma(3, 50, n)).astype(float)),
    "days": (
        Interval(0.0, 1.0, grid=1 / 365.25),
        np.array([0.0, 1.0]),
        lambda rng, n: rng.integers(1, 365, n) / 365.25,
    ),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("n", [300, 3000, 30_000])
def test_smooth_laws_get_no_table(name, n):
    body, points, draw = SMOOTH[name]
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found += bool(BodyMap.fit(body, points, draw(rng, n), np.ones(n), rng).masses)
    assert found <= 1


def test_weights_that_are_no_numbers_of_rows_do_not_make_a_law_rough():
    """A row of weight 5 is not five rows on one value; the sibling takes them for that."""
    rng = np.random.default_rng(0)
    x, weight = np.round(rng.lognormal(size=3000), 2) + 0.01, rng.exponential(size=3000) ** 2 + 1e-3
    body = Positive(grid=0.01)
    assert not BodyMap.fit(body, NONE, x, weight * 3000 / weight.sum(), rng).masses
    assert BodyMap.fit(body, NONE, x, np.ceil(weight), rng).masses


def test_the_map_keeps_its_digits_in_both_tails():
    """A mirrored law has the mirrored map, and beyond the last knot the tail keeps its ratio to the smooth one."""
    low = np.array([-6.0, -1.0, 0.5, 4.0])
    high = np.array([-5.5, 0.5, 4.0, 10.0])
    weight = np.array([1.0, 3000.0, 100.0, 9.0])
    mapped, mirrored = Masses.fit(low, high, weight), Masses.fit(-high[::-1], -low[::-1], weight[::-1])
    z = np.linspace(-30, 30, 601)
    np.testing.assert_allclose(mirrored.forward(-z[::-1])[0], -mapped.forward(z)[0][::-1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mapped.inverse(mapped.forward(z)[0]), z, rtol=0, atol=1e-7)
    assert np.all(np.diff(mapped.forward(z)[0]) > 0)
    far = np.array([-38.0, -20.0, -9.5])
    ratio = log_ndtr(mapped.forward(far)[0]) - log_ndtr(far)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_cells_too_narrow_for_floats_stay_smooth():
    low = np.array([0.0, 1.0])
    assert Masses.fit(low, low + 1e-3, np.array([500.0, 500.0])) is not None
    assert Masses.fit(low, low + 1e-13, np.array([500.0, 500.0])) is None


def test_gradient_of_the_encoder_and_its_arrays_know_the_masses():
    rng = np.random.default_rng(0)
    body, points, x = rough_prices(rng)
    schema, table = Schema({"x": body}), {"x": x}
    encoder = Encoder.fit(schema, table, np.ones(len(x)), rng)
    arrays = encoder.arrays()
    assert set(arrays) == {"knots.0", "masses.0.0", "masses.0.1", "masses.0.2"}
    again = Encoder.from_config(schema, encoder.to_config(), arrays)
    assert again.to_config() == encoder.to_config()
    for name, array in again.arrays().items():
        np.testing.assert_array_equal(array, arrays[name])
    ours, theirs = encoder.encode(table), again.encode(table)
    np.testing.assert_array_equal(ours.z, theirs.z)
    np.testing.assert_array_equal(ours.log_slope, theirs.log_slope)
    log_slope, bend = encoder.columns[0].body.slope(x)
    np.testing.assert_array_equal(encoder.gradient(table, -ours.z)["x"], -ours.z[:, 0] * np.exp(log_slope) + bend)


def test_decimals_come_back_with_the_masses():
    rng = np.random.default_rng(0)
    body, _, x = rough_days(rng)
    schema, table = Schema({"x": body}), {"x": np.round(x, 10)}
    encoder = Encoder.fit(schema, table, np.ones(len(x)), rng)
    again = Encoder.from_config(schema, encoder.to_config(), encoder.arrays())
    assert again.columns[0].body.decimals == 10 and again.to_config() == encoder.to_config()
    z = rng.normal(size=(500, 1))
    drawn = again.decode(np.zeros((500, 0), int), z)["x"]
    np.testing.assert_array_equal(drawn, encoder.decode(np.zeros((500, 0), int), z)["x"])
    np.testing.assert_array_equal(drawn, np.round(drawn, 10))
