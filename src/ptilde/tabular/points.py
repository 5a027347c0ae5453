r"""Tables as points x of a known support: numbers, each on an atom or in the body of its column.

A flexible model's score-matching loss falls without limit on data with ties: the score may be as steep as it likes at a
value that holds more than its share. So a column with more than 1 % of its rows on one value of its body is refused; an
atom must be declared, and the values of a grid are spread over their cells.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptilde._validate import DataError
from ptilde.tabular.frames import open_table
from ptilde.tabular.kinds import Categorical, Count, Interval, Kind, Positive, Real, SemiContinuous, on_atom
from ptilde.tabular.levels import levels, steps_of
from ptilde.tabular.schema import Schema

TIED = 0.01  # share of a column on one value: with a density there is no such value
FEWEST_TIES = 3
Floats = NDArray[np.float64]


class Points(NamedTuple):
    """Data on a support.

    Attributes:
        x: (n, d); categories that are no numbers as 0, 1, ...
        names: of the columns.
        kinds: of the columns.
        body: (n, d), which values are in the body of their column, on no atom.
        scalar: whether the data came as one number a row.
    """

    x: Floats
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    body: NDArray[np.bool_]
    scalar: bool


def points(data: Any, support: Any = None, *, ties: bool = False, seed: int = 0) -> Points:
    """Data (n, d) or (n,), checked against their support.

    Args:
        data: an array, or a pandas, polars or pyarrow table.
        support: a `Schema`, a kind for each column, or one kind for all; `Real()` if None.
        ties: whether repeated values are no harm.
        seed: of the noise that spreads gridded values over their cells.

    Raises:
        DataError: if a value is missing or outside the support, or too many are equal.
    """
    scalar = not hasattr(data, "columns") and not hasattr(data, "column_names") and np.ndim(data) == 1
    table = open_table(np.asarray(data)[:, None] if scalar else data)
    schema = Schema(_kinds(support, list(table.columns)))
    columns = schema.check(table)
    parts = [_column(name, kind, columns[name]) for name, kind in schema.columns.items()]
    x, body = np.stack([x for x, _ in parts], axis=1), np.stack([body for _, body in parts], axis=1)
    found = Points(x, tuple(columns), tuple(schema.columns.values()), body, scalar)
    if not ties:
        refuse_ties(found)
    return found._replace(x=_spread(found, seed))


def _kinds(support: Any, names: list[str]) -> dict[str, Kind]:
    if isinstance(support, Schema):
        support = support.columns
    if isinstance(support, Mapping):
        unknown = [name for name in support if name not in names]
        if unknown:
            raise DataError(f"`support` must name columns of the data, {names}; got {unknown[0]!r}.")
        return {name: support.get(name, Real()) for name in names}
    if support is None or isinstance(support, Kind):
        return dict.fromkeys(names, Real() if support is None else support)
    if not isinstance(support, Sequence) or not all(isinstance(kind, Kind) for kind in support):
        raise ValueError(f"`support` must hold a kind for each column, such as Positive(); got {support!r}.")
    if len(support) != len(names):
        raise ValueError(f"`support` must hold a kind for each of the {len(names)} columns; got {len(support)} kinds.")
    return dict(zip(names, support, strict=True))


def _column(name: str, kind: Kind, values: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_]]:
    """The values as numbers, atoms exact, and which are in the body."""
    if kind.missing:
        raise ValueError(f"Column {name!r} must have no missing values here; got a kind with missing=True.")
    fits = kind.holds(values)
    if not fits.all():
        row = int(np.argmin(fits))
        value = np.asarray(values[row]).item()
        atom = isinstance(value, float) and not isinstance(kind, Categorical) and value in ends_of(kind)
        cure = "Declare that end an atom, by SemiContinuous" if atom else "Correct the value, or the kind in `support`"
        raise DataError(f"Column {name!r} must lie in its support {kind}; got {value!r} in row {row}. {cure}.")
    if isinstance(kind, Categorical):
        code = {category: atom for category, atom in zip(kind.categories, atoms_of(kind), strict=True)}
        return np.array([code[value] for value in values.tolist()], np.float64), np.zeros(len(values), bool)
    values = np.round(values) if isinstance(kind, Count) else np.array(values, np.float64)
    body = np.full(len(values), not isinstance(kind, Count))
    for atom in atoms_of(kind):
        there = on_atom(values, atom)
        values[there], body[there] = atom, False
    return values, body


def atoms_of(kind: Kind) -> tuple[float, ...]:
    """The values of a column that hold positive probability, as x has them; of a count, none that can be listed."""
    if isinstance(kind, Categorical):
        numeric = all(isinstance(c, (int, float)) and not isinstance(c, bool) for c in kind.categories)
        return tuple(float(c) for c in kind.categories) if numeric else tuple(map(float, range(len(kind.categories))))
    return kind.atoms if isinstance(kind, SemiContinuous) else ()


def ends_of(kind: Kind) -> tuple[float, float]:
    """Where the body of a column ends."""
    body = kind.body if isinstance(kind, SemiContinuous) else kind
    if isinstance(body, Interval):
        return body.low, body.high
    return (0.0, np.inf) if isinstance(body, Positive) else (-np.inf, np.inf)


def refuse_ties(data: Points) -> None:
    """Refuse a column with more than 1 % of its rows on one value of its body."""
    for j, (name, kind) in enumerate(zip(data.names, data.kinds, strict=True)):
        values = data.x[data.body[:, j], j]
        if getattr(kind, "grid", None) is not None or values.size == 0:
            continue
        distinct, count = np.unique(values, return_counts=True)
        most = int(np.argmax(count))
        if count[most] >= FEWEST_TIES and count[most] > TIED * len(data.x):
            raise DataError(
                f"Column {name!r} must have a density, but {count[most] / len(data.x):.2g} of its rows are exactly "
                f"{distinct[most]:g}: score matching would fall without limit there. "
                f"{_cure(kind, values, distinct[most])}"
            )


def _cure(kind: Kind, values: Floats, tied: float) -> str:
    body = kind.body if isinstance(kind, SemiContinuous) else kind
    ends = f"{body.low:g}, {body.high:g}" if isinstance(body, Interval) else ""
    name, atoms = type(body).__name__, tuple(sorted((*atoms_of(kind), float(tied))))
    whole = "Count() if they count something, Categorical(...) if they name classes; else d" if _whole(values) else "D"
    return (
        f"{'Whole numbers: declare ' if whole != 'D' else ''}{whole}eclare the atom, SemiContinuous(atoms={atoms}, "
        f"body={name}({ends})), or the grid that values are recorded on, {name}({ends + ', ' if ends else ''}grid=...)."
    )


def _whole(values: Floats) -> bool:
    return bool((values == np.round(values)).all())


def _spread(data: Points, seed: int) -> Floats:
    """Values on a grid, each moved uniformly within its cell, of which the ends of the support cut nothing off."""
    generator, x = np.random.default_rng(seed), data.x.copy()
    for j, kind in enumerate(data.kinds):
        grid = None if isinstance(kind, (Categorical, Count)) else kind.grid
        if grid is not None:
            body, (low, high) = data.body[:, j], ends_of(kind)
            width = np.array(steps_of(grid))[levels(x[body, j], steps_of(grid))]
            moved = x[body, j] + width * (generator.random(body.sum()) - 0.5)
            x[body, j] = np.where(moved < low, 2 * low - moved, np.where(moved > high, 2 * high - moved, moved))
    return x
