"""The step of which all values are whole multiples."""

import numpy as np

from ptilde.tabular.levels import Numbers, on_grid
from ptilde.tabular.tallies import Tally


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
            with np.errstate(over="ignore", invalid="ignore"):  # of multiples of the least float; then no step is found
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
