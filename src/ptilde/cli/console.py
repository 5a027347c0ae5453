"""What is written to the terminal: results on stdout, everything else on stderr, as plain text.

Names and cells come from files that others made, so nothing of them is read as markup or sent to the terminal as a
control sequence: `plain` writes every control character as its Python escape.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES = {"good": "green", "fair": "yellow", "poor": "red", "none": ""}


def plain(text: object) -> str:
    """The text with its control characters written out, line breaks kept."""
    return "".join(c if c == "\n" or c.isprintable() else repr(c)[1:-1] for c in str(text))


def say(text: object) -> None:
    """A line for the person, on stderr."""
    print(plain(text), file=sys.stderr, flush=True)


def result(text: object) -> None:
    """A line that is what was asked for, on stdout."""
    print(plain(text), flush=True)


def complain(text: object) -> None:
    """An error or a warning, in one line or two, on stderr."""
    print(f"ptilde: {plain(' '.join(str(text).split()))}", file=sys.stderr, flush=True)


def show_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]], marks: Sequence[str] = ()) -> None:
    """A table on stdout, its numbers to the right; marks colour the rows where colours are shown."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, word in enumerate(head):
        table.add_column(word, justify="left" if place == 0 else "right", overflow="fold")
    for place, row in enumerate(rows):
        style = _STYLES[marks[place]] if marks else ""
        table.add_row(*(Text(plain(cell), style=style) for cell in row))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


@contextmanager
def warnings_in_words() -> Iterator[None]:
    """Warnings as lines of ours, without file names and source lines."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_kwargs: complain(f"warning: {message}")
        yield
