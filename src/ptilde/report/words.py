"""The verdict in plain words, one line a question, each with whether the answer is good and how to read it.

The words come from the numbers alone, so that the terminal, the page and the JSON say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ptilde.diagnostics import Comparison, Estimate
from ptilde.report.evidence import LEVEL, TESTED_ROWS, Body, Dependence, Memory, ScoreFit
from ptilde.report.phrases import (
    GAP_MARGIN,
    POOR_P,
    SHARE_MARGIN,
    Finding,
    figures,
    grade,
    grade_p,
    listed,
    named,
    number,
    percent,
    plus_minus,
)
from ptilde.report.phrases import p_value as spelt_p
from ptilde.report.phrases import worst as worst_of
from ptilde.report.rows import Columns
from ptilde.tabular.schema import Categorical, Schema

if TYPE_CHECKING:
    from ptilde.diagnostics import Floored
    from ptilde.report.numbers import Agreement, Density, Verdict

Rows = tuple[int, int]  # real and drawn
AUC_MARGIN = 0.035  # above the floor of real rows: what the project asks of itself on RAND HIE
ATOM_MARGIN = 0.01  # of a share of rows
NO_PATTERNS = 0.5  # total variation of real rows among themselves: most of their patterns are seen once
CERTIFICATE_MARGIN = 0.06
TAIL_MARGIN = 0.05
COPY_MARGIN = 0.005
NEAR_MARGIN = 0.02


def findings(verdict: Verdict) -> list[Finding]:
    """Every question that the numbers of a verdict answer, the most telling first."""
    found, density = verdict.comparison, verdict.density
    rows = _num_rows(verdict.real), _num_rows(verdict.draws)
    told = [
        _auc(found),
        _law(verdict.law),
        *_atoms(found, rows),
        *_patterns(found),
        *_categories(verdict.categories, rows, _num_categories(verdict.schema)),
        *_bodies(verdict.bodies),
        *_tails(found, verdict.bodies),
        *_dependence(verdict.dependence),
        _memory(verdict.memory),
    ]
    if density:
        told += [_score(density.score), _density(density)]
        told += [_certificate(density.certificate)]
        told += [_agreement(density.agreement)] if density.agreement else []
    return told


def _num_rows(table: Columns) -> int:
    return len(next(iter(table.values())))


def _auc(found: Comparison) -> Finding:
    excess = found.auc.value - found.auc_floor.value
    mark = grade(excess, AUC_MARGIN)
    words = {"good": "Hardly better than chance", "fair": "Somewhat", "poor": "Yes, clearly", "none": ""}[mark]
    if -excess > AUC_MARGIN + 2 * float(np.hypot(found.auc.standard_error, found.auc_floor.standard_error)):
        mark, words = "fair", "Its guesses are worse than chance, which happens where drawn rows repeat real ones"
    floor = f"real rows among themselves reach {plus_minus(found.auc_floor)}, and 0.5 is perfect"
    numbers = f"AUC {plus_minus(found.auc)}; {floor}"
    return Finding("Can a classifier tell drawn rows from held-out ones?", f"{words}: {numbers}.", mark)


def _law(law: Floored) -> Finding:
    answer = (
        f"A kernel test (MMD) of {TESTED_ROWS:,} rows of each at most has p = {spelt_p(law.value.p_value)}; real rows "
        f"among themselves have p = {spelt_p(law.floor.p_value)}. Under equal laws p is uniform; below {POOR_P:g} "
        "it tells"
    )
    return Finding("Do so many rows tell the two laws apart?", f"{answer}.", grade_p(law.value.p_value))


def _atoms(found: Comparison, rows: Rows) -> list[Finding]:
    pairs = [(name, atom, *pair) for name, shares in found.atoms.items() for atom, pair in shares.items()]
    if not pairs:
        return []
    chance = [_chance(real, model, rows, len(pairs)) for _, _, real, model in pairs]
    gap = [abs(model.value - real.value) for _, _, real, model in pairs]
    beyond = [max(0.0, g - c) / _share_margin(real) for g, c, (_, _, real, _) in zip(gap, chance, pairs, strict=True)]
    worst = int(np.argmax(beyond if max(beyond) else gap))
    name, atom, real, model = pairs[worst]
    answer = (
        f"Furthest off is {named(name)} = {atom:g}, of {len(pairs)} atom{'s' * (len(pairs) > 1)} looked at: "
        f"{percent(real.value)} of real rows and {percent(model.value)} of drawn ones; equal laws differ by up to "
        f"{100 * chance[worst]:.1f} points"
    )
    return [Finding("Is the mass on each atom right?", f"{answer}.", grade(max(beyond), 1.0))]


def _chance(real: Estimate, model: Estimate, rows: Rows, number: int) -> float:
    """What the shares of equal laws differ by at most, in all of so many comparisons, with 95 %."""
    from scipy.stats import norm

    p = (rows[0] * real.value + rows[1] * model.value) / sum(rows)
    return float(norm.isf(LEVEL / 2 / number) * np.sqrt(p * (1 - p) * (1 / rows[0] + 1 / rows[1])))


def _share_margin(real: Estimate) -> float:
    """By how much a share may be off: a small one by a fifth of itself, else it could vanish and pass."""
    return min(ATOM_MARGIN, max(real.value, 0.001) / 5)


def _patterns(found: Comparison) -> list[Finding]:
    if found.pattern is None or found.pattern_floor is None or len(found.atoms) < 2:
        return []
    answer = (
        f"The patterns of atoms are {plus_minus(found.pattern)} apart in total variation; real rows among themselves "
        f"are {plus_minus(found.pattern_floor)} apart"
    )
    question = "Do columns sit on their atoms together as they should?"
    if found.pattern_floor.value > NO_PATTERNS:
        return [Finding(question, f"{answer}: too many patterns for so few rows to say.", "none")]
    excess = max(0.0, found.pattern.value - found.pattern_floor.value - 2 * found.pattern.standard_error)
    return [Finding(question, f"{answer}.", grade(excess, SHARE_MARGIN))]


def _categories(found: dict, rows: Rows, number: int) -> list[Finding]:
    if not found:
        return []
    name, (value, real, drawn) = max(found.items(), key=lambda item: abs(item[1][2].value - item[1][1].value))
    chance = _chance(real, drawn, rows, number)
    answer = (
        f"The largest difference is at {named(name)} = {value}, {percent(real.value)} of real rows and "
        f"{percent(drawn.value)} of drawn ones; equal laws differ by up to {100 * chance:.1f} points"
    )
    excess = max(abs(d.value - r.value) - _chance(r, d, rows, number) for _, r, d in found.values())
    return [Finding("Is the share of each category right?", f"{answer}.", grade(excess, SHARE_MARGIN))]


def _num_categories(schema: Schema) -> int:
    return sum(len(kind.categories) for kind in schema.columns.values() if isinstance(kind, Categorical))


def _bodies(found: dict[str, Body]) -> list[Finding]:
    if not found:
        return []
    name = max(found, key=lambda n: found[n].gap - found[n].by_chance)
    worst = found[name]
    answer = (
        f"The distribution functions off the atoms are furthest apart in {named(name)}, by {worst.gap:.3f}; equal laws "
        f"stay below {worst.by_chance:.3f}, and 1 is the worst"
    )
    mark = grade(worst.gap - worst.by_chance, GAP_MARGIN)
    return [Finding("Is the body of each column right?", f"{answer}.", mark)]


def _tails(found: Comparison, bodies: dict[str, Body]) -> list[Finding]:
    ratio, said, marks = found.row_sum, [], []
    if ratio is not None and np.isfinite(ratio.value):
        said.append(
            f"The 99 % quantile of a row's sum is {figures(ratio.value)} ± {figures(ratio.standard_error)} times "
            "that of real rows."
        )
        marks.append(grade(max(0.0, abs(ratio.value - 1) - 2 * ratio.standard_error), TAIL_MARGIN))
    reaches = {name: body.reach for name, body in bodies.items() if body.reach is not None}
    if reaches:
        name = max(reaches, key=lambda n: _off_by(reaches[n].low, reaches[n].high))
        reach = reaches[name]
        said.append(
            f"Beyond the 20th largest real value of {named(name)} lie {reach.value:.2f} ({reach.low:.2f} to "
            f"{reach.high:.2f}) times as many drawn rows as real ones: 1 is right, 0 is a tail that was cut off."
        )
        off_by = _off_by(reach.low, reach.high)
        marks.append("good" if off_by <= 1.5 else "fair" if off_by <= 2 else "poor")
    return [Finding("Are the tails right?", " ".join(said), worst_of(marks))] if said else []


def _off_by(low: float, high: float) -> float:
    """The factor by which a ratio misses 1, at least."""
    return max(1.0, low, 1 / max(high, 1e-9))


def _dependence(found: Dependence | None) -> list[Finding]:
    if found is None:
        return []
    answer = (
        f"Rank correlations differ most for {named(found.first)} and {named(found.second)}: {number(found.real)} in "
        f"real rows, {number(found.drawn)} in drawn ones, with a standard error of {found.standard_error:.3f}"
    )
    mark = grade(found.beyond_chance, GAP_MARGIN)
    return [Finding("Do columns hang together as they should?", f"{answer}.", mark)]


def _memory(found: Memory | None) -> Finding:
    question, said, marks = "Does it repeat the rows that it was made from?", [], []
    if found is None:
        return Finding(question, "Not looked at: those rows were not given.", "none")
    if found.copies:
        copies, floor = found.copies.value, found.copies.floor
        said.append(f"{percent(copies.value)} of drawn rows with an amount are exact copies of a real row;")
        said.append(
            f"{percent(floor.value)} of {'unseen real rows are' if found.closest else 'real rows repeat another'}."
        )
        marks.append(grade(max(0.0, copies.low - floor.high), COPY_MARGIN))
    if found.closest:
        near = found.closest.nearer_to_train
        said.append(
            f"The nearest real row is one of those rather than an unseen one for {plus_minus(near)} of the drawn rows, "
            "and 0.5 is expected of a law that knows no single row."
        )
        marks.append(grade(max(0.0, near.value - 0.5 - 2 * near.standard_error), NEAR_MARGIN))
    elif found.near:
        said.append(
            f"{percent(found.near.value)} of drawn rows lie closer to a real row than {percent(1 - LEVEL)} of real "
            f"rows lie to each other, and {percent(LEVEL)} is expected. Unseen real rows would tell more."
        )
        marks.append(grade(max(0.0, found.near.low - LEVEL), LEVEL))
    else:
        said.append("Whether drawn rows lie nearer to them than to unseen ones cannot be said without unseen ones.")
    return Finding(question, " ".join(said), worst_of(marks) if marks else "none")


def _score(found: ScoreFit) -> Finding:
    question = "Do held-out rows have the model's score?"
    left = f" Not looked at, for they are recorded in steps: {listed(found.on_grid)}." if found.on_grid else ""
    test = found.test
    if test is None or test.bodies is None:
        why = "too few rows share a state" if found.columns else "no column holds amounts free of steps"
        return Finding(question, f"Not tested: {why}.{left}", "none")
    by = f"{spelt_p(test.bodies.p_value)} for the amounts"
    if test.states:
        by += f" and {spelt_p(test.states.p_value)} for the atoms"
    answer = (
        f"A Stein test on {test.num_rows:,} rows of {listed(found.columns)} has p = {spelt_p(test.p_value)} ({by}). "
        f"If the model is right p is uniform; below {POOR_P:g} it is wrong by more than so many rows hide.{left}"
    )
    return Finding(question, answer, grade_p(test.p_value))


def _density(density: Density) -> Finding:
    answer = f"{plus_minus(density.log_density)} nats a row on average over {density.num_rows} rows"
    if density.num_outside:
        answer += f", {density.num_outside} of which lie outside the model's support and are not in the average"
    return Finding(
        "What log density do held-out rows get?", f"{answer}.", "none" if not density.num_outside else "fair"
    )


def _certificate(log_z: Estimate) -> Finding:
    excess = max(0.0, abs(log_z.value) - 2 * log_z.standard_error)
    answer = f"Its total mass is estimated as exp({plus_minus(log_z)}), and 0 in the exponent is perfect"
    return Finding("Is the density normalised?", f"{answer}.", grade(excess, CERTIFICATE_MARGIN))


def _agreement(found: Agreement) -> Finding:
    answer = (
        f"The mean difference is {found.mean_gap:.3f} nats over {found.num_rows} rows, "
        f"{percent(found.within_a_nat)} of which agree to a nat"
    )
    return Finding("Do the two routes to the density agree?", f"{answer}.", grade(found.mean_gap, CERTIFICATE_MARGIN))
