"""How often a column holds each of its values."""

from typing import NamedTuple

import numpy as np

from ptilde.tabular.levels import Mask, Numbers


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
