r"""Whether a density has an integral, as far as draws and rays through them can tell.

On the ray $m + rv$ its mass has one if $r^k q$ falls, $\frac{d \log q}{d \log r} < -k$, far out; with all nearby rays,
k = d, by itself, k = 1.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ptilde._typing import Point

_FAR = 1e15  # where squares in float32 are near their end
_RAYS = (2.0, 1e1, 1e3, 1e6, 1e9)  # times the distance of a draw from the middle
_PLACES = 32  # draws at which the target is looked at
_MANY = 0.25  # of the rays through draws


def endless(target: Any, x: Float[Array, "n d"], rays: bool = True) -> bool:
    """Whether draws have left the numbers, or log q does not lead them back.

    Args:
        target: `Density` or `Field`.
        x: draws.
        rays: whether to look along rays, too, and not only at draws.
    """
    if not jnp.max(jnp.abs(x)) < _FAR:  # NaN, too
        return True
    if not rays:
        return False
    through_draws, axes = _open(target, few(x))
    return float(jnp.mean(through_draws)) >= _MANY or bool(jnp.any(axes))


def few(x: Float[Array, "n d"]) -> Float[Array, "place d"]:
    """Some of the draws, evenly."""
    return x[np.linspace(0, len(x) - 1, _PLACES).astype(int)]


@eqx.filter_jit
def _open(target: Any, x: Float[Array, "n d"]) -> tuple[Bool[Array, " n"], Bool[Array, " 2*d"]]:
    """Along which rays q has no integral, at any distance: of those through draws, and of the axes."""
    middle = jnp.mean(x, 0)
    spread = jnp.diag(jnp.std(x, 0))

    def falls(v: Point, r: Array, k: int) -> Array:
        there = target.at(middle + r * v)
        return ~(r * jnp.vdot(there.score, v) > -k) | ~(there.log_q > -jnp.inf)

    def is_open(v: Point, k: int) -> Array:
        return jnp.any(v != 0) & ~jnp.any(jax.vmap(lambda r: falls(v, r, k))(jnp.asarray(_RAYS, x.dtype)))

    rays = jax.vmap(lambda v: is_open(v, x.shape[1]))(x - middle)
    return rays, jax.vmap(lambda v: is_open(v, 1))(jnp.concatenate([spread, -spread]))
