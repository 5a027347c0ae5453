r"""Quadratic forms $w_b^\top K w_b$ of a matrix that is never held whole.

A kernel matrix of n points has n² entries, and a test needs its form for hundreds of vectors of weights (signs of a
bootstrap, labels of a permutation). Rows come in slices of at most `ENTRIES` entries; each is used and let go. Several
matrices of one size may be stacked in front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray
ENTRIES = 100_000  # of a slice, which then stays in the processor's cache


def slices(num_rows: int, width: int) -> Iterator[slice]:
    """Of the rows of a matrix of this width."""
    step = max(1, ENTRIES // max(width, 1))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def forms(kernel: Callable[[slice], Floats], weights: Floats) -> tuple[Floats, Floats]:
    r"""$\sum w^\top K w$ over the stack, for each of the B weights, and the row sums of each K.

    Args:
        kernel: the rows of every K in a slice, (..., rows, n).
        weights: (..., B, n).
    """
    *stack, num_weights, num = weights.shape
    total, sums = np.zeros(num_weights), np.empty((*stack, num))
    for rows in slices(num, num * int(np.prod(stack))):
        part = kernel(rows)
        sums[..., rows] = part.sum(-1)
        each = np.einsum("...bi,...bi->...b", weights[..., rows], weights @ part.swapaxes(-1, -2))
        total += each.reshape(-1, num_weights).sum(0)
    return total, sums
