"""Long jobs in parts: any part can be made by any process, at any time, and again, and is always the same.

A job cuts its rows into parts of `PART`. What part i holds follows from the job and i alone: the rows i·PART to
(i + 1)·PART - 1 of a table, or draws with a seed made of (seed, i). So batches, shards and workers change no row. In a
folder each part is a file of its own, whole or absent, and a job that was interrupted makes the absent ones; a shard
i/n is a stretch of the parts. Beside them `_job.json` says what the folder holds, and another job's parts are refused.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import narwhals.stable.v2 as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet

import ptilde
from ptilde import _files
from ptilde._validate import DataError
from ptilde.tabular.reader import write_table
from ptilde.tabular.stream import Stream
from ptilde.tabular.subsample import numbered_by

PART = 50_000  # rows
LOG_DENSITY = "log_density"
_ABOUT = "_job.json"


@dataclass(frozen=True)
class Draw:
    """Rows drawn from a model."""

    rows: int
    seed: int
    verb: ClassVar[str] = "drawing"
    kind: ClassVar[str] = "ScoreDensity"

    @property
    def facts(self) -> dict[str, Any]:
        """What its parts follow from, beside the model."""
        return asdict(self)

    def parts(self, model: Any, numbers: Sequence[int]) -> Iterator[pa.Table]:
        """The parts with these numbers, which ascend."""
        for number in numbers:
            size = min(PART, self.rows - number * PART)
            yield _arrow(model.sample(size, random_state=_seed(self.seed, number)))


@dataclass(frozen=True)
class OfTable(ABC):
    """A job that goes through the rows of a table."""

    table: str
    verb: ClassVar[str]
    kind: ClassVar[str] = "ScoreDensity"

    @property
    def rows(self) -> int:
        """Of the table."""
        return self.stream.num_rows

    @cached_property
    def stream(self) -> Stream:
        """The table, opened."""
        return Stream(self.table)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "stream"}

    @property
    def facts(self) -> dict[str, Any]:
        """What its parts follow from, beside the model."""
        return asdict(self) | {"table": self.stream.signature()}

    @abstractmethod
    def part(self, model: Any, rows: pa.Table, number: int) -> pa.Table:
        """A part, from its rows."""

    def parts(self, model: Any, numbers: Sequence[int]) -> Iterator[pa.Table]:
        """The parts with these numbers, which ascend; the table is read once, from the first of them on."""
        wanted = set(numbers)
        for start, rows in self.stream.parts(PART, min(wanted) * PART):
            number = start // PART
            if number in wanted:
                with numbered_by(lambda i, start=start: start + i):
                    part = self.part(model, rows, number)
                yield part
            if number == max(wanted):
                return


@dataclass(frozen=True)
class Score(OfTable):
    """The rows of a table with their log density in a column added to them."""

    verb: ClassVar[str] = "scoring"

    def part(self, model: Any, rows: pa.Table, number: int) -> pa.Table:
        """A part, from its rows."""
        return rows.append_column(LOG_DENSITY, [np.asarray(model.score_samples(rows), float)])


@dataclass(frozen=True)
class Impute(OfTable):
    """The rows of a table with their empty cells drawn."""

    seed: int
    verb: ClassVar[str] = "drawing"

    def part(self, model: Any, rows: pa.Table, number: int) -> pa.Table:
        """A part, from its rows."""
        return _arrow(model.impute(rows, random_state=_seed(self.seed, number)))


Job = Draw | OfTable


class Folder:
    """Where the parts of a job lie.

    Args:
        path: of the folder, which is made if it is not there; its own folder must be.
        job: what is to lie in it.
        model: path of the model's file.

    Raises:
        DataError: if something else lies there.
    """

    def __init__(self, path: Path, job: Job, model: Path):
        self.path, self.job = path, job
        facts = {"ptilde": ptilde.__version__, "model": hashlib.sha256(model.read_bytes()).hexdigest()}
        facts |= {"job": type(job).__name__, "rows": job.rows, "part": PART, **job.facts}
        path.mkdir(exist_ok=True)
        about = path / _ABOUT
        if about.exists():
            self._compare(_read(about), facts)
        elif stray := next((entry.name for entry in path.iterdir() if not entry.name.endswith(".tmp")), None):
            raise DataError(f"The folder {str(path)!r} must be empty or hold parts of this job; got {stray!r} in it.")
        else:
            with _files.atomic(about) as temporary:
                temporary.write_text(json.dumps(facts, indent=1))

    def part(self, number: int) -> Path:
        """The path of a part."""
        return self.path / f"part-{number:06d}.parquet"

    def num_rows(self, number: int) -> int:
        """Of a part."""
        return min(PART, self.job.rows - number * PART)

    def missing(self, shard: tuple[int, int] = (0, 1)) -> list[int]:
        """The parts of shard i of n, a stretch of all, that are not there or not whole."""
        count, (i, n) = num_parts(self.job.rows), shard
        return [number for number in range(count * i // n, count * (i + 1) // n) if not self._has(number)]

    def make(self, model: Any, numbers: list[int]) -> Iterator[pa.Table]:
        """Write parts, in ascending order; what is written is also told."""
        for number, rows in zip(numbers, self.job.parts(model, numbers) if numbers else (), strict=True):
            write_table(rows, self.part(number))
            yield rows

    def _has(self, number: int) -> bool:
        try:
            return pyarrow.parquet.read_metadata(self.part(number)).num_rows == self.num_rows(number)
        except (pa.ArrowException, OSError):
            return False

    def _compare(self, there: dict[str, Any], facts: dict[str, Any]) -> None:
        other = [name for name in facts | there if facts.get(name) != there.get(name)]
        if other:
            raise DataError(
                f"The folder {str(self.path)!r} must hold parts of this job; got those of another: "
                f"{', '.join(other)} differ. Give the same model, table and options, or another folder."
            )


def num_parts(rows: int) -> int:
    """How many parts so many rows have."""
    return -(-rows // PART)


def _seed(seed: int, number: int) -> int:
    """The first part has the seed itself, so that a small table is the one that Python draws."""
    return seed if number == 0 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _arrow(table: Any) -> pa.Table:
    return nw.from_native(table, eager_only=True).to_arrow()


def _read(about: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(about.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{str(about)!r} must say what the folder holds; it cannot be read. Give another.") from error
