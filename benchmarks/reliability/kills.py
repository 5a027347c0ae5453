"""Processes that are killed at random moments, and writes that fail at each of their steps."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks import ranks
from benchmarks.reliability.found import Found, clock, ended, hashes, killed, stale, table, title, weights

ROWS, STEPS = 4_000, 600
OFTEN = "work.LONG_FIT = 0.3"  # seconds between two checkpoints
SMALL_PARTS = "parts.PART = 500"


def of_fits(bounded: bool) -> Found:
    """kill -9 of `ptilde fit` at random moments; resumed, its weights are those of the undisturbed fit, bit by bit."""
    began, failures, rng = clock(), [], np.random.default_rng(0)
    chains, kills, steps = (1, 1, 200) if bounded else (8, 5, STEPS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pq.write_table(table(ROWS), folder / "t.parquet")
        fit = ["fit", str(folder / "t.parquet"), "--max-iter", str(steps), "-o"]
        start = clock()
        first = ended([*fit, str(folder / "undisturbed")], OFTEN)
        if first.code:
            return Found(title(of_fits), 1, [first.err], clock() - began)
        length, expected = clock() - start, weights(folder / "undisturbed")
        hits = 0
        for chain in range(chains):
            out = folder / f"m{chain}"
            for _ in range(kills):
                hits += killed([*fit, str(out), "--resume"], rng.uniform(0.1, 0.7) * length, before=OFTEN) == -9
            last = ended([*fit, str(out), "--resume"], OFTEN)
            if last.code or weights(out) != expected:
                failures.append(f"chain {chain}: {last.err or 'other weights'}")
            failures += [f"chain {chain}: left {name}" for name in stale(folder)]
    return Found(title(of_fits), hits, failures, clock() - began, last.peak, f"{chains} fits")


def of_jobs(bounded: bool) -> Found:
    """kill -9 of `sample`, `score` and `impute` into folders; started again, the same rows, none twice or missing."""
    began, failures, rng, hits, peak = clock(), [], np.random.default_rng(1), 0, 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = table(20_000)
        pq.write_table(rows, folder / "t.parquet")
        holed = rows.to_pandas()
        holed.loc[::3, "score"] = np.nan
        holed.to_parquet(folder / "holed.parquet")
        first = ended(["fit", str(folder / "t.parquet"), "--max-iter", "100", "-o", str(folder / "m")])
        if first.code:
            return Found(title(of_jobs), 1, [first.err], clock() - began)
        jobs = {
            "sample": ["sample", str(folder / "m"), "-n", "20000", "--seed", "7"],
            "score": ["score", str(folder / "m"), str(folder / "t.parquet")],
            "impute": ["impute", str(folder / "m"), str(folder / "holed.parquet"), "--seed", "7"],
        }
        for name, job in list(jobs.items())[: 1 if bounded else 3]:
            start = clock()
            ended([*job, "-o", str(folder / f"{name} whole")], SMALL_PARTS)
            length, out = clock() - start, folder / f"{name} killed"
            for _ in range(1 if bounded else 10):
                hits += killed([*job, "-o", str(out)], rng.uniform(0.3, 1.0) * length, before=SMALL_PARTS) == -9
            last = ended([*job, "-o", str(out)], SMALL_PARTS)
            peak = max(peak, last.peak)
            if last.code or hashes(out) != hashes(folder / f"{name} whole") or len(hashes(out)) != 40:
                failures.append(f"{name}: {last.err or 'other rows'}")
            failures += [f"{name}: left {left}" for left in stale(out)]
    return Found(title(of_jobs), hits, failures, clock() - began, peak)


STEPS_OF_A_WRITE = {
    "before the first byte": "broken(builtins, 'open', before=True, when=lambda path, *rest: 'tmp' in str(path))",
    "half written": "limit(300); signal.signal(signal.SIGXFSZ, signal.SIG_DFL)",
    "before it is flushed": "broken(os, 'fsync', before=True)",
    "after it is flushed": "broken(os, 'fsync', before=False)",
    "before it takes the name": "broken(os, 'replace', before=True)",
    "after it took the name": "broken(os, 'replace', before=False)",
    "disk full": "limit(300)",
    "folder gone": "target = target.parent / 'gone' / target.name",
}
WRITERS = {
    "model": "store.write(target, {'config': version}, {'w': np.arange(4000.0) + version})",
    "CSV": "write_table(rows, target.with_suffix('.csv'))",
    "Parquet": "write_table(rows, target.with_suffix('.parquet'))",
}
_CODE = """
import builtins, os, resource, signal, sys
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.csv, pyarrow.parquet
from ptilde import store
from ptilde._validate import DataError, ModelFileError
from ptilde.tabular.reader import write_table

def broken(module, name, before, when=lambda *a: True):
    own = getattr(module, name)
    def dying(*a, **k):
        if not when(*a):
            return own(*a, **k)
        if before:
            os.kill(os.getpid(), 9)
        own(*a, **k)
        os.kill(os.getpid(), 9)
    setattr(module, name, dying)

def limit(num_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

target, version = Path(sys.argv[1]), 2
rows = pa.table({{"a": np.random.default_rng(version).normal(size=4000)}})
{fault}
try:
    {write}
except (DataError, ModelFileError) as error:
    print(error)
    sys.exit(2)
"""


def of_writes(bounded: bool) -> Found:
    """Writes that fail or are killed at each step: the old file or the new one, whole; nothing left by the next."""
    began, failures, tried = clock(), [], 0
    writers = list(WRITERS.items())[: 1 if bounded else None]
    for what, write in writers:
        with tempfile.TemporaryDirectory() as place:
            old, new = (_written(write, Path(place) / name, n) for name, n in (("old", 1), ("new", 2)))
        for step, fault in STEPS_OF_A_WRITE.items():
            tried += 1
            with tempfile.TemporaryDirectory() as place:
                _written(write, Path(place) / "t", 1)
                code = _CODE.format(fault=fault, write=write)
                done = subprocess.run(
                    [sys.executable, "-c", code, str(Path(place) / "t")], capture_output=True, text=True, check=False
                )
                (path,) = [p for p in Path(place).iterdir() if not p.name.endswith(".tmp")]
                there = path.read_bytes()
                wanted = new if step == "after it took the name" else old
                if done.stderr or there != wanted:
                    failures.append(f"{what}, {step}: {done.stderr[-200:] or 'not the file that should be there'}")
                if done.returncode == 2 and not done.stdout.strip().endswith("."):
                    failures.append(f"{what}, {step}: no sentence: {done.stdout!r}")
                if _written(write, Path(place) / "t", 2) != new or stale(Path(place)):
                    failures.append(f"{what}, {step}: the next write left {stale(Path(place))}")
    return Found(title(of_writes), tried, failures, clock() - began)


def _written(write: str, target: Path, version: int) -> bytes:
    code = _CODE.format(fault="", write=write).replace(
        "version = Path(sys.argv[1]), 2", f"version = Path(sys.argv[1]), {version}"
    )
    subprocess.run([sys.executable, "-c", code, str(target)], check=True)
    (path,) = [p for p in target.parent.iterdir() if p.stem == target.name]
    return path.read_bytes()


def of_ranks(bounded: bool) -> Found:
    """kill -9 of either of two processes of a fit; started again, the weights of the undisturbed fit over two."""
    began = clock()
    found = ranks.kills(1 if bounded else 10, 0)
    failures = [f"{found[what]} of {found['kills']}: {what}" for what in ("failed", "other weights") if found[what]]
    note = f"{found['identical']} identical; of rank 0 and 1: {found['of rank']}"
    return Found(title(of_ranks), found["kills"], failures, clock() - began, note=note)
