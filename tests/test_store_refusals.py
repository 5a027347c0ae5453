"""A file that is not ours, damaged or made to do harm is refused in words."""

import json
import os
import pickle
import random
import re

import numpy as np
import pytest
import safetensors.numpy
from model_files import CONFIG, arrays, assert_same, expected, put_together, take_apart

import ptilde
from ptilde import ModelFileError, store


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "claims.ptilde"
    store.write(path, CONFIG, arrays())
    return path


def refusal(path, ask=expected):
    with pytest.raises(ModelFileError) as error:
        store.read(path, ask)
    message = str(error.value)
    assert message.startswith(f"model file {str(path)!r} ") and "\n" not in message and len(message) < 900
    assert message.endswith(("wrote.", "anew.", "--upgrade ptilde."))
    return message


def test_a_path_that_is_no_model_file_is_refused_in_words(tmp_path):
    path = tmp_path / "m.ptilde"
    assert "does not exist" in refusal(path)
    assert "is not a regular file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")
    path.write_bytes(b"")
    assert "is damaged: it is empty" in refusal(path)
    for foreign in (b"claim,amount\n1,2\n", pickle.dumps(CONFIG), b"PK\3\4" + bytes(60), b"abc", bytes(8)):
        path.write_bytes(foreign)
        assert "is not a model file (it begins with b'" in refusal(path)
    safetensors.numpy.save_file(arrays(), path)
    assert "is a safetensors file, but not one of ptilde's" in refusal(path)
    safetensors.numpy.save_file(arrays(), path, {"format": "pt"})
    assert "is a safetensors file, but not one of ptilde's" in refusal(path)


def ours(document, **changes):
    document["__metadata__"]["ptilde"] = json.dumps(json.loads(document["__metadata__"]["ptilde"]) | changes)


def test_a_file_of_another_format_says_to_upgrade(saved):
    document, data = take_apart(saved.read_bytes())
    ours(document, format=2)
    saved.write_bytes(put_together(document, data))
    known = f"has format 2, and ptilde {ptilde.__version__} reads format 1. Upgrade ptilde"
    assert known in refusal(saved)


def set_entry(name, **changes):
    def change(document):
        document[name] = document[name] | changes

    return change


def drop(name):
    return lambda document: document.pop(name)


def many(document):
    document.update({f"a{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(4_097)})


SPOILT = {
    "a hole": (
        set_entry("on", data_offsets=[41, 44]),
        "array 'on' begins at byte 41, and the one before it ends at 40",
    ),
    "an overlap": (set_entry("on", data_offsets=[39, 42]), "array 'on' begins at byte 39"),
    "a shape that does not fit": (set_entry("weight", shape=[3, 3]), "does not fit its place [8, 32]"),
    "a shape that overflows": (set_entry("weight", shape=[2**62, 2**62]), "does not fit its place"),
    "a negative size": (set_entry("weight", shape=[-2, -3]), "array 'weight' has shape [-2, -3]"),
    "a size that is true": (set_entry("on", shape=[True, 3]), "array 'on' has shape [True, 3]"),
    "a size that is a fraction": (set_entry("on", shape=[3.0]), "array 'on' has shape [3.0]"),
    "a huge shape": (set_entry("weight", shape=[1] * 500), "array 'weight' has shape [1, 1, 1"),
    "one offset": (set_entry("on", data_offsets=[40]), "place [40]"),
    "an unknown dtype": (set_entry("on", dtype="OBJ"), "array 'on' has the unknown dtype 'OBJ'"),
    "a dtype that is a list": (set_entry("on", dtype=["F32"]), "array 'on' has the unknown dtype ['F32']"),
    "one thing too much": (set_entry("on", extra=1), "array 'on' is not described by dtype, shape and place"),
    "an entry that is a word": (lambda document: document.update(on="x"), "array 'on' is not described"),
    "an array less": (drop("on"), "its arrays need 40 bytes, and it has 43"),
    "too many arrays": (many, "it lists 4,102 arrays, and at most 4,096 are allowed"),
    "no version": (lambda document: ours(document, version=None), "it does not say its version"),
    "a format that is true": (lambda document: ours(document, format=True), "it does not say which format it has"),
    "a config that is a list": (lambda document: ours(document, config=[]), "it does not say its config"),
    "a config of another kind": (
        lambda document: ours(document, config={"sizes": 3}),
        "its config is not one that ptilde",
    ),
    "a config without": (
        lambda document: ours(document, config={}),
        "its config is not one that ptilde writes (KeyError",
    ),
    "other sizes": (
        lambda document: ours(document, config={"sizes": [2, 4]}),
        "array 'weight' has shape (2, 3) and dtype float32; its config asks for shape (2, 4) and dtype float32",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_header_that_contradicts_itself_is_refused(saved, name):
    spoil, words = SPOILT[name]
    document, data = take_apart(saved.read_bytes())
    spoil(document)
    saved.write_bytes(put_together(document, data))
    assert words in refusal(saved)


RAW = {
    "a key twice": (lambda h: h.replace(b'"on"', b'"key"'), "the key 'key' stands twice"),
    "a NaN": (lambda h: h.replace(b"0.25", b"NaN "), "NaN is not a number"),
    "an infinity": (lambda h: h.replace(b"0.25", b"-Infinity"), "-Infinity is not a number"),
    "a number beyond all": (lambda h: h.replace(b"0.25", b"1e999"), "1e999 is too large"),
    "half a letter": (lambda h: h.replace(b"0.25", rb"\"\\ud800\""), "surrogates not allowed"),
    "depth": (lambda h: h.replace(b"0.25", b"[" * 40 + b"]" * 40), "more than 32 brackets"),
    "great depth": (lambda h: h.replace(b"0.25", b"[" * 400_000), "is not strict JSON"),
    "long digits": (lambda h: h.replace(b"0.25", b"1" * 10_000), "is not strict JSON"),
    "bytes that are no text": (lambda h: h.replace(b"word", b"wo\xffd"), "its header is not strict JSON"),
    "a missing bracket": (lambda h: h.rstrip()[:-1], "its header is not strict JSON"),
}


@pytest.mark.parametrize("name", RAW)
def test_a_header_that_is_not_strict_json_is_refused(saved, name):
    spoil, words = RAW[name]
    blob = saved.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    header = spoil(blob[8 : 8 + length])
    saved.write_bytes(len(header).to_bytes(8, "little") + header + blob[8 + length :])
    assert words in refusal(saved)


def test_a_header_length_beyond_the_file_or_the_cap_is_refused_before_anything_is_read(saved):
    blob = saved.read_bytes()
    for length in (len(blob), 2**20 + 1, 2**63, 2**64 - 1, 0):
        saved.write_bytes(length.to_bytes(8, "little") + blob[8:])
        assert f"its header says that it is {length:,} bytes long" in refusal(saved)


def test_an_array_too_many_or_too_few_for_the_config_is_named(saved):
    assert "array 'more' is missing" in refusal(saved, lambda c: expected(c) | {"more": ((1,), np.float32)})
    assert "array 'key' does not belong to its config" in refusal(
        saved, lambda c: {name: kind for name, kind in expected(c).items() if name != "key"}
    )
    other = "array 'scale' has shape () and dtype float64; its config asks for shape () and dtype float32"
    assert other in refusal(saved, lambda c: expected(c) | {"scale": ((), np.float32)})


def test_values_that_are_not_finite_or_not_boolean_are_refused_even_under_a_good_checksum(saved):
    document, data = take_apart(saved.read_bytes())
    nan = np.array(np.nan, "<f8").tobytes()
    saved.write_bytes(put_together(document, nan + data[8:]))
    assert "array 'scale' is nan at ()" in refusal(saved)
    infinite = np.array(-np.inf, "<f4").tobytes()
    at = document["weight"]["data_offsets"][0] + 4 * 5
    saved.write_bytes(put_together(document, data[:at] + infinite + data[at + 4 :]))
    assert "array 'weight' is -inf at (1, 2)" in refusal(saved)
    saved.write_bytes(put_together(document, data[:-2] + b"\2" + data[-1:]))
    assert "array 'on' holds a truth value that is neither 0 nor 1" in refusal(saved)


def test_one_flipped_bit_anywhere_is_seen(saved):
    blob = saved.read_bytes()
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1 << position % 8
        saved.write_bytes(changed)
        with pytest.raises(ModelFileError):
            store.read(saved, expected)


def mutated(blob, rng):
    kind = rng.randrange(5)
    at = rng.randrange(len(blob))
    if kind == 0:
        return blob[:at]
    if kind == 1:
        return blob[:at] + rng.randbytes(rng.randrange(1, 9)) + blob[at + rng.randrange(9) :]
    if kind == 2:
        digits = [m.start() for m in re.finditer(rb"[0-9]", blob[8:])]
        at = 8 + rng.choice(digits)
        return blob[:at] + rng.choice([b"0", b"9", b"-1", b"1e9", b"99999999999", b"[]", b'"']) + blob[at + 1 :]
    other = rng.randrange(len(blob))
    low, high = sorted((at, other))
    if kind == 3:
        return blob[:low] + blob[high:]
    return blob[:high] + blob[low:high] + blob[high:]


def resealed(blob):
    """The same damage with a length and a checksum that fit, where the header can still be taken apart."""
    try:
        return put_together(*take_apart(blob))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError, OverflowError):
        return blob


def test_two_thousand_damaged_files_are_refused_or_read_back_the_same(saved):
    rng = random.Random(0)
    blob = saved.read_bytes()
    same = 0
    for i in range(2_000):
        changed = mutated(blob, rng)
        saved.write_bytes(resealed(changed) if i % 2 else changed)
        try:
            config, values = store.read(saved, expected)
        except ModelFileError as error:
            assert len(str(error)) < 900
            continue
        # Under a checksum that fits, another value is another valid file: sizes and names must still be right.
        assert {name: (value.shape, value.dtype) for name, value in values.items()} == expected(config)
        if not i % 2:
            assert_same((config, values))
            same += 1
    assert same < 20  # nearly all damage does change the file
