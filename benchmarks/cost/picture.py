"""The curves of how cost grows, in logarithms."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.harness import Rows

PANELS = {
    "Rows": ("fit s", "score s"),
    "Columns": ("scores ms", "map ms", "states ms"),
    "Width": ("scores ms", "map ms", "states ms"),
}


def draw(path: Path, rows: Rows) -> None:
    """Time above, the most memory below, with the exponents of the curves."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, len(PANELS), sharex="col", height_ratios=(2, 1))
    for (title, metrics), (above, below) in zip(PANELS.items(), panels.T, strict=True):
        points = [row for name, row in rows.items() if name.startswith(f"{title}: ")]
        sizes = [row["size"] for row in points]
        for axes, shown in ((above, metrics), (below, ("MB",))):
            for metric in shown:
                exponent = rows[f"Exponents: {title.lower()}, {metric}"]["exponent"]
                axes.loglog(sizes, [row[metric] for row in points], "o-", label=f"{metric}, exponent {exponent:.2f}")
            axes.legend(fontsize=8)
        below.set_xlabel(title.lower())
    panels[0, 0].set_ylabel("time")
    panels[1, 0].set_ylabel("peak of memory, MB")
    figure.savefig(path, dpi=110)
