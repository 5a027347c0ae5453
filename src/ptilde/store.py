"""Model files: one safetensors file, and nothing in it is believed before it has been checked.

Layout (that of safetensors, whose own readers open it): eight bytes with the length of the header; the header (JSON: of
each array its dtype, shape and place); the bytes of the arrays. The header's metadata has one key, `ptilde`, with a
JSON text of our own: `format` (a whole number, raised when old readers could not make sense of a file), `version` (of
the ptilde that wrote it), `sha256` (of the whole file, with zeros in place of this digest) and `config` (all that the
arrays do not say).

Reading refuses, in this order, what is no regular file, no safetensors file, not ours, of another format, larger than
the caps or inconsistent in itself; arrays other than those that the config asks for; and values that were changed or
are not finite. Array memory is taken only once the header has passed, so a small hostile file cannot ask for much. No
code is ever stored or run.
"""

import dataclasses
import hashlib
import math
import os
import stat
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn

import numpy as np
import safetensors.numpy

import ptilde
from ptilde import _files, _json
from ptilde._validate import ModelFileError

FORMAT = 1
MAX_HEADER = 2**20  # bytes: ours are some kilobytes; tens of thousands of categories still fit
MAX_ARRAYS = 4_096
MAX_AXES = 32

_KEY = "ptilde"
_BLANK = "0" * 64
_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "U8": np.dtype("|u1"),
    "BOOL": np.dtype("|b1"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}

AnyPath = str | os.PathLike
Kinds = Mapping[str, tuple[tuple[int, ...], Any]]
"""Of each array by name: its shape and dtype."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a model file says of itself; the arrays are not read."""

    version: str
    config: dict[str, Any]
    arrays: dict[str, tuple[tuple[int, ...], np.dtype]]
    num_bytes: int
    digest: str


def write(path: AnyPath, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a model file, whole or not at all. The same config and arrays give the same bytes."""
    ready = {name: _storable(path, name, array) for name, array in arrays.items()}
    blob = safetensors.numpy.save(ready, {_KEY: _metadata(path, config)})
    length = int.from_bytes(blob[:8], "little")
    if length > MAX_HEADER or len(ready) > MAX_ARRAYS:
        size = f"would need a header of {length:,} bytes for {len(ready):,} arrays"
        cure = "Leave out columns of many categories."
        _refuse(path, f"{size}; the limits are {MAX_HEADER:,} and {MAX_ARRAYS:,}", cure)
    blob = blob.replace(_BLANK.encode(), hashlib.sha256(blob).hexdigest().encode(), 1)
    try:
        with _files.atomic(path) as temporary, open(temporary, "wb") as file:
            file.write(blob)
    except OSError as error:
        _refuse(path, f"cannot be written ({error})", "Choose another place, or make room there.", error)


def read(path: AnyPath, expected: Callable[[dict[str, Any]], Kinds]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The config and the arrays of a model file.

    Args:
        path: the file.
        expected: from the config, the shape and dtype of every array that belongs to it. Whatever it raises counts as a
            config that is not ours.
    """
    with _open(path) as file:
        contents, header = _contents(path, file)
        try:
            wanted = expected(contents.config)
        except Exception as error:  # whatever a config made up by someone else may lead to
            _damaged(
                path, f"its config is not one that ptilde writes ({type(error).__name__}: {str(error)[:300]})", error
            )
        _compare(path, contents.arrays, wanted)
        digest = hashlib.sha256(header.replace(contents.digest.encode(), _BLANK.encode(), 1))
        arrays = {name: _array(path, file, digest, name, *kind) for name, kind in contents.arrays.items()}
    if digest.hexdigest() != contents.digest:
        _damaged(path, "its bytes are not those that were written (the checksum differs)")
    return contents.config, arrays


def inspect(path: AnyPath) -> Contents:
    """What is in a model file, from its header alone."""
    with _open(path) as file:
        return _contents(path, file)[0]


def _refuse(path: AnyPath, what: str, cure: str, cause: BaseException | None = None) -> NoReturn:
    raise ModelFileError(f"model file {os.fspath(path)!r} {what}. {cure}") from cause


def _not_ours(path: AnyPath, what: str, cause: BaseException | None = None) -> NoReturn:
    _refuse(path, what, "Give the path of a file that `save` wrote.", cause)


def _damaged(path: AnyPath, what: str, cause: BaseException | None = None) -> NoReturn:
    _refuse(
        path, f"is damaged: {what}", "Copy it again from where it was saved, or fit and save the model anew.", cause
    )


# Writing --------------------------------------------------------------------------------------------------------------


def _storable(path: AnyPath, name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    little = array.astype(
        array.dtype.newbyteorder("<"), order="C", copy=False
    )  # safetensors takes the bytes as they lie
    if little.dtype not in _CODES:
        _refuse(path, f"cannot hold array {name!r} of dtype {array.dtype}", f"Use one of {[*map(str, _CODES)]}.")
    if where := _not_finite(little):
        _refuse(path, f"cannot hold array {name!r}: it is {where}", "Fit the model anew.")
    return little


def _metadata(path: AnyPath, config: Mapping[str, Any]) -> str:
    """Our text, its digest left blank."""
    ours = {"format": FORMAT, "version": ptilde.__version__, "sha256": _BLANK, "config": dict(config)}
    try:
        return _json.dumps(ours)
    except (ValueError, RecursionError) as error:
        _refuse(
            path, f"cannot hold this config ({error})", "It must be plain JSON: finite numbers, words, lists, dicts."
        )


# Reading --------------------------------------------------------------------------------------------------------------


def _open(path: AnyPath) -> BinaryIO:
    try:
        # Without waiting: a named pipe would hold us until someone wrote to it.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        _not_ours(path, "does not exist", error)
    except (OSError, ValueError) as error:
        _not_ours(path, f"cannot be read ({error})", error)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        _not_ours(path, "is not a regular file")
    return open(descriptor, "rb")


def _contents(path: AnyPath, file: BinaryIO) -> tuple[Contents, bytes]:
    """What the header says, checked, and its bytes; the file then stands where the arrays begin."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        _damaged(path, "it is empty")
    beginning = file.read(9)
    length = int.from_bytes(beginning[:8], "little")
    if beginning[8:] != b"{":
        _not_ours(path, f"is not a model file (it begins with {beginning!r})")
    if not 0 < length <= min(MAX_HEADER, size - 8):
        limit = min(MAX_HEADER, size - 8)
        _damaged(path, f"its header says that it is {length:,} bytes long, and at most {limit:,} are possible")
    header = beginning + file.read(length - 1)
    try:
        document = _json.loads(header[8:].decode())
    except ValueError as error:
        _damaged(path, f"its header is not strict JSON ({error})", error)
    ours = _ours(path, document.pop("__metadata__", None))
    arrays = _arrays(path, document, size - 8 - length)
    return Contents(ours["version"], ours["config"], arrays, size, ours["sha256"]), header


def _ours(path: AnyPath, metadata: Any) -> dict[str, Any]:
    """Our own text in the metadata: format, version, digest and config."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get(_KEY), str):
        _not_ours(path, "is a safetensors file, but not one of ptilde's")
    try:
        ours = _json.loads(metadata[_KEY])
    except ValueError as error:
        _damaged(path, f"its config is not strict JSON ({error})", error)
    if not isinstance(ours, dict) or type(ours.get("format")) is not int:
        _damaged(path, "it does not say which format it has")
    if ours["format"] != FORMAT:
        known = f"ptilde {ptilde.__version__} reads format {FORMAT}"
        _refuse(path, f"has format {ours['format']}, and {known}", "Upgrade ptilde: pip install --upgrade ptilde.")
    for key, kind in {"version": str, "sha256": str, "config": dict}.items():
        if not isinstance(ours.get(key), kind):
            _damaged(path, f"it does not say its {key}")
    return ours


def _arrays(path: AnyPath, document: dict[str, Any], room: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of each array, in the order of their bytes, which must fill the room without a gap."""
    if len(document) > MAX_ARRAYS:
        _damaged(path, f"it lists {len(document):,} arrays, and at most {MAX_ARRAYS:,} are allowed")
    places = sorted((*_place(path, name, entry), name) for name, entry in document.items())
    end = 0
    for begin, stop, _, _, name in places:
        if begin != end:
            _damaged(path, f"array {_short(name)} begins at byte {begin:,}, and the one before it ends at {end:,}")
        end = stop
    if end != room:
        _damaged(path, f"its arrays need {end:,} bytes, and it has {room:,}")
    return {name: (shape, _DTYPES[code]) for _, _, shape, code, name in places}


def _place(path: AnyPath, name: str, entry: Any) -> tuple[int, int, tuple[int, ...], str]:
    """Begin, end, shape and dtype code of one array, which agree with each other."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _damaged(path, f"array {_short(name)} is not described by dtype, shape and place")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        _damaged(path, f"array {_short(name)} has the unknown dtype {_short(code)}")
    if not _naturals(shape, range(MAX_AXES + 1)) or not _naturals(offsets, range(2, 3)):
        _damaged(path, f"array {_short(name)} has shape {_short(shape)} and place {_short(offsets)}")
    begin, end = offsets
    if math.prod(shape) * _DTYPES[code].itemsize != end - begin:
        _damaged(path, f"array {_short(name)} of shape {shape} and dtype {code} does not fit its place {offsets}")
    return begin, end, tuple(shape), code


def _naturals(values: Any, lengths: range) -> bool:
    return (
        isinstance(values, list)
        and len(values) in lengths
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )


def _compare(path: AnyPath, got: Kinds, expected: Kinds) -> None:
    for name, (shape, dtype) in expected.items():
        if name not in got:
            _damaged(path, f"array {name!r} is missing")
        if got[name] != (tuple(shape), np.dtype(dtype)):
            wanted = f"its config asks for shape {tuple(shape)} and dtype {np.dtype(dtype)}"
            _damaged(path, f"array {name!r} has shape {got[name][0]} and dtype {got[name][1]}; {wanted}")
    for name in got:
        if name not in expected:
            _damaged(path, f"array {_short(name)} does not belong to its config")


def _array(
    path: AnyPath, file: BinaryIO, digest: Any, name: str, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    buffer = file.read(math.prod(shape) * dtype.itemsize)
    digest.update(buffer)
    if len(buffer) != math.prod(shape) * dtype.itemsize:
        _damaged(path, f"it ends in the middle of array {name!r}")
    if dtype.kind == "b" and buffer.strip(b"\0\1"):
        _damaged(path, f"array {name!r} holds a truth value that is neither 0 nor 1")
    array = np.frombuffer(buffer, dtype).reshape(shape).copy()
    if where := _not_finite(array):
        _damaged(path, f"array {name!r} is {where}")
    return array


def _not_finite(array: np.ndarray) -> str:
    """The first value that is not finite, in words; empty when all are."""
    if np.isfinite(array).all():
        return ""
    where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
    return f"{array[where]} at {where}"


def _short(value: Any) -> str:
    """A value of a file that is not trusted, short enough for one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
