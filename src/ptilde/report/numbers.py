"""What a fitted model is worth, in numbers and in sentences, apart from any picture.

`measure` takes a model, the rows it was fitted on, rows held out and draws, and returns a `Verdict`; `Verdict.findings`
says it in plain words, one line a question, each with whether the answer is good. The words come from the numbers
alone, so that the terminal and the page say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ptilde.diagnostics import Comparison, Estimate, compare
from ptilde.tabular.frames import open_table
from ptilde.tabular.schema import Schema, SemiContinuous, on_atom

Mark = Literal["good", "fair", "poor", "none"]

AUC_MARGIN = 0.035  # above the floor of real rows: what the project asks of itself on RAND HIE
SHARE_MARGIN = 0.015
CERTIFICATE_MARGIN = 0.06


class Model(Protocol):
    """What is asked of an estimator."""

    schema_: Schema
    history_: dict[str, dict[str, list]]
    n_iter_: int
    seed_: int

    def score_samples(self, X: Any, method: str = ...) -> NDArray: ...
    def log_normalizer(self) -> tuple[float, float]: ...


class Finding(NamedTuple):
    """One question, its answer in words, and whether it is good."""

    question: str
    answer: str
    mark: Mark


@dataclass(frozen=True)
class Agreement:
    """One-pass against ODE log densities of the same rows."""

    mean_gap: float
    within_a_nat: float
    num_rows: int


@dataclass(frozen=True)
class Verdict:
    """The numbers of a model, its rows by column, and how it was fitted."""

    schema: Schema
    comparison: Comparison
    log_density: Estimate
    num_outside: int
    certificate: Estimate
    agreement: Agreement | None
    train: dict[str, NDArray]
    test: dict[str, NDArray]
    draws: dict[str, NDArray]
    history: dict[str, dict[str, list]]
    fitted: dict[str, float]

    @property
    def findings(self) -> list[Finding]:
        """The verdict in sentences, the most telling first."""
        told = [
            _auc(self.comparison),
            *_atoms(self.comparison),
            *_patterns(self.comparison),
            *_tails(self.comparison),
            _density(self),
        ]
        told.append(_certificate(self.certificate))
        if self.agreement:
            told.append(_agreement(self.agreement))
        return told


def measure(model: Model, train: Any, test: Any, draws: Any, *, seed: int = 0, num_ode_rows: int = 0) -> Verdict:
    """The verdict on a model.

    Args:
        model: a fitted estimator.
        train: the frame it was fitted on.
        test: a frame of rows that it has not seen.
        draws: a frame of its own draws, about as many as held-out rows or more.
        seed: of the classifier and the bootstrap.
        num_ode_rows: how many held-out rows are scored by the slow route too; 0 leaves it out.
    """
    rows = {name: _opened(model.schema_, frame) for name, frame in (("train", train), ("test", test), ("draws", draws))}
    log_density = np.asarray(model.score_samples(test))
    inside = np.isfinite(log_density)
    log_z, log_z_error = model.log_normalizer()
    return Verdict(
        schema=model.schema_,
        comparison=compare(rows["train"], rows["test"], rows["draws"], atoms=atoms_of(model.schema_), seed=seed),
        log_density=_mean(log_density[inside]),
        num_outside=int(np.sum(~inside)),
        certificate=Estimate(float(log_z), float(log_z_error)),
        agreement=_routes(model, test, log_density, num_ode_rows) if num_ode_rows else None,
        **rows,
        history=model.history_,
        fitted={"steps": model.n_iter_, "seed": model.seed_, "seconds": float(getattr(model, "fit_seconds_", np.nan))},
    )


def atoms_of(schema: Schema) -> dict[str, tuple[float, ...]]:
    """The atoms of each column that has some."""
    return {name: kind.atoms for name, kind in schema.columns.items() if isinstance(kind, SemiContinuous)}


def off_atoms(values: NDArray, atoms: Sequence[float]) -> NDArray[np.bool_]:
    """Which values are there, and on none of the atoms."""
    on = np.isnan(values)
    for atom in atoms:
        on = on | on_atom(values, atom)
    return ~on


def _opened(schema: Schema, frame: Any) -> dict[str, NDArray]:
    return schema.check(open_table(frame))


def _mean(x: NDArray) -> Estimate:
    if not len(x):
        return Estimate(-np.inf, np.nan)
    return Estimate(float(np.mean(x)), float(np.std(x) / np.sqrt(len(x))))


def _routes(model: Model, test: Any, log_density: NDArray, num_rows: int) -> Agreement:
    some = test[:num_rows]
    gap = np.abs(np.asarray(model.score_samples(some, method="ode")) - log_density[: len(some)])
    gap = gap[np.isfinite(gap)]
    return Agreement(float(np.mean(gap)), float(np.mean(gap <= 1)), len(gap))


# --- in words --------------------------------------------------------------------------------------------------------


def _grade(excess: float, margin: float) -> Mark:
    return "good" if excess <= margin else "fair" if excess <= 3 * margin else "poor"


def _auc(found: Comparison) -> Finding:
    excess = found.auc.value - found.auc_floor.value
    mark = _grade(excess, AUC_MARGIN)
    words = {"good": "Hardly better than chance", "fair": "Somewhat", "poor": "Yes, clearly", "none": ""}[mark]
    numbers = f"AUC {_pm(found.auc)}; real rows among themselves reach {_pm(found.auc_floor)}, and 0.5 is perfect"
    return Finding("Can a classifier tell drawn rows from held-out ones?", f"{words}: {numbers}.", mark)


def _atoms(found: Comparison) -> list[Finding]:
    pairs = [(name, atom, *pair) for name, shares in found.atoms.items() for atom, pair in shares.items()]
    if not pairs:
        return []
    excess = [max(0.0, abs(model.value - real.value) - 2 * model.standard_error) for _, _, real, model in pairs]
    name, atom, real, model = pairs[int(np.argmax([abs(m.value - r.value) for _, _, r, m in pairs]))]
    answer = (
        f"{len(pairs)} atoms in {len(found.atoms)} columns; the largest difference is at {name} = {atom:g}, "
        f"{_percent(real.value)} of real rows and {_percent(model.value)} of drawn ones"
    )
    return [Finding("Is the mass on each atom right?", f"{answer}.", _grade(max(excess), SHARE_MARGIN))]


def _patterns(found: Comparison) -> list[Finding]:
    if found.pattern is None or found.pattern_floor is None or len(found.atoms) < 2:
        return []
    answer = (
        f"The patterns of atoms are {_pm(found.pattern)} apart in total variation; real rows among themselves are "
        f"{_pm(found.pattern_floor)} apart"
    )
    excess = max(0.0, found.pattern.value - found.pattern_floor.value - 2 * found.pattern.standard_error)
    return [
        Finding("Do columns sit on their atoms together as they should?", f"{answer}.", _grade(excess, SHARE_MARGIN))
    ]


def _tails(found: Comparison) -> list[Finding]:
    ratio = found.row_sum
    if ratio is None or not np.isfinite(ratio.value):
        return []
    answer = f"The 99 % quantile of a row's sum is {_pm(ratio)} times that of real rows"
    excess = max(0.0, abs(ratio.value - 1) - 2 * ratio.standard_error)
    return [Finding("Are the tails right?", f"{answer}.", _grade(excess, 0.05))]


def _density(verdict: Verdict) -> Finding:
    answer = f"{_pm(verdict.log_density)} nats a row on average over {len(next(iter(verdict.test.values())))} rows"
    if verdict.num_outside:
        answer += f", {verdict.num_outside} of which lie outside the model's support and are not in the average"
    return Finding(
        "What log density do held-out rows get?", f"{answer}.", "none" if not verdict.num_outside else "fair"
    )


def _certificate(log_z: Estimate) -> Finding:
    excess = max(0.0, abs(log_z.value) - 2 * log_z.standard_error)
    answer = f"Its total mass is estimated as exp({_pm(log_z)}), and 0 in the exponent is perfect"
    return Finding("Is the density normalised?", f"{answer}.", _grade(excess, CERTIFICATE_MARGIN))


def _agreement(found: Agreement) -> Finding:
    answer = (
        f"The mean difference is {found.mean_gap:.3f} nats over {found.num_rows} rows, "
        f"{_percent(found.within_a_nat)} of which agree to a nat"
    )
    return Finding("Do the two routes to the density agree?", f"{answer}.", _grade(found.mean_gap, CERTIFICATE_MARGIN))


def _pm(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ± {estimate.standard_error:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def pattern_shares(verdict: Verdict, largest: int = 12) -> list[tuple[str, float, float]]:
    """The commonest patterns in words ("all on an atom", "a, b off"), with their shares in real and in drawn rows."""
    atoms = atoms_of(verdict.schema)
    if not atoms:
        return []
    real = {name: np.concatenate([verdict.train[name], verdict.test[name]]) for name in atoms}
    ours, theirs = _pattern_counts(verdict.draws, atoms), _pattern_counts(real, atoms)
    common = sorted(theirs, key=lambda pattern: -theirs[pattern])[:largest]
    return [(_pattern_name(pattern, list(atoms)), theirs[pattern], ours.get(pattern, 0.0)) for pattern in common]


def _pattern_counts(rows: Mapping[str, NDArray], atoms: Mapping[str, tuple[float, ...]]) -> dict[bytes, float]:
    off = np.column_stack([off_atoms(rows[name], values) for name, values in atoms.items()])
    patterns, count = np.unique(off, axis=0, return_counts=True)
    return {pattern.tobytes(): float(c / len(off)) for pattern, c in zip(patterns, count, strict=True)}


def _pattern_name(pattern: bytes, names: list[str]) -> str:
    off = [name for name, is_off in zip(names, np.frombuffer(pattern, bool), strict=True) if is_off]
    if not off:
        return "all on an atom"
    return ", ".join(off) if len(off) <= 3 else f"{', '.join(off[:3])} and {len(off) - 3} more"
