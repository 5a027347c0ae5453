"""Claims whose law is known, zero or log-normal, with two covariates and an exposure; and one fit of it."""

from functools import cache

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from ptilde import Positive, ScoreRegressor, SemiContinuous

ROWS, STEPS = 1600, 200
KIND = SemiContinuous((0.0,), Positive())


def covariates(n=ROWS, seed=0):
    """X (n, 2) and exposures (n,)."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.normal(size=n), rng.uniform(size=n)], axis=1), rng.uniform(0.2, 1.0, n)


def zero_share(X, exposure):
    """P(y = 0)."""
    return expit(-0.5 + X[:, 0] - np.log(exposure))


def log_law(X, exposure):
    """The law of log y where y > 0."""
    return norm(1 + 0.8 * np.sin(3 * X[:, 1]) + 0.3 * np.log(exposure) - 0.3 * X[:, 0], 0.6)


def draw(X, exposure, seed=1):
    """y (n,)."""
    rng = np.random.default_rng(seed)
    zero = rng.random(len(X)) < zero_share(X, exposure)
    return np.where(zero, 0.0, np.exp(log_law(X, exposure).rvs(random_state=rng)))


def log_density(X, y, exposure):
    """Of each row, in nats."""
    share, log_y = zero_share(X, exposure), np.log(np.where(y > 0, y, 1.0))
    return np.where(y > 0, np.log1p(-share) + log_law(X, exposure).logpdf(log_y) - log_y, np.log(share))


def mean(X, exposure):
    """Of y."""
    law = log_law(X, exposure)
    return (1 - zero_share(X, exposure)) * np.exp(law.mean() + law.var() / 2)


def claims(n=ROWS, seed=0):
    """X, y, exposures."""
    X, exposure = covariates(n, seed)
    return X, draw(X, exposure, seed + 1), exposure


def fitted(X, y, exposure, **options):
    """A fit whose programs all fits of such tables share."""
    options = {"random_state": 0, "max_iter": STEPS, "n_estimators": 2} | options
    return ScoreRegressor(KIND, **options).fit(X, y, exposure=exposure)


@cache
def model():
    """The fit that tests share; nothing may change it."""
    return fitted(*claims())
