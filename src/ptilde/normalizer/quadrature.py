r"""Integrals of densities over one or two real coordinates, by adaptive quadrature.

Modes are looked for first, on a grid of logarithmic distances and uphill from there, since log q shows the way to peaks
that q itself is too narrow to show. The highest gives the units, $u = m + V\operatorname{diag}(w)\,y$, and
$y = t/(1 - t^2)$ takes the line to $(-1, 1)$: a tail like $1/|u|^{1+\alpha}$ is $(1 - |t|)^{\alpha - 1}$ there.
Boxes in t are halved until they are no wider than the modes near them, and then where two Gauss-Legendre rules differ
most. The error is the sum of these differences, which are errors of the lesser rule, times a factor for poles.

An end other than 0 is seen only as near as floating-point numbers come: a pole there like $t^{a - 1}$ loses some
$10^{-16 a}$ of the mass. Write x as the distance from that end.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from ptilde.normalizer.tails import Slice, values

_SAFETY = 5.0  # at a pole even the better rule is off by a few of the differences
_TOLERANCE = {1: 1e-9, 2: 1e-7}  # of the integral
_RULES = {1: (12, 8), 2: (10, 7)}  # nodes along a side
_MOST_BOXES = {1: 20_000, 2: 8_000}
_ROUNDS = 100
_BLOCK = 4096  # points that are evaluated at a time
_NUM_MODES = 24
_NEGLIGIBLE = 40.0  # a mode so many nats lower holds nothing
_REACH = 1e6  # widths within which log q must be a number
Floats = NDArray[np.float64]


def integrate(density: Slice, hints: Floats) -> tuple[float, float]:
    """The log of the integral, and its relative error.

    Args:
        density: of k coordinates, one or two.
        hints: (n, k), points where there is mass.
    """
    modes, widths, axes = _modes(density, hints)
    frame = _Frame(modes[0], axes, widths[0])
    boxes = _first_boxes(frame, modes, widths)
    return _refined(density, frame, boxes)


class _Frame:
    """u = m + V diag(w) t/(1 − t²)."""

    def __init__(self, mode: Floats, axes: Floats, widths: Floats) -> None:
        self.mode, self.axes, self.widths = mode, axes, widths

    def u(self, t: Floats) -> tuple[Floats, Floats]:
        """Points, and the log of the volume that t has there."""
        y = t / (1 - t * t)
        log_slope = np.log1p(t * t) - 2 * np.log1p(-t * t) + np.log(self.widths)
        return self.mode + (y * self.widths) @ self.axes.T, log_slope.sum(-1)

    def t(self, u: Floats) -> Floats:
        y = (u - self.mode) @ self.axes / self.widths
        return 2 * y / (1 + np.sqrt(1 + 4 * y * y))

    def spread(self, u: Floats, width: Floats) -> Floats:
        """How wide a mode at u is in t."""
        t = self.t(u)
        return width / self.widths * (1 - t * t) ** 2 / (1 + t * t)


def _log_q(density: Slice, points: Floats) -> Floats:
    """Log q in blocks of one shape; −inf where floating-point numbers end."""
    parts = []
    for i in range(0, len(points), _BLOCK):
        block = points[i : i + _BLOCK]
        padded = np.concatenate([block, np.repeat(block[-1:], _BLOCK - len(block), 0)])
        found, inside = map(np.asarray, values(density, jnp.asarray(padded)))
        parts.append(np.where(inside, found, -np.inf)[: len(block)])
    return np.concatenate(parts)


def _modes(density: Slice, hints: Floats) -> tuple[Floats, Floats, Floats]:
    """Modes (m, k), the highest first, their widths along the axes (k, k) of that one."""
    k = density.places.size
    centres = hints if len(hints) else np.zeros((1, k))
    radii = np.concatenate([[0.0], 10.0 ** np.arange(-2, 6.01, 0.25 if k == 1 else 0.5)])
    signed = np.concatenate([-radii[:0:-1], radii])
    around = np.stack(np.meshgrid(*[signed] * k, indexing="ij"), -1)
    grid = np.nan_to_num(_log_q(density, (centres.mean(0) + around).reshape(-1, k)), nan=-np.inf)
    tops = _tops(grid.reshape(around.shape[:-1]))
    starts = np.concatenate([centres[:_NUM_MODES], (centres.mean(0) + around)[tops][: 2 * _NUM_MODES]])
    starts = np.concatenate([starts, np.repeat(starts[:1], 3 * _NUM_MODES - len(starts), 0)])
    points, heights = map(np.asarray, _uphill(density, jnp.asarray(starts)))
    heights = np.where(np.isnan(heights), -np.inf, heights)
    if not np.isfinite(heights).any():
        raise ValueError(
            f"`log_q` must be finite somewhere near `x0` (0 if not given); got {heights.max()} wherever it was "
            "looked at. Give `x0` where there is mass, or the `support`."
        )
    points = points[np.argsort(-heights)][: np.isfinite(heights).sum()]
    _, first = np.unique(np.round(points, 6), axis=0, return_index=True)
    points = points[np.sort(first)][:_NUM_MODES]
    axes = np.asarray(_axes(density, jnp.asarray(points[0])))
    widths = np.array([_widths(density, point, axes) for point in points])
    heights = _log_q(density, points) + np.log(widths).sum(1)
    kept = heights > heights.max() - _NEGLIGIBLE
    order = np.argsort(-heights[kept])
    return points[kept][order], widths[kept][order], axes


def _tops(grid: Floats) -> tuple[NDArray[np.intp], ...]:
    """Where a grid is no less than its neighbours, the highest first."""
    padded = np.pad(grid, 1, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3,) * grid.ndim)
    top = (grid >= around.max(tuple(range(grid.ndim, 2 * grid.ndim)))) & np.isfinite(grid)
    order = np.argsort(-grid[top], kind="stable")
    return tuple(index[order] for index in np.nonzero(top))


@eqx.filter_jit
def _uphill(density: Slice, starts: Array) -> tuple[Array, Array]:
    """Where Newton's steps with the absolute curvature lead, each as long as serves best."""
    lengths = 2.0 ** jnp.arange(6.0, -54.0, -1.0)

    def height(u: Array) -> Array:
        value = jnp.where(density.inside(u), density(u), -jnp.inf)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    def step(_: Array, u: Array) -> Array:
        slope, curvature = jnp.nan_to_num(jax.grad(density)(u)), jnp.nan_to_num(jax.hessian(density)(u))
        curvatures, axes = jnp.linalg.eigh(curvature)
        move = axes @ ((axes.T @ slope) / jnp.maximum(jnp.abs(curvatures), 1e-6))
        points = jnp.concatenate([u[None], u + lengths[:, None] * move])
        return points[jnp.argmax(jax.vmap(height)(points))]

    def climb(u: Array) -> Array:
        return jax.lax.fori_loop(0, 40, step, u)

    ends = jax.vmap(climb)(starts)
    return ends, jax.vmap(height)(ends)


@eqx.filter_jit
def _axes(density: Slice, mode: Array) -> Array:
    return jnp.linalg.eigh(jnp.nan_to_num(jax.hessian(density)(mode)))[1]


def _widths(density: Slice, mode: Floats, axes: Floats) -> Floats:
    """How far one has to go along each axis for q to fall by e^(-1/2), on either side: their geometric mean."""
    radii = 10.0 ** np.arange(-10, 10.01, 0.25)
    directions = np.concatenate([axes.T, -axes.T])
    points = mode + radii[:, None, None] * directions
    found = _log_q(density, np.concatenate([mode[None], points.reshape(-1, len(mode))]))
    fallen = ~(found[1:].reshape(points.shape[:2]) > found[0] - 0.5)
    first = radii[np.where(fallen.any(0), fallen.argmax(0), len(radii) - 1)]
    return np.sqrt(first[: len(mode)] * first[len(mode) :])


def _first_boxes(frame: _Frame, modes: Floats, widths: Floats) -> Floats:
    """Boxes (n, 2, k), low corner and width, each no wider than the modes near it."""
    k = modes.shape[1]
    edges = np.linspace(-1, 1, 17 if k == 1 else 9)[:-1]
    corners = np.stack(np.meshgrid(*[edges] * k, indexing="ij"), -1).reshape(-1, k)
    boxes = np.stack([corners, np.full_like(corners, 2 / len(edges))], 1)
    for mode, width in zip(modes, widths, strict=True):
        at, reach = frame.t(mode), 4 * frame.spread(mode, width)
        for _ in range(_ROUNDS):
            near = ((boxes[:, 0] <= at + reach) & (boxes[:, 0] + boxes[:, 1] >= at - reach)).all(1)
            wide = near & (boxes[:, 1] > np.maximum(reach, 1e-14)).any(1)
            if not wide.any() or len(boxes) > _MOST_BOXES[k] // 2:
                break
            boxes = np.concatenate([boxes[~wide], _halved(boxes[wide])])
    return boxes


def _halved(boxes: Floats) -> Floats:
    """The 2^k halves of boxes."""
    k = boxes.shape[2]
    sides = np.stack(np.meshgrid(*[[0.0, 0.5]] * k, indexing="ij"), -1).reshape(-1, k)
    corners = boxes[:, None, 0] + sides * boxes[:, None, 1]
    return np.stack([corners, np.broadcast_to(boxes[:, None, 1] / 2, corners.shape)], 2).reshape(-1, 2, k)


def _refined(density: Slice, frame: _Frame, boxes: Floats) -> tuple[float, float]:
    """The integral over boxes that are halved until the rules agree."""
    k = boxes.shape[2]
    done, sums, errors, top = boxes[:0], np.zeros(0), np.zeros(0), -np.inf
    total = error = 0.0
    for _ in range(_ROUNDS):
        new_sums, new_errors, new_top = _on(density, frame, boxes, top)
        shrink = np.exp(top - new_top) if np.isfinite(top) else 0.0
        done, top = np.concatenate([done, boxes]), new_top
        sums, errors = np.append(shrink * sums, new_sums), np.append(shrink * errors, new_errors)
        total, error = sums.sum(), errors.sum()
        split = (errors > _TOLERANCE[k] * total / len(errors)) & (done[:, 1] > 1e-13).all(1)
        if error <= _TOLERANCE[k] * total or not split.any() or len(done) > _MOST_BOXES[k]:
            break
        boxes, done, sums, errors = _halved(done[split]), done[~split], sums[~split], errors[~split]
    if not total > 0:
        raise ValueError("`log_q` must be finite on a set of positive volume; got -inf almost everywhere.")
    return float(np.log(total) + top), float(_SAFETY * error / total)


def _on(density: Slice, frame: _Frame, boxes: Floats, top: float) -> tuple[Floats, Floats, float]:
    """The integral over each box by the better rule, its difference to the other, both divided by e^top."""
    k, sums, logs = boxes.shape[2], [], []
    for order in _RULES[k]:
        node, weight = np.polynomial.legendre.leggauss(order)
        nodes = np.stack(np.meshgrid(*[(node + 1) / 2] * k, indexing="ij"), -1).reshape(-1, k)
        weights = np.prod(np.stack(np.meshgrid(*[weight / 2] * k, indexing="ij"), -1), -1).ravel()
        t = (boxes[:, None, 0] + nodes * boxes[:, None, 1]).reshape(-1, k)
        u, log_volume = frame.u(t)
        found = _log_q(density, u)
        wrong = np.isnan(found) | (found == np.inf)
        _refuse_undefined(density, u, found, wrong & (np.abs(t / (1 - t * t)) < _REACH).all(1))
        logs.append((np.where(wrong, -np.inf, found) + log_volume).reshape(len(boxes), -1))
        sums.append(weights)
    top = max(top, *(float(each.max()) for each in logs))
    if top == -np.inf:
        top = 0.0
    one, other = (np.prod(boxes[:, 1], 1) * (np.exp(each - top) @ w) for each, w in zip(logs, sums, strict=True))
    return one, np.abs(one - other), top


def _refuse_undefined(density: Slice, u: Floats, found: Floats, wrong: NDArray[np.bool_]) -> None:
    if wrong.any():
        i = int(np.argmax(wrong))
        z, active = density.z, density.space.active(density.z)
        full = np.zeros(len(density.space.bodies))
        full[np.flatnonzero(np.asarray(active))] = u[i]
        x = np.asarray(density.space.x(jnp.asarray(full), z)).tolist()
        raise ValueError(f"`log_q` must be a number below infinity; got {found[i]} at {x}. Correct it there.")
