"""Where a fit stands, in a file: a process that is killed at any moment goes on from there, to the same last bit.

A fit is a sequence of descents, and all between them follows from the data, the seed and what they found. So the file
holds of each descent that is over its weights, of the one that is not its `Position`, and what the fit was given, as
hashes and plain values; a fit of other rows or settings is refused and told what differs. The file is written whole or
not at all, every half a minute and when the fit is interrupted or over.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import ptilde
from ptilde import store
from ptilde._validate import DataError, ModelFileError
from ptilde.fit import Position, spread

EVERY = 30.0  # seconds
_KIND = "checkpoint"
_NUMBERS = ("step", "best_step", "num_steps", "retreats")
_FLOATS = ("held", "best_loss")
_PARTS = ("weights", "seen")


class Checkpoint:
    """A `ptilde.fit.Keeper` with a file.

    Args:
        path: of the file; what is there already is gone on from.
        every: seconds between two writes.
        resume: whether a file that is there counts; else it is written over.
    """

    def __init__(self, path: str | os.PathLike, every: float = EVERY, resume: bool = True):
        self.path, self.every = os.fspath(path), every
        self._facts: dict[str, Any] = {}
        self._positions: list[Position] = []
        self._next, self._written = 0, time.monotonic()
        found = resume and os.path.exists(self.path)
        self._config, self._arrays = self._read() if found else (None, {})

    @property
    def seed(self) -> int | None:
        """That of the fit in the file."""
        return None if self._config is None else self._config["facts"]["seed"]

    def bind(self, facts: Mapping[str, Any]) -> None:
        """Say what the fit is given.

        Raises:
            DataError: if the file is of a fit that was given something else.
        """
        self._facts = {"ptilde": ptilde.__version__, "jax": jax.__version__, **facts}
        if spread.active():  # over however many: it is the order of sums that differs
            self._facts["processes"] = True
        if self._config is None:
            return
        there = self._config["facts"]
        other = [name for name in self._facts | there if there.get(name) != self._facts.get(name)]
        if other:
            raise DataError(
                f"checkpoint {self.path!r} is of another fit: {', '.join(map(_in_words, other))} differ. Give the same "
                "table and settings, or delete the file to begin anew."
            )

    def begun(self, start: Position) -> Position:
        """Where the next descent is to begin."""
        number, self._next = self._next, self._next + 1
        at = start
        if self._config and number < len(self._config["descents"]):
            raw = [self._arrays[f"{name}.{number}"] for name in _PARTS]
            try:
                at = _position(self._config["descents"][number], raw[0], raw[1], start)
            except (KeyError, TypeError, ValueError) as error:
                raise ModelFileError(
                    f"checkpoint {self.path!r} does not fit the networks of this fit ({error}). Delete it to begin "
                    "anew."
                ) from error
        self._positions.append(at)
        return at

    def reached(self, position: Position) -> None:
        """Keep where the present descent stands; on the disk, if that was not done for a while."""
        self._positions[-1] = position
        if time.monotonic() - self._written >= self.every:
            self.write()

    def write(self) -> None:
        """Write the file, one process for all; where that fails there is a warning, and the fit goes on."""
        self._written = time.monotonic()
        if not spread.speaks():
            return
        if len(self._positions) < (len(self._config["descents"]) if self._config else 1):
            return  # nothing has begun, or on the way back to where it was left: the file knows more
        bytes_of = [_bytes(position) for position in self._positions]
        descents = [
            _numbers(p) | {"sizes": [a.size for a in b]} for p, b in zip(self._positions, bytes_of, strict=True)
        ]
        arrays = {f"{name}.{i}": a for i, b in enumerate(bytes_of) for name, a in zip(_PARTS, b, strict=True)}
        try:
            store.write(self.path, {"kind": _KIND, "facts": self._facts, "descents": descents}, arrays)
        except ModelFileError as error:
            warnings.warn(f"The fit goes on without a checkpoint: {error}", RuntimeWarning, stacklevel=2)

    def _read(self) -> tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]:
        def expected(config: dict[str, Any]) -> dict[str, Any]:
            if config["kind"] != _KIND or type(config["facts"]["seed"]) is not int:
                raise ValueError(f"it is a {config['kind']}")
            sizes = enumerate(d["sizes"] for d in config["descents"])
            return {f"{name}.{i}": ((s[k],), np.uint8) for i, s in sizes for k, name in enumerate(_PARTS)}

        try:
            return store.read(self.path, expected)
        except ModelFileError as error:
            raise ModelFileError(f"{error} Or delete it, to begin the fit anew.") from error


@contextmanager
def kept(checkpoint: Checkpoint | None) -> Iterator[None]:
    """Write the file when the block is over, however it ends."""
    try:
        yield
    finally:
        if checkpoint is not None:
            checkpoint.write()


def opened(checkpoint: "str | os.PathLike | Checkpoint | None") -> Checkpoint | None:
    """The checkpoint that a person gives by its path."""
    return checkpoint if isinstance(checkpoint, Checkpoint | None) else Checkpoint(checkpoint)


def digest(*parts: Any) -> str:
    """A hash of arrays, texts and what is made of them."""
    total = hashlib.sha256()
    for part in parts:
        array = np.asarray(part)
        words = repr(array.tolist()) if array.dtype == object else f"{array.dtype}{array.shape}"
        total.update(words.encode())
        if array.dtype != object:
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _in_words(name: str) -> str:
    return {"ptilde": "the version of ptilde", "jax": "the version of jax"}.get(name, f"`{name}`")


def _leaves(position: Position) -> list[Any]:
    return jax.tree.leaves((position.walk, position.best))


def _bytes(position: Position) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All arrays, one behind the other; and what was seen, by chunk: step, loss, held-out loss, terms."""
    parts = [np.ascontiguousarray(leaf).reshape(-1).view(np.uint8) for leaf in map(np.asarray, _leaves(position))]
    steps, losses, terms, validation = position.seen
    seen = np.array([[*row[:3], *row[3]] for row in zip(steps, losses, validation, terms, strict=True)], np.float64)
    return np.concatenate([np.zeros(0, np.uint8), *parts]), seen.reshape(-1).view(np.uint8)


def _numbers(position: Position) -> dict[str, Any]:
    """All else, floats to the last bit and with those that JSON has not."""
    return {
        "over": position.walk is None,
        "chunks": len(position.seen[0]),
        **{name: getattr(position, name) for name in _NUMBERS},
        **{name: [float(v).hex() for v in getattr(position, name)] for name in _FLOATS},
        "elapsed": float(position.elapsed).hex(),
    }


def _position(told: dict[str, Any], raw: NDArray[np.uint8], seen: NDArray[np.uint8], start: Position) -> Position:
    """The position that was kept, in the shapes of one at the start."""
    like = start._replace(walk=None) if told["over"] else start
    shapes = [(leaf.shape, np.dtype(leaf.dtype)) for leaf in _leaves(like)]
    ends = np.cumsum([int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes])
    if raw.size != (ends[-1] if len(ends) else 0):
        raise ValueError(f"{raw.size:,} bytes of weights")
    parts = np.split(raw, ends[:-1])
    arrays = [jnp.asarray(p.view(dtype).reshape(shape)) for p, (shape, dtype) in zip(parts, shapes, strict=True)]
    walk, best = jax.tree.unflatten(jax.tree.structure((like.walk, like.best)), arrays)
    numbers: dict[str, Any] = {name: told[name] for name in _NUMBERS}
    numbers |= {name: tuple(map(float.fromhex, told[name])) for name in _FLOATS}
    rows = seen.view(np.float64).reshape(told["chunks"], -1).tolist() if told["chunks"] else []
    by_chunk = [int(r[0]) for r in rows], [r[1] for r in rows], [r[3:] for r in rows], [r[2] for r in rows]
    return Position(walk, best, **numbers, elapsed=float.fromhex(told["elapsed"]), seen=by_chunk)
