"""What every case on a real table measures: ours and the peers on one random split, with zeros as the only atom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.harness import OURS, Options, Rows, clock, peak_memory
from benchmarks.peers import GaussianPerPattern, IndependentColumns, KernelLog1p, PatternGaussian
from ptilde.diagnostics import pattern_total_variation, q99_ratio, two_sample_auc

NUM_DRAWS = 20_000  # the standard error of a share is then below 0.004
METRICS = {
    "AUC": "classifier two-sample AUC of as many draws as held-out rows against these; 0.5 is perfect, see `real rows`",
    "zeros off": f"largest distance of a column's share of zeros among {NUM_DRAWS:,} draws from the training share",
    "pattern TV": "total variation between the zero patterns of the draws and of the held-out rows",
    "q99 ratio": "99 % quantile of the row sum, draws over held-out",
    "outside": "held-out rows with a value that the fitted schema gives no probability; no model's mean counts them",
    "log density": "mean held-out log density a row, in nats, per unit of each positive amount",
    "above patterns": "the same less that of bootstrapped patterns + Gaussian log-amounts, on the same rows",
    "gap": "|mean one-pass - mean ODE| log density over the held-out rows compared",
    "row gap": "mean |one-pass - ODE| over them, row by row",
    "within 1 nat": "share of them where the two agree to a nat",
    "log Z off": "certificate: distance of the log normaliser from 0",
    "se log Z": "its standard error",
    "fit s": "seconds to fit",
    "draw s": f"seconds to draw {NUM_DRAWS:,} rows, compilation included",
    "score s": "seconds for the one-pass log densities of the held-out rows, compilation included",
    "peak MB": "most memory held by the process after these",
}
PEERS = (IndependentColumns, PatternGaussian, GaussianPerPattern, KernelLog1p)


@dataclass(frozen=True)
class Split:
    """Rows of one table that are fitted and rows that are held out."""

    names: tuple[str, ...]
    train: NDArray
    test: NDArray

    def frame(self, rows: NDArray) -> pa.Table:
        return pa.table({name: rows[:, j] for j, name in enumerate(self.names)})


def split(table: pa.Table, names: Sequence[str], seed: int, held_out: float = 0.25) -> Split:
    rows = np.column_stack([table[name].to_numpy().astype(float) for name in names])
    order = np.random.default_rng(seed).permutation(len(rows))
    num_test = round(held_out * len(rows))
    return Split(tuple(names), rows[order[num_test:]], rows[order[:num_test]])


def measure(
    parts: Split,
    seed: int,
    options: Options,
    picture: Path | None,
    *,
    ode_rows: int = 1000,
    step: float | None = None,
) -> Rows:
    """The lines of the table: ours, each peer (draws rounded to `step`), and real training rows in place of draws."""
    ours, draws, inside = fitted(parts, seed, options, ode_rows)
    rows = {OURS: ours}
    several: dict[str, NDArray] = {"held out": parts.test, OURS: draws}
    for peer in PEERS:
        model = peer().fit(parts.train)
        drawn = model.sample(NUM_DRAWS, seed)
        several[peer.name] = np.round(drawn / step) * step if step else drawn
        rows[peer.name] = {}
        if hasattr(model, "score_samples"):
            rows[peer.name]["log density"] = float(np.mean(model.score_samples(parts.test[inside])))
    several["real rows"] = np.random.default_rng(seed).permutation(parts.train)[: len(parts.test)]
    rows["real rows"] = {}
    for name, row in rows.items():
        row.update(fidelity(parts, several[name], seed))
        if "log density" in row:
            row["above patterns"] = row["log density"] - rows[PatternGaussian.name]["log density"]
    if picture:
        from benchmarks.pictures import columns

        shown = ("held out", OURS, PatternGaussian.name, KernelLog1p.name)
        columns(picture, parts.names, {name: several[name] for name in shown})
    return rows


def fidelity(parts: Split, draws: NDArray, seed: int) -> dict[str, float]:
    zeros = np.abs(np.mean(draws == 0, axis=0) - np.mean(parts.train == 0, axis=0))
    draws = draws[: len(parts.test)]
    return {
        "AUC": two_sample_auc(parts.test, draws, seed=seed).value,
        "zeros off": float(zeros.max()),
        "pattern TV": pattern_total_variation(parts.test == 0, draws == 0).value,
        "q99 ratio": q99_ratio(parts.test, draws).value,
    }


def fitted(parts: Split, seed: int, options: Options, ode_rows: int) -> tuple[dict[str, float], NDArray, NDArray]:
    """The numbers that only ours has, its draws, and which held-out rows lie in its support."""
    timed = clock()
    test = parts.frame(parts.test)
    with timed("fit s"):
        model = options.estimator(seed).fit(parts.frame(parts.train))
    with timed("draw s"):
        draws = model.sample(NUM_DRAWS, random_state=seed)
    with timed("score s"):
        log_density = np.asarray(model.score_samples(test))
    row = {**timed.seconds, "peak MB": peak_memory()}
    inside = np.isfinite(log_density)
    row["outside"] = float(np.sum(~inside))
    row["log density"] = float(np.mean(log_density[inside]))
    if ode_rows:
        few = np.flatnonzero(inside)[:ode_rows]
        gap = np.asarray(model.score_samples(test.take(few), method="ode")) - log_density[few]
        row["gap"], row["row gap"] = float(abs(np.mean(gap))), float(np.mean(np.abs(gap)))
        row["within 1 nat"] = float(np.mean(np.abs(gap) <= 1))
    log_z, row["se log Z"] = map(float, model.log_normalizer())
    row["log Z off"] = abs(log_z)
    return row, np.column_stack([draws[name].to_numpy() for name in parts.names]), inside
