"""Motor claims (Australia, 67,856 policies): the amount given the policy, 93 % zeros, deductibles among the rest.

The table is `ausprivauto0405` of R's CASdatasets (= dataCar of insuranceData), as parquet.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks import conditional
from benchmarks.harness import Options, Rows, shared_table

METRICS, FLOORS, notes = conditional.METRICS, conditional.FLOORS, conditional.notes


def measure(seed: int, options: Options, picture: Path | None) -> Rows:
    table = pd.read_parquet(shared_table("ausprivauto0405.parquet"))
    X = table.drop(columns=["ClaimAmount", "ClaimNb", "ClaimOcc"])
    train, test = conditional.split(conditional.Part(X, table["ClaimAmount"].to_numpy(float)), seed)
    return conditional.measure(train, test, seed, options, picture)
