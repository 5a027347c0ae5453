"""Simulated tables with the traits of the real ones, and where those are."""

import os
from pathlib import Path

import numpy as np

SHARED = Path(os.environ.get("PTILDE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))

SMOOTH = {
    "normal": lambda rng, n: rng.normal(10, 3, n),
    "lognormal": lambda rng, n: rng.lognormal(3, 1, n),
    "gamma with a pole at 0": lambda rng, n: rng.gamma(0.3, 10, n),
    "t with 2 degrees": lambda rng, n: rng.standard_t(2, n),
    "laplace": lambda rng, n: rng.laplace(0, 1, n),
    "pareto": lambda rng, n: 1 + rng.pareto(1.2, n),
    "uniform": lambda rng, n: rng.uniform(2, 3, n),
}


def on_steps(values, share_of_iqr):
    """The values rounded to a step of about that share of their quartile range, and the step."""
    low, high = np.quantile(values, [0.25, 0.75])
    step = float(f"{share_of_iqr * (high - low):.1g}")
    return np.rint(values / step) * step, step
