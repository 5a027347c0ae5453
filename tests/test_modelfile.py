"""A fitted density comes back from its file bit for bit, and nothing else does."""

import copy
import json
import re
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from gaussian_strata import noise
from model_files import edited, opened, places, put_together, take_apart
from rich_fit import rich_table

import ptilde
from ptilde import ModelFileError, Positive, Schema, modelfile, store
from ptilde.joint import JointDensity
from ptilde.models import NoiseConditionalDensity, TriangularMap
from ptilde.tabular.frames import open_table


def assert_same_model(ours, theirs, table):
    for a, b in zip(jax.tree.leaves(ours._joint), jax.tree.leaves(theirs._joint), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), strict=True)
    assert jax.tree.structure(ours._joint) == jax.tree.structure(theirs._joint)
    assert (ours.schema_, ours._template, ours.history_) == (theirs.schema_, theirs._template, theirs.history_)
    assert (ours.seed_, ours.n_iter_, ours.fit_seconds_) == (theirs.seed_, theirs.n_iter_, theirs.fit_seconds_)
    np.testing.assert_array_equal(ours.score_samples(table), theirs.score_samples(table))
    assert ours.sample(7).equals(theirs.sample(7))


def test_the_model_that_comes_back_is_the_same_bit_for_bit(fitted_model, fitted_path, fitted_table):
    assert_same_model(fitted_model, ptilde.load(fitted_path), fitted_table)


@pytest.fixture(scope="module")
def mapped_model(rich_model):
    """A model with every kind of column, behind a map of noise."""
    model, layout = copy.copy(rich_model), rich_model._joint.amounts.layout
    sizes = len(layout.bodies), sum(layout.num_tokens)
    transport = noise(TriangularMap, *sizes, 6, 1, 3, 5, scale=0.2)
    network = noise(NoiseConditionalDensity, *sizes, 8, 1, 2, scale=0.01)
    parts = {"transport": transport, "network": network}
    model._joint = JointDensity(model._joint.states, replace(model._joint.amounts, **parts))
    return model


def test_so_does_one_with_every_kind_of_column_and_a_map(mapped_model, tmp_path):
    mapped_model.save(tmp_path / "rich.ptilde")
    loaded = ptilde.load(tmp_path / "rich.ptilde")
    assert_same_model(mapped_model, loaded, rich_table())
    assert list(loaded.feature_names_in_) == list(rich_table().columns) and loaded.n_features_in_ == 8
    loaded.save(tmp_path / "again.ptilde")
    assert (tmp_path / "again.ptilde").read_bytes() == (tmp_path / "rich.ptilde").read_bytes()


def test_so_does_one_of_heaped_numbers_whose_draws_are_as_heaped(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.gamma(3, 20, 400)
    table = pd.DataFrame({"x": np.where(rng.random(400) < 0.7, np.ceil(x), x), "y": np.ceil(10 * x) / 10})
    schema = Schema({"x": Positive((1, 0)), "y": Positive((1, 0.1))})
    model = ptilde.ScoreDensity(schema, random_state=0, max_iter=20).fit(table)
    model.save(tmp_path / "m.ptilde")
    assert_same_model(model, ptilde.load(tmp_path / "m.ptilde"), table)
    drawn = model.sample(2000)
    assert abs(np.mean(drawn["x"] == np.rint(drawn["x"])) - 0.7) < 0.1
    assert np.isfinite(model.score_samples(drawn)).all()
    np.testing.assert_allclose(10 * drawn["y"], np.rint(10 * drawn["y"]), rtol=1e-12)


@pytest.fixture(scope="module")
def rough_model():
    """A model of prices that mostly end in 9."""
    x = np.random.default_rng(0).gamma(3, 20, 600)
    table = pd.DataFrame({"x": np.where(np.arange(600) % 3 > 0, 10 * np.ceil(x / 10) - 1, np.ceil(x))})
    return ptilde.ScoreDensity(Schema({"x": Positive(1)}), random_state=0, max_iter=20).fit(table), table


def test_so_does_one_of_rough_shares(rough_model, tmp_path):
    model, table = rough_model
    assert "masses.0.0" in model._encoder.arrays()
    model.save(tmp_path / "m.ptilde")
    assert_same_model(model, ptilde.load(tmp_path / "m.ptilde"), table)


@pytest.mark.parametrize("name", ["knots.0", "masses.0.0"])
@pytest.mark.parametrize("row", [0, 1])
def test_a_map_of_a_column_that_does_not_increase_is_refused_by_name(rough_model, name, row, tmp_path):
    model, _ = rough_model
    arrays = {n: array.copy() for n, array in model._encoder.arrays().items()}
    arrays[name][row, 1] = arrays[name][row, 0]
    path = tmp_path / "m.ptilde"
    model.save(path)
    config = store.read(path, lambda _: {n: (k[0], k[1]) for n, k in store.inspect(path).arrays.items()})
    store.write(path, config[0], config[1] | arrays)
    with pytest.raises(ModelFileError, match=rf"the numbers of array '{name}' do not increase.*fit and save"):
        ptilde.load(path)


@pytest.mark.parametrize(
    "entry",
    [
        *({"num_masses": number} for number in ([0], [1], [40_001], [None], [-1], [1.5], "x", [3, 3], [])),
        *({"decimals": number} for number in (-1, 13, 2.0, "2", None, True)),
    ],
    ids=repr,
)
def test_masses_and_decimals_of_another_shape_are_refused(rough_model, entry, tmp_path):
    model, _ = rough_model
    path = tmp_path / "m.ptilde"
    model.save(path)
    document, data = take_apart(path.read_bytes())
    ours = json.loads(document["__metadata__"]["ptilde"])
    ours["config"]["encoder"][0] |= entry
    document["__metadata__"]["ptilde"] = json.dumps(ours)
    path.write_bytes(put_together(document, data))
    with pytest.raises(ModelFileError, match="its config is not|its config asks for|arrays"):
        ptilde.load(path)


@pytest.mark.parametrize("part", ["only numbers", "only choices"])
def test_so_does_one_without_states_or_without_amounts(part, tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(60, 2)) if part == "only numbers" else rng.choice(["a", "b"], (60, 2))
    model = ptilde.ScoreDensity(random_state=0, max_iter=20).fit(table)
    assert (model._joint.states is None) == (part == "only numbers") != (model._joint.amounts is None)
    model.save(tmp_path / "m.ptilde")
    loaded = ptilde.load(tmp_path / "m.ptilde")
    np.testing.assert_array_equal(loaded.score_samples(table), model.score_samples(table))
    np.testing.assert_array_equal(loaded.sample(5), model.sample(5))


def test_a_fresh_process_scores_and_draws_the_same(fitted_model, fitted_path, fitted_table):
    code = (
        "import sys, small_fit, ptilde\n"
        "model = ptilde.load(sys.argv[1])\n"
        "print(model.score_samples(small_fit.small_table()).tobytes().hex(), model.sample(3).to_pydict())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, fitted_path], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    assert run.returncode == 0, run.stderr
    scores, _, draws = run.stdout.strip().partition(" ")
    assert scores == fitted_model.score_samples(fitted_table).tobytes().hex()
    assert draws == str(fitted_model.sample(3).to_pydict())


@pytest.fixture(scope="module")
def parts(mapped_model, tmp_path_factory):
    """The config of a file, and a function that loads the file with another config in its place, resealed."""
    path = tmp_path_factory.mktemp("edits") / "m.ptilde"
    mapped_model.save(path)
    return opened(path)


def free(path):
    """Places whose value is data: any other value of its type describes another model, and is as good."""
    numbers, lists = {"low", "high", "grid"}, {"atoms", "categories", "points", "left_out"}
    if path == ("template", "dtypes", "id", "dtype"):
        return True  # of a column that was left out
    return path[0] == "facts" or "chart" in path or path[-1] in numbers or bool(lists & set(path[-2:-1]))


def test_the_helper_of_these_tests_leaves_a_good_file_good(parts):
    config, load_with, *_ = parts
    assert load_with(config).seed_ == 3


def test_a_config_without_one_of_its_keys_is_refused(parts):
    config, load_with, *_ = parts
    for path in places(config):
        if isinstance(path[-1], int) or {"grid", "missing"} & {path[-1]} or {"left_out", "history"} & set(path[-2:-1]):
            continue  # without these the schema is another one, or the history shorter, and whole
        with pytest.raises(ModelFileError, match="its config is not one that ptilde writes"):
            load_with(edited(config, path))
            pytest.fail(f"loaded without {path}")


@pytest.mark.parametrize("value", [None, -1, 1.5, "x", {}], ids=repr)
def test_a_config_with_another_value_is_refused_or_is_data(parts, value):
    config, load_with, *_ = parts
    for path in places(config):
        try:
            load_with(edited(config, path, value))
        except ModelFileError as error:
            assert "\n" not in str(error)
        else:
            same = edited(config, path, value) in (config, edited(config, ("schema", "left_out"), {}))
            assert same or free(path), f"loaded with {value!r} at {path}"


@pytest.mark.parametrize("name", ["x", "int7", "U1000000000", "float64 ", "String", "x[pyarrow]"])
def test_a_type_that_the_library_has_not_is_refused_by_column_and_name(parts, name):
    config, load_with, *_ = parts
    words = re.escape(f"column 'size' of the table has type {{'dtype': {name!r}}}")
    with pytest.raises(ModelFileError, match=words):
        load_with(edited(config, ("template", "dtypes", "size", "dtype"), name))
    load_with(edited(config, ("template", "dtypes", "id", "dtype"), name))  # left out, so never built


TEXT, NUMBERS, CENTS = ["a", "b"], [0, 1], [Decimal("1.25"), Decimal("2.50")]
COLUMNS = {
    "pandas": [
        *(pd.Series(NUMBERS).astype(t) for t in "float16 float32 uint8 Int64 Float32 bool boolean object".split()),
        *(pd.Series(NUMBERS).astype(f"{t}[pyarrow]") for t in "int64 double float halffloat bool".split()),
        *(pd.Series(TEXT).astype(t) for t in "str string string[python] string[pyarrow] object category".split()),
        *(pd.Series(NUMBERS).astype(f"Sparse[{t}]") for t in ("int64", "float64", "bool")),
        pd.Series(CENTS, dtype=pd.ArrowDtype(pa.decimal128(10, 2))),
    ],
    "polars": [
        *(pl.Series(NUMBERS, dtype=t) for t in (pl.Float32, pl.Int8, pl.UInt64, pl.Int128, pl.Object)),
        *(pl.Series(TEXT, dtype=t) for t in (pl.String, pl.Categorical, pl.Enum(TEXT))),
        pl.Series(CENTS, dtype=pl.Decimal(10, 2)),
        pl.Series([True, False]),
        pl.Series([None, None]),
    ],
    "pyarrow": [
        *(pa.array(NUMBERS, t) for t in (pa.float64(), pa.float32(), pa.int8(), pa.uint64(), pa.bool8())),
        *(pa.array(TEXT, t) for t in (pa.string(), pa.large_string(), pa.string_view())),
        pa.array(TEXT).dictionary_encode(),
        pa.array(CENTS),
        pa.array([True, False]),
        pa.nulls(2),
    ],
    "numpy": [np.array([NUMBERS], t) for t in ("f2", "f4", "f8", "g", "i1", "u8", "?", "O")]
    + [np.array([["a" * 2000, "b"]]), np.array([TEXT], object)],
}


@pytest.mark.parametrize("backend", COLUMNS)
def test_every_type_that_a_column_may_have_is_known(parts, backend):
    config, load_with, *_ = parts
    table = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table, "numpy": lambda c: c["x"]}[backend]
    for column in COLUMNS[backend]:
        template = open_table(table({"x": column})).template.to_dict()
        dtypes = dict.fromkeys(config["template"]["names"], next(iter(template["dtypes"].values())))
        assert template["backend"] == backend
        load_with(config | {"template": config["template"] | {"backend": backend, "dtypes": dtypes}})


def test_sizes_meant_to_waste_time_are_refused_before_anything_is_made(parts):
    config, load_with, *_ = parts
    sizes = [
        ("states", "width"),
        ("encoder", 1, "num_knots"),
        *(("amounts", "network", name) for name in ("width", "depth")),
    ]
    for path in sizes + [("amounts", "map", name) for name in ("width", "depth", "num_frequencies", "num_intervals")]:
        with pytest.raises(ModelFileError, match=f"{path[-1].removeprefix('num_')} {10**9}"):
            load_with(edited(config, path, 10**9))


def test_an_array_of_another_shape_or_type_is_refused_by_name(parts):
    config, load_with, document, data = parts
    name = next(n for n in document if n.endswith(".last.bias"))
    entry = document[name]
    for change in ({"shape": [1, *entry["shape"]]}, {"dtype": "I32"}):
        with pytest.raises(ModelFileError, match=r"array '.*last\.bias' has shape .*; its config asks for shape"):
            load_with(config, document | {name: entry | change}, data)
    gone = {n: e for n, e in document.items() if n != name}
    with pytest.raises(ModelFileError, match="is damaged"):
        load_with(config, gone, data)


def test_a_weight_that_is_not_a_number_is_refused_by_name(parts):
    config, load_with, document, data = parts
    name = next(n for n in document if n.endswith(".last.weight"))
    begin = document[name]["data_offsets"][0]
    spoilt = data[:begin] + np.float32(np.nan).tobytes() + data[begin + 4 :]
    with pytest.raises(ModelFileError, match=r"array '.*last\.weight' is nan at \(0, 0\)"):
        load_with(config, document, spoilt)


def test_a_model_that_is_not_finite_is_not_saved(fitted_model, tmp_path):
    joint = jax.tree.map(lambda a: np.full_like(a, np.nan), fitted_model._joint)
    parts = fitted_model.schema_, fitted_model._template, fitted_model._encoder, joint, {}
    with pytest.raises(ModelFileError, match="it is nan at .* Fit the model anew"):
        modelfile.save(modelfile.Fitted(*parts), tmp_path / "m.ptilde")
    assert list(tmp_path.iterdir()) == []
