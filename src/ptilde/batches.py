r"""Batches that cover rows × levels × noise evenly.

Each batch is a randomly shifted lattice: point i of it is $i\alpha + u \bmod 1$ with one uniform shift $u$ a batch
(Cranley & Patterson 1976) and $\alpha$ the powers of the generalised golden ratio. The first coordinate picks the row,
the others are the uniforms that an objective asks for: the noise level and the noise itself. This takes most of the
variance out of what fixes the normalisation, the mean of $\|\varepsilon\|^2 - k$.

Points are whole numbers, in units of $2^{-32}$: their sums wrap around by themselves, and they tell the rows of a table
of $10^8$ apart, whose cumulative weights are equal in single precision.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, UInt32

_LAST = np.uint32(2**32 - 1)


class Data(NamedTuple):
    """Rows to draw from, padded so that few sizes are compiled.

    Attributes:
        rows: arrays with a leading axis of n, of what the objective reads.
        cumulative: (n,) cumulative probability of being drawn, in units of 2^-32; flat over the padding.
    """

    rows: PyTree
    cumulative: UInt32[Array, " n"]

    @classmethod
    def of(cls, rows: PyTree, weight: np.ndarray) -> "Data":
        """Rows (n, ...) drawn in proportion to their weights (n,)."""
        padding = bucket(len(weight)) - len(weight)
        cumulative = np.cumsum(np.pad(weight, (0, padding)), dtype=np.float64)
        padded = jax.tree.map(lambda a: jnp.asarray(np.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1))), rows)
        return cls(padded, jnp.asarray((cumulative / cumulative[-1] * _LAST).astype(np.uint32)))

    def take(self, point: UInt32[Array, " b"]) -> PyTree:
        """The rows at quantiles of the cumulative weights, in units of 2^-32."""
        index = jnp.searchsorted(self.cumulative, jnp.minimum(point, _LAST - 1), side="right")
        return jax.tree.map(lambda a: a[index], self.rows)


def bucket(n: int) -> int:
    """The least size compiled for at or above n: an eighth of a power of two apart, so that little is wasted."""
    step = max(64, 2 ** (max(n, 1) - 1).bit_length() // 8)
    return -(-n // step) * step


def lattice(num_points: int, shift: UInt32[Array, " m"]) -> UInt32[Array, "b m"]:
    """Points of a Kronecker lattice, shifted: rows are points (Roberts 2018, the R sequence)."""
    m = shift.size
    ratio = 2.0
    for _ in range(64):  # the positive root of g^(m+1) = g + 1
        ratio = (1 + ratio) ** (1 / (m + 1))
    alpha = ratio ** -np.arange(1.0, m + 1)
    # In float64 on the host: single precision would lose the low digits of the products.
    points = (np.arange(num_points)[:, None] * alpha) % 1.0
    return jnp.asarray((points * 2.0**32).astype(np.uint32)) + shift


def batch(objective: Any, data: Data, size: int, key: PRNGKeyArray) -> tuple[PyTree, Float[Array, "b m"]]:
    """Rows and uniforms of one batch; which lattice direction serves which use changes from step to step."""
    shift, order = jr.split(key)
    points = lattice(size, jr.bits(shift, (1 + objective.num_uniforms(data.rows),), jnp.uint32))
    u = (points[:, 1:] >> 8).astype(jnp.float32) * 2.0**-24  # 24 bits are all that single precision holds
    u = jnp.concatenate([u[:, :1], jr.permutation(order, u[:, 1:], axis=1)], axis=1)
    return data.take(points[:, 0]), u
