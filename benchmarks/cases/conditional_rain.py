"""Rain at Innsbruck given the 11 members of an ensemble forecast, recorded in steps of 0.1 mm, 26 % zeros.

The table is RainIbk of R's crch, as parquet. Censored logistic regression on square roots is that package's model.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks import conditional
from benchmarks.harness import OURS, Floor, Options, Rows, shared_table
from benchmarks.peers.regressors import CensoredLogistic

HALF = 0.55  # half a step beyond 0.5
METRICS = conditional.METRICS | {"log P(bin)": f"mean held-out log P(|Y - y| <= {HALF}), in nats; more is better"}
notes = conditional.notes
LOGISTIC = CensoredLogistic.name
FLOORS = [
    Floor(
        f"log P(bin) above that of {LOGISTIC}: ours less that",
        lambda m: m[OURS]["log P(bin)"] - m[LOGISTIC]["log P(bin)"],
        lambda value: value > 0,
    ),
    Floor(
        f"CRPS below that of {LOGISTIC}: ours over that",
        lambda m: m[OURS]["CRPS"] / m[LOGISTIC]["CRPS"],
        lambda value: value < 1,
    ),
    Floor("PIT flat: KS p above .01", lambda m: m[OURS]["KS p"], lambda value: value > 0.01),
]


def measure(seed: int, options: Options, picture: Path | None) -> Rows:
    table = pd.read_parquet(shared_table("rainibk.parquet"))
    X = table[[name for name in table.columns if name.startswith("rainfc")]]
    train, test = conditional.split(conditional.Part(X, table["rain"].to_numpy(float)), seed)
    return conditional.measure(train, test, seed, options, picture, (CensoredLogistic(),), half=HALF)
