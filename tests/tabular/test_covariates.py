"""Covariates as features: piecewise linear functions of numbers, levels that were seen often, what is missing."""

import json
from functools import partial

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest

from ptilde._validate import DataError
from ptilde.tabular.covariates import FEWEST_ROWS, MOST_LEVELS, NUM_SEGMENTS, Basis, Covariates
from ptilde.tabular.frames import open_table

ROWS = 400
features = jax.jit(lambda basis, given: jax.vmap(basis)(given), static_argnums=0)


def frame(n=ROWS, seed=0):
    """A column of many values, one of three, one constant, one empty, one of text and one of numbers that are names."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "town": rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2]),
            "age": np.round(rng.gamma(3, 10, n), 3),
            "doors": rng.choice([2.0, 4.0, 5.0], n),
            "same": np.full(n, 7.0),
            "empty": np.full(n, np.nan),
            "zone": pd.Categorical(rng.choice([10, 20, 30], n)),
        }
    )


def fitted(table, weight=None):
    return Covariates.fit(open_table(table), np.ones(len(table)) if weight is None else weight)


def of(covariates, table):
    """The features of a table, in double precision as far as single goes."""
    return np.asarray(features(covariates.basis, covariates.encode(open_table(table))), np.float64)


def columns_of(covariates):
    """Where the features of each column lie."""
    basis, at, found = covariates.basis, 0, {}
    for name, num in zip(covariates.names, [*(s + 1 for s in basis.segments), *basis.levels], strict=True):
        found[name], at = slice(at, at + num), at + num
    assert at == basis.num_features
    return found


@pytest.mark.parametrize("name", ["age", "doors"])
def test_every_piecewise_linear_function_with_kinks_at_the_knots_is_a_linear_one_of_the_features(name):
    covariates = fitted(frame())
    knots, part = covariates.knots[name], columns_of(covariates)[name]
    x = np.linspace(knots[0], knots[-1], 101)
    table = pd.concat([frame(1)] * len(x), ignore_index=True).assign(**{name: x})
    own = of(covariates, table)[:, part]
    for at_knots in (2 * knots + 1, np.random.default_rng(1).normal(size=len(knots))):
        linear = at_knots[0] + own @ np.append(np.diff(at_knots), 0.0)
        np.testing.assert_allclose(linear, np.interp(x, knots, at_knots), atol=1e-5 * np.abs(at_knots).max())


def test_knots_are_all_values_of_a_column_with_few_and_quantiles_of_one_with_many():
    table = frame()
    knots = fitted(table).knots
    np.testing.assert_array_equal(knots["doors"], [2, 4, 5])
    np.testing.assert_array_equal(knots["same"], [7])
    assert len(knots["age"]) == NUM_SEGMENTS + 1
    share = np.mean(table["age"].to_numpy()[:, None] <= knots["age"], axis=0)
    np.testing.assert_allclose(share[1:], np.arange(1, NUM_SEGMENTS + 1) / NUM_SEGMENTS, atol=1 / ROWS)


def test_outside_the_knots_the_features_are_those_of_the_nearest_knot():
    covariates, low = fitted(frame()), frame(2)
    ends = covariates.knots["age"][[0, -1]]
    beyond, at = low.assign(age=ends + [-100, 100]), low.assign(age=ends)
    np.testing.assert_array_equal(of(covariates, beyond), of(covariates, at))


def test_an_empty_cell_has_a_feature_of_its_own_and_no_other():
    covariates = fitted(frame())
    table = frame(1).assign(age=np.nan, doors=4.0)
    values, parts = of(covariates, table)[0], columns_of(covariates)
    np.testing.assert_array_equal(values[parts["age"]], [0] * NUM_SEGMENTS + [1])
    np.testing.assert_array_equal(values[parts["doors"]], [1, 0, 0])
    np.testing.assert_array_equal(values[parts["empty"]], [1])
    np.testing.assert_array_equal(values[parts["same"]], [0])


def test_levels_are_those_seen_often_and_all_others_share_the_first_code():
    table = frame()
    table.loc[: FEWEST_ROWS - 1, "town"], table.loc[FEWEST_ROWS : 2 * FEWEST_ROWS - 2, "town"] = "often", "rare"
    covariates = fitted(table)
    assert covariates.levels["town"] == ("a", "b", "c", "often")
    asked = pd.concat([frame(1)] * 5, ignore_index=True).assign(town=["often", "rare", "never", "a", None])
    hot = of(covariates, asked)[:, columns_of(covariates)["town"]]
    np.testing.assert_array_equal(hot.argmax(1), [4, 0, 0, 1, 0])
    np.testing.assert_array_equal(hot.sum(1), 1)


def test_an_empty_cell_that_is_seen_often_is_a_level():
    table = frame()
    table.loc[::2, "town"] = None
    covariates = fitted(table)
    assert covariates.levels["town"] == ("a", "b", "c", None)
    hot = of(covariates, table)[:, columns_of(covariates)["town"]]
    np.testing.assert_array_equal(hot[:, 4], table["town"].isna())


def test_of_very_many_levels_the_most_frequent_are_kept():
    times = np.r_[np.full(MOST_LEVELS - 1, FEWEST_ROWS + 1), np.full(9, FEWEST_ROWS)]
    names = np.array([f"t{i:03d}" for i in range(len(times))])
    covariates = fitted(pd.DataFrame({"town": np.repeat(names[::-1], times[::-1])}))
    assert covariates.levels["town"] == tuple(names[: MOST_LEVELS - 1])
    assert covariates.basis == Basis((), (MOST_LEVELS,))


def test_a_categorical_of_numbers_is_levels_even_where_it_is_given_as_numbers_later():
    table = frame()
    covariates = fitted(table)
    assert covariates.levels["zone"] == (10, 20, 30) and "zone" not in covariates.knots
    as_numbers = table.assign(zone=table["zone"].astype(int))
    np.testing.assert_array_equal(of(covariates, as_numbers), of(covariates, table))


def test_neither_the_order_of_columns_nor_other_columns_nor_the_library_matters():
    table = frame()
    covariates, zones = fitted(table), table.assign(zone=table["zone"].astype(int))
    other = pl.from_pandas(zones).select(*reversed(table.columns), pl.lit("x").alias("more"))
    np.testing.assert_array_equal(of(covariates, other), of(covariates, table))


def test_rows_of_weight_zero_leave_no_trace():
    table = frame()
    spoilt = pd.concat([table, frame(seed=1).assign(age=1e6, town="z")], ignore_index=True)
    found = fitted(spoilt, np.repeat([1.0, 0.0], ROWS))
    assert found.to_config() == fitted(table).to_config()
    assert fitted(spoilt).to_config() != found.to_config()  # were the weights ignored
    for name, knots in fitted(table).knots.items():
        np.testing.assert_array_equal(found.knots[name], knots)


def test_a_column_that_is_absent_is_refused_by_name():
    with pytest.raises(DataError, match=r"must have the covariate 'doors'; got columns 'town', 'age', 'same'"):
        fitted(frame()).encode(open_table(frame().drop(columns="doors")))


def test_text_where_numbers_were_is_refused_by_column_and_row_and_empty_cells_are_not():
    covariates, table = fitted(frame()), frame(3)
    with pytest.raises(DataError, match=r"Covariate 'age' must hold numbers, as when it was fitted; got 'x' in row 1"):
        covariates.encode(open_table(table.assign(age=[None, "x", "y"])))
    nothing = covariates.encode(open_table(table.assign(age=np.array([None] * 3, object))))
    np.testing.assert_array_equal(nothing, covariates.encode(open_table(table.assign(age=np.nan))))


def test_it_comes_back_from_its_config_and_arrays():
    table = frame()
    table.loc[::2, "town"] = None
    covariates = fitted(table)
    config = json.loads(json.dumps(covariates.to_config()))
    again = Covariates.from_config(config, covariates.arrays())
    assert (again.names, again.levels, again.basis) == (covariates.names, covariates.levels, covariates.basis)
    np.testing.assert_array_equal(again.encode(open_table(table)), covariates.encode(open_table(table)))
    assert again.to_config() == covariates.to_config()


def test_bases_of_equal_sizes_share_one_program():
    traced = []

    @partial(jax.jit, static_argnums=0)
    def count(basis, given):
        traced.append(basis)
        return jax.vmap(basis)(given)

    for seed in range(2):
        table = frame(seed=seed)
        covariates = fitted(table)
        count(covariates.basis, covariates.encode(open_table(table)))
    assert len(traced) == 1
    table = frame().assign(doors=3.0)
    count(fitted(table).basis, fitted(table).encode(open_table(table)))
    assert len(traced) == 2
