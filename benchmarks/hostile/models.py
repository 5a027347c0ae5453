"""Model files made to do harm.

Half of them are damaged bytes, which a checksum sees. The others are what one who knows the format would make: the
header or the config is changed in its structure, and length and checksum are made to fit; and where the changed config
is one that the program would write, arrays of the shapes that it asks for are put beside it.
"""

import copy
import hashlib
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import ptilde
from benchmarks.hostile.damage import damaged
from ptilde import modelfile, store

KEPT = Path(__file__).resolve().parents[2] / "tests" / "kept_models"
NUMBERS = (0, -1, 1, 2, 3, 33, 2**31, 2**53, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.0, 1e308, -1e308, 5e-324, True)
WORDS = (
    "",
    "x",
    "\x1b[2J",
    "\u202e",
    "<script>",
    "../../etc/passwd",
    "__proto__",
    "Interval",
    "ScoreRegressor",
    "a" * 9999,
)
VALUES = (None, *NUMBERS, *WORDS, [], {}, [[]], [0], ["x"], {"x": 0}, [None] * 9, [1, [2, [3]]])
# In place of a number in the text of the header: what strict JSON has not.
LOOSE = ("NaN", "-Infinity", "1e999", "-0", "01", "0x10", "1_000", "+1", "1" * 5000, "[" * 10_000 + "]" * 10_000, "'x'")
MOST_ARRAYS = 2**22  # bytes put beside a config that asks for them
MOST_TEXT = 2**19  # of a config, in letters: what grows beyond it is not edited further
CODES = ("F64", "F32", "I64", "I32", "U32", "U8", "BOOL", "F16", "BF16", "I8", "F8_E4M3", "O", "")


def kept() -> list[Path]:
    """The model files that are kept for ever."""
    return sorted(KEPT.glob("*.ptilde"))


def small_file() -> bytes:
    """A file of the format layer alone, with an array of every dtype and a config that says their sizes."""
    config = {"sizes": {code: [i % 3 + 1, 2] for i, code in enumerate(store._DTYPES)}, "word": "né", "rate": 0.25}
    arrays = {name: np.ones(shape, dtype) for name, (shape, dtype) in small_shapes(config).items()}
    metadata = {"format": store.FORMAT, "version": ptilde.__version__, "sha256": "0" * 64, "config": config}
    return sealed(*apart(safetensors.numpy.save(arrays, {"ptilde": json.dumps(metadata)})))


def small_shapes(config: dict[str, Any]) -> dict[str, Any]:
    """The shapes and dtypes that the config of `small_file` asks for."""
    return {code: (tuple(shape), store._DTYPES[code]) for code, shape in config["sizes"].items()}


def apart(blob: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a good file."""
    length = int.from_bytes(blob[:8], "little")
    return json.loads(blob[8 : 8 + length]), blob[8 + length :]


def sealed(document: dict[str, Any], data: bytes, spoil: Callable[[str], str] = lambda text: text) -> bytes:
    """A file of these parts, with a length and a checksum that fit; `spoil` is done to the header's text."""
    document = copy.deepcopy(document)
    metadata = document.get("__metadata__")
    if isinstance(metadata, dict) and (ours := _object(metadata.get("ptilde"))) is not None:
        metadata["ptilde"] = json.dumps(ours | {"sha256": "0" * 64})
    header = spoil(json.dumps(document)).encode("utf-8", "surrogatepass")
    blob = len(header).to_bytes(8, "little") + header + data
    return blob.replace(b"0" * 64, hashlib.sha256(blob).hexdigest().encode(), 1)


def _object(text: Any) -> dict[str, Any] | None:
    """The JSON object that a text is, if it is one."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def mutant(good: bytes, i: int, whole: bool = False) -> bytes:
    """Case i of a good file; `whole` if its config is that of a model."""
    rng = random.Random(i)
    document, data = apart(good)
    ours = json.loads(document["__metadata__"]["ptilde"])
    match rng.randrange(10):
        case 0 | 1 | 2:
            return damaged(good, rng)
        case 3:
            return _headless(good, rng)
        case 4:
            return sealed(document, data, lambda text: _loosened(text, rng))
        case 5:
            return sealed(_other_entries(document, rng), data)
        case 6:
            return sealed(document, _other_data(document, data, rng))
        case 7:
            ours = _edited(ours, rng)
        case _:
            ours = ours | {"config": _edited(ours["config"], rng)}
            if whole and isinstance(ours["config"], dict):
                document, data = _with_arrays(ours["config"], document, data, rng)
    document["__metadata__"]["ptilde"] = json.dumps(ours)
    return sealed(document, data) if isinstance(ours, dict) else damaged(good, rng)


def _headless(good: bytes, rng: random.Random) -> bytes:
    """Another length before the header, or a header of another length."""
    length = int.from_bytes(good[:8], "little")
    other = rng.choice((0, 1, length - 1, length + 1, len(good), 2**20, 2**20 + 1, 2**31, 2**63, 2**64 - 1))
    if rng.random() < 0.5:
        return other.to_bytes(8, "little") + good[8:]
    padded = good[8 : 8 + length] + b" " * rng.choice((1, 8, 2**20 - length, 2**20))
    return len(padded).to_bytes(8, "little") + padded + good[8 + length :]


def _loosened(text: str, rng: random.Random) -> str:
    """The header's text with something that strict JSON has not, or with a key twice."""
    if rng.random() < 0.3:
        names = [part for part in text.split('"')[1::2] if part.isidentifier()]
        return text.replace(f'"{rng.choice(names)}"', f'"{rng.choice(names)}"', 1)
    digits = [k for k, c in enumerate(text) if c.isdigit() and not text[k - 1].isdigit() and text[k - 1] in " [:"]
    at = rng.choice(digits)
    end = next(k for k in range(at, len(text)) if not text[k].isdigit())
    return text[:at] + rng.choice(LOOSE) + text[end:]


def _other_entries(document: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Arrays that are described otherwise: shapes, places, dtypes, names, and too many of them."""
    document = copy.deepcopy(document)
    names = [name for name in document if name != "__metadata__"]
    name, other = rng.choice(names), rng.choice(names)
    begin, end = document[name]["data_offsets"]
    match rng.randrange(9):
        case 0:
            document[name]["dtype"] = rng.choice((*CODES, None, 1, ["F32"]))
        case 1:
            document[name]["shape"] = [rng.choice(NUMBERS) for _ in range(rng.choice((0, 1, 2, 3, 33)))]
        case 2:
            document[name]["data_offsets"] = [begin + rng.choice((0, -1, 1, 8, 2**62)), end + rng.choice((0, -8, 1, 8))]
        case 3:
            document[name]["shape"] = [*document[name]["shape"], *rng.choice(([1], [0], [2**32, 0], [1] * 33))]
        case 4:
            document[rng.choice((*WORDS, other, "knots.99"))] = document.pop(name)
        case 5:
            document[name], document[other] = document[other], document[name]
        case 6:
            blank = {"dtype": "U8", "shape": [0], "data_offsets": [end, end]}
            document |= {f"x{k}": blank for k in range(rng.choice((1, 4_000, 5_000)))}
        case 7:
            document[name] = rng.choice((*VALUES, {**document[name], "x": 0}))
        case _:
            document["__metadata__"] = rng.choice((*VALUES, {"ptilde": rng.choice(VALUES)}))
    return document


def _other_data(document: dict[str, Any], data: bytes, rng: random.Random) -> bytes:
    """Numbers that no fit writes."""
    name = rng.choice([name for name in document if name != "__metadata__"])
    begin, end = document[name]["data_offsets"]
    dtype = store._DTYPES[document[name]["dtype"]]
    array = np.frombuffer(data[begin:end], dtype).copy()
    if array.size:
        at = rng.randrange(array.size) if rng.random() < 0.5 else slice(None)
        value = rng.choice((np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 0.0, -1.0))
        with np.errstate(all="ignore"):
            array[at] = np.float64(value).astype(dtype)
    return data[:begin] + array.tobytes() + data[end:] + rng.choice((b"", b"", b"\0"))


def places(node: Any, at: tuple = ()) -> Iterator[tuple]:
    """The paths to all that a config holds."""
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield (*at, key)
        yield from places(node[key], (*at, key))


def _edited(config: dict[str, Any], rng: random.Random) -> Any:
    """The config with a few of its parts replaced, dropped, renamed, nested, repeated or exchanged."""
    config = {"": copy.deepcopy(config)}  # so that the whole has a place, too
    for _ in range(rng.choice((1, 1, 2, 5))):
        paths = list(places(config))
        if not paths or len(json.dumps(config)) > MOST_TEXT:
            break
        *before, last = rng.choice(paths)
        node = _at(config, before)
        match rng.randrange(8):
            case 0 | 1:
                node[last] = copy.deepcopy(rng.choice(VALUES))
            case 2:
                node[last] = copy.deepcopy(_at(config, rng.choice(paths)))
            case 3:
                node[last] = _nudged(node[last], rng)
            case 4 if last != "":
                del node[last]
            case 5 if isinstance(node, dict) and last != "":
                node[rng.choice((*WORDS, *map(str, node)))] = node.pop(last)
            case 6:
                depth = rng.choice((1, 5, 40, 100))
                for _ in range(depth):
                    node[last] = [node[last]]
            case _:
                node[last] = _many(node[last], rng)
    return config[""]


def _nudged(value: Any, rng: random.Random) -> Any:
    """Another value of the same type."""
    match value:
        case bool():
            return not value
        case int() | float():
            return type(value)(value + rng.choice((-1, 1, 2, 10, 1000)))
        case str():
            return value + rng.choice(("x", "0", "é", "\0", "\ud800"))
        case _:
            return value


def _many(value: Any, rng: random.Random) -> Any:
    """As much of a list as a header can bear."""
    most = max(1, MOST_TEXT // (4 * max(1, len(json.dumps(value)))))
    repeated = value if isinstance(value, list) and value else [value]
    times = min(rng.choice((2, 100, 30_000)), most)
    return [copy.deepcopy(part) for _ in range(times) for part in repeated]  # of one, an edit would be repeated, too


def _at(node: Any, path: Any) -> Any:
    for key in path:
        node = node[key]
    return node


def _with_arrays(config: dict[str, Any], document: Any, data: bytes, rng: random.Random) -> tuple[Any, bytes]:
    """The arrays that a config asks for, where the program itself would take it and they are small."""
    try:
        shapes = modelfile._expected(json.loads(json.dumps(config)))
    except Exception:  # it is refused whatever stands beside it
        return document, data
    sizes = {name: math.prod(shape) * np.dtype(dtype).itemsize for name, (shape, dtype) in shapes.items()}
    if sum(sizes.values()) > MOST_ARRAYS:
        return document, data
    made = np.random.default_rng(rng.randrange(2**32))
    rising = {name: np.cumsum(np.abs(made.normal(size=shape))).reshape(shape) for name, (shape, _) in shapes.items()}
    arrays = {name: array.astype(shapes[name][1]) for name, array in rising.items()}
    filled = apart(safetensors.numpy.save(arrays, {"ptilde": ""}))
    return filled[0], filled[1]
