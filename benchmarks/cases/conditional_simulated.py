r"""A known law of y given 20 covariates, with atoms at 0 and 250; 100,000 rows to fit, 25,000 fresh ones to judge.

Sixteen covariates are normal with correlation 0.3, four are levels; half of all matter. With the features
$\varphi(x) = (1, x_0, x_1, |x_2|, x_3 x_4, \sin 2x_5, x_6, [g = b], [g = c])$ the states (0, 250, body) have a
multinomial logit in $\varphi$ and the logs of the body are normal, their mean and log standard deviation linear in
$\varphi$. The model with the true features has these, and its coefficients by maximum likelihood. KL is the truth's
mean held-out log P(bin) less the model's; against a body that is hundreds wide, the bin is narrow.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from benchmarks import conditional
from benchmarks.harness import OURS, Floor, Options, Rows
from benchmarks.peers.regressors import Hurdle, lognormals
from ptilde import ScoreRegressor

FITTED, FRESH, ATOMS = 100_000, 25_000, np.array([0.0, 250.0])
#            1    x0   x1   |x2| x3x4 sin  x6   b    c
ZERO = [0.8, 0.5, -0.4, 0.4, 0.0, 0.3, 0.0, 0.4, -0.3]
DEDUCTIBLE = [-1.6, 0.3, 0.0, 0.0, 0.4, 0.0, -0.3, 0.0, 0.5]
MEAN = [6.5, 0.3, 0.2, 0.0, 0.2, 0.3, 0.0, -0.3, 0.2]
LOG_SD = [-0.3, 0.1, 0.0, 0.1, 0.0, 0.0, 0.15, 0.0, 0.0]
METRICS = conditional.METRICS | {
    "KL": "Kullback-Leibler divergence of the model from the truth in nats, from log P(bin)",
    "KL by density": "the same from log densities",
}


def notes() -> list[str]:
    return []


def _features(X: Any) -> NDArray:
    x = X[[f"x{j}" for j in range(7)]].to_numpy()
    columns = [np.ones(len(x)), x[:, 0], x[:, 1], np.abs(x[:, 2]), x[:, 3] * x[:, 4], np.sin(2 * x[:, 5]), x[:, 6]]
    return np.column_stack([*columns, X["g0"] == "b", X["g0"] == "c"])


class Truth:
    name = "truth"
    logits = np.column_stack([ZERO, DEDUCTIBLE, np.zeros(9)])
    theta = np.concatenate([MEAN, LOG_SD])

    def fit(self, X: Any, y: NDArray) -> Truth:
        return self

    def law(self, X: Any) -> Hurdle:
        at = _features(X)
        mean, sd = at @ self.theta[:9], np.exp(at @ self.theta[9:])
        shares = softmax(at @ self.logits, axis=1)[:, :2]
        body = partial(lognormals, np.ones((len(at), 1)), mean[:, None], sd[:, None])
        return Hurdle(ATOMS, shares, body, np.exp(mean + sd**2 / 2))

    def log_density(self, X: Any, y: NDArray) -> NDArray:
        at = _features(X)
        z = (np.log(np.maximum(y, 1e-9)) - at @ self.theta[:9]) / np.exp(at @ self.theta[9:])
        shares, state = softmax(at @ self.logits, axis=1), _states(y)
        inside = -0.5 * z**2 - at @ self.theta[9:] - 0.5 * np.log(2 * np.pi) - np.log(np.maximum(y, 1e-9))
        return np.log(shares[np.arange(len(y)), state]) + np.where(state == 2, inside, 0.0)


class TrueFeatures(Truth):
    name = "true features, maximum likelihood"

    def fit(self, X: Any, y: NDArray) -> TrueFeatures:
        at, state = _features(X), _states(y)
        states = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-8, max_iter=2000).fit(at, state)
        self.logits = states.coef_.T
        at, logs = at[state == 2], np.log(y[state == 2])

        def loss(theta: NDArray) -> tuple[float, NDArray]:
            log_sd = at @ theta[9:]
            z = (logs - at @ theta[:9]) / np.exp(log_sd)
            slope = np.concatenate([-(z / np.exp(log_sd)) @ at, (1 - z**2) @ at])
            return np.mean(0.5 * z**2 + log_sd), slope / len(logs)

        start = np.concatenate([np.linalg.lstsq(at, logs, rcond=None)[0], np.zeros(9)])
        self.theta = minimize(loss, start, jac=True, method="L-BFGS-B", tol=1e-12).x
        return self


def _states(y: NDArray) -> NDArray:
    return np.where(y == 0, 0, np.where(y == ATOMS[1], 1, 2))


FLOORS = [
    Floor(
        "KL(truth || fit) at most .01 nats beyond that of the true features",
        lambda m: m[OURS]["KL"] - m[TrueFeatures.name]["KL"],
        lambda value: value <= 0.01,
    ),
    Floor("90 % intervals cover .90 ± .01", lambda m: m[OURS]["cover"], lambda value: abs(value - 0.9) <= 0.01),
]


def simulated(n: int, rng: np.random.Generator) -> conditional.Part:
    x = np.sqrt(0.7) * rng.normal(size=(n, 16)) + np.sqrt(0.3) * rng.normal(size=(n, 1))
    X = pd.DataFrame(x, columns=[f"x{j}" for j in range(16)])
    for j, levels in enumerate(("abc", "abcde", "ab", "abcdefghij")):
        X[f"g{j}"] = pd.Categorical(rng.choice(list(levels), n), list(levels))
    at = _features(X)
    state = (softmax(at @ Truth.logits, axis=1).cumsum(1) < rng.random((n, 1))).sum(1)
    amount = np.exp(at @ Truth.theta[:9] + np.exp(at @ Truth.theta[9:]) * rng.normal(size=n))
    return conditional.Part(X, np.choose(np.minimum(state, 2), [0.0, ATOMS[1], amount]))


def measure(seed: int, options: Options, picture: Path | None) -> Rows:
    rng = np.random.default_rng([seed, 6])
    train, test = simulated(FITTED, rng), simulated(FRESH, rng)

    def by_density(model: ScoreRegressor) -> dict[str, float]:
        gap = Truth().log_density(test.X, test.y) - model.score_samples(test.X, test.y)
        return {"KL by density": float(gap.mean())}

    rows = conditional.measure(train, test, seed, options, picture, (TrueFeatures(), Truth()), by_density)
    if Truth.name in rows:
        for row in filter(None, rows.values()):
            row["KL"] = rows[Truth.name]["log P(bin)"] - row["log P(bin)"]
    return rows
