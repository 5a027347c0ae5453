"""Types that more than one layer speaks of."""

from collections.abc import Callable
from typing import Any, Protocol

from jaxtyping import Array, Float

Point = Float[Array, " d"]
Scalar = Float[Array, ""]

LogDensity = Callable[[Point], Scalar]
"""x ↦ log q(x), up to a constant."""

Score = Callable[[Point], Point]
"""x ↦ ∇ₓ log q(x)."""

NoisyScore = Callable[[Point, Scalar], Point]
"""(x, log σ) ↦ ∇ₓ log p(x, σ), of the data blurred by N(0, σ²I)."""

NoisyLogDensity = Callable[[Point, Scalar], Scalar]
"""(x, log σ) ↦ log p(x, σ), the log density of the data blurred by N(0, σ²I)."""


class GaussianBase(Protocol):
    """The Gaussian that a noise-conditional density starts from: its active columns, its axes and its spectrum."""

    active: Any
    rotation: Any

    def signal(self, sigma: Any) -> Any:
        """The share of each direction's variance that is signal at noise σ; 0 where inactive."""
        ...
