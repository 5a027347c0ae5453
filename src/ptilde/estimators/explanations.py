r"""What explains a law of y given X: which covariates matter, how, and whether means are right.

All work on encoded covariates (n, c), so that a covariate is shuffled or set without making tables anew.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from ptilde.joint import JointDensity
from ptilde.predictive import predictive_laws, token_shares
from ptilde.tabular.columns import Column
from ptilde.tabular.covariates import Covariates
from ptilde.tabular.encoder import Rows

Array = NDArray[np.float64]
Given = NDArray[np.float32]
_ROWS = 1000  # that a partial dependence is averaged over


@dataclass(frozen=True, eq=False)
class Importance:
    """By how much the mean log density falls, in nats.

    Attributes:
        names: of the covariates, the most important first.
        drop: of each, the mean over the shuffles.
        standard_error: of each, over the shuffles.
    """

    names: list[str]
    drop: Array
    standard_error: Array


class Dependence(NamedTuple):
    """Averages over rows, one for each value of a covariate.

    Attributes:
        name: of the covariate.
        values: that it was given; None for levels that are rare or were never seen.
        mean: of y.
        quantile: of y at `level`, its mean over the rows.
        level: of the quantile.
        atoms: the probability of each atom.
    """

    name: str
    values: list[Any]
    mean: Array
    quantile: Array
    level: float
    atoms: dict[Any, Array]


class Calibration(NamedTuple):
    """Bins of rows, from the least predicted mean to the largest.

    Attributes:
        predicted: weighted mean of the predictions.
        observed: weighted mean of y.
        standard_error: of the latter.
        weight: total.
    """

    predicted: Array
    observed: Array
    standard_error: Array
    weight: Array


def importance(
    members: tuple[JointDensity, ...],
    covariates: Covariates,
    rows: Rows,
    given: Given,
    weight: Array,
    num_repeats: int,
    rng: np.random.Generator,
) -> Importance:
    """Of each covariate, by shuffling it over the rows; rows outside the support do not count."""
    inside = ~rows.outside

    def score(given: Given) -> float:
        value = np.asarray(logsumexp([m.log_prob(rows.state, rows.z, given) for m in members], axis=0))
        return float(np.average(value[inside], weights=weight[inside]))

    whole, drop = score(given), np.empty((len(covariates.names), num_repeats))
    for j in range(len(drop)):
        for i in range(num_repeats):
            shuffled = given.copy()
            shuffled[:, j] = rng.permutation(given[:, j])
            drop[j, i] = whole - score(shuffled)
    order = np.argsort(-drop.mean(1), kind="stable")
    error = drop.std(1, ddof=1) / np.sqrt(num_repeats) if num_repeats > 1 else np.full(len(drop), np.nan)
    return Importance([covariates.names[j] for j in order], drop.mean(1)[order], error[order])


def dependence(
    members: tuple[JointDensity, ...],
    covariates: Covariates,
    column: Column,
    given: Given,
    name: str,
    num_values: int,
    level: float,
) -> Dependence:
    """On one covariate."""
    j, some = covariates.names.index(name), given[:: -(-len(given) // _ROWS)]
    places, values = _places(covariates, name, num_values)
    mean, quantile = np.empty((2, len(places)))
    shares = np.empty((len(places), len(column.points)))
    for i, place in enumerate(places):
        moved = some.copy()
        moved[:, j] = place
        laws = [law for _, law in predictive_laws(members, column, moved)]
        mean[i] = np.concatenate([law.mean() for law in laws]).mean()
        quantile[i] = np.concatenate([law.quantile(np.array([level])) for law in laws]).mean()
        tokens = np.mean([token_shares(m, moved, column.num_tokens) for m in members], axis=0)
        shares[i] = tokens[:, : len(column.points)].mean(0)
    return Dependence(name, values, mean, quantile, level, dict(zip(column.points, shares.T, strict=True)))


def _places(covariates: Covariates, name: str, num_values: int) -> tuple[Array, list[Any]]:
    """Encoded values of a covariate, and what they stand for."""
    if name in covariates.levels:
        levels = covariates.levels[name]
        return np.arange(len(levels) + 1.0), [None, *levels]
    knots = covariates.knots[name]
    few = len(knots) <= num_values
    places = np.arange(len(knots), dtype=float) if few else np.linspace(0, len(knots) - 1, num_values)
    return places, np.interp(places, np.arange(len(knots)), knots).tolist()


def calibration(predicted: Array, observed: Array, weight: Array, num_bins: int) -> Calibration:
    """In bins of about equal weight."""
    order = np.argsort(predicted, kind="stable")
    rank = np.cumsum(weight[order])
    edges = np.searchsorted(rank, rank[-1] * np.arange(1, num_bins) / num_bins)
    found = []
    for part in np.split(order, edges):
        w = weight[part]
        if not w.sum() > 0:
            continue
        mean = np.average(observed[part], weights=w)
        error = np.sqrt(np.sum((w * (observed[part] - mean)) ** 2)) / w.sum()
        found.append((np.average(predicted[part], weights=w), mean, error, w.sum()))
    return Calibration(*np.array(found).T)
