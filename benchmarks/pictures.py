"""One picture a case: the columns of real rows against draws, or a density in the plane against the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

matplotlib.rcParams["svg.hashsalt"] = "ptilde"


def columns(path: Path, names: Sequence[str], tables: Mapping[str, NDArray], scores: Mapping | None = None) -> None:
    """A histogram of log10(amount) for each column and table, and beside it the share of zeros."""
    shown = {name: rows for name, rows in tables.items() if name != "data"}
    across = min(len(names), 5)
    down = -(-len(names) // across)
    figure = Figure(figsize=(3.2 * across, 2.9 * down), layout="constrained")
    for j, axes in enumerate(np.ravel(figure.subplots(down, across, squeeze=False))[: len(names)]):
        for name, rows in shown.items():
            positive = rows[:, j][rows[:, j] > 0]
            label = f"{name}: {np.mean(rows[:, j] == 0):.3f} zero, {np.mean(rows[:, j] < 0):.3f} negative"
            axes.hist(np.log10(positive), bins=60, histtype="step", density=True, label=label)
        axes.set_title(names[j], fontsize=9)
        axes.set_xlabel("log10 of the positive values", fontsize=8)
        axes.legend(fontsize=4.5)
    figure.savefig(path, dpi=110)


def contours(path: Path, draws: NDArray, ours: Callable, truth: Callable) -> None:
    """Log densities along the line through both modes, and the draws."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    t = np.linspace(-9, 9, 361)
    line = np.column_stack([t, t])
    left.plot(t, truth(line), label="truth")
    left.plot(t, ours(line), "--", label="ptilde, one pass")
    left.set_xlabel("t, at the point (t, t)")
    left.set_ylabel("log density")
    left.legend()
    right.plot(*draws[:5000].T, ".", markersize=1)
    right.set_title("draws", fontsize=9)
    right.set_aspect("equal")
    figure.savefig(path, dpi=110)
