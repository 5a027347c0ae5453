"""From the values of a column to its kind.

What is decided, in this order:

* Left out: constant, all missing, a copy of an earlier column, text with more distinct values than half the rows,
  whole numbers without the repetitions that chance would bring (row numbers, keys).
* Categorical: text, booleans, categories of a frame library, and numbers that take few values, each often.
* Count: whole numbers from 0 up without atoms, unless they take few values and have no count's shape.
* Atoms, as in `ptilde.tabular.atoms`, and the grid, as in `ptilde.tabular.steps` and `ptilde.tabular.heaps`. A 0 that
  is the least value is always an atom, so that the body is `Positive` and no draw is below 0; off a grid only in
  columns of 50 rows or more.
* The body is `Positive` when all of it is above zero; an `Interval` when an atom stands on its upper end and an
  atom or zero on its lower, or when it fills (0, 1] or (0, 100] to the brim; else `Real`.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde._validate import DataError
from ptilde.tabular.atoms import find_atoms
from ptilde.tabular.bodies import tied
from ptilde.tabular.frames import Table
from ptilde.tabular.heaps import find_grid, find_levels, shown
from ptilde.tabular.kinds import (
    Body,
    Categorical,
    Count,
    Interval,
    Kind,
    Positive,
    Real,
    SemiContinuous,
    is_missing,
    is_number,
    on_atom,
)
from ptilde.tabular.levels import Grid, Mask, Numbers, levels, steps_of
from ptilde.tabular.steps import find_step
from ptilde.tabular.tallies import Tally, tally

FEW = 20  # values that a person would list
OFTEN = 5  # rows a value must have on average for its share to be worth a name


@dataclass(frozen=True)
class Finding:
    """A column's kind, or None if it is left out; the shares of its points; a word or a reason."""

    kind: Kind | None
    note: str = ""
    shares: dict[Any, float] = field(default_factory=dict)


def infer_columns(table: Table, sample_weight: ArrayLike | None = None) -> dict[str, Finding]:
    """What is found for each column."""
    weights = _weights(sample_weight, table.num_rows)
    used = weights > 0
    found: dict[str, Finding] = {}
    first_with: dict[tuple[Any, ...], list[str]] = {}
    for name, values in table.columns.items():
        fingerprint = _fingerprint(values)
        twins = first_with.setdefault(fingerprint, [])
        twin = next((other for other in twins if _same(table.columns[other], values)), None)
        if twin is not None and found[twin].kind is not None:
            found[name] = Finding(None, f"a copy of column {twin!r}")
            continue
        twins.append(name)
        spelling = table.template.dtypes[name]
        if values.dtype == object:
            found[name] = _infer_objects(name, values[used], weights[used], spelling)
        else:
            found[name] = _infer_numbers(values[used], weights[used], spelling)
    return found


def _weights(sample_weight: ArrayLike | None, num_rows: int) -> Numbers:
    if sample_weight is None:
        return np.ones(num_rows)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (num_rows,):
        raise DataError(f"`sample_weight` must have one weight for each of {num_rows} rows; got shape {weights.shape}.")
    if not np.all(weights >= 0) or not np.all(np.isfinite(weights)) or not weights.any():
        raise DataError("`sample_weight` must be finite, zero or more, and not all zero.")
    return weights if np.all(weights == np.rint(weights)) else weights * (weights > 0).sum() / weights.sum()


def _fingerprint(values: NDArray[Any]) -> tuple[Any, ...]:
    if values.dtype == object:
        return (len(values), *values[:100].tolist(), *values[-100:].tolist())
    return (len(values), hash(values.tobytes()))


def _same(left: NDArray[Any], right: NDArray[Any]) -> bool:
    if left.dtype != right.dtype:
        return False
    return left.tolist() == right.tolist() if left.dtype == object else np.array_equal(left, right, equal_nan=True)


def _infer_objects(name: str, values: NDArray[Any], weights: Numbers, spelling: dict[str, Any]) -> Finding:
    counts: Counter[Any] = Counter()
    cells = values.tolist()
    if np.all(weights == 1):
        counts.update(cells)
    else:
        for cell, weight in zip(cells, weights.tolist(), strict=True):
            counts[cell] += weight  # type: ignore[assignment]
    missing = counts.pop(None, 0) > 0
    num_rows, num_levels = sum(counts.values()), len(counts)
    if num_levels == 0:
        return Finding(None, "all missing")
    if num_levels == 1 and not missing:
        return Finding(None, f"constant: always {next(iter(counts))!r}")
    _refuse_numbers_with_words(name, counts, cells)
    if num_levels > FEW and num_levels > num_rows / 2:
        return Finding(None, f"like an identifier: {num_levels} distinct values in {num_rows:.10g} rows")
    if isinstance(next(iter(counts)), int) and not isinstance(next(iter(counts)), bool):
        _refuse_large(name, values)
    order = {category: position for position, category in enumerate(spelling.get("categories", ()))}
    levels = sorted(counts, key=lambda level: (order.get(level, len(order)), level))
    note = f"{num_levels} categories" if num_levels > FEW else ""
    return Finding(Categorical(tuple(levels), missing), note, {v: counts[v] / _num_rows(weights) for v in levels})


def _refuse_numbers_with_words(name: str, counts: Counter[Any], cells: list[Any]) -> None:
    """Refuse text that is mostly amounts (decimals, or more numbers than a code has): a few words spoilt a column."""
    numbers = {level for level in counts if isinstance(level, str) and is_number(level)}
    amounts = len(numbers) > FEW or any("." in level for level in numbers)
    if not amounts or len(numbers) == len(counts) or 2 * sum(counts[v] for v in numbers) < sum(counts.values()):
        return
    row, cell = next((row, cell) for row, cell in enumerate(cells) if cell is not None and cell not in numbers)
    raise DataError(
        f"Column {name!r} must hold one type of value; got {cell!r} in row {row} among numbers such as "
        f"{min(numbers)!r}. Replace it by a number or an empty cell."
    )


def _num_rows(weights: Numbers) -> float:
    """The number of rows that the weights stand for."""
    return float(weights.sum())


def _refuse_large(name: str, values: NDArray[Any]) -> None:
    row = next(row for row, cell in enumerate(values) if not is_missing(cell) and abs(cell) > 2**53)
    raise DataError(
        f"Column {name!r} must hold integers up to 2^53, beyond which float64 confuses them; got {values[row]} in "
        f"row {row}. If it is an identifier, store it as text or drop it; if an amount, use a larger unit."
    )


def _infer_numbers(values: Numbers, weights: Numbers, spelling: dict[str, Any]) -> Finding:
    empty = np.isnan(values)
    missing = bool(empty.any())
    if empty.all():
        return Finding(None, "all missing")
    table, rows = tally(values[~empty], weights[~empty]), _num_rows(weights)
    if len(table.values) == 1 and not missing:
        return Finding(None, f"constant: always {table.values[0]:.10g}")
    if missing is False and _is_identifier(values, table):
        return Finding(None, f"like an identifier: {len(values)} whole numbers, no two alike")
    finest = find_step(table.values)
    step = shown(table, finest)
    if _is_categorical(table, step, spelling):
        return _categorical(table, missing, rows)
    if step == 1 and _has_count_shape(table):
        return Finding(Count(missing))
    return _semicontinuous(table, find_levels(table, finest) or step, missing, rows)


def _is_identifier(values: Numbers, table: Tally) -> bool:
    """Whole numbers that are all distinct, though drawn freely from where they lie some would be alike.

    Among m values spread evenly over w integers, m^2 / 2w pairs agree; none agree with chance e^-that. The values are
    taken in 32 stretches of equal number, each about even.
    """
    num_values = len(table.values)
    if num_values < len(values) or num_values < 30 or np.any(values != np.rint(values)):
        return False
    if np.all(np.diff(values) == 1):
        return True
    stretches = np.array_split(table.values, 32)
    return sum(s.size**2 / (2 * (s[-1] - s[0] + 1)) for s in stretches if s.size) > 16


def _is_categorical(table: Tally, step: float | None, spelling: dict[str, Any]) -> bool:
    num_values, rows = len(table.values), table.total
    if num_values == 1 or (num_values == 2 and rows >= 4):
        return True
    if spelling.get("dtype", "").startswith(("category", "dictionary")):
        return True
    whole = step is not None and step >= 1
    seldom = (table.counts <= 2).sum()
    if num_values <= FEW and rows >= (OFTEN if whole else 2 * OFTEN) * num_values and seldom <= num_values / 4:
        inflated = table.values[0] == 0 and _has_count_shape(table.without(table.values == 0), first=1)
        return not (step == 1 and (inflated or _has_count_shape(table)))
    cells = np.inf if step is None else (table.values[-1] - table.values[0]) / step + 1
    sparse = num_values < cells / 4
    return bool(num_values <= 1000 and rows >= 50 * num_values and sparse and (table.counts < 5).mean() < 0.1)


def _has_count_shape(table: Tally, first: int = 0) -> bool:
    """0, 1, 2 (or from `first`) and more, rising to one top and falling from it, up to chance, to a tail far below."""
    values, counts = table.values, table.counts
    if len(values) < 4 or not np.array_equal(values[:3], first + np.arange(3)):
        return False
    top = int(np.argmax(counts))
    steps = np.r_[counts[:top], counts[:top:-1]], np.r_[counts[1 : top + 1], counts[top:-1][::-1]]
    unimodal = np.all(steps[0] <= 1.2 * steps[1] + 3 * np.sqrt(steps[1]))
    return bool(unimodal and counts[-1] < (0.2 if top <= 1 else 0.05) * counts[top])


def _categorical(table: Tally, missing: bool, rows: float) -> Finding:
    whole = np.all(table.values == np.rint(table.values)) and np.abs(table.values).max() < 2**53
    values = tuple(int(v) if whole else float(v) for v in table.values)
    note = f"{len(values)} values, all of them often" if len(values) > FEW else ""
    return Finding(Categorical(values, missing), note, dict(zip(values, (table.counts / rows).tolist(), strict=True)))


def _semicontinuous(table: Tally, grid: Grid, missing: bool, rows: float) -> Finding:
    is_atom = find_atoms(table, grid)
    body = table.without(is_atom)
    if not isinstance(grid, float) and len(body.values) and is_atom.any():  # an atom off the grid may have hidden it
        before, grid = grid, find_grid(body)
        if grid != before and (isinstance(before, tuple) or isinstance(grid, tuple)):  # other neighbours than before
            is_atom = find_atoms(table, grid) | (levels(table.values, steps_of(grid)) < 0)
            body = table.without(is_atom)
    if steps_of(grid)[-1] == 0:  # what is in full precision must have a density
        free = np.flatnonzero(~is_atom & (levels(table.values, steps_of(grid)) == len(steps_of(grid)) - 1))
        is_atom[free[tied(table.counts[free], table.counts[free].astype(int))]] = True
        body = table.without(is_atom)
    if len(body.values) == 0:
        return _categorical(table, missing, rows)
    if grid == 1 and not is_atom.any() and _is_count(table):
        return Finding(Count(missing))
    if body.values[0] == 0 and len(body.values) > 1 and (grid is not None or body.total >= 50):
        is_atom |= table.values == 0
        body = table.without(is_atom)
    for lower, upper in pairwise(np.flatnonzero(is_atom)):
        is_atom[upper] &= not on_atom(table.values[[upper]], table.values[lower])[0]  # one atom within float noise
    atoms = tuple(_shorter(atom) for atom in table.values[is_atom])
    kind: Kind = _body(body, atoms, grid, missing)
    if not kind.holds(table.values).all():
        kind = Real(grid if np.all(levels(body.values, steps_of(grid)) >= 0) else None, missing)
        kind = SemiContinuous(atoms, Real(kind.grid), missing) if atoms else kind
    return Finding(kind, "", dict(zip(atoms, (table.counts[is_atom] / rows).tolist(), strict=True)))


def _is_count(table: Tally) -> bool:
    """Whole numbers from 0 up, of a size at which one counts."""
    low, middle = table.values[0], np.median(np.repeat(table.values, np.minimum(table.counts, 1000).astype(int)))
    return bool(low >= 0 and middle <= 1000)


def _body(body: Tally, atoms: tuple[float, ...], grid: Grid, missing: bool) -> Kind:
    low, high = float(body.values[0]), float(body.values[-1])
    below = max((atom for atom in atoms if atom < low), default=None)
    above = min((atom for atom in atoms if atom > high), default=None)
    positive = low > 0 and all(atom >= 0 or atom == round(atom) for atom in atoms)  # -1 or -999 stand for a word
    found: Body = Positive(grid) if positive else Real(grid)
    if above is not None and (below is not None or positive):
        found = Interval(0.0 if below is None else below, above, grid)
    elif positive and (brim := _brim(body, grid)) is not None:
        found = Interval(0.0, brim, grid)
    if atoms:
        return SemiContinuous(atoms, found, missing)
    return type(found)(**{**found.__dict__, "missing": missing})


def _brim(body: Tally, grid: Grid) -> float | None:
    """1 or 100 if the values end there at full density: the last fiftieth holds half as many as the one before it."""
    for brim in (1.0, 100.0):
        last, before = (
            body.counts[_between(body.values, brim * a, brim * b)].sum() for a, b in ((0.98, 1), (0.96, 0.98))
        )
        inside = body.values[-1] < brim or (grid is not None and body.values[-1] == brim)
        if inside and last >= 10 and last >= before / 2 and last >= 0.005 * body.total:
            return brim
    return None


def _between(values: Numbers, low: float, high: float) -> Mask:
    return (values > low) & (values <= high)


def _shorter(value: float) -> float:
    """A value spelt with up to eight digits if that is the same atom: 353.77 for 353.76999998."""
    spelt = float(f"{value:.8g}")
    short = float(f"{value:.6g}")
    for candidate in (short, spelt):
        if abs(candidate - value) <= 1e-9 * abs(value):
            return candidate
    return float(value)
