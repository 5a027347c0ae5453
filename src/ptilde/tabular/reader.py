"""Tables on disk: CSV and Parquet in, CSV and Parquet out, each failure in one sentence.

What a file is is told by its content (Parquet starts with `PAR1`), not by its name. In a CSV file the separator is the
one of `,`, `;` and tab that cuts the head of the file into the same number of fields, two or more, line by line;
decimal commas are believed when the separator is another one and the fields hold numbers such as 1,5 and none such as
1.5. Empty fields, NA, NaN and null are missing. Writing is atomic: the path holds the old file or the whole new one.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ptilde import _files
from ptilde._validate import DataError

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A"]
_HEAD = 64 * 1024  # bytes looked at to find separator and decimals
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_POINT_NUMBER = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")


def read_table(path: str | Path) -> pa.Table:
    """Read a CSV or Parquet file."""
    path = Path(path)
    head = head_of(path)
    table = _read_parquet(path) if is_parquet(head) else Csv.of(path, head).read()
    if table.num_rows == 0:
        raise DataError(
            f"{str(path)!r} must hold at least one row; got only a header: {', '.join(table.column_names)}."
        )
    return table


def head_of(path: Path) -> bytes:
    """The first bytes of a file that may be a table."""
    if path.is_dir():
        raise DataError(f"{str(path)!r} must be a CSV or Parquet file; got a directory. Name the file in it.")
    if not path.exists():
        raise DataError(f"{str(path)!r} must be a CSV or Parquet file; there is no such file. Check the path.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    if not head.strip(b"\xef\xbb\xbf \r\n\t"):
        raise DataError(f"{str(path)!r} must hold a header and rows; got an empty file.")
    return head


def is_parquet(head: bytes) -> bool:
    """Whether a file that begins so says that it is one."""
    return head.startswith(b"PAR1")


def write_table(table: Any, path: str | Path) -> None:
    """Write a pandas, polars or pyarrow table as the suffix of the path says, .csv or .parquet, all or nothing."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"The path must end in .csv or .parquet; got {str(path)!r}.")
    arrow = table if isinstance(table, pa.Table) else nw.from_native(table, eager_only=True).to_arrow()
    with writing(path) as write:
        write(arrow)


@contextmanager
def writing(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """What takes tables with the same columns, one after the other, into one file, which is whole or absent.

    A later table whose types differ is brought to those of the first, if that loses nothing.
    """
    parquet = path.suffix.lower() == ".parquet"
    writer: Any = None
    schema = pa.schema([])

    def write(table: pa.Table) -> None:
        nonlocal writer, schema
        if writer is None:
            schema = table.schema if parquet else _without_dictionaries(table.schema)
            kind = pyarrow.parquet.ParquetWriter if parquet else pyarrow.csv.CSVWriter
            writer = kind(temporary, schema)
        try:
            writer.write_table(table.cast(schema))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"{str(path)!r} cannot hold rows of different types: {_one_line(error)}. Write to a folder instead."
            ) from None

    try:
        with _files.atomic(path) as temporary:
            try:
                yield write
            finally:
                if writer is not None:
                    writer.close()
    except OSError as error:
        why = f"{str(path)!r} cannot be written: {error.strerror}. Check its folder." if error.strerror else str(error)
        raise DataError(why) from None


def _without_dictionaries(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema]
    )


def _read_parquet(path: Path) -> pa.Table:
    try:
        table = pyarrow.parquet.ParquetFile(path, pre_buffer=False).read()
        table.validate(full=True)  # that text is UTF-8
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, error) from None
    return table.select(own_names(table.schema)).replace_schema_metadata(None)


def damaged(path: Path, error: Exception) -> DataError:
    """What is said of a Parquet file that cannot be read."""
    return DataError(f"{str(path)!r} starts like a Parquet file but is damaged or cut off: {_one_line(error)}")


def own_names(schema: pa.Schema) -> list[str]:
    """The columns without the index that pandas writes beside them."""
    try:
        names = schema.names
    except UnicodeDecodeError:
        raise DataError("A Parquet file must name its columns in UTF-8; got other bytes. Write it anew.") from None
    if twice := _twice(names):
        raise DataError(f"A Parquet file must have distinct column names; got {twice[0]!r} twice. Rename one.")
    return [name for name in names if not re.fullmatch(r"__index_level_\d+__", name)]


class Csv(NamedTuple):
    """A CSV file, as its head says that it is written."""

    path: Path
    separator: str
    decimal_point: str
    names: list[str]

    @classmethod
    def of(cls, path: Path, head: bytes) -> "Csv":
        """From the first `HEAD` bytes of the file."""
        text = _decoded(path, head)
        separator = _separator(path, text)
        names = next(row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row)
        _check_header(path, names)
        return cls(path, separator, "," if separator != "," and _decimal_commas(text, separator) else ".", names)

    def read(self) -> pa.Table:
        """All of it."""
        try:
            table = pyarrow.csv.read_csv(self.path, **self._options({}))
        except pa.ArrowInvalid as error:
            raise self.refusal(error) from None
        self.check(table.schema)
        return table

    def blocks(self, types: Mapping[str, pa.DataType], num_bytes: int) -> Iterator[pa.Table]:
        """Tables of so many bytes of text, in order; of columns without a type the first of them tells it.

        Raises:
            pyarrow.ArrowInvalid: where a column is not of its type, or lines are of different lengths.
        """
        read = pyarrow.csv.ReadOptions(block_size=num_bytes, use_threads=False)
        with pyarrow.csv.open_csv(self.path, read_options=read, **self._options(types)) as blocks:
            for batch in blocks:
                yield pa.Table.from_batches([batch])

    def refusal(self, error: Exception) -> DataError:
        """What is wrong with the file that pyarrow refused."""
        return DataError(_csv_complaint(self.path, self.separator, len(self.names), error))

    def check(self, schema: pa.Schema) -> None:
        """Binary columns are pyarrow's word for text that is not UTF-8."""
        if any(pa.types.is_binary(kind) for kind in schema.types):
            raise self.refusal(ValueError("not UTF-8"))

    def _options(self, types: Mapping[str, pa.DataType]) -> dict[str, Any]:
        convert = pyarrow.csv.ConvertOptions(
            null_values=MISSING,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            decimal_point=self.decimal_point,
            column_types=types,
        )
        parse = pyarrow.csv.ParseOptions(delimiter=self.separator, newlines_in_values=True)
        return {"parse_options": parse, "convert_options": convert}


def _decoded(path: Path, head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{str(path)!r} must be UTF-8 text; it is UTF-16. Save it as UTF-8.")
    if control := _CONTROL.search(head):
        row = head[: control.start()].count(b"\n") + 1
        raise DataError(
            f"{str(path)!r} must be CSV or Parquet; got binary data (byte 0x{control[0][0]:02x} in line {row})."
        )
    whole = head if len(head) < _HEAD else head[: head.rfind(b"\n") + 1] or head
    try:
        return whole.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = head[: error.start].count(b"\n") + 1
        raise DataError(_not_utf8(path, row, head[error.start])) from None


def _not_utf8(path: Path, row: int, byte: int) -> str:
    return (
        f"{str(path)!r} must be UTF-8 text; got byte 0x{byte:02x} in line {row}. "
        f"It may be Latin-1: save it as UTF-8, or run `iconv -f latin1 -t utf-8`."
    )


def _separator(path: Path, text: str) -> str:
    """The candidate that cuts most lines into as many fields as the header, two or more; a comma if none does."""
    best, best_score = ",", (0.0, 0)
    for candidate in (",", ";", "\t"):
        try:
            rows = [row for _, row in zip(range(200), csv.reader(io.StringIO(text, newline=""), delimiter=candidate))]  # noqa: B905
        except csv.Error as error:
            raise DataError(f"{str(path)!r} must be CSV or Parquet; it is neither: {error}.") from None
        rows = [row for row in rows if row]
        width = len(rows[0]) if rows else 0
        score = (sum(len(row) == width for row in rows) / len(rows), width) if width > 1 else (0.0, 0)
        if score > best_score:
            best, best_score = candidate, score
    return best


def _decimal_commas(text: str, separator: str) -> bool:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    fields = [field.strip() for row in rows for field in row]
    return any(map(_COMMA_NUMBER.fullmatch, fields)) and not any(map(_POINT_NUMBER.fullmatch, fields))


def _check_header(path: Path, names: list[str]) -> None:
    if twice := _twice(names):
        raise DataError(f"{str(path)!r} must have distinct column names; got {twice[0]!r} twice. Rename one.")


def _twice(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _csv_complaint(path: Path, separator: str, width: int, error: Exception) -> str:
    """What is wrong with a CSV file that pyarrow refused, with the line, found by reading it again slowly."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=separator)
            for row in rows:
                if row and len(row) != width:
                    return (
                        f"{str(path)!r} must have as many fields in every line as in its header, {width}; "
                        f"got {len(row)} in line {rows.line_num}. Quote fields that hold the separator {separator!r}."
                    )
    except UnicodeDecodeError as wrong:
        with path.open("rb") as file:
            row = next((n for n, line in enumerate(file, 1) if not _is_utf8(line)), 1)
        return _not_utf8(path, row, wrong.object[wrong.start])
    except csv.Error as wrong:
        return f"{str(path)!r} must be CSV or Parquet; it is neither: {wrong}."
    return f"{str(path)!r} cannot be read as CSV: {_one_line(error)}"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
