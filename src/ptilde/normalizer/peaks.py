"""Modes of a density of one or two coordinates, and how wide they are.

On a grid of logarithmic distances, and uphill from there by Newton's steps with the absolute curvature, each as long as
serves best: log q shows the way to peaks that q itself is too narrow to show.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptilde.normalizer.charted import Charted

_NUM_MODES = 24
_NEGLIGIBLE = 40.0  # a mode so many nats lower holds nothing
_STEPS = 40
_LENGTHS = np.append(0.0, 2.0 ** np.arange(5, -50, -1.0))  # of a step, in Newton's
Floats = NDArray[np.float64]


class Face(NamedTuple):
    """A density of some of the coordinates, at given options of all columns.

    Attributes:
        density: of all.
        option: of each column.
        places: which coordinates they are.
    """

    density: Charted
    option: NDArray[np.int64]
    places: NDArray[np.int64]

    def u(self, v: Floats) -> Floats:
        """All coordinates (n, d) of v (n, k)."""
        u = np.zeros((len(v), self.option.size))
        u[:, self.places] = v
        return u

    def values(self, v: Floats) -> Floats:
        """Log q at v (n, k)."""
        return self.density.values(self.option, self.u(v))[0]

    def slopes(self, v: Floats) -> tuple[Floats, Floats]:
        """Its gradients and Hessians."""
        first, second = self.density.slopes(self.option, self.u(v))
        return first[:, self.places], second[:, self.places][:, :, self.places]


class Peaks(NamedTuple):
    """Modes (m, k), the highest first, their widths (m, k) along the axes (k, k) of that one."""

    points: Floats
    widths: Floats
    axes: Floats


def peaks(face: Face, hints: Floats) -> Peaks:
    """The modes that hints (n, k) and a grid around them lead to."""
    points = _uphill(face, _starts(face, hints))
    heights = _numbers(face.values(points))
    if not np.isfinite(heights).any():
        raise ValueError(
            f"`log_q` must be finite somewhere near `x0` (0 if not given); got {heights.max()} wherever it was "
            "looked at. Give `x0` where there is mass, or the `support`."
        )
    axes = np.linalg.eigh(face.slopes(points)[1][np.argmax(heights)])[1]
    points = points[np.argsort(-heights)][: np.isfinite(heights).sum()]
    _, first = np.unique(np.round(points, 6), axis=0, return_index=True)
    points = points[np.sort(first)][:_NUM_MODES]
    widths = np.array([_widths(face, point, axes) for point in points])
    masses = face.values(points) + np.log(widths).sum(1)
    order = np.argsort(-masses)
    order = order[masses[order] > masses.max() - _NEGLIGIBLE]
    return Peaks(points[order], widths[order], axes)


def _starts(face: Face, hints: Floats) -> Floats:
    """Points (3 · 24, k): hints, and where a grid around their mean is no less than its neighbours."""
    k = face.places.size
    centres = hints if len(hints) else np.zeros((1, k))
    radii = np.concatenate([[0.0], 10.0 ** np.arange(-2, 6.01, 0.25 if k == 1 else 0.5)])
    signed = np.concatenate([-radii[:0:-1], radii])
    around = centres.mean(0) + np.stack(np.meshgrid(*[signed] * k, indexing="ij"), -1)
    grid = _numbers(face.values(around.reshape(-1, k))).reshape(around.shape[:-1])
    beside = np.lib.stride_tricks.sliding_window_view(np.pad(grid, 1, constant_values=-np.inf), (3,) * k)
    tops = (grid >= beside.max(tuple(range(k, 2 * k)))) & np.isfinite(grid)
    highest = around[tops][np.argsort(-grid[tops], kind="stable")]
    starts = np.concatenate([centres[:_NUM_MODES], highest[: 2 * _NUM_MODES]])
    return np.concatenate([starts, np.repeat(starts[:1], 3 * _NUM_MODES - len(starts), 0)])  # one shape


def _uphill(face: Face, points: Floats) -> Floats:
    """Where Newton's steps lead."""
    for _ in range(_STEPS):
        slope, curvature = face.slopes(points)
        curvatures, axes = np.linalg.eigh(curvature)
        with np.errstate(over="ignore", invalid="ignore"):  # at a pole
            along = np.einsum("nij,ni->nj", axes, slope) / np.maximum(np.abs(curvatures), 1e-6)
            ways = points[:, None] + _LENGTHS[:, None] * np.einsum("nij,nj->ni", axes, along)[:, None]
        best = np.argmax(_numbers(face.values(ways.reshape(-1, points.shape[1]))).reshape(ways.shape[:2]), 1)
        points = ways[np.arange(len(points)), best]
        if not best.any():
            break
    return points


def _numbers(found: Floats) -> Floats:
    """NaN and inf are no heights."""
    return np.where(np.isnan(found) | (found == np.inf), -np.inf, found)


def _widths(face: Face, mode: Floats, axes: Floats) -> Floats:
    """How far one has to go along each axis for q to fall by e^(-1/2), on either side: their geometric mean."""
    radii = 10.0 ** np.arange(-10, 10.01, 0.25)
    directions = np.concatenate([axes.T, -axes.T])
    points = mode + radii[:, None, None] * directions
    found = face.values(np.concatenate([mode[None], points.reshape(-1, len(mode))]))
    fallen = ~(found[1:].reshape(points.shape[:2]) > found[0] - 0.5)
    first = radii[np.where(fallen.any(0), fallen.argmax(0), len(radii) - 1)]
    return np.sqrt(first[: len(mode)] * first[len(mode) :])
