r"""What the laws of a target given covariates are worth, on rows that the fit has not seen: in numbers.

If $y_i$ is drawn from the predicted law $P_i$, independently, then

* $\sum_i (1\{y_i = a\} - P_i(a))$ has mean 0 and variance $\sum_i P_i(a)(1 - P_i(a))$, in every bin of rows that are
  alike in $P_i(a)$, and so with intervals in place of atoms;
* the mean of $y_i$ over such a bin is spread about that of $\mathbb E_i\,y$ as the means of draws from the $P_i$ are;
* the randomised places $u_i$ of $y_i$ in $P_i$ are uniform (`ptilde.diagnostics.pit`);
* $\log p_i(y_i) - \log\bar p(y_i)$ has a mean that is not negative, $\bar p$ being the law averaged over covariates: it
  is what knowing them is worth. A law that does not know them has 0, one that misuses them less.

Errors of bins are the larger of those that the model says and, of means, those seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import chi2, norm

from ptilde._validate import DataError
from ptilde.diagnostics import Estimate, pit, uniformity_test
from ptilde.report import machine
from ptilde.report.evidence import LEVEL, MOST_ROWS, by_chance
from ptilde.report.phrases import Finding
from ptilde.report.regressor_words import findings
from ptilde.report.rows import MIN_ROWS
from ptilde.tabular.frames import open_table
from ptilde.tabular.schema import Schema

if TYPE_CHECKING:
    from ptilde.estimators import ScoreRegressor
    from ptilde.estimators.explanations import Calibration, Dependence, Importance

Array = NDArray[np.float64]
NUM_BINS, NUM_DRAWS = 10, 100
GAIN_ROWS, GAIN_OTHERS = 500, 200  # whose mean law is taken
SHUFFLED_ROWS, NUM_SHUFFLES = 2000, 3
DEPENDENCE_ROWS, NUM_VALUES, NUM_EXPLAINED = 200, 12, 3
MOST_ATOMS = 12
INTERVAL = 0.9


@dataclass(frozen=True, eq=False)
class Binned:
    """Predicted against observed means, in all and in bins of alike predictions.

    Attributes:
        predicted: the mean of the predictions.
        observed: the mean of what came, with the error that it has if the predictions are right.
        bins: predicted, observed, its standard error and the number of rows.
        beyond: by how much each bin misses beyond what the largest of them reaches by chance; 0 at least.
        p_value: of the chi-square of all bins.
    """

    predicted: float
    observed: Estimate
    bins: Calibration
    beyond: Array
    p_value: float

    @property
    def z(self) -> float:
        """By how many standard errors observed and predicted means differ."""
        return (self.observed.value - self.predicted) / max(self.observed.standard_error, 1e-300)


@dataclass(frozen=True, eq=False)
class RegressorVerdict:
    """The numbers of a `ScoreRegressor` on rows that it has not seen.

    Attributes:
        target: its name.
        schema: what it may hold.
        num_rows, num_outside: how many rows, and how many of them have a target that is held impossible.
        log_density: the mean of the others, in nats.
        atoms: of each atom its probability against its share.
        mean: the means; in each bin, a miss counts as a share of `scale`.
        scale: what misses of means are measured by: the predicted mean where no target is negative, else a deviation.
        places: of the targets in their laws, (n,).
        unevenness: the largest gap of their distribution function, what chance explains, and the p-value.
        coverage: the share of targets within their 90 % intervals, against what the laws themselves say.
        gain: nats that the covariates are worth.
        crps: mean score, in units of the target; its difference to that of the rows' own law without covariates.
        importance: of the covariates.
        dependence: on the most important ones.
        history: by stage of the first member.
        fitted: its seed, steps and members.
    """

    target: str
    schema: Schema
    num_rows: int
    num_outside: int
    log_density: Estimate
    atoms: dict[float, Binned]
    mean: Binned
    scale: Array
    places: Array
    unevenness: tuple[float, float, float]
    coverage: Binned
    gain: Estimate
    crps: tuple[Estimate, Estimate]
    importance: Importance
    dependence: list[Dependence]
    history: dict[str, dict[str, list]]
    fitted: dict[str, int]

    @property
    def findings(self) -> list[Finding]:
        """The verdict in sentences, the most telling first."""
        return findings(self)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain values for strict JSON; a number that is infinite or none is null."""
        return machine.told_of_regressor(self)

    def _repr_html_(self) -> str:
        return machine.list_of(self.findings)


class _Rows:
    """Held-out rows, of which some are taken."""

    def __init__(self, X: Any, y: Any, exposure: Any, name: str, seed: int):
        from ptilde.estimators import targets

        table = open_table(X)
        y = targets.opened(y, table.num_rows, (name,)).table.columns[name]
        if table.num_rows < MIN_ROWS:
            raise DataError(f"The held-out rows must be {MIN_ROWS} or more to be judged by; got {table.num_rows}.")
        some = np.sort(np.random.default_rng(seed).permutation(table.num_rows)[:MOST_ROWS])
        self._columns = {column: values[some] for column, values in table.columns.items()}
        self.y = y[some]
        self.exposure = None if exposure is None else np.asarray(exposure, float)[some]

    def X(self, rows: Any = slice(None)) -> Any:
        """The covariates of some rows."""
        import pyarrow as pa

        return pa.table({name: values[rows] for name, values in self._columns.items()})

    def of(self, rows: Any) -> Any:
        """Their exposures."""
        return None if self.exposure is None else self.exposure[rows]


def measure_regressor(
    model: ScoreRegressor, X: Any, y: Any, exposure: Any = None, *, seed: int = 0
) -> RegressorVerdict:
    """The verdict on a regressor.

    Args:
        model: fitted to one target.
        X: covariates of rows that it has not seen, 20 or more; 5,000 of them are looked at.
        y: their targets.
        exposure: of each row, if the fit had one.
        seed: of the choice of rows, of draws and shuffles.

    Raises:
        DataError: if there are too few rows.
        ValueError: if the model has several targets.
    """
    if len(model.schema_.columns) != 1:
        raise ValueError(f"`model` must have one target; got {len(model.schema_.columns)}. Fit a regressor for each.")
    name = next(iter(model.schema_.columns))
    rows = _Rows(X, y, exposure, name, seed)
    X, y, e = rows.X(), rows.y, rows.exposure
    log_density = _quiet_score(model, X, y, e)
    inside = np.isfinite(log_density)
    places = pit(model.cdf(X, y, e), model.cdf(X, y, e, strict=True), seed=seed)
    test = uniformity_test(places)
    mean, scale = _means(model, X, y, e, seed)
    importance, dependence = _explained(model, rows, seed)
    return RegressorVerdict(
        target=name,
        schema=model.schema_,
        num_rows=len(y),
        num_outside=int(np.sum(~inside)),
        log_density=_mean(log_density[inside]),
        atoms={a: _shares(p, y == a) for a, p in list(model.predict_atoms(X, e).items())[:MOST_ATOMS]},
        mean=mean,
        scale=scale,
        places=places,
        unevenness=(test.statistic, by_chance(len(y), np.inf), test.p_value),
        coverage=_coverage(model, X, y, e),
        gain=_gain(model, rows, log_density, seed),
        crps=_crps(model, X, y, e),
        importance=importance,
        dependence=dependence,
        history={stage: told for stage, told in model.history_.items() if " of " not in stage or stage[:2] == "1 "},
        fitted={"steps": model.n_iter_, "seed": model.seed_, "members": model.n_estimators},
    )


def _mean(x: Array) -> Estimate:
    return Estimate(float(np.mean(x)), float(np.std(x) / np.sqrt(len(x)))) if len(x) else Estimate(-np.inf, np.nan)


def _quiet_score(model: Any, X: Any, y: Array, exposure: Any) -> Array:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rows outside the support are counted
        return model.score_samples(X, y, exposure)


def _binned(predicted: Array, observed: Array, error: Any, of_all: float) -> Binned:
    """In bins of equal numbers of rows; `error` gives the standard error of the mean of some rows."""
    from ptilde.estimators.explanations import Calibration

    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(NUM_BINS, len(order)))
    bins = Calibration(
        np.array([predicted[part].mean() for part in parts]),
        np.array([observed[part].mean() for part in parts]),
        np.array([error(part) for part in parts]),
        np.array([float(len(part)) for part in parts]),
    )
    miss, chance = np.abs(bins.observed - bins.predicted), norm.ppf(1 - LEVEL / 2 / len(parts)) * bins.standard_error
    statistic = float(np.sum((miss / np.maximum(bins.standard_error, 1e-300)) ** 2))
    whole = Estimate(float(observed.mean()), of_all)
    return Binned(
        float(predicted.mean()), whole, bins, np.maximum(miss - chance, 0.0), float(chi2.sf(statistic, len(parts)))
    )


def _shares(predicted: Array, there: NDArray[np.bool_]) -> Binned:
    """Of events with those probabilities."""
    p = np.clip(predicted, 0.0, 1.0)

    def error(part: Any) -> float:
        return float(np.sqrt(np.sum(p[part] * (1 - p[part]))) / len(p[part]))

    return _binned(p, there.astype(float), error, error(slice(None)))


def _means(model: Any, X: Any, y: Array, exposure: Any, seed: int) -> tuple[Binned, Array]:
    draws = model.sample(X, NUM_DRAWS, random_state=seed, exposure=exposure)

    def error(part: Any) -> float:
        seen = np.std(y[part]) / np.sqrt(len(y[part]))
        return float(max(np.std(draws[part].mean(0)), seen))

    found = _binned(model.predict(X, exposure), y, error, error(slice(None)))
    scale = found.bins.predicted if y.min() >= 0 else np.full(len(found.bins.predicted), max(y.std(), 1e-300))
    return found, scale


def _coverage(model: Any, X: Any, y: Array, exposure: Any) -> Binned:
    low, high = model.predict_interval(X, INTERVAL, exposure).T
    probability = model.cdf(X, high, exposure) - model.cdf(X, low, exposure, strict=True)
    return _shares(probability, (low <= y) & (y <= high))


def _gain(model: Any, rows: _Rows, log_density: Array, seed: int) -> Estimate:
    """In nats a row."""
    rng, n = np.random.default_rng(seed), len(rows.y)
    some = np.flatnonzero(np.isfinite(log_density))
    some = rng.permutation(some)[:GAIN_ROWS]
    others = rng.permutation(n)[:GAIN_OTHERS]
    moved = np.tile(others, len(some))
    value = _quiet_score(model, rows.X(moved), np.repeat(rows.y[some], len(others)), rows.of(moved))
    average = logsumexp(value.reshape(len(some), len(others)), axis=1) - np.log(len(others))
    return _mean(log_density[some] - average)


def _crps(model: Any, X: Any, y: Array, exposure: Any) -> tuple[Estimate, Estimate]:
    score, n = model.crps(X, y, exposure), len(y)
    x = np.sort(y)
    below, total = np.searchsorted(x, y), np.concatenate([[0.0], np.cumsum(x)])
    distance = (y * (2 * below - n) + total[-1] - 2 * total[below]) / n  # mean |y - Y|
    return _mean(score), _mean(score - (distance - distance.mean() / 2))


def _explained(model: Any, rows: _Rows, seed: int) -> tuple[Importance, list[Dependence]]:
    some, few = (np.arange(min(len(rows.y), most)) for most in (SHUFFLED_ROWS, DEPENDENCE_ROWS))
    found = model.permutation_importance(rows.X(some), rows.y[some], NUM_SHUFFLES, seed, exposure=rows.of(some))
    names = found.names[:NUM_EXPLAINED]
    return found, [model.partial_dependence(rows.X(few), name, NUM_VALUES, exposure=rows.of(few)) for name in names]
