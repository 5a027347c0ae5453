"""A score given as a function of one point, evaluated at rows with JAX; loaded only where one is given."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from ptilde import _cache
from ptilde._typing import Score
from ptilde.losses import Hyvarinen

_cache.enable()

AT_ONCE = 4096


@eqx.filter_jit
def _rows(score: Score, x: Float[Array, "n d"]) -> Array:
    return jax.lax.map(score, x, batch_size=AT_ONCE)


@eqx.filter_jit
def _losses(score: Score, x: Float[Array, "n d"]) -> Array:
    return jax.lax.map(lambda row: Hyvarinen()(score, row, jax.random.key(0)), x, batch_size=AT_ONCE)


def at_rows(score: Score, x: NDArray) -> NDArray[np.float64]:
    """The score at each row."""
    return np.asarray(_rows(score, jax.numpy.asarray(x)), float)


def hyvarinen(score: Score, x: NDArray) -> NDArray[np.float64]:
    """The loss tr ∇s + ‖s‖²/2 at each row."""
    return np.asarray(_losses(score, jax.numpy.asarray(x)), float)
