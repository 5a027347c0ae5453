r"""Table ⇄ rows of (state, amounts).

The *state* of a row has one token for each column that has a choice: which atom, which category, missing, or "in the
body". The *amounts* are the columns in their bodies, sent to about N(0, 1) by their `Marginal`. If $q(z \mid s)$ is a
density of the amounts given the state, the table's log density is
$$\log P(s) + \log q(z \mid s) + \sum_{j\ \text{in body}} \log\dot z_j,$$
with respect to point masses on atoms, categories and missing, and Lebesgue measure on bodies, in the units of the data.

A body recorded in steps has its density with respect to its grid: `ptilde.tabular.bodies`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptilde import _validate
from ptilde._validate import DataError
from ptilde.tabular.bodies import BodyMap, Cells, tied
from ptilde.tabular.charts import HalfLine, HeavyLine, Line, Segment
from ptilde.tabular.columns import Column
from ptilde.tabular.kinds import Categorical, Count, Kind, SemiContinuous
from ptilde.tabular.levels import levels, steps_of
from ptilde.tabular.marginal import Marginal
from ptilde.tabular.masses import Masses
from ptilde.tabular.schema import Schema

Array = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]

# A count that holds this share of its column is a token of its own: its cell is too wide for a smooth density.
COUNT_TOKEN_SHARE = 0.02
_CHARTS = {chart.__name__: chart for chart in (Line, HeavyLine, HalfLine, Segment)}


class Rows(NamedTuple):
    """A table as its model sees it.

    Attributes:
        state: (n, K) token of each column that has a choice.
        z: (n, d) amounts; 0 where the column is not in its body.
        log_slope: (n,) what the amounts' log density changes by in the units of the data.
        outside: (n,) rows with a value that the schema gives no probability.
    """

    state: NDArray[np.int32]
    z: Array
    log_slope: Array
    outside: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Encoder:
    """The map of a whole table, column by column."""

    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, schema: Schema, table: Columns, weight: Array, rng: np.random.Generator) -> "Encoder":
        """Fit the marginals to a table whose columns `Schema.check` returned, with weights (n,)."""
        return cls(tuple(_column(name, kind, table[name], weight, rng) for name, kind in schema.columns.items()))

    @property
    def choosing(self) -> list[Column]:
        """The columns with a token in the state."""
        return [c for c in self.columns if c.num_tokens > 1]

    @property
    def amounts(self) -> list[Column]:
        """The columns with a body."""
        return [c for c in self.columns if c.body is not None]

    @property
    def gridded(self) -> bool:
        """Whether any body has a grid."""
        return any(cells is not None for c in self.amounts if c.body for cells in c.body.levels)

    def encode(self, table: Columns, rng: np.random.Generator | None = None) -> Rows:
        """The rows of a table that `Schema.check` returned.

        Args:
            table: the columns.
            rng: if given, gridded amounts are drawn within their cells; else they are the cells' medians.
        """
        num_rows = len(next(iter(table.values())))
        tokens = {c.name: c.tokens(table[c.name]) for c in self.columns}
        outside = np.any([t < 0 for t in tokens.values()], axis=0)
        state = np.zeros((num_rows, len(self.choosing)), np.int32)
        for k, column in enumerate(self.choosing):
            state[:, k] = np.maximum(tokens[column.name], 0)
        z, log_slope = np.zeros((num_rows, len(self.amounts))), np.zeros(num_rows)
        for j, column in enumerate(self.amounts):
            assert column.body is not None
            inside = tokens[column.name] >= column.body_token
            z[inside, j], slope = column.body.encode(table[column.name][inside].astype(np.float64), rng)
            log_slope[inside] += slope
        return Rows(state, z, log_slope, outside)

    def decode(self, state: NDArray[np.int32], z: Array) -> dict[str, NDArray[Any]]:
        """The table of states (n, K) and amounts (n, d)."""
        token = {c.name: state[:, k] for k, c in enumerate(self.choosing)}
        amount = {c.name: z[:, j] for j, c in enumerate(self.amounts)}
        only = np.zeros(len(state), np.int32)
        return {c.name: c.values(token.get(c.name, only), amount.get(c.name)) for c in self.columns}

    def gradient(self, table: Columns, of_z: Array) -> dict[str, Array]:
        """Of each column with a body, the derivative (n,) of the log density in the units of the data.

        Args:
            table: as for `encode`.
            of_z: (n, d) derivative of the amounts' log density; the result is NaN where a column is not in its body,
                or on the very end of an interval where it has no derivative.
        """
        found = {}
        for j, column in enumerate(self.amounts):
            assert column.body is not None
            inside = column.tokens(table[column.name]) >= column.body_token
            x = table[column.name][inside].astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                log_slope, bend = column.body.slope(x)
                slope = of_z[inside, j] * np.exp(log_slope) + bend
            found[column.name] = np.full(len(inside), np.nan)
            found[column.name][inside] = np.where(np.isfinite(log_slope), slope, np.nan)
        return found

    def outside_in_words(self, table: Columns) -> str:
        """Which values have no probability: the first of each column that has any."""
        found = []
        for column in self.columns:
            outside = column.tokens(table[column.name]) < 0
            if outside.any():
                row = int(np.argmax(outside))
                value = np.asarray(table[column.name][row]).item()
                found.append(f"{int(outside.sum())} in column {column.name!r}, the first in row {row}: {value!r}")
        return "; ".join(found)

    def to_config(self) -> list[dict[str, Any]]:
        """What `from_config` needs beside the schema and the arrays of `arrays`, for JSON."""
        return [
            {
                "points": list(c.points) if isinstance(c.kind, Count) else None,
                "chart": [type(c.body.marginal.chart).__name__, asdict(c.body.marginal.chart)] if c.body else None,
                "num_knots": c.body.marginal.knots.shape[1] if c.body else 0,
            }
            | ({"num_masses": _num_masses(c.body)} if c.body and c.body.masses else {})
            | ({"decimals": c.body.decimals} if c.body and c.body.decimals is not None else {})
            for c in self.columns
        ]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The knots of each body, by name: those of the smooth map, and of the levels with rough shares."""
        bodies = [(i, c.body) for i, c in enumerate(self.columns) if c.body]
        masses = {f"masses.{i}.{level}": own.knots for i, body in bodies for level, own in body.masses.items()}
        return {f"knots.{i}": body.marginal.knots for i, body in bodies} | masses

    @classmethod
    def from_config(cls, schema: Schema, config: list[dict[str, Any]], arrays: Mapping[str, Any]) -> "Encoder":
        """The inverse of `to_config` and `arrays`."""
        columns = []
        for i, ((name, kind), entry) in enumerate(zip(schema.columns.items(), config, strict=True)):
            points = tuple(entry["points"]) if isinstance(kind, Count) else _points(kind)
            body = None
            if entry["chart"] is not None:
                chart, fields = entry["chart"]
                for number in [*fields.values(), *(points if isinstance(kind, Count) else ())]:
                    _validate.finite(chart, number)
                marginal = Marginal(_CHARTS[chart](**fields), arrays[f"knots.{i}"])
                cells, num_masses = Cells.of(_body(kind), np.array(points, float)), entry.get("num_masses", ())
                rough = [level for level, own in enumerate(cells[: len(num_masses)]) if own and num_masses[level]]
                masses = {level: Masses(arrays[f"masses.{i}.{level}"]) for level in rough}
                body = BodyMap(marginal, cells, masses, entry.get("decimals"))
            columns.append(Column(name, kind, points, body))
        return cls(tuple(columns))


def _num_masses(body: BodyMap) -> list[int]:
    """How many knots the masses of each level have."""
    return [body.masses[level].knots.shape[1] if level in body.masses else 0 for level in range(len(body.levels))]


def _points(kind: Kind) -> tuple[Any, ...]:
    return kind.atoms if isinstance(kind, SemiContinuous) else kind.categories if isinstance(kind, Categorical) else ()


def _body(kind: Kind) -> Any:
    return kind.body if isinstance(kind, SemiContinuous) else None if isinstance(kind, Categorical) else kind


def _column(name: str, kind: Kind, values: NDArray[Any], weight: Array, rng: np.random.Generator) -> Column:
    points = _points(kind)
    if isinstance(kind, Count):
        points = _frequent(values, weight)
    column, body = Column(name, kind, points, None), _body(kind)
    if body is not None:
        inside = column.in_body(values) & (column.tokens(values) < 0) & (weight > 0)
        x = values[inside].astype(np.float64)
        steps = steps_of(body.grid)
        if steps[-1] == 0:
            free = levels(x, steps) == len(steps) - 1
            _refuse_ties(kind, name, x[free], weight[inside][free])
        if len(x):
            column = Column(name, kind, points, BodyMap.fit(body, np.array(points, float), x, weight[inside], rng))
            _refuse_empty_levels(column)
    refuse_outside(column, values, weight)
    return column


def _frequent(values: Array, weight: Array) -> tuple[float, ...]:
    """The counts that hold `COUNT_TOKEN_SHARE` of their column."""
    known = ~np.isnan(values) & (weight > 0)
    number, index = np.unique(np.rint(values[known]) + 0.0, return_inverse=True)
    share = np.bincount(index, weight[known]) / weight[known].sum() if known.any() else np.zeros(0)
    return tuple(number[share >= COUNT_TOKEN_SHARE].tolist())


def refuse_outside(column: Column, values: NDArray[Any], weight: NDArray[Any]) -> None:
    """Every value with weight must have a place in the column."""
    outside = (column.tokens(values) < 0) & (weight > 0)
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"Column {column.name!r} must hold what its kind {column.kind!r} says; got "
            f"{np.asarray(values[row]).item()!r} in row {row} ({int(outside.sum())} such rows). "
            "Correct the schema (atoms, bounds, grid, categories, missing) or the data."
        )


def _refuse_empty_levels(column: Column) -> None:
    """A step without a value of its own would be a state with nothing in it."""
    assert column.body is not None
    for cells in column.body.levels:
        if cells is not None and cells.empty:
            raise DataError(
                f"Column {column.name!r} must have values on each step of its grid; got {column.kind!r}, where every "
                f"multiple of {cells.step:.10g} is out of bounds, an atom or on a coarser step. Leave that step out."
            )


def _refuse_ties(kind: Kind, name: str, x: Array, weight: Array) -> None:
    """Score matching on tied data is unbounded below: refuse what should have been atoms or a grid."""
    value, index, count = np.unique(x, return_inverse=True, return_counts=True)
    held = np.bincount(index, weight, len(value)).astype(np.float64)
    found = tied(held, count)
    if found:
        most, part = found[0], "body in full precision" if isinstance(_body(kind).grid, tuple) else "body"
        atoms = sorted([*_points(kind), *value[found].tolist()])
        raise DataError(
            f"Column {name!r} must have a density where it is continuous, but {held[most] / held.sum():.1%} of its "
            f"{part} is exactly {value[most]:.10g}. Declare that value as an atom, "
            f"SemiContinuous(atoms=({', '.join(f'{a:.10g}' for a in atoms)},), ...), or the recording step as `grid`."
        )
