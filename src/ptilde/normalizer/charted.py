r"""A density in the charts of its support, evaluated in blocks of one shape.

At given options (`samplers.columns`) its mass is the integral of $q(x(u)) \prod_j |dx_j/du_j|$ over the coordinates of
the bodies. One compiled program serves all patterns of options, all numbers of points, and all who ask.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from ptilde._typing import LogDensity, Point
from ptilde.samplers.columns import Columns, Options
from ptilde.samplers.jump import Slice

_BLOCK = 4096
Floats = NDArray[np.float64]


class Charted(eqx.Module):
    """log q of coordinates u, where each column stands at an option.

    Args:
        log_q: of x.
        columns: of x.
    """

    log_q: LogDensity
    columns: Columns

    def values(self, option: NDArray[np.int64], u: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Log q at u (n, d), each at its options, (n, d) or (d,), and whether floating-point numbers reach there.

        Where they do not, log q is −inf.
        """
        option, parts = np.broadcast_to(option, u.shape), []
        for i in range(0, len(u), _BLOCK):
            pad = ((0, max(i + _BLOCK - len(u), 0)), (0, 0))
            block = (jnp.asarray(np.pad(each[i : i + _BLOCK], pad, "edge")) for each in (option, u))
            parts.append(_values(self, *block))
        found, inside = (np.concatenate(part)[: len(u)] for part in zip(*parts, strict=True))
        return found, inside

    def slopes(self, option: NDArray[np.int64], u: Floats) -> tuple[Floats, Floats]:
        """Gradients (n, d) and Hessians (n, d, d) of log q; 0 where they are not defined."""
        first, second = _slopes(self, jnp.asarray(option), jnp.asarray(u))
        return np.nan_to_num(np.asarray(first)), np.nan_to_num(np.asarray(second))

    def x(self, option: NDArray[np.int64], u: Floats) -> list[float]:
        """One point."""
        return np.asarray(self.columns.x(jnp.asarray(option), jnp.asarray(u))).tolist()


@eqx.filter_jit
def _values(density: Charted, option: Array, u: Array) -> tuple[Array, Array]:
    def value(option: Options, u: Point) -> tuple[Array, Array]:
        x = density.columns.x(option, u)
        inside = jnp.all(density.columns.inside(x) | ~density.columns.active(option))
        return jnp.where(inside, Slice(density.log_q, density.columns, option)(u), -jnp.inf), inside

    return jax.vmap(value)(option, u)


@eqx.filter_jit
def _slopes(density: Charted, option: Array, u: Array) -> tuple[Array, Array]:
    log_q = Slice(density.log_q, density.columns, option)
    return jax.vmap(jax.grad(log_q))(u), jax.vmap(jax.hessian(log_q))(u)


def refuse_undefined(density: Charted, option: NDArray[np.int64], u: Floats, found: Floats) -> None:
    """Refuse log q that is NaN or +inf at a point."""
    wrong = np.isnan(found) | (found == np.inf)
    if wrong.any():
        i = int(np.argmax(wrong))
        at = density.x(np.broadcast_to(option, u.shape)[i], u[i])
        raise ValueError(f"`log_q` must be a number below infinity; got {found[i]} at {at}. Correct it there.")
