"""RAND HIE: a year's medical expenses of a person given the plan and nine covariates, 22 % zeros.

The table is RandHIE of R's sampleSelection, as parquet.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks import conditional
from benchmarks.harness import Options, Rows, shared_table

GIVEN = ["plan", "site", "coins", "year", "xage", "female", "income", "educdec", "ghindx"]
METRICS, FLOORS, notes = conditional.METRICS, conditional.FLOORS, conditional.notes


def measure(seed: int, options: Options, picture: Path | None) -> Rows:
    table = pd.read_parquet(shared_table("randhie.parquet"))
    X = table[GIVEN].astype({"plan": str, "site": str}).astype({"plan": "category", "site": "category"})
    train, test = conditional.split(conditional.Part(X, table["meddol"].to_numpy(float)), seed)
    return conditional.measure(train, test, seed, options, picture)
