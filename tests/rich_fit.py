"""A table with every kind of column and cell, and one quick fit of it for all tests."""

import numpy as np
import pandas as pd
import pytest

import ptilde
from ptilde import Categorical, Count, Interval, Positive, Real, Schema, SemiContinuous

RICH = Schema(
    {
        "amount": SemiContinuous((0.0, 200.0), Interval(0, 200, grid=0.5), missing=True),
        "visits": Count(missing=True),
        "level": Categorical((1, 2, 5)),
        "flag": Categorical((False, True)),
        "where": Categorical(("ä", "b", "<script>"), missing=True),
        "real": Real(),
        "size": Positive(),
    },
    {"id": "every value occurs once"},
)


def rich_table(rows=80):
    rng = np.random.default_rng(0)
    amount = np.where(rng.random(rows) < 0.3, 0.0, np.minimum(np.ceil(rng.exponential(200, rows)) / 2, 200))
    return pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(rows)],
            "amount": np.where(rng.random(rows) < 0.1, np.nan, amount),
            "visits": pd.array(np.where(rng.random(rows) < 0.1, pd.NA, rng.poisson(3, rows)), dtype="Int64"),
            "level": rng.choice([1, 2, 5], rows),
            "flag": rng.random(rows) < 0.5,
            "where": pd.Categorical(rng.choice(["ä", "b", None], rows), categories=["b", "ä", "<script>"]),
            "real": rng.normal(size=rows),
            "size": rng.lognormal(size=rows),
        }
    )


@pytest.fixture(scope="session")
def rich_model():
    return ptilde.ScoreDensity(RICH, random_state=3, max_iter=20).fit(rich_table())
