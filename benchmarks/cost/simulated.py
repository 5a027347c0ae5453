"""Tables of any size: RAND HIE's rows over again with fresh amounts, and one with as many columns as are asked for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ptilde.datasets import load_randhie, spending

NUM_FACTORS = 3


def randhie(num_rows: int | None = None) -> pa.Table:
    """RAND HIE, or so many of its rows drawn with replacement, each amount times a log-normal number of spread 0.05."""
    table = load_randhie(spending)
    if num_rows is None:
        return table
    rng = np.random.default_rng(0)
    chosen = rng.integers(table.num_rows, size=num_rows)
    fresh = lambda name: table[name].to_numpy()[chosen] * rng.lognormal(0, 0.05, num_rows)  # noqa: E731
    return pa.table({name: fresh(name) for name in spending})


def wide(num_columns: int, num_rows: int = 20_000) -> pa.Table:
    """Log-normal columns with three factors in common; every other one is zero where a factor says so."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((num_rows, NUM_FACTORS))
    loadings = rng.standard_normal((2, NUM_FACTORS, num_columns))
    x = np.exp(0.5 * factors @ loadings[0] + 0.5 * rng.standard_normal((num_rows, num_columns)))
    zero = (factors @ loadings[1] > 0) & (np.arange(num_columns) % 2 == 0)
    return pa.table({f"x{j}": column for j, column in enumerate(np.where(zero, 0.0, x).T)})
