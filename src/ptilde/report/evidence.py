r"""What speaks for and against drawn rows beyond `compare`: columns, dependence, the whole law, memory, score.

Each measure is of drawn rows against real ones, with the same of real rows among themselves beside it, or a p-value.
Where n rows are looked at, n is bounded, so that the page of a large table costs no more than that of a middling one.

* Bodies: the largest gap D of the two distribution functions off the atoms (Kolmogorov and Smirnov), and the gap that
  equal laws stay below with 95 % in all k columns, $\sqrt{\tfrac12\log(2k/0.05)\,(1/n + 1/m)}$.
* Reach: the share of drawn rows beyond the 20th largest real value, over that of real rows: 1, within sampling noise,
  for a tail that reaches as far, 0 for one that was clipped.
* Dependence: the largest difference of a rank correlation beyond the z standard errors that the largest of k pairs
  reaches by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptilde.diagnostics import (
    Bounded,
    Estimate,
    Floored,
    closest_records,
    compare_correlations,
    exact_copies,
    mmd_test,
    near_records,
)
from ptilde.diagnostics.mixed import MixedTest, mixed_ksd_test
from ptilde.diagnostics.privacy import ClosestRecords
from ptilde.diagnostics.results import share
from ptilde.report.rows import Columns, at_most, atoms_of, joined, numeric, off_atoms
from ptilde.tabular.schema import Categorical, Interval, Kind, Positive, Schema

LEVEL = 0.05  # of a table's columns or pairs together
NUM_LARGEST = 20
MIN_BODY = 2 * NUM_LARGEST  # values off the atoms; fewer have no tail to speak of
MOST_ROWS, MOST_COLUMNS = 5000, 24
TESTED_ROWS, NUM_NULL = 1000, 999  # of a p-value, which asks whether so many rows tell


@dataclass(frozen=True)
class Body:
    """One column off its atoms.

    Attributes:
        gap: the largest of the two distribution functions.
        by_chance: what equal laws stay below.
        reach: share of drawn rows beyond the 20th largest real value, over that of real rows; None with few rows.
    """

    gap: float
    by_chance: float
    reach: Bounded | None


@dataclass(frozen=True)
class Dependence:
    """The pair of columns whose rank correlation differs most.

    Attributes:
        first, second: their names.
        real, drawn: the rank correlations.
        standard_error: of the difference.
        beyond_chance: the largest difference of any pair less what chance explains, 0 at least.
    """

    first: str
    second: str
    real: float
    drawn: float
    standard_error: float
    beyond_chance: float


@dataclass(frozen=True)
class Memory:
    """Whether drawn rows are too near to the rows that they were made from.

    Attributes:
        copies: share of draws that repeat one, with that of other real rows as its floor; None without amounts.
        closest: how often the nearest real row is one of them and not an unseen one; None if no row is unseen.
        near: the share of draws nearer to one than 95 % of them are to another; None if rows are unseen, or repeat.
    """

    copies: Floored | None
    closest: ClosestRecords | None
    near: Bounded | None = None


@dataclass(frozen=True)
class ScoreFit:
    """The Stein test of the score on held-out rows.

    Attributes:
        test: of states and bodies; None where it does not apply.
        columns: which were looked at.
        on_grid: which were not, because they are recorded in steps and have no score.
    """

    test: MixedTest | None
    columns: tuple[str, ...]
    on_grid: tuple[str, ...]


def bodies(schema: Schema, real: Columns, draws: Columns) -> dict[str, Body]:
    """Each numeric column with values enough off its atoms."""
    atoms = atoms_of(schema)

    def body(rows: Columns, name: str) -> NDArray:
        return rows[name][off_atoms(rows[name], atoms.get(name, ()))]

    split = {name: (body(real, name), body(draws, name)) for name in numeric(schema)}
    split = {name: pair for name, pair in split.items() if len(pair[0]) >= MIN_BODY}
    totals = len(next(iter(real.values()))), len(next(iter(draws.values())))
    return {name: _body(*pair, totals, len(split)) for name, pair in split.items()}


def _body(real: NDArray, drawn: NDArray, totals: tuple[int, int], num_columns: int) -> Body:
    from scipy.stats import ks_2samp

    # A body of which nothing was drawn is as far off as can be, and no chance excuses it.
    gap = float(ks_2samp(real, drawn, method="asymp").statistic) if len(drawn) else 1.0
    chance = by_chance(len(real), len(drawn) or np.inf, num_columns)
    limit = np.sort(real)[-NUM_LARGEST]
    expected = np.sum(real > limit) / totals[0]
    if expected == 0:
        return Body(gap, chance, None)
    found = share(int(np.sum(drawn > limit)), totals[1], 1 - LEVEL / num_columns)
    return Body(gap, chance, Bounded(*(float(end / expected) for end in found)))


def by_chance(num_real: int, num_drawn: float, num_columns: int = 1) -> float:
    """What the distribution functions of equal laws stay below in all columns, with 95 %."""
    return float(np.sqrt(0.5 * np.log(2 * num_columns / LEVEL) * (1 / num_real + 1 / num_drawn)))


def furthest_from_even(u: NDArray) -> float:
    """The largest gap between the distribution function of places and that of even ones."""
    from scipy.stats import kstest

    return float(kstest(u, "uniform").statistic)


def categories(schema: Schema, real: Columns, draws: Columns) -> dict[str, tuple[Any, Estimate, Estimate]]:
    """Of each categorical column the value whose share differs most, with both shares."""
    return {
        name: _category(kind.categories, real[name], draws[name])
        for name, kind in schema.columns.items()
        if isinstance(kind, Categorical)
    }


def _category(values: tuple, real: NDArray, drawn: NDArray) -> tuple[Any, Estimate, Estimate]:
    pairs = [(value, _share(real == value), _share(drawn == value)) for value in values]
    return max(pairs, key=lambda pair: abs(pair[2].value - pair[1].value))


def _share(found: NDArray) -> Estimate:
    p = float(np.mean(found))
    return Estimate(p, float(np.sqrt(p * (1 - p) / len(found))))


def dependence(schema: Schema, real: Columns, draws: Columns, seed: int) -> Dependence | None:
    """The rank correlations of the first numeric columns; None with fewer than two."""
    from scipy.stats import norm

    names = numeric(schema)[:MOST_COLUMNS]
    if len(names) < 2:
        return None
    found = compare_correlations(*(_ranked(at_most(rows, MOST_ROWS), names) for rows in (real, draws)), seed=seed)
    upper = np.triu_indices(len(names), 1)
    difference, error = np.abs(found.difference[upper]), found.standard_error[upper]
    known = np.isfinite(difference) & np.isfinite(error)
    if not known.any():
        return None
    beyond = np.where(known, difference - norm.ppf(1 - LEVEL / 2 / known.sum()) * error, -np.inf)
    worst = int(np.argmax(beyond if beyond.max() > 0 else np.where(known, difference, -np.inf)))
    i, j = (int(places[worst]) for places in upper)
    first, second, spread = (float(values[i, j]) for values in (found.first, found.second, found.standard_error))
    return Dependence(names[i], names[j], first, second, spread, max(0.0, float(beyond[worst])))


def _ranked(rows: Columns, names: list[str]) -> NDArray:
    """Columns whose missing cells lie below all others; ranks know no more."""
    columns = [np.asarray(rows[name], float) for name in names]
    return np.column_stack([np.where(np.isnan(x), np.nanmin(x) - 1 - abs(np.nanmin(x)), x) for x in columns])


def whole_law(train: Columns, test: Columns, draws: Columns, seed: int) -> Floored:
    """The test that held-out and drawn rows have one law, and the same of held-out rows and those of the fit."""
    return Floored(*(_one_law(test, rows, seed) for rows in (draws, train)))


def _one_law(real: Columns, rows: Columns, seed: int) -> Any:
    from scipy.stats import rankdata

    from ptilde.diagnostics.tables import coded

    rng = np.random.default_rng(seed)
    some = [rng.permutation(len(next(iter(table.values()))))[:TESTED_ROWS] for table in (real, rows)]
    parts = [{k: v[place] for k, v in table.items()} for table, place in zip((real, rows), some, strict=True)]
    first, second = coded(*parts)
    # Ranks make the columns comparable, whatever their units and tails.
    ranks = rankdata(np.nan_to_num(np.concatenate([first, second]), nan=-np.inf), axis=0)
    ranks /= np.maximum(ranks.std(0), 1e-9)
    return mmd_test(ranks[: len(first)], ranks[len(first) :], num_permutations=NUM_NULL, seed=seed)


def memory(schema: Schema, train: Columns, test: Columns, draws: Columns, seed: int, *, unseen: bool) -> Memory:
    """What the draws know of single rows; `unseen` says that they cannot have been made from those of the test."""
    atoms, some = atoms_of(schema), [at_most(rows, MOST_ROWS) for rows in (test, draws)]
    held, drawn = (any(off_atoms(rows[n], atoms.get(n, ())).any() for n in numeric(schema)) for rows in some)
    # Categories that are numbers are no amounts: every one of them is a point.
    points: dict[str, Any] = {n: k.categories for n, k in schema.columns.items() if isinstance(k, Categorical)}
    copies = None
    if held and drawn:  # of a table by itself all real rows may have been copied
        known, others = (train, some[0]) if unseen else (joined(train, test), None)
        copies = exact_copies(known, others, some[1], points | atoms)
    if unseen:
        return Memory(copies, closest_records(at_most(train, MOST_ROWS), some[0], some[1], seed=seed))
    return Memory(copies, None, near_records(at_most(joined(train, test), 4 * MOST_ROWS), some[1], level=LEVEL))


def score_fit(model: Any, schema: Schema, test: Any, held_out: Columns, draws: Columns, seed: int) -> ScoreFit:
    """The Stein test of the first held-out rows, in the columns that are not recorded in steps."""
    from ptilde.tabular.frames import open_table

    names = [name for name in numeric(schema) if getattr(schema.columns[name], "grid", None) is None]
    on_grid = tuple(name for name in numeric(schema) if name not in names)
    if not names:
        return ScoreFit(None, (), on_grid)
    order = [str(name) for name in getattr(model, "feature_names_in_", open_table(test).columns)]
    score = np.asarray(model.grad_log_density(test[:TESTED_ROWS]), float)[:, [order.index(name) for name in names]]
    x = np.column_stack([held_out[name][:TESTED_ROWS] for name in names])
    atoms = atoms_of(schema)
    drawn = np.column_stack([off_atoms(draws[name], atoms.get(name, ())) for name in names]).astype(int)
    ends = [_ends(schema.columns[name]) for name in names]
    found = mixed_ksd_test(x, score, drawn_states=drawn, support=ends, num_signs=NUM_NULL, seed=seed)
    return ScoreFit(found, tuple(names), on_grid)


def _ends(kind: Kind) -> tuple[float, float]:
    body: Any = getattr(kind, "body", kind)
    if isinstance(body, Interval):
        return body.low, body.high
    return (0.0 if isinstance(body, Positive) else -np.inf), np.inf
