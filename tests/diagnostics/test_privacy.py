"""Distance to the closest record: a fair coin for a model of the law, and a loaded one for a copier."""

import numpy as np
import pytest
from scipy.stats import binom

from ptilde import diagnostics as d


def rng(*seed):
    return np.random.default_rng(seed)


def law(*seed, n=300):
    """A number, a number with an atom at 0, and a word."""
    g = rng(*seed)
    paid = g.lognormal(size=n) * (g.random(n) < 0.5)
    return {"age": 10 * g.normal(size=n), "paid": paid, "word": g.choice(np.array(["x", "y"], object), n)}


def jittered(table, seed, size):
    return {**table, "age": table["age"] + size * rng(seed).normal(size=len(table["age"]))}


def test_draws_of_the_law_are_as_near_to_either_table_as_its_error_says():
    outside, small = 0, 0
    for seed in range(200):
        found = d.closest_records(law(1, seed, n=60), law(2, seed, n=60), law(3, seed, n=500))
        outside += abs(found.nearer_to_train.value - 0.5) > 1.96 * found.nearer_to_train.standard_error
        small += found.p_value <= 0.05
    for count in (outside, small):
        assert binom.ppf(5e-6, 200, 0.05) <= count <= binom.isf(5e-6, 200, 0.05)


def test_rows_that_follow_fitted_ones_are_seen():
    train, test = law(4), law(5)
    found = d.closest_records(train, test, jittered(train, 6, 0.3))
    assert found.nearer_to_train.value > 0.75
    assert found.p_value < 1e-6
    assert found.to_train < found.to_test
    turned = d.closest_records(test, train, jittered(train, 6, 0.3))
    assert turned.nearer_to_train.value == pytest.approx(1 - found.nearer_to_train.value)


def test_the_error_is_the_spread_over_all_choices_of_rows():
    # Four rows at 0, 1, 2 and 3 with 4, 2, 1 and 1 draws: the share over all six ways to fit two of them.
    places, near = np.arange(4.0), np.repeat(np.arange(4.0), [4, 2, 1, 1]) + 0.1
    shares = []
    for pair in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]:
        found = d.closest_records(places[list(pair)], np.delete(places, pair), near)
        shares.append(found.nearer_to_train.value)
        # Units differ between the choices (the spread of two rows), which a one-column table does not see.
        assert found.nearer_to_train.standard_error == pytest.approx(np.std([6, 5, 5, 3, 3, 2]) / 8)
    assert sorted(shares) == [2 / 8, 3 / 8, 3 / 8, 5 / 8, 5 / 8, 6 / 8]


def test_rows_in_both_tables_count_one_half():
    same = law(7)
    found = d.closest_records(same, same, same)
    assert found.nearer_to_train == (0.5, 0.0)
    assert found.p_value == 1.0


def test_the_longer_table_is_cut():
    found = d.closest_records(law(8, n=900), law(9, n=100), law(10, n=900))
    assert abs(found.nearer_to_train.value - 0.5) < 4.5 * found.nearer_to_train.standard_error


def test_copies_with_an_amount_are_counted_and_rows_on_atoms_are_not():
    train = {"a": np.array([1.5, 2.5, 0.0, np.nan]), "b": np.array([0.0, 7.0, 0.0, 3.0])}
    draws = {"a": np.array([1.5, 0.0, np.nan, 2.5, -0.0]), "b": np.array([0.0, 0.0, 3.0, 7.1, 0.0])}
    atoms = {"a": [0.0], "b": [0.0]}
    copies = d.exact_copies(train, {"a": np.array([2.5, 9.0]), "b": np.array([7.0, 9.0])}, draws, atoms)
    assert copies.value.value == 2 / 3  # of three rows with an amount; the two on both atoms are left out
    assert copies.floor.value == 1 / 2
    assert copies.value.low < 2 / 3 < copies.value.high
    assert d.exact_copies(train, train, draws).value.value == 4 / 5  # without atoms every row is one of amounts


def test_without_held_out_rows_the_floor_is_what_repeats_among_the_real_ones():
    train = {"a": np.array([1.5, 1.5, 2.5, 9.0])}
    copies = d.exact_copies(train, None, {"a": np.array([1.5, 2.5, 9.0, 4.0])})
    assert copies.value.value == 3 / 4 and copies.floor.value == 2 / 4


def test_the_level_of_near_rows_holds_under_equal_laws_and_not_for_blurred_copies():
    real = law(11, n=2000)
    assert d.near_records(real, law(12, n=2000)).low < 0.05 < d.near_records(real, law(13, n=2000)).high
    assert d.near_records(real, {**real, "age": real["age"] + 1e-6}).value == 1.0
    assert d.near_records({name: np.repeat(x, 2) for name, x in real.items()}, real) is None


def test_a_table_without_amounts_is_refused():
    whole = {"a": np.arange(3)}
    with pytest.raises(ValueError, match="`train` must have a column of floating-point numbers; got none"):
        d.exact_copies(whole, whole, whole)
