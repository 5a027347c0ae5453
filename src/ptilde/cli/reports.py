"""The commands that judge: a model by rows that it has not seen, a synthetic table by real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ptilde._validate import DataError
from ptilde.cli import work
from ptilde.cli.commands import Exposure, Fitted, Seed, app
from ptilde.cli.console import result, say

FEWEST, MOST = 1000, 20_000  # rows drawn: as many as held-out ones, within these
NUM_ODE_ROWS = 200  # scored by both routes

Page = Annotated[Path, typer.Option("--output", "-o", metavar="PAGE", help="Where the HTML page goes.")]
Numbers = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="The numbers of the page, as JSON.")]


@app.command()
def report(
    model: Fitted,
    test: Annotated[Path, typer.Option(metavar="TABLE", help="Rows that the model has not seen.")],
    output: Page,
    train: Annotated[Path | None, typer.Option(metavar="TABLE", help="The rows that it was fitted on.")] = None,
    exposure: Exposure = None,
    json: Numbers = None,
    seed: Seed = 0,
) -> None:
    """Say how good a model is, by rows that it has not seen: one HTML page, and its sentences on stdout."""
    _check_outputs(output, json)
    import ptilde

    fitted, title = ptilde.load(work.existing(model)), f"The model {model.name}, judged by {test.name}"
    of_target = hasattr(fitted, "predict")
    if of_target and train is not None:
        raise DataError("`--train` must be left out for a model of `fit --target`, which is judged by new rows alone.")
    if not of_target and exposure is not None:
        raise DataError("`--exposure` must be left out for a model of whole rows; it is for one of `fit --target`.")
    verdict = _of_target(fitted, test, exposure, seed) if of_target else _of_rows(fitted, test, train, seed)
    _tell(verdict, output, json, title)


def _of_target(fitted: Any, test: Path, exposure: str | None, seed: int) -> Any:
    from ptilde.report import measure_regressor

    frame = _read(test)
    try:
        X = work.columns_of(frame, work.covariates_of(fitted), "--test")
        y = work.numbers_of(frame, next(iter(fitted.schema_.columns)), "--test")
        observed = None if exposure is None else work.numbers_of(frame, exposure, "--exposure")
    except DataError as error:
        raise DataError(f"{str(test)!r}: {error}") from error
    return measure_regressor(fitted, X, y, observed, seed=seed)


def _of_rows(fitted: Any, test: Path, train: Path | None, seed: int) -> Any:
    from ptilde.report import measure

    held_out, rows = _read(test), None if train is None else _read(train)
    for frame, path in ((held_out, test), (rows, train)):
        if frame is not None:
            _conforms(fitted.schema_, frame, path)
    draws = work.draw(fitted, min(max(held_out.num_rows, FEWEST), MOST), seed)
    return measure(fitted, rows, held_out, draws, seed=seed, num_ode_rows=NUM_ODE_ROWS)


@app.command()
def compare(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="The rows that the synthetic ones were made from.")],
    synthetic: Annotated[Path, typer.Argument(metavar="SYNTHETIC", help="Rows with the same columns, by any model.")],
    output: Page,
    holdout: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="Real rows that they were not made from; else REAL is halved.")
    ] = None,
    json: Numbers = None,
    seed: Seed = 0,
) -> None:
    """Say how good anybody's synthetic table is: the page of `report` without a model."""
    _check_outputs(output, json)
    from ptilde.report import measure_tables
    from ptilde.tabular.schema import Schema

    rows, drawn, others = _read(real), _read(synthetic), None if holdout is None else _read(holdout)
    schema = Schema.infer(rows)
    for frame, path in ((drawn, synthetic), (others, holdout)):
        if frame is not None:
            _conforms(schema, frame, path)
    verdict = measure_tables(rows, drawn, others, seed=seed)
    _tell(verdict, output, json, f"The rows of {synthetic.name}, judged by {real.name}")


def _check_outputs(page: Path, numbers: Path | None) -> None:
    work.check_output(page)
    if numbers is None:
        return
    if numbers.absolute() == page.absolute():
        raise DataError(f"`--json` must be another file than `--output`; got {str(numbers)!r} for both.")
    try:
        work.check_output(numbers)
    except DataError as error:
        raise DataError(str(error).replace("`--output`", "`--json`")) from error


def _read(path: Path) -> Any:
    from ptilde.tabular.reader import read_table

    return read_table(path)


def _conforms(schema: Any, frame: Any, path: Path | None) -> None:
    """Refuse a table that has not the columns of the schema, naming the file."""
    from ptilde.tabular.frames import open_table

    try:
        schema.check(open_table(frame))
    except DataError as error:
        raise DataError(f"{str(path)!r}: {error}") from error


def _tell(verdict: Any, page: Path, numbers: Path | None, title: str) -> None:
    from ptilde import _files, _json
    from ptilde.report import write_page

    if numbers is not None:
        with _files.atomic(numbers) as temporary:
            temporary.write_text(_json.dumps(verdict.to_dict()), encoding="utf-8")
    write_page(verdict, page, title=title)
    for question, answer, mark in verdict.findings:
        result(f"{question}{'' if mark == 'none' else f' [{mark}]'}\n  {answer}")
    say(f"Wrote {page}{'' if numbers is None else f' and {numbers}'}.")
