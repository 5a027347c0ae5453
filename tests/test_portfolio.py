"""Risk measures of a simulated total: those of a law that is known, with errors that are theirs."""

import numpy as np
import pytest
from scipy.stats import expon

from ptilde.estimators.portfolio import Aggregate

SIMS = 40_000
EXACT = {0.9: (np.log(10), np.log(10) + 1), 0.99: (np.log(100), np.log(100) + 1)}  # of an exponential total


def exponential(seed=0):
    return Aggregate(np.random.default_rng(seed).exponential(size=SIMS), 1.0)


@pytest.mark.parametrize("level", EXACT)
def test_value_at_risk_and_its_tail_are_those_of_an_exponential_total(level):
    """Five standard errors of what is found, and no more than 5 % from what they are in theory."""
    total, (quantile, tail) = exponential(), EXACT[level]
    found, beyond = total.value_at_risk(level), total.tail_value_at_risk(level)
    assert abs(found.value - quantile) < 5 * found.standard_error
    assert abs(beyond.value - tail) < 5 * beyond.standard_error
    assert abs(beyond.value - quantile) > 5 * beyond.standard_error  # one is not the other
    density = expon.pdf(quantile)
    assert found.standard_error == pytest.approx(np.sqrt(level * (1 - level) / SIMS) / density, rel=0.2)
    variance = 2 / (1 - level) - 1  # of E / (1 - level) on a share of 1 - level, E exponential
    assert beyond.standard_error == pytest.approx(np.sqrt(variance / SIMS), rel=0.1)


def test_the_mean_has_the_error_of_a_mean():
    mean = exponential().mean
    assert abs(mean.value - 1) < 5 * mean.standard_error
    assert mean.standard_error == pytest.approx(1 / np.sqrt(SIMS), rel=0.05)


def test_of_a_few_totals_they_are_what_one_counts():
    total = Aggregate(np.array([0.0, 0.0, 10.0, 20.0, 30.0]), 12.0)
    assert total.value_at_risk(0.5).value == 10
    assert total.tail_value_at_risk(0.5).value == pytest.approx(10 + (10 + 20) / 5 / 0.5)


@pytest.mark.parametrize("level", [0, 1, 1.5, "x"])
def test_a_level_that_is_none_is_refused(level):
    for ask in (exponential().value_at_risk, exponential().tail_value_at_risk):
        with pytest.raises(ValueError, match="`level` must lie between 0 and 1"):
            ask(level)
