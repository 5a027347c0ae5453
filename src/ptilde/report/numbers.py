"""What a fitted model, or anybody's synthetic table, is worth: in numbers, apart from any word or picture.

`measure` takes a model, rows it has not seen, its draws and, if they are known, the rows it was fitted on;
`measure_tables` takes real rows and synthetic ones, and no model. Both return a `Verdict`. Every distance is read
beside its floor: the same distance between real rows and real rows, which is never 0 in finite samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptilde.diagnostics import Comparison, Estimate, Floored, compare
from ptilde.report import evidence, machine
from ptilde.report.phrases import Finding
from ptilde.report.rows import Columns, atoms_of, halves, joined, opened
from ptilde.report.slices import Slice, density_slice
from ptilde.report.words import findings
from ptilde.tabular.schema import Schema


class Model(Protocol):
    """What is asked of an estimator."""

    schema_: Schema
    history_: dict[str, dict[str, list]]
    n_iter_: int
    seed_: int

    def score_samples(self, X: Any, method: str = ...) -> NDArray: ...
    def grad_log_density(self, X: Any) -> NDArray: ...
    def log_normalizer(self) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Agreement:
    """One-pass against ODE log densities of the same rows."""

    mean_gap: float
    within_a_nat: float
    num_rows: int
    one_pass: NDArray[np.float64]
    ode: NDArray[np.float64]


@dataclass(frozen=True)
class Density:
    """What a model says of rows that it has not seen, and how it was fitted.

    Attributes:
        log_density: the mean in nats over those of `num_rows` held-out rows that lie in its support.
        num_rows, num_outside: how many rows there were, and how many of them lie outside.
        certificate: the logarithm of its total mass.
        agreement: of its two routes, where both were taken.
        score: the Stein test.
        history: by stage: step, loss, held-out loss.
        fitted: its seed, steps and seconds.
    """

    log_density: Estimate
    num_rows: int
    num_outside: int
    certificate: Estimate
    agreement: Agreement | None
    score: evidence.ScoreFit
    history: dict[str, dict[str, list]]
    fitted: dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """The numbers of drawn rows, the rows by column, and what a model says of them.

    Attributes:
        schema: what the columns may hold.
        comparison: of the draws, beside the floors.
        bodies, categories: column by column.
        dependence: of the numeric columns, if there are two.
        law: MMD tests of draws and of other real rows against held-out ones.
        memory: of single rows; None if the rows of the fit are not known.
        density: what a model says; None if there is only a table.
        train: the real rows that the floors come from: those of the fit where they are known.
        test: the other real rows.
        draws: the drawn or synthetic ones.
        slice: of a model's density, over the two columns that are most often off their atoms together.
    """

    schema: Schema
    comparison: Comparison
    bodies: dict[str, evidence.Body]
    categories: dict[str, tuple[Any, Estimate, Estimate]]
    dependence: evidence.Dependence | None
    law: Floored
    memory: evidence.Memory | None
    density: Density | None
    train: Columns
    test: Columns
    draws: Columns
    slice: Slice | None = None

    @property
    def real(self) -> Columns:
        """All real rows."""
        return joined(self.train, self.test)

    @property
    def findings(self) -> list[Finding]:
        """The verdict in sentences, the most telling first."""
        return findings(self)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain values for strict JSON; a number that is infinite or none is null."""
        return machine.told(self)

    def _repr_html_(self) -> str:
        return machine.list_of(self.findings)


def measure(model: Model, train: Any, test: Any, draws: Any, *, seed: int = 0, num_ode_rows: int = 0) -> Verdict:
    """The verdict on a model.

    Args:
        model: a fitted estimator.
        train: the frame it was fitted on, or None: the floors then come from the halves of `test`.
        test: a frame of rows that it has not seen.
        draws: a frame of its own draws, about as many as held-out rows or more.
        seed: of the classifier, the bootstrap and the tests.
        num_ode_rows: how many held-out rows are scored by the slow route too; 0 leaves it out.

    Raises:
        DataError: if a table lacks a column of the schema, or has too few rows.
    """
    schema = model.schema_
    held_out, drawn = opened(schema, test, "held-out rows"), opened(schema, draws, "drawn rows")
    if train is None:
        first, second = halves(held_out, seed)
        memory = None
    else:
        first, second = opened(schema, train, "rows of the fit"), held_out
        memory = evidence.memory(schema, first, second, drawn, seed, unseen=True)
    density = _density(model, test, held_out, drawn, seed, num_ode_rows)
    return _judged(schema, first, second, drawn, memory, density, seed, density_slice(model, test))


def measure_tables(real: Any, synthetic: Any, holdout: Any = None, *, seed: int = 0) -> Verdict:
    """The verdict on a synthetic table, whatever made it.

    Args:
        real: a frame of the rows that it was made from; the schema is inferred from it.
        synthetic: a frame with the same columns.
        holdout: a frame of real rows that it was not made from. Without, one half of `real` is the floor of the other,
            and whether the synthetic rows are nearer to those they were made from cannot be said.
        seed: of the halves, the classifier, the bootstrap and the tests.

    Raises:
        DataError: if a table lacks a column of the real one, or has too few rows.
    """
    schema = Schema.infer(real)
    rows, drawn = opened(schema, real, "real rows"), opened(schema, synthetic, "synthetic rows")
    first, second = halves(rows, seed) if holdout is None else (rows, opened(schema, holdout, "held-out rows"))
    memory = evidence.memory(schema, first, second, drawn, seed, unseen=holdout is not None)
    return _judged(schema, first, second, drawn, memory, None, seed)


def _judged(
    schema: Schema,
    train: Columns,
    test: Columns,
    draws: Columns,
    memory: evidence.Memory | None,
    density: Density | None,
    seed: int,
    found: Slice | None = None,
) -> Verdict:
    real = joined(train, test)
    return Verdict(
        schema=schema,
        comparison=compare(train, test, draws, atoms=atoms_of(schema), seed=seed),
        bodies=evidence.bodies(schema, real, draws),
        categories=evidence.categories(schema, real, draws),
        dependence=evidence.dependence(schema, real, draws, seed),
        law=evidence.whole_law(train, test, draws, seed),
        memory=memory,
        density=density,
        train=train,
        test=test,
        draws=draws,
        slice=found,
    )


def _density(model: Model, test: Any, held_out: Columns, draws: Columns, seed: int, num_ode_rows: int) -> Density:
    log_density = np.asarray(model.score_samples(test))
    inside = np.isfinite(log_density)
    log_z, log_z_error = model.log_normalizer()
    return Density(
        log_density=_mean(log_density[inside]),
        num_rows=len(log_density),
        num_outside=int(np.sum(~inside)),
        certificate=Estimate(float(log_z), float(log_z_error)),
        agreement=_routes(model, test, log_density, num_ode_rows) if num_ode_rows else None,
        score=evidence.score_fit(model, model.schema_, test, held_out, draws, seed),
        history=model.history_,
        fitted={"steps": model.n_iter_, "seed": model.seed_, "seconds": float(getattr(model, "fit_seconds_", np.nan))},
    )


def _mean(x: NDArray) -> Estimate:
    if not len(x):
        return Estimate(-np.inf, np.nan)
    return Estimate(float(np.mean(x)), float(np.std(x) / np.sqrt(len(x))))


def _routes(model: Model, test: Any, log_density: NDArray, num_rows: int) -> Agreement:
    some = test[:num_rows]
    one_pass, ode = log_density[: len(some)], np.asarray(model.score_samples(some, method="ode"), float)
    known = np.isfinite(one_pass) & np.isfinite(ode)
    gap = np.abs(ode - one_pass)[known]
    return Agreement(float(np.mean(gap)), float(np.mean(gap <= 1)), len(gap), one_pass[known], ode[known])
