"""What a case found, and processes to find it with."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import peak_memory


class Found(NamedTuple):
    """Of one case: what was tried, how often, what failed, seconds, and the most memory of a process in MB."""

    case: str
    tried: int
    failures: list[str]
    seconds: float
    peak: float = float("nan")
    note: str = ""


def title(case: Callable[[bool], Found]) -> str:
    """What a case says of itself, before the first semicolon."""
    return str(case.__doc__).split(";")[0].rstrip(".")


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    err: str
    peak: float


def command(arguments: Sequence[str], before: str = "pass") -> list[str]:
    """The command line of a process that runs ptilde's, and says at last how much memory it held."""
    code = f"""
import sys
from ptilde.cli import signals, work
from ptilde.cli.errors import run
from ptilde.launch import parts
from benchmarks.harness import peak_memory
{before}
signals.listen()
code = run(sys.argv[1:])
print("peak", peak_memory(), file=sys.stderr)
sys.exit(code)"""
    return [sys.executable, "-c", code, *arguments]


def ended(arguments: Sequence[str], before: str = "pass") -> Ended:
    """Let a command run through."""
    done = subprocess.run(command(arguments, before), capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    peak = float(lines.pop().split()[1]) if lines and lines[-1].startswith("peak ") else peak_memory()
    return Ended(done.returncode, "\n".join(lines), peak)


def killed(arguments: Sequence[str], after: float, number: int = signal.SIGKILL, before: str = "pass") -> int:
    """Start a command and kill it after so many seconds; its exit code, 0 if it was through before."""
    started = subprocess.Popen(command(arguments, before), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        return started.wait(after)
    except subprocess.TimeoutExpired:
        started.send_signal(number)
        return started.wait()


def table(rows: int, seed: int = 0) -> pa.Table:
    """Five columns: claims that are often 0, amounts in cents, a normal one, a capped one, three regions."""
    rng = np.random.default_rng([seed, rows])
    u = rng.normal(size=(rows, 4)).astype(np.float32)
    return pa.table(
        {
            "claim": np.where(rng.random(rows) < 0.6, 0, np.exp(u[:, 0].astype(float))),
            "paid": np.where(u[:, 0] + u[:, 1] < 1, 0, np.round(np.exp(1 + u[:, 1].astype(float)), 2)),
            "score": (u[:, 2] + 0.5 * u[:, 0]).astype(float),
            "capped": np.minimum(np.exp(u[:, 3].astype(float)), 3.0),
            "region": pa.array(rng.choice(["north", "south", "west"], rows, p=[0.5, 0.3, 0.2])),
        }
    )


def folder_of(rows: int, folder: Path, per_file: int = 1_000_000) -> Path:
    """A table in a folder of Parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, start in enumerate(range(0, rows, per_file)):
        path = folder / f"{i:05d}.parquet"
        if not path.exists():
            pq.write_table(table(min(per_file, rows - start), seed=i), path)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """Of each file of a job's folder."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.parquet"))}


def stale(folder: Path) -> list[str]:
    """Temporary files that nobody sweeps."""
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


def weights(path: Path) -> str:
    """A hash of all arrays of a model file: what the fit found, without how long it took."""
    from safetensors.numpy import load_file

    total = hashlib.sha256()
    for name, array in sorted(load_file(path).items()):
        total.update(name.encode() + array.tobytes())
    return total.hexdigest()


def clock() -> float:
    """Seconds."""
    return time.monotonic()
