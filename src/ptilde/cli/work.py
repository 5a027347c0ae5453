"""What commands share: models fitted and loaded with their progress shown, rows in parts, refusals of paths."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ptilde._validate import DataError
from ptilde.cli.console import plain, say

if TYPE_CHECKING:
    from ptilde.tabular.subsample import Subsample

LONG_FIT = 60.0  # seconds, from which on a fit leaves a checkpoint, and between two of them


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, with a word on how to go on."""


@contextlib.contextmanager
def going_on(output: Path, resume: bool) -> Iterator[Any]:
    """The checkpoint of a fit, gone when its model is saved; if it is interrupted, a word on how to go on."""
    from ptilde.checkpoint import Checkpoint

    path = output.with_name(f"{output.name}.checkpoint")
    if path.exists():
        going = "going on from there" if resume else "beginning anew (--resume goes on)"
        say(f"There is a checkpoint of an interrupted fit, {path}: {going}.")
    checkpoint = Checkpoint(path, every=LONG_FIT, resume=resume)
    try:
        yield checkpoint
    except KeyboardInterrupt as error:
        if not path.exists():
            raise
        raise Interrupted(f"add --resume to the command, and it goes on from {path}") from error
    path.unlink(missing_ok=True)


def read(path: Path, seed: int) -> Subsample:
    """A table to learn from: all of it, or of one larger than memory a part that stands for it."""
    from ptilde.cli.progress import parts_progress
    from ptilde.tabular.stream import Stream
    from ptilde.tabular.subsample import subsample

    stream = Stream(path)
    with parts_progress("reading", stream.num_rows) as tell:
        rows = subsample(stream, seed=seed, tell=tell)
    say(f"Read {rows.num_rows:,} rows and {rows.table.num_columns} columns.")
    if rows.table.num_rows < rows.num_rows:
        say(f"Learning from {rows.table.num_rows:,} of them, drawn evenly from all.")
    return rows


def fit_model(
    rows: Subsample, schema: Any, seed: int, max_iter: int | None, time_budget: float | None, checkpoint: Any = None
) -> Any:
    """A fitted density, with its progress shown."""
    import ptilde
    from ptilde.cli.progress import fit_progress

    with fit_progress() as tell:
        limits = {"max_iter": max_iter or "auto", "time_budget": time_budget}
        model = ptilde.ScoreDensity(schema=schema, random_state=seed, callback=tell, **limits)
        with rows.numbered():
            return model.fit(rows.table, sample_weight=rows.weight, checkpoint=checkpoint)


def fit_targets(
    X: Any, y: Any, weight: Any, exposure: Any, schema: Any, seed: int, checkpoint: Any, **limits: Any
) -> Any:
    """A fitted regressor, with its progress shown."""
    import ptilde
    from ptilde.cli.progress import fit_progress

    with fit_progress() as tell:
        model = ptilde.ScoreRegressor(schema=schema, random_state=seed, callback=tell, **limits)
        return model.fit(X, y, sample_weight=weight, exposure=exposure, checkpoint=checkpoint)


def load_model(path: Path, kind: str = "ScoreDensity") -> Any:
    """The model in a file, which must be of one kind."""
    import ptilde

    model = ptilde.load(existing(path))
    found = type(model).__name__
    if found != kind:
        cure = "Use `ptilde predict`" if found == "ScoreRegressor" else "Fit with `--target`"
        raise DataError(f"{str(path)!r} must hold a {kind} for this; got a {found}. {cure}.")
    return model


def covariates_of(regressor: Any) -> list[str]:
    """Their names; of a fit to an array those that its columns would have."""
    names = getattr(regressor, "feature_names_in_", [f"x{j}" for j in range(regressor.n_features_in_)])
    return [str(name) for name in names]


def columns_of(frame: Any, names: list[str], option: str) -> Any:
    """Some columns of a table that was read."""
    absent = [name for name in names if name not in frame.column_names]
    if absent:
        raise DataError(
            f"`{option}` must name columns of the table; got {absent[0]!r}, and the table has "
            f"{', '.join(map(repr, frame.column_names))}."
        )
    return frame.select(names)


def numbers_of(frame: Any, name: str, option: str) -> Any:
    """One column of numbers."""
    from ptilde.tabular.frames import open_table

    values = open_table(columns_of(frame, [name], option)).columns[name]
    if values.dtype == object:
        raise DataError(f"`{option}` must name a column of numbers; got {name!r}, which holds text.")
    return values


def draw(model: Any, rows: int, seed: int) -> Any:
    """Rows, with the progress shown."""
    import pyarrow as pa

    from ptilde.cli.progress import parts_progress
    from ptilde.launch.parts import PART, Draw, num_parts

    parts = []
    with parts_progress("drawing", rows) as tell:
        for part in Draw(rows, seed).parts(model, range(num_parts(rows))):
            parts.append(part)
            tell(min(len(parts) * PART, rows))
    return pa.concat_tables(parts)


def contents_in_words(contents: Any) -> str:
    """What a model file says of itself."""
    from ptilde.tabular.schema import Schema

    numbers = sum(math.prod(shape) for shape, _ in contents.arrays.values())
    facts = contents.config["facts"]
    lines = [
        f"model file of ptilde {contents.version}: {contents.num_bytes:,} bytes, {numbers:,} numbers",
        f"fitted in {facts['n_iter']:,} steps and {facts['fit_seconds']:.0f} s, seed {facts['seed']}",
    ]
    for stage, history in facts["history"].items():
        lines.append(f"{stage}: held-out loss {history['validation'][-1]:.4f} after {history['step'][-1]:,} steps")
    return "\n".join([*lines, "", str(Schema.from_dict(contents.config["schema"]))])


def existing(path: Path) -> Path:
    """The path of a file that can be read, or an error that says why not."""
    if path.is_dir():
        raise DataError(f"{str(path)!r} must be a file; got a folder. Name the file in it.")
    if not path.exists():
        raise DataError(f"there is no file {str(path)!r}. Check the path.")
    return path


def check_output(path: Path, *, table: bool = False) -> None:
    """Refuse a place that cannot be written to before any work is done."""
    if table and path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"`--output` must end in .csv or .parquet; got {str(path)!r}.")
    if path.is_dir():
        raise DataError(f"`--output` must be a file; got the folder {str(path)!r}. Name a file in it.")
    if not path.absolute().parent.is_dir():
        raise DataError(f"`--output` must lie in a folder that exists; got {str(path)!r}. Create its folder first.")
    if not os.access(path.absolute().parent, os.W_OK):
        raise DataError(f"`--output` must lie in a folder you may write to; got {str(path)!r}. Choose another.")


def check_budget(seconds: float | None) -> None:
    """Refuse a time budget that is not a positive number of seconds."""
    if seconds is not None and not 0 < seconds < float("inf"):
        raise typer.BadParameter(f"{seconds!r} is not a positive number of seconds", param_hint="--time-budget")


def shown_value(value: object) -> str:
    return plain(repr(value.item() if hasattr(value, "item") else value))  # type: ignore[union-attr]
