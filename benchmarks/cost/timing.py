"""Seconds of calls that take turns, so that noise meets all alike; what a process of its own measures."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import jax
import numpy as np


def in_turn(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """The seconds of each call in every turn, after one that does not count: it compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-1, repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over the turns of one call's seconds over another's."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def alone(function: Callable, *args: Any) -> Any:
    """What a module-level function returns in a new process, where the peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Variables that processes started in here see."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Compiling:
    """Listens to JAX's durations of tracing, lowering and compiling; one inside another counts once."""

    def __init__(self):
        self.spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, duration: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            now = time.perf_counter()
            self.spans.append((now - duration, now))

    def seconds(self, since: float = 0.0) -> float:
        total, end = 0.0, since
        for start, stop in sorted(self.spans):
            total += max(0.0, stop - max(start, end))
            end = max(end, stop)
        return total


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent p of y = c x^p by least squares in the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
