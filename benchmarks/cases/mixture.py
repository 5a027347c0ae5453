"""The two-mode toy of Song & Ermon (2019): 1/5 N((-5, -5), I) + 4/5 N((5, 5), I), 20,000 rows."""

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from benchmarks.harness import OURS, Floor, Options, Rows, clock, peak_memory
from ptilde.datasets import gaussian_mixture, gaussian_mixture_log_density

METRICS = {
    "KL": "KL(truth || one-pass density) on 20,000 fresh rows, in nats",
    "se KL": "its standard error",
    "KL by ODE": "the same with the density of the probability-flow ODE, on the first 2,000 of them",
    "weight off": "distance of the share of 20,000 draws in the small mode from 1/5",
    "gap": "|mean one-pass - mean ODE| log density",
    "row gap": "mean |one-pass - ODE|, row by row",
    "log Z off": "certificate: distance of the log normaliser from 0",
    "se log Z": "its standard error",
    "fit s": "seconds to fit",
    "draw s": "seconds to draw 20,000 rows, compilation included",
    "peak MB": "most memory held by the process after these",
}
FLOORS = [Floor("KL at most 0.012 nats", lambda m: abs(m[OURS]["KL"]), lambda value: value <= 0.012)]
NUM, NUM_ODE = 20_000, 2_000


def measure(seed: int, options: Options, picture) -> Rows:
    data, fresh = gaussian_mixture(NUM, seed=seed), gaussian_mixture(NUM, seed=10_000 + seed)
    timed = clock()
    with timed("fit s"):
        model = options.estimator(seed).fit(data)
    with timed("draw s"):
        draws = np.asarray(model.sample(NUM, random_state=seed))
    row = {**timed.seconds, "peak MB": peak_memory()}
    log_density = np.asarray(model.score_samples(fresh))
    by_ode = np.asarray(model.score_samples(fresh[:NUM_ODE], method="ode"))
    row["KL by ODE"] = _divergence(by_ode, fresh[:NUM_ODE])["KL"]
    gap = by_ode - log_density[:NUM_ODE]
    row["gap"], row["row gap"] = float(abs(np.mean(gap))), float(np.mean(np.abs(gap)))
    log_z, row["se log Z"] = map(float, model.log_normalizer())
    row["log Z off"] = abs(log_z)
    rows = {OURS: {**row, **_divergence(log_density, fresh), "weight off": _weight_off(draws)}}
    peers = {
        "scikit-learn KernelDensity": KernelDensity(bandwidth="scott").fit(data),
        "scikit-learn GaussianMixture (the true family)": GaussianMixture(2, random_state=seed).fit(data),
    }
    for name, peer in peers.items():
        drawn = peer.sample(NUM)[0] if isinstance(peer, GaussianMixture) else peer.sample(NUM, random_state=seed)
        rows[name] = {**_divergence(peer.score_samples(fresh), fresh), "weight off": _weight_off(drawn)}
    if picture:
        from benchmarks.pictures import contours

        contours(picture, draws, lambda x: np.asarray(model.score_samples(x)), gaussian_mixture_log_density)
    return rows


def _divergence(log_density: np.ndarray, at: np.ndarray) -> dict[str, float]:
    excess = gaussian_mixture_log_density(at) - log_density
    return {"KL": float(np.mean(excess)), "se KL": float(np.std(excess) / np.sqrt(len(excess)))}


def _weight_off(draws: np.ndarray) -> float:
    return float(abs(np.mean(draws.sum(1) < 0) - 0.2))
