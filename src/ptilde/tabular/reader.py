"""Tables on disk: CSV and Parquet in, CSV and Parquet out, each failure in one sentence.

What a file is is told by its content (Parquet starts with `PAR1`), not by its name. In a CSV file the separator is the
one of `,`, `;` and tab that cuts the head of the file into the same number of fields, two or more, line by line;
decimal commas are believed when the separator is another one and the fields hold numbers such as 1,5 and none such as
1.5. Empty fields, NA, NaN and null are missing. Writing is atomic: the path holds the old file or the whole new one.
"""

import csv
import io
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ptilde._validate import DataError

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A"]
_HEAD = 64 * 1024  # bytes looked at to find separator and decimals
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_POINT_NUMBER = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")


def read_table(path: str | Path) -> pa.Table:
    """Read a CSV or Parquet file."""
    path = Path(path)
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
    table = _read_parquet(path) if head.startswith(b"PAR1") else _read_csv(path, head)
    if table.num_rows == 0:
        raise DataError(
            f"{str(path)!r} must hold at least one row; got only a header: {', '.join(table.column_names)}."
        )
    return table


def write_table(table: Any, path: str | Path) -> None:
    """Write a pandas, polars or pyarrow table as the suffix of the path says, .csv or .parquet, all or nothing."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"The path must end in .csv or .parquet; got {str(path)!r}.")
    arrow = table if isinstance(table, pa.Table) else nw.from_native(table, eager_only=True).to_arrow()
    with _replacing(path) as temporary:
        if path.suffix.lower() == ".parquet":
            pyarrow.parquet.write_table(arrow, temporary)
        else:
            pyarrow.csv.write_csv(_without_dictionaries(arrow), temporary)


def _without_dictionaries(table: pa.Table) -> pa.Table:
    fields = [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(fields))


@contextmanager
def _replacing(path: Path) -> Iterator[str]:
    """A temporary file beside the path that takes its place when all went well, and is removed when not."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be written: {error.strerror}. Check its folder.") from None
    os.close(handle)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are private
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise DataError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read_parquet(path: Path) -> pa.Table:
    try:
        table = pyarrow.parquet.ParquetFile(path, pre_buffer=False).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{str(path)!r} starts like a Parquet file but is damaged or cut off: {_one_line(error)}"
        ) from None
    extra = [name for name in table.column_names if re.fullmatch(r"__index_level_\d+__", name)]
    return table.drop_columns(extra).replace_schema_metadata(None)


def _read_csv(path: Path, head: bytes) -> pa.Table:
    text = _decoded(path, head)
    separator = _separator(path, text)
    names = next(row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row)
    _check_header(path, names)
    convert = pyarrow.csv.ConvertOptions(
        null_values=MISSING,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        decimal_point="," if separator != "," and _decimal_commas(text, separator) else ".",
    )
    parse = pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    try:
        table = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid as error:
        raise DataError(_csv_complaint(path, separator, len(names), error)) from None
    if any(pa.types.is_binary(kind) for kind in table.schema.types):  # pyarrow's word for text that is not UTF-8
        raise DataError(_csv_complaint(path, separator, len(names), ValueError("not UTF-8")))
    return table


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
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{str(path)!r} must have distinct column names; got {twice[0]!r} twice. Rename one.")


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
