"""Grids of several steps: whose level a value is, and which grids there are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptilde import Interval, Positive, Real, SemiContinuous
from ptilde.tabular.levels import checked, levels, steps_of

FINEST = (0.0001, 0.01, 1 / 300, 0.2, 1.0, 5.0)


@st.composite
def grids(draw):
    """Steps from coarse to fine, at least two, the last perhaps 0."""
    finest, free = draw(st.sampled_from(FINEST)), draw(st.booleans())
    factors = draw(st.lists(st.integers(2, 12), min_size=0 if free else 1, max_size=3))
    steps = [finest * int(np.prod(factors[:i])) for i in range(len(factors) + 1)]
    return (*reversed(steps), *[0.0] * free)


@given(grids(), st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=30))
def test_the_level_is_the_first_step_that_divides_the_value_by_whole_numbers(grid, numbers):
    inner = [step for step in grid if step]
    parts = [round(step / inner[-1]) for step in inner]
    wanted = [next(i for i, part in enumerate(parts) if k % part == 0) for k in numbers]
    np.testing.assert_array_equal(levels(np.array(numbers) * inner[-1], grid), wanted)


@given(grids(), st.integers(1, 1000), st.floats(0.01, 0.99))
def test_what_lies_between_is_in_full_precision_or_nowhere(grid, k, part):
    between = np.array([-k - part, k + part]) * min(step for step in grid if step)
    assert set(levels(between, grid)) == {len(grid) - 1 if grid[-1] == 0 else -1}


def test_no_grid_is_full_precision():
    assert steps_of(None) == (0.0,) and not levels(np.array([-1.0, 0.0, np.pi]), (0.0,)).any()


def test_float_noise_is_on_the_grid_and_the_next_digit_is_not():
    values = np.array([0.1 + 0.2, np.float32(1.1), 1e-9, 0.30001, 0.0])
    np.testing.assert_array_equal(levels(values, (0.1, 0.0)), [0, 0, 1, 1, 0])


def test_a_tuple_of_one_step_is_that_step_and_a_list_is_a_tuple():
    assert Real((0.5,)) == Real(0.5) and Positive([1, 0.5]) == Positive((1.0, 0.5))
    assert hash(Positive([1, 0.5])) == hash(Positive((1.0, 0.5)))


REFUSED = {
    "ascending": ((0.0001, 0.01), "each a whole multiple of the next; got 0.0001 before 0.01."),
    "no multiple": (
        (0.25, 0.1),
        "`grid` must go from coarse to fine, each a whole multiple of the next; got 0.25 bef",
    ),
    "equal": ((1, 1.0), "each a whole multiple of the next; got 1 before 1.0."),
    "zero first": ((0, 1), "`grid` must have 0 (in full precision) at its end only; got (0, 1)."),
    "two zeros": ((1, 0, 0), "`grid` must have 0 (in full precision) at its end only; got (1, 0, 0)."),
    "zero alone": ((0,), "`grid` must hold a step above zero; got (0,). Without any grid, leave it out."),
    "empty": ((), "`grid` must hold a step above zero; got (). Without any grid, leave it out."),
    "negative": ((1, -0.5), "`grid` must be positive and finite; got -0.5."),
    "infinite": ((float("inf"), 1), "`grid` must be positive and finite; got inf."),
    "words": (("1", 0), "`grid` must be positive and finite; got '1'."),
    "a table": ({}, "`grid` must be positive and finite; got {}."),
    "true": ((True, 0), "`grid` must be positive and finite; got True."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_grid_is_refused(name):
    grid, message = REFUSED[name]
    for make in (checked, Real, Positive, lambda g: Interval(0, 1, g), lambda g: SemiContinuous((0,), Positive(g))):
        with pytest.raises(ValueError) as refusal:
            make(grid)
        assert message in str(refusal.value)


def test_kinds_hold_the_values_of_every_level():
    x = np.array([-0.1, 0.0, 0.005, 0.2, 0.25, 0.001, 1.0, np.inf, np.nan])
    assert Positive((0.1, 0.01)).holds(x).tolist() == [False, False, False, True, True, False, True, False, False]
    assert Positive((0.1, 0)).holds(x).tolist() == [False, False, True, True, True, True, True, False, False]
    assert Real((0.1, 0.01), True).holds(x).tolist() == [True, True, False, True, True, False, True, False, True]
    assert Interval(0, 1, (0.1, 0)).holds(x).tolist() == [False, True, True, True, True, True, True, False, False]
    assert Interval(0, 0.25, (0.1, 0)).holds(x).tolist() == [False, True, True, True, False, True, False, False, False]
