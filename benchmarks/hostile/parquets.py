"""Parquet files made to do harm: columns of every type that Parquet has, then damage to the bytes."""

import datetime
import decimal
import io
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from benchmarks.hostile import words
from benchmarks.hostile.damage import damaged, flipped

DAY = datetime.datetime(2024, 1, 1)
ROWS, NUMBERS = (0, 1, 2, 5, 40, 40, 120, 120, 300, 300), (0, 1, 1, 1, 2, 2, 3, 5)
Column = Callable[[int, random.Random], pa.Array]


def parquet_file(i: int) -> bytes:
    """Case i."""
    rng = random.Random(i)
    rows = rng.choice(ROWS)
    makers = [rng.choice(COLUMNS if rng.random() < 0.3 else COLUMNS[:PLAIN]) for _ in range(rng.choice(NUMBERS))]
    arrays = [_holed(make(rows, rng), rng) for make in makers]
    table = pa.Table.from_arrays(arrays, names=words.names(len(arrays), rng))
    if rng.random() < 0.2:
        junk = rng.choice((b"{", b"{}", b'{"index_columns": [7], "columns": {}}', b"\xff"))
        table = table.replace_schema_metadata({rng.choice((b"pandas", b"ARROW:schema", b"x")): junk})
    out = io.BytesIO()
    pyarrow.parquet.write_table(
        table,
        out,
        compression=rng.choice(("none", "snappy", "gzip", "zstd", "lz4")),
        use_dictionary=rng.random() < 0.5,
        row_group_size=rng.choice((1, 7, 1000)),
        version=rng.choice(("1.0", "2.4", "2.6")),
        data_page_version=rng.choice(("1.0", "2.0")),
        store_schema=rng.random() < 0.8,
    )
    blob = out.getvalue()
    match rng.randrange(6):
        case 0:
            return damaged(blob, rng)
        case 1 | 2:  # anywhere, mostly in pages and their headers; longer or shorter ones fail at the footer
            return flipped(blob, rng)
        case _:
            return blob


def _holed(array: pa.Array, rng: random.Random) -> pa.Array:
    """The column with some, or all, of its cells empty."""
    share = rng.choice((0, 0, 0, 0.2, 1))
    if not share or array.type in (pa.null(), pa.string_view()):  # Arrow takes nothing from these
        return array
    return array.take(pa.array([None if rng.random() < share else k for k in range(len(array))], pa.int64()))


def _numbers(kind: pa.DataType) -> Column:
    """Small numbers of a type, now and then its ends."""

    def make(rows: int, rng: random.Random) -> pa.Array:
        most = 2**kind.bit_width - 1 if pa.types.is_unsigned_integer(kind) else 2 ** (kind.bit_width - 1) - 1
        ends = rng.random() < 0.2 and pa.types.is_integer(kind)
        return pa.array([most if ends and rng.random() < 0.3 else rng.randrange(120) for _ in range(rows)], kind)

    return make


def _floats(kind: pa.DataType) -> Column:
    def make(rows: int, rng: random.Random) -> pa.Array:
        odd = rng.choice(((), (float("nan"),), (float("inf"), -0.0), (5e-324, 1.7e308)))
        cells = [rng.choice(odd) if odd and rng.random() < 0.3 else rng.gauss(0, 9) for _ in range(rows)]
        return pa.array(cells, pa.float64()).cast(kind, safe=False)

    return make


def _texts(kind: pa.DataType) -> Column:
    def make(rows: int, rng: random.Random) -> pa.Array:
        cells = rng.choice((words.TEXTS, words.NUMBERS, ("a", "b")))
        return pa.array([rng.choice(cells) for _ in range(rows)], kind)

    return make


def _cells(*cells: Any, kind: pa.DataType | None = None) -> Column:
    """Cells of a list, drawn freely."""
    return lambda rows, rng: pa.array([rng.choice(cells) for _ in range(rows)], kind)


def _decimals(kind: pa.DataType, digits: int) -> Column:
    def make(rows: int, rng: random.Random) -> pa.Array:
        with decimal.localcontext(prec=90):
            cells = [
                decimal.Decimal(rng.randrange(10 ** rng.randrange(1, digits))).scaleb(-kind.scale) for _ in range(rows)
            ]
        return pa.array(cells, kind)

    return make


def _dictionary(values: pa.Array) -> Column:
    def make(rows: int, rng: random.Random) -> pa.Array:
        codes = pa.array([rng.randrange(len(values)) for _ in range(rows)], pa.int32())
        return pa.DictionaryArray.from_arrays(codes, values)

    return make


PLAIN = 15  # the first of them that a density can be of
COLUMNS: tuple[Column, ...] = (
    *map(_numbers, (pa.int8(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64())),
    *map(_floats, (pa.float16(), pa.float32(), pa.float64(), pa.float64(), pa.float64())),
    *map(_texts, (pa.string(), pa.string(), pa.large_string(), pa.string_view())),
    _cells(True, False),
    _cells(b"", b"\xff", kind=pa.binary()),
    _cells(b"1234", kind=pa.binary(4)),
    _decimals(pa.decimal128(10, 2), 10),
    _decimals(pa.decimal128(38, 38), 38),
    _decimals(pa.decimal256(76, 0), 76),
    _dictionary(pa.array(["a", "b", "\x1b[2J"])),
    _dictionary(pa.array([1.5, 0.0])),
    _dictionary(pa.array([7, 2**62])),
    _dictionary(pa.array(["a", "a", ""])),
    _cells(DAY, kind=pa.timestamp("ns", "UTC")),
    _cells(DAY, kind=pa.timestamp("ms", "Mars/Olympus")),
    _cells(DAY.date(), kind=pa.date32()),
    _cells(datetime.time(1, 2), kind=pa.time64("us")),
    _cells(datetime.timedelta(1), kind=pa.duration("ns")),
    _cells([1, 2], [], None, kind=pa.list_(pa.int64())),
    _cells([[1.0]], kind=pa.list_(pa.list_(pa.float64()))),
    _cells([1.0, 2.0], kind=pa.list_(pa.float64(), 2)),
    _cells({"a": 1}, kind=pa.struct([("a", pa.int64())])),
    _cells([("k", 1)], kind=pa.map_(pa.string(), pa.int64())),
    lambda rows, rng: pa.nulls(rows),
)
