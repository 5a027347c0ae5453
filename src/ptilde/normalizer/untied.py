r"""Coordinates that are untied from each other: what particles have shown of a law, taken out of it.

Column by column, in an order that puts those first that the others depend on,

$$u_j = b_j^\top\varphi(z) + e^{c_j^\top\psi(z)}\,v_j, \qquad \varphi(z) = (1, z, z^2), \quad
  \psi(z) = (1, z, \sqrt{1 + z^2}),$$

z the columns before j, in units of their spread. A Gaussian becomes standard by that, and so do a funnel, where one
column sets the scale of others, and a banana, where one bends another. Of any other law v has what is left. The map has
an inverse whatever its numbers are, and the logarithm of its volume is $\sum_j c_j^\top\psi$: a bad one costs time, and
nothing else. In ψ z is held within ±5, so that no scale runs away.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from ptilde._typing import LogDensity, Point, Scalar
from ptilde.samplers.columns import Columns

_ROUNDS = 5  # of means given scales, and scales given means
_CLEAR = 4.0  # standard errors beyond which a bend or a scale that varies is believed
_OF_USE = 0.9  # of the variance is left at most by bends; of less use they only lead astray beyond what was seen
_DEGREES = 4.0  # of the law of residuals, by which distant ones count for less
_REACH = 5.0  # of z within ψ
_LITTLE = 1e-8  # of the diagonal, where columns are one and the same
Floats = NDArray[np.float64]


class Untied(eqx.Module):
    """v ↦ u.

    Args:
        order: of columns.
        centre: of z.
        unit: of z.
        mean: b, by column.
        log_scale: c, by column.
    """

    order: Int[Array, " d"]
    centre: Float[Array, " d"]
    unit: Float[Array, " d"]
    mean: Float[Array, "d 2*d+1"]
    log_scale: Float[Array, "d 2*d+1"]

    def __call__(self, v: Point) -> tuple[Point, Scalar]:
        """The point, and the logarithm of the growth of volume."""

        def column(so_far: tuple[Point, Scalar], j: Array) -> tuple[tuple[Point, Scalar], None]:
            z, log_volume = so_far
            log_scale = self.log_scale[j] @ _scales(jnp, z)
            u = self.mean[j] @ _means(jnp, z) + jnp.exp(log_scale) * v[j]
            return (z.at[j].set((u - self.centre[j]) / self.unit[j]), log_volume + log_scale), None

        (z, log_volume), _ = jax.lax.scan(column, (jnp.zeros_like(v), jnp.zeros((), v.dtype)), self.order)
        return self.centre + self.unit * z, log_volume

    @classmethod
    def plain(cls, mean: Floats, std: Floats) -> "Untied":
        """Of columns that do not depend on each other: v in units of a spread, from a mean."""
        d, constant = len(mean), np.eye(1, 2 * len(mean) + 1)
        zero, one = np.zeros(d), np.ones(d)
        parts = map(jnp.asarray, (zero, one, mean[:, None] * constant, np.log(std)[:, None] * constant))
        return cls(jnp.arange(d), *parts)

    @classmethod
    def fitted(cls, u: Floats, weight: Floats) -> "Untied":
        """By the residuals of weighted particles u (n, d), means and scales in turn."""
        d = u.shape[1]
        centre = np.median(u, axis=0)
        unit = np.sqrt(weight @ (u - centre) ** 2)
        unit = np.where(unit > 0, unit, 1.0)
        z = (u - centre) / unit
        order = _order(z, weight)
        mean, log_scale = np.zeros((2, d, 2 * d + 1))
        for k, j in enumerate(order):
            places = np.concatenate([[0], 1 + np.sort(order[:k]), 1 + d + np.sort(order[:k])]).astype(int)
            law = _column(u[:, j], _means(np, z)[:, places], _scales(np, z)[:, places], weight, k)
            mean[j, places], log_scale[j, places] = law.mean, law.log_scale
        parts = map(jnp.asarray, (centre, unit, mean, log_scale))
        return cls(jnp.asarray(order), *parts)


class Pulled(eqx.Module):
    """log q as a density of v.

    Args:
        log_q: of x.
        columns: of x, all of them bodies.
        untied: v ↦ u.
    """

    log_q: LogDensity
    columns: Columns
    untied: Untied

    def x(self, v: Point) -> Point:
        """The point."""
        return self.columns.x(jnp.asarray(self.columns.num_atoms), self.untied(v)[0])

    def __call__(self, v: Point) -> Scalar:
        """Evaluate it at one point."""
        u, log_volume = self.untied(v)
        x = self.columns.x(jnp.asarray(self.columns.num_atoms), u)
        return self.log_q(x) + jnp.sum(self.columns.log_slope(u)) + log_volume


def _means(xp, z):
    return xp.concatenate([xp.ones_like(z[..., :1]), z, z**2], -1)


def _scales(xp, z):
    z = xp.clip(z, -_REACH, _REACH)
    return xp.concatenate([xp.ones_like(z[..., :1]), z, xp.sqrt(1 + z**2)], -1)


class _Law(NamedTuple):
    """Of a column given those before it."""

    mean: Floats
    log_scale: Floats


def _order(z: Floats, weight: Floats) -> NDArray[np.int64]:
    """Those first that explain most of the distances and the bends of the others."""
    d = z.shape[1]
    distance, explains = np.log(np.abs(z) + 1e-12), np.zeros(d)
    for j in range(d):
        line = np.stack([np.ones(len(z)), z[:, j]], 1)
        of_scale = _explained(distance, _scales(np, z[:, [j]]), weight)
        bend = _explained(z, _means(np, z[:, [j]]), weight) - _explained(z, line, weight)
        explains[j] = np.sum(np.delete(np.maximum(of_scale, bend), j))
    return np.argsort(-explains, kind="stable")


def _explained(y: Floats, features: Floats, weight: Floats) -> Floats:
    """R² of each column of y."""
    left = y - features @ _regressed(y, features, weight)[0]
    total = weight @ (y - weight @ y) ** 2
    return 1 - (weight @ left**2) / np.where(total > 0, total, 1.0)


def _column(y: Floats, means: Floats, scales: Floats, weight: Floats, num_before: int) -> _Law:
    """Means given scales and scales given means in turn; squares and scales that are not clear are left out."""
    always = np.arange(1 + num_before)
    mean, log_scale = np.zeros(means.shape[1]), np.zeros(scales.shape[1])
    left = y - np.median(y)
    for _ in range(_ROUNDS):
        log_scale = _clear(np.log(np.abs(left) + 1e-12 * np.abs(left).max() + 1e-300), scales, weight, always[:1])
        s = scales @ log_scale
        log_scale[0] += _robust(left, s, weight)
        s = scales @ log_scale
        count = (_DEGREES + 1) / (_DEGREES + (left * np.exp(-s)) ** 2)
        mean = _bent(y, means, weight * np.exp(-2 * (s - s.min())) * count, always)
        left = y - means @ mean
    log_scale[0] += 0.5 * np.log(weight @ (left * np.exp(-scales @ log_scale)) ** 2 + 1e-300)
    return _Law(mean, log_scale)


def _bent(y: Floats, means: Floats, weight: Floats, always: NDArray[np.int64]) -> Floats:
    """Coefficients with those squares that are clear, if they are of use."""
    curved = _clear(y, means, weight, always)
    straight = np.zeros_like(curved)
    straight[always] = _regressed(y, means[:, always], weight)[0]
    left = [weight @ (y - means @ found) ** 2 for found in (curved, straight)]
    return curved if left[0] < _OF_USE * left[1] else straight


def _robust(left: Floats, s: Floats, weight: Floats) -> float:
    """By how much log scales s fall short of residuals."""
    return float(0.5 * np.log(weight @ (left * np.exp(-s)) ** 2 + 1e-300))


def _clear(y: Floats, features: Floats, weight: Floats, always: NDArray[np.int64]) -> Floats:
    """Coefficients of those features that are always wanted or clearly there."""
    weight = weight / weight.sum()
    keep = np.arange(features.shape[1])
    while True:
        slope, error = _regressed(y, features[:, keep], weight)
        unclear = np.abs(slope) < _CLEAR * error
        unclear &= ~np.isin(keep, always)
        if not unclear.any():
            break
        keep = keep[~unclear]
    found = np.zeros(features.shape[1])
    found[keep] = slope
    return found


def _regressed(y: Floats, features: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Coefficients of weighted least squares, and their standard errors whatever the variances are."""
    gram = (features * weight[:, None]).T @ features
    size = np.sqrt(np.diagonal(gram))
    inverse = np.linalg.inv(gram / np.outer(size, size) + _LITTLE * np.eye(len(size))) / np.outer(size, size)
    slope = inverse @ ((features * weight[:, None]).T @ y)
    if y.ndim > 1:
        return slope, np.zeros_like(slope)
    influence = (features * (weight * (y - features @ slope))[:, None]) @ inverse
    return slope, np.linalg.norm(influence, axis=0)
