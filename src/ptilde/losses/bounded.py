r"""Score matching on bounded supports: weights that vanish at the boundary.

Where p does not vanish at the boundary, Hyvärinen's integration by parts leaves boundary terms behind, and its loss is
wrong. With weights $h_j \ge 0$ that vanish there it leaves none:

$$\tfrac12\,\mathbb E \sum_j h_j\,(s_j - \partial_j \log p)^2
  = \mathbb E \sum_j \bigl[ h_j \bigl(\tfrac12 s_j^2 + \partial_j s_j\bigr) + (\partial_j h_j)\,s_j \bigr] + c.$$

Weights grow with the distance to the boundary: that of each coordinate to its own ends (`Ends`), or that of the point
to the boundary of a region (`Distance`). Outside the support they are NaN, so that a fit stops there.

References:
    Hyvärinen (2007), Some extensions of score matching, Computational Statistics & Data Analysis 51.
    Yu, Drton & Shojaie (2019), Generalized score matching for non-negative data, JMLR 20.
    Yu, Drton & Shojaie (2022), Generalized score matching for general domains, Information and Inference 11.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ptilde import _validate
from ptilde._typing import Point, Scalar, Score
from ptilde.losses.implicit import along

Weight = Callable[[Point], Point]
"""x ↦ h(x), one weight a coordinate."""


def _numbers(values: Any) -> Any:
    return np.asarray(values, np.float64)  # cast to the data's precision where it is used


def _check_cap(cap: float) -> None:
    if cap != math.inf:
        _validate.positive("cap", cap)


def _with_slopes(f: Callable[[Point], Point], x: Point) -> tuple[Point, Point]:
    r"""$f_j(x)$ and $\partial_j f_j(x)$."""
    value, jvp = jax.linearize(f, x)
    return value, jnp.diagonal(along(jvp, jnp.eye(x.size, dtype=x.dtype)))


class Bounded(eqx.Module):
    r"""$\sum_j h_j\,(\tfrac12 s_j^2 + \partial_j s_j) + (\partial_j h_j)\,s_j$, with d products with the Jacobian.

    Args:
        weight: x ↦ h(x), that vanishes at the boundary and is differentiable almost everywhere.

    References:
        Hyvärinen (2007), Some extensions of score matching: $h_j = x_j^2$.
        Yu, Drton & Shojaie (2019), Generalized score matching for non-negative data: any h.
    """

    weight: Weight
    needs: ClassVar[Literal["score"]] = "score"

    def terms(self, score: Score, x: Point) -> Point:
        """The part of the loss that belongs to each coordinate."""
        s, ds = _with_slopes(score, x)
        h, dh = _with_slopes(self.weight, x)
        return h * (0.5 * s**2 + ds) + dh * s

    def __call__(self, score: Score, x: Point, key: PRNGKeyArray) -> Scalar:
        """Evaluate the loss at one point; nothing is drawn."""
        return jnp.sum(self.terms(score, x))


class Logarithm(eqx.Module):
    r"""$h(t) = \min(\log(1 + t), \text{cap})$.

    Args:
        cap: the largest weight.

    References:
        Yu, Drton & Shojaie (2019), Generalized score matching for non-negative data.
    """

    cap: float = 2.0

    def __check_init__(self) -> None:
        _check_cap(self.cap)

    def __call__(self, t: Array) -> Array:
        """The weight at distance t."""
        return jnp.minimum(jnp.log1p(t), self.cap)


class Power(eqx.Module):
    r"""$h(t) = \min(t^{\text{exponent}}, \text{cap})$; exponent 2 without a cap is Hyvärinen's (2007).

    Args:
        exponent: how fast the weight vanishes. It must do so fast enough for p: for a density that grows like $t^{a-1}$
            at the end, as a gamma's does, the loss has an expectation if the exponent exceeds $2 - a$.
        cap: the largest weight.
    """

    exponent: float = 1.0
    cap: float = math.inf

    def __check_init__(self) -> None:
        _validate.positive("exponent", self.exponent)
        _check_cap(self.cap)

    def __call__(self, t: Array) -> Array:
        """The weight at distance t."""
        return jnp.minimum(t**self.exponent, self.cap)


class Ends(eqx.Module):
    r"""$h_j(x) = c_j^2\,h(\text{distance}_j / c_j)$ with the distance to the nearer end; $c_j^2$ where there is no end.

    The scales $c_j$ make the loss the same in every unit of the data.

    Args:
        low: of each coordinate, or one for all; −inf where there is none.
        high: the same; inf where there is none.
        h: the weight at a distance in units of the scale.
        scale: of each coordinate, such as its standard deviation.
    """

    low: Float[Array, " #d"] = eqx.field(converter=_numbers)
    high: Float[Array, " #d"] = eqx.field(converter=_numbers)
    h: Callable[[Array], Array] = Logarithm()
    scale: Float[Array, " #d"] = eqx.field(converter=_numbers, default=1.0)

    def __check_init__(self) -> None:
        low, high, scale = (np.atleast_1d(a) for a in np.broadcast_arrays(self.low, self.high, self.scale))
        for j in range(low.size):
            if not low[j] < high[j]:
                raise ValueError(f"`low` must be below `high`; got {low[j]} and {high[j]} in coordinate {j}.")
            _validate.positive(f"scale[{j}]", scale[j])

    def __call__(self, x: Point) -> Point:
        """The weights at x."""
        low, high, scale = (
            jnp.broadcast_to(jnp.asarray(a, x.dtype), x.shape) for a in (self.low, self.high, self.scale)
        )
        endless = jnp.isinf(low) & jnp.isinf(high)
        distance = jnp.where(endless, scale, jnp.minimum(x - low, high - x))
        weight = jnp.where(endless, 1.0, self.h(distance / scale))
        return scale**2 * jnp.where(distance >= 0, weight, jnp.nan)


class Distance(eqx.Module):
    r"""$h_j(x) = $ the distance of x to the boundary of a region, the same for every j.

    Args:
        region: x ↦ that distance, negative outside; such as `Ball` or `Polytope`.

    References:
        Liu, Kanamori & Williams (2022), Estimating density models with truncation boundaries using score matching,
        JMLR 23.
    """

    region: Callable[[Point], Scalar]

    def __call__(self, x: Point) -> Point:
        """The weights at x."""
        distance = self.region(x)
        return jnp.broadcast_to(jnp.where(distance >= 0, distance, jnp.nan), x.shape)


class Ball(eqx.Module):
    r"""$\{x : \|x - \text{centre}\| \le \text{radius}\}$.

    Args:
        centre: (d,)
        radius: above zero.
    """

    centre: Float[Array, " d"] = eqx.field(converter=_numbers)
    radius: Float[Array, ""] = eqx.field(converter=_numbers)

    def __check_init__(self) -> None:
        if self.radius.ndim or not 0 < self.radius < math.inf:
            raise ValueError(f"`radius` must be one positive and finite number; got {self.radius}.")

    def __call__(self, x: Point) -> Scalar:
        """The distance of x to the sphere."""
        square = jnp.sum((x - jnp.asarray(self.centre, x.dtype)) ** 2)
        apart = square > 0  # at the centre the root has no slope: give it zero
        return jnp.asarray(self.radius, x.dtype) - jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)


class Polytope(eqx.Module):
    r"""$\{x : a_i \cdot x \le b_i\}$, such as a simplex.

    Args:
        normals: (m, d), the rows $a_i$, of any length.
        offsets: (m,)
    """

    normals: Float[Array, "m d"] = eqx.field(converter=_numbers)
    offsets: Float[Array, " m"] = eqx.field(converter=_numbers)

    def __check_init__(self) -> None:
        if self.normals.ndim != 2 or self.offsets.shape != self.normals.shape[:1]:
            raise ValueError(
                "`normals` must be a table with a row for each of the `offsets`; "
                f"got shapes {self.normals.shape} and {self.offsets.shape}."
            )
        for i, length in enumerate(np.linalg.norm(self.normals, axis=1)):
            if not 0 < length < math.inf:
                raise ValueError(f"`normals` must be finite and not zero; got {self.normals[i]} in row {i}.")

    def __call__(self, x: Point) -> Scalar:
        """The distance of x to the nearest face."""
        normals, offsets = jnp.asarray(self.normals, x.dtype), jnp.asarray(self.offsets, x.dtype)
        return jnp.min((offsets - normals @ x) / jnp.linalg.norm(normals, axis=1))
