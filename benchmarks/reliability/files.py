"""Files made to do harm: `benchmarks.hostile`, some thousand of each sort or all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from benchmarks import hostile
from benchmarks.reliability.found import Found, clock

NUM = {  # of each sort: in bounded form, in full
    "format": (500, 100_000),
    "models": (100, 10_000),
    "csv": (500, 40_000),
    "parquet": (300, 30_000),
    "toml": (500, 30_000),
    "command": (50, 5_000),
}
A_PROCESS = 4_000
TITLES = {
    "format": "Mutants of a model file through the format layer: read, or ModelFileError",
    "models": "Mutants of model files through `ptilde.load`",
    "csv": "CSV files through reader, schema and encoder: a result, or DataError",
    "parquet": "Parquet files, likewise",
    "toml": "Schemas in TOML, likewise",
    "command": "CSV and Parquet files through `ptilde schema`: exit code 0 or 2, plain text",
}


def of(sort: str, bounded: bool) -> Found:
    """The cases of one sort, some thousand in a process: what allocators keep for themselves is no fault of a file."""
    began, num = clock(), NUM[sort][not bounded]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        firsts = range(0, num, A_PROCESS)
        found = list(pool.map(partial(_some, sort, num), firsts))
    failures = [text for some in found for text in some.failures]
    told = sum(some.num_failures for some in found) - len(failures)
    note = f"{sum(some.passed for some in found):,} read, {sum(some.refused for some in found):,} refused; the slowest "
    note += f"{max(some.worst_seconds for some in found):.2f} s"
    peak = max(some.peak_bytes for some in found) / 2**20
    return Found(TITLES[sort], num, [*failures, *["another"] * told], clock() - began, peak, note)


def _some(sort: str, num: int, first: int) -> hostile.Found:
    return hostile.SORTS[sort](min(A_PROCESS, num - first), first)


CASES: dict[str, Callable[[bool], Found]] = {sort: partial(of, sort) for sort in NUM}
