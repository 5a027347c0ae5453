"""Files made to do harm, by the thousand: model files, CSV, Parquet and schema TOML.

Case i of each sort follows from i alone, so a failure is named by its number and can be made again. A case passes if
what reads it gives a result or the one error that it promises, in less than `MOST_SECONDS` of processor time and
`MOST_BYTES` of memory above what the process had before. Memory is the highest resident size while the case ran, which
Linux tells of each case by itself; it holds what Arrow and XLA take, too.

`python -m benchmarks.hostile format 100000` runs one sort by hand, `--first` says where to begin.
"""

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import ptilde
from benchmarks.hostile import models, parquets, tables, tomls
from ptilde import Categorical, DataError, ModelFileError, Schema, store
from ptilde.cli.errors import run
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.frames import open_table
from ptilde.tabular.reader import read_table

MIB = 2**20
MODEL_SECONDS, MODEL_BYTES = 1.0, 200 * MIB
TABLE_SECONDS, TABLE_BYTES = 10.0, 1024 * MIB
KEPT = 20  # failures that are told


class Found(NamedTuple):
    """What became of the cases.

    Attributes:
        tried: how many there were.
        passed: how many gave a result.
        refused: how many were refused by the error that is promised.
        num_failures: all others.
        failures: the first of them, in words.
        seconds: of the processor, in all.
        worst_seconds: of the slowest case.
        slowest: its number.
        peak_bytes: of the largest case, above what the process had before it.
        largest: its number.
    """

    tried: int
    passed: int
    refused: int
    num_failures: int
    failures: tuple[str, ...]
    seconds: float
    worst_seconds: float
    slowest: int
    peak_bytes: int
    largest: int


def format_layer(cases: int, first: int = 0) -> Found:
    """Mutants of a small file with every dtype, through `store.read`."""
    good = models.small_file()
    return _tried(
        cases,
        first,
        lambda i: models.mutant(good, i),
        lambda path: store.read(path, models.small_shapes),
        ModelFileError,
        MODEL_SECONDS,
        MODEL_BYTES,
    )


def model_files(cases: int, first: int = 0) -> Found:
    """Mutants of the kept models, most of them with a good checksum, through `ptilde.load`."""
    good = [path.read_bytes() for path in models.kept()]
    make = lambda i: models.mutant(good[i % len(good)], i, whole=True)  # noqa: E731
    return _tried(cases, first, make, ptilde.load, ModelFileError, MODEL_SECONDS, MODEL_BYTES)


def csv_files(cases: int, first: int = 0) -> Found:
    """CSV files through reader, schema and, each twentieth, encoder."""
    return _tried(cases, first, tables.csv_file, taken_in, DataError, TABLE_SECONDS, TABLE_BYTES)


def parquet_files(cases: int, first: int = 0) -> Found:
    """Parquet files, likewise."""
    return _tried(cases, first, parquets.parquet_file, taken_in, DataError, TABLE_SECONDS, TABLE_BYTES)


def schema_files(cases: int, first: int = 0) -> Found:
    """TOML through `Schema.from_toml` and back."""
    return _tried(cases, first, tomls.toml_file, spelt, DataError, TABLE_SECONDS, TABLE_BYTES)


def command_line(cases: int, first: int = 0) -> Found:
    """CSV and Parquet files through `ptilde schema`: exit code 0 or 2, no traceback, plain text on both outputs."""
    make = lambda i: (parquets.parquet_file if i % 2 else tables.csv_file)(i)  # noqa: E731
    return _tried(cases, first, make, _command, DataError, TABLE_SECONDS, TABLE_BYTES)


def taken_in(path: Path) -> Schema:
    """A table as a fit takes it in: read, its kinds inferred, its cells held against them, each twentieth encoded."""
    opened = open_table(read_table(path))
    schema = Schema.infer(opened)
    columns = schema.check(opened)
    bodies = {name: kind for name, kind in schema.columns.items() if not isinstance(kind, Categorical)}
    outside = [name for name, kind in bodies.items() if not kind.holds(columns[name]).all()]
    assert not outside, f"inferred kinds do not hold their own columns {outside!r:.200}"
    if int(path.stem) % 20 == 0 and len(columns) < 20:
        rng = np.random.default_rng(0)
        rows = Encoder.fit(schema, columns, np.ones(opened.num_rows), rng).encode(columns, rng)
        assert np.isfinite(rows.z).all(), "amounts are not finite"
    assert Schema.from_dict(schema.to_dict()) == schema, "the schema changes on its way through a dict"
    path.write_text(schema.to_toml_text(), encoding="utf-8")
    assert Schema.from_toml(path) == schema, "the schema changes on its way through TOML"
    return schema


def spelt(path: Path) -> Schema:
    """A schema from TOML, which its own TOML must give again."""
    schema = Schema.from_toml(path)
    assert plain(str(schema)), "control characters in the schema's words"
    path.write_text(schema.to_toml_text(), encoding="utf-8")
    assert Schema.from_toml(path) == schema, "the schema changes on its way through TOML"
    return schema


def plain(text: str) -> bool:
    """Whether a terminal would take all of it for text."""
    return all(c.isprintable() or c == "\n" for c in text)


def _command(path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["schema", str(path)])
    assert code in (0, 2), f"exit code {code}"
    assert plain(out.getvalue()) and plain(err.getvalue()), "control characters on the terminal"
    assert "Traceback" not in err.getvalue(), "a traceback"
    if code == 2:
        assert not out.getvalue() and len(err.getvalue().splitlines()[-1]) < 5_000, "a refusal of many words"
        raise DataError(err.getvalue())


def _tried(
    cases: int,
    first: int,
    make: Callable[[int], bytes],
    use: Callable[[Path], Any],
    error: type[Exception],
    most_seconds: float,
    most_bytes: int,
) -> Found:
    """Run the cases; a failure is another exception than `error`, or a cost beyond the most."""
    passed = refused = num_failures = 0
    failures, seconds, slowest, largest = [], 0.0, (0.0, first), (0, first)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(first, first + cases):
            path = Path(folder) / f"{i}.file"
            path.write_bytes(make(i))
            told = ""
            with memory() as cost:
                begun = time.process_time()
                try:
                    use(path)
                    passed += 1
                except error as refusal:
                    refused += 1
                    told = "an empty message" if not str(refusal) else ""
                except Exception as wrong:
                    told = f"{type(wrong).__name__}: {wrong}"
                spent = time.process_time() - begun
            path.unlink(missing_ok=True)
            told = told or (f"{spent:.2f} s" if spent > most_seconds else "")
            told = told or (f"{cost.bytes / MIB:.0f} MiB" if cost.bytes > most_bytes else "")
            if told:
                num_failures += 1
                failures += [f"case {i}: {told:.300}"] * (len(failures) < KEPT)
            seconds += spent
            slowest, largest = max(slowest, (spent, i)), max(largest, (cost.bytes, i))
    return Found(cases, passed, refused, num_failures, tuple(failures), seconds, *slowest, *largest)


class Cost:
    """Bytes of memory that a block took at most, above those at its start."""

    bytes = 0


@contextmanager
def memory() -> Iterator[Cost]:
    """The most memory that is resident while the block runs; 0 where the system does not tell."""
    cost = Cost()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # from now on the peak is counted anew
    except OSError:
        yield cost
        return
    before = _resident("VmRSS")
    yield cost
    cost.bytes = max(0, _resident("VmHWM") - before)


def _resident(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


SORTS = {
    "format": format_layer,
    "models": model_files,
    "csv": csv_files,
    "parquet": parquet_files,
    "toml": schema_files,
    "command": command_line,
}
