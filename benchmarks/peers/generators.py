"""Generators of tables: they draw rows and have no density that one could hold them to.

Settings are each package's defaults but for the length of the training, chosen to end within about two minutes on two
cores, and named in the class. None knows an atom; `by_hand` is what a person would do to their draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def by_hand(draws: NDArray, fitted: NDArray, step: float | None) -> NDArray:
    """The draws with all below half of a column's smallest positive fitted value set to zero, then put on the grid."""
    least = np.array([np.min(column[column > 0], initial=np.inf) for column in fitted.T])
    kept = np.where(draws < least / 2, 0.0, draws)
    return np.round(kept / step) * step if step else kept


class Adversarial:
    """CTGAN, all defaults but the epochs: as many as make 2,000 steps, and no more than its 300."""

    name = "CTGAN"
    needs = ("ctgan", "torch")
    num_steps = 2_000

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(self, x: NDArray) -> Adversarial:
        self.model = self._model(min(300, max(1, round(self.num_steps * 500 / len(x)))))
        self.model.set_random_state(self.seed)
        self.model.fit(x)
        return self

    def sample(self, n: int, seed: int) -> NDArray:
        self.model.set_random_state(seed)
        return np.asarray(self.model.sample(n), float)

    def _model(self, epochs: int):
        from ctgan import CTGAN

        return CTGAN(epochs=epochs, enable_gpu=False)


class Variational(Adversarial):
    """TVAE of the same package, all defaults but the epochs: as many as make 4,000 steps, and no more than its 300."""

    name = "TVAE"
    num_steps = 4_000

    def _model(self, epochs: int):
        from ctgan import TVAE

        return TVAE(epochs=epochs, enable_gpu=False)


@dataclass
class GaussianCopula:
    """copulas' GaussianMultivariate with a beta law for each column, which is the default of SDV's synthesizer.

    Its own default picks a kernel density for some, whose inverse takes minutes and gigabytes at 20,000 draws.
    """

    seed: int = 0
    name = "Gaussian copula"
    needs = ("copulas",)

    def fit(self, x: NDArray) -> GaussianCopula:
        import pandas as pd
        from copulas.multivariate import GaussianMultivariate
        from copulas.univariate import BetaUnivariate

        self.model = GaussianMultivariate(distribution=BetaUnivariate, random_state=self.seed)
        self.model.fit(pd.DataFrame(x, columns=[f"x{j}" for j in range(x.shape[1])]))
        return self

    def sample(self, n: int, seed: int) -> NDArray:
        self.model.set_random_state(seed)
        return self.model.sample(n).to_numpy(float)


@dataclass
class Forest:
    """ForestDiffusion's flow by XGBoost, lighter than its defaults: 20 levels (50), 50 trees (100), 10 noises (100).

    With over 10 columns 10 levels, 20 trees and 5 noises a row: it grows a tree a column. Draws are clipped to the
    fitted range, which puts some on the zero.
    """

    seed: int = 0
    name = "ForestDiffusion flow"
    needs = ("ForestDiffusion",)

    def fit(self, x: NDArray) -> Forest:
        from ForestDiffusion import ForestDiffusionModel

        levels, trees, noises = (20, 50, 10) if x.shape[1] <= 10 else (10, 20, 5)
        self.model = ForestDiffusionModel(
            x, n_t=levels, n_estimators=trees, duplicate_K=noises, n_jobs=1, seed=self.seed
        )
        return self

    def sample(self, n: int, seed: int) -> NDArray:
        np.random.seed(seed)  # the package draws from numpy's global state
        return np.asarray(self.model.generate(batch_size=n), float)


GENERATORS = (Adversarial, Variational, GaussianCopula, Forest)
