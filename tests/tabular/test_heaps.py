"""Heaping is found where it is, and nowhere else."""

import numpy as np
import pandas as pd
import pytest
from simulated_tables import SHARED, SMOOTH, on_steps

from ptilde import Count, Interval, Positive, Real, Schema, SemiContinuous
from ptilde.tabular.heaps import find_grid
from ptilde.tabular.tallies import tally


def kind_of(values):
    return Schema.infer(pd.DataFrame({"a": values})).columns["a"]


def heaped(rng, values, steps, shares):
    """The values, each rounded to a step drawn with its share; 0 leaves them as they are."""
    step = np.array(steps, float)[rng.choice(len(steps), len(values), p=shares)]
    return np.where(step > 0, np.rint(values / np.where(step > 0, step, 1)) * step, values)


LAWS = {
    "income": lambda rng, n: rng.lognormal(10, 0.8, n),
    "waiting": lambda rng, n: 1000 + rng.gamma(1.5, 20_000, n),
    "change": lambda rng, n: 20_000 * rng.standard_t(3, n),
}
HEAPS = {
    "thousands, hundreds, ones": ((1000, 100, 1), (0.5, 0.3, 0.2)),
    "hundreds or as it is": ((100, 0), (0.7, 0.3)),
    "hundreds, with one in two hundred as it is": ((100, 0), (0.995, 0.005)),
    "thousands, and a few hundreds": ((1000, 100), (0.98, 0.02)),
    "every second": ((200, 100), (0.9, 0.1)),
    "quarters": ((250, 1), (0.6, 0.4)),
    "two steps and full precision": ((500, 50, 0), (0.6, 0.3, 0.1)),
}


@pytest.mark.parametrize("name", HEAPS)
@pytest.mark.parametrize("law", LAWS)
def test_heaps_are_found_with_their_exceptions(law, name):
    steps, shares = HEAPS[name]
    for seed in range(2):
        rng = np.random.default_rng(seed)
        values = heaped(rng, LAWS[law](rng, 4000), steps, shares)
        body = (Real if law == "change" else Positive)(steps)
        assert kind_of(values[values != 0]) == body
        values[:400] = 0
        assert kind_of(values) == SemiContinuous((0.0,), body), seed


def test_atoms_of_any_level_are_found_beside_heaps():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values = heaped(rng, rng.gamma(3, 100, 5000), (10, 0), (0.7, 0.3))
        which = rng.random(5000)
        values = np.select([which < 0.3, which < 0.35, which < 0.4, which < 0.43], [0, 353.77, 200, 612.25], values)
        assert kind_of(values) == SemiContinuous((0.0, 200.0, 353.77, 612.25), Positive((10.0, 0.0))), seed


def test_an_atom_off_a_plain_grid_makes_no_level():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(5000) < 0.05, 353.77, 1 + rng.poisson(rng.gamma(3, 100, 5000)))
    assert kind_of(values) == SemiContinuous((353.77,), Positive(1.0))


def test_one_value_off_the_grid_does_not_spoil_it():
    rng = np.random.default_rng(1)
    values = np.round(rng.gamma(3, 1, 3000) + 0.01, 2)
    values[7] = np.pi
    assert kind_of(values) == Positive((0.01, 0.0))


def two_digits(values, digits=2):
    return np.array([float(f"{value:.{digits}g}") for value in values])


PLAIN = {
    "continuous": lambda rng, x: x,
    "float32": lambda rng, x: x.astype(np.float32).astype(float),
    "coarse": lambda rng, x: on_steps(x, 0.3)[0],
    "fine": lambda rng, x: on_steps(x, 0.01)[0],
    "three decimals": lambda rng, x: np.round(x, 3),
    "multiples of five": lambda rng, x: 5 * np.rint(20 * x / np.ptp(np.quantile(x, [0.25, 0.75]))),
    "round atoms": lambda rng, x: np.where(rng.random(len(x)) < 0.3, rng.choice([5.0, 10.0, 20.0], len(x)), x),
    "a few prices": lambda rng, x: rng.choice(np.round(rng.lognormal(2, 1, 30), 2), len(x)),
    "dates": lambda rng, x: 1e4 * rng.integers(2000, 2024, len(x)) + 100 * rng.integers(1, 13, len(x)) + 1.0,
    "products": lambda rng, x: np.round(rng.lognormal(3, 1, len(x)), 2) * rng.integers(1, 5, len(x)),
    "ratios": lambda rng, x: rng.integers(1, 20, len(x)) / rng.integers(20, 30, len(x)),
    "four digits": lambda rng, x: two_digits(x, 4),
    "four digits of powers": lambda rng, x: two_digits(np.sign(x) * np.abs(x) ** 2.5, 4),
    "two digits": lambda rng, x: two_digits(x),
}


@pytest.mark.parametrize("name", PLAIN)
def test_no_heaps_are_found_where_there_are_none(name):
    # 63 columns a name. Of 5,000 more, of 28 such names, 5 had a level: all rounded to two or three digits, which
    # 1 in 300 has, most often columns of 100 rows.
    for seed, num_rows in np.ndindex(3, 3):
        for law in SMOOTH:
            rng = np.random.default_rng([seed, num_rows])
            values = PLAIN[name](rng, SMOOTH[law](rng, (100, 1000, 5000)[num_rows]))
            found = find_grid(tally(values, np.ones(len(values))))
            assert not isinstance(found, tuple), (seed, law, num_rows, found)


def test_counts_stay_counts():
    rng = np.random.default_rng(2)
    assert kind_of(rng.poisson(30, 4000)) == Count()
    assert kind_of(rng.negative_binomial(2, 0.05, 4000)) == Count()


def test_ends_of_an_interval_may_be_heaped():
    rng = np.random.default_rng(3)
    values = heaped(rng, rng.random(5000), (0.02, 0), (0.6, 0.4))
    assert kind_of(values) == SemiContinuous((0.0,), Interval(0, 1, (0.02, 0.0)))


needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real tables, ../shared/data, is absent")
WINE = {"chlorides": 0.001, "residual_sugar": (0.1, 0.05), "density": (0.0001, 0.00001), "alcohol": (0.1, 1 / 60)}


@needs_shared
def test_wine_is_measured_in_steps_with_exceptions():
    names = {1: "volatile_acidity", 3: "residual_sugar", 4: "chlorides", 7: "density", 10: "alcohol"}
    table = pd.read_csv(SHARED / "uci" / "redwine.csv.gz").iloc[:, list(names)].set_axis(list(names.values()), axis=1)
    schema = Schema.infer(table)
    for name, grid in WINE.items():
        assert schema.columns[name] == Positive(grid), name
