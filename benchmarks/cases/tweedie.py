"""The original notebook's Tweedie data: power 1.2, mean 3, dispersion 2, 10,000 values, 22 % of them zero.

The sample's own distance from the law is part of every W1: `data resampled` (a bootstrap of it) is what an estimator
with no error but the sample's would reach, `truth` what a new sample reaches.
"""

import numpy as np
import pyarrow as pa

from benchmarks.harness import OURS, Floor, Options, Rows, clock, peak_memory
from benchmarks.peers.simple import IndependentColumns, KernelLog1p
from ptilde.datasets import tweedie, tweedie_log_density
from ptilde.diagnostics import wasserstein

METRICS = {
    "zeros": "share of exact zeros among 10,000 draws (the data's own in `data`)",
    "zeros off": "distance of that share from the data's",
    "negatives": "share of draws below zero",
    "W1": "Wasserstein distance of 10,000 draws from 200,000 fresh values of the true law",
    "W1 of positives": "the same of the positive ones",
    "log density": "mean log density of 10,000 fresh values",
    "error": "mean |log density - the true one| at them",
    "KL": "mean (true log density - log density) at them",
    "log Z off": "certificate: distance of the log normaliser from 0",
    "fit s": "seconds to fit",
    "draw s": "seconds to draw 10,000 values, compilation included",
    "peak MB": "most memory held by the process after these",
}
FLOORS = [
    Floor("exact zeros within 0.005 of the data's share", lambda m: m[OURS]["zeros off"], lambda value: value <= 0.005),
    Floor("no negatives", lambda m: m[OURS]["negatives"], lambda value: value == 0),
    Floor("W1 at most 0.055", lambda m: m[OURS]["W1"], lambda value: value <= 0.055),
    Floor("W1 of positives at most 0.045", lambda m: m[OURS]["W1 of positives"], lambda value: value <= 0.045),
    Floor("mean |one-pass - true| at most 0.03", lambda m: m[OURS]["error"], lambda value: value <= 0.03),
]
NUM = 10_000


def notes() -> list[str]:
    return ["More seeds are welcome."]


def measure(seed: int, options: Options, picture) -> Rows:
    data, fresh = tweedie(NUM, seed=seed), tweedie(200_000, seed=10_000 + seed)
    some = fresh[:NUM]
    timed = clock()
    with timed("fit s"):
        model = options.estimator(seed).fit(pa.table({"y": data}))
    with timed("draw s"):
        draws = model.sample(NUM, random_state=seed)["y"].to_numpy()
    ours = {**timed.seconds, "peak MB": peak_memory(), "log Z off": abs(float(model.log_normalizer()[0]))}
    resampled = np.random.default_rng(seed).choice(data, NUM)
    several = {OURS: draws, "truth": tweedie(NUM, seed=20_000 + seed), "data": data, "data resampled": resampled}
    rows: Rows = {OURS: {**ours, **_density(np.asarray(model.score_samples(pa.table({"y": some}))), some)}}
    for peer in (IndependentColumns, KernelLog1p) if options.wants("simple") else ():
        fitted = peer().fit(data[:, None])
        several[peer.name] = fitted.sample(NUM, seed)[:, 0]
        rows[peer.name] = (
            _density(fitted.score_samples(some[:, None]), some) if hasattr(fitted, "score_samples") else {}
        )
    rows |= {"truth": _density(tweedie_log_density(some), some), "data": {}, "data resampled": {}}
    for name, row in rows.items():
        row.update(_draws(several[name], fresh))
        row["zeros off"] = abs(row["zeros"] - float(np.mean(data == 0)))
    if picture:
        from benchmarks.pictures import columns

        columns(picture, ("y",), {name: values[:, None] for name, values in several.items() if "data" not in name})
    return rows


def _density(log_density: np.ndarray, at: np.ndarray) -> dict[str, float]:
    truth = tweedie_log_density(at)
    return {
        "log density": float(np.mean(log_density)),
        "error": float(np.mean(np.abs(log_density - truth))),
        "KL": float(np.mean(truth - log_density)),
    }


def _draws(draws: np.ndarray, fresh: np.ndarray) -> dict[str, float]:
    return {
        "zeros": float(np.mean(draws == 0)),
        "negatives": float(np.mean(draws < 0)),
        "W1": wasserstein(draws, fresh),
        "W1 of positives": wasserstein(draws[draws > 0], fresh[fresh > 0]),
    }
