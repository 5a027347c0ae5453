"""The law of one column: distribution function, quantiles and expectations against scipy's, on a grid and off."""

from dataclasses import replace

import numpy as np
import pytest
from predictive.laws_by_hand import (
    ATOMS,
    FIRST,
    MEAN,
    SHARES,
    SPREAD,
    body_cdf,
    body_laws,
    claims,
    exact_cdf,
    only_atoms,
    plain,
)
from scipy.integrate import quad, trapezoid
from scipy.stats import chi2, lognorm, norm

from ptilde import Positive
from ptilde.tabular.charts import HalfLine

Y = np.array([-1.0, 0.0, 0.31, 1.0, 2.5, 7.0, 30.0, 150.0, 199.99, 200.0, 1e4])
P = np.array([0.005, 0.1, 0.2, 0.33, 0.5, 0.61, 0.7, 0.8, 0.9, 0.95, 0.999])
GRIDS = [None, 0.1, 1.0, (1.0, 0.1), (1.0, 0.0)]


def at(y):
    return np.broadcast_to(y, (3, len(y)))


def without_second_atom(law):
    """A law that is wrong: what lies on its second atom is lost."""
    return replace(law, shares=law.shares * [1.0, 0.0])


@pytest.mark.parametrize("strict", [False, True])
def test_off_a_grid_the_distribution_function_is_that_of_atoms_and_bodies(strict):
    np.testing.assert_allclose(claims().cdf(at(Y), strict), exact_cdf(Y, strict), atol=3e-6)
    assert np.abs(without_second_atom(claims()).cdf(at(Y)) - exact_cdf(Y)).max() > 0.04


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_below_and_up_to_a_value_differ_by_what_lies_on_it(grid):
    law, body = claims(grid), (1 - SHARES.sum(1))[:, None]
    y = np.array([0.0, 200.0, 1.0, 0.3, 0.35])
    jump = law.cdf(at(y)) - law.cdf(at(y), strict=True)
    np.testing.assert_allclose(jump[:, :2], SHARES, rtol=1e-12)
    wide, fine = (body * (body_cdf(1.5) - body_cdf(0.0)), body * (body_cdf(0.35) - body_cdf(0.25)))
    expected = {
        None: (0, 0),
        0.1: (body * (body_cdf(1.05) - body_cdf(0.95)), fine),
        1.0: (wide, 0),
        (1.0, 0.1): (0.6 * wide, 0.4 * fine),
        (1.0, 0.0): (0.6 * wide, 0),
    }[grid]
    for j, mass in enumerate(expected):
        np.testing.assert_allclose(jump[:, [2 + j]], mass + np.zeros((3, 1)), atol=5e-6)
    np.testing.assert_allclose(jump[:, 4], 0, atol=1e-12)  # between two values of every grid


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_quantile_is_the_least_value_that_reaches_its_level(grid):
    law = claims(grid)
    q = law.quantile(P)
    assert np.all(law.cdf(q) >= P - 1e-12)
    assert np.all(law.cdf(q, strict=True) < P + 1e-9)
    assert np.all(np.diff(q, axis=1) >= 0)
    # Of the third row .3 lie on the limit, of the second .5 on zero: these levels are there.
    assert q[2, -2] == 200 and q[1, 3] == 0
    if grid is None:
        broken = without_second_atom(claims()).quantile(P)
        assert np.any(law.cdf(broken, strict=True) > P + 1e-3) or np.any(law.cdf(broken) < P - 1e-3)


@pytest.mark.parametrize(("grid", "digits"), [(0.1, 1), (1.0, 0), ((1.0, 0.1), 1)], ids=str)
def test_on_a_grid_quantiles_are_values_of_the_grid_to_the_last_digit(grid, digits):
    q = claims(grid).quantile(P)
    np.testing.assert_array_equal(q, np.round(q, digits))


def test_without_atoms_and_without_a_body_there_are_still_quantiles():
    exact = norm(MEAN[:, None], SPREAD[:, None]).ppf(P)
    np.testing.assert_allclose(plain().quantile(P), exact, atol=1e-5)
    np.testing.assert_array_equal(only_atoms().quantile(np.array([0.2, 0.25, 0.26, 0.9])), [[0, 0, 200, 200]])
    np.testing.assert_allclose(only_atoms().mean(), 150)


def body_mean(g):
    """(3,) the mean of a function of the body off a grid, by quadrature in the log."""
    z, found = np.linspace(-9, 9, 20_001), 0.0
    for weight, mean, spread in ((FIRST, MEAN, SPREAD), (1 - FIRST, MEAN - 1, SPREAD / 2)):
        y = np.exp(mean[:, None] + spread[:, None] * z)
        found = found + weight * trapezoid(norm.pdf(z) * g(y), z)
    return found


@pytest.mark.parametrize(
    ("name", "g"),
    [
        ("mean", lambda y: y),
        ("layer", lambda y: np.clip(y - 2.0, 0.0, 30.0)),
        ("limited", lambda y: np.minimum(y, 5.0)),
    ],
)
def test_expectations_are_those_of_the_law(name, g):
    law = claims()
    found = {"mean": law.mean, "layer": lambda: law.layer(2.0, 30.0), "limited": lambda: law.expectation(g)}[name]()
    expected = SHARES @ g(ATOMS) + (1 - SHARES.sum(1)) * body_mean(g)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.all(np.abs(without_second_atom(law).expectation(g) / expected - 1) > 1e-2)


def test_a_layer_is_the_difference_of_two_limited_means():
    law = claims((1.0, 0.1))
    limited = [law.expectation(lambda y, limit=limit: np.minimum(y, limit)) for limit in (2.0, 32.0)]
    np.testing.assert_allclose(law.layer(2.0, 30.0), limited[1] - limited[0], rtol=1e-12)


def grid_masses(law, step, most=4000):
    """Values of the grid, and what lies on each."""
    y = step * np.arange(int(most / step))
    return y, np.diff(law.cdf(at(y)), axis=1, prepend=0.0)


@pytest.mark.parametrize("step", [0.1, 1.0])
def test_on_a_grid_expectations_are_sums_over_its_values(step):
    law = claims(step)
    y, mass = grid_masses(law, step)
    np.testing.assert_allclose(law.mean(), mass @ y, rtol=1e-4)
    np.testing.assert_allclose(law.layer(2.0, 3.0), mass @ np.clip(y - 2, 0, 3), rtol=1e-4)
    value, held = law.discrete
    np.testing.assert_allclose(held.sum(1), 1, rtol=1e-9)
    np.testing.assert_allclose(value, np.round(value / step) * step, rtol=1e-12)


@pytest.mark.parametrize("level", [0.3, 0.75, 0.9, 0.97])
def test_expected_shortfall_is_the_mean_of_the_quantiles_beyond_the_level(level):
    law = claims()
    p = level + (1 - level) * (np.arange(8000) + 0.5) / 8000
    # Where the quantiles jump to the limit, 200, their mean over the levels is off by up to 200 / 16,000.
    np.testing.assert_allclose(law.expected_shortfall(level), law.quantile(p).mean(1), rtol=2e-4, atol=0.0125)


def test_expected_shortfall_beyond_everything_but_the_limit_is_the_limit():
    assert only_atoms().expected_shortfall(0.5) == 200
    np.testing.assert_allclose(only_atoms().expected_shortfall(0.1), 0.75 / 0.9 * 200)


def test_the_crps_of_a_normal_and_of_a_log_normal_law_have_their_closed_forms():
    """Gneiting & Raftery (2007), equation 21; Baran & Lerch (2015), equation 9."""
    y = np.array([0.2, 2.5, 3.1])
    t = (y - MEAN) / SPREAD
    gaussian = SPREAD * (t * (2 * norm.cdf(t) - 1) + 2 * norm.pdf(t) - 1 / np.sqrt(np.pi))
    np.testing.assert_allclose(plain().crps(y), gaussian, rtol=2e-4)
    y = np.array([0.2, 2.5, 40.0])
    t, whole = (np.log(y) - MEAN) / SPREAD, 2 * np.exp(MEAN + SPREAD**2 / 2)
    exact = y * (2 * norm.cdf(t) - 1) - whole * (norm.cdf(t - SPREAD) + norm.cdf(SPREAD / np.sqrt(2)) - 1)
    np.testing.assert_allclose(plain(Positive(), HalfLine()).crps(y), exact, rtol=3e-4)


def test_the_crps_with_atoms_is_the_integral_of_its_definition():
    y = np.array([0.0, 3.0, 200.0])
    v = np.concatenate([np.linspace(0, 5, 20_001), np.geomspace(5.001, 2000, 40_001)])
    v = np.sort(np.concatenate([v, [3 - 1e-9, 200 - 1e-9, 200.0]]))
    square = (exact_cdf(v) - (v >= y[:, None])) ** 2
    np.testing.assert_allclose(claims().crps(y), trapezoid(square, v), rtol=2e-4)
    assert np.abs(without_second_atom(claims()).crps(y) / trapezoid(square, v) - 1).max() > 0.05


@pytest.mark.parametrize("step", [0.1, 1.0])
def test_the_crps_on_a_grid_is_the_sum_over_its_steps(step):
    law, y = claims(step), np.array([0.0, 3.0, 200.0])
    v, mass = grid_masses(law, step)
    steps = step * np.sum((np.cumsum(mass, 1) - (v >= y[:, None])) ** 2, 1)
    np.testing.assert_allclose(law.crps(y), steps, rtol=5e-4)


def test_the_total_of_rows_has_their_mean_and_variance_and_no_row_twice():
    """Three rows: means and variances add. Five standard errors; a law that lost an atom is seen."""
    law, num = claims(), 20_000
    second = SHARES @ ATOMS**2 + (1 - SHARES.sum(1)) * body_mean(lambda y: y**2)
    mean = SHARES @ ATOMS + (1 - SHARES.sum(1)) * body_mean(lambda y: y)
    variance = np.sum(second - mean**2)
    total = law.total(num, np.random.default_rng(0))
    assert abs(total.mean() - mean.sum()) < 5 * np.sqrt(variance / num)
    assert abs(total.var() / variance - 1) < 0.05
    short = without_second_atom(law).total(num, np.random.default_rng(0))
    assert abs(short.mean() - mean.sum()) > 5 * np.sqrt(variance / num)


def atom_statistic(total):
    """χ² of how many rows of two are on their limit; above 27 with probability 1e-5 or less."""
    count = np.array([np.sum(total == v) for v in (0.0, 200.0, 400.0)])
    exact = 4000 * np.array([1 / 16, 3 / 8, 9 / 16])
    return np.sum((count - exact) ** 2 / exact)


def test_rows_of_a_total_are_independent():
    twice = replace(only_atoms(), shares=np.repeat(only_atoms().shares, 2, axis=0))
    total = twice.total(4000, np.random.default_rng(0))
    assert atom_statistic(total) < chi2(2).isf(1e-5)
    assert atom_statistic(2 * only_atoms().total(4000, np.random.default_rng(0))) > chi2(2).isf(1e-5)


def test_one_row_has_the_law_that_it_has_beside_others():
    law = claims((1.0, 0.1))
    one = replace(
        law,
        shares=law.shares[1:2],
        pieces=tuple(
            p._replace(share=p.share[1:2], nodes=type(p.nodes)(*(a[1:2] for a in p.nodes))) for p in law.pieces
        ),
    )
    np.testing.assert_array_equal(one.quantile(P), law.quantile(P)[1:2])
    np.testing.assert_allclose(one.mean(), law.mean()[1:2], rtol=1e-12)
    np.testing.assert_allclose(one.crps(np.array([3.0])), law.crps(np.full(3, 3.0))[1:2], rtol=1e-12)


def test_the_laws_of_these_tests_are_what_scipy_says():
    """The helper itself: its first member by an integral of scipy's density."""
    first = body_laws()[0]
    for i in range(3):
        own = lognorm(SPREAD[i], scale=np.exp(MEAN[i]))
        assert quad(own.pdf, 0, 7)[0] == pytest.approx(first.cdf(7.0)[i, 0], abs=1e-8)
