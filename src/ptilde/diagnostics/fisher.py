r"""How well a score fits held-out rows, up to a constant of the data.

$$\tfrac12 E\|s(x) - \nabla\log p(x)\|^2 = E\left[\operatorname{tr}\nabla s(x) + \tfrac12\|s(x)\|^2\right] + C$$

(Hyvärinen 2005, Theorem 1): the left side is the Fisher divergence, which nobody can compute, the right side a mean
over rows. C is that of the data alone, so differences between models are differences of divergences. The constant is
the same only for densities that are smooth on the whole space: on atoms both sides are meaningless.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ptilde.diagnostics.results import Estimate
from ptilde.diagnostics.tables import points


def fisher_divergence(score: Callable, x: ArrayLike) -> Estimate:
    """The divergence of a score from the rows' law less that law's constant, with its standard error over the rows.

    Args:
        score: the gradient of the log density, a function of one point in JAX; differentiated once for each column.
        x: rows that the model has not seen, (n, d).
    """
    from ptilde.diagnostics.derivatives import hyvarinen

    return mean_of(hyvarinen(score, points("x", x)))


def fisher_difference(score: Callable, other: Callable, x: ArrayLike) -> Estimate:
    """By how much the first score's divergence is above the other's, row by row, so that the constant falls out."""
    from ptilde.diagnostics.derivatives import hyvarinen

    rows = points("x", x)
    return mean_of(hyvarinen(score, rows) - hyvarinen(other, rows))


def mean_of(values: np.ndarray) -> Estimate:
    """A mean and its standard error."""
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))
