"""Pictures for notebooks, the same that stand on the page: axes in, axes out; those of a new figure if none are given.

Tables are frames, 2-D arrays, or mappings from column name to 1-D array. What a model says comes as numbers first:
`ptilde.report.density_slice`, `model.history_["scores"]`, `regressor.calibration(X, y)`. Names are drawn as they are,
never read as mathematics. Blue is real, orange is the model.
"""

from ptilde.report.plots.density import plot_certificate, plot_density, plot_routes, plot_score_field
from ptilde.report.plots.marginals import plot_marginals, plot_pit, plot_quantiles
from ptilde.report.plots.regression import (
    plot_calibration,
    plot_importance,
    plot_partial_dependence,
    plot_reliability,
)
from ptilde.report.plots.together import plot_correlations, plot_pairs, plot_patterns
from ptilde.report.plots.training import plot_training

__all__ = [
    "plot_calibration",
    "plot_certificate",
    "plot_correlations",
    "plot_density",
    "plot_importance",
    "plot_marginals",
    "plot_pairs",
    "plot_partial_dependence",
    "plot_patterns",
    "plot_pit",
    "plot_quantiles",
    "plot_reliability",
    "plot_routes",
    "plot_score_field",
    "plot_training",
]
