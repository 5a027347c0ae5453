"""Motor claims (pricing game of 2015, 100,021 policies): material damage given the policy; both kinds of claim at once.

The table is `pg15training` of R's CASdatasets, as parquet. Beside the law of Indtppd, ours learns that of Indtpbi
(bodily injury) and that of both, and is asked how often both are above zero, by ten draws a held-out row. Some 250
held-out rows have both, so that 5 % is less than one standard error of the share observed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import conditional
from benchmarks.harness import OURS, Floor, Options, Rows, shared_table
from ptilde import ScoreRegressor

PAIR = ["Indtppd", "Indtpbi"]
METRICS = conditional.METRICS | {
    "both ratio": "predicted over observed share of rows with both kinds of claim",
    "both z": "its distance from 1 in standard errors of the observed share",
    "joint gain": "mean held-out log density of both columns less the sum of the two single fits' in nats",
}
FLOORS = [
    *conditional.FLOORS,
    Floor(
        "P(both > 0) within 5 %: predicted over observed", lambda m: m[OURS]["both ratio"], lambda v: abs(v - 1) <= 0.05
    ),
    Floor("joint log density above the sum of two single fits", lambda m: m[OURS]["joint gain"], lambda v: v > 0),
]
notes = conditional.notes


def measure(seed: int, options: Options, picture: Path | None) -> Rows:
    table = pd.read_parquet(shared_table("pg15training.parquet"))
    X = table.drop(columns=[*PAIR, "Numtppd", "Numtpbi"])
    X["CalYear"] = X["CalYear"].astype(str).astype("category")
    train, test = conditional.split(conditional.Part(X, table[PAIR].to_numpy(float)), seed)

    def both(single: ScoreRegressor) -> dict[str, float]:
        limits = {"max_iter": options.max_iter or "auto", "time_budget": options.budget}
        print("  both columns ...", file=sys.stderr, flush=True)
        joint = ScoreRegressor(random_state=seed, **limits).fit(train.X, train.y)
        other = ScoreRegressor(random_state=seed, **limits).fit(train.X, train.y[:, 1])
        parts = single.score_samples(test.X, test.y[:, 0]) + other.score_samples(test.X, test.y[:, 1])
        gain = joint.score_samples(test.X, test.y) - parts  # not finite where neither gives a probability
        predicted = (joint.sample(test.X, 10, random_state=seed) > 0).all(-1).mean()
        observed = (test.y > 0).all(1).mean()
        error = np.sqrt(observed * (1 - observed) / len(test.y))
        return {
            "both ratio": float(predicted / observed),
            "both z": float((predicted - observed) / error),
            "joint gain": float(np.mean(gain[np.isfinite(gain)])),
        }

    one = [conditional.Part(part.X, part.y[:, 0]) for part in (train, test)]
    return conditional.measure(*one, seed, options, picture, more=both)
