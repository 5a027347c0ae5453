r"""Which coarser steps a column was recorded to, with exceptions (*heaping*).

A grid $h_0 > \dots > h_L$ (`ptilde.tabular.levels`; the last step is that of all values, or 0) has
$d_l = 1/h_l - 1/h_{l-1}$ values of level $l$ a unit of length. If a share $p_l$ of the rows is of level $l$, beside a
law that is smooth on the scale of $h_0$, a row gains $\sum_l p_l \log(p_l / d_l)$ nats over that law, but for a
constant. Round steps (1, 2, 2.5, 5 times a power of ten) are added one by one, each time the one that gains the most,
as long as every level but the last is credible beside the next finer one, its exceptions:

* It holds a tenth of the rows that are not coarser, and shows: there are a thousand of its steps or fewer between the
  quartiles, or its values are held by two rows on average.
* Its *primitive* values, those that are no multiples of twice or five times the step, hold `RATIO` times as much a
  value as exceptions do *where exceptions are*: among the ten distinct values next to each on the side of zero.
  Rounding to two digits (1.2, 12, 120) has its fine values nearer to zero, all coarse ones beyond.
* They hold `RATIO_BETWEEN` times as much as those exceptions that are multiples of a half, fifth or tenth of the step,
  so that it is not a finer step that is seen. (A tenth stands for the next step where that is 0.)
* In each of these, what they hold exceeds their due by five standard deviations, if each distinct value is one throw
  of its weight: a few prices that happen to be round are no grid.

The weight of a distinct value is the rows on it, at most `RATIO` times the median of those around it on its level: no
atom makes a grid.
"""

from itertools import pairwise

import numpy as np
from scipy.ndimage import median_filter

from ptilde.tabular.levels import Grid, Mask, Numbers, levels, multiple
from ptilde.tabular.steps import find_step, step_matters
from ptilde.tabular.tallies import Tally

ROUND = (1, 2, 2.5, 5)
MOST_LEVELS = 4
FEWEST_VALUES = 5  # primitive ones; fewer are better told as atoms
SHARE = 0.1
RATIO, RATIO_BETWEEN = 4.0, 3.0
DEVIATIONS = 5.0
NUM_NEIGHBOURS = 20
FEWEST_ROWS = 10
NUM_SAMPLED = 4000  # rows that rule out a step at a glance


def find_grid(table: Tally) -> Grid:
    """The step or steps of recording; None if there are none that show."""
    step = find_step(table.values)
    return find_levels(table, step) or shown(table, step)


def shown(table: Tally, step: float | None) -> float | None:
    """The step, if it is that of whole numbers or matters."""
    return step if step is not None and (step >= 1 or step_matters(table, step)) else None


def find_levels(table: Tally, step: float | None) -> tuple[float, ...] | None:
    """The steps of a grid with exceptions, all values being multiples of `step`, if given; None if it is that alone."""
    candidates, steps = _candidates(table, step), (step or 0.0,)
    nominal = step or min(candidates, default=1.0) / 1000
    while len(steps) < MOST_LEVELS:
        longer = [s for s in (_insert(steps, c) for c in candidates) if s and _credible(table, s)]
        best = max([steps, *longer], key=lambda s: _gain(table, s, nominal))
        if best == steps:
            break
        steps = best
    if len(steps) == 1:
        return None
    exceptions = table.without(levels(table.values, steps) < len(steps) - 1)
    return steps if shown(exceptions, steps[-1] or None) else (*steps[:-1], 0.0)


def _candidates(table: Tally, step: float | None) -> list[float]:
    """The round steps that more than a few rows are multiples of."""
    size = np.abs(table.values)
    if len(size) <= FEWEST_VALUES or not 1e-200 < size.max() < 1e200:
        return []
    least = float(np.quantile(size, 0.9)) / 1e6 if step is None else 2 * step
    most = float(np.ptp(table.values)) / FEWEST_VALUES
    powers = range(int(np.floor(np.log10(max(least, 1e-200)))), int(np.ceil(np.log10(most))) + 1)
    steps = [float(f"{digit}e{power}") for power in powers for digit in ROUND]
    sums = np.cumsum(table.counts)
    sample = table.values[np.searchsorted(sums, np.linspace(0, sums[-1], NUM_SAMPLED, endpoint=False), side="right")]
    some = [s for s in steps if 0 < least <= 1.001 * s and s <= most and (step is None or multiple(s, step))]
    return [s for s in some if np.mean(levels(sample, (s, step or 0.0)) == 0) > SHARE / 20]


def _insert(steps: tuple[float, ...], new: float) -> tuple[float, ...] | None:
    """The steps with another one in its place; None if it is there, or one is no multiple of the next."""
    longer = tuple(sorted({*steps, new}, reverse=True))
    whole = all(not fine or multiple(coarse, fine) for coarse, fine in pairwise(longer))
    return longer if whole and len(longer) > len(steps) else None


def _gain(table: Tally, steps: tuple[float, ...], nominal: float) -> float:
    """What a row gains; full precision counts as a nominal step."""
    level = levels(table.values, steps)
    held = np.array([_weights(table.counts[level == i]).sum() for i in range(len(steps))])
    share = held[held > 0] / held.sum()
    values = np.diff(1 / np.array([np.inf, *steps[:-1], steps[-1] or nominal]))[held > 0]
    return float(np.sum(share * np.log(share / values)))


def _credible(table: Tally, steps: tuple[float, ...]) -> bool:
    """Whether each level but the last stands out among the exceptions to it."""
    level = levels(table.values, steps)
    for i, (step, finer) in enumerate(pairwise(steps)):
        own, exceptions, k = level == i, level == i + 1, np.rint(table.values / step)
        primitive = own & (k % 2 != 0) & (k % 5 != 0)
        share = table.counts[own].sum() / table.counts[level >= i].sum()
        if share < SHARE or primitive.sum() < FEWEST_VALUES or not exceptions.any() or not _shows(table, own, step):
            return False
        between = [(step / part, RATIO_BETWEEN) for part in (2, 5, 10) if not finer or multiple(step / part, finer)]
        for below, ratio in [*between, (finer or step / 10, RATIO)]:
            due = 0.4 / (0.4 + step / below - 1)  # of ten multiples in a row four are primitive
            if not _stands_out(table, primitive, exceptions, below, due, ratio):
                return False
    return True


def _shows(table: Tally, own: Mask, step: float) -> bool:
    low, high = np.interp([0.25, 0.75], np.cumsum(table.counts) / table.total, table.values)
    return bool(high - low <= 1000 * step or table.counts[own].sum() >= 2 * own.sum())


def _stands_out(table: Tally, coarse: Mask, exceptions: Mask, below: float, due: float, ratio: float) -> bool:
    """Whether coarse values hold more than their due beside those exceptions that are multiples of `below`."""
    weight, fine = np.zeros(len(table.values)), exceptions & (levels(table.values, (below, 0.0)) == 0)
    weight[coarse], weight[exceptions] = _weights(table.counts[coarse]), _weights(table.counts[exceptions])
    there = _beside(table.values, coarse, exceptions)
    held, both = weight[there & coarse].sum(), weight[there & (coarse | fine)]
    surplus = held - due * both.sum()
    enough = held >= FEWEST_ROWS and surplus >= DEVIATIONS * np.sqrt(due * (1 - due) * np.sum(both**2))
    return bool(enough and held * (1 - due) >= ratio * (both.sum() - held) * due)


def _beside(values: Numbers, coarse: Mask, exceptions: Mask) -> Mask:
    """Which values are exceptions or next to one on the side of zero; the exception nearest to zero has none beside."""
    order = np.argsort(np.abs(values), kind="stable")
    order = order[(coarse | exceptions)[order]]
    at = np.flatnonzero(exceptions[order])
    opened = np.zeros(len(order) + 1)
    np.add.at(opened, np.maximum(at[at > 0] - NUM_NEIGHBOURS, 0), 1)
    np.add.at(opened, at[at > 0] + 1, -1)
    there = np.zeros(len(values), bool)
    there[order] = np.cumsum(opened)[:-1] > 0
    return there


def _weights(counts: Numbers) -> Numbers:
    """The counts of a level's values, none far above those around it."""
    if not counts.size:
        return counts
    return np.minimum(counts, RATIO * median_filter(counts, 2 * NUM_NEIGHBOURS + 1, mode="nearest"))
