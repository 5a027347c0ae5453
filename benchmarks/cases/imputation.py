"""Imputation of RAND HIE: 30 % of the cells of rows that were not fitted are removed at random and drawn again.

Three quarters of the rows are fitted, whole. Of the others some lose their cells, and every imputer draws each of these
ten times. `--max-iter N` limits our fit to N steps a descent, for a run that only shows that all works.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks import peers, tables
from benchmarks.harness import OURS, Floor, Options, Rows, clock
from benchmarks.peers.imputers import Chained, ColumnWise, HotDeck, MeanMatching
from ptilde.datasets import load_randhie, spending

ROWS, SHARE, DRAWS = 1500, 0.3, 10
METRICS = {
    "CRPS": "mean over the columns of the continuous ranked probability score, over that of column-wise draws",
    "Brier": "mean over the columns of the Brier score of zero, over that of column-wise draws",
    "zeros off": "largest difference over the columns between the share of zeros drawn and removed",
    "miscalibration": "mean over the cells of how far zero's share is from its probability, by fifths of the latter",
    "rank error": "largest distance over the pairs of columns of the rank correlation, first table drawn against truth",
    "fit s": "seconds to fit",
    "draw s": "seconds for all draws",
}
PEERS = (ColumnWise, HotDeck, Chained, MeanMatching)


def _better(metric: str, *besides: str) -> Any:
    """Ours over the best of the peers, besides some."""
    skip = (OURS, *besides)
    return lambda m: m[OURS][metric] / min(row[metric] for name, row in m.items() if name not in skip and metric in row)


FLOORS = [
    Floor("CRPS below that of every peer: ratio to the best", _better("CRPS"), lambda value: value < 1),
    Floor("Brier score of zero below that of every peer: ratio to the best", _better("Brier"), lambda value: value < 1),
    Floor(
        "zero calibrated better than by every peer that looks at the other cells: ratio to the best",
        _better("miscalibration", ColumnWise.name),
        lambda value: value < 1,
    ),
]


def notes() -> list[str]:
    return ["Column-wise draws are calibrated, as any constant share is; what they lack stands under Brier."]


class Ours:
    name = OURS

    def __init__(self, seed: int, options: Options):
        self.model = options.estimator(seed)

    def fit(self, x: NDArray) -> Ours:
        self.model.fit(x)
        return self

    def impute(self, holed: NDArray, num: int, seed: int) -> NDArray:
        return np.stack(self.model.impute(holed, num, seed))


def measure(seed: int, options: Options, picture: Path | None) -> Rows:
    split = tables.split(load_randhie(spending), spending, seed)
    train, truth = (np.asarray(part, float) for part in (split.train, split.test))
    truth = truth[:ROWS]
    hole = np.random.default_rng([seed, 7]).random(truth.shape) < SHARE
    holed = np.where(hole, np.nan, truth)
    rows: Rows = {}
    for peer in [Ours(seed, options), *(made() for made in PEERS if options.wants("simple"))]:
        rows |= peers.row(peer, train, lambda fitted: _judged(fitted, truth, hole, holed, seed))
    unit = rows.get(ColumnWise.name)
    if unit:
        scale = {metric: unit[metric] for metric in ("CRPS", "Brier")}
        rows = {name: {m: v / scale.get(m, 1.0) for m, v in row.items()} for name, row in rows.items()}
    if picture:
        _draw(picture, rows)
    return rows


def _judged(fitted: Any, truth: NDArray, hole: NDArray, holed: NDArray, seed: int) -> dict[str, float]:
    timed = clock()
    with timed("draw s"):
        drawn = fitted.impute(holed, DRAWS, seed)
    columns = [(truth[h, j], drawn[:, h, j]) for j, h in enumerate(hole.T)]
    zero = [(y == 0, (x == 0)) for y, x in columns]
    return timed.seconds | {
        "CRPS": float(np.mean([_crps(y, x) / np.abs(y[:, None] - y).mean() for y, x in columns])),
        "Brier": float(np.mean([_brier(y, x) for y, x in zero])),
        "zeros off": max(abs(y.mean() - x.mean()) for y, x in zero),
        "miscalibration": float(np.mean([_miscalibration(y, x) for y, x in zero])),
        "rank error": float(np.abs(_ranks(drawn[0]) - _ranks(truth)).max()),
    }


def _crps(y: NDArray, x: NDArray) -> float:
    """Unbiased for any number of draws (Ferro 2014, fair scores for ensemble forecasts)."""
    num = len(x)
    spread = np.abs(x[:, None] - x).sum((0, 1)) / (num * (num - 1))
    return float((np.abs(x - y).mean(0) - spread / 2).mean())


def _brier(y: NDArray, x: NDArray) -> float:
    """The same of an event."""
    share = x.mean(0)
    return float(((share - y) ** 2 - share * (1 - share) / (len(x) - 1)).mean())


def _miscalibration(y: NDArray, x: NDArray) -> float:
    """Half of the draws say to which class a cell belongs, the other half what its probability is."""
    half = len(x) // 2
    place = np.minimum((x[:half].mean(0) * 5).astype(int), 4)
    off = [abs(y[place == k].mean() - x[half:, place == k].mean()) * (place == k).sum() for k in set(place)]
    return float(sum(off) / y.size)


def _ranks(x: NDArray) -> NDArray:
    from scipy.stats import spearmanr

    return np.asarray(spearmanr(x).statistic)


def _draw(path: Path, rows: Rows) -> None:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 3), ("CRPS", "Brier", "miscalibration"), strict=True):
        shown = {name: row[metric] for name, row in rows.items() if metric in row}
        axes.barh(list(shown)[::-1], list(shown.values())[::-1], color=["C0"] * (len(shown) - 1) + ["C1"])
        axes.set_title(metric)
        axes.label_outer()
    figure.savefig(path, dpi=110)
