r"""What one column may hold.

A column's law is $\sum_a p_a\,\delta_a + (1 - \sum_a p_a)\,f$: point masses on the *atoms* $a$, and a *body* with
density $f$ on the line, the half-line or an interval. A *grid* is the step of recording, or several: body values are
whole multiples of one of them (`ptilde.tabular.levels`). Two values are the same atom within float noise (`on_atom`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptilde import _validate
from ptilde.tabular.levels import Grid, Mask, Numbers, checked, levels, on_grid, steps_of


def on_atom(values: Numbers, atom: float | Numbers) -> Mask:
    """Which values are the atom, or each its own: within 1e-7 of it in proportion, or 1e-12."""
    return np.isclose(values, atom, rtol=1e-7, atol=1e-12)


def _holds(body: Any, inside: Mask, values: Numbers) -> Mask:
    return inside & (levels(values, steps_of(body.grid)) >= 0) | (np.isnan(values) & body.missing)


def _check_flags(body: Any) -> None:
    object.__setattr__(body, "grid", checked(body.grid))
    _check_missing(body)


def _check_missing(kind: Any) -> None:
    if not isinstance(kind.missing, (bool, np.bool_)):
        raise ValueError(f"`missing` must be true or false; got {kind.missing!r}.")
    object.__setattr__(kind, "missing", bool(kind.missing))


@dataclass(frozen=True)
class Real:
    """Any finite number."""

    grid: Grid = None
    missing: bool = False

    def __post_init__(self) -> None:
        _check_flags(self)

    def holds(self, values: Numbers) -> Mask:
        """Which values may stand here; a missing one may when `missing`."""
        return _holds(self, np.isfinite(values), values)


@dataclass(frozen=True)
class Positive:
    """Any number above zero."""

    grid: Grid = None
    missing: bool = False

    def __post_init__(self) -> None:
        _check_flags(self)

    def holds(self, values: Numbers) -> Mask:
        """Which values may stand here; a missing one may when `missing`."""
        low = steps_of(self.grid)[-1] / 2  # float noise around zero is zero
        return _holds(self, (values > low) & np.isfinite(values), values)


@dataclass(frozen=True)
class Interval:
    """Any number strictly between `low` and `high`; the ends too if they are on the grid."""

    low: float
    high: float
    grid: Grid = None
    missing: bool = False

    def __post_init__(self) -> None:
        _validate.finite("low", self.low)
        _validate.finite("high", self.high)
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        if not self.low < self.high:
            raise ValueError(f"`low` must be below `high`; got {self.low!r} and {self.high!r}.")
        _check_flags(self)

    def holds(self, values: Numbers) -> Mask:
        """Which values may stand here; a missing one may when `missing`."""
        inside = (values > self.low) & (values < self.high)
        if self.grid is not None:
            at_end = on_atom(values, self.low) | on_atom(values, self.high)
            inside |= at_end & (np.array(steps_of(self.grid))[levels(values, steps_of(self.grid))] > 0)
        return _holds(self, inside, values)


@dataclass(frozen=True)
class SemiContinuous:
    """One of the `atoms`, or a number from the `body`, whose field `grid` holds the step or steps, if any.

    Args:
        atoms: the values that hold positive probability, kept in ascending order.
        body: where the other values lie; a value on an atom is never counted as body.
        missing: whether a cell may be empty.
    """

    atoms: tuple[float, ...]
    body: Real | Positive | Interval = Positive()
    missing: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.atoms, (str, bytes)) or not hasattr(self.atoms, "__iter__"):
            raise ValueError(f"`atoms` must be a list of numbers; got {self.atoms!r}.")
        for atom in self.atoms:
            _validate.finite("atoms", atom)
        atoms = tuple(sorted(float(atom) + 0.0 for atom in self.atoms))  # + 0.0 turns -0.0 into 0.0
        if not atoms:
            raise ValueError("`atoms` must hold at least one number; got none. Use the kind of the body instead.")
        alike = np.flatnonzero(on_atom(np.array(atoms[:-1]), np.array(atoms[1:])))
        if alike.size:
            left, right = atoms[alike[0]], atoms[alike[0] + 1]
            raise ValueError(f"`atoms` must be distinct; got {left!r} and {right!r}.")
        object.__setattr__(self, "atoms", atoms)
        if not isinstance(self.body, Real | Positive | Interval):
            raise ValueError(f"`body` must be Real, Positive or Interval; got {self.body!r}.")
        if self.body.missing:
            raise ValueError("`missing` must be set on the column, not on its body; got a body with missing=True.")
        _check_missing(self)

    @property
    def grid(self) -> Grid:
        """The recording step, or steps, of the body."""
        return self.body.grid

    def holds(self, values: Numbers) -> Mask:
        """Which values may stand here; a missing one may when `missing`."""
        inside = self.body.holds(values)
        for atom in self.atoms:
            inside |= on_atom(values, atom)
        return inside | (np.isnan(values) & self.missing)


@dataclass(frozen=True)
class Categorical:
    """One of finitely many values: all strings, all booleans or all numbers."""

    categories: tuple[str | int | float | bool, ...]
    missing: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.categories, (str, bytes)) or not hasattr(self.categories, "__iter__"):
            raise ValueError(f"`categories` must be a list of values; got {self.categories!r}.")
        categories = tuple(c.item() if isinstance(c, np.generic) else c for c in self.categories)
        if not categories:
            raise ValueError("`categories` must hold at least one value; got none.")
        families = [value_family(c) for c in categories]
        for value, family in zip(categories, families, strict=True):
            if family is None:
                raise ValueError(f"`categories` must be strings, booleans or finite numbers; got {value!r}.")
            if family != families[0]:
                raise ValueError(f"`categories` must be of one type; got {categories[0]!r} and {value!r}.")
        seen: set[Any] = set()
        for value in categories:
            if value in seen:
                raise ValueError(f"`categories` must be distinct; got {value!r} twice.")
            seen.add(value)
        object.__setattr__(self, "categories", categories)
        _check_missing(self)

    def holds(self, values: NDArray[Any]) -> Mask:
        """Which values may stand here; a missing one may when `missing`."""
        known = set(self.categories)
        return np.fromiter((self.missing if is_missing(v) else v in known for v in values.tolist()), bool, len(values))


@dataclass(frozen=True)
class Count:
    """One of 0, 1, 2, ..., with no end."""

    missing: bool = False

    def __post_init__(self) -> None:
        _check_missing(self)

    @property
    def grid(self) -> float:
        """The step of a count."""
        return 1.0

    def holds(self, values: Numbers) -> Mask:
        """Which values may stand here; a missing one may when `missing`."""
        inside = (values >= -1e-4) & np.isfinite(values) & on_grid(values, 1.0)
        return inside | (np.isnan(values) & self.missing)


Body = Real | Positive | Interval
Kind = Real | Positive | Interval | SemiContinuous | Categorical | Count


def value_family(value: object) -> str | None:
    """Whether a cell is "text", a "boolean" or a "number"; None if it is nothing a column may hold."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, (bool, np.bool_)):
        return "boolean"
    if isinstance(value, (int, np.integer, float, np.floating)) and _validate.is_finite(value):
        return "number"
    return None


def is_number(text: str) -> bool:
    """Whether a text spells a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_missing(value: object) -> bool:
    """Whether a cell is empty: None or NaN."""
    return value is None or value != value


def empty(values: NDArray[Any]) -> Mask:
    """Which cells are empty."""
    if values.dtype == object:
        return np.fromiter((is_missing(cell) for cell in values.tolist()), dtype=bool, count=len(values))
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
