r"""Kernels of the distance, $k(x, y) = \varphi(\|x - y\|^2)$, and the Stein kernel made of one.

With $t = \|x-y\|^2$ and a score $s$ the Stein kernel (Liu, Lee & Jordan 2016, equation 7)

$$u(x, y) = s(x)^\top s(y)\,\varphi - 2\varphi'\,(s(x) - s(y))^\top(x - y) - 2d\,\varphi' - 4t\,\varphi''$$

has mean 0 in each argument when x is drawn from the density whose score s is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ptilde import _validate

Floats = NDArray[np.float64]
NUM_FOR_MEDIAN = 1000


class Kernel(Protocol):
    """φ with its first two derivatives; `bandwidth` in the units of the data, None for the median distance."""

    @property
    def bandwidth(self) -> float | None: ...

    def at(self, bandwidth: float) -> Self:
        """The same with this bandwidth."""
        ...

    def __call__(self, t: Floats) -> tuple[Floats, Floats, Floats]:
        """φ, φ' and φ'' of squared distances."""
        ...


@dataclass(frozen=True)
class Imq:
    r"""The inverse multiquadric $(1 + t/h^2)^\beta$, whose slow decay keeps sight of the tails in many dimensions.

    Args:
        bandwidth: h; None for the median distance.
        beta: the power, in (-1, 0), where the discrepancy controls convergence.

    References:
        Gorham & Mackey (2017), Measuring sample quality with kernels, ICML, Theorem 8.
    """

    bandwidth: float | None = None
    beta: float = -0.5

    def __post_init__(self):
        if self.bandwidth is not None:
            _validate.positive("bandwidth", self.bandwidth)
        if not -1 < self.beta < 0:
            raise ValueError(f"`beta` must be between -1 and 0; got {self.beta!r}.")

    def at(self, bandwidth: float) -> Imq:
        return replace(self, bandwidth=bandwidth)

    def __call__(self, t: Floats) -> tuple[Floats, Floats, Floats]:
        h2 = _square(self.bandwidth)
        inverse = 1 / (1 + t / h2)
        value = inverse**-self.beta
        slope = self.beta / h2 * value * inverse
        return value, slope, (self.beta - 1) / h2 * slope * inverse


@dataclass(frozen=True)
class GaussianKernel:
    r"""$\exp(-t/(2h^2))$.

    Args:
        bandwidth: h; None for the median distance.
    """

    bandwidth: float | None = None

    def __post_init__(self):
        if self.bandwidth is not None:
            _validate.positive("bandwidth", self.bandwidth)

    def at(self, bandwidth: float) -> GaussianKernel:
        return replace(self, bandwidth=bandwidth)

    def __call__(self, t: Floats) -> tuple[Floats, Floats, Floats]:
        h2 = _square(self.bandwidth)
        value = np.exp(-t / (2 * h2))
        return value, -value / (2 * h2), value / (4 * h2**2)


def _square(bandwidth: float | None) -> float:
    assert bandwidth is not None
    return bandwidth**2


def with_bandwidth(kernel: Kernel, x: Floats, factor: float, rng: np.random.Generator) -> Kernel:
    """The kernel at `factor` times its own bandwidth, or times the median distance of the rows if it has none."""
    return kernel.at(factor * (kernel.bandwidth or median_distance(x, rng)))


def median_distance(x: Floats, rng: np.random.Generator) -> float:
    """The median distance between two rows (of 1,000 of them at random); of those that differ, if most are equal."""
    from scipy.spatial.distance import pdist

    some = x if len(x) <= NUM_FOR_MEDIAN else x[rng.choice(len(x), NUM_FOR_MEDIAN, replace=False)]
    distances = pdist(some)
    middle = np.median(distances) or np.median(distances[distances > 0] if distances.any() else 1.0)
    return float(middle)


def squared_distances(x: Floats, y: Floats) -> Floats:
    """Between all rows of two tables, (..., n, m)."""
    inner = x @ y.swapaxes(-1, -2)
    return np.maximum(np.sum(x**2, -1)[..., :, None] + np.sum(y**2, -1)[..., None, :] - 2 * inner, 0.0)


def stein(kernel: Kernel, x: Floats, s: Floats, y: Floats, r: Floats) -> Floats:
    """The Stein kernel u between the rows of x and those of y, whose scores are s and r, (..., n, m)."""
    t = squared_distances(x, y)
    value, slope, bend = kernel(t)
    other = y.swapaxes(-1, -2), r.swapaxes(-1, -2)
    along = np.sum(s * x, -1)[..., :, None] + np.sum(r * y, -1)[..., None, :] - s @ other[0] - x @ other[1]
    return (s @ other[1]) * value - 2 * slope * (along + x.shape[-1]) - 4 * t * bend


def stein_diagonal(kernel: Kernel, s: Floats) -> Floats:
    """The Stein kernel of each row with itself."""
    value, slope, _ = kernel(np.zeros(1))
    return np.sum(s**2, -1) * value - 2 * s.shape[-1] * slope
