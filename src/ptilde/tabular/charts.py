r"""Charts: how a column's body reaches the real line before its spline.

A chart is a smooth increasing map $y(x)$ without a unit: $y = (x-a)/s$ or $\operatorname{asinh}((x-a)/s)$ on the line,
$\log(x-a)$ on a half-line, $\operatorname{logit}((x-a)/(b-a))$ on an interval. Inverses never leave the body, and are
finite.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]

_LARGEST = float(np.finfo(np.float64).max)
# exp of these are the least and the largest positive float; sinh of 710 is just below the largest.
_LEAST_LOG, _LARGEST_LOG, _LARGEST_ASINH = -744.4, 709.78, 710.0


@dataclass(frozen=True)
class Line:
    """The whole real line: $y = (x - a)/s$."""

    centre: float = 0.0
    scale: float = 1.0

    @property
    def ends(self) -> tuple[float, float]:
        """Of the body."""
        return -np.inf, np.inf

    def forward(self, x: Array) -> tuple[Array, Array]:
        r"""$y$ and $\log dy/dx$."""
        return (x - self.centre) / self.scale, np.full_like(x, -np.log(self.scale))

    def bend(self, x: Array) -> Array:
        r"""The derivative of $\log dy/dx$."""
        return np.zeros_like(x)

    def inverse(self, y: Array) -> Array:
        """The x whose chart is y, kept finite."""
        with np.errstate(over="ignore"):
            return np.clip(self.centre + self.scale * y, -_LARGEST, _LARGEST)


@dataclass(frozen=True)
class HeavyLine:
    r"""The whole real line with heavy tails: $y = \operatorname{asinh}((x - a)/s)$."""

    centre: float
    scale: float

    @property
    def ends(self) -> tuple[float, float]:
        """Of the body."""
        return -np.inf, np.inf

    def forward(self, x: Array) -> tuple[Array, Array]:
        r"""$y$ and $\log dy/dx$."""
        t = (x - self.centre) / self.scale
        return np.arcsinh(t), -np.log(np.hypot(1.0, t)) - np.log(self.scale)

    def bend(self, x: Array) -> Array:
        r"""The derivative of $\log dy/dx$."""
        t = (x - self.centre) / self.scale
        root = np.hypot(1.0, t)
        return -t / root / root / self.scale

    def inverse(self, y: Array) -> Array:
        """The x whose chart is y, kept finite."""
        with np.errstate(over="ignore"):
            x = self.centre + self.scale * np.sinh(np.clip(y, -_LARGEST_ASINH, _LARGEST_ASINH))
        return np.clip(x, -_LARGEST, _LARGEST)


@dataclass(frozen=True)
class HalfLine:
    r"""$(a, \infty)$: $y = \log(x - a)$."""

    origin: float = 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """Of the body."""
        return self.origin, np.inf

    def forward(self, x: Array) -> tuple[Array, Array]:
        r"""$y$ and $\log dy/dx$."""
        y = np.log(x - self.origin)
        return y, -y

    def bend(self, x: Array) -> Array:
        r"""The derivative of $\log dy/dx$."""
        return -1 / (x - self.origin)

    def inverse(self, y: Array) -> Array:
        """The x whose chart is y, kept inside the half-line, up to rounding, and finite."""
        return self.origin + np.exp(np.clip(y, _LEAST_LOG, _LARGEST_LOG))


@dataclass(frozen=True)
class Segment:
    r"""$(a, b)$: $y = \operatorname{logit}((x-a)/(b-a))$."""

    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float]:
        """Of the body."""
        return self.low, self.high

    def forward(self, x: Array) -> tuple[Array, Array]:
        r"""$y$ and $\log dy/dx$."""
        left, right = np.log(x - self.low), np.log(self.high - x)
        return left - right, np.log(self.high - self.low) - left - right

    def bend(self, x: Array) -> Array:
        r"""The derivative of $\log dy/dx$."""
        return 1 / (self.high - x) - 1 / (x - self.low)

    def inverse(self, y: Array) -> Array:
        """The x whose chart is y, kept inside the interval; measured from the nearer end, which keeps its digits."""
        width = self.high - self.low
        x = np.where(y < 0, self.low + width * expit(y), self.high - width * expit(-y))
        return np.clip(x, np.nextafter(self.low, np.inf), np.nextafter(self.high, -np.inf))


Chart = Line | HeavyLine | HalfLine | Segment
