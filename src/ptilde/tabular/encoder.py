r"""Table ⇄ rows of (state, amounts).

The *state* of a row has one token for each column that has a choice: which atom, which category, missing, or "in the
body". The *amounts* are the columns in their bodies, sent to about N(0, 1) by their `Marginal`. If $q(z \mid s)$ is a
density of the amounts given the state, the table's log density is
$$\log P(s) + \log q(z \mid s) + \sum_{j\ \text{in body}} \log\dot z_j,$$
with respect to point masses on atoms, categories and missing, and Lebesgue measure on bodies, in the units of the data.

**Grids.** A body recorded in steps of $h$ holds probabilities, not densities. Each grid value owns the cell that ends half-way to
its neighbours (at $\pm\infty$ if it has none), and its density is that of the recorded value *with respect to its grid*:
the probability of the cell divided by $h$; with $h = 1$ it is the probability. With $[a, b]$ the cell in $z$ and
$z^*$ its median under N(0, 1), the probability is taken as $q(z^*)\,(\Phi(b)-\Phi(a))/\varphi(z^*)$: exact where $q$ is
N(0, 1) in that column, however coarse the grid, and otherwise to second order in the cell. For fitting, $z$ is drawn within the cell from N(0, 1), so
that rounding a draw of $q$ to its cell is the inverse.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp
from scipy.stats import norm

from ptilde._validate import DataError
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
    on_atom,
)
from ptilde.tabular.marginal import Chart, HalfLine, HeavyLine, Line, Marginal, Segment
from ptilde.tabular.schema import Schema

Array = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]

# A count that holds this share of its column is a token of its own: its cell is too wide for a smooth density.
COUNT_TOKEN_SHARE = 0.02
# A body with more than this share on one value has no density there.
TIED_SHARE = 0.03
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


@dataclass(frozen=True)
class Cells:
    """The grid of a body: the values $kh$ with whole $k$ in [first, last], less the excluded ones, which are atoms."""

    step: float
    first: float
    last: float
    excluded: tuple[float, ...]

    def below(self, k: Array) -> Array:
        """The nearest allowed number at or below each k; $-\\infty$ if none."""
        for number in reversed(self.excluded):
            k = np.where(k == number, k - 1, k)
        return np.where(k < self.first, -np.inf, np.minimum(k, self.last))

    def above(self, k: Array) -> Array:
        """The nearest allowed number at or above each k; $\\infty$ if none."""
        for number in self.excluded:
            k = np.where(k == number, k + 1, k)
        return np.where(k > self.last, np.inf, np.maximum(k, self.first))

    def ends(self, x: Array) -> tuple[Array, Array]:
        """The two ends of the cell of each value."""
        k = np.rint(x / self.step)
        return self.step * (k + self.below(k - 1)) / 2, self.step * (k + self.above(k + 1)) / 2

    def nearest(self, x: Array) -> Array:
        """The grid value in whose cell each number lies."""
        t = x / self.step
        low, high = self.below(np.floor(t)), self.above(np.ceil(t))
        k = np.where(t - low <= high - t, low, high)
        # Division by a whole number of steps gives 0.3 for three steps of 0.1, where a product gives 0.30000000000000004.
        per_unit = 1 / self.step
        whole = np.rint(per_unit)
        return k / whole if np.isclose(per_unit, whole, rtol=1e-12) and whole >= 1 else k * self.step


@dataclass(frozen=True, eq=False)
class BodyMap:
    """A column's body: how its values become amounts, and back."""

    marginal: Marginal
    cells: Cells | None

    @classmethod
    def fit(cls, body: Body | Count, points: Array, x: Array, weight: Array, rng: np.random.Generator) -> "BodyMap":
        cells = _cells(body, points)
        if cells is not None:
            low, high = cells.ends(x)
            low, high = np.maximum(low, x - cells.step / 2), np.minimum(high, x + cells.step / 2)
            x = low + (high - low) * rng.uniform(1e-3, 1 - 1e-3, len(x))
        return cls(Marginal.fit(_charts(body, x), x, weight), cells)

    def encode(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Array]:
        """(z, log slope); with `rng`, z is drawn within the cell of a gridded value."""
        if self.cells is None:
            return self.marginal.forward(x)
        low, high = self._ends_in_z(x)
        flip = low + high > 0  # work in the left tail, where Φ keeps its digits
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        floor, top = log_ndtr(low), log_ndtr(high)
        share = 0.5 if rng is None else rng.uniform(size=len(x))
        with np.errstate(divide="ignore"):
            z = ndtri_exp(np.minimum(np.logaddexp(floor + np.log1p(-share), top + np.log(share)), -1e-300))
        z = np.clip(z, low, high)
        log_mass = top + np.log(-np.expm1(floor - top))
        return np.where(flip, -z, z), log_mass - norm.logpdf(z) - np.log(self.cells.step)

    def decode(self, z: Array) -> Array:
        """The values of the body at amounts z."""
        x = self.marginal.inverse(z)
        return x if self.cells is None else self.cells.nearest(x)

    def _ends_in_z(self, x: Array) -> tuple[Array, Array]:
        assert self.cells is not None
        ends = []
        for end, outside in zip(self.cells.ends(x), (-np.inf, np.inf), strict=True):
            z = np.full(len(x), outside)
            inner = np.isfinite(end)
            z[inner] = self.marginal.forward(end[inner])[0]
            ends.append(z)
        return ends[0], ends[1]


@dataclass(frozen=True, eq=False)
class Column:
    """One column: its points (atoms or categories), whether it may be missing, and its body, as tokens in this order."""

    name: str
    kind: Kind
    points: tuple[Any, ...]
    body: BodyMap | None

    @property
    def num_tokens(self) -> int:
        """How many states the column has."""
        return len(self.points) + self.kind.missing + (self.body is not None)

    @property
    def body_token(self) -> int:
        """The token that says "in the body": the last one; -1 if there is no body."""
        return self.num_tokens - 1 if self.body is not None else -1

    @property
    def labels(self) -> tuple[str, ...]:
        """What each token means, in words."""
        return tuple(
            [f"{p:.10g}" if isinstance(p, float) else str(p) for p in self.points]
            + ["missing"] * self.kind.missing
            + ["body"] * (self.body is not None)
        )

    def tokens(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """The token of each value; -1 outside the support."""
        token = np.full(len(values), -1, np.int32)
        if values.dtype == object:
            lookup = {point: i for i, point in enumerate(self.points)}
            empty = len(self.points) if self.kind.missing else -1
            return np.array([empty if is_missing(v) else lookup.get(v, -1) for v in values.tolist()], np.int32)
        if self.body is not None:
            token[self._in_body(values)] = self.body_token
        for i, point in enumerate(self.points):
            token[on_atom(values, point)] = i
        if self.kind.missing:
            token[np.isnan(values)] = len(self.points)
        return token

    def values(self, token: NDArray[np.int32], z: Array | None) -> NDArray[Any]:
        """The values of tokens (n,) and, for a column with a body, amounts (n,)."""
        textual = isinstance(self.kind, Categorical) and isinstance(self.kind.categories[0], str | bool)
        table = np.empty(self.num_tokens, object if textual else np.float64)
        table[: len(self.points)] = self.points
        table[len(self.points) :] = None if textual else np.nan
        values = table[token]
        if self.body is not None and z is not None:
            inside = token == self.body_token
            values[inside] = self.body.decode(z[inside])
        return values

    def _in_body(self, values: Array) -> NDArray[np.bool_]:
        body = self.kind.body if isinstance(self.kind, SemiContinuous) else self.kind
        return body.holds(values) & np.isfinite(values)


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
        return any(c.body.cells is not None for c in self.amounts if c.body)

    def encode(self, table: Columns, rng: np.random.Generator | None = None) -> Rows:
        """The rows of a table that `Schema.check` returned; with `rng`, gridded amounts are drawn within their cells."""
        num_rows = len(next(iter(table.values())))
        tokens = {c.name: c.tokens(table[c.name]) for c in self.columns}
        outside = np.any([t < 0 for t in tokens.values()], axis=0)
        state = np.zeros((num_rows, len(self.choosing)), np.int32)
        for k, column in enumerate(self.choosing):
            state[:, k] = np.maximum(tokens[column.name], 0)
        z, log_slope = np.zeros((num_rows, len(self.amounts))), np.zeros(num_rows)
        for j, column in enumerate(self.amounts):
            assert column.body is not None
            inside = tokens[column.name] == column.body_token
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
            of_z: (n, d) derivative of the amounts' log density; the result is NaN where a column is not in its body.
        """
        found = {}
        for j, column in enumerate(self.amounts):
            assert column.body is not None
            inside = column.tokens(table[column.name]) == column.body_token
            x = table[column.name][inside].astype(np.float64)
            log_slope = column.body.marginal.forward(x)[1]
            found[column.name] = np.full(len(inside), np.nan)
            found[column.name][inside] = of_z[inside, j] * np.exp(log_slope) + column.body.marginal.bend(x)
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
            for c in self.columns
        ]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The knots of each body, by name."""
        return {f"knots.{i}": c.body.marginal.knots for i, c in enumerate(self.columns) if c.body}

    @classmethod
    def from_config(cls, schema: Schema, config: list[dict[str, Any]], arrays: Mapping[str, Any]) -> "Encoder":
        """The inverse of `to_config` and `arrays`."""
        columns = []
        for i, ((name, kind), entry) in enumerate(zip(schema.columns.items(), config, strict=True)):
            points = tuple(entry["points"]) if isinstance(kind, Count) else _points(kind)
            body = None
            if entry["chart"] is not None:
                marginal = Marginal(_CHARTS[entry["chart"][0]](**entry["chart"][1]), arrays[f"knots.{i}"])
                body = BodyMap(marginal, _cells(_body(kind), np.array(points, float)))
            columns.append(Column(name, kind, points, body))
        return cls(tuple(columns))


def _points(kind: Kind) -> tuple[Any, ...]:
    return kind.atoms if isinstance(kind, SemiContinuous) else kind.categories if isinstance(kind, Categorical) else ()


def _body(kind: Kind) -> Any:
    return kind.body if isinstance(kind, SemiContinuous) else None if isinstance(kind, Categorical) else kind


def _charts(body: Body | Count, x: Array) -> list[Chart]:
    match body:
        case Interval(low, high, grid):
            margin = (grid or 0.0) / 2
            return [Segment(low - margin, high + margin)]
        case Positive():
            return [HalfLine()]
        case Count():
            return [HalfLine(-0.5)]
    low, centre, high = np.quantile(x, [0.25, 0.5, 0.75])
    scale = float(high - low) or float(np.std(x)) or 1.0
    return [Line(), HeavyLine(float(centre), scale)]


def _cells(body: Body | Count, points: Array) -> Cells | None:
    if body.grid is None:
        return None
    first, last = {
        Real: (-np.inf, np.inf),
        Positive: (1.0, np.inf),
        Count: (0.0, np.inf),
        Interval: (
            np.ceil(getattr(body, "low", 0) / body.grid - 1e-6),
            np.floor(getattr(body, "high", 0) / body.grid + 1e-6),
        ),
    }[type(body)]
    numbers = np.rint(points / body.grid)
    taken = np.sort(numbers[on_atom(numbers * body.grid, 0.0) | (np.abs(points / body.grid - numbers) < 1e-3)])
    return Cells(body.grid, float(first), float(last), tuple(taken.tolist()))


def _column(name: str, kind: Kind, values: NDArray[Any], weight: Array, rng: np.random.Generator) -> Column:
    points = _points(kind)
    if isinstance(kind, Count):
        number, index = np.unique(values[~np.isnan(values)], return_inverse=True)
        share = np.bincount(index, weight[~np.isnan(values)]) / weight[~np.isnan(values)].sum()
        points = tuple(np.rint(number[share >= COUNT_TOKEN_SHARE]).tolist())
    bare = Column(name, kind, points, None)
    body = _body(kind)
    if body is None:
        return _covers(bare, values)
    inside = bare._in_body(values) & (bare.tokens(values) < 0) & (weight > 0)
    if not inside.any():
        return _covers(bare, values)
    x = values[inside].astype(np.float64)
    if body.grid is None:
        _refuse_ties(name, x, weight[inside], weight.sum())
    column = Column(name, kind, points, BodyMap.fit(body, np.array(points, float), x, weight[inside], rng))
    return _covers(column, values)


def _covers(column: Column, values: NDArray[Any]) -> Column:
    """The column, or a `DataError` where a value it was fitted to has no place in it."""
    outside = column.tokens(values) < 0
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"Column {column.name!r} must hold what its kind {column.kind!r} says; got "
            f"{np.asarray(values[row]).item()!r} in row {row} ({int(outside.sum())} such rows). "
            "Correct the schema (atoms, bounds, grid, categories, missing) or the data."
        )
    return column


def _refuse_ties(name: str, x: Array, weight: Array, total: float) -> None:
    """Score matching on tied data is unbounded below: refuse what should have been an atom or a grid."""
    value, index, count = np.unique(x, return_inverse=True, return_counts=True)
    share = np.bincount(index, weight) / weight.sum()
    worst = int(np.argmax(share * (count > 1)))
    if count[worst] >= 5 and share[worst] > TIED_SHARE and len(x) >= 100:
        raise DataError(
            f"Column {name!r} must have a density where it is continuous, but {share[worst]:.1%} of its body is exactly "
            f"{value[worst]:.10g}. Declare that value as an atom, SemiContinuous(atoms=({value[worst]:.10g},), ...), or "
            "the recording step as `grid`."
        )
