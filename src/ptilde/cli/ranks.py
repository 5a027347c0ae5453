"""`--processes`: this process as the supervisor of a fit's ranks, or as one of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from ptilde._validate import DataError, ModelFileError
from ptilde.cli import signals
from ptilde.cli.console import say

AUTO = "auto"
_IN_WORDS = (DataError, ModelFileError, OSError, MemoryError, typer.BadParameter)  # see `ptilde.cli.errors`


@contextlib.contextmanager
def joined(context: typer.Context, processes: str | None, output: Path) -> Iterator[None]:
    """A block that all ranks run; on this machine a supervisor starts them, and never comes to the block."""
    if processes is None:
        yield
        return
    num = None if processes == AUTO else _number(processes)
    from ptilde.launch.processes import Place
    from ptilde.launch.processes import joined as joined_by

    if num is not None and Place.told() is None:
        from ptilde.launch.supervisor import supervise

        checkpoint, resume = output.with_name(f"{output.name}.checkpoint"), context.params["resume"]
        code = supervise(lambda going_on: _again(context, going_on), num, checkpoint, resume, say)
        try:
            signals.check()
        except KeyboardInterrupt:  # the first rank has said so
            code = signals.exit_code()
        raise typer.Exit(code)
    with joined_by(_exit_code):
        yield


def save(model: Any, output: Path) -> None:
    """Write the model, by one process for all; the others wait until it is there."""
    from ptilde.fit import spread

    if spread.speaks():
        model.save(output)
    spread.first(0)


def _number(processes: str) -> int:
    if processes not in ("1", "2", "4", "8"):
        raise typer.BadParameter(
            f"{processes!r} must be 1, 2, 4, 8, or auto where SLURM, Open MPI or Kubernetes starts each process",
            param_hint="--processes",
        )
    return int(processes)


def _again(context: typer.Context, resume: bool) -> list[str]:
    """The command that this process was given, for a child."""
    options, arguments = [], []
    for parameter in context.command.params:
        value = resume if parameter.name == "resume" else context.params.get(parameter.name or "")
        if parameter.param_type_name == "argument":
            arguments.append(str(value))
        elif value is True:
            options.append(parameter.opts[0])
        elif value not in (None, False):
            options.append(f"{parameter.opts[0]}={value}")
    code = "from ptilde.cli import main; main()"
    return [sys.executable, "-P", "-c", code, str(context.info_name), *options, "--", *arguments]


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return signals.exit_code()
    return 2 if isinstance(error, _IN_WORDS) else 1
