r"""Which values hold a point mass.

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

Values are judged from the most frequent down, and an atom no longer counts as a neighbour. On a grid of several steps
the neighbours are the values of the same level.
"""

import numpy as np
from scipy.special import gammainc

from ptilde.tabular.levels import Grid, Mask, Numbers, levels, steps_of
from ptilde.tabular.tallies import Tally

RATIO = 4.0  # how many times the foretold count an atom holds
TAIL = 1e-6  # chance under the foretold count; a column has at most 300 candidates
NUM_NEIGHBOURS = 10  # distinct values on each side; their upper quartile lets two atoms stand among them
COMBS = (1, 2, 5, 10)  # people and gauges often record every second, fifth or tenth cell only
MIN_BLOCK = 10  # rows in a block of cells before it is trusted: a relative error of a third
MAX_ATOMS = 32
GIANT = 0.2
SHARE, SHARE_IF_SMOOTH, END_SHARE = 0.01, 0.003, 0.001
FEWEST_ROWS = 5  # that hold an atom; twice as many at an end, four times where values repeat anyway


def find_atoms(table: Tally, grid: Grid) -> Mask:
    """Which of the tallied values are atoms."""
    steps, is_atom = steps_of(grid), np.zeros(len(table.values), dtype=bool)
    level = levels(table.values, steps) if len(steps) > 1 else np.zeros(len(table.values), int)
    base = table.total
    order = np.argsort(-table.counts, kind="stable")
    candidates = order[table.counts[order] >= FEWEST_ROWS][: 10 * MAX_ATOMS]

    def stands_out(j: int) -> bool:
        return _stands_out(table, is_atom | (level != level[j]), j, steps[level[j]] or None)

    for j in candidates:
        if table.counts[j] >= GIANT * base and stands_out(j):
            is_atom[j] = True
            base -= table.counts[j]
    thresholds = [_threshold(table.without(is_atom | (level != i))) for i in range(len(steps))]
    for j in candidates:
        share, fewest = thresholds[level[j]]
        at_end = not np.any(~is_atom[:j]) or not np.any(~is_atom[j + 1 :])
        enough = max(share * base, fewest) if not at_end else max(END_SHARE * base, 2 * FEWEST_ROWS, fewest)
        if table.counts[j] >= enough and not is_atom[j] and is_atom.sum() < MAX_ATOMS:
            is_atom[j] = stands_out(j)
    return is_atom


def _threshold(table: Tally) -> tuple[float, float]:
    """The least share and number of rows of an atom inside: small where the rarer values hardly ever repeat."""
    rare = table.counts < max(SHARE_IF_SMOOTH * table.total, FEWEST_ROWS)
    ties = table.counts[rare & (table.counts > 1)].sum()
    if ties < 0.01 * table.total and rare.sum() > 0:
        return SHARE_IF_SMOOTH, FEWEST_ROWS
    return SHARE, 4 * FEWEST_ROWS


def _stands_out(table: Tally, aside: Mask, j: int, step: float | None) -> bool:
    typical, foretold = 0.0, 0.05  # off a grid a value repeats by chance of rounding only
    sides = [_side(table, aside, j, direction) for direction in (-1, 1)]
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


def _side(table: Tally, aside: Mask, j: int, direction: int) -> tuple[Numbers, Numbers]:
    """Distances and counts of the other values on one side, nearest first, less those put aside."""
    span = slice(j + 1, None) if direction > 0 else slice(None, j)
    keep = ~aside[span]
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
