"""Numbers and pictures of a fitted model, and the one HTML page that shows them."""

from ptilde.report.machine import of_model
from ptilde.report.numbers import Verdict, measure, measure_tables
from ptilde.report.page import write_page
from ptilde.report.phrases import Finding
from ptilde.report.plots import plot_calibration, plot_importance, plot_partial_dependence
from ptilde.report.regressor import RegressorVerdict, measure_regressor
from ptilde.report.slices import density_slice

__all__ = [
    "Finding",
    "RegressorVerdict",
    "Verdict",
    "density_slice",
    "measure",
    "measure_regressor",
    "measure_tables",
    "of_model",
    "plot_calibration",
    "plot_importance",
    "plot_partial_dependence",
    "write_page",
]
