"""The two-mode toy of Song & Ermon (2019): 1/5 N((-5, -5), I) + 4/5 N((5, 5), I), 20,000 rows.

The race to KL 0.01: ours is fitted anew with 100, 200, 400, ... steps; its time is that of the first fit whose density,
normalised, gets there, programs compiled by the fit before. A peer's is its training time until its density, looked at
after stretches that grow by half, gets there; `benchmarks.peers.energies` says how each density is obtained.
"""

import numpy as np
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from benchmarks import peers
from benchmarks.harness import OURS, Floor, Options, Rows, clock, peak_memory
from benchmarks.peers.energies import ENERGIES
from ptilde.datasets import gaussian_mixture, gaussian_mixture_log_density

METRICS = {
    "KL": "KL(truth || one-pass density) on 20,000 fresh rows, in nats",
    "se KL": "its standard error",
    "KL by ODE": "the same with the density of the probability-flow ODE, on the first 2,000 of them",
    "KL normalised": "KL of the one-pass density over its integral by quadrature, which surplus mass cannot flatter",
    "weight off": "distance of the share of 20,000 draws in the small mode from 1/5",
    "gap": "|mean one-pass - mean ODE| log density",
    "row gap": "mean |one-pass - ODE|, row by row",
    "log Z off": "certificate: distance of the log normaliser from 0",
    "se log Z": "its standard error",
    "s to KL": "seconds of training to a KL of 0.01 at most; those spent in vain where `KL` is above that",
    "steps to KL": "steps that these were",
    "fit s": "seconds to fit; of the peers in the race, to train",
    "draw s": "seconds to draw 20,000 rows, compilation included",
    "peak MB": "most memory held by the process after these",
}
FLOORS = [
    Floor("KL at most 0.006 nats", lambda m: abs(m[OURS]["KL"]), lambda value: value <= 0.006),
    Floor("the same once normalised", lambda m: m[OURS]["KL normalised"], lambda value: value <= 0.006),
    Floor("weight of the small mode within 0.01", lambda m: m[OURS]["weight off"], lambda value: value <= 0.01),
    Floor(
        "10 times as fast to KL 0.01 as the fastest of ebmkit and torchebm",
        lambda m: min(m[peer.name]["s to KL"] for peer in ENERGIES) / m[OURS]["s to KL"],
        lambda value: value >= 10,
    ),
]
NUM, NUM_ODE, NUM_LOOK = 20_000, 2_000, 2_000
NEAR, SECONDS, MOST_STEPS = 0.01, 120.0, 6_400


def notes() -> list[str]:
    return ["More seeds are welcome."]


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
    row |= _divergence(log_density, fresh)
    row["KL normalised"] = row["KL"] + _log_integral(model)
    rows: Rows = {OURS: {**row, "weight off": _weight_off(draws)}}
    simple = {
        "scikit-learn KernelDensity": KernelDensity(bandwidth="scott").fit(data),
        "scikit-learn GaussianMixture (the true family)": GaussianMixture(2, random_state=seed).fit(data),
    }
    for name, peer in simple.items() if options.wants("simple") else ():
        drawn = peer.sample(NUM)[0] if isinstance(peer, GaussianMixture) else peer.sample(NUM, random_state=seed)
        rows[name] = {**_divergence(peer.score_samples(fresh), fresh), "weight off": _weight_off(drawn)}
    if options.wants("energies"):
        rows[OURS] |= _race(options, seed, data, fresh)
        for kind in ENERGIES:
            peer = kind(
                options.budget or SECONDS, seed, lambda peer: _near(peer, fresh[:NUM_LOOK]) and _near(peer, fresh)
            )
            rows |= peers.row(peer, data, lambda peer: _peer(peer, fresh))
    if picture:
        from benchmarks.pictures import contours

        contours(picture, draws, lambda x: np.asarray(model.score_samples(x)), gaussian_mixture_log_density)
    return rows


def _race(options: Options, seed: int, data: np.ndarray, fresh: np.ndarray) -> dict[str, float]:
    spent, steps = 0.0, 100
    while steps <= MOST_STEPS:
        model, timed = options.estimator(seed, max_iter=steps, time_budget=None), clock()
        with timed("s"):
            model.fit(data)
        spent += timed.seconds["s"]
        if _near(model, fresh, _log_integral(model)):
            return {"s to KL": timed.seconds["s"], "steps to KL": float(steps)}
        steps *= 2
    return {"s to KL": spent, "steps to KL": float(steps // 2)}


def _near(model, fresh: np.ndarray, log_z: float = 0.0) -> bool:
    return _divergence(np.asarray(model.score_samples(fresh)), fresh)["KL"] + log_z <= NEAR


def _log_integral(model) -> float:
    """The logarithm of the one-pass density's integral over the plane, by a sum over a grid of step 0.1."""
    side = np.arange(-20, 20, 0.1)
    plane = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    return float(logsumexp(np.asarray(model.score_samples(plane))) + 2 * np.log(0.1))


def _peer(peer, fresh: np.ndarray) -> dict[str, float]:
    times = {"s to KL": peer.trained, "steps to KL": float(peer.steps), "fit s": peer.trained}
    return {**times, **_divergence(peer.score_samples(fresh), fresh)}


def _divergence(log_density: np.ndarray, at: np.ndarray) -> dict[str, float]:
    excess = gaussian_mixture_log_density(at) - log_density
    return {"KL": float(np.mean(excess)), "se KL": float(np.std(excess) / np.sqrt(len(excess)))}


def _weight_off(draws: np.ndarray) -> float:
    return float(abs(np.mean(draws.sum(1) < 0) - 0.2))
