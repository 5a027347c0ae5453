"""Models in files, as estimators."""

from typing import Any

import numpy as np

from ptilde import modelfile
from ptilde.estimators.density import ScoreDensity
from ptilde.estimators.regressor import ScoreRegressor


def load(path: Any) -> Any:
    """The model in a file that `save` wrote: a ScoreDensity or a ScoreRegressor.

    Raises:
        ModelFileError: if the file is not such a file, or no longer is.
    """
    fitted = modelfile.load(path)
    facts = fitted.facts
    if fitted.covariates is None:
        model: Any = ScoreDensity(random_state=facts["seed"])
        model._joint = fitted.joint
    else:
        model = ScoreRegressor(n_estimators=len(fitted.joint), random_state=facts["seed"])
        model._members, model._covariates, model._single = fitted.joint, fitted.covariates, facts["single"]
    model.schema_, model._template, model._encoder = fitted.schema, fitted.template, fitted.encoder
    model.seed_, model.n_iter_ = facts["seed"], facts["n_iter"]
    model.fit_seconds_, model.history_ = facts["fit_seconds"], facts["history"]
    model.n_features_in_ = len(fitted.template.names)
    if facts["names"]:
        model.feature_names_in_ = np.array(facts["names"], dtype=object)
    return model
