r"""Whether a density can be integrated at all, as far as rays can tell.

In k dimensions $\int q$ is finite only if the mass per unit of log radius, $r^k$ times the mean of q over directions,
falls as $r \to \infty$; and unless a ridge gets narrower, $r\,q$ must fall along every axis. Both are looked at up to
$r = 10^{12}$, or as far as the support has floating-point numbers. A density can pass and still have no integral (a
ridge between the rays, a tail that turns later); what is refused has none, but for ridges that close in.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from ptilde.normalizer.charted import Charted
from ptilde.normalizer.support import bodies_of

_RADII = 10.0 ** np.arange(1, 12.5, 0.5)
_NUM_RAYS = 16
_SLOWEST = 0.02  # what falls like r^(-0.02) or slower, nothing here could integrate
Floats = NDArray[np.float64]


def refuse_tails(density: Charted, options: NDArray[np.int64], centre: Floats, scale: Floats) -> None:
    """Refuse a density that does not fall far from its centre.

    Args:
        density: in charts.
        options: patterns (p, d).
        centre: of the coordinates, (d,).
        scale: of the coordinates, (d,).
    """
    random = np.random.default_rng(0)
    for option in options:
        places = bodies_of(density.columns, option)
        k = places.size
        if not k:
            continue
        around = random.standard_normal((_NUM_RAYS, k))
        rays = np.zeros((2 * k + _NUM_RAYS, len(centre)))
        rays[:, places] = np.concatenate([np.eye(k), -np.eye(k), around / np.linalg.norm(around, axis=1)[:, None]])
        points = centre + _RADII[:, None, None] * rays * scale
        found, inside = density.values(option, points.reshape(-1, len(centre)))
        found = np.where(inside, found, np.nan).reshape(len(_RADII), -1)
        for i in range(2 * k):
            sign, column = "+" if i < k else "-", places[i % k]
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
