"""Tables of any library in, the same kind of table out."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_fit
from rich_fit import RICH, rich_table

import ptilde

LIBRARIES = {
    "pandas": lambda table: table,
    "polars": pl.from_pandas,
    "pyarrow": lambda table: pa.Table.from_pandas(table, preserve_index=False),
}


@pytest.fixture(params=list(LIBRARIES), scope="module")
def fitted(request, rich_model):
    table = LIBRARIES[request.param](rich_table())
    if request.param == "pandas":
        return rich_model, table
    return ptilde.ScoreDensity(RICH, random_state=3, max_iter=20).fit(table), table


def types(table):
    return table.dtypes if isinstance(table, pd.DataFrame) else table.schema


def modelled(table):
    """Without the column that the schema leaves out."""
    return table.drop(columns="id") if isinstance(table, pd.DataFrame) else table.drop("id")


def plain(table):
    return table if isinstance(table, pd.DataFrame) else table.to_pandas()


def test_draws_are_a_table_of_the_same_kind_with_the_same_columns_and_types(fitted):
    model, table = fitted
    drawn = model.sample(200)
    assert type(drawn) is type(table) and len(drawn) == 200
    assert list(plain(drawn).columns) == list(RICH.columns)
    expected = types(modelled(table))
    if isinstance(table, pa.Table):
        # A dictionary holds the values that were drawn; its index type is Arrow's own.
        assert [f.type for f in types(drawn) if f.name != "where"] == [f.type for f in expected if f.name != "where"]
        assert pa.types.is_dictionary(types(drawn).field("where").type)
    else:
        assert list(types(drawn)) == list(expected)


def test_draws_hold_what_the_schema_says_and_nothing_else(fitted):
    model, _ = fitted
    drawn = plain(model.sample(1000))
    amount = drawn["amount"].dropna().astype(float)
    assert np.all(amount * 2 == np.rint(amount * 2)) and amount.between(0, 200).all()
    assert (amount == 0).any() and (amount == 200).any() and amount.nunique() > 50
    visits = drawn["visits"].dropna().astype(float)
    assert np.all(visits == np.rint(visits)) and visits.min() == 0
    assert set(drawn["level"]) == {1, 2, 5} and set(drawn["flag"]) == {False, True}
    assert {"ä", "b"} <= set(drawn["where"].dropna()) <= {"ä", "b", "<script>"}
    assert drawn["size"].min() > 0 and drawn[["level", "flag", "real", "size"]].notna().all(axis=None)
    for name in ("amount", "visits", "where"):
        assert 0 < drawn[name].isna().mean() < 0.6


def test_every_library_gives_the_same_model(fitted, rich_model):
    model, table = fitted
    np.testing.assert_array_equal(model.score_samples(table), rich_model.score_samples(rich_table()))
    left, right = plain(model.sample(20)), rich_model.sample(20)
    assert left["size"].tolist() == right["size"].tolist()
    assert left["where"].astype(object).where(left["where"].notna(), None).tolist() == (
        right["where"].astype(object).where(right["where"].notna(), None).tolist()
    )


def test_what_is_drawn_can_be_scored(fitted):
    model, _ = fitted
    assert np.isfinite(model.score_samples(model.sample(300))).all()


def test_the_order_of_columns_and_the_columns_left_out_do_not_matter(fitted):
    model, table = fitted
    names = list(plain(table).columns)[::-1]
    back = table[names] if isinstance(table, pd.DataFrame) else table.select(names)
    expected = model.score_samples(table)
    np.testing.assert_array_equal(model.score_samples(back), expected)
    np.testing.assert_array_equal(model.score_samples(modelled(back)), expected)
    gradient = model.grad_log_density(table)
    np.testing.assert_array_equal(model.grad_log_density(back), gradient)
    assert gradient.shape == (80, 8) and np.isnan(gradient[:, 0]).all()  # "id" is left out


def test_a_model_of_one_library_scores_the_tables_of_another(rich_model):
    expected = rich_model.score_samples(rich_table())
    for convert in LIBRARIES.values():
        np.testing.assert_array_equal(rich_model.score_samples(convert(rich_table())), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_an_array_comes_back_as_an_array_of_its_type(dtype):
    array = (10 * np.random.default_rng(0).lognormal(size=(8, 2)) + 1).astype(dtype)
    kind = ptilde.Positive(grid=1 if dtype is np.int64 else None)
    model = ptilde.ScoreDensity(ptilde.Schema({"x0": kind, "x1": kind}), random_state=0, max_iter=5).fit(array)
    drawn = model.sample(50)
    assert type(drawn) is np.ndarray and drawn.dtype == dtype and drawn.shape == (50, 2)
    np.testing.assert_array_equal(model.score_samples(array.tolist()), model.score_samples(array))


def test_columns_numbered_by_pandas_keep_their_numbers():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)))
    drawn = ptilde.ScoreDensity(random_state=0, max_iter=5).fit(table).sample(3)
    assert list(drawn.columns) == [0, 1]


def test_a_table_on_disk_is_fitted_like_the_same_in_memory(fitted_table, fitted_model, tmp_path):
    pq.write_table(fitted_table, tmp_path / "t.parquet", row_group_size=90)
    stream = ptilde.Stream(tmp_path / "t.parquet")
    again = ptilde.ScoreDensity(schema=small_fit.small_schema, random_state=0, max_iter=small_fit.MAX_ITER).fit(stream)
    np.testing.assert_array_equal(again.score_samples(fitted_table), fitted_model.score_samples(fitted_table))
    with pytest.raises(ValueError, match="`sample_weight` must be None for a Stream"):
        ptilde.ScoreDensity().fit(stream, sample_weight=np.ones(400))
