"""The commands: what each takes, and the few lines that it does. Heavy imports wait until a command runs."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from ptilde._validate import DataError, ModelFileError
from ptilde.cli import jobs, ranks, work
from ptilde.cli.console import result, say

app = typer.Typer(
    name="ptilde",
    help="Densities of tables with atoms: fit, score, draw, predict.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Input = Annotated[Path, typer.Argument(metavar="TABLE", help="A CSV or Parquet file, or a folder of Parquet files.")]
Fitted = Annotated[Path, typer.Argument(metavar="MODEL", help="A .ptilde file that `ptilde fit` wrote.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same numbers.")]
Shard = Annotated[str | None, typer.Option(help="i/n: of the parts in the folder only the i-th n-th, from 0 on.")]
Engine = Annotated[jobs.Engine, typer.Option(help="What makes the parts: this process, or a Ray cluster.")]
Exposure = Annotated[str | None, typer.Option(help="A column that says what each row was observed for, such as years.")]
MaxIter = Annotated[int | None, typer.Option(min=1, help="Steps of the fit; by default as many as the data call for.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the fit that was interrupted, if there is one.")]
Budget = Annotated[float | None, typer.Option(help="Seconds that the fit may take.")]
Processes = Annotated[str | None, typer.Option(metavar="N|auto", help="1, 2, 4 or 8 here, or auto: see the docs.")]


@app.command()
def schema(table: Input) -> None:
    """Say what each column may hold: a table to read on stderr, TOML to edit on stdout."""
    from ptilde.tabular.schema import Schema

    rows = work.read(table, 0)
    with rows.numbered():
        found = Schema.infer(rows.table, rows.weight)
    say(found)
    sys.stdout.write(found.to_toml_text())


@app.command()
def fit(
    context: typer.Context,
    table: Input,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="Where the model goes.")],
    schema: Annotated[Path | None, typer.Option(help="TOML from `ptilde schema`, as you corrected it.")] = None,
    target: Annotated[str | None, typer.Option(help="Fit the law of this column given the others.")] = None,
    given: Annotated[str | None, typer.Option(help="With --target: which others, by commas.")] = None,
    exposure: Exposure = None,
    seed: Seed = 0,
    max_iter: MaxIter = None,
    time_budget: Budget = None,
    resume: Resume = False,
    processes: Processes = None,
) -> None:
    """Fit the density of a table, or with --target the law of a column given the others, and save it.

    A fit of more than a minute says in MODEL.checkpoint where it stands; with --resume it goes on from there.
    With --processes it is spread over several; when one dies, all are started again from the checkpoint.
    """
    work.check_output(output)
    work.check_budget(time_budget)
    if target is None and (given is not None or exposure is not None):
        raise typer.BadParameter("it needs --target", param_hint="--given" if given else "--exposure")
    with ranks.joined(context, processes, output):
        from ptilde.tabular.schema import Schema

        declared = None if schema is None else Schema.from_toml(work.existing(schema))
        rows = work.read(table, seed)
        if target is not None:
            _fit_target(rows, declared, target, given, exposure, output, seed, max_iter, time_budget, resume)
            return
        with work.going_on(output, resume) as checkpoint:
            model = work.fit_model(rows, declared, seed, max_iter, time_budget, checkpoint)
            for name, reason in model.schema_.left_out.items():
                say(f"Left out {name!r}: {reason}")
            ranks.save(model, output)
        say(f"Fitted {len(model.schema_.columns)} columns in {model.n_iter_:,} steps. Wrote {output}.")


def _fit_target(
    rows: Any,
    declared: Any,
    target: str,
    given: str | None,
    exposure: str | None,
    output: Path,
    seed: int,
    max_iter: int | None,
    time_budget: float | None,
    resume: bool,
) -> None:
    targets, frame = _names(target), rows.table
    y = work.columns_of(frame, targets, "--target")
    rest = [name for name in frame.column_names if name not in (*targets, exposure)]
    X = work.columns_of(frame, _names(given) if given else rest, "--given")
    if not X.column_names or set(X.column_names) & set(targets):
        raise DataError(f"`--given` must name columns other than the target {target!r}; got {given!r}.")
    observed = None if exposure is None else work.numbers_of(frame, exposure, "--exposure")
    if declared is not None:
        from ptilde.tabular.schema import Schema

        declared = Schema({name: declared.columns[name] for name in targets if name in declared.columns})
    limits = {"max_iter": max_iter or "auto", "time_budget": time_budget}
    with work.going_on(output, resume) as checkpoint:
        with rows.numbered():
            model = work.fit_targets(X, y, rows.weight, observed, declared, seed, checkpoint, **limits)
        ranks.save(model, output)
    say(f"Fitted {', '.join(targets)} given {X.num_columns} columns in {model.fit_seconds_:.0f} s. Wrote {output}.")
    say(model.schema_)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command()
def predict(
    model: Fitted,
    table: Input,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="As in `sample`; stdout if left out.")] = None,
    quantiles: Annotated[str, typer.Option(help="Which ones, by commas.")] = "0.05,0.5,0.95",
    exposure: Exposure = None,
    shard: Shard = None,
    engine: Engine = jobs.Engine.HERE,
) -> None:
    """Mean, probability of each atom and quantiles of the target of each row, from a model of `fit --target`."""
    place = None if output is None else jobs.Place.of(output, shard, engine)
    levels = _levels(quantiles)
    from ptilde.cli.predictions import Predict

    job = Predict(str(table), levels, exposure)
    if place is None:
        jobs.to_stdout(job, work.existing(model))
    else:
        say(jobs.run(job, work.existing(model), place))


def _levels(text: str) -> tuple[float, ...]:
    try:
        levels = tuple(float(part) for part in _names(text))
    except ValueError:
        levels = ()
    if not levels or not all(0 < level < 1 for level in levels):
        raise typer.BadParameter(f"{text!r} must be numbers between 0 and 1, such as .5,.95", param_hint="--quantiles")
    return levels


@app.command()
def sample(
    model: Fitted,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the rows go: .csv, .parquet, or a folder.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows.")] = 1000,
    seed: Seed = 0,
    shard: Shard = None,
    engine: Engine = jobs.Engine.HERE,
) -> None:
    """Draw rows from a fitted model."""
    place = jobs.Place.of(output, shard, engine)
    from ptilde.launch.parts import Draw

    say(jobs.run(Draw(rows, seed), work.existing(model), place))


@app.command()
def score(
    model: Fitted,
    table: Input,
    output: Annotated[Path, typer.Option("--output", "-o", help="The rows and their log densities, as in `sample`.")],
    shard: Shard = None,
    engine: Engine = jobs.Engine.HERE,
) -> None:
    """Log density of each row of a table, in nats, in a column added to it; prints the mean."""
    place = jobs.Place.of(output, shard, engine)
    from ptilde.launch.parts import LOG_DENSITY, Score

    job = Score(str(table))
    if LOG_DENSITY in job.stream.column_names:
        raise DataError(f"The table must have no column {LOG_DENSITY!r}: the result has that name. Rename it.")
    outside = jobs.Outside()
    done = jobs.run(job, work.existing(model), place, outside.look)
    outside.tell()
    say(done)


@app.command()
def impute(
    model: Fitted,
    table: Input,
    output: Annotated[Path, typer.Option("--output", "-o", help="The whole table, as in `sample`.")],
    seed: Seed = 0,
    shard: Shard = None,
    engine: Engine = jobs.Engine.HERE,
) -> None:
    """Draw the empty cells of a table from their law given the others in their row."""
    place = jobs.Place.of(output, shard, engine)
    from ptilde.launch.parts import Impute

    say(jobs.run(Impute(str(table), seed), work.existing(model), place))


@app.command()
def inspect(model: Fitted) -> None:
    """What is in a model file, without running anything in it."""
    from ptilde import store

    contents = store.inspect(work.existing(model))
    try:
        words = work.contents_in_words(contents)
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
    work.check_budget(time_budget)
    from ptilde.cli.demo import run

    run(out, seed, max_iter, time_budget)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
