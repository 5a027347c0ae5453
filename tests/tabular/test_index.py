"""The index: one number for what covariates say of an amount, among the covariates' columns."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

from ptilde.tabular.covariates import Covariates
from ptilde.tabular.frames import open_table
from ptilde.tabular.index import NUM_SEGMENTS, ridge

ROWS = 600


def frame(n=ROWS, seed=0):
    """Two numbers, one with empty cells, and a column of levels."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame({"age": rng.gamma(3, 10, n), "size": rng.normal(size=n), "town": rng.choice(list("abc"), n)})
    return x.assign(size=x["size"].where(rng.random(n) > 0.1))


def amounts(table, seed=0):
    """Two amounts that hang on age and town, the second of which is active in half of the rows."""
    rng = np.random.default_rng(seed)
    told = np.log(table["age"]) + (table["town"] == "b")
    z = np.column_stack([told, -2 * told]) + rng.normal(size=(len(table), 2))
    return z, np.column_stack([np.ones(len(table), bool), rng.random(len(table)) < 0.5])


@pytest.fixture(scope="module")
def plain():
    return Covariates.fit(open_table(frame()), np.ones(ROWS))


@pytest.fixture(scope="module")
def indexed(plain):
    return plain.indexed(open_table(frame()), *amounts(frame()), np.ones(ROWS))


def features(covariates, table):
    return np.asarray(jax.vmap(covariates.basis)(covariates.encode(open_table(table))), float)


def test_a_linear_function_of_the_features_needs_not_write_them_out(plain):
    table = frame(seed=1).assign(town=np.random.default_rng(1).choice(list("abz"), ROWS))  # with one never seen
    effects = np.random.default_rng(2).normal(size=(2, plain.basis.num_features))
    told = plain.basis.linear(effects, plain.encode(open_table(table)))
    np.testing.assert_allclose(told, features(plain, table) @ effects.T, atol=2e-5)


def test_the_index_is_the_ridge_regression_by_its_quantiles(plain, indexed):
    (z, active), other = amounts(frame()), frame(seed=3)
    by_hand = features(plain, other) @ ridge(features(plain, frame()), z, active, np.ones(ROWS))[:, 1:].T
    places = indexed.encode(open_table(other))[:, 2:4]
    for eta, place, knots in zip(by_hand.T, places.T, indexed.index.knots, strict=True):
        np.testing.assert_allclose(place, np.interp(eta, knots, np.arange(NUM_SEGMENTS + 1)), atol=1e-3)
    assert abs(np.corrcoef(by_hand[:, 0], np.log(other["age"]) + (other["town"] == "b"))[0, 1]) > 0.95


def test_the_columns_beside_it_stay_as_they_were(plain, indexed):
    table = open_table(frame(seed=4))
    np.testing.assert_array_equal(np.delete(indexed.encode(table), [2, 3], axis=1), plain.encode(table))
    assert indexed.names == plain.names


def test_rows_without_weight_have_no_say(plain):
    (z, active), weight = amounts(frame()), np.ones(ROWS)
    weight[:100] = 0.0
    first = plain.indexed(open_table(frame()), z, active, weight).index
    z[:100] = 1e6
    second = plain.indexed(open_table(frame()), z, active, weight).index
    np.testing.assert_array_equal(first.effects, second.effects)


def test_alone_it_leaves_of_all_features_only_its_own(indexed):
    basis, given = indexed.basis, indexed.encode(open_table(frame(seed=5)))
    alone = np.asarray(jax.vmap(basis)(basis.indices_alone(given)))
    np.testing.assert_array_equal(alone[:, basis.summarised], 0.0)
    np.testing.assert_array_equal(alone[:, ~basis.summarised], np.asarray(jax.vmap(basis)(given))[:, ~basis.summarised])
    assert (alone[:, ~basis.summarised] > 0).any(0).sum() == 2 * NUM_SEGMENTS  # but not the flags of empty cells


def test_it_comes_back_from_its_config_and_arrays(indexed):
    config, table = json.loads(json.dumps(indexed.to_config())), open_table(frame(seed=6))
    again = Covariates.from_config(config, indexed.arrays())
    assert again.basis == indexed.basis and again.to_config() == indexed.to_config()
    np.testing.assert_array_equal(again.encode(table), indexed.encode(table))


def test_there_is_something_to_sum_up_if_two_columns_vary(plain):
    table = frame()
    assert plain.several(open_table(table)) and not plain.several(open_table(table.assign(age=1.0, size=np.nan)))


def test_an_amount_that_no_row_has_gets_a_flat_index(plain):
    (z, active), weight = amounts(frame()), np.ones(ROWS)
    index = plain.indexed(open_table(frame()), z, active * [True, False], weight).index
    assert index.effects[0].any() and not index.effects[1].any() and (np.diff(index.knots) > 0).all()
