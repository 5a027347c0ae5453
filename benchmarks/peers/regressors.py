r"""Laws of a non-negative y given X, by the models that people use; each has `fit(X, y)` and `law(X)`.

A law of n rows has `cdf(y, strict)`, the probability of values up to y (n, m) or only below it, and `mean()`, as ours
has. X is a pandas frame of numbers, with empty cells, and categories. Linear models and nets see numbers standardised
(median and a flag for an empty cell) and levels one-hot, those of fewer than 50 rows together; LightGBM sees the frame.

* Tweedie: $N \sim$ Poisson($\lambda$) claims, each gamma, $\mathrm{E}Y = \mu(x)$, $\mathrm{Var}Y = \phi\mu^p$; the
  mean is fitted at $p = 1.5$, then $p$ and $\phi$ by maximum likelihood.
* Hurdle: $P(Y = 0 \mid x)$, and a lognormal or gamma law of what is above zero, one shape for all rows.
* Censored logistic regression (the default of crch for rain): $\sqrt Y = \max(0, \mu + s\,\epsilon)$, $\epsilon$
  logistic, $\mu$ linear in the mean and $\log s$ in log(sd + .01) of the square roots of the ensemble.

References:
    Jørgensen (1987), Exponential dispersion models, Section 4: compound Poisson laws.
    Messner, Mayr, Wilks & Zeileis (2014), Extending extended logistic regression, equation 8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import brentq, minimize
from scipy.special import digamma, expit, gammainc, logsumexp, ndtr
from scipy.stats import gamma, poisson
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, TweedieRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

RARE, HELD_OUT, POWER = 50, 0.1, 1.5


def features(sparse: bool = True) -> Any:
    """From a frame to the numbers of a linear model or a net."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    levels = OneHotEncoder(min_frequency=RARE, handle_unknown="infrequent_if_exist", sparse_output=sparse)
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (levels, make_column_selector(dtype_include="category")),
        sparse_threshold=float(sparse),
    )


@dataclass
class Hurdle:
    """Points with shares (n, A); what is left is for a body above zero with a distribution function and a mean."""

    points: NDArray
    shares: NDArray
    body: Callable[[NDArray], NDArray]
    body_mean: NDArray

    def cdf(self, y: NDArray, strict: bool = False) -> NDArray:
        below = np.less if strict else np.less_equal
        total = (1 - self.shares.sum(1))[:, None] * np.where(y > 0, self.body(np.maximum(y, 1e-9)), 0.0)
        for point, share in zip(self.points, self.shares.T, strict=True):
            total += np.where(below(point, y), share[:, None], 0.0)
        return total

    def mean(self) -> NDArray:
        return self.shares @ self.points + (1 - self.shares.sum(1)) * self.body_mean


def lognormals(share: NDArray, mean: NDArray, sd: NDArray, y: NDArray) -> NDArray:
    """(n, m) the distribution function at y of mixtures of lognormals, all (n, K)."""
    logs, total = np.log(y), np.zeros(y.shape)
    for w, m, s in zip(share.T, mean.T, sd.T, strict=True):
        total += w[:, None] * ndtr((logs - m[:, None]) / s[:, None])
    return total


class Marginal:
    """The law that does not know X: the share of zeros, and a normal kernel on the logs of the rest."""

    name = "marginal"

    def fit(self, X: Any, y: NDArray) -> Marginal:
        logs = np.log(y[y > 0])
        width = 0.9 * min(logs.std(), np.subtract(*np.quantile(logs, [0.75, 0.25])) / 1.34) * len(logs) ** -0.2
        edges = np.linspace(logs.min() - 6 * width, logs.max() + 6 * width, 20_001)
        density = gaussian_filter1d(np.histogram(logs, edges)[0] / len(logs), width / (edges[1] - edges[0]), truncate=6)
        self.edges, self.up_to = edges, np.append(0.0, np.cumsum(density))
        self.zero, self.mean = np.mean(y == 0), y[y > 0].mean()
        return self

    def law(self, X: Any) -> Hurdle:
        body = lambda y: np.interp(np.log(y), self.edges, self.up_to)  # noqa: E731
        return Hurdle(np.zeros(1), np.full((len(X), 1), self.zero), body, np.full(len(X), self.mean))


@dataclass
class CompoundPoisson:
    """Tweedie laws with means mu (n,)."""

    mu: NDArray
    power: float
    phi: float

    @property
    def parts(self) -> tuple[NDArray, float, NDArray]:
        """The rate of claims, and the shape and scale of each."""
        p, phi = self.power, self.phi
        return self.mu ** (2 - p) / (phi * (2 - p)), (2 - p) / (p - 1), phi * (p - 1) * self.mu ** (p - 1)

    def cdf(self, y: NDArray, strict: bool = False) -> NDArray:
        rate, shape, scale = (np.reshape(part, (-1, 1)) for part in self.parts)
        above = np.maximum(y, 0.0) / scale
        total = np.exp(-rate) * (y > 0 if strict else y >= 0)
        for k in range(1, int(poisson.isf(1e-10, rate.max())) + 1):
            total = total + poisson.pmf(k, rate) * gammainc(k * shape, above)
        return total

    def log_prob(self, y: NDArray) -> NDArray:
        rate, shape, scale = self.parts
        k, there = np.arange(1, int(poisson.isf(1e-10, rate.max())) + 2), y > 0
        terms = poisson.logpmf(k, rate[there, None]) + gamma.logpdf(y[there, None], k * shape, scale=scale[there, None])
        value = -rate
        value[there] = logsumexp(terms, axis=1)
        return value

    def mean(self) -> NDArray:
        return self.mu

    @classmethod
    def shaped(cls, mu: NDArray, y: NDArray) -> tuple[float, float]:
        """The power and the dispersion of most likelihood, by 20,000 rows at most."""
        mu, y = mu[:20_000], y[:20_000]
        made = lambda t: cls(mu, 1 + float(np.clip(expit(t[0]), 0.02, 0.98)), float(np.exp(t[1])))  # noqa: E731
        start = np.log(np.mean((y - mu) ** 2 / mu**POWER))
        best = minimize(lambda t: -made(t).log_prob(y).mean(), [0.0, start], method="Nelder-Mead", tol=1e-3).x
        return made(best).power, made(best).phi


class TweedieLinear:
    name = "Tweedie GLM"

    def fit(self, X: Any, y: NDArray) -> TweedieLinear:
        self.unit = y.mean()
        self.model = make_pipeline(features(), TweedieRegressor(power=POWER, alpha=1e-3, link="log", max_iter=1000))
        self.model.fit(X, y / self.unit)
        self.shape = CompoundPoisson.shaped(self.law_mean(X), y)
        return self

    def law_mean(self, X: Any) -> NDArray:
        return self.model.predict(X) * self.unit

    def law(self, X: Any) -> CompoundPoisson:
        return CompoundPoisson(self.law_mean(X), *self.shape)


class HurdleLinear:
    """Logistic regression of zero, normal linear regression of the logs."""

    name = "hurdle GLM, lognormal"

    def fit(self, X: Any, y: NDArray) -> HurdleLinear:
        some = y > 0
        self.zero = make_pipeline(features(), LogisticRegression(max_iter=1000)).fit(X, y == 0)
        self.logs = make_pipeline(features(), Ridge(1.0)).fit(X[some], np.log(y[some]))
        self.sd = np.std(np.log(y[some]) - self.logs.predict(X[some]))
        return self

    def law(self, X: Any) -> Hurdle:
        mean, sd = self.logs.predict(X)[:, None], np.full((len(X), 1), self.sd)
        body = partial(lognormals, np.ones_like(mean), mean, sd)
        return Hurdle(np.zeros(1), self.zero.predict_proba(X)[:, [1]], body, np.exp(mean + sd**2 / 2)[:, 0])


@dataclass
class Boosted:
    """LightGBM; trees stop being added when a tenth of the rows, held out, no longer gains."""

    seed: int = 0
    needs = ("lightgbm",)

    def _grown(self, kind: str, X: Any, target: NDArray, held: NDArray, **chosen: Any) -> Any:
        import lightgbm

        settings = {"n_estimators": 2000, "learning_rate": 0.03, "num_leaves": 15, "min_child_samples": 50}
        model = getattr(lightgbm, kind)(**settings, **chosen, random_state=self.seed, verbose=-1, n_jobs=1)
        stop = lightgbm.early_stopping(50, verbose=False)
        return model.fit(X[~held], target[~held], eval_X=X[held], eval_y=target[held], callbacks=[stop])

    def _held(self, y: NDArray) -> NDArray:
        return np.random.default_rng(self.seed).random(len(y)) < HELD_OUT


class BoostedTweedie(Boosted):
    name = "LightGBM Tweedie"

    def fit(self, X: Any, y: NDArray) -> BoostedTweedie:
        held, self.unit = self._held(y), y.mean()
        chosen = {"objective": "tweedie", "tweedie_variance_power": POWER}
        self.model = self._grown("LGBMRegressor", X, y / self.unit, held, **chosen)
        self.shape = CompoundPoisson.shaped(self.model.predict(X[held]) * self.unit, y[held])
        return self

    def law(self, X: Any) -> CompoundPoisson:
        return CompoundPoisson(self.model.predict(X) * self.unit, *self.shape)


class BoostedLognormal(Boosted):
    name = "hurdle LightGBM, lognormal"

    def fit(self, X: Any, y: NDArray) -> BoostedLognormal:
        held, some = self._held(y), y > 0
        self.zero = self._grown("LGBMClassifier", X, (y == 0).astype(int), held)
        self._fit_body(X[some], y[some], held[some])
        return self

    def _fit_body(self, X: Any, y: NDArray, held: NDArray) -> None:
        self.logs = self._grown("LGBMRegressor", X, np.log(y), held)
        self.sd = np.sqrt(np.mean((np.log(y[held]) - self.logs.predict(X[held])) ** 2))

    def _body(self, X: Any) -> tuple[Callable, NDArray]:
        mean, sd = self.logs.predict(X)[:, None], np.full((len(X), 1), self.sd)
        return partial(lognormals, np.ones_like(mean), mean, sd), np.exp(mean + sd**2 / 2)[:, 0]

    def law(self, X: Any) -> Hurdle:
        return Hurdle(np.zeros(1), self.zero.predict_proba(X)[:, [1]], *self._body(X))


class BoostedGamma(BoostedLognormal):
    name = "hurdle LightGBM, gamma"

    def _fit_body(self, X: Any, y: NDArray, held: NDArray) -> None:
        self.means = self._grown("LGBMRegressor", X, y, held, objective="gamma")
        ratio = y[held] / self.means.predict(X[held])
        gap = np.mean(ratio - np.log(ratio)) - 1  # log k - ψ(k) at the likeliest shape k
        self.shape = brentq(lambda k: np.log(k) - digamma(k) - gap, 1e-3, 1e3)

    def _body(self, X: Any) -> tuple[Callable, NDArray]:
        mean = self.means.predict(X)
        return lambda y: gammainc(self.shape, y * self.shape / mean[:, None]), mean


class CensoredLogistic:
    name = "censored logistic regression"

    def fit(self, X: Any, y: NDArray) -> CensoredLogistic:
        root, at = np.sqrt(y), self._features(X)

        def loss(theta: NDArray) -> float:
            mean, scale = self._parts(theta, at)
            z = (root - mean) / scale
            inside = -np.abs(z) - 2 * np.log1p(np.exp(-np.abs(z))) - np.log(scale)
            return -np.mean(np.where(y > 0, inside, -np.logaddexp(0.0, -z)))

        self.theta = minimize(loss, [0.0, 1.0, 0.0, 0.0], method="Nelder-Mead", options={"maxiter": 4000}).x
        return self

    def _features(self, X: Any) -> tuple[NDArray, NDArray]:
        members = np.sqrt(np.asarray(X, float))
        return members.mean(1), np.log(members.std(1, ddof=1) + 0.01)

    def _parts(self, theta: NDArray, at: tuple[NDArray, NDArray]) -> tuple[NDArray, NDArray]:
        return theta[0] + theta[1] * at[0], np.exp(np.clip(theta[2] + theta[3] * at[1], -10, 10))

    def law(self, X: Any) -> Hurdle:
        mean, scale = (part[:, None] for part in self._parts(self.theta, self._features(X)))
        zero, u = expit(-mean / scale), (np.arange(2000) + 0.5) / 2000
        expected = np.mean(np.maximum(mean + scale * (np.log(u) - np.log1p(-u)), 0.0) ** 2, axis=1)
        body = lambda y: (expit((np.sqrt(y) - mean) / scale) - zero) / (1 - zero)  # noqa: E731
        return Hurdle(np.zeros(1), zero, body, expected / (1 - zero[:, 0]))
