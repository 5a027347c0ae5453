"""scikit-learn's face of the library: tables in, tables out. No mathematics here."""

from ptilde.estimators.density import ScoreDensity
from ptilde.estimators.files import load
from ptilde.estimators.regressor import ScoreRegressor

__all__ = ["ScoreDensity", "ScoreRegressor", "load"]
