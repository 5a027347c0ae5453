"""The commands: what each takes, and the few lines that it does. Heavy imports wait until a command runs."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptilde._validate import DataError, ModelFileError
from ptilde.cli.console import complain, plain, result, say, show_table

if TYPE_CHECKING:
    from ptilde.tabular.frames import Table

app = typer.Typer(
    name="ptilde",
    help="Densities of tables with atoms: fit, score, draw.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

PART = 50_000  # rows drawn or scored between two words on how far it is
LOG_DENSITY = "log_density"

Input = Annotated[Path, typer.Argument(metavar="TABLE", help="A CSV or Parquet file.")]
Fitted = Annotated[Path, typer.Argument(metavar="MODEL", help="A .ptilde file that `ptilde fit` wrote.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same numbers.")]
MaxIter = Annotated[int | None, typer.Option(min=1, help="Steps of the fit; by default as many as the data call for.")]
Budget = Annotated[float | None, typer.Option(help="Seconds that the fit may take.")]


@app.command()
def schema(table: Input) -> None:
    """Say what each column may hold: a table to read on stderr, TOML to edit on stdout."""
    from ptilde.tabular.reader import read_table
    from ptilde.tabular.schema import Schema

    found = Schema.infer(read_table(table))
    say(found)
    sys.stdout.write(found.to_toml_text())


@app.command()
def fit(
    table: Input,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="Where the model goes.")],
    schema: Annotated[Path | None, typer.Option(help="TOML from `ptilde schema`, as you corrected it.")] = None,
    seed: Seed = 0,
    max_iter: MaxIter = None,
    time_budget: Budget = None,
) -> None:
    """Fit the density of a table and save it."""
    check_output(output)
    check_budget(time_budget)
    from ptilde.tabular.reader import read_table
    from ptilde.tabular.schema import Schema

    declared = None if schema is None else Schema.from_toml(existing(schema))
    frame = read_table(table)
    say(f"Read {frame.num_rows:,} rows and {frame.num_columns} columns.")
    model = fit_model(frame, declared, seed, max_iter, time_budget)
    for name, reason in model.schema_.left_out.items():
        say(f"Left out {name!r}: {reason}")
    model.save(output)
    say(f"Fitted {len(model.schema_.columns)} columns in {model.n_iter_:,} steps. Wrote {output}.")


@app.command()
def sample(
    model: Fitted,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the rows go: .csv or .parquet.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Draw rows from a fitted model."""
    check_output(output, table=True)
    from ptilde.tabular.reader import write_table

    write_table(draw(load_model(model), rows, seed), output)
    say(f"Drew {rows:,} rows. Wrote {output}.")


@app.command()
def score(
    model: Fitted,
    table: Input,
    output: Annotated[Path, typer.Option("--output", "-o", help="The table and its log densities: .csv or .parquet.")],
) -> None:
    """Log density of each row of a table, in nats, in a column added to it; prints the mean."""
    check_output(output, table=True)
    import numpy as np

    from ptilde.tabular.frames import open_table
    from ptilde.tabular.reader import read_table, write_table

    fitted, frame = load_model(model), read_table(table)
    if LOG_DENSITY in frame.column_names:
        raise DataError(f"The table must have no column {LOG_DENSITY!r}: the result has that name. Rename it.")
    tell_outside(fitted, open_table(frame))
    log_density = score_rows(fitted, frame)
    write_table(frame.append_column(LOG_DENSITY, [log_density]), output)
    inside = np.isfinite(log_density)
    if not inside.all():
        say(f"Log density -inf: {np.sum(~inside):,} of {len(inside):,} rows; the mean is over the others.")
    mean = np.mean(log_density[inside]) if inside.any() else -np.inf
    result(f"mean log density: {mean:.4f} nats a row, over {inside.sum():,} rows")
    say(f"Wrote {output}.")


@app.command()
def impute(
    model: Fitted,
    table: Input,
    output: Annotated[Path, typer.Option("--output", "-o", help="The whole table: .csv or .parquet.")],
    seed: Seed = 0,
) -> None:
    """Draw the empty cells of a table from their law given the others in their row."""
    check_output(output, table=True)
    from ptilde.tabular.frames import open_table
    from ptilde.tabular.kinds import empty
    from ptilde.tabular.reader import read_table, write_table

    fitted, frame = load_model(model), read_table(table)
    columns = fitted.schema_.check(open_table(frame), holes=True)
    write_table(impute_rows(fitted, frame, seed), output)
    say(f"Drew {sum(empty(values).sum() for values in columns.values()):,} empty cells. Wrote {output}.")


@app.command()
def inspect(model: Fitted) -> None:
    """What is in a model file, without running anything in it."""
    from ptilde import store

    contents = store.inspect(existing(model))
    try:
        words = contents_in_words(contents)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"model file {str(model)!r} is damaged: its config is not one that ptilde writes ({error!r:.200}). "
            "Copy it again from where it was saved, or fit and save the model anew."
        ) from error
    result(words)


@app.command("version")
def show_version() -> None:
    """Versions of ptilde and of what it runs on."""
    rows = [("ptilde", _version("ptilde")), ("python", platform.python_version())]
    rows += [(name, _version(name)) for name in ("jax", "jaxlib", "equinox", "numpy", "scikit-learn", "pyarrow")]
    for name, number in rows:
        result(f"{name} {number}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for what it writes.")] = Path("ptilde-demo"),
    seed: Seed = 0,
    max_iter: MaxIter = None,
    time_budget: Budget = None,
) -> None:
    """Fit a real table that ships with the package, draw from it, and say how good the draws are."""
    check_budget(time_budget)
    from ptilde.cli.demo import run

    run(out, seed, max_iter, time_budget)


# --- what commands share ---------------------------------------------------------------------------------------------


def fit_model(frame: Any, schema: Any, seed: int, max_iter: int | None, time_budget: float | None) -> Any:
    """A fitted estimator, with its progress shown."""
    import ptilde
    from ptilde.cli.progress import fit_progress

    with fit_progress() as tell:
        limits = {"max_iter": max_iter or "auto", "time_budget": time_budget}
        return ptilde.ScoreDensity(schema=schema, random_state=seed, callback=tell, **limits).fit(frame)


def load_model(path: Path) -> Any:
    """The model in a file."""
    import ptilde

    return ptilde.load(existing(path))


def draw(model: Any, rows: int, seed: int) -> Any:
    """Rows in parts: the first with the seed itself, so that a small table is the one that Python draws."""
    return _in_parts("drawing", rows, seed, lambda start, n, own: model.sample(n, random_state=own))


def impute_rows(model: Any, frame: Any, seed: int) -> Any:
    """A whole table, in parts."""
    return _in_parts(
        "drawing", frame.num_rows, seed, lambda start, n, own: model.impute(frame.slice(start, n), random_state=own)
    )


def _in_parts(what: str, rows: int, seed: int, part: Callable[[int, int, int], Any]) -> Any:
    """A table of so many rows, put together from parts: (first row, number of rows, seed) ↦ table."""
    import narwhals.stable.v2 as nw
    import numpy as np

    from ptilde.cli.progress import parts_progress

    parts = []
    with parts_progress(what, rows) as tell:
        for place, start in enumerate(range(0, rows, PART)):
            own = seed if place == 0 else int(np.random.SeedSequence((seed, place)).generate_state(1)[0])
            parts.append(nw.from_native(part(start, min(PART, rows - start), own), eager_only=True))
            tell(min(start + PART, rows))
    return (parts[0] if len(parts) == 1 else nw.concat(parts)).to_native()


def score_rows(model: Any, frame: Any) -> Any:
    """Log density of each row; what lies outside the support was told by `tell_outside`."""
    import warnings

    import numpy as np

    from ptilde.cli.progress import parts_progress

    parts = []
    with parts_progress("scoring", frame.num_rows) as tell, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for start in range(0, frame.num_rows, PART):
            parts.append(np.asarray(model.score_samples(frame.slice(start, PART)), float))
            tell(min(start + PART, frame.num_rows))
    return np.concatenate(parts)


def tell_outside(model: Any, table: Table) -> None:
    """A line for each column with values that the model holds impossible."""
    import numpy as np

    for name, values in model.schema_.check(table).items():
        kind = model.schema_.columns[name]
        outside = ~np.asarray(kind.holds(values))
        if outside.any():
            row, word = int(np.argmax(outside)), type(kind).__name__
            complain(
                f"warning: column {name!r} holds what its kind {word} cannot, in {outside.sum():,} of {len(outside):,} "
                f"rows: first {_value(values[row])} in row {row}. Their log density is -inf."
            )


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


def _value(value: object) -> str:
    return plain(repr(value.item() if hasattr(value, "item") else value))  # type: ignore[union-attr]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


__all__ = ["app", "show_table"]
