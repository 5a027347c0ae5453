r"""The law of one column for each of n rows: shares on its points, and pieces of body.

$$G(y) = \sum_{a \le y} P(a) + \sum_i w_i F_i(z_i(y)),$$

where each piece $i$ is one level of the body's grid under one member of an ensemble, with weight $w_i$ and distribution
function $F_i$ known at nodes with its derivative, between which it is a cubic (Hermite). On a grid $z_i(y)$ is the end
of the cell of the largest grid value up to $y$, so that $G$ jumps where the column does. Expectations are sums over
cells of the nodes, each cut in four; on a grid, over the 256 grid values around the median, and such cells beyond,
where a step is small beside the spread.

References:
    Rockafellar & Uryasev (2002), Conditional value-at-risk for general loss distributions, equation 2: expected
    shortfall with atoms.
    Gneiting & Raftery (2007), Strictly proper scoring rules, prediction, and estimation, equation 20: the CRPS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptilde.predictive.nodes import Nodes
from ptilde.tabular.bodies import BodyMap
from ptilde.tabular.columns import Column

Array = NDArray[np.float64]

_CUTS = 4
# Bisection: the smooth scale of the body is about N(0, 1), and 2 · 40 / 2⁵⁶ is below its rounding.
_REACH, _HALVINGS = 40.0, 56
_FLOAT_NOISE = 1e-6  # of a step: so near a grid value is on it
_WINDOW = 128  # grid values to each side of the median
_TABLE = 2**16  # amounts; between two of them a value is wrong by a share of (80 · its log slope / 2¹⁶)² / 8 at most


class Piece(NamedTuple):
    """A level of the body.

    Attributes:
        level: which one.
        share: (n,) its probability.
        nodes: the distribution function of its amounts.
    """

    level: int
    share: Array
    nodes: Nodes


@dataclass(frozen=True, eq=False)
class PredictiveLaw:
    """The laws of n rows.

    Attributes:
        column: between values and amounts.
        points: (A,) values with probabilities of their own.
        shares: (n, A) these.
        pieces: the rest.
    """

    column: Column
    points: Array
    shares: Array
    pieces: tuple[Piece, ...]

    def cdf(self, y: Array, strict: bool = False) -> Array:
        """(n, m) probability of values up to y (n, m), or only of those below it."""
        below = np.less if strict else np.less_equal
        total = np.zeros(y.shape)
        for a, share in zip(self.points, self.shares.T, strict=True):
            total += np.where(below(a, y), share[:, None], 0.0)
        for level, share, nodes in self.pieces:
            total += share[:, None] * _interpolated(nodes, _up_to(self._body, y, level, strict))
        return total

    def quantile(self, p: Array) -> Array:
        """(n, m) the least value y with G(y) ≥ p (m,)."""
        n, m = len(self.shares), len(p)
        found = np.broadcast_to(np.max(self.points, initial=-np.inf), (n, m)).copy()
        if self.pieces:
            low, high = np.full((n, m), -_REACH), np.full((n, m), _REACH)
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                reached = self.cdf(self._smooth(middle)) >= p
                low, high = np.where(reached, low, middle), np.where(reached, middle, high)
            found = self._on_grid(self._smooth(high))
        at = np.broadcast_to(self.points, (n, len(self.points)))
        below, up_to = self.cdf(at, strict=True), self.cdf(at)
        for a, point in enumerate(self.points):
            found[(below[:, [a]] < p) & (p <= up_to[:, [a]])] = point
        return found

    def expectation(self, g: Callable[[Array], Array]) -> Array:
        """(n,) the mean of a function of the value, applied to arrays (n, m), a row to a law."""
        total = np.sum(self.shares * g(np.broadcast_to(self.points, self.shares.shape)), 1)
        for mass, value in self._cells:
            total = total + np.sum(mass * g(value), 1)
        return total

    def mean(self) -> Array:
        """(n,) means."""
        return self.expectation(lambda y: y)

    def layer(self, attachment: float, limit: float) -> Array:
        """(n,) means of min(max(Y - attachment, 0), limit)."""
        return self.expectation(lambda y: np.clip(y - attachment, 0.0, limit))

    def expected_shortfall(self, level: float) -> Array:
        """(n,) means of the values beyond the quantile at the level, an atom there counted for the part beyond."""
        q = self.quantile(np.array([level]))
        return q[:, 0] + self.expectation(lambda y: np.maximum(y - q, 0.0)) / (1 - level)

    def crps(self, y: Array) -> Array:
        r"""(n,) $\int (G(v) - 1\{y \le v\})^2\,dv$ at observed values y (n,)."""
        value, mass = self.discrete
        value = np.concatenate([value, y[:, None]], 1)
        order = np.argsort(value, 1, kind="stable")
        value = np.take_along_axis(value, order, 1)
        cdf = np.cumsum(np.take_along_axis(np.pad(mass, [(0, 0), (0, 1)]), order, 1), 1)
        return np.sum((cdf - (value >= y[:, None]))[:, :-1] ** 2 * np.diff(value, axis=1), 1)

    def total(self, num: int, rng: np.random.Generator) -> Array:
        """(num,) draws of the sum over the rows."""
        value, mass = self.discrete
        total = np.zeros(num)
        for row, up_to in zip(value, np.cumsum(mass, 1), strict=True):
            total += row[np.minimum(np.searchsorted(up_to, rng.random(num) * up_to[-1], "right"), len(row) - 1)]
        return total

    @cached_property
    def discrete(self) -> tuple[Array, Array]:
        """(n, N) values and their masses: points, then cells."""
        points = np.broadcast_to(self.points, self.shares.shape)
        cells = list(self._cells)
        value = np.concatenate([points, *(value for _, value in cells)], 1)
        return value, np.concatenate([self.shares, *(mass for mass, _ in cells)], 1)

    @cached_property
    def _cells(self) -> list[tuple[Array, Array]]:
        """Of each piece the masses (n, N) of its cells, and a value in each."""
        found, windows, tables = [], {}, {}
        for level, share, nodes in self.pieces:
            low, high, z = _cut(nodes)
            if level not in tables:
                tables[level] = self._table(level)
            value = self._rounded(np.interp(z, *tables[level]), level)
            mass = high - low
            if self._body.levels[level] is not None:
                if level not in windows:
                    windows[level] = self._window(level, nodes)
                numbers, ends = windows[level]
                cdf = _interpolated(nodes, ends)
                first, last = cdf[:, :1], cdf[:, -1:]
                beyond = np.minimum(high, first) - np.minimum(low, first)
                beyond += np.maximum(high, last) - np.maximum(low, last)
                mass = np.concatenate([beyond, np.maximum(np.diff(cdf, axis=1), 0.0)], 1)
                value = np.concatenate([value, numbers], 1)
            found.append((share[:, None] * mass, value))
        return found

    def _window(self, level: int, nodes: Nodes) -> tuple[Array, Array]:
        """Multiples (n, W) of a level's step around the median, and the amounts (n, 1 + W) at the ends between them."""
        cells = self._body.levels[level]
        assert cells is not None
        middle = np.take_along_axis(nodes.z, np.sum(nodes.cdf < 0.5, 1, keepdims=True), 1)
        k = np.rint(self._smooth(middle) / cells.step) + np.arange(-_WINDOW - 1.0, _WINDOW)
        k, place = np.unique(k, return_inverse=True)  # rows share most of them
        value = self._rounded(cells.values(k), level)
        place, ends = place.reshape(len(middle), -1), _up_to(self._body, value, level, strict=False)
        return value[place[:, 1:]], ends[place]

    def _rounded(self, y: Array, level: int) -> Array:
        """The nearest values of a level, as they are written."""
        cells = self._body.levels[level]
        value = y if cells is None else cells.nearest(y)
        return value if cells is None or self._body.decimals is None else np.round(value, self._body.decimals)

    def _table(self, level: int) -> tuple[Array, Array]:
        """Amounts, close to each other, and what they become."""
        z = np.linspace(-_REACH, _REACH, _TABLE)
        with np.errstate(over="ignore"):
            value = self._body.decode(z, np.full(_TABLE, level, np.int32))
        return z[np.isfinite(value)], value[np.isfinite(value)]

    @property
    def _body(self) -> BodyMap:
        assert self.column.body is not None
        return self.column.body

    def _smooth(self, z: Array) -> Array:
        return self._body.marginal.inverse(z.ravel()).reshape(z.shape)

    def _on_grid(self, y: Array) -> Array:
        """The values, on a grid value where they are next to one."""
        for cells in self._body.levels:
            if cells is not None:
                value = cells.nearest(y)
                value = value if self._body.decimals is None else np.round(value, self._body.decimals)
                noise = np.maximum(2 * _FLOAT_NOISE * cells.step, 4 * np.spacing(np.abs(y)))
                y = np.where(np.abs(value - y) <= noise, value, y)
        return y


def _up_to(body: BodyMap, y: Array, level: int, strict: bool) -> Array:
    """The amount up to which those of a level become values up to y."""
    cells, edge = body.levels[level], y
    if cells is not None:
        number = y / cells.step
        number = np.ceil(number - _FLOAT_NOISE) - 1 if strict else np.floor(number + _FLOAT_NOISE)
        k = cells.below(np.nan_to_num(number))
        with np.errstate(invalid="ignore"):
            edge = np.where(np.isinf(k), k, cells.step * (k + cells.above(k + 1)) / 2)
    low, high = body.marginal.chart.ends
    z = np.where(edge <= low, -np.inf, np.inf)
    inside = (edge > low) & (edge < high)
    z[inside] = body.forward(edge[inside], level)[0]
    return z


def _interpolated(nodes: Nodes, z: Array) -> Array:
    """(n, m) the distribution functions at amounts (n, m)."""
    last = nodes.z.shape[1] - 1
    i = np.zeros(z.shape, np.intp)
    for step in 2 ** np.arange(last.bit_length())[::-1]:
        onward = np.minimum(i + step, last - 1)
        i = np.where(np.take_along_axis(nodes.z, onward, 1) <= z, onward, i)
    z0, f0, d0 = (np.take_along_axis(a, i, 1) for a in nodes)
    z1, f1, d1 = (np.take_along_axis(a, i + 1, 1) for a in nodes)
    width = np.maximum(z1 - z0, 1e-300)
    return _cubic(np.clip((z - z0) / width, 0.0, 1.0), width, f0, f1, d0, d1)


def _cubic(t: Array, width: Array, f0: Array, f1: Array, d0: Array, d1: Array) -> Array:
    """The cubic with values f and slopes d at the ends of an interval, kept between the values."""
    s = 1 - t
    value = f0 * s * s * (1 + 2 * t) + f1 * t * t * (1 + 2 * s) + width * t * s * (d0 * s - d1 * t)
    return np.clip(value, f0, f1)


def _cut(nodes: Nodes) -> tuple[Array, Array, Array]:
    """Of parts of what lies between nodes, (n, N): distribution function at both ends, and amounts in the middle."""
    (z0, f0, d0), (z1, f1, d1) = ([a[:, part, None] for a in nodes] for part in (slice(-1), slice(1, None)))
    t = np.arange(_CUTS + 1) / _CUTS
    cdf = _cubic(t, z1 - z0, f0, f1, d0, d1)
    z = z0 + (z1 - z0) * (t[1:] + t[:-1]) / 2
    n = len(z)
    cdf = np.maximum.accumulate(cdf, axis=2)
    return cdf[..., :-1].reshape(n, -1), cdf[..., 1:].reshape(n, -1), z.reshape(n, -1)
