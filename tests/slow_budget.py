"""In CI slow tests run last and within a fixed budget; which of them come first changes from commit to commit.

`SLOW_BUDGET` is the seconds after the start of the session from which on no further slow test begins; it is skipped,
says so, and has its turn at another commit. Without it, as in `pytest -m slow`, all run.
"""

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

BUDGET = float(os.environ.get("SLOW_BUDGET", "inf"))
_began = time.monotonic()


def commit() -> str:
    """The commit of the working tree; every process of a run finds the same."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def slow_last(items: list[pytest.Item]) -> None:
    """Put slow tests behind the others, in an order that the commit gives.

    Two processes begin with a half of the tests each, so each half has its slow tests at its end.
    """
    at = commit()
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    slow.sort(key=lambda item: hashlib.sha256((at + item.nodeid).encode()).hexdigest())
    others = [item for item in items if item.get_closest_marker("slow") is None]
    half = len(others) // 2
    items[:] = others[:half] + slow[::2] + others[half:] + slow[1::2]


def skip_beyond(item: pytest.Item) -> None:
    """Skip a slow test if the budget is spent."""
    if item.get_closest_marker("slow") is not None and time.monotonic() - _began > BUDGET:
        pytest.skip(f"the {BUDGET:.0f} s after which no slow test begins are over; pytest -m slow runs all")
