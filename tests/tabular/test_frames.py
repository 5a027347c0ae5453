"""Frames in and the same frames out."""

import datetime
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptilde._validate import DataError
from ptilde.tabular.frames import Template, frame_like, open_table

PANDAS = pd.DataFrame(
    {
        "float": [1.5, np.nan, 2.0],
        "single": np.array([1.1, 2, 3], dtype=np.float32),
        "int": [1, 2, 3],
        "byte": np.array([1, 2, 255], dtype=np.uint8),
        "nullable": pd.array([1, None, 3], dtype="Int64"),
        "arrow": pd.array([1, None, 3], dtype="int64[pyarrow]"),
        "bool": [True, False, True],
        "maybe": pd.array([True, None, False], dtype="boolean"),
        "text": ["a", None, "c"],
        "object": pd.Series(["a", None, "c"], dtype=object),
        "category": pd.Categorical(["x", None, "y"], categories=["z", "y", "x"], ordered=True),
        "numbers": pd.Categorical([3, 1, None]),
        "large": [2**60 + 1, 5, 6],
    }
)
POLARS = pl.DataFrame(
    {
        "float": [1.5, None, 2.0],
        "single": pl.Series([1.1, None, 3], dtype=pl.Float32),
        "int": [1, None, 3],
        "byte": pl.Series([1, 2, 255], dtype=pl.UInt8),
        "bool": [True, None, False],
        "text": ["a", None, "b"],
        "category": pl.Series(["a", None, "b"], dtype=pl.Categorical),
        "enum": pl.Series(["a", None, "b"], dtype=pl.Enum(["b", "a", "c"])),
        "cents": pl.Series([Decimal("1.25"), None, Decimal("3")], dtype=pl.Decimal(10, 2)),
        "nothing": [None, None, None],
    }
)
ARROW = pa.table(
    {
        "float": [1.5, None, 2.0],
        "single": pa.array([1.5, None, 3], pa.float32()),
        "int": [1, None, 3],
        "byte": pa.array([1, 2, 255], pa.uint8()),
        "bool": [True, None, False],
        "text": ["a", None, "b"],
        "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
        "cents": pa.array([Decimal("1.25"), None, Decimal("3.00")]),
        "nothing": pa.nulls(3),
    }
)


def through(table, **changes):
    opened = open_table(table)
    template = Template.from_dict(json.loads(json.dumps(opened.template.to_dict())))
    assert template == opened.template
    return frame_like(template, opened.columns | changes)


def test_pandas_comes_back_as_it_was():
    pd.testing.assert_frame_equal(through(PANDAS), PANDAS)


def test_polars_comes_back_as_it_was():
    assert through(POLARS).schema == POLARS.schema
    assert through(POLARS).equals(POLARS)


def test_pyarrow_comes_back_as_it_was():
    assert through(ARROW).equals(ARROW)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8])
def test_an_array_comes_back_as_it_was(dtype):
    array = np.arange(6).reshape(3, 2).astype(dtype)
    assert open_table(array).template.names == ("x0", "x1")
    np.testing.assert_array_equal(through(array), array, strict=True)


cells = {
    "float": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "int": st.none() | st.integers(-(2**53), 2**53),
    "text": st.none() | st.text(),
    "bool": st.none() | st.booleans(),
}


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(*cells.values()), min_size=1, max_size=8))
def test_any_cells_come_back(rows):
    columns = dict(zip(cells, map(list, zip(*rows, strict=True)), strict=True))
    types = {"float": pa.float64(), "int": pa.int64(), "text": pa.string(), "bool": pa.bool_()}
    arrow = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    assert through(arrow).equals(arrow)
    polars = pl.DataFrame(columns, schema={"float": pl.Float64, "int": pl.Int64, "text": pl.String, "bool": pl.Boolean})
    assert through(polars).equals(polars)


def test_numbers_are_float64_and_all_else_objects():
    columns = open_table(PANDAS).columns
    assert columns["nullable"].dtype == np.float64 and np.isnan(columns["nullable"][1])
    assert columns["maybe"].tolist() == [True, None, False]
    assert columns["category"].tolist() == ["x", None, "y"]
    assert columns["large"].tolist() == [2**60 + 1, 5, 6]


def test_drawn_integers_widen_only_as_far_as_they_must():
    holes = np.array([1.0, np.nan, 3.0])
    assert through(PANDAS, int=holes)["int"].dtype == "Int64"
    assert through(PANDAS, int=np.array([1.0, 2.5, 3.0]))["int"].dtype == "float64"
    assert through(PANDAS, byte=np.array([1.0, 256.0, 3.0]))["byte"].tolist() == [1, 256, 3]
    assert through(POLARS, byte=np.array([1.0, 256.0, 3.0]))["byte"].dtype == pl.Int64
    assert through(POLARS, byte=holes)["byte"].dtype == pl.UInt8
    assert through(ARROW, int=np.array([1.0, 2.5, 3.0]))["int"].to_pylist() == [1.0, 2.5, 3.0]
    assert through(PANDAS, bool=np.array([True, None, False], dtype=object))["bool"].dtype == "boolean"


def test_only_the_named_columns_are_built_in_the_order_of_the_template():
    opened = open_table(PANDAS)
    frame = frame_like(opened.template, opened.columns, names=["text", "float"])
    assert list(frame.columns) == ["float", "text"]


def test_numbered_columns_of_pandas_stay_numbers():
    frame = pd.DataFrame(np.eye(2))
    pd.testing.assert_frame_equal(through(frame), frame, check_column_type=False)
    assert list(through(frame).columns) == [0, 1]


def cure(got, what="Turn it into numbers or text, or drop it."):
    return f"Column 'd' must hold numbers, text or booleans; got {got}. {what}"


DATE = "Turn dates into numbers, such as days since the first one, or drop the column."
LIST = "Give each element a column of its own, or drop the column."
TWICE = "Column names must be distinct; got 'a' 2 times. Rename one."
NEITHER = "The table must be of pandas, polars or pyarrow, or a 2-D array; got {}. "
RESHAPE = (
    "Expected 2D array, got {} array instead: shape {}. Reshape your data either using array.reshape(-1, 1) if it has "
    "one column or array.reshape(1, -1) if it has one row."
)
REFUSALS = {
    "date and time": (pd.DataFrame({"d": [None, pd.Timestamp("2020")]}), cure("a date and time in row 1", DATE)),
    "dates of Python": (
        pd.DataFrame({"d": [datetime.date(2020, 1, 1)]}),
        cure("a date (datetime.date(2020, 1, 1)) in row 0", DATE),
    ),
    "polars date": (pl.DataFrame({"d": [datetime.date(2020, 1, 1)]}), cure("a date in row 0", DATE)),
    "duration": (pd.DataFrame({"d": pd.to_timedelta([1])}), cure("a duration in row 0")),
    "list": (pl.DataFrame({"d": [[1], [2]]}), cure("a list in row 0", LIST)),
    "bytes": (pa.table({"d": [None, b"x"]}), cure("bytes in row 1", "Decode the bytes to text, or drop the column.")),
    "complex": (
        pd.DataFrame({"d": [1j]}),
        cure(
            "a complex number (1j) in row 0",
            "Complex data not supported: give real and imaginary parts columns of their own.",
        ),
    ),
    "record": (pd.DataFrame({"d": [{"a": 1}]}), cure("a value of type dict ({'a': 1}) in row 0")),
    "mixed": (
        pd.DataFrame({"d": [1.5, None, "abc"]}),
        "Column 'd' must hold one type of value; got 1.5 in row 0 and 'abc' in row 2. "
        "Make them all numbers or all strings, with empty cells for what is missing.",
    ),
    "infinite": (
        pd.DataFrame({"d": [1.0, -np.inf]}),
        "Column 'd' must hold finite numbers; got -inf in row 1. "
        "Leave the cell empty if the value is missing, or replace it.",
    ),
    "two of a name": (pd.DataFrame([[1, 2]], columns=["a", "a"]), TWICE),
    "two of a name in pyarrow": (pa.table([[1], [2]], names=["a", "a"]), TWICE),
    "names of two types": (
        pd.DataFrame({1: [1], "a": [2]}),
        "Column names must be all strings; got [1, 'a']. Rename the columns.",
    ),
    "no rows": (pl.DataFrame({"a": []}), "The table must have at least one row; got none (columns 'a')."),
    "no rows in an array": (np.ones((0, 3)), "The table must have at least one row; got none: shape (0, 3)."),
    "no columns": (pd.DataFrame(), "The table must have at least one column; got none."),
    "lazy": (
        pl.LazyFrame({"a": [1]}),
        "The table must be in memory; got a lazy frame. Call its `collect()` first.",
    ),
    "dict": ({"a": [1]}, NEITHER.format("dict") + "Read files with `ptilde.tabular.reader.read_table`."),
    "path": ("x.csv", NEITHER.format("str") + "Read files with `ptilde.tabular.reader.read_table`."),
    "one dimension": (np.ones(3), RESHAPE.format("1D", "(3,)")),
    "three dimensions": (np.ones((2, 2, 2)), RESHAPE.format("3D", "(2, 2, 2)")),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_no_table_is_refused(name):
    table, message = REFUSALS[name]
    with pytest.raises(DataError) as refusal:
        open_table(table)
    assert str(refusal.value) == message
