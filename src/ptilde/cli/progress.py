"""How far a long job is: a bar with the time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ptilde.cli import signals
from ptilde.cli.console import say

QUIET_SECONDS = 10.0  # between two plain lines


class Event(Protocol):
    """What an estimator tells its callback while it fits."""

    step: int
    num_steps: int
    train_loss: float
    validation_loss: float | None
    eta_seconds: float | None
    stage: str


@contextmanager
def fit_progress() -> Iterator[Any]:
    """A callback for an estimator's fit that shows each stage, its losses and the time left."""
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[words]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bars(bars)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.stages: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        signals.check()
        if event.stage not in self.stages:
            self.stages[event.stage] = self.bars.add_task(event.stage, total=event.num_steps, words="")
        self.bars.update(self.stages[event.stage], completed=event.step, total=event.num_steps, words=_words(event))


class _PlainLines:
    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, event: Event) -> None:
        signals.check()
        if time.monotonic() - self.last >= QUIET_SECONDS:
            self.last = time.monotonic()
            say(f"{event.stage}: step {event.step} of {event.num_steps}, {_words(event)}")


def _words(event: Event) -> str:
    words = [f"loss {event.train_loss:.3f}"]
    if event.validation_loss is not None and math.isfinite(event.validation_loss):
        words.append(f"held out {event.validation_loss:.3f}")
    if event.eta_seconds is not None and math.isfinite(event.eta_seconds):
        words.append(f"{_duration(event.eta_seconds)} left")
    return ", ".join(words)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@contextmanager
def parts_progress(what: str, total: int) -> Iterator[Any]:
    """A function to call with the number of rows done so far, of a job that goes through rows in parts."""
    started = last = time.monotonic()

    def eta(done: int) -> str:
        seconds = time.monotonic() - started
        return f"{_duration(seconds * (total - done) / done)} left" if done else ""

    if sys.stderr.isatty():
        columns = (
            TextColumn(what),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[words]}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(what, total=total, words="")

            def advance(done: int) -> None:
                signals.check()
                bars.update(task, completed=done, words=eta(done))

            yield advance
        return

    def line(done: int) -> None:
        nonlocal last
        signals.check()
        if time.monotonic() - last >= QUIET_SECONDS and done < total:
            last = time.monotonic()
            say(f"{what}: {done:,} of {total:,} rows, {eta(done)}")

    yield line
