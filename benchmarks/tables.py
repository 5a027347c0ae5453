"""What every case on a real table measures: ours and the peers on one random split.

Draws of a generator that knows no atom stand in the table twice: as they come, and by hand (below half of the column's
smallest positive fitted value is zero, the rest is rounded to the grid if there is one).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks import peers
from benchmarks.harness import OURS, Floor, Options, Rows, clock, peak_memory
from benchmarks.peers.generators import GENERATORS, by_hand
from benchmarks.peers.recipe import RECIPE
from benchmarks.peers.simple import GaussianPerPattern, IndependentColumns, KernelLog1p, PatternGaussian
from ptilde import ScoreDensity
from ptilde.diagnostics import pattern_total_variation, q99_ratio, two_sample_auc

NUM_DRAWS = 20_000  # the standard error of a share is then below 0.004
METRICS = {
    "AUC": "classifier two-sample AUC of as many draws as held-out rows against these; 0.5 is perfect, see `real rows`",
    "AUC over": "AUC less that of real rows, on the same split",
    "zeros off": f"largest distance of a column's share of zeros among {NUM_DRAWS:,} draws from the training share",
    "negatives": "share of draws with a value below zero",
    "pattern TV": f"total variation between the zero patterns of {NUM_DRAWS:,} draws and of the held-out rows",
    "TV ratio": "pattern TV over that of real rows, which are all fitted rows, on the same split",
    "q99 ratio": "99 % quantile of the row sum, as many draws over held-out rows",
    "outside": "held-out rows with a value that the fitted schema gives no probability; no model's mean counts them",
    "log density": "mean held-out log density a row, in nats, per unit of each positive amount",
    "above patterns": "the same less that of bootstrapped patterns + Gaussian log-amounts, on the same rows",
    "gap": "|mean one-pass - mean ODE| log density over the held-out rows compared",
    "row gap": "mean |one-pass - ODE| over them, row by row",
    "within 1 nat": "share of them where the two agree to a nat",
    "log Z": "certificate: the log normaliser, 0 if the one-pass density integrates to 1",
    "log Z off": "its distance from 0",
    "se log Z": "its standard error",
    "fit s": "seconds to fit",
    "draw s": f"seconds to draw {NUM_DRAWS:,} rows, compilation included",
    "score s": "seconds for the one-pass log densities of the held-out rows, compilation included",
    "peak MB": "most memory held by the process after these",
}
SIMPLE = (IndependentColumns, PatternGaussian, GaussianPerPattern, KernelLog1p)
REAL = "real rows"


def notes() -> list[str]:
    return ["More seeds are welcome."]


def auc_floor(margin: float) -> Floor:
    return Floor(
        f"AUC at most {margin} above that of real rows",
        lambda m: m[OURS]["AUC over"],
        lambda value: value <= margin,
    )


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
    more: Callable[[Split, ScoreDensity, NDArray], dict[str, float]] = lambda parts, model, draws: {},
) -> Rows:
    """The lines of the table: ours, each peer, and real training rows in place of draws.

    Draws of the simple peers are rounded to `step`. `more` measures on ours what only the case asks for.
    """
    model, ours, draws, inside = fitted(parts, seed, options, ode_rows)
    rows: Rows = {OURS: {**ours, **fidelity(parts, draws, seed), **more(parts, model, draws)}}
    several = {"held out": parts.test, OURS: draws}

    def simple(peer) -> dict[str, float]:
        drawn = peer.sample(NUM_DRAWS, seed)
        several[peer.name] = np.round(drawn / step) * step if step else drawn
        has = hasattr(peer, "score_samples")
        density = {"log density": float(np.mean(peer.score_samples(parts.test[inside])))} if has else {}
        return {**density, **fidelity(parts, several[peer.name], seed)}

    def generator(peer) -> dict[str, float]:
        timed = clock()
        with timed("draw s"):
            several[peer.name] = peer.sample(NUM_DRAWS, seed)
        several[f"{peer.name}, by hand"] = by_hand(several[peer.name], parts.train, step)
        return {**timed.seconds, **fidelity(parts, several[peer.name], seed)}

    for peer in SIMPLE if options.wants("simple") else ():
        rows |= peers.row(peer(), parts.train, simple)
    entered = [kind(ours["fit s"], seed) for kind in RECIPE] if options.wants("recipe") else []
    entered += [kind(seed) for kind in GENERATORS] if options.wants("generators") else []
    for peer in entered:
        rows |= peers.row(peer, parts.train, generator)
        if f"{peer.name}, by hand" in several:
            rows[f"{peer.name}, by hand"] = fidelity(parts, several[f"{peer.name}, by hand"], seed)
    rows[REAL] = fidelity(parts, np.random.default_rng(seed).permutation(parts.train), seed)
    for row in filter(None, rows.values()):
        row["AUC over"] = row["AUC"] - rows[REAL]["AUC"]
        row["TV ratio"] = row["pattern TV"] / rows[REAL]["pattern TV"]
        if "log density" in row and PatternGaussian.name in rows:
            row["above patterns"] = row["log density"] - rows[PatternGaussian.name]["log density"]
    if picture:
        from benchmarks.pictures import columns

        shown = ("held out", OURS, PatternGaussian.name, KernelLog1p.name, f"{RECIPE[0].name}, by hand")
        columns(picture, parts.names, {name: several[name] for name in shown if name in several})
    return rows


def fidelity(parts: Split, draws: NDArray, seed: int) -> dict[str, float]:
    """How far draws are from held-out rows; shares by all draws, the rest by as many as there are held-out rows."""
    zeros = np.abs(np.mean(draws == 0, axis=0) - np.mean(parts.train == 0, axis=0))
    as_many = draws[: len(parts.test)]
    return {
        "AUC": two_sample_auc(parts.test, as_many, seed=seed).value,
        "zeros off": float(zeros.max()),
        "negatives": float(np.mean((as_many < 0).any(1))),
        "pattern TV": pattern_total_variation(parts.test == 0, draws == 0).value,
        "q99 ratio": q99_ratio(parts.test, as_many).value,
    }


def fitted(
    parts: Split, seed: int, options: Options, ode_rows: int
) -> tuple[ScoreDensity, dict[str, float], NDArray, NDArray]:
    """Ours, the numbers that only it has, its draws, and which held-out rows lie in its support."""
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
    row["log Z"], row["se log Z"] = map(float, model.log_normalizer())
    row["log Z off"] = abs(row["log Z"])
    return model, row, np.column_stack([draws[name].to_numpy() for name in parts.names]), inside
