"""What explains a `ScoreRegressor`, and whether its probabilities and means come true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ptilde.report.canvas import FAINT, INK, MODEL, REAL, one, plainly, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ptilde.estimators.explanations import Calibration, Dependence, Importance


def plot_importance(found: Importance, axes: Axes | None = None, most: int = 20) -> Axes:
    """By how many nats each covariate's shuffling lowers the log density, with two standard errors."""
    axes = one(axes)
    place = np.arange(min(most, len(found.names)))
    error = 2 * np.nan_to_num(found.standard_error[place])
    axes.barh(place, found.drop[place], xerr=error, color=MODEL, error_kw={"linewidth": 0.8, "ecolor": INK})
    axes.set_yticks(place, [shown(found.names[i]) for i in place])
    axes.invert_yaxis()
    axes.set_xlabel("nats lost when shuffled")
    plainly(axes)
    return axes


def plot_partial_dependence(found: Dependence, axes: Axes | None = None, what: str | float = "mean") -> Axes:
    """How the mean, the quantile or the probability of an atom goes with one covariate.

    Args:
        found: from `ScoreRegressor.partial_dependence`.
        axes: to draw on.
        what: "mean", "quantile", or the value of an atom.

    Raises:
        ValueError: if there is no such atom.
    """
    axes = one(axes)
    named = {"mean": (found.mean, "mean"), "quantile": (found.quantile, f"{found.level:.10g} quantile")}
    named |= {atom: (share, f"P(= {atom:.10g})") for atom, share in found.atoms.items()}
    if what not in named:
        raise ValueError(f"`what` must be one of {', '.join(map(repr, named))}; got {what!r}.")
    values, label = named[what]
    if all(isinstance(value, float | int) and not isinstance(value, bool) for value in found.values):
        axes.plot(np.array(found.values, float), values, color=MODEL)
    else:
        words = ["others" if value is None else shown(str(value)) for value in found.values]
        axes.plot(values, np.arange(len(values)), "o", color=MODEL)
        axes.set_yticks(np.arange(len(values)), words)
        axes.set_xlabel(label)
        axes.set_ylabel(shown(found.name))
        plainly(axes)
        return axes
    axes.set_xlabel(shown(found.name))
    axes.set_ylabel(label)
    plainly(axes)
    return axes


def plot_calibration(found: Calibration, axes: Axes | None = None) -> Axes:
    """Predicted and observed means of each bin, the latter with two standard errors: the lift chart."""
    axes = one(axes)
    place = np.arange(1, len(found.predicted) + 1)
    axes.errorbar(place, found.observed, 2 * found.standard_error, fmt="o", color=REAL, capsize=2, label="observed")
    axes.plot(place, found.predicted, color=MODEL, label="predicted")
    axes.set_xticks(place)
    axes.set_xlabel("bin, from the least predicted mean to the largest")
    axes.set_ylabel("mean")
    axes.set_ylim(0 if found.predicted.min() >= 0 else None, None)
    axes.legend()
    plainly(axes)
    return axes


def plot_reliability(found: Calibration, axes: Axes | None = None) -> Axes:
    """Observed shares of an atom against predicted probabilities, bin by bin, with two standard errors.

    Args:
        found: bins of the probability of the atom, such as `RegressorVerdict.atoms[0.0].bins`.
        axes: to draw on.
    """
    axes = one(axes)
    low, high = min(found.predicted.min(), found.observed.min()), max(found.predicted.max(), found.observed.max())
    axes.plot([low, high], [low, high], color=FAINT, linewidth=0.8)
    axes.errorbar(found.predicted, found.observed, 2 * found.standard_error, fmt="o", color=REAL, capsize=2)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("observed share")
    plainly(axes)
    return axes
