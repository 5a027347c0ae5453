r"""Which values hold a point mass, and on which grid the others were recorded.

A value $v$ held by $c$ of the rows is an atom if its neighbourhood does not explain it. Let $E$ be the count that the
neighbours foretell: on a grid, the count of the next cells, or of every second, fifth or tenth, carried on
log-linearly to $v$ (so that the first and largest cell of a smoothly falling law is no atom); off a grid, what the
nearest distinct values hold beyond one row. Let $T$ be the upper quartile of the counts of the ten nearest distinct
values (so that rounding to two digits, say, makes an atom of nothing), or 0 where these fill the grid. Then $v$ is an
atom if both

* $c \ge 4 \max(E, T)$ and $P(\mathrm{Poisson}(E) \ge c) < 10^{-6}$, and
* $c$ is a hundredth of the rows and 20 (3 in a thousand and 5 where the other values hardly ever repeat), not
  counting rows on giants, atoms that hold a fifth or more by themselves; or else $v$ is the least or greatest value
  and $c$ is a thousandth of the rows and 10 (or 20): data pile up at their bounds.

Values are judged from the most frequent down, and an atom no longer counts as a neighbour.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammainc

from ptilde.tabular.kinds import Mask, Numbers, on_grid

RATIO = 4.0  # how many times the foretold count an atom holds
TAIL = 1e-6  # chance under the foretold count; a column has at most 300 candidates
NUM_NEIGHBOURS = 10  # distinct values on each side; their upper quartile lets two atoms stand among them
COMBS = (1, 2, 5, 10)  # people and gauges often record every second, fifth or tenth cell only
MIN_BLOCK = 10  # rows in a block of cells before it is trusted: a relative error of a third
MAX_ATOMS = 32
GIANT = 0.2
SHARE, SHARE_IF_SMOOTH, END_SHARE = 0.01, 0.003, 0.001
FEWEST_ROWS = 5  # that hold an atom; twice as many at an end, four times where values repeat anyway


class Tally(NamedTuple):
    """The distinct values of a column in ascending order with the rows, or weight, that hold each."""

    values: Numbers
    counts: Numbers

    def without(self, mask: Mask) -> "Tally":
        """The tally of the other values."""
        return Tally(self.values[~mask], self.counts[~mask])

    @property
    def total(self) -> float:
        """All rows."""
        return float(self.counts.sum())


def tally(values: Numbers, weights: Numbers) -> Tally:
    """Count the distinct values; those that agree in ten digits are one, spelt as their middle row has it."""
    order = np.argsort(values)
    values, weights = values[order] + 0.0, weights[order]
    rounded = _ten_digits(values)
    starts = np.flatnonzero(np.r_[True, rounded[1:] != rounded[:-1]])
    ends = np.r_[starts[1:], len(values)]
    return Tally(values[(starts + ends - 1) // 2], np.add.reduceat(weights, starts))


def _ten_digits(values: Numbers) -> Numbers:
    size = np.abs(values)
    usual = (size > 1e-280) & (size < 1e280)
    power = np.power(10.0, 9 - np.floor(np.log10(np.where(usual, size, 1.0))))
    return np.where(usual, np.rint(np.where(usual, values, 0.0) * power) / power, values)


def find_step(values: Numbers) -> float | None:
    """The largest step of which all the distinct values are whole multiples, if that cannot be chance.

    A value lies on a random grid with chance twice its tolerance, so a set of them does with the product of these; a
    step is believed when that is below e^-20. Decimal steps are tried first, then the smallest gap between values and
    its fractions, which finds 1/365.25.
    """
    size = np.abs(values[values != 0])
    if size.size == 0 or size.max() > 2**53 or size.max() < 1e-200:
        return None
    if np.all(size == np.rint(size)):
        return float(_common_factor(size))
    sample = size if size.size <= 2000 else size[np.linspace(0, size.size - 1, 2000).astype(int)]
    top = int(np.floor(np.log10(np.median(size)))) + 1
    decimals = (float(f"1e{power}") for power in range(top, top - 9, -1))
    finest = np.quantile(sample, 0.9) / 1e6  # finer ones fit anything, within the tolerance
    for step in (step for step in (*decimals, *_gap_steps(sample)) if step >= finest):
        apart = sample.size == 1 or np.ptp(np.rint(sample / step)) > 0  # 1e9 ± 1 are no multiples of 1e9
        if apart and on_grid(sample, step).all() and _evidence(size, step) > 20 and on_grid(size, step).all():
            return _shortest(step * _common_factor(np.rint(size / step)), size)
    return None


def _evidence(size: Numbers, step: float) -> float:
    tolerance = np.minimum(1.0, 2 * (1e-4 + 1e-7 * size / step))
    return float(-np.log(tolerance).sum())


def _common_factor(multiples: Numbers) -> int:
    """The greatest common divisor, or 1 if so few values might share it by chance (below e^-14)."""
    factor = int(np.gcd.reduce(multiples.astype(np.int64)))
    return factor if factor and np.unique(multiples).size * np.log(factor) > 14 else 1


def _gap_steps(size: Numbers) -> list[float]:
    """The smallest gap that is no float noise and its fractions, each refined on ever larger values."""
    size = np.unique(size)
    gaps = np.r_[size[0], np.diff(size)]
    gaps = gaps[gaps > 1e-6 * size]
    gaps = gaps[gaps > 1e-3 * np.median(gaps)]
    refined = [_refine(size, gaps.min() / divisor) for divisor in (1, 2, 3, 4, 5, 6)]
    return [step for step in refined if step is not None]


def _refine(size: Numbers, step: float) -> float | None:
    reach = 20.0
    while True:
        near = size[size <= reach * step]
        multiples = np.rint(near / step)
        if near.size and np.any(np.abs(near / step - multiples) > 0.05):
            return None
        if multiples.any():
            step = float(near @ multiples / (multiples @ multiples))
        if near.size == size.size:
            return step
        reach *= 8


def _shortest(step: float, size: Numbers) -> float:
    """The step spelt with the fewest digits, or one over such a number, that still fits every value."""
    for digits in range(1, 8):
        for spelt in (float(f"{step:.{digits}g}"), 1 / float(f"{1 / step:.{digits}g}")):
            if abs(spelt - step) < 1e-5 * step and on_grid(size, spelt).all():
                return spelt
    return step


def step_matters(body: Tally, step: float) -> bool:
    """Whether a grid shows: a thousand or fewer steps between the quartiles, or a twentieth of the rows tied."""
    low, high = np.quantile(np.repeat(body.values, _repeats(body)), [0.25, 0.75])
    return bool(high - low <= 1000 * step or body.counts[body.counts > 1].sum() > 0.05 * body.total)


def _repeats(body: Tally) -> np.ndarray:
    scale = min(1.0, 1e5 / body.total)  # a hundred thousand rows settle a quartile
    return np.maximum(1, np.rint(body.counts * scale)).astype(int)


def find_atoms(table: Tally, step: float | None) -> Mask:
    """Which of the tallied values are atoms."""
    is_atom = np.zeros(len(table.values), dtype=bool)
    base = table.total
    order = np.argsort(-table.counts, kind="stable")
    candidates = order[table.counts[order] >= FEWEST_ROWS][: 10 * MAX_ATOMS]
    for j in candidates:
        if table.counts[j] >= GIANT * base and _stands_out(table, is_atom, j, step):
            is_atom[j] = True
            base -= table.counts[j]
    share, fewest = _threshold(table.without(is_atom))
    for j in candidates:
        at_end = not np.any(~is_atom[:j]) or not np.any(~is_atom[j + 1 :])
        enough = max(share * base, fewest) if not at_end else max(END_SHARE * base, 2 * FEWEST_ROWS, fewest)
        if table.counts[j] >= enough and not is_atom[j] and is_atom.sum() < MAX_ATOMS:
            is_atom[j] = _stands_out(table, is_atom, j, step)
    return is_atom


def _threshold(table: Tally) -> tuple[float, float]:
    """The least share and number of rows of an atom inside: small where the rarer values hardly ever repeat."""
    rare = table.counts < max(SHARE_IF_SMOOTH * table.total, FEWEST_ROWS)
    ties = table.counts[rare & (table.counts > 1)].sum()
    if ties < 0.01 * table.total and rare.sum() > 0:
        return SHARE_IF_SMOOTH, FEWEST_ROWS
    return SHARE, 4 * FEWEST_ROWS


def _stands_out(table: Tally, is_atom: Mask, j: int, step: float | None) -> bool:
    typical, foretold = 0.0, 0.05  # off a grid a value repeats by chance of rounding only
    sides = [_side(table, is_atom, j, direction) for direction in (-1, 1)]
    for distances, counts in sides:
        nearest = np.sort(counts[:NUM_NEIGHBOURS])
        if distances.size and (step is None or distances[nearest.size - 1] > 2.5 * step * nearest.size):
            typical = max(typical, float(nearest[3 * nearest.size // 4]))
    if step is None:
        foretold = max(foretold, typical - 1)
    else:
        cells = [(np.rint(distances / step), counts) for distances, counts in sides]
        foretold = max(foretold, *(_extrapolate(*side, comb) for comb in _combs(cells) for side in cells))
    count = table.counts[j]
    return bool(count >= RATIO * max(typical, foretold) and gammainc(count, foretold) < TAIL)


def _combs(sides: list[tuple[Numbers, Numbers]]) -> list[int]:
    """1, and those combs through the value whose teeth hold twice their due (half as much again of every second)."""
    cells, counts = (np.concatenate(part) for part in zip(*sides, strict=True))
    held = {comb: counts[cells % comb == 0].sum() / max(counts.sum(), 1) for comb in COMBS}
    return [comb for comb in COMBS if comb == 1 or held[comb] > min(0.75, 2 / comb)]


def _side(table: Tally, is_atom: Mask, j: int, direction: int) -> tuple[Numbers, Numbers]:
    """Distances and counts of the other values on one side, nearest first."""
    span = slice(j + 1, None) if direction > 0 else slice(None, j)
    keep = ~is_atom[span]
    values, counts = table.values[span][keep][::direction], table.counts[span][keep][::direction]
    return np.abs(values - table.values[j]), counts


def _extrapolate(cells: Numbers, counts: Numbers, comb: int) -> float:
    """The count foretold at distance zero by two equal blocks of teeth, log-linearly and never downward."""
    on_comb = cells % comb == 0
    cells, counts = cells[on_comb] / comb, counts[on_comb]
    if cells.size == 0:
        return 0.0
    peak = np.argmax(counts[:NUM_NEIGHBOURS])
    if comb == 1 and cells[peak] > 2 and counts[peak] > 0.5 * counts[: 2 * NUM_NEIGHBOURS].sum():
        cells, counts = np.delete(cells, peak), np.delete(counts, peak)  # perhaps another atom, not judged yet
        if cells.size == 0:
            return 0.0
    width = max(1.0, cells[np.searchsorted(np.cumsum(counts), MIN_BLOCK).clip(max=len(cells) - 1)])
    first = counts[cells <= width].sum()
    second = counts[(cells > width) & (cells <= 2 * width)].sum()
    growth = max(1.0, (first + 2) / (second + 2))
    return first / width * growth ** ((width + 1) / 2 / width)
