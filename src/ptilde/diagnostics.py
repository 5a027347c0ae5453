r"""How far one table lies from another: plain numbers, each with its uncertainty.

Arrays go in, and a number with its standard error (or an interval) comes out; no model is needed, only draws from it.
The measures look at different faults, so that no fault hides from all of them:

* `two_sample_auc`: can a classifier tell the two tables apart? 0.5 says no, 1 says always. It sees the joint law.
* `atom_shares`: how much mass sits exactly on a value such as 0?
* `pattern_total_variation`: half the L1 distance between two laws of patterns (which columns are zero together).
* `tail_quantiles`, `q99_ratio`: the far quantiles, with distribution-free intervals.
* `wasserstein`: the area between two cumulative distribution functions, in the units of the column.

A table is a 2-D array, or a mapping from column name to a 1-D array (numbers with NaN for missing, or objects).
A distance between two finite samples is never 0 even when the laws agree, so every one of them should be read beside
its floor: the same distance between two samples of real rows. `compare` gives both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Bounded",
    "Comparison",
    "Estimate",
    "atom_shares",
    "compare",
    "pattern_total_variation",
    "q99_ratio",
    "tail_quantiles",
    "two_sample_auc",
    "wasserstein",
]

Columns = Mapping[str, NDArray]


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    standard_error: float


class Bounded(NamedTuple):
    """A number between the ends of its confidence interval."""

    value: float
    low: float
    high: float


# --- can they be told apart? -----------------------------------------------------------------------------------------


def two_sample_auc(x: Columns | ArrayLike, y: Columns | ArrayLike, *, seed: int = 0, folds: int = 5) -> Estimate:
    """The probability that a classifier ranks a row of `y` above a row of `x`, cross-fitted: 0.5 is perfect.

    Gradient-boosted trees learn to tell the tables apart on all folds but one and rank the rows of that one; the larger
    table is cut at random to the size of the smaller. The standard error is DeLong's, over the rows ranked: it does not
    count that other rows would have grown other trees.

    Args:
        x: a table; objects are coded by their value, NaN is a value of its own.
        y: another, with the same columns.
        seed: of the cut, the folds and the trees.
        folds: how many parts are held out in turn.

    References:
        Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests, ICLR.
        DeLong, DeLong & Clarke-Pearson (1988), Comparing the areas under two or more correlated receiver operating
        characteristic curves, Biometrics 44.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    first, second = _coded(_columns(x), _columns(y))
    rng = np.random.default_rng(seed)
    size = min(len(first), len(second))
    if size < 2 * folds:
        raise ValueError(f"`x` and `y` must have {2 * folds} rows or more for {folds} folds; the smaller has {size}.")
    rows = np.concatenate([rng.permutation(first)[:size], rng.permutation(second)[:size]])
    label = np.repeat([0, 1], size)
    placements = np.empty(2 * size)
    with threadpool_limits(1):  # on tables of this size threads wait for each other longer than they work
        for fitted, held_out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, label):
            trees = HistGradientBoostingClassifier(random_state=seed).fit(rows[fitted], label[fitted])
            rank = trees.predict_proba(rows[held_out])[:, 1]
            placements[held_out] = _placements(rank, label[held_out])
    below, above = placements[label == 0], placements[label == 1]
    return Estimate(float(above.mean()), float(np.sqrt(below.var(ddof=1) / size + above.var(ddof=1) / size)))


def _placements(rank: NDArray, label: NDArray) -> NDArray:
    """For each row, the share of the other class that it is ranked on the right side of (a tie counts one half)."""
    from scipy.stats import rankdata

    result = np.empty(len(rank))
    ranks = rankdata(rank)
    for own in (0, 1):
        mine = label == own
        share_below = (ranks[mine] - rankdata(rank[mine])) / np.sum(~mine)
        result[mine] = share_below if own else 1 - share_below
    return result


def _columns(table: Columns | ArrayLike) -> dict[str, NDArray]:
    if isinstance(table, Mapping):
        return {str(name): np.asarray(column) for name, column in table.items()}
    rows = np.asarray(table)
    rows = rows[:, None] if rows.ndim == 1 else rows
    return {f"x{j}": rows[:, j] for j in range(rows.shape[1])}


def _coded(first: dict[str, NDArray], second: dict[str, NDArray]) -> tuple[NDArray, NDArray]:
    """Two matrices of floats; an object becomes its place in the sorted list of both columns' values."""
    if list(first) != list(second):
        raise ValueError(f"the two tables must have the same columns; got {list(first)} and {list(second)}.")
    pairs = [_coded_pair(first[name], second[name]) for name in first]
    return np.column_stack([a for a, _ in pairs]), np.column_stack([b for _, b in pairs])


def _coded_pair(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
    if a.dtype != object and a.dtype.kind in "biuf" and b.dtype.kind in "biuf":
        return a.astype(float), b.astype(float)
    place = {word: float(i) for i, word in enumerate(sorted({_word(v) for v in a} | {_word(v) for v in b}))}
    return np.array([place[_word(v)] for v in a]), np.array([place[_word(v)] for v in b])


def _word(value: object) -> str:
    return f"{type(value).__name__}:{value}"


# --- one column ------------------------------------------------------------------------------------------------------


def wasserstein(x: ArrayLike, y: ArrayLike) -> float:
    """The area between two empirical cumulative distribution functions, in the units of the data; missing left out."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(_present(x), _present(y)))


def atom_shares(x: ArrayLike, atoms: Sequence[float]) -> dict[float, Estimate]:
    """The share of values that sit on each atom (to 1e-7 of its size), with the binomial standard error."""
    x = np.asarray(x, float)
    shares = {float(a): float(np.mean(np.isclose(x, a, rtol=1e-7, atol=1e-12))) for a in atoms}
    return {a: Estimate(p, float(np.sqrt(p * (1 - p) / max(len(x), 1)))) for a, p in shares.items()}


def tail_quantiles(
    x: ArrayLike, q: Sequence[float] = (0.5, 0.9, 0.99, 0.999), confidence: float = 0.95
) -> dict[float, Bounded]:
    """Quantiles between order statistics, which hold the true one with the given confidence whatever the law.

    The number of values at or below the quantile q of n is binomial(n, q), so the interval runs between the order
    statistics at that law's two tail quantiles. An end that falls beyond the sample is infinite: the sample cannot say.
    """
    from scipy.stats import binom

    x = np.sort(_present(x))
    padded = np.concatenate([[-np.inf], x, [np.inf]])
    tail = (1 - confidence) / 2
    result = {}
    for level in q:
        low, high = binom.ppf([tail, 1 - tail], len(x), level).astype(int)
        result[float(level)] = Bounded(float(np.quantile(x, level)), float(padded[low]), float(padded[high + 1]))
    return result


def q99_ratio(
    real: ArrayLike, model: ArrayLike, *, q: float = 0.99, seed: int = 0, num_resamples: int = 200
) -> Estimate:
    """The 99 % quantile of the model's row sums over that of the real ones, with its bootstrap standard error."""
    real, model = _row_sums(real), _row_sums(model)
    rng = np.random.default_rng(seed)

    def resampled(x: NDArray) -> NDArray:
        return np.array([np.quantile(rng.choice(x, len(x)), q) for _ in range(num_resamples)])

    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.divide(np.quantile(model, q), np.quantile(real, q))
        spread = np.std(resampled(model) / resampled(real), ddof=1)
    return Estimate(float(ratio), float(spread))


def _row_sums(x: ArrayLike) -> NDArray:
    x = np.asarray(x, float)
    return _present(x if x.ndim == 1 else np.nansum(x, axis=1))


def _present(x: ArrayLike) -> NDArray:
    x = np.asarray(x, float).ravel()
    x = x[~np.isnan(x)]
    if not len(x):
        raise ValueError("`x` must hold at least one value that is not missing; got none.")
    return x


# --- patterns --------------------------------------------------------------------------------------------------------


def pattern_total_variation(a: ArrayLike, b: ArrayLike, *, seed: int = 0, num_resamples: int = 200) -> Estimate:
    """Half the L1 distance between the shares of the patterns (rows) of two arrays, with its bootstrap standard error.

    Two samples of one law are about the square root of (patterns / rows) apart: compare with a floor.
    """
    count_a, count_b = _pattern_counts(np.atleast_2d(np.asarray(a)), np.atleast_2d(np.asarray(b)))
    rng = np.random.default_rng(seed)
    again_a = rng.multinomial(count_a.sum(), count_a / count_a.sum(), num_resamples)
    again_b = rng.multinomial(count_b.sum(), count_b / count_b.sum(), num_resamples)
    spread = np.std(_total_variation(again_a, again_b), ddof=1)
    return Estimate(float(_total_variation(count_a, count_b)), float(spread))


def _pattern_counts(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
    _, index = np.unique(np.concatenate([a, b]), axis=0, return_inverse=True)
    index = index.ravel()
    size = index.max() + 1
    return np.bincount(index[: len(a)], minlength=size), np.bincount(index[len(a) :], minlength=size)


def _total_variation(a: NDArray, b: NDArray) -> NDArray:
    return 0.5 * np.abs(a / a.sum(-1, keepdims=True) - b / b.sum(-1, keepdims=True)).sum(-1)


# --- all of it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Real rows against draws of a model; each distance has beside it the floor that real rows reach."""

    auc: Estimate
    auc_floor: Estimate
    atoms: dict[str, dict[float, tuple[Estimate, Estimate]]]  # column, atom: share in the real rows, in the draws
    tails: dict[str, dict[float, tuple[Bounded, Bounded]]]  # column, level: quantile in the real rows, in the draws
    distances: dict[str, tuple[float, float]]  # column: Wasserstein distance to the draws, and its floor
    pattern: Estimate | None = None
    pattern_floor: Estimate | None = None
    row_sum: Estimate | None = None


def compare(
    train: Columns,
    test: Columns,
    draws: Columns,
    *,
    atoms: Mapping[str, Sequence[float]],
    quantiles: Sequence[float] = (0.5, 0.9, 0.99),
    seed: int = 0,
) -> Comparison:
    """Hold draws of a model against held-out rows, and the rows it was fitted on against the same for the floors.

    Args:
        train: name to column: the rows that the model was fitted on.
        test: the held-out rows, with the same names.
        draws: the model's rows, with the same names.
        atoms: for each column that has some, its atoms; their joint pattern is compared too.
        quantiles: the levels of the quantiles that are compared.
        seed: of the classifiers and the bootstrap.
    """
    numbers = [name for name, column in test.items() if np.asarray(column).dtype.kind in "iuf"]
    real = {name: np.concatenate([train[name], test[name]]) for name in test}
    states = [_states(table, atoms) for table in (train, test, draws)]
    return Comparison(
        auc=two_sample_auc(test, draws, seed=seed),
        auc_floor=two_sample_auc(test, train, seed=seed),
        atoms={n: _beside(atom_shares(real[n], values), atom_shares(draws[n], values)) for n, values in atoms.items()},
        tails={n: _beside(tail_quantiles(real[n], quantiles), tail_quantiles(draws[n], quantiles)) for n in numbers},
        distances={n: (wasserstein(test[n], draws[n]), wasserstein(test[n], train[n])) for n in numbers},
        pattern=pattern_total_variation(states[1], states[2], seed=seed) if atoms else None,
        pattern_floor=pattern_total_variation(states[1], states[0], seed=seed) if atoms else None,
        row_sum=q99_ratio(_matrix(real, numbers), _matrix(draws, numbers), seed=seed) if numbers else None,
    )


def _beside(real: Mapping, model: Mapping) -> dict:
    return {key: (value, model[key]) for key, value in real.items()}


def _matrix(table: Columns, names: Sequence[str]) -> NDArray:
    return np.column_stack([np.asarray(table[name], float) for name in names])


def _states(table: Columns, atoms: Mapping[str, Sequence[float]]) -> NDArray:
    """For each row and each column with atoms: which atom it is on, counted from 1; 0 where it is on none."""
    codes = np.zeros((len(next(iter(table.values()))), len(atoms)), int)
    for j, (name, values) in enumerate(atoms.items()):
        column = np.asarray(table[name], float)
        for code, atom in enumerate(values, start=1):
            codes[np.isclose(column, atom, rtol=1e-7, atol=1e-12), j] = code
        codes[np.isnan(column), j] = -1
    return codes
