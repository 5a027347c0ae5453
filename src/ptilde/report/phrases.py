"""What every verdict is made of: a question, its answer, a mark; and how numbers are spelt.

A mark compares what lies beyond sampling noise with a margin: up to it is good, up to three times it wants a look, more
is poor.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from ptilde.diagnostics import Estimate

Mark = Literal["good", "fair", "poor", "none"]

SHARE_MARGIN = 0.015
GAP_MARGIN = 0.03  # of distribution functions, and of rank correlations
FAIR_P, POOR_P = 0.05, 0.002


class Finding(NamedTuple):
    """One question, its answer in words, and whether it is good."""

    question: str
    answer: str
    mark: Mark


def grade(excess: float, margin: float) -> Mark:
    """The mark of what lies beyond noise."""
    return "good" if excess <= margin else "fair" if excess <= 3 * margin else "poor"


def grade_p(p_value: float) -> Mark:
    """The mark of a test."""
    return "good" if p_value >= FAIR_P else "fair" if p_value >= POOR_P else "poor"


def worst(marks: list[Mark]) -> Mark:
    """The one that counts."""
    return max(marks, key=("none", "good", "fair", "poor").index)


def plus_minus(estimate: Estimate) -> str:
    """A number with its standard error."""
    return f"{number(estimate.value)} ± {estimate.standard_error:.3f}"


def number(x: float) -> str:
    """A number with three decimals."""
    return f"{round(x, 3) + 0.0:.3f}"  # + 0.0 makes of -0.000 a 0.000


def named(name: str) -> str:
    """A name within a sentence: one that would not be seen stands in quotes."""
    return name if name.strip() else repr(name)


def figures(x: float) -> str:
    """A number in the units of a column: four figures, and no exponent where a person would write none."""
    if not 1e-4 <= abs(x) < 1e9:
        return f"{x:.4g}"
    places = 3 - math.floor(math.log10(abs(x)))
    text = f"{round(x, places):,.{max(0, places)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def p_value(p: float) -> str:
    """A p-value."""
    return f"{p:.3f}" if p >= 0.01 else f"{p:.1g}"


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %"


def listed(names: tuple[str, ...]) -> str:
    """The first names."""
    names = tuple(map(named, names))
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:4])} and {len(names) - 4} more"
