"""The verdict on a regressor in plain words, one line a question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ptilde.report.phrases import (
    GAP_MARGIN,
    SHARE_MARGIN,
    Finding,
    Mark,
    grade,
    number,
    p_value,
    percent,
    plus_minus,
    worst,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ptilde.report.regressor import Binned, RegressorVerdict

MEAN_MARGIN, LIFT_MARGIN = 0.05, 0.1  # of a mean, in all and in a bin
BIN_MARGIN = 0.03  # of a probability in a bin
LEAST_GAIN = 0.005  # nats a row; less is nothing


def findings(verdict: RegressorVerdict) -> list[Finding]:
    """Every question that the numbers answer, the most telling first."""
    return [
        *_atoms(verdict),
        _mean(verdict),
        _places(verdict),
        _coverage(verdict.coverage),
        _gain(verdict),
        _crps(verdict),
        _density(verdict),
    ]


def _atoms(verdict: RegressorVerdict) -> list[Finding]:
    if not verdict.atoms:
        return []
    marks: list[Mark] = [_grade_shares(found) for found in verdict.atoms.values()]
    atom, found = max(verdict.atoms.items(), key=lambda item: (_grade_order(item[1]), abs(item[1].z)))
    of_many = f", the worst of {len(marks)} atoms" if len(marks) > 1 else ""
    answer = (
        f"{percent(found.observed.value)} of the rows are {atom:g}{of_many}, and {percent(found.predicted)} are "
        f"predicted to be (z = {found.z:.1f}). {_by_bin(found, 'predicted probability', percent)}"
    )
    return [Finding("Is the probability of each atom right?", answer, worst(marks))]


def _grade_shares(found: Binned) -> Mark:
    whole = abs(found.observed.value - found.predicted) - 2 * found.observed.standard_error
    return worst([grade(max(0.0, whole), SHARE_MARGIN), grade(float(found.beyond.max()), BIN_MARGIN)])


def _grade_order(found: Binned) -> int:
    return ("none", "good", "fair", "poor").index(_grade_shares(found))


def _by_bin(found: Binned, of: str, spelt: Callable[[float], str]) -> str:
    bins = found.bins
    far = int(np.argmax(np.abs(bins.observed - bins.predicted) / np.maximum(bins.standard_error, 1e-300)))
    return (
        f"Of {len(bins.predicted)} bins of rows alike in {of}, number {far + 1} is furthest off: "
        f"{spelt(bins.predicted[far])} predicted, {spelt(bins.observed[far])} observed; all bins together have "
        f"p = {p_value(found.p_value)}."
    )


def _mean(verdict: RegressorVerdict) -> Finding:
    found = verdict.mean
    miss, error = found.observed.value - found.predicted, found.observed.standard_error
    positive = bool(np.all(verdict.scale == found.bins.predicted)) and found.predicted > 0
    scale = found.predicted if positive else float(verdict.scale[0])
    said = (
        f"The observed mean is {number(found.observed.value / scale)} ± {error / scale:.3f} times the predicted one"
        if positive
        else f"The observed mean is {number(miss / scale)} ± {error / scale:.3f} standard deviations of the target off"
    )
    in_bins = float(np.max(found.beyond / np.maximum(verdict.scale, 1e-300)))
    mark = worst([grade(max(0.0, abs(miss) - 2 * error) / scale, MEAN_MARGIN), grade(in_bins, LIFT_MARGIN)])
    return Finding("Is the mean right?", f"{said}. {_by_bin(found, 'predicted mean', lambda x: f'{x:.4g}')}", mark)


def _places(verdict: RegressorVerdict) -> Finding:
    gap, chance, p = verdict.unevenness
    answer = (
        f"The share of rows below a place in their own law is off by {gap:.3f} at most; right laws stay below "
        f"{chance:.3f}, and 1 is the worst (Kolmogorov and Smirnov's p = {p_value(p)})."
    )
    return Finding("Do rows fall evenly over their predicted laws?", answer, grade(gap - chance, GAP_MARGIN))


def _coverage(found: Binned) -> Finding:
    miss = abs(found.observed.value - found.predicted) - 2 * found.observed.standard_error
    answer = (
        f"{percent(found.observed.value)} ± {100 * found.observed.standard_error:.1f} of the rows lie in their 90 % "
        f"intervals, which hold {percent(found.predicted)} by the laws themselves: more than 90 where they end on an "
        "atom."
    )
    return Finding("Do intervals hold what they should?", answer, grade(max(0.0, miss), SHARE_MARGIN))


def _gain(verdict: RegressorVerdict) -> Finding:
    low, high = (verdict.gain.value + sign * 2 * verdict.gain.standard_error for sign in (-1, 1))
    mark: Mark = "good" if low > 0 else "poor" if high < LEAST_GAIN or verdict.gain.value < 0 else "fair"
    words = {"good": "Yes", "fair": "So many rows cannot tell", "poor": "No", "none": ""}[mark]
    answer = f"{words}: knowing the covariates of a row is worth {plus_minus(verdict.gain)} nats, and 0 is nothing."
    return Finding("Is it better than a law that knows no covariates?", answer, mark)


def _crps(verdict: RegressorVerdict) -> Finding:
    score, less = verdict.crps
    reach = 2 * less.standard_error
    mark: Mark = "good" if less.value < -reach else "poor" if less.value > reach else "fair"
    answer = (
        f"The continuous ranked probability score is {score.value:.4g} ± {score.standard_error:.2g} in units of the "
        f"target; it is {abs(less.value):.3g} ± {less.standard_error:.2g} {'less' if less.value <= 0 else 'more'} than "
        "that of the law of all rows without covariates, and less is better."
    )
    return Finding("How far are the laws from what came?", answer, mark)


def _density(verdict: RegressorVerdict) -> Finding:
    answer = f"{plus_minus(verdict.log_density)} nats a row on average over {verdict.num_rows:,} rows"
    if verdict.num_outside:
        answer += f", {verdict.num_outside:,} of which lie outside the model's support and are not in the average"
    return Finding("What log density do held-out rows get?", f"{answer}.", "fair" if verdict.num_outside else "none")
