"""How the loss fell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptilde.report.canvas import MODEL, REAL, one, plainly

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OTHERS = ("#44aa66", "#cc6699")  # of the terms; readable on white and on black
SCORE_TERMS = "in space", "in the noise level"  # of dual score matching


def plot_training(history: Mapping[str, Any], axes: Axes | None = None, terms: Sequence[str] = ()) -> Axes:
    """The loss of a stage of the fit against its steps: of its batches, and of rows held out of them.

    Args:
        history: of one stage, such as `model.history_["scores"]`.
        axes: to draw on.
        terms: what to call the terms that the loss is made of, to have them drawn too: of scores `SCORE_TERMS`.
    """
    axes, steps = one(axes), np.asarray(history.get("step", []), float)
    curves = named_curves(history, terms)
    for (label, curve), color in zip(curves.items(), (REAL, MODEL, *OTHERS), strict=False):
        there, part = np.isfinite(curve), label not in ("rows trained on", "rows held out")
        axes.plot(steps[there], curve[there], ":" if part else "-", color=color, label=label, linewidth=1)
    if curves:
        known = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])
        high = np.quantile(known, 0.98)  # the first steps would flatten the rest
        margin = 0.05 * (high - known.min()) + 1e-9
        axes.set_ylim(known.min() - margin, high + margin)
        axes.legend(fontsize=7)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    plainly(axes)
    return axes


def named_curves(history: Mapping[str, Any], terms: Sequence[str] = ()) -> dict[str, NDArray]:
    """What a history has of loss, held-out loss and terms, each as long as its steps."""
    num = len(history.get("step", []))
    found = {"rows trained on": history.get("loss", []), "rows held out": history.get("validation", [])}
    told = history.get("terms", [])
    if terms and len(told) == num and num and len(told[0]) == len(terms):
        found |= {name: [row[i] for row in told] for i, name in enumerate(terms)}
    curves = {name: np.array([np.nan if v is None else v for v in values], float) for name, values in found.items()}
    return {name: curve for name, curve in curves.items() if len(curve) == num and np.isfinite(curve).any()}
