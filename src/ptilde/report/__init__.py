"""Numbers and pictures of a fitted model, and the one HTML page that shows them."""

from ptilde.report.numbers import Verdict, measure, measure_tables
from ptilde.report.page import write_page
from ptilde.report.regression import plot_calibration, plot_importance, plot_partial_dependence
from ptilde.report.words import Finding

__all__ = [
    "Finding",
    "Verdict",
    "measure",
    "measure_tables",
    "plot_calibration",
    "plot_importance",
    "plot_partial_dependence",
    "write_page",
]
