r"""Bounded columns on the whole line: Stein's identity needs a density that vanishes at the ends.

A column on $(a, \infty)$ becomes $y = \log(x - a)$, one on $(-\infty, b)$ $y = -\log(b - x)$, one on (a, b)
the logit of its place. The score of y is $s_y = s_x J + \partial_y\log J$ with $J = dx/dy$, which is

| ends | J | ∂ log J |
|---|---|---|
| (a, ∞) | x - a | 1 |
| (-∞, b) | b - x | -1 |
| (a, b) | (x - a)(b - x)/(b - a) | (a + b - 2x)/(b - a) |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ends = Sequence[tuple[float, float]]


def unbounded(x: Floats, score: Floats, support: Ends | None) -> tuple[Floats, Floats]:
    """Rows and their scores on the whole line, given the two ends of each column (±inf where there is none)."""
    if support is None:
        return x, score
    if len(support) != x.shape[1]:
        raise ValueError(f"`support` must have two ends for each of the {x.shape[1]} columns; got {len(support)}.")
    pairs = [_column(x[:, j], score[:, j], *ends, j) for j, ends in enumerate(support)]
    return np.column_stack([y for y, _ in pairs]), np.column_stack([s for _, s in pairs])


def _column(x: Floats, score: Floats, low: float, high: float, j: int) -> tuple[Floats, Floats]:
    used = np.isfinite(score)
    if not np.all((x[used] > low) & (x[used] < high)):
        raise ValueError(f"column {j} of `x` must lie within ({low}, {high}); got {x[used].min()} to {x[used].max()}.")
    with np.errstate(divide="ignore", invalid="ignore"):  # on atoms, which are not used
        if np.isfinite(low) and np.isfinite(high):
            jacobian, bend = (x - low) * (high - x) / (high - low), (low + high - 2 * x) / (high - low)
            return np.log((x - low) / (high - x)), score * jacobian + bend
        if np.isfinite(low):
            return np.log(x - low), score * (x - low) + 1
        if np.isfinite(high):
            return -np.log(high - x), score * (high - x) - 1
    return x, score
