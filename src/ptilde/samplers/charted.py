r"""Charts of half-lines and intervals, in which chains and particles move freely.

$u = \log(x - a)$, $-\log(b - x)$ or $\log\frac{x-a}{b-x}$; the density of u is $q(x(u))\,|dx/du|$.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ptilde._typing import LogDensity, Point, Scalar


class Charted(eqx.Module):
    """A log density in the coordinates of a chart of its support.

    Args:
        log_q: of x.
        low: ends of each coordinate; −inf where there is none.
        high: the same; inf where there is none.
    """

    log_q: LogDensity
    low: Float[Array, " d"]
    high: Float[Array, " d"]

    def x(self, u: Point) -> Point:
        """The point with these coordinates."""
        both, left, right = self._ends()
        low, high = jnp.where(both | left, self.low, 0.0), jnp.where(both | right, self.high, 0.0)
        near = jnp.exp(jnp.where(left, u, jnp.where(right, -u, 0.0)))  # the distance to the only end
        one = jnp.where(left, low + near, high - near)
        return jnp.where(both, low + (high - low) * jax.nn.sigmoid(u), jnp.where(left | right, one, u))

    def u(self, x: Point) -> Point:
        """The coordinates of a point inside."""
        both, left, right = self._ends()
        above = jnp.log(jnp.where(both | left, x - self.low, 1.0))
        below = jnp.log(jnp.where(both | right, self.high - x, 1.0))
        return jnp.where(both | left | right, above - below, x)

    def log_slope(self, u: Point) -> Scalar:
        """The log of |dx/du|."""
        both, left, right = self._ends()
        log_width = jnp.log(jnp.where(both, self.high - self.low, 1.0))
        inside = log_width + jax.nn.log_sigmoid(u) + jax.nn.log_sigmoid(-u)
        return jnp.sum(jnp.where(both, inside, 0.0) + jnp.where(left, u, 0.0) - jnp.where(right, u, 0.0))

    def __call__(self, u: Point) -> Scalar:
        """The log density of the coordinates."""
        return self.log_q(self.x(u)) + self.log_slope(u)

    def _ends(self) -> tuple[Array, Array, Array]:
        low, high = jnp.isfinite(self.low), jnp.isfinite(self.high)
        return low & high, low & ~high, high & ~low
