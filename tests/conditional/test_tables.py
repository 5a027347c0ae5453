"""Tables with holes, and tables of a reweighted law, through the estimator's door."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from small_fit import small_schema, small_table

import ptilde
from ptilde import DataError, Schema
from ptilde.conditional import chain, tables


@pytest.fixture(scope="module")
def holed():
    """Forty rows of another table, as pandas with an index of its own; a third of the cells empty."""
    frame = small_table(40, seed=1).to_pandas().set_index(pd.Index(np.arange(100, 140)[::-1]))
    hole = np.random.default_rng(0).random(frame.shape) < 1 / 3
    return frame.mask(hole), frame, hole


def test_what_is_there_stays_to_the_last_bit_and_what_is_drawn_is_possible(fitted_model, holed):
    table, truth, hole = holed
    whole = fitted_model.impute(table)
    assert whole.index.equals(table.index) and list(whole.columns) == list(table.columns)
    assert whole.dtypes.equals(truth.dtypes) and not whole.isna().any(axis=None)
    for j, (name, kind) in enumerate(small_schema.columns.items()):
        assert (whole[name][~hole[:, j]] == truth[name][~hole[:, j]]).all()
        assert kind.holds(whole[name].to_numpy()).all()
    drawn = whole["claim"][hole[:, 0]]
    assert (drawn == 0).any() and (drawn > 0).any()


@pytest.mark.parametrize(
    "to", [pl.from_pandas, lambda f: pa.Table.from_pandas(f, preserve_index=False)], ids=["polars", "arrow"]
)
def test_every_kind_of_frame_comes_back_as_it_was_with_the_same_draws(fitted_model, holed, to):
    table = to(holed[0])
    whole = fitted_model.impute(table)
    assert type(whole) is type(table) and list(whole.to_pandas().columns) == list(holed[0].columns)
    pd.testing.assert_frame_equal(
        whole.to_pandas(), fitted_model.impute(holed[0]).reset_index(drop=True), check_dtype=False
    )


def test_the_same_seed_draws_the_same_and_several_draws_differ(fitted_model, holed):
    one, two = fitted_model.impute(holed[0], n_draws=2, random_state=3)
    again = fitted_model.impute(holed[0], random_state=3)
    pd.testing.assert_frame_equal(one, again)
    assert not one.equals(two) and two[~holed[0].isna()].equals(one[~holed[0].isna()])


def test_a_table_without_holes_comes_back_unchanged(fitted_model, holed):
    pd.testing.assert_frame_equal(fitted_model.impute(holed[1]), holed[1])


def test_what_the_model_knows_of_the_other_cells_is_used(fitted_model):
    # Draws given the region alone have the shares of the model's own rows of that region.
    own = fitted_model.sample(8000).to_pandas()
    for region in ("north", "south"):
        table = small_table(400, seed=2).to_pandas().assign(region=region, claim=np.nan, rain=np.nan, share=np.nan)
        drawn, rows = fitted_model.impute(table), own[own["region"] == region]
        for name in ("claim", "rain"):
            assert abs((drawn[name] > 0).mean() - (rows[name] > 0).mean()) < 4.5 * 0.5 * np.sqrt(
                1 / 400 + 1 / len(rows)
            )
        error = 4.5 * np.sqrt(rows["share"].var() * (1 / 400 + 1 / len(rows)))
        assert abs(drawn["share"].mean() - rows["share"].mean()) < error


def test_cells_that_may_be_missing_are_filled_when_imputed_and_may_stay_empty_when_given():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ np.array([[1, 0.9], [0, 0.4]])
    holed = np.where(np.stack([np.zeros(200), rng.random(200) < 0.5], 1) > 0, np.nan, x)
    schema = Schema({"x0": ptilde.Real(), "x1": ptilde.Real(missing=True)})
    model = ptilde.ScoreDensity(schema, random_state=0, max_iter=50).fit(holed)
    whole, hole = model.impute(holed), np.isnan(holed[:, 1])
    assert whole.shape == x.shape and np.array_equal(whole[:, 0], x[:, 0]) and not np.isnan(whole).any()
    assert np.array_equal(whole[~hole], x[~hole]) and np.corrcoef(whole[hole].T)[0, 1] > 0.7
    share = np.isnan(model.sample(given=pd.DataFrame({"x0": x[:, 0]}))[:, 1]).mean()
    assert 0.3 < share < 0.7


def test_rows_that_hardly_moved_are_counted_in_a_warning(fitted_model, holed, monkeypatch):
    few = int(holed[2].any(1).sum())
    redraw = tables.redraw
    still = lambda *args, **more: redraw(*args, **more)._replace(moved=np.r_[np.full(2, 0.04), np.ones(few - 2)])  # noqa: E731
    monkeypatch.setattr(tables, "redraw", still)
    with pytest.warns(UserWarning, match=f"2 of {few} rows moved in fewer than 5% of their steps"):
        fitted_model.impute(holed[0])


# Given values


def test_given_values_are_kept_and_every_row_is_drawn_as_often_as_asked(fitted_model):
    given = pd.DataFrame({"region": ["north", "south"], "claim": [0.0, 12.5]})
    drawn = fitted_model.sample(50, given=given)
    assert list(drawn.to_pandas()["region"]) == ["north"] * 50 + ["south"] * 50
    assert drawn.column_names == list(small_schema.columns)
    np.testing.assert_array_equal(drawn["claim"], np.repeat([0.0, 12.5], 50))


def test_rows_that_are_given_whole_come_back(fitted_model, holed):
    pd.testing.assert_frame_equal(
        fitted_model.sample(given=holed[1]).to_pandas(), holed[1].reset_index(drop=True), check_dtype=False
    )


def test_a_given_value_that_cannot_be_is_refused_with_its_row(fitted_model):
    with pytest.raises(DataError, match=re.escape("Column 'rain' must hold")) as error:
        fitted_model.sample(given=pd.DataFrame({"rain": [0.0, 0.31]}))
    assert "0.31 in row 1 (1 such rows)" in str(error.value)
    with pytest.raises(DataError, match="no columns but those of the schema; got also 'rian'"):
        fitted_model.sample(given=pd.DataFrame({"rian": [0.0]}))


def test_a_row_that_no_completion_satisfies_is_named(fitted_model):
    given = pd.DataFrame({"claim": [1.0, 0.0]})
    with pytest.raises(DataError, match="Row 1 must have a completion with positive probability and weight"):
        fitted_model.sample(given=given, log_weight=lambda rows: np.asarray(rows["claim"]) > 0)


# Weights


def test_rows_meet_a_condition(fitted_model):
    large = fitted_model.sample(100, log_weight=lambda rows: np.asarray(rows["claim"]) > 10)
    claim = np.asarray(large["claim"])
    assert len(claim) == 100 and claim.min() > 10 and len(np.unique(claim)) > 90


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (lambda rows: np.zeros(3), "`log_weight` must return one number, or true or false, for each of"),
        (lambda rows: np.full(rows.num_rows, np.nan), "`log_weight` must be a number below infinity, or -inf; got nan"),
        (lambda rows: np.zeros(rows.num_rows, bool), "`log_weight` must let through some of the model's own draws"),
    ],
)
def test_a_weight_that_is_none_is_refused(fitted_model, weight, words, monkeypatch):
    monkeypatch.setattr(chain, "_MOST_POOLS", 1)  # one pool of draws without a row is as good as sixteen
    with pytest.raises(ValueError, match=words):
        fitted_model.sample(5, log_weight=weight)


def test_a_table_of_categories_alone_is_completed():
    table = pd.DataFrame({"a": ["x", "y"] * 100, "b": [0.0, 1.0] * 100})
    schema = Schema({"a": ptilde.Categorical(("x", "y")), "b": ptilde.Categorical((0.0, 1.0))})
    model = ptilde.ScoreDensity(schema, random_state=0, max_iter=200).fit(table)
    whole = model.impute(table.assign(b=np.nan))
    assert (whole["b"] == table["b"]).mean() > 0.9
