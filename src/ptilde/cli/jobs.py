"""Jobs that go through rows in parts, into one file or into a folder with a file for each part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ptilde.cli import work
from ptilde.cli.console import complain, result, say

if TYPE_CHECKING:
    import pyarrow as pa

    from ptilde.launch.parts import Job
    from ptilde.tabular.schema import Schema

    Look = Callable[[Schema, pa.Table, int], None]


def is_folder(output: Path) -> bool:
    """Whether a place for rows is a folder for parts: a name without an ending, or a folder that is there."""
    return output.is_dir() or output.suffix == ""


def check_output(output: Path, shard: str | None) -> tuple[int, int]:
    """Refuse a place that cannot be written to before any work is done; i and n of shard i/n."""
    if not is_folder(output):
        work.check_output(output, table=True)
        if shard is not None:
            raise typer.BadParameter(f"it needs a folder; `--output` is the file {output}", param_hint="--shard")
        return 0, 1
    work.check_output(output / "part.parquet" if output.exists() else output)
    i, _, n = ("0/1" if shard is None else shard).partition("/")
    if not (i.isdecimal() and n.isdecimal() and int(i) < int(n)):
        raise typer.BadParameter(f"{shard!r} must be i/n with 0 ≤ i < n, such as 0/4", param_hint="--shard")
    return int(i), int(n)


def run(job: Job, model: Path, output: Path, shard: tuple[int, int], look: Look = lambda *_: None) -> str:
    """Make all parts that are wanted and not there yet; in words, what was done."""
    from ptilde.launch.parts import PART, Folder, num_parts
    from ptilde.tabular.reader import writing

    fitted = work.load_model(model)
    if not is_folder(output):
        with writing(output) as write:
            parts = job.parts(fitted, range(num_parts(job.rows)))
            for number, part in enumerate(_with_progress(job, job.rows, parts)):
                write(part)
                look(fitted.schema_, part, number * PART)
        return f"Wrote {job.rows:,} rows to {output}."
    folder = Folder(output, job, model)
    missing = folder.missing(shard)
    rows = sum(folder.num_rows(number) for number in missing)
    try:
        parts = folder.make(fitted, missing)
        for number, part in zip(missing, _with_progress(job, rows, parts), strict=True):
            look(fitted.schema_, part, number * PART)
    except KeyboardInterrupt as error:
        left = len(folder.missing(shard))
        raise work.Interrupted(f"{left} of the parts are still to be made: the same command makes them") from error
    there = len(folder.missing())
    rest = f"{there} parts are left to other shards" if there else f"all {num_parts(job.rows)} are there"
    return f"Wrote {rows:,} rows in {len(missing)} parts to {output}; {rest}."


def _with_progress(job: Job, rows: int, parts: Iterable[pa.Table]) -> Iterable[pa.Table]:
    import warnings

    from ptilde.cli.progress import parts_progress

    done = 0
    with parts_progress(job.verb, rows) as tell, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what lies outside the support `Outside` speaks, once
        for part in parts:
            yield part
            done += part.num_rows
            tell(done)


class Outside:
    """What scored rows hold that the model holds impossible, and the mean of the others."""

    def __init__(self) -> None:
        self.rows, self.inside, self.total = 0, 0, 0.0
        self.found: dict[str, tuple[str, str]] = {}
        self.count: Counter[str] = Counter()

    def look(self, schema: Schema, part: pa.Table, start: int) -> None:
        """Look at scored rows, the first of which is number `start`."""
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
                    first = f"{work.shown_value(values[row])} in row {start + row}"
                    self.found.setdefault(name, (type(kind).__name__, first))
                    self.count[name] += int(outside.sum())
        self.rows += len(finite)
        self.inside += int(finite.sum())
        self.total += float(log_density[finite].sum())

    def tell(self) -> None:
        """Warn of each column with such values, and print the mean of the rows that were scored now."""
        for name, (kind, first) in self.found.items():
            complain(
                f"warning: column {name!r} holds what its kind {kind} cannot, in {self.count[name]:,} of {self.rows:,} "
                f"rows: first {first}. Their log density is -inf."
            )
        if self.inside < self.rows:
            say(f"Log density -inf: {self.rows - self.inside:,} of {self.rows:,} rows; the mean is over the others.")
        if self.rows:
            mean = self.total / self.inside if self.inside else float("-inf")
            result(f"mean log density: {mean:.4f} nats a row, over {self.inside:,} rows")
