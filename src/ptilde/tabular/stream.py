"""Tables larger than memory: CSV, Parquet or a folder of Parquet files, read a stretch at a time.

Nothing but the stretch is held. Parquet is read row group by row group; of a CSV file of more than `SMALL` bytes the
types are found first, as if it had been read whole: a column that its first block calls one thing and a later one
refutes is widened, from empty to whole numbers, numbers, text.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ptilde._validate import DataError
from ptilde.tabular.reader import Csv, damaged, head_of, is_parquet, own_names, read_table

SMALL = 64 * 2**20  # bytes of a CSV file that is rather read whole
BLOCK = 65_536  # rows held at a time
_CSV_BLOCK, _TAIL = 8 * 2**20, 2**16  # bytes
_PLAIN = {
    pa.string_view(): pa.string(),
    pa.binary_view(): pa.binary(),
}  # for which Arrow cannot do all that is done here
_WIDER = {"null": pa.int64(), "int64": pa.float64()}
_REFUTED = re.compile(r"In CSV column #(\d+):.*CSV conversion error to (\w+)", re.DOTALL)


class Stream:
    """A table on disk.

    Args:
        path: a CSV or Parquet file, or a folder of Parquet files with the same columns, taken in the order of their
            names; files whose names begin with `.` or `_` are none of the table.

    Attributes:
        path: where it is.

    Raises:
        DataError: if it cannot be read.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._files = _files(self.path) if self.path.is_dir() else [self.path]
        self._whole, self._csv, self._footers = None, None, []
        heads = [head_of(path) for path in self._files]
        if self.path.is_dir() or is_parquet(heads[0]):
            self._footers = [_footer(path) for path in self._files]
            _check_columns(self._files, self._footers)
        elif self.path.stat().st_size > SMALL:
            self._csv = Csv.of(self.path, heads[0])
        else:
            self._whole = read_table(self.path)
        if self.num_rows == 0:
            raise DataError(f"{str(self.path)!r} must hold at least one row; got only column names.")

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        if self._whole is not None:
            return self._whole.schema
        if self._csv is not None:
            return self._scan[0]
        return self._footers[0].schema

    @property
    def column_names(self) -> list[str]:
        """Of the table."""
        return self.schema.names

    @cached_property
    def num_rows(self) -> int:
        """Of the table."""
        if self._whole is not None:
            return self._whole.num_rows
        return self._scan[1] if self._csv is not None else sum(footer.num_rows for footer in self._footers)

    def blocks(self, start: int = 0) -> Iterator[pa.Table]:
        """All rows from row `start` on, in order, in tables of about `BLOCK` rows."""
        if self._whole is not None:
            yield from (self._whole.slice(first, BLOCK) for first in range(start, self.num_rows, BLOCK))
        elif self._csv is not None:
            types = dict(zip(self.schema.names, self.schema.types, strict=True))
            yield from _after(start, self._csv.blocks(types, _CSV_BLOCK))
        else:
            yield from self._parquet_blocks(start)

    def rows(self, start: int, stop: int) -> pa.Table:
        """The rows from `start` until before `stop`."""
        parts, left = [], stop - start
        for block in self.blocks(start):
            parts.append(block.slice(0, left))
            left -= parts[-1].num_rows
            if left <= 0:
                break
        return pa.concat_tables(parts) if parts else self.schema.empty_table()

    def parts(self, num_rows: int, start: int = 0) -> Iterator[tuple[int, pa.Table]]:
        """The rows from row `start` on: row numbers and tables of so many rows, of which the last may have fewer."""
        held: list[pa.Table] = []
        count = 0
        for block in self.blocks(start):
            while count + block.num_rows >= num_rows:
                head = block.slice(0, num_rows - count)
                yield start, pa.concat_tables([*held, head])
                start, held, count, block = start + num_rows, [], 0, block.slice(head.num_rows)
            if block.num_rows:
                held.append(block)
                count += block.num_rows
        if held:
            yield start, pa.concat_tables(held)

    def signature(self) -> str:
        """A hash of each file's size and last bytes, in which Parquet says what all others are."""
        total = hashlib.sha256()
        for path in self._files:
            size = path.stat().st_size
            with path.open("rb") as file:
                file.seek(max(0, size - _TAIL))
                total.update(size.to_bytes(8, "little") + file.read())
        return total.hexdigest()

    @cached_property
    def _scan(self) -> tuple[pa.Schema, int]:
        """The types that hold all of a CSV file, and its number of rows."""
        assert self._csv is not None
        types: dict[str, pa.DataType] = {}
        while True:
            count, schema = 0, pa.schema([])
            try:
                for block in self._csv.blocks(types, _CSV_BLOCK):
                    schema, count = block.schema, count + block.num_rows
            except pa.ArrowInvalid as error:
                refuted = _REFUTED.search(str(error))
                if refuted is None:
                    raise self._csv.refusal(error) from None
                types[self._csv.names[int(refuted[1])]] = _WIDER.get(refuted[2], pa.string())
                continue
            self._csv.check(schema)
            return schema, count

    def _parquet_blocks(self, start: int) -> Iterator[pa.Table]:
        for path, footer in zip(self._files, self._footers, strict=True):
            if start < footer.num_rows:
                yield from _parquet_blocks(path, self.schema, start)
            start = max(0, start - footer.num_rows)


class _Footer(NamedTuple):
    """What a Parquet file says of itself."""

    schema: pa.Schema
    num_rows: int


def _files(folder: Path) -> list[Path]:
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    files = [path for path in inside if path.suffix == ".parquet" and path.is_file()]
    other = [path for path in inside if path not in files]
    if other:
        raise DataError(
            f"The folder {str(folder)!r} must hold Parquet files only; got {other[0].name!r}. Name a file in it, or "
            "move the others away."
        )
    if not files:
        raise DataError(f"The folder {str(folder)!r} must hold Parquet files; got none. Check the path.")
    return files


def _footer(path: Path) -> _Footer:
    try:
        metadata = pyarrow.parquet.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, error) from None
    fields = [(name, _PLAIN.get(schema.field(name).type, schema.field(name).type)) for name in own_names(schema)]
    return _Footer(pa.schema(fields), metadata.num_rows)


def _check_columns(files: list[Path], footers: list[_Footer]) -> None:
    """All files have the columns of the first, in whatever order."""
    first, types = files[0], dict(zip(footers[0].schema.names, footers[0].schema.types, strict=True))
    for path, footer in zip(files, footers, strict=True):
        found = dict(zip(footer.schema.names, footer.schema.types, strict=True))
        for name in types | found:
            one, other = types.get(name, "no such column"), found.get(name, "no such column")
            if one != other:
                raise DataError(
                    f"The files of {str(path.parent)!r} must have the same columns; got {name!r}: {one} in "
                    f"{first.name!r}, {other} in {path.name!r}. Write them with the same columns and types."
                )


def _parquet_blocks(path: Path, schema: pa.Schema, start: int) -> Iterator[pa.Table]:
    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            first = int(np.searchsorted(np.cumsum(sizes), start, side="right"))
            groups = list(range(first, len(sizes)))
            batches = file.iter_batches(BLOCK, row_groups=groups, columns=schema.names)
            blocks = (pa.Table.from_batches([batch]).select(schema.names).cast(schema) for batch in batches)
            for block in _after(start - sum(sizes[:first]), blocks):
                block.validate(full=True)  # that text is UTF-8
                yield block
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, error) from None


def _after(start: int, blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """What comes after the first rows."""
    for block in blocks:
        skipped = min(start, block.num_rows)
        start -= skipped
        if skipped < block.num_rows:
            yield block.slice(skipped)
