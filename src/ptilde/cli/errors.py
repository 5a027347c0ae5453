"""From exceptions to words and exit codes.

| what happened | exit code |
|---|---|
| done | 0 |
| the data, the file, the path or the option cannot be used: one or two lines say what, where and the cure | 2 |
| Ctrl-C; told to end (SIGTERM) | 130; 143 |
| a reader of our output went away | 141 |

An exception that is none of these is a fault of ours and keeps its traceback, exit code 1.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from ptilde._validate import DataError, ModelFileError
from ptilde.cli import signals
from ptilde.cli.console import complain, warnings_in_words
from ptilde.cli.reports import app
from ptilde.cli.work import Interrupted

UsageError: Any = typer.BadParameter.__bases__[0]  # of typer's own click, or of the one installed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    signals.listen()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; its exit code."""
    _prepare()
    try:
        with warnings_in_words():
            _invoke(list(arguments))
        sys.stdout.flush()
        return 0
    except typer.Exit as error:  # after --help
        return error.exit_code
    except UsageError as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort) as error:
        complain(f"interrupted; {error if isinstance(error, Interrupted) else 'nothing was written'}.")
        return signals.exit_code()
    except MemoryError:
        complain("not enough memory for this; ask for fewer rows at a time.")
        return 2
    except BrokenPipeError:
        _discard_output()
        return 141
    except (DataError, ModelFileError) as error:
        complain(error)
        return 2
    except OSError as error:
        complain(_path_trouble(error))
        return 2


def _invoke(arguments: list[str]) -> None:
    # Not by calling `app`, which has words and exit codes of its own for Ctrl-C and a closed pipe.
    command = typer.main.get_command(app)
    with command.make_context("ptilde", arguments or ["--help"]) as context:
        command.invoke(context)


def _usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ptilde"
    message = error.format_message() if hasattr(error, "format_message") else str(error)  # type: ignore[attr-defined]
    complain(f"{message}{'' if message.endswith(('.', '?')) else '.'} Try `{command} --help`.")
    return 2


def _path_trouble(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{str(error.filename)!r}: {error.strerror}. Check the path and who may use it."


def _discard_output() -> None:
    """Give what is still to be flushed at exit a place where nobody complains."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare() -> None:
    """Output that is kept is UTF-8 everywhere; a terminal that cannot show a letter gets its code.

    JAX speaks of accelerators it has not found, and XLA of itself: neither helps a person at a terminal.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("jax", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
