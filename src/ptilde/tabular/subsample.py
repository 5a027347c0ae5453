r"""A table larger than memory as a weighted table that fits in: one pass, and the same rows however they are read.

Row i of the stream has the key $h(i)$, a hash of its number and a seed; kept are the rows with the `size` least keys
(bottom-k sampling; Cohen & Kaplan 2007, §2). They are a uniform sample without replacement, so they are at once a
sketch of every quantile (within $1.36/\sqrt{\text{size}}$ of it, everywhere, with 95 % confidence: Kolmogorov), of all
values that many rows hold, and of every dependence; and the samples of two streams, taken together, give that of both.

What a sample may miss is kept beside it: in each column the rows of its least and greatest value, of its first empty
cell and of each of its first `MOST_LEVELS` levels of text. These *witnesses* stand for themselves alone, with weight 1;
each other row stands for $(N - w)/(\text{size} - w')$ of the stream.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ptilde._validate import DataError
from ptilde.tabular.stream import Stream

SIZE = 2**20
MOST_LEVELS = 1_000  # of a column of text; with more, rare ones would be pooled or the column left out


class Subsample(NamedTuple):
    """Rows that stand for a stream.

    Attributes:
        table: (n,) rows, in their order.
        weight: (n,) how many rows of the stream each stands for.
        row: (n,) its number in the stream.
        num_rows: of the stream.
    """

    table: pa.Table
    weight: NDArray[np.float64]
    row: NDArray[np.int64]
    num_rows: int

    @classmethod
    def whole(cls, table: pa.Table) -> "Subsample":
        """A table in memory, every row of which stands for itself."""
        return cls(table, np.ones(table.num_rows), np.arange(table.num_rows), table.num_rows)

    @contextmanager
    def numbered(self) -> Iterator[None]:
        """Have errors about a row say its number in the stream."""
        with numbered_by(lambda i: int(self.row[i]) if i < len(self.row) else i):
            yield


def subsample(
    stream: Stream, size: int = SIZE, seed: int = 0, tell: Callable[[int], None] = lambda done: None
) -> Subsample:
    """A sample of so many rows and the witnesses; all rows of a table that has no more.

    Args:
        stream: the table.
        size: of the sample.
        seed: of the hash.
        tell: called with the number of rows read so far.

    References:
        Cohen & Kaplan (2007), Summarizing data using bottom-k sketches, §2.
    """
    if stream.num_rows <= size:
        return Subsample.whole(pa.concat_tables(stream.blocks()))
    kept, witnesses = _Bottom(size, seed), _Witnesses()
    start = 0
    for block in stream.blocks():
        kept.add(start, block)
        witnesses.add(start, block)
        start += block.num_rows
        tell(start)
    kept.shrink()
    row = np.concatenate([*kept.rows, np.array([*witnesses.found], np.int64)])
    table = pa.concat_tables([*kept.tables, *witnesses.found.values()])
    row, first = np.unique(row, return_index=True)  # ascending: witnesses among the sample are not twice there
    alone = np.isin(row, [*witnesses.found])
    weight = np.where(alone, 1.0, (start - alone.sum()) / max((~alone).sum(), 1))
    return Subsample(table.take(first), weight, row, start)


@contextmanager
def numbered_by(of: Callable[[int], int]) -> Iterator[None]:
    """Have errors about row i say row `of(i)`: rows of a part are counted from its first one."""
    try:
        yield
    except DataError as error:
        message = re.sub(r"\bin row (\d+)", lambda found: f"in row {of(int(found[1]))}", str(error))
        raise DataError(message) from error.__cause__


class _Bottom:
    """The rows with the least keys."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed = size, seed
        self.tables: list[pa.Table] = []
        self.rows: list[NDArray[np.int64]] = []
        self.keys: list[NDArray[np.uint64]] = []
        self.greatest = np.uint64(2**64 - 1)

    def add(self, start: int, block: pa.Table) -> None:
        """The rows of a block, the first of which has number `start`."""
        row = start + np.arange(block.num_rows)
        key = _hash(row, self.seed)
        chosen = key <= self.greatest
        if not chosen.any():
            return
        self.tables.append(block if chosen.all() else block.filter(pa.array(chosen)))
        self.rows.append(row[chosen])
        self.keys.append(key[chosen])
        if sum(map(len, self.keys)) > 2 * self.size:
            self.shrink()

    def shrink(self) -> None:
        """Let go of all but the least."""
        key, row = np.concatenate(self.keys), np.concatenate(self.rows)
        if len(key) <= self.size:
            return
        self.greatest = np.partition(key, self.size - 1)[self.size - 1]
        chosen = key <= self.greatest
        self.tables = [pa.concat_tables(self.tables).filter(pa.array(chosen)).combine_chunks()]
        self.rows, self.keys = [row[chosen]], [key[chosen]]


class _Witnesses:
    """Rows that a sample may miss, by number."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, Any], int] = {}
        self.extremes: dict[tuple[str, str], float] = {}
        self.num_levels: Counter[str] = Counter()
        self.found: dict[int, pa.Table] = {}

    def add(self, start: int, block: pa.Table) -> None:
        """The rows of a block, the first of which has number `start`."""
        for name, column in zip(block.column_names, block.columns, strict=True):
            kind = column.type
            if column.null_count and (name, None) not in self.of:
                self._keep((name, None), start, block, pc.index(pc.is_null(column), True).as_py())
            if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
                self._ends(name, column, start, block)
            elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
                self._levels(name, column, start, block)

    def _ends(self, name: str, column: pa.ChunkedArray, start: int, block: pa.Table) -> None:
        ends = pc.min_max(column).as_py()
        for end, sign in (("min", 1), ("max", -1)):
            value = ends[end]
            if value is None or value != value:  # nothing but empty cells
                continue
            if (name, end) not in self.extremes or sign * value < sign * self.extremes[name, end]:
                self.extremes[name, end] = value
                self._keep((name, end), start, block, pc.index(column, pa.scalar(value, column.type)).as_py())

    def _levels(self, name: str, column: pa.ChunkedArray, start: int, block: pa.Table) -> None:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        for level in pc.unique(column).to_pylist():
            place = name, ("level", level)
            if level is not None and place not in self.of and self.num_levels[name] < MOST_LEVELS:
                self.num_levels[name] += 1
                self._keep(place, start, block, pc.index(column, pa.scalar(level, column.type)).as_py())

    def _keep(self, place: tuple[str, Any], start: int, block: pa.Table, index: int) -> None:
        before, self.of[place] = self.of.get(place), start + index
        self.found[start + index] = block.slice(index, 1)
        if before is not None and before not in self.of.values():
            del self.found[before]


def _hash(row: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea & Flood 2014, figure 17) of each number, started where the seed says."""
    with np.errstate(over="ignore"):
        start = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
        z = start + row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
