r"""Can a classifier tell two tables apart?

The area under its curve is the probability that it ranks a row of the one above a row of the other: 0.5 says that the
tables are alike, 1 that they never are. It sees the joint law. The area is a mean of placements, the share of the
other class that a row is ranked on the right side of, and their spread is its standard error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde.diagnostics.results import Estimate
from ptilde.diagnostics.tables import Columns, coded, columns


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

    first, second = coded(columns(x), columns(y))
    rng = np.random.default_rng(seed)
    size = min(len(first), len(second))
    if size < 2 * folds:
        raise ValueError(f"`x` and `y` must have {2 * folds} rows or more for {folds} folds; the smaller has {size}.")
    rows = np.concatenate([rng.permutation(first)[:size], rng.permutation(second)[:size]])
    label = np.repeat([0, 1], size)
    placed = np.empty(2 * size)
    with threadpool_limits(1):  # on tables of this size threads wait for each other longer than they work
        for fitted, held_out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, label):
            trees = HistGradientBoostingClassifier(random_state=seed).fit(rows[fitted], label[fitted])
            rank = trees.predict_proba(rows[held_out])[:, 1]
            placed[held_out] = placements(rank, label[held_out])
    below, above = placed[label == 0], placed[label == 1]
    return Estimate(float(above.mean()), float(np.sqrt(below.var(ddof=1) / size + above.var(ddof=1) / size)))


def placements(rank: NDArray, label: NDArray) -> NDArray:
    """For each row, the share of the other class that it is ranked on the right side of (a tie counts one half)."""
    from scipy.stats import rankdata

    result = np.empty(len(rank))
    ranks = rankdata(rank)
    for own in (0, 1):
        mine = label == own
        share_below = (ranks[mine] - rankdata(rank[mine])) / np.sum(~mine)
        result[mine] = share_below if own else 1 - share_below
    return result
