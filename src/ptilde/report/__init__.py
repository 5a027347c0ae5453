"""Numbers and pictures of a fitted model, and the one HTML page that shows them."""

from ptilde.report.numbers import Finding, Verdict, measure
from ptilde.report.page import write_page
from ptilde.report.regression import plot_calibration, plot_importance, plot_partial_dependence

__all__ = [
    "Finding",
    "Verdict",
    "measure",
    "plot_calibration",
    "plot_importance",
    "plot_partial_dependence",
    "write_page",
]
