"""A small model file for the tests of `store`, and tools that spoil any."""

import copy
import hashlib
import json

import numpy as np

import ptilde

CONFIG = {"sizes": [2, 3], "word": "né 'q' \"d\" \\ \n", "nested": {"rate": 0.25, "none": None, "yes": True}}


def expected(config):
    rows, columns = config["sizes"]
    return {
        "weight": ((rows, columns), np.float32),
        "key": ((2,), np.uint32),
        "empty": ((0, 5), np.int64),
        "on": ((3,), np.bool_),
        "scale": ((), np.float64),
    }


def arrays():
    return {
        "on": np.array([True, False, True]),
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
        "key": np.array([0, 2**32 - 1], np.uint32),
        "empty": np.zeros((0, 5), np.int64),
        "scale": np.array(-1.5),
    }


def take_apart(blob):
    length = int.from_bytes(blob[:8], "little")
    return json.loads(blob[8 : 8 + length]), blob[8 + length :]


def put_together(document, data, seal=True):
    """A file of these parts, with a checksum that fits, as one who means harm would make it."""
    if seal:
        ours = json.loads(document["__metadata__"]["ptilde"])
        document["__metadata__"]["ptilde"] = json.dumps(ours | {"sha256": "0" * 64})
    header = json.dumps(document).encode()
    blob = len(header).to_bytes(8, "little") + header + data
    return blob.replace(b"0" * 64, hashlib.sha256(blob).hexdigest().encode(), 1) if seal else blob


def places(node, at=()):
    """The paths to all that a config holds."""
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield (*at, key)
            yield from places(node[key], (*at, key))


def edited(config, path, *value):
    """A copy with another value at a path, or without what is there."""
    config = copy.deepcopy(config)
    *before, last = path
    node = config
    for key in before:
        node = node[key]
    if value:
        node[last] = value[0]
    else:
        del node[last]
    return config


def opened(path):
    """The config of a model file, and a function that loads it with other parts in its place, resealed."""
    document, data = take_apart(path.read_bytes())
    ours = json.loads(document["__metadata__"]["ptilde"])

    def load_with(config, document=document, data=data):
        document = copy.deepcopy(document)
        document["__metadata__"]["ptilde"] = json.dumps(ours | {"config": config})
        spoilt = path.with_name("spoilt.ptilde")
        spoilt.write_bytes(put_together(document, data))
        return ptilde.load(spoilt)

    return ours["config"], load_with, document, data


def assert_same(got):
    config, values = got
    assert config == CONFIG and list(config) == list(CONFIG)
    assert set(values) == set(arrays())
    for name, value in arrays().items():
        assert values[name].dtype == value.dtype and values[name].flags.writeable
        np.testing.assert_array_equal(values[name], value, strict=True)
