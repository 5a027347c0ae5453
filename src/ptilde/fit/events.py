"""What is heard of a descent while it runs."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Event(NamedTuple):
    """What a descent tells its callback after each chunk."""

    stage: str
    step: int
    num_steps: int
    train_loss: float
    validation_loss: float
    eta_seconds: float


class Printer:
    """Prints a line every few seconds."""

    def __init__(self, every: float = 3.0):
        self.every, self.last = every, -float("inf")

    def __call__(self, event: Event) -> None:
        if time.monotonic() - self.last >= self.every or event.step >= event.num_steps:
            self.last = time.monotonic()
            eta = "" if np.isnan(event.eta_seconds) else f", {event.eta_seconds:.0f} s to go"
            print(f"{event.stage}: step {event.step}/{event.num_steps}, held-out loss {event.validation_loss:.4f}{eta}")


def together(*callbacks: Callable[[Event], None] | None) -> Callable[[Event], None] | None:
    """One callback that calls those that are not None; None if all are."""
    called = [c for c in callbacks if c is not None]
    return (lambda event: [c(event) for c in called]) if called else None  # type: ignore[return-value]
