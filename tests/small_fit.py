"""One small table with every kind of column that the command line meets, and one quick fit of it for all tests."""

import numpy as np
import pyarrow as pa
import pytest

import ptilde
from ptilde import Categorical, Interval, Positive, Schema, SemiContinuous

MAX_ITER = 50

small_schema = Schema(
    {
        "claim": SemiContinuous((0.0,)),
        "rain": SemiContinuous((0.0,), Positive(grid=0.2)),
        "share": Interval(0, 1),
        "region": Categorical(("north", "south")),
    }
)


def small_table(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    wet = rng.random(rows) < 0.5
    return pa.table(
        {
            "claim": np.where(rng.random(rows) < 0.4, 0.0, rng.lognormal(2, 1, rows)),
            "rain": np.where(wet, np.round(rng.exponential(20, rows)).clip(1) * 0.2, 0.0),
            "share": rng.beta(2, 3, rows),
            "region": np.where(wet, "north", "south"),
        }
    )


@pytest.fixture(scope="session")
def fitted_table():
    return small_table()


@pytest.fixture(scope="session")
def fitted_model(fitted_table):
    return ptilde.ScoreDensity(schema=small_schema, random_state=0, max_iter=MAX_ITER).fit(fitted_table)


@pytest.fixture(scope="session")
def fitted_path(fitted_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "small.ptilde"
    fitted_model.save(path)
    return path
