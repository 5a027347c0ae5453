r"""What covariates say of each amount, in one number: a column beside them.

$$\eta_j = \beta_j \cdot \varphi(x),$$

with $\varphi$ the features of the covariates and $\beta_j$ the ridge regression of amount $j$ on them, whose penalty is
chosen by leaving single rows out. A law that depends on $x$ through $\eta$ alone is a single-index model: where rows
are few and covariates many and alike, it can learn spread and shape, and a law of all of them cannot.

References:
    Ichimura (1993), Semiparametric least squares estimation of single-index models, equation 1.
    Golub, Heath & Wahba (1979), Generalized cross-validation as a method for choosing a good ridge parameter.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

NUM_SEGMENTS = 10  # of a column with many values
_PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass(frozen=True, eq=False)
class Index:
    """The index of each amount, and its knots.

    Attributes:
        effects: (k, f) of the features.
        knots: (k, T+1) quantiles of each index, increasing.
    """

    effects: NDArray[np.float64]
    knots: NDArray[np.float64]

    @classmethod
    def fit(cls, features: Any, z: Any, active: Any, weight: Any) -> "Index":
        """The index fitted to features (n, f) and amounts (n, k) where active (n, k), with weights (n,) above 0."""
        effects = ridge(features, z, active, weight)[:, 1:]
        levels = np.linspace(0, 1, NUM_SEGMENTS + 1)
        knots = np.quantile(np.asarray(features, float) @ effects.T, levels, axis=0).T
        apart = 1e-6 * (1 + np.abs(knots).max(1, initial=0.0))
        return cls(effects, np.maximum.accumulate(knots, axis=1) + apart[:, None] * np.arange(NUM_SEGMENTS + 1))


def ridge(features: Any, z: Any, active: Any, weight: Any) -> NDArray[np.float64]:
    """(k, 1+f) intercept and effects of features (n, f) on amounts (n, k), each over the rows where it is active."""
    rows = []
    for j in range(z.shape[1]):
        on = active[:, j]
        if not on.any():
            rows.append(np.zeros(1 + features.shape[1]))
            continue
        found = RidgeCV(_PENALTIES).fit(features[on], z[on, j], weight[on])
        rows.append(np.append(float(found.intercept_), np.asarray(found.coef_)))
    return np.array(rows).reshape(z.shape[1], 1 + features.shape[1])
