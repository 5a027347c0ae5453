"""Numbers and pictures of a fitted model, and the one HTML page that shows them."""

from ptilde.report.numbers import Finding, Verdict, measure
from ptilde.report.page import write_page

__all__ = ["Finding", "Verdict", "measure", "write_page"]
