"""How cost grows with rows, columns and width: each point in a process of its own, for its own peak of memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import jax
import numpy as np

from benchmarks.cost.products import loop, operations, repeated
from benchmarks.cost.programs import KEY, Workload
from benchmarks.cost.simulated import randhie, wide
from benchmarks.cost.timing import Compiling, alone, in_turn, ratio, slope
from benchmarks.harness import Rows, peak_memory
from ptilde import ScoreDensity

ROWS = (10**3, 10**4, 10**5, 10**6)
COLUMNS = (2, 5, 10, 20, 50, 100, 200)
WIDTHS = (64, 128, 256, 512, 1024)
MOST_SCORED = 10**6
FIT_STEPS = 100  # of each descent, where rows grow
SECONDS, GUESS = 0.5, 3e10  # a run of steps is to last so long, at so many operations a second
REPEATS = 3
GROWING = ("fit s", "score s", "scores ms", "map ms", "states ms", "MB")


def curves(max_iter: int | None, tell: Callable[[str], None]) -> Rows:
    """The points of all curves, and the exponents."""
    rows: Rows = {}
    for title, sizes, point in (
        ("Rows", ROWS, partial(_rows, max_iter=max_iter or FIT_STEPS)),
        ("Columns", COLUMNS, _columns),
        ("Width", WIDTHS, _width),
    ):
        kept = sizes[:2] if max_iter else sizes  # a run that is cut short only shows that all works
        points = {}
        for size in kept:
            tell(f"{title.lower()}: {size:,}")
            try:
                points[size] = alone(point, size)
            except BrokenProcessPool:  # the system has killed it, for its memory as a rule: the others still count
                tell("killed")
        rows |= {f"{title}: {size:,}": {"size": size, **values} for size, values in points.items()}
        for metric in (name for name in GROWING if all(name in row for row in points.values())):
            values = [row[metric] for row in points.values()]
            rows[f"Exponents: {title.lower()}, {metric}"] = _exponents(list(points), values)
    return rows


def _exponents(sizes: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    return {"exponent": slope(sizes, values), "last exponent": slope(sizes[-2:], values[-2:])}


def _rows(num_rows: int, max_iter: int) -> dict[str, float]:
    """A short fit of RAND HIE's rows over again, and its log densities."""
    table, compiling = randhie(num_rows), Compiling()
    before, start = peak_memory(), time.perf_counter()
    model = ScoreDensity(random_state=0, max_iter=max_iter).fit(table)
    fit_seconds = time.perf_counter() - start
    row = {"fit s": fit_seconds - compiling.seconds(), "compile s": compiling.seconds()}
    some = table.slice(0, MOST_SCORED)
    model.score_samples(some.slice(0, 1))
    start = time.perf_counter()
    model.score_samples(some)
    row["score s"] = (time.perf_counter() - start) * num_rows / some.num_rows
    return {**row, "MB": peak_memory(), "table MB": before}


def _columns(num_columns: int) -> dict[str, float]:
    return _steps(Workload.of(wide(num_columns)))


def _width(width: int) -> dict[str, float]:
    return _steps(Workload.of(randhie(), width=width, map_width=width))


def _steps(workload: Workload) -> dict[str, float]:
    """Milliseconds a step of each descent, beside its products, and the peak of memory of the steps alone."""
    row: dict[str, float] = {}
    runs = {}
    for name, descending in workload.descents().items():
        length = int(np.clip(SECONDS * GUESS / operations(descending.found), 2, 100))
        runs[name] = length, descending, partial(descending.chunk, descending.walk, length)
        jax.block_until_ready(runs[name][-1]())
    peak = peak_memory()
    for name, (length, descending, run) in runs.items():
        seconds = in_turn({"step": run, "products": loop(repeated(descending.found, length), KEY)}, REPEATS)
        row[f"{name} ms"] = 1e3 * statistics.median(seconds["step"]) / length
        row[f"{name} / products"] = ratio(seconds["step"], seconds["products"])
    return {**row, "MB": peak}
