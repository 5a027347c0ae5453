"""What inference finds on tables whose law is known, and on real ones."""

import numpy as np
import pandas as pd
import pytest
from simulated_tables import SHARED, SMOOTH, on_steps

from ptilde._validate import DataError
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.frames import open_table
from ptilde.tabular.schema import Categorical, Count, Interval, Positive, Real, Schema, SemiContinuous


def kind_of(values, **keywords):
    return Schema.infer(pd.DataFrame({"a": values}), **keywords).columns["a"]


def atoms_of(kind):
    return kind.atoms if isinstance(kind, SemiContinuous) else ()


@pytest.mark.parametrize("law", SMOOTH)
def test_no_smooth_law_has_an_atom_gridded_or_not(law):
    # 36 columns a law, 252 in all; the Poisson tail of 1e-6 and at most 300 candidates a column bound the false alarms
    # by 3e-4 a column off a grid. On a coarse grid with 30 rows the neighbours are noisy: 1 in 1,700 was seen.
    for seed in range(3):
        for num_rows in (100, 1000, 10_000):
            smooth = SMOOTH[law](np.random.default_rng([seed, num_rows]), num_rows)
            for share in (None, 0.01, 0.1, 0.3):
                values = smooth if share is None else on_steps(smooth, share)[0]
                found = [atom for atom in atoms_of(kind_of(values)) if atom != 0]
                assert found == [], (seed, num_rows, share)


@pytest.mark.parametrize("law", SMOOTH)
def test_atoms_of_one_percent_are_found_inside_and_at_the_end(law):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values = SMOOTH[law](rng, 3000)
        inside, end = float(np.quantile(values, 0.4)), float(values.max() + 1)
        which = rng.random(3000)
        values = np.where(which < 0.015, inside, np.where(which < 0.03, end, values))
        assert np.allclose(atoms_of(kind_of(values)), [inside, end], rtol=1e-9), seed


def test_atoms_may_be_neighbours_and_off_the_grid():
    rng = np.random.default_rng(0)
    values = np.round(rng.lognormal(6, 1, 5000), 2)
    which = rng.random(5000)
    values = np.select([which < 0.6, which < 0.65, which < 0.67, which < 0.69], [0, 353.76999998, 389.95, 390], values)
    assert atoms_of(kind_of(values)) == (0.0, 353.77, 389.95, 390.0)


def test_the_first_cell_of_a_falling_law_is_no_atom():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rain = np.where(rng.random(2000) < 0.6, 0.0, np.ceil(rng.gamma(0.5, 8, 2000) / 0.2) * 0.2)
        kind = kind_of(rain)
        assert kind == SemiContinuous((0.0,), Positive(grid=0.2)), seed


def test_values_that_a_few_rows_share_by_coincidence_are_no_atoms():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        prices = rng.lognormal(3, 1, 300) / 0.88
        dollars = np.where(rng.random(15_000) < 0.25, 0, rng.choice(prices, 15_000) * rng.integers(1, 40, 15_000))
        assert kind_of(dollars) == SemiContinuous((0.0,), Positive()), seed


def test_rounding_to_two_digits_makes_no_atoms():
    for seed in range(10):
        values = np.random.default_rng(seed).lognormal(5, 1.5, 5000)
        rounded = np.array([float(f"{value:.2g}") for value in values])
        assert atoms_of(kind_of(rounded)) == (), seed


@pytest.mark.parametrize("step", [0.2, 0.01, 1 / 365.25, 1 / 3, 5.0, 1000.0, 0.25])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_grid_is_found_through_float_noise(step, dtype):
    rng = np.random.default_rng(1)
    values = (step * rng.integers(1, 150, 4000)).astype(dtype)
    values = values * (1 + 1e-9 * rng.uniform(-1, 1, 4000)) if dtype == np.float64 else values
    assert kind_of(values).grid == pytest.approx(step, rel=1e-7)


def test_values_of_many_digits_have_no_grid():
    rng = np.random.default_rng(2)
    for values in (rng.normal(size=3000), rng.normal(size=3000).astype(np.float32), np.round(rng.random(3000), 9)):
        assert getattr(kind_of(values), "grid", None) is None


def test_a_grid_too_fine_to_show_is_not_kept():
    cents = np.round(np.random.default_rng(3).lognormal(9, 1, 3000), 2)
    assert kind_of(cents) == Positive()


RNG = np.random.default_rng(4)
KINDS = {
    "profit and loss": (np.where(RNG.random(4000) < 0.2, 0, RNG.normal(0, 9, 4000)), SemiContinuous((0.0,), Real())),
    "proportion": (
        np.clip(RNG.normal(0.5, 0.4, 4000), 0, 1),
        SemiContinuous((0.0, 1.0), Interval(0, 1)),
    ),
    "censored": (np.minimum(RNG.exponential(1, 4000), 1.7), SemiContinuous((1.7,), Interval(0, 1.7))),
    "limit": (
        np.where(RNG.random(4000) < 0.3, 0, np.minimum(RNG.lognormal(4.5, 1, 4000), 250)),
        SemiContinuous((0.0, 250.0), Interval(0, 250)),
    ),
    "sentinel": (np.where(RNG.random(4000) < 0.05, -999, RNG.gamma(2, 5, 4000)), SemiContinuous((-999.0,))),
    "uniform to the brim": (RNG.random(4000), Interval(0, 1)),
    "far from its brim": (RNG.beta(2, 5, 4000), Positive()),
    "negative": (RNG.normal(size=4000), Real()),
    "claim numbers": (RNG.poisson(0.3, 4000), Count()),
    "births": (RNG.poisson(30, 4000), Count()),
    "zero-inflated": (np.where(RNG.random(4000) < 0.7, 0, RNG.poisson(9, 4000)), SemiContinuous((0.0,), Positive(1))),
    "codes": (RNG.integers(1, 7, 4000), Categorical((1, 2, 3, 4, 5, 6))),
    "yes or no": (RNG.random(4000) < 0.3, Categorical((False, True))),
    "three floats": (RNG.choice([0.1, 0.25, 1 / 3], 4000), Categorical((0.1, 0.25, 1 / 3))),
    "words": (RNG.choice(["b", "a"], 4000), Categorical(("a", "b"))),
    "holes": (np.where(RNG.random(4000) < 0.1, np.nan, RNG.normal(size=4000)), Real(missing=True)),
    "constant with holes": (np.where(RNG.random(4000) < 0.1, np.nan, 2.0), Categorical((2,), missing=True)),
    "zero once": (np.r_[0.0, RNG.gamma(2, 5, 3999)], SemiContinuous((0.0,), Positive())),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_told_from_its_values(name):
    values, expected = KINDS[name]
    assert kind_of(values) == expected


def test_a_library_category_keeps_its_order_and_stays_a_category():
    sizes = pd.Categorical(["S", "L", "M", "S"] * 5, categories=["S", "M", "L", "XL"])
    numbers = pd.Categorical(list(range(40)) * 5)
    schema = Schema.infer(pd.DataFrame({"size": sizes, "number": np.resize(numbers, 20)}))
    assert schema.columns["size"] == Categorical(("S", "M", "L"))


def test_columns_without_a_law_are_left_out_with_the_reason():
    rng = np.random.default_rng(5)
    x = rng.normal(size=200)
    table = pd.DataFrame(
        {
            "x": x,
            "twin": x,
            "row": np.arange(200),
            "key": [f"k{i}" for i in range(200)],
            "hash": rng.permutation(2**62 - 10**6 * np.arange(200)),
            "one": 1.0,
            "none": np.nan,
        }
    )
    assert Schema.infer(table).left_out == {
        "twin": "a copy of column 'x'",
        "row": "like an identifier: 200 whole numbers, no two alike",
        "key": "like an identifier: 200 distinct values in 200 rows",
        "hash": "like an identifier: 200 distinct values in 200 rows",
        "one": "constant: always 1",
        "none": "all missing",
    }


def test_keys_drawn_from_a_range_are_told_from_amounts_by_the_lack_of_repetitions():
    rng = np.random.default_rng(6)
    keys = pd.DataFrame({"key": rng.permutation(100_000)[:5000], "x": rng.normal(size=5000)})
    amounts = pd.DataFrame({"key": rng.integers(0, 100_000, 5000), "x": rng.normal(size=5000)})
    assert "key" in Schema.infer(keys).left_out
    assert Schema.infer(amounts).left_out == {}


def test_whole_weights_are_repeated_rows():
    rng = np.random.default_rng(7)
    rows = np.column_stack([np.where(rng.random(2000) < 0.1, 5, rng.normal(size=2000)), rng.poisson(2, 2000)])
    weights = rng.integers(0, 4, 2000)
    weighted, repeated = Schema.infer(rows, weights), Schema.infer(np.repeat(rows, weights, axis=0))
    assert weighted == repeated and weighted.shares == repeated.shares
    assert weighted != Schema.infer(rows, rng.random(2000) * (rows[:, 0] != 5))  # the sibling: weights do matter


@pytest.mark.parametrize("num_rows", [2, 3, 5, 10, 20, 50])
def test_small_arrays_of_ordinary_numbers_get_kinds_that_hold_them(num_rows):
    rng = np.random.default_rng(num_rows)
    normal = rng.normal(20, 5, (num_rows, 3))
    for rows in (normal, normal.astype(np.float32), np.rint(20 * normal), normal - 20):
        schema = Schema.infer(rows)
        assert list(schema.columns) == ["x0", "x1", "x2"]
        assert all(kind.holds(rows[:, j].astype(float)).all() for j, kind in enumerate(schema.columns.values()))


def test_enormous_and_tiny_numbers_are_numbers():
    rng = np.random.default_rng(8)
    assert kind_of(np.r_[1e300, 2e300, -1e300, 1.5, 0.0]) == Real()
    assert kind_of(rng.normal(size=100) * 1e-305) == Real()
    assert kind_of(rng.lognormal(0, 150, 100)) == Positive()


REFUSALS = {
    "one row": (
        np.array([[1.0, 2.0]]),
        "The table must have at least one column whose values vary; got 'x0' is constant: always 1; 'x1' is constant: "
        "always 2. A single row (n_samples=1, one sample) has no law to learn.",
    ),
    "all zero": (
        np.zeros((10, 1)),
        "The table must have at least one column whose values vary; got 'x0' is constant: always 0.",
    ),
    "large integers": (
        pd.DataFrame({"id": np.repeat([2**53 + 1, 5], 10)}),
        "Column 'id' must hold integers up to 2^53, beyond which float64 confuses them; got 9007199254740993 in row 0. "
        "If it is an identifier, store it as text or drop it; if an amount, use a larger unit.",
    ),
    "a word among amounts": (
        pd.DataFrame({"paid": ["1.5", "2.5", "abc", None, "3.5"]}),
        "Column 'paid' must hold one type of value; got 'abc' in row 2 among numbers such as '1.5'. "
        "Replace it by a number or an empty cell.",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_table_without_a_law_is_refused(name):
    table, message = REFUSALS[name]
    with pytest.raises(DataError) as refusal:
        Schema.infer(table)
    assert str(refusal.value) == message


def test_weights_must_fit_the_rows():
    with pytest.raises(DataError, match=r"one weight for each of 3 rows; got shape \(2,\)"):
        Schema.infer(np.eye(3), [1, 1])
    with pytest.raises(DataError, match="finite, zero or more, and not all zero"):
        Schema.infer(np.eye(3), [1, -1, 1])


needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real tables, ../shared/data, is absent")
ZERO_POSITIVE = SemiContinuous((0.0,), Positive())
REAL_TABLES = {
    ("ausprivauto0405", "ClaimAmount"): SemiContinuous((0, 200, 353.77, 389.95, 390)),
    ("ausprivauto0405", "VehValue"): SemiContinuous((0.0,), Positive((0.01, 0.001, 0.0001))),
    ("ausprivauto0405", "ClaimNb"): Count(),
    ("randhie", "outpdol"): ZERO_POSITIVE,
    ("randhie", "drugdol"): ZERO_POSITIVE,
    ("randhie", "suppdol"): ZERO_POSITIVE,
    ("randhie", "mentdol"): ZERO_POSITIVE,
    ("randhie", "inpdol"): ZERO_POSITIVE,
    ("randhie", "mdvis"): Count(),
    ("pg15training", "Indtppd"): ZERO_POSITIVE,
    ("pg15training", "Indtpbi"): ZERO_POSITIVE,
    ("pg15training", "Value"): Positive(5.0),
    ("danishmulti", "Building"): ZERO_POSITIVE,
    ("danishmulti", "Contents"): ZERO_POSITIVE,
    ("danishmulti", "Profits"): ZERO_POSITIVE,
    ("meps2001", "ambexp"): SemiContinuous((0.0,), Positive(1.0)),
    ("rainibk", "rain"): SemiContinuous((0.0,), Positive(0.1)),
}


@needs_shared
@pytest.mark.parametrize(("table", "column"), REAL_TABLES)
def test_real_columns(table, column):
    values = pd.read_parquet(SHARED / f"{table}.parquet", columns=[column])
    assert Schema.infer(values).columns[column] == REAL_TABLES[table, column]


@needs_shared
def test_rain_at_forty_stations_is_zero_or_a_multiple_of_its_step():
    schema = Schema.infer(pd.read_parquet(SHARED / "rain_aus_wide.parquet"))
    assert len(schema.columns) == 40 and list(schema.left_out) == ["Date"]
    grids = {name: kind.grid for name, kind in schema.columns.items()}
    assert all(kind.atoms == (0.0,) and isinstance(kind.body, Positive) for kind in schema.columns.values())
    assert grids.pop("CoffsHarbour") == (0.2, 0.1)  # 16 of its amounts are odd tenths, 198 even ones
    assert set(grids.values()) == {0.2, 0.1}


@needs_shared
def test_exposure_is_counted_in_days():
    kind = Schema.infer(pd.read_parquet(SHARED / "ausprivauto0405.parquet")).columns["Exposure"]
    assert kind.grid == pytest.approx(1 / 365.25, rel=1e-7)
    assert kind == SemiContinuous((0.9993155373,), Interval(0, 0.9993155373, kind.grid))


@pytest.mark.parametrize("num_heaps", [5, 12, 25])
def test_what_is_inferred_can_always_be_fitted_though_heaps_hide_each_other(num_heaps):
    rng = np.random.default_rng(7)
    heaps = rng.uniform(10, 90, num_heaps)  # off any grid; among the rest, few rows that are all distinct
    values = np.where(rng.random(3000) < 0.97, rng.choice(heaps, 3000), rng.uniform(10, 90, 3000))
    table = open_table(values[:, None])
    schema = Schema.infer(table)
    Encoder.fit(schema, schema.check(table), np.ones(3000), rng)  # a tie it left in a body would be refused here


def test_a_spread_far_below_the_level_is_no_grid_of_one_value():
    values = 1e9 + np.random.default_rng(0).normal(0, 1e3, (500, 1))
    assert Schema.infer(values).columns["x0"].grid is None
