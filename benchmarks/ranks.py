"""Ranks of a fit, killed: does it end in the same weights, to the last bit, as one that nobody disturbs?

`python -m benchmarks.ranks --kills 10` fits a small table on two processes, once in peace and then so many times with a
`kill -9` of either rank at a random moment after its first chunk; a checkpoint is written after each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import safetensors.numpy

from ptilde.fit import CHUNK
from ptilde.launch.processes import PLACE
from ptilde.launch.supervisor import supervise

NUM_RANKS, NUM_ROWS, MAX_ITER = 2, 2000, 600
_CODE = "from ptilde.cli import work; work.LONG_FIT = 0.0; from ptilde.cli import main; main()"


def kills(num: int, seed: int = 0, max_iter: int = MAX_ITER) -> dict[str, Any]:
    """Counts over so many fits, each with one kill of a rank: identical to the undisturbed one, or how it was not."""
    counts: dict[str, Any] = {"kills": 0, "identical": 0, "other weights": 0, "failed": 0, "not hit": 0}
    counts["of rank"] = [0] * NUM_RANKS
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        pyarrow.csv.write_csv(_table(), table)
        in_peace = _fit(table, Path(folder) / "in_peace.ptilde", max_iter, None)
        assert in_peace is not None
        for i in range(num):
            rank = i % NUM_RANKS
            killer = _Killer(rank, rng.randrange(1, max_iter // CHUNK), rng.uniform(0, 0.2))
            found = _fit(table, Path(folder) / f"{i}.ptilde", max_iter, killer)
            if not killer.hit:
                counts["not hit"] += 1
                continue
            counts["kills"] += 1
            counts["of rank"][rank] += 1
            same = found is not None and found.keys() == in_peace.keys()
            same = same and all(np.array_equal(found[name], in_peace[name]) for name in in_peace)
            counts["failed" if found is None else "identical" if same else "other weights"] += 1
            print(counts, file=sys.stderr, flush=True)
    return counts


def _table() -> pa.Table:
    """Two categories that hang together, so that few programs are compiled."""
    rng = np.random.default_rng(0)
    wet = rng.random(NUM_ROWS) < 0.5
    claim = rng.random(NUM_ROWS) < np.where(wet, 0.6, 0.2)
    return pa.table({"region": np.where(wet, "north", "south"), "claim": np.where(claim, "yes", "no")})


def _fit(table: Path, output: Path, max_iter: int, killer: _Killer | None) -> dict[str, np.ndarray] | None:
    """The arrays of the model, or None if there is none."""

    def command(going_on: bool) -> list[str]:
        options = ["-o", str(output), "--max-iter", str(max_iter), "--processes", str(NUM_RANKS)]
        return [sys.executable, "-c", _CODE, "fit", str(table), *options, *["--resume"] * going_on]

    checkpoint = output.with_name(f"{output.name}.checkpoint")
    if killer is not None:
        threading.Thread(target=killer.lie_in_wait, args=(checkpoint,), daemon=True).start()
    try:
        code = supervise(command, NUM_RANKS, checkpoint, False, lambda line: print(line, file=sys.stderr))
    except ChildProcessError as error:
        print(error, file=sys.stderr)
        return None
    finally:
        if killer is not None:
            killer.over = True
    return None if code else safetensors.numpy.load_file(output)


class _Killer:
    """Kills a rank of ours so long after a checkpoint of so many chunks."""

    def __init__(self, rank: int, chunks: int, after: float):
        self.rank, self.chunks, self.after, self.hit, self.over = rank, chunks, after, False, False

    def lie_in_wait(self, checkpoint: Path) -> None:
        seen: set[int] = set()
        while len(seen) < self.chunks and not self.over:
            if checkpoint.exists():
                seen.add(checkpoint.stat().st_mtime_ns)
            time.sleep(0.01)
        time.sleep(self.after)
        pid = None if self.over else _child(self.rank)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.hit = True


def _child(rank: int) -> int | None:
    """The process that the supervisor, which is this process, has told this place."""
    mark = f"{PLACE}=[{rank},".encode()
    for found in Path("/proc").glob("[0-9]*"):
        try:
            ours = int((found / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
            if ours and mark in (found / "environ").read_bytes():
                return int(found.name)
        except (OSError, ValueError):
            continue
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(kills(options.kills, options.seed)))
