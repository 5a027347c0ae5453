"""In CI slow tests run last and within a fixed budget; which of them come first changes from commit to commit.

`SLOW_BUDGET` is the seconds after the start of the session from which on no further slow test begins; it is skipped,
says so, and has its turn at another commit. Without it, as in `pytest -m slow`, all run. On a machine so slow, or so
empty of compiled programs, that the others are not over after `TESTS_BUDGET` seconds, they are treated in the same way.
"""

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

BUDGET, WHOLE_BUDGET = (float(os.environ.get(name, "inf")) for name in ("SLOW_BUDGET", "TESTS_BUDGET"))
_began = time.monotonic()


def commit() -> str:
    """The commit of the working tree; every process of a run finds the same."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def slow_last(items: list[pytest.Item]) -> None:
    """Put slow tests behind the others, in an order that the commit gives.

    Two processes begin with a half of the tests each, so each half has its slow tests at its end. The others keep the
    order of their files, beginning with one that the commit gives.
    """
    at = commit()
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    slow.sort(key=lambda item: hashlib.sha256((at + item.nodeid).encode()).hexdigest())
    others = [item for item in items if item.get_closest_marker("slow") is None]
    files = list(dict.fromkeys(item.path for item in others))
    first = int(hashlib.sha256(at.encode()).hexdigest(), 16) % max(len(files), 1)
    place = {path: (k - first) % len(files) for k, path in enumerate(files)}
    others.sort(key=lambda item: place[item.path])
    half = len(others) // 2
    items[:] = others[:half] + slow[::2] + others[half:] + slow[1::2]


def skip_beyond(item: pytest.Item) -> None:
    """Skip a slow test if the budget is spent, any if that of the whole session is."""
    elapsed, slow = time.monotonic() - _began, item.get_closest_marker("slow") is not None
    if slow and elapsed > BUDGET:
        pytest.skip(f"the {BUDGET:.0f} s after which no slow test begins are over; pytest -m slow runs all")
    if elapsed > WHOLE_BUDGET:
        pytest.skip(f"the {WHOLE_BUDGET:.0f} s after which no test begins are over; pytest runs all")
