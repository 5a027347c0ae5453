r"""Whether a density can be integrated at all, as far as rays can tell.

In d dimensions $\int q$ is finite only if the mass per unit of log radius, $r^d$ times the mean of q over directions,
falls as $r \to \infty$; and unless a ridge gets narrower, $r\,q$ must fall along every axis. Both are looked at up to
$r = 10^{12}$, or as far as the support has floating-point numbers. A density can pass and still have no integral (a
ridge between the rays, a tail that turns later); what is refused has none, but for ridges that close in.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from numpy.typing import NDArray
from scipy.special import logsumexp

from ptilde._typing import LogDensity, Point, Scalar
from ptilde.normalizer.space import Space

_RADII = 10.0 ** np.arange(1, 12.5, 0.5)
_NUM_RAYS = 16
_SLOWEST = 0.02  # what falls like r^(-0.02) or slower, nothing here could integrate
_MOST_PATTERNS = 64  # that are looked at
Floats = NDArray[np.float64]


class Slice(eqx.Module):
    """The density of the active real coordinates of one pattern.

    Args:
        log_q: of x.
        space: of x.
        z: the choices.
        places: which real coordinates are active.
    """

    log_q: LogDensity
    space: Space
    z: Array
    places: Array

    def __call__(self, v: Point) -> Scalar:
        u = self._u(v)
        return self.log_q(self.space.x(u, self.z)) + self.space.chart(self.space.active(self.z)).log_slope(u)

    def inside(self, v: Point) -> Bool[Array, ""]:
        """Whether floating-point numbers can tell the point from infinity and from the ends of the support."""
        chart = self.space.chart(self.space.active(self.z))
        x = chart.x(self._u(v))
        return jnp.all(jnp.isfinite(x) & (x > chart.low) & (x < chart.high))

    def _u(self, v: Point) -> Point:
        return jnp.zeros(len(self.space.bodies), v.dtype).at[self.places].set(v)


@eqx.filter_jit
def values(density: Slice, points: Array) -> tuple[Array, Array]:
    """Log q at points (n, k), and whether they are inside."""
    return jax.vmap(density)(points), jax.vmap(density.inside)(points)


def refuse_tails(log_q: LogDensity, space: Space, patterns: Floats, centre: Floats, scale: Floats) -> None:
    """Refuse a density that does not fall far from its centre.

    Args:
        log_q: of x.
        space: of x.
        patterns: choices (p, c).
        centre: of the real coordinates.
        scale: of the real coordinates.
    """
    random = np.random.default_rng(0)
    if len(patterns) > _MOST_PATTERNS:
        patterns = random.choice(patterns, _MOST_PATTERNS, replace=False)
    for z in patterns:
        places = np.flatnonzero(np.asarray(space.active(jnp.asarray(z))))
        k = places.size
        if not k:
            continue
        around = random.standard_normal((_NUM_RAYS, k))
        rays = np.concatenate([np.eye(k), -np.eye(k), around / np.linalg.norm(around, axis=1, keepdims=True)])
        points = centre[places] + _RADII[:, None, None] * rays * scale[places]
        density = Slice(log_q, space, jnp.asarray(z), jnp.asarray(places))
        found, inside = map(np.asarray, values(density, jnp.asarray(points.reshape(-1, k))))
        found = np.where(inside, found, np.nan).reshape(len(_RADII), -1)
        for i in range(2 * k):
            sign, column = "+" if i < k else "-", space.bodies[places[i % k]]
            _refuse(found[:, i] + np.log(_RADII), f"along {sign}x[{column}]")
        if k > 1:
            _refuse(logsumexp(found[:, 2 * k :], axis=1) + k * np.log(_RADII), "in most directions")


def _refuse(log_mass: Floats, where: str) -> None:
    usable = np.flatnonzero(~np.isnan(log_mass))[-2:]
    if len(usable) < 2 or log_mass[usable[1]] == -np.inf:
        return
    slope = np.diff(log_mass[usable])[0] / np.diff(np.log(_RADII[usable]))[0]
    if not slope < -_SLOWEST:
        raise ValueError(
            f"`log_q` must fall so fast that its integral is finite; got mass per unit of log radius that goes like "
            f"r^{slope:.3g} at r = {_RADII[usable[1]]:.1g} {where}. Check the sign of log q, or declare what bounds x "
            "in `support`."
        )
