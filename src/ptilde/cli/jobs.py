"""Jobs that go through rows in parts, into one file or into a folder with a file for each part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from ptilde.cli import work
from ptilde.cli.console import complain, result, say

if TYPE_CHECKING:
    import pyarrow as pa

    from ptilde.launch.parts import Folder, Job
    from ptilde.tabular.schema import Schema

    Look = Callable[[Schema, pa.Table, int], None]


def is_folder(output: Path) -> bool:
    """Whether a place for rows is a folder for parts: a name without an ending, or a folder that is there."""
    return output.is_dir() or output.suffix == ""


class Engine(Enum):
    """What makes the parts."""

    HERE = "here"
    RAY = "ray"


class Place(NamedTuple):
    """Where rows go, which of the parts, made by what."""

    output: Path
    shard: tuple[int, int]
    engine: Engine

    @classmethod
    def of(cls, output: Path, shard: str | None, engine: Engine) -> Place:
        """Refuse a place that cannot be written to before any work is done."""
        if not is_folder(output):
            work.check_output(output, table=True)
            for option, given in (("--shard", shard is not None), ("--engine", engine is not Engine.HERE)):
                if given:
                    raise typer.BadParameter(f"it needs a folder; `--output` is the file {output}", param_hint=option)
            return cls(output, (0, 1), engine)
        work.check_output(output / "part.parquet" if output.exists() else output)
        i, _, n = ("0/1" if shard is None else shard).partition("/")
        if not (i.isdecimal() and n.isdecimal() and int(i) < int(n)):
            raise typer.BadParameter(f"{shard!r} must be i/n with 0 ≤ i < n, such as 0/4", param_hint="--shard")
        return cls(output, (int(i), int(n)), engine)


def run(job: Job, model: Path, place: Place, look: Look = lambda *_: None) -> str:
    """Make all parts that are wanted and not there yet; in words, what was done."""
    from ptilde.launch.parts import PART, Folder, num_parts
    from ptilde.tabular.reader import writing

    fitted, output = work.load_model(model, job.kind), place.output
    if not is_folder(output):
        with writing(output) as write:
            for number, part in _with_progress(job, job.rows, _here(job, fitted)):
                write(part)
                look(fitted.schema_, part, number * PART)
        return f"Wrote {job.rows:,} rows to {output}."
    folder = Folder(output, job, model)
    missing = folder.missing(place.shard)
    rows = sum(folder.num_rows(number) for number in missing)
    made = _on_cluster(folder, model, missing) if place.engine is Engine.RAY else _into(folder, fitted, missing)
    try:
        for number, part in _with_progress(job, rows, made):
            look(fitted.schema_, part, number * PART)
    except KeyboardInterrupt as error:
        left = len(folder.missing(place.shard))
        raise work.Interrupted(f"{left} of the parts are still to be made: the same command makes them") from error
    there = len(folder.missing())
    rest = f"{there} parts are left to other shards" if there else f"all {num_parts(job.rows)} are there"
    return f"Wrote {rows:,} rows in {len(missing)} parts to {output}; {rest}."


def _here(job: Job, fitted: Any) -> Iterable[tuple[int, pa.Table]]:
    from ptilde.launch.parts import num_parts

    return enumerate(job.parts(fitted, range(num_parts(job.rows))))


def _into(folder: Folder, fitted: Any, numbers: list[int]) -> Iterable[tuple[int, pa.Table]]:
    return zip(numbers, folder.make(fitted, numbers), strict=True)


def _on_cluster(folder: Folder, model: Path, numbers: list[int]) -> Iterable[tuple[int, pa.Table]]:
    from ptilde.launch import cluster
    from ptilde.tabular.reader import read_table

    return ((number, read_table(folder.part(number))) for number in cluster.make(folder, model, numbers))


def to_stdout(job: Job, model: Path) -> None:
    """All parts as one CSV text."""
    import sys

    import pyarrow.csv

    fitted = work.load_model(model, job.kind)
    for number, part in _with_progress(job, job.rows, _here(job, fitted)):
        pyarrow.csv.write_csv(part, sys.stdout.buffer, pyarrow.csv.WriteOptions(include_header=number == 0))


def _with_progress(job: Job, rows: int, parts: Iterable[tuple[int, pa.Table]]) -> Iterable[tuple[int, pa.Table]]:
    import warnings

    from ptilde.cli.progress import parts_progress

    done = 0
    with parts_progress(job.verb, rows) as tell, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what lies outside the support `Outside` speaks, once
        for number, part in parts:
            yield number, part
            done += part.num_rows
            tell(done)


class Outside:
    """What scored rows hold that the model holds impossible, and the mean of the others."""

    def __init__(self) -> None:
        self.rows, self.inside, self.total = 0, 0, 0.0
        self.found: dict[str, tuple[int, str, str]] = {}
        self.count: Counter[str] = Counter()

    def look(self, schema: Schema, part: pa.Table, start: int) -> None:
        """Look at the scored rows of a part, the first of which is number `start`."""
        import numpy as np

        from ptilde.launch.parts import LOG_DENSITY
        from ptilde.tabular.frames import open_table

        log_density = part[LOG_DENSITY].to_numpy()
        finite = np.isfinite(log_density)
        if not finite.all():
            for name, values in schema.check(open_table(part.drop_columns(LOG_DENSITY))).items():
                kind = schema.columns[name]
                outside = ~np.asarray(kind.holds(values))
                if outside.any():
                    row = int(np.argmax(outside))
                    first = start + row, work.shown_value(values[row]), type(kind).__name__
                    self.found[name] = min(first, self.found.get(name, first))
                    self.count[name] += int(outside.sum())
        self.rows += len(finite)
        self.inside += int(finite.sum())
        self.total += float(log_density[finite].sum())

    def tell(self) -> None:
        """Warn of each column with such values, and print the mean of the rows that were scored now."""
        for name, (row, value, kind) in self.found.items():
            complain(
                f"warning: column {name!r} holds what its kind {kind} cannot, in {self.count[name]:,} of {self.rows:,} "
                f"rows: first {value} in row {row}. Their log density is -inf."
            )
        if self.inside < self.rows:
            say(f"Log density -inf: {self.rows - self.inside:,} of {self.rows:,} rows; the mean is over the others.")
        if self.rows:
            mean = self.total / self.inside if self.inside else float("-inf")
            result(f"mean log density: {mean:.4f} nats a row, over {self.inside:,} rows")
