"""One picture a case: the columns of real rows against draws, or a density in the plane against the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray


def columns(path: Path, names: Sequence[str], tables: Mapping[str, NDArray]) -> None:
    """For each of the first columns the share of zeros and negatives in each table, and below the positive values."""
    names = names[:6]
    colors = [f"C{i}" for i in range(len(tables))]
    figure = Figure(figsize=(2.6 * len(names) + 1, 5.2), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False, height_ratios=(1, 2))
    for j, name in enumerate(names):
        above, below = panels[:, j]
        above.set_title(name, fontsize=9)
        above.bar(range(len(tables)), [np.mean(rows[:, j] == 0) for rows in tables.values()], color=colors)
        negative = [np.mean(rows[:, j] < 0) for rows in tables.values()]
        above.bar(range(len(tables)), negative, color="none", edgecolor=colors, hatch="////")
        above.set_xticks([])
        for rows, color in zip(tables.values(), colors, strict=True):
            positive = np.log10(rows[:, j][rows[:, j] > 0])
            below.hist(positive, bins=50, histtype="step", density=True, color=color)
        below.set_xlabel("log10 of the positive values", fontsize=8)
    panels[0, 0].set_ylabel("zeros (hatched: negatives)", fontsize=8)
    panels[1, 0].set_ylabel("density", fontsize=8)
    lines = [Line2D([], [], color=color) for color in colors]
    figure.legend(lines, list(tables), loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=110)


def quantiles(path: Path, scores: Mapping[str, NDArray], label: str) -> None:
    """The sorted values of each model, against their share of the rows."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in scores.items():
        finite = np.sort(values[np.isfinite(values)])
        axes.plot(np.linspace(0, 1, len(finite)), finite, label=name)
    middle = np.concatenate([np.quantile(v[np.isfinite(v)], (0.02, 0.98)) for v in scores.values()])
    axes.set_ylim(middle.min() - 2, middle.max() + 2)
    axes.set_xlabel("share of rows below")
    axes.set_ylabel(label, fontsize=8)
    axes.legend(fontsize=8)
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
