"""Unnormalised densities, estimated, sampled, normalised and checked through their score.

Public names are imported on first use (PEP 562), so that `import ptilde` loads neither JAX nor pandas.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Categorical",
    "Count",
    "DataError",
    "Interval",
    "ModelFileError",
    "Positive",
    "Real",
    "Schema",
    "ScoreDensity",
    "ScoreRegressor",
    "SemiContinuous",
    "Stream",
    "datasets",
    "diagnostics",
    "estimate",
    "fit",
    "inference",
    "load",
    "log_normalizer",
    "losses",
    "models",
    "sample",
    "samplers",
]

_KINDS = ("Categorical", "Count", "Interval", "Positive", "Real", "Schema", "SemiContinuous")
_HOMES = {
    **dict.fromkeys(("ScoreDensity", "ScoreRegressor", "load"), "ptilde.estimators"),
    **dict.fromkeys(_KINDS, "ptilde.tabular.schema"),
    **dict.fromkeys(("DataError", "ModelFileError"), "ptilde._validate"),
    "Stream": "ptilde.tabular.stream",
    "estimate": "ptilde.inference",
    "log_normalizer": "ptilde.normalizer",
    "sample": "ptilde.sampling",
}
_SUBMODULES = frozenset({"datasets", "diagnostics", "fit", "inference", "losses", "models", "samplers"})

if TYPE_CHECKING:  # what editors and type checkers see
    from ptilde import datasets, diagnostics, fit, inference, losses, models, samplers
    from ptilde._validate import DataError, ModelFileError
    from ptilde.estimators import ScoreDensity, ScoreRegressor, load
    from ptilde.inference import estimate
    from ptilde.normalizer import log_normalizer
    from ptilde.sampling import sample
    from ptilde.tabular.schema import Categorical, Count, Interval, Positive, Real, Schema, SemiContinuous
    from ptilde.tabular.stream import Stream


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"ptilde.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value  # the next look-up does not come here
        return value
    raise AttributeError(f"module 'ptilde' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
