"""A model file comes back as it was written, or was not written at all."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import CONFIG, arrays, assert_same, expected, put_together, take_apart

import ptilde
from ptilde import ModelFileError, store


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "claims.ptilde"
    store.write(path, CONFIG, arrays())
    return path


def test_what_is_read_is_what_was_written(saved):
    assert_same(store.read(saved, expected))


def test_the_same_model_gives_the_same_bytes_in_whatever_order_its_arrays_come(saved, tmp_path):
    store.write(tmp_path / "again.ptilde", CONFIG, dict(reversed(arrays().items())))
    assert (tmp_path / "again.ptilde").read_bytes() == saved.read_bytes()


def test_safetensors_own_reader_opens_the_file(saved):
    for name, value in safetensors.numpy.load_file(saved).items():
        np.testing.assert_array_equal(value, arrays()[name], strict=True)


def test_a_file_resealed_by_the_test_helper_is_still_read(saved):
    # Guards the tests below: their refusals are not merely those of a wrong checksum.
    saved.write_bytes(put_together(*take_apart(saved.read_bytes())))
    assert_same(store.read(saved, expected))


def test_inspect_tells_what_is_in_the_file_without_asking_what_should_be(saved):
    contents = store.inspect(saved)
    assert (contents.version, contents.config, contents.num_bytes) == (ptilde.__version__, CONFIG, saved.stat().st_size)
    assert contents.arrays["weight"] == ((2, 3), np.dtype(np.float32))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60)
@given(config=st.dictionaries(st.text(), json_values, max_size=5))
def test_any_plain_config_comes_back_equal(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "any.ptilde"
    try:
        store.write(path, config, {})
    except ModelFileError as error:  # only for half a surrogate pair
        assert "surrogates" in str(error)
    else:
        assert store.read(path, lambda _: {}) == (config, {})


@pytest.mark.parametrize(
    ("config", "values", "words"),
    [
        ({"x": float("nan")}, {}, "cannot hold this config (Out of range float values are not JSON compliant"),
        ({1: "x"}, {}, "cannot hold this config (the key 1 is not a string)"),
        ({"x": np.float32(1)}, {}, "cannot hold this config (Object of type float32"),
        ({}, {"w": np.array([1.0, np.nan])}, "cannot hold array 'w': it is nan at (1,)"),
        ({}, {"w": np.array(["a"], object)}, "cannot hold array 'w' of dtype object"),
        ({"x": "y" * 2**20}, {}, "the limits are 1,048,576 and 4,096"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_no_file(tmp_path, config, values, words):
    with pytest.raises(ModelFileError) as error:
        store.write(tmp_path / "m.ptilde", config, values)
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    for path, words in [(tmp_path / "no" / "m.ptilde", "does not exist"), (tmp_path, "it is a folder")]:
        with pytest.raises(ModelFileError, match=words) as error:
            store.write(path, CONFIG, arrays())
        assert repr(str(path)) in str(error.value)
