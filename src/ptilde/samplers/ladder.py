r"""Ladders of noise levels by rule: how far apart, how long a step, how many at each.

By the techniques of Song & Ermon (2020), with γ the ratio of neighbouring levels and $h = \varepsilon/\sigma_L^2$, the
step in units of each level's variance:

1. $\sigma_1$ is the largest distance between two rows.
2. Noise of level σ in d dimensions has a radius near $N(\sqrt d\,\sigma, \sigma^2/2)$, so that level i puts
   $\Phi(\sqrt{2d}(\gamma - 1) + 3\gamma) - \Phi(\sqrt{2d}(\gamma - 1) - 3\gamma)$ into three standard deviations
   of level i−1. That should be a half. At $d \le 4$ it never is; so here it is asked of what level i−1 puts
   into level i, which has $1/\gamma$ for γ: almost the same for many columns, a little stricter for all.
4. From $N(0, w\gamma^2\sigma^2I)$, T unadjusted steps at $N(0, \sigma^2I)$ lead to the variance, over σ²,
   $(1-h)^{2T}(w\gamma^2 - v) + v$, $v = 1/(1 - h/2)$: ε is where that is least (it is above 1), T makes it about 1.
   There $w = 1$; here it is what the level before left, the fixed point, as on a fine ladder the excess adds up.

With accept/reject ε is no compromise between bias and speed: it is as long as steps on $N(0, \sigma^2I)$ are
accepted with the probability 0.574. There $\log\alpha = \tfrac h4(\|x\|^2 - \|y\|^2)/\sigma^2$ has the mean
$-\tfrac14dh^3$; it is near normal, so its variance is $\tfrac12dh^3$, and accepted are $2\Phi(-\sqrt{dh^3/8})$.

References:
    Song & Ermon (2020), Improved techniques for training score-based generative models, NeurIPS.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from ptilde import _validate
from ptilde.samplers.langevin import Mala

_EXCESS = 1.05  # variance after a level's steps, over σ²; Song & Ermon's for CIFAR-10 give 1.055, with w = 1
_STEPS = np.geomspace(1e-4, 1, 2000)  # h


def overlap(ratio: float, d: int) -> float:
    """The share of level σ within three standard deviations of the radius of level `ratio` σ."""
    root = np.sqrt(2 * d)
    return ndtr(root * (ratio - 1) + 3 * ratio) - ndtr(root * (ratio - 1) - 3 * ratio)


def widest_ratio(d: int) -> float:
    """γ such that half of each level lies where the next one does."""
    return float(brentq(lambda ratio: overlap(1 / ratio, d) - 0.5, 1.0, 100.0))  # type: ignore[arg-type]


def variance_after(ratio: float, h: Any, num_steps: int, before: float = 1.0) -> Any:
    """Variance over σ² that steps at N(0, σ²I) make of N(0, before · ratio² σ²I)."""
    limit = 1 / (1 - h / 2)
    return (1 - h) ** (2 * num_steps) * (before * ratio**2 - limit) + limit


def excess(ratio: float, h: Any, num_steps: int) -> Any:
    """Variance over σ² at the end of each of many such levels; infinite if they forget too little."""
    left = ratio**2 * (1 - h) ** (2 * num_steps)
    return np.where(left < 1, variance_after(ratio, h, num_steps, 0.0) / np.maximum(1 - left, 1e-12), np.inf)


def least_excess(ratio: float, num_steps: int) -> tuple[float, float]:
    """The step h for which the excess is least, and what it is."""
    found = excess(ratio, _STEPS, num_steps)
    return float(_STEPS[found.argmin()]), float(found.min())


def longest_step(d: int) -> float:
    """The step h at which 0.574 of the steps on a Gaussian are accepted."""
    return 2 * (ndtri(Mala.goal / 2) ** 2 / d) ** (1 / 3)


def enough_steps(ratio: float) -> int:
    """The fewest steps after which the variance is near σ²; they grow with γ² − 1."""
    num_steps = 1
    while least_excess(ratio, num_steps)[1] > _EXCESS:
        num_steps += 1
    return num_steps


def within(num_score_calls: int, span: float, fewest: int, adjusted: bool) -> tuple[int, int]:
    """Levels and steps at each for so many calls: as many levels as leave enough steps."""
    _validate.whole("num_score_calls", num_score_calls, 1)
    steps = lambda num: num_score_calls // num - 1 if adjusted else (num_score_calls - 1) // num  # noqa: E731
    if steps(fewest) < 1:
        least = 2 * fewest if adjusted else 1 + fewest
        raise ValueError(
            f"`num_score_calls` must be at least {least}, one step at each of {fewest} levels; got {num_score_calls}. "
            "Allow more calls, or a larger `sigma_min`."
        )
    num = fewest
    while steps(num + 1) >= 1 and least_excess(np.exp(span / num), steps(num + 1))[1] <= _EXCESS:
        num += 1
    return num, steps(num)


def rows_of(x: ArrayLike) -> NDArray[np.floating]:
    rows = np.asarray(x, float)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"`x` must be rows of data, (n, d) with at least two; got shape {rows.shape}.")
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(f"`x` must be finite; got {rows[row, column]} in row {row}, column {column}.")
    if not (spread := rows.std(axis=0)).all():
        raise ValueError(f"`x` must vary in every column; column {spread.argmin()} is constant. Leave it out.")
    return rows
