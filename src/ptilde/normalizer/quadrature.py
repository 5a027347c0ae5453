r"""Integrals of densities over one or two real coordinates, by adaptive quadrature.

Modes are looked for first (`normalizer.peaks`). The highest gives the units, $u = m + V\operatorname{diag}(w)\,y$, and
$y = t/(1 - t^2)$ takes the line to $(-1, 1)$: a tail like $1/|u|^{1+\alpha}$ is $(1 - |t|)^{\alpha - 1}$ there.
Boxes in t are halved until they are no wider than the modes near them, and then where two Gauss-Legendre rules differ
most. The error is the sum of these differences, which are errors of the lesser rule, times a factor for poles.

An end other than 0 is seen only as near as floating-point numbers come: a pole there like $t^{a - 1}$ loses some
$10^{-16 a}$ of the mass. Write x as the distance from that end.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptilde.normalizer.charted import refuse_undefined
from ptilde.normalizer.peaks import Face, Peaks, peaks

_SAFETY = 5.0  # at a pole even the better rule is off by a few of the differences
_TOLERANCE = {1: 1e-9, 2: 1e-7}  # of the integral
_RULES = {1: (12, 8), 2: (10, 7)}  # nodes along a side
_MOST_BOXES = {1: 20_000, 2: 8_000}
_ROUNDS = 100
_REACH = 1e6  # widths within which log q must be a number
Floats = NDArray[np.float64]


def integrate(face: Face, hints: Floats) -> tuple[float, float]:
    """The log of the integral, and its relative error.

    Args:
        face: of k coordinates, one or two.
        hints: (n, k), points where there is mass.
    """
    found = peaks(face, hints)
    frame = _Frame(found.points[0], found.axes, found.widths[0])
    return _refined(face, frame, _first_boxes(frame, found))


class _Frame(NamedTuple):
    """u = m + V diag(w) t/(1 − t²)."""

    mode: Floats
    axes: Floats
    widths: Floats

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


def _first_boxes(frame: _Frame, found: Peaks) -> Floats:
    """Boxes (n, 2, k), low corner and width, each no wider than the modes near it."""
    k = found.points.shape[1]
    edges = np.linspace(-1, 1, 17 if k == 1 else 9)[:-1]
    corners = np.stack(np.meshgrid(*[edges] * k, indexing="ij"), -1).reshape(-1, k)
    boxes = np.stack([corners, np.full_like(corners, 2 / len(edges))], 1)
    for mode, width in zip(found.points, found.widths, strict=True):
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


def _refined(face: Face, frame: _Frame, boxes: Floats) -> tuple[float, float]:
    """The integral over boxes that are halved until the rules agree."""
    k = boxes.shape[2]
    done, sums, errors, top = boxes[:0], np.zeros(0), np.zeros(0), -np.inf
    total = error = 0.0
    for _ in range(_ROUNDS):
        new_sums, new_errors, new_top = _on(face, frame, boxes, top)
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


def _on(face: Face, frame: _Frame, boxes: Floats, top: float) -> tuple[Floats, Floats, float]:
    """The integral over each box by the better rule, its difference to the other, both divided by e^top."""
    k, sums, logs = boxes.shape[2], [], []
    for order in _RULES[k]:
        node, weight = np.polynomial.legendre.leggauss(order)
        nodes = np.stack(np.meshgrid(*[(node + 1) / 2] * k, indexing="ij"), -1).reshape(-1, k)
        sums.append(np.prod(np.stack(np.meshgrid(*[weight / 2] * k, indexing="ij"), -1), -1).ravel())
        t = (boxes[:, None, 0] + nodes * boxes[:, None, 1]).reshape(-1, k)
        v, log_volume = frame.u(t)
        found, near = face.values(v), (np.abs(t / (1 - t * t)) < _REACH).all(1)
        refuse_undefined(face.density, face.option, face.u(v[near]), found[near])
        found = np.where(np.isnan(found) | (found == np.inf), -np.inf, found)  # far away: nothing is known of it
        logs.append((found + log_volume).reshape(len(boxes), -1))
    top = max(top, *(float(each.max()) for each in logs))
    if top == -np.inf:
        top = 0.0
    one, other = (np.prod(boxes[:, 1], 1) * (np.exp(each - top) @ w) for each, w in zip(logs, sums, strict=True))
    return one, np.abs(one - other), top
