"""Imputers: a column's own values, the nearest rows' values, chained regressions.

Each has `fit(x)`, of whole rows, and `impute(holed, num, seed) -> (num, n, d)`: so many times the rows with their empty
cells drawn.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray


class ColumnWise:
    """Values of the column, whatever else is in the row."""

    name = "column-wise"

    def fit(self, x: NDArray) -> ColumnWise:
        self.x = x
        return self

    def impute(self, holed: NDArray, num: int, seed: int) -> NDArray:
        rng = np.random.default_rng([seed, 1])
        drawn = np.stack([rng.choice(column, (num, len(holed))) for column in self.x.T], axis=2)
        return np.where(np.isnan(holed), drawn, holed)


class HotDeck:
    """Values of one of the nearest fitted rows, by mean square distance of normal scores of the cells that are there.

    Andridge & Little (2010), A review of hot deck imputation for survey non-response, International Statistical Review
    78, Section 3: random among the k nearest, all cells of a row from one donor.
    """

    name = "hot deck, 10 nearest"
    num_donors = 10

    def fit(self, x: NDArray) -> HotDeck:
        from sklearn.preprocessing import QuantileTransformer

        self.x = x
        self.scores = QuantileTransformer(output_distribution="normal", subsample=None, random_state=0).fit(x)
        self.z = self.scores.transform(x)
        return self

    def impute(self, holed: NDArray, num: int, seed: int) -> NDArray:
        rng = np.random.default_rng([seed, 2])
        z = self.scores.transform(holed)  # NaN stays
        drawn = np.empty((num, *holed.shape))
        for i, row in enumerate(z):
            there = ~np.isnan(row)
            # Among equals, as rows of zeros are, chance decides.
            apart = ((self.z[:, there] - row[there]) ** 2).sum(1) + 1e-9 * rng.random(len(self.z))
            near = np.argpartition(apart, self.num_donors)[: self.num_donors]
            drawn[:, i] = self.x[rng.choice(near, num)]
        return np.where(np.isnan(holed), drawn, holed)


class Chained:
    """scikit-learn's IterativeImputer: Bayesian ridge regressions of log(1 + x), draws below zero set to zero."""

    name = "chained Bayesian ridge"

    def fit(self, x: NDArray) -> Chained:
        self.x = x
        return self

    def impute(self, holed: NDArray, num: int, seed: int) -> NDArray:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401
        from sklearn.impute import IterativeImputer

        drawn = []
        for i in range(num):
            imputer = IterativeImputer(sample_posterior=True, max_iter=10, random_state=1000 * seed + i)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                imputer.fit(np.log1p(np.concatenate([self.x, holed])))
                drawn.append(np.expm1(np.maximum(imputer.transform(np.log1p(holed)), 0.0)))
        return np.where(np.isnan(holed), np.stack(drawn), holed)


class MeanMatching:
    """statsmodels' MICE: chained regressions of log(1 + x), each cell the value of a row with a like prediction.

    Ten cycles, then a draw after every second one.
    """

    name = "chained mean matching (MICE)"
    needs = ("statsmodels",)

    def fit(self, x: NDArray) -> MeanMatching:
        self.x = x
        return self

    def impute(self, holed: NDArray, num: int, seed: int) -> NDArray:
        import pandas as pd
        from statsmodels.imputation.mice import MICEData

        names, empty = [f"x{j}" for j in range(holed.shape[1])], np.isnan(holed).all(1)  # which it drops
        np.random.seed(seed)  # its only door for a seed  # noqa: NPY002
        chain = MICEData(pd.DataFrame(np.log1p(np.concatenate([self.x, holed[~empty]])), columns=names))
        chain.update_all(10)
        drawn = self.x[np.random.default_rng([seed, 3]).integers(len(self.x), size=(num, len(holed)))]
        for i in range(num):
            chain.update_all(2)
            drawn[i, ~empty] = np.expm1(chain.data[names].to_numpy()[len(self.x) :])
        return np.where(np.isnan(holed), drawn, holed)
