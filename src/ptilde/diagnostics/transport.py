r"""How far mass must be moved to make one table the other.

In one dimension the Wasserstein distance is the area between two cumulative distribution functions, in the units of the
column. In several it is sliced: the mean over random directions v of the distance between the projections $v^\top x$.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ptilde.diagnostics.results import Estimate
from ptilde.diagnostics.tables import Columns, columns, points, present, same_width


def wasserstein(x: ArrayLike, y: ArrayLike) -> float:
    """The area between two empirical cumulative distribution functions, in the units of the data; missing left out."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(present(x), present(y)))


def column_wasserstein(x: Columns | ArrayLike, y: Columns | ArrayLike) -> dict[str, float]:
    """The distance of each column of numbers, in its units."""
    first, second = columns(x), columns(y)
    return {name: wasserstein(column, second[name]) for name, column in first.items() if column.dtype.kind in "iuf"}


def sliced_wasserstein(x: ArrayLike, y: ArrayLike, *, num_directions: int = 200, seed: int = 0) -> Estimate:
    """The mean distance over directions, with its standard error over these (not over the rows: see `beside_floor`).

    Args:
        x: rows, (n, d), in units that make columns comparable.
        y: rows, (m, d).
        num_directions: uniform on the sphere.
        seed: of the directions.

    References:
        Bonneel, Rabin, Peyré & Pfister (2015), Sliced and Radon Wasserstein barycenters of measures, Journal of
        Mathematical Imaging and Vision 51.
    """
    x, y = points("x", x), points("y", y)
    same_width(x, y)
    directions = np.random.default_rng(seed).normal(size=(num_directions, x.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distances = [wasserstein(x @ v, y @ v) for v in directions]
    return Estimate(float(np.mean(distances)), float(np.std(distances, ddof=1) / np.sqrt(num_directions)))
