"""Kinds, schemas, and their spelling in TOML and JSON."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptilde._validate import DataError
from ptilde.tabular.frames import open_table
from ptilde.tabular.schema import Categorical, Count, Interval, Positive, Real, Schema, SemiContinuous

finite = st.floats(allow_nan=False, allow_infinity=False)
several = st.sampled_from([(0.01, 0.0001), (100, 0), (1.0, 0.1, 1 / 30, 0), (7 / 365.25, 1 / 365.25)])
grids = st.none() | st.floats(1e-300, 1e300) | several
names = st.text() | st.sampled_from(["", "<script>", "a.b", '"', "'", "\\", "x\x7f\u2028\n", "Überschuß", "[columns]"])
intervals = st.tuples(finite, finite).filter(lambda ends: ends[0] != ends[1]).map(sorted)
plain_bodies = st.builds(Real, grids) | st.builds(Positive, grids)
bodies = plain_bodies | st.builds(lambda ends, grid: Interval(*ends, grid), intervals, grids)
atoms = st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=5, unique=True).map(lambda a: [v / 64 for v in a])
categories = (
    st.lists(st.text(), min_size=1, max_size=5, unique=True)
    | st.lists(st.booleans(), min_size=1, max_size=2, unique=True)
    | st.lists(finite | st.integers(), min_size=1, max_size=5, unique=True)
)
kinds = (
    st.builds(Real, grids, st.booleans())
    | st.builds(Positive, grids, st.booleans())
    | st.builds(lambda ends, grid, missing: Interval(*ends, grid, missing), intervals, grids, st.booleans())
    | st.builds(lambda a, body, missing: SemiContinuous(tuple(a), body, missing), atoms, bodies, st.booleans())
    | st.builds(lambda c, missing: Categorical(tuple(c), missing), categories, st.booleans())
    | st.builds(Count, st.booleans())
)


@st.composite
def schemas(draw):
    columns = draw(st.dictionaries(names, kinds, min_size=1, max_size=5))
    left_out = draw(st.dictionaries(names.filter(lambda name: name not in columns), st.text(), max_size=3))
    return Schema(columns, left_out, notes={name: "a note" for name in columns})


@settings(max_examples=150, deadline=None)
@given(schema=schemas())
def test_toml_and_json_give_back_every_schema(tmp_path_factory, schema):
    path = tmp_path_factory.mktemp("toml") / "schema.toml"
    schema.to_toml(path)
    for copy in (Schema.from_toml(path), Schema.from_dict(json.loads(json.dumps(schema.to_dict())))):
        assert copy == schema
        assert list(copy.columns) == list(schema.columns)
        assert repr(copy) == repr(schema)  # == takes True for 1 and 1 for 1.0


def test_a_file_says_what_was_seen_and_what_may_be_changed(tmp_path):
    rng = np.random.default_rng(0)
    claim = np.where(rng.random(1000) < 0.8, 0, rng.gamma(2, 100, 1000))
    schema = Schema.infer(pd.DataFrame({"claim": claim, "row": range(1000)}))
    schema.to_toml(tmp_path / "schema.toml")
    text = (tmp_path / "schema.toml").read_text()
    assert text.startswith("# What each column may hold.")
    share = 100 * np.mean(claim == 0)
    expected = [
        '[columns."claim"]',
        f"# 0: {share:.3g} %",
        'kind = "SemiContinuous"',
        "atoms = [0.0]",
        'body = "Positive"',
        "",
        "[left_out]",
        '"row" = "like an identifier: 1000 whole numbers, no two alike"',
    ]
    assert text.splitlines()[-len(expected) :] == expected


def test_a_schema_prints_as_an_aligned_table():
    schema = Schema(
        {
            "claim": SemiContinuous((0, 353.77), Positive(0.01), missing=True),
            "part": Interval(0, 1),
            "price": Positive((0.01, 0.0001, 0)),
            "a b\n": Categorical(("x", "y")),
            "number": Count(),
        },
        {"key": "like an identifier"},
        {"claim": {0.0: 0.9321, 353.77: 0.0032}},
        {"part": "to the brim"},
    )
    assert str(schema).splitlines() == [
        "column   kind            atoms                      body          grid               missing  note",
        "-------  --------------  -------------------------  ------------  -----------------  -------  -----------",
        "claim    SemiContinuous  0: 93.2 %, 353.77: 0.32 %  > 0           0.01               yes",
        "part     Interval                                   (0, 1)                                    to the brim",
        "price    Positive                                   > 0           0.01, 0.0001, any",
        "'a b\\n'  Categorical     x, y",
        "number   Count                                      0, 1, 2, ...  1",
        "",
        "left out",
        "  key  like an identifier",
    ]


BAD_KINDS = {
    "Real(grid=0)": (lambda: Real(grid=0), "`grid` must be positive and finite; got 0."),
    "Real(missing=1)": (lambda: Real(missing=1), "`missing` must be true or false; got 1."),
    "Interval(1, 1)": (lambda: Interval(1, 1), "`low` must be below `high`; got 1.0 and 1.0."),
    "Interval(0, inf)": (lambda: Interval(0, float("inf")), "`high` must be a finite number; got inf."),
    "no atoms": (
        lambda: SemiContinuous(()),
        "`atoms` must hold at least one number; got none. Use the kind of the body instead.",
    ),
    "nan atom": (lambda: SemiContinuous((float("nan"),)), "`atoms` must be a finite number; got nan."),
    "one atom twice": (
        lambda: SemiContinuous((0.1 + 0.2, 0.3)),
        "`atoms` must be distinct; got 0.3 and 0.30000000000000004.",
    ),
    "missing body": (
        lambda: SemiContinuous((0,), Real(missing=True)),
        "`missing` must be set on the column, not on its body; got a body with missing=True.",
    ),
    "count body": (
        lambda: SemiContinuous((0,), Count()),
        "`body` must be Real, Positive or Interval; got Count(missing=False).",
    ),
    "no categories": (lambda: Categorical(()), "`categories` must hold at least one value; got none."),
    "two types": (lambda: Categorical((1, "a")), "`categories` must be of one type; got 1 and 'a'."),
    "twice": (lambda: Categorical((1, 1.0)), "`categories` must be distinct; got 1.0 twice."),
    "infinite": (
        lambda: Categorical((float("inf"),)),
        "`categories` must be strings, booleans or finite numbers; got inf.",
    ),
}


@pytest.mark.parametrize("name", BAD_KINDS)
def test_a_kind_refuses_what_it_cannot_be(name):
    make, message = BAD_KINDS[name]
    with pytest.raises(ValueError) as refusal:
        make()
    assert str(refusal.value) == message


BAD_TOML = {
    'kind = "Postive"': "Column 'x': `kind` must be one of Real, Positive, Interval, SemiContinuous, "
    "Categorical, Count; got 'Postive'. Perhaps 'Positive'?",
    'kind = "Real"\ngird = 1': "Column 'x': `gird` is no key of kind Real, whose keys are "
    "`grid`, `missing`. Perhaps 'grid'?",
    'kind = "Interval"\nlow = 0': "Column 'x': `high` must be given for kind Interval; got only kind, low.",
    'kind = "Interval"\nlow = 2\nhigh = 1': "Column 'x': `low` must be below `high`; got 2.0 and 1.0.",
    'kind = "SemiContinuous"\natoms = 0': "Column 'x': `atoms` must be a list of numbers; got 0.",
    'kind = "SemiContinuous"\natoms = [inf]': "Column 'x': `atoms` must be a finite number; got inf.",
    'kind = "SemiContinuous"\natoms = [0, 0.0]': "Column 'x': `atoms` must be distinct; got 0.0 and 0.0.",
    'kind = "SemiContinuous"\natoms = ["a"]': "Column 'x': `atoms` must be a finite number; got 'a'.",
    'kind = "SemiContinuous"\natoms = [0]\nbody = "Count"': "Column 'x': `body` must be one of Real, "
    "Positive, Interval; got 'Count'.",
    'kind = "SemiContinuous"\natoms = [0]\nlow = 1': "Column 'x': `low` must not be given when `body` is Positive. "
    "An Interval has `low` and `high`.",
    'kind = "Categorical"\ncategories = "ab"': "Column 'x': `categories` must be a list of values; got 'ab'.",
    'kind = "Real"\ngrid = [0.1, 1]': "Column 'x': `grid` must go from coarse to fine, each a whole multiple of the "
    "next; got 0.1 before 1.",
    'kind = "Real"\nmissing = "yes"': "Column 'x': `missing` must be true or false; got 'yes'.",
    'kind = ["Real"]': "Column 'x': `kind` must be one of Real, Positive, Interval, SemiContinuous, "
    "Categorical, Count; got ['Real'].",
}


@pytest.mark.parametrize("text", BAD_TOML)
def test_a_wrong_file_is_refused_with_column_and_key(tmp_path, text):
    path = tmp_path / "schema.toml"
    path.write_text(f"[columns.x]\n{text}\n")
    with pytest.raises(DataError) as refusal:
        Schema.from_toml(path)
    assert str(refusal.value) == BAD_TOML[text]


def test_a_file_that_is_no_schema_is_refused(tmp_path):
    path = tmp_path / "schema.toml"
    for text, message in {
        "": r"A schema must have \[columns\] with at least one column; got None",
        "[x]\nkind = 'Real'": r"only \[columns\] and \[left_out\]; got 'x'. Is it \[columns.x\]\?",
        "[columns]\nx = 1": "Column 'x' must be a table of keys with `kind`; got 1",
        "[columns": "must be TOML; got: ",
        "[columns.x]\nkind = 'Real'\n[left_out]\nx = 'no'": "'x' must be either modelled or left out; got both",
    }.items():
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            Schema.from_toml(path)
    with pytest.raises(DataError, match="must be a readable file; got: No such file or directory"):
        Schema.from_toml(tmp_path / "none.toml")


SCHEMA = Schema({"paid": SemiContinuous((0,)), "sex": Categorical(("F", "M"))}, {"key": "like an identifier"})


def test_columns_in_another_order_are_put_in_order_and_left_out_ones_dropped():
    frame = pd.DataFrame({"sex": ["F", "M"], "key": [7, 8], "paid": [0.0, 1.5]})
    for table in (frame, frame[["paid", "sex"]], pl.DataFrame(frame.to_dict("list"))):
        columns = SCHEMA.check(open_table(table))
        assert list(columns) == ["paid", "sex"]
        assert columns["paid"].tolist() == [0.0, 1.5] and columns["sex"].tolist() == ["F", "M"]


BAD_TABLES = {
    "misspelt": (
        {"Paid": [1.0], "sex": ["F"]},
        "The table must have the columns of the schema; got none named 'paid'. Perhaps rename 'Paid' to 'paid'.",
    ),
    "absent": (
        {"sex": ["F"]},
        "The table must have the columns of the schema; got none named 'paid'. The table has 'sex'.",
    ),
    "extra": (
        {"paid": [1.0], "sex": ["F"], "age": [3]},
        "The table must have no columns but those of the schema; got also 'age'. "
        "Drop them, or name them as left out in the schema.",
    ),
    "missing": (
        {"paid": [1.0, None], "sex": ["F", "M"]},
        "Column 'paid' must have no missing values, as its kind says; got one in row 1. "
        "Fill it in, drop the row, or set missing = true in the schema and fit again.",
    ),
    "words": (
        {"paid": ["1.0", "two"], "sex": ["F", "M"]},
        "Column 'paid' must hold numbers, as its kind SemiContinuous says; got 'two' in row 1. "
        "Convert the column, or correct its kind in the schema.",
    ),
    "numbers": (
        {"paid": [1.0], "sex": [2]},
        "Column 'sex' must hold text, as its kind Categorical says; got 2.0 in row 0. "
        "Convert the column, or correct its kind in the schema.",
    ),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_table_that_does_not_fit_is_refused(name):
    columns, message = BAD_TABLES[name]
    with pytest.raises(DataError) as refusal:
        SCHEMA.check(open_table(pd.DataFrame(columns)))
    assert str(refusal.value) == message


def test_a_kind_tells_which_values_it_holds():
    x = np.array([-1.0, 0.0, 0.2, 0.30000000000000004, 0.25, 1.0, np.nan])
    assert Real().holds(x).tolist() == [True] * 6 + [False]
    assert Positive(missing=True).holds(x).tolist() == [False, False, True, True, True, True, True]
    assert Positive(0.1).holds(x).tolist() == [False, False, True, True, False, True, False]
    assert Interval(0, 1).holds(x).tolist() == [False, False, True, True, True, False, False]
    assert Interval(0, 1, 0.1).holds(x).tolist() == [False, True, True, True, False, True, False]
    assert SemiContinuous((-1, 0.25), Positive(0.1)).holds(x).tolist() == [True, False, True, True, True, True, False]
    assert Count().holds(x).tolist() == [False, True, False, False, False, True, False]
    words = np.array(["a", None, "c"], dtype=object)
    assert Categorical(("a", "b"), missing=True).holds(words).tolist() == [True, True, False]


def test_names_and_reasons_are_printed_without_control_characters():
    schema = Schema({"a\x1b": Real()}, left_out={"\u2028": "\u202e", "b": "all missing"})
    assert all(c.isprintable() or c == "\n" for c in str(schema)) and "all missing" in str(schema)
