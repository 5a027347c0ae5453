"""Coverage of every parameter's intervals, and how errors fall with n."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.estimation.laws import Floats
from benchmarks.estimation.replicates import LEVEL, Replicates, band


def draw(path: Path, replicates: Mapping[str, Replicates], sizes: list[int], errors: Mapping[str, Floats]) -> None:
    """Left: a dot a parameter, the binomial band of all of a law's shaded. Right: errors, and n to the power -1/2."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    start = 0
    for i, (name, found) in enumerate(replicates.items()):
        at = start + np.arange(len(found.truth))
        left.plot(at, found.coverage, "o", markersize=4, color=f"C{i}", label=f"{name}, {found.num:,} replicates")
        left.fill_between([at[0] - 0.5, at[-1] + 0.5], *band(found.num, len(at)), color=f"C{i}", alpha=0.15, lw=0)
        start = at[-1] + 2
    left.axhline(LEVEL, color="grey", lw=0.8)
    left.set_xticks([])
    left.set_xlabel("parameters")
    left.set_ylabel("coverage of 95 % intervals")
    left.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
    for name, error in errors.items():
        right.loglog(sizes, error, "o-", label=name)
    right.loglog(sizes, np.sqrt(1 / np.array(sizes)), ":", color="grey", label="n^(-1/2)")
    right.set_xlabel("n")
    right.set_ylabel("RMSE in standard errors of one row", fontsize=8)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)
