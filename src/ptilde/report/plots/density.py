"""What a density says of itself: its slice over two columns, the score there, its two routes, its total mass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ptilde.report.canvas import FAINT, INK, MODEL, logarithmic_scale, one, plainly, scatter, shown
from ptilde.report.slices import DEEPEST, Slice
from ptilde.report.words import CERTIFICATE_MARGIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = (-12, -8, -5, -3, -2, -1, -0.5)  # nats below the top
LONGEST = 0.06  # arrow, in widths of the picture


def plot_density(found: Slice, axes: Axes | None = None) -> Axes:
    """Contours of the log density, each shade so many nats below the top: 0.5, 1, 2, 3, 5, 8, 12.

    Args:
        found: from `ptilde.report.density_slice`.
        axes: to draw on.
    """
    axes = one(axes)
    for name, which, on_log in zip(found.names, ("x", "y"), found.logarithmic, strict=True):
        if on_log:
            logarithmic_scale(axes, which)
        (axes.set_xlabel if which == "x" else axes.set_ylabel)(shown(name))
    below = np.ma.masked_invalid(found.log_density.T)
    for level in LEVELS:
        axes.contourf(found.x, found.y, below, [level, 0.5], colors=[MODEL], alpha=0.14)
    axes.contour(found.x, found.y, below, LEVELS, colors=[MODEL], linewidths=0.5, linestyles="solid")
    axes.set_xlim(found.x[0], found.x[-1])
    axes.set_ylim(found.y[0], found.y[-1])
    plainly(axes)
    return axes


def plot_score_field(found: Slice, axes: Axes | None = None) -> Axes:
    """Arrows of the score, which point up the density, over its contours.

    An arrow shows ∇ log p with the sides of the picture as units, so it stands at right angles to the contours of a
    square picture; those beyond the 90 % quantile are as long as that.

    Args:
        found: from `ptilde.report.density_slice`.
        axes: to draw on.
    """
    axes = plot_density(found, axes)
    there = np.isfinite(found.score).all(1) & (found.height > DEEPEST)
    arrows = found.score[there]
    if not len(arrows):
        return axes
    length = np.hypot(*arrows.T)
    longest = max(float(np.quantile(length, 0.9)), 1e-12)
    arrows = arrows / np.maximum(length, longest)[:, None]
    # The sides are the units, so angles are those on a square picture, whatever the scales of the axes.
    angles = np.degrees(np.arctan2(arrows[:, 1], arrows[:, 0]))
    axes.quiver(
        *found.at[there].T,
        *arrows.T,
        angles=angles,
        scale=1 / LONGEST,
        scale_units="width",
        color=INK,
        width=0.004,
        pivot="mid",
    )
    return axes


def plot_routes(one_pass: ArrayLike, ode: ArrayLike, axes: Axes | None = None) -> Axes:
    """The log density of rows by one pass of the network against that by the probability-flow ODE.

    Args:
        one_pass: `model.score_samples(X)`.
        ode: `model.score_samples(X, method="ode")`.
        axes: to draw on.
    """
    axes = one(axes)
    x, y = (np.asarray(values, float) for values in (ode, one_pass))
    there = np.isfinite(x) & np.isfinite(y)
    scatter(axes, x[there], y[there], MODEL)
    if there.any():
        ends = [min(x[there].min(), y[there].min()), max(x[there].max(), y[there].max())]
        axes.plot(ends, ends, color=FAINT, linewidth=0.8)
    axes.set_xlabel("by the ODE, nats")
    axes.set_ylabel("by one pass, nats")
    plainly(axes)
    return axes


def plot_certificate(log_z: float, standard_error: float, axes: Axes | None = None) -> Axes:
    """The logarithm of a density's total mass with two standard errors: 0 is perfect, the shaded margins are good.

    Args:
        log_z: from `model.log_normalizer()`.
        standard_error: from there.
        axes: to draw on.
    """
    axes = one(axes)
    for margin in (CERTIFICATE_MARGIN, 3 * CERTIFICATE_MARGIN):
        axes.axvspan(-margin, margin, color=MODEL, alpha=0.15, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.errorbar([log_z], [0], xerr=[2 * standard_error], fmt="o", color=INK, capsize=4)
    reach = 1.1 * max(3 * CERTIFICATE_MARGIN, abs(log_z) + 2 * standard_error)
    axes.set_xlim(-reach, reach)
    axes.set_yticks([])
    axes.set_xlabel("log of the total mass")
    plainly(axes)
    return axes
