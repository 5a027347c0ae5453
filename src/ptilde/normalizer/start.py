"""Where particles start: a wide law of known density on the support."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import NDArray

from ptilde._typing import Point, Scalar
from ptilde.samplers.columns import Columns

_DEGREES = 4.0  # few, so that no tail of the mass is out of reach
_WIDE = 3.0  # standard deviations in units of the chart, where nothing is known
Floats = NDArray[np.float64]


class Start(eqx.Module):
    r"""$\pi_0$: every option uniform, and the bodies, in their charts, by Student's t with four degrees.

    Args:
        columns: of x.
        mean: of u.
        root: L, lower triangular, of the scale $LL^\top$; diagonal where columns have a choice, so that those in
            their bodies have their law whichever they are.
        inverse: of L.
    """

    columns: Columns
    mean: Float[Array, " d"]
    root: Float[Array, "d d"]
    inverse: Float[Array, "d d"]

    @classmethod
    def of(cls, columns: Columns, mean: Floats, root: Floats) -> "Start":
        """With the inverse that belongs to it."""
        return cls(columns, *map(jnp.asarray, (mean, root, np.linalg.inv(root))))

    def __call__(self, x: Point) -> Scalar:
        """Log density: of k active columns, of their multivariate t, times the slopes of their charts."""
        option, u = self.columns.split(x)
        active = self.columns.active(option)
        k, noise = jnp.sum(active), jnp.where(active, self.inverse @ (u - self.mean), 0.0)
        norm = gammaln((_DEGREES + k) / 2) - math.lgamma(_DEGREES / 2) - k / 2 * math.log(_DEGREES * math.pi)
        tail = -(_DEGREES + k) / 2 * jnp.log1p(noise @ noise / _DEGREES)
        units = jnp.log(jnp.diagonal(self.root)) + self.columns.log_slope(u)
        counts = float(np.sum(np.log(self.columns.num_options)))
        return norm + tail - jnp.sum(jnp.where(active, units, 0.0)) - counts


@eqx.filter_jit
def first(start: Start, key: PRNGKeyArray, num: int) -> Float[Array, "num d"]:
    """Draws of the start."""
    key_option, key_scale, key_u = jr.split(key, 3)
    shape = (num, start.mean.size)
    option = jr.randint(key_option, shape, 0, jnp.asarray(start.columns.num_options))
    scale = jnp.sqrt(_DEGREES / jr.chisquare(key_scale, _DEGREES, (num, 1)))
    return jax.vmap(start.columns.x)(option, start.mean + scale * jr.normal(key_u, shape) @ start.root.T)


def spread(hints: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviations (d,) of coordinates (n, d), widened; NaN are none, and no hints are 0 and 3."""
    known = np.isfinite(hints)
    num = known.sum(0)
    mean = np.where(known, hints, 0.0).sum(0) / np.maximum(num, 1)
    variance = np.where(known, hints - mean, 0.0) ** 2
    std = 1.5 * np.sqrt(variance.sum(0) / np.maximum(num, 1))
    return mean, np.where((num > 1) & (std > 0), std, _WIDE)
