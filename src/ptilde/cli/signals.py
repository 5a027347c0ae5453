"""Ctrl-C and the request to end, made sure of.

Python turns a signal into an exception wherever it happens to be; inside a finaliser or a callback of the garbage
collector that exception is dropped. So a signal is also written down, and long jobs ask between their parts.
"""

import signal
import sys
from typing import Any

_received: list[int] = []


def listen() -> None:
    """From now on Ctrl-C and SIGTERM raise KeyboardInterrupt, and are written down."""

    def end(number: int, _frame: Any) -> None:
        _received.append(number)
        raise KeyboardInterrupt

    def unraisable(dropped: Any) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            sys.__unraisablehook__(dropped)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    sys.unraisablehook = unraisable


def check() -> None:
    """Raise now what was dropped before."""
    if _received:
        raise KeyboardInterrupt


def exit_code() -> int:
    """What a process says that was ended by the signal: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received[0] if _received else signal.SIGINT)
