r"""Tests of restrictions on θ.

* Wald: $g(\hat\theta)^\top (G V G^\top)^{-1} g(\hat\theta)$ with $V = \operatorname{cov}\hat\theta$ and $G = \nabla g$
  is $\chi^2$ with as many degrees of freedom as g has entries.
* Score difference: twice what the sum of losses rises by when parameters ψ are held at their values is asymptotically
  $\sum_i \lambda_i \chi^2_1$ with λ the eigenvalues of $((A^{-1})_{\psi\psi})^{-1} V_{\psi\psi}$ (Kent 1982, Robust
  properties of likelihood ratio tests, Biometrika 69, Theorem 3.1; all λ are 1 for a likelihood).
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import chi2

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Test:
    """A test's result.

    Attributes:
        statistic: its value.
        degrees: of freedom: the number of restrictions.
        p_value: the chance of a statistic as large if the restrictions hold.
    """

    __test__ = False  # no pytest class

    statistic: float
    degrees: int
    p_value: float

    def __str__(self) -> str:
        return f"statistic {self.statistic:.4g}, {self.degrees} degrees of freedom, p = {self.p_value:.3g}"


class Restricted(eqx.Module):
    """A criterion in its free parameters, the others held.

    Args:
        criterion: (θ, x, key) ↦ loss.
        theta: the values that are held; those of free parameters do not matter.
        free: which parameters are free.
    """

    criterion: Any
    theta: Float[Array, " p"]
    free: Int[Array, " q"]

    def __call__(self, free: Float[Array, " q"], x: Array, key: PRNGKeyArray) -> Array:
        return self.criterion(self.theta.at[self.free].set(free), x, key)


def wald(value: Floats, slope: Floats, covariance: Floats) -> Test:
    """The test that a function of θ with this value and slope (k, p) is 0."""
    spread = slope @ covariance @ slope.T
    if np.linalg.matrix_rank(spread, hermitian=True) < len(value):
        raise ValueError("`hypothesis` must hold restrictions none of which follows from the others; drop one.")
    statistic = float(value @ np.linalg.solve(spread, value))
    return Test(statistic, len(value), float(chi2.sf(statistic, len(value))))


def score_difference(rise: float, inverse: Floats, covariance: Floats) -> Test:
    """The test by the rise of the summed loss, with (A⁻¹) and V of the held parameters, (k, k) each."""
    weights = np.linalg.eigvals(np.linalg.solve(inverse, covariance)).real
    statistic = max(2 * rise, 0.0)
    return Test(statistic, len(weights), mixture_tail(statistic, weights))


def mixture_tail(x: float, weights: Floats) -> float:
    r"""$P(\sum_i \lambda_i \chi^2_1 > x)$ for positive λ (Imhof 1961, Computing the distribution of quadratic forms in
    normal variables, Biometrika 48, equation 3.2).
    """
    if np.ptp(weights) <= 1e-12 * weights.max():
        return float(chi2.sf(x / weights[0], len(weights)))
    weights, x = weights / weights.max(), x / weights.max()

    def integrand(u: float) -> float:
        angle = 0.5 * np.sum(np.arctan(weights * u)) - 0.5 * x * u
        return np.sin(angle) / (u * np.prod((1 + (weights * u) ** 2) ** 0.25))

    cut = 200.0
    inner = quad(integrand, 0, cut, limit=2000)[0]
    # Beyond the cut the integrand is a slowly decaying wave; what is left is below the last half-wave.
    return float(np.clip(0.5 + inner / np.pi, 0.0, 1.0))
