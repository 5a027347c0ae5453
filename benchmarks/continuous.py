"""What every case on a continuous table measures: held-out log density, ours beside flows given the same seconds.

A tenth of the rows is held out by seed. Columns are standardised by the mean and standard deviation of the fitted rows,
so that log densities are per row of standardised columns. The same for every model:

* a column is left out as discrete if fewer than 1 % of its values are distinct;
* a column is taken as recorded in steps if fewer than 30 % of what is left are, and every value gets uniform noise
  of one step's width (the median gap between neighbouring distinct values): without it a density has no upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from sklearn.neighbors import KernelDensity

from benchmarks import peers
from benchmarks.harness import OURS, Floor, Options, Rows, clock, peak_memory, shared_table
from benchmarks.peers.flows import FLOWS, ZukoSpline

SECONDS, NUM_ODE = 120.0, 500
HEADED = ("redwine", "whitewine")  # files whose first line names the columns
METRICS = {
    "log density": "mean held-out log density a row, in nats, over all held-out rows; ours by one pass",
    "normalised": "that of ours less the log normaliser of its certificate, which surplus mass cannot flatter",
    "median": "the median over the same rows",
    "no twins": "the mean over those of them that equal no fitted row as recorded",
    "first": f"the mean over the first {NUM_ODE} of them",
    "ODE": "the mean of ours by the probability-flow ODE, over the same first rows",
    "gap": "|one pass - ODE|, of these means",
    "row gap": "mean |one pass - ODE| over them, row by row",
    "within 1 nat": "share of them where the two agree to a nat",
    "outside": "held-out rows with log density -inf; the mean counts them",
    "log Z": "certificate: the log normaliser, 0 if the one-pass density integrates to 1",
    "log Z off": "its distance from 0",
    "se log Z": "its standard error",
    "twins": "held-out rows that do equal one",
    "fit s": "seconds to fit, compilation included",
    "score s": "seconds for the log densities of the held-out rows, compilation included",
    "peak MB": "most memory held by the process after these",
}
FLOORS = [
    Floor(
        "one pass, normalised, at least as high as zuko NSF",
        lambda m: m[OURS]["normalised"] - m[ZukoSpline.name]["log density"],
        lambda value: value >= 0,
    ),
    Floor("log Z within 0.03 of 0", lambda m: m[OURS]["log Z off"], lambda value: value <= 0.03),
]


class Gaussian:
    """The normal law with the rows' mean and covariance."""

    name = "Gaussian"

    def fit(self, x: NDArray) -> Gaussian:
        self.law = multivariate_normal(x.mean(0), np.cov(x.T), allow_singular=True)
        return self

    def score_samples(self, x: NDArray) -> NDArray:
        return self.law.logpdf(x)


class Kernel:
    """scikit-learn's KernelDensity; of Scott's bandwidth times 1, 1/2, ... 1/16 the best on 500 rows left out."""

    name = "scikit-learn KernelDensity"

    def fit(self, x: NDArray) -> Kernel:
        width = len(x) ** (-1 / (x.shape[1] + 4)) / 2.0 ** np.arange(5)
        self.density = max(
            (KernelDensity(bandwidth=w).fit(x[500:]) for w in width), key=lambda density: density.score(x[:500])
        )
        return self

    def score_samples(self, x: NDArray) -> NDArray:
        return self.density.score_samples(x)


@dataclass(frozen=True)
class Table:
    """A table with the columns that count, and what was decided about the others."""

    rows: NDArray
    kept: list[int]
    step: NDArray  # of each kept column, 0 where it is not recorded in steps

    @classmethod
    def read(cls, name: str) -> Table:
        raw = np.loadtxt(shared_table(f"uci/{name}.csv.gz"), delimiter=",", skiprows=int(name in HEADED))
        values = [np.unique(column) for column in raw.T]
        kept = [j for j, v in enumerate(values) if len(v) >= 0.01 * len(raw)]
        step = [float(np.median(np.diff(values[j]))) if len(values[j]) < 0.3 * len(raw) else 0.0 for j in kept]
        return cls(raw, kept, np.array(step))

    def split(self, seed: int) -> tuple[NDArray, NDArray, NDArray]:
        """Standardised rows to fit and held out, and which of the latter have a twin among the former."""
        rng = np.random.default_rng(seed)
        noisy = self.rows[:, self.kept] + self.step * (rng.random((len(self.rows), len(self.kept))) - 0.5)
        order = rng.permutation(len(noisy))
        held_out, fitted = np.split(order, [round(0.1 * len(order))])
        seen = set(map(bytes, self.rows[fitted][:, self.kept]))
        twins = np.array([bytes(row) in seen for row in self.rows[held_out][:, self.kept]])
        mean, scale = noisy[fitted].mean(0), noisy[fitted].std(0)
        return (noisy[fitted] - mean) / scale, (noisy[held_out] - mean) / scale, twins


def notes(name: str) -> list[str]:
    """What was done to the table."""
    table = Table.read(name)
    num_rows, num_columns = table.rows.shape
    left_out = [j for j in range(num_columns) if j not in table.kept]
    in_steps = [j for j, step in zip(table.kept, table.step, strict=True) if step]
    return [
        f"{num_rows:,} rows, a tenth of them held out; {len(table.kept)} of {num_columns} columns, counted from 0.",
        f"Left out as discrete (fewer than 1 % of the values distinct): {_listed(left_out)}.",
        f"Recorded in steps (fewer than 30 %), uniform noise of one step added: {_listed(in_steps)}.",
    ]


def measure(name: str, seed: int, options: Options, picture: Path | None) -> Rows:
    """The lines of the table: ours, a Gaussian, a kernel density, the flows."""
    fitted, held_out, twins = Table.read(name).split(seed)
    seconds = options.budget or SECONDS
    ours, one_pass = _ours(fitted, held_out, seed, options, seconds)
    rows: Rows = {OURS: {**ours, **_summary(one_pass, twins)}}
    scores = {OURS: one_pass}

    def scored(peer) -> dict[str, float]:
        timed = clock()
        with timed("score s"):
            scores[peer.name] = peer.score_samples(held_out)
        return {**timed.seconds, **_summary(scores[peer.name], twins)}

    entered = [Gaussian(), Kernel()] if options.wants("simple") else []
    entered += [flow(seconds, seed) for flow in FLOWS] if options.wants("flows") else []
    for peer in entered:
        rows |= peers.row(peer, fitted, scored)
    if picture:
        from benchmarks.pictures import quantiles

        quantiles(picture, scores, "log density of the held-out rows, in order")
    return rows


def _ours(
    fitted: NDArray, held_out: NDArray, seed: int, options: Options, seconds: float
) -> tuple[dict[str, float], NDArray]:
    """The numbers that only ours has, and its one-pass log densities."""
    from ptilde import Schema
    from ptilde.tabular.schema import Real

    schema = Schema({f"x{j}": Real() for j in range(fitted.shape[1])})
    model = options.estimator(seed, schema=schema, time_budget=None if options.max_iter else seconds)
    timed = clock()
    with timed("fit s"):
        model.fit(_frame(fitted))
    with timed("score s"):
        one_pass = np.asarray(model.score_samples(_frame(held_out)))
    row = {**timed.seconds, "peak MB": peak_memory()}
    by_ode = np.asarray(model.score_samples(_frame(held_out[:NUM_ODE]), method="ode"))
    with np.errstate(invalid="ignore"):
        gap = by_ode - one_pass[:NUM_ODE]
    row |= {"ODE": float(np.mean(by_ode)), "gap": float(abs(np.mean(gap))), "row gap": float(np.mean(np.abs(gap)))}
    row["within 1 nat"] = float(np.mean(np.abs(gap) <= 1))
    row["log Z"], row["se log Z"] = map(float, model.log_normalizer())
    row["normalised"], row["log Z off"] = float(np.mean(one_pass)) - row["log Z"], abs(row["log Z"])
    return row, one_pass


def _summary(log_density: NDArray, twins: NDArray) -> dict[str, float]:
    return {
        "log density": float(np.mean(log_density)),
        "median": float(np.median(log_density)),
        "no twins": float(np.mean(log_density[~twins])),
        "first": float(np.mean(log_density[:NUM_ODE])),
        "outside": float(np.sum(np.isneginf(log_density))),
        "twins": float(twins.sum()),
    }


def _frame(rows: NDArray) -> pa.Table:
    return pa.table({f"x{j}": column for j, column in enumerate(rows.T)})


def _listed(columns: list[int]) -> str:
    return ", ".join(map(str, columns)) or "none"


def case(name: str) -> tuple:
    """`METRICS, FLOORS, notes, measure` of the case of that name."""
    return METRICS, FLOORS, partial(notes, name), partial(measure, name)
