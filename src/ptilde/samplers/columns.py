r"""Coordinates of a mixed space: what each column of a point may be.

A column stands at one of its *options*: its atoms, numbered from 0 on, and after them its *body*, an interval; of a
count the option is the count itself. A body has a chart u without ends,

$$u = x, \quad \log(x - a), \quad -\log(b - x) \quad\text{or}\quad \log\frac{x - a}{b - x},$$

by which of its ends are finite. So a point is (option, u), and $u_j$ matters where column j is in its body. There
$r_j$, which jumps into the body are drawn from, is $N(m_j, s_j^2)$ in the chart.
"""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ptilde import _validate
from ptilde._typing import Point, Scalar

Options = Int[Array, " d"]
START = 2.0  # the standard deviation of r in the chart until warm-up knows better: most shares, and e² either way


class Column(eqx.Module):
    """What one column may hold: `Column()` is the line, `Column(body=(0, inf))` the half-line.

    Args:
        atoms: distinct values of positive probability; they may lie outside the body.
        body: its ends, infinite where there is none; None for a column that is always on an atom: a category, a spin.
        count: whether it is 0, 1, 2, ... instead, with neither atoms nor a body.
    """

    atoms: tuple[float, ...] = eqx.field(static=True, default=(), converter=lambda atoms: tuple(map(float, atoms)))
    body: tuple[float, float] | None = eqx.field(static=True, default=(-math.inf, math.inf))
    count: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        for atom in self.atoms:
            _validate.finite("atoms", atom)
        if len(set(self.atoms)) < len(self.atoms):
            raise ValueError(f"`atoms` must be distinct; got {self.atoms}.")
        if self.body is not None and not self.body[0] < self.body[1]:
            raise ValueError(f"`body` must be two ends, the lower one first; got {self.body}.")
        if self.count and self.atoms:
            raise ValueError(f"`atoms` must be empty for a count; got {self.atoms}.")
        if not self.count and self.body is None and not self.atoms:
            raise ValueError("`atoms` must hold at least one value where there is no `body`; got none.")


class Columns(eqx.Module):
    """All columns of a point, as arrays: other atoms, ends or proposals compile nothing anew.

    Args:
        atoms: a row for each column; NaN fills up.
        low: ends of the bodies.
        high: the same.
        mean: m, of the proposals.
        std: s.
        num_atoms: of each column.
        has_body: which columns have a body.
        is_count: which are counts.
    """

    atoms: Float[Array, "d k"]
    low: Point
    high: Point
    mean: Point
    std: Point
    num_atoms: tuple[int, ...] = eqx.field(static=True)
    has_body: tuple[bool, ...] = eqx.field(static=True)
    is_count: tuple[bool, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, columns: Sequence[Column]) -> "Columns":
        """The columns one by one, side by side."""
        if not columns:
            raise ValueError("`columns` must have an entry for each coordinate; got none.")
        num_atoms = tuple(len(column.atoms) for column in columns)
        table = np.full((len(columns), max(num_atoms) + 1), np.nan)  # one more: no index can go over the end
        for row, column in zip(table, columns, strict=True):
            row[: len(column.atoms)] = column.atoms
        low, high = np.transpose([column.body or (-math.inf, math.inf) for column in columns])
        zero = jnp.zeros(len(columns))
        return cls(
            *(jnp.asarray(part, float) for part in (table, low, high, zero, zero + START)),
            num_atoms=num_atoms,
            has_body=tuple(column.body is not None and not column.count for column in columns),
            is_count=tuple(column.count for column in columns),
        )

    @property
    def num_options(self) -> Int[np.ndarray, " d"]:
        """Of each column; 0 of a count, which has no end."""
        return np.add(self.num_atoms, self.has_body)

    @property
    def choices(self) -> Int[np.ndarray, " c"]:
        """The columns that have more than one option."""
        return np.flatnonzero(np.array(self.is_count) | (self.num_options > 1))

    def active(self, option: Options) -> Bool[Array, " d"]:
        """Which columns are in their bodies."""
        return jnp.asarray(self.has_body) & (option == jnp.asarray(self.num_atoms))

    def split(self, x: Point) -> tuple[Options, Point]:
        """The options and the coordinates of a point."""
        on = x[:, None] == self.atoms
        option = jnp.where(jnp.any(on, 1), jnp.argmax(on, 1), jnp.asarray(self.num_atoms))
        option = jnp.where(jnp.asarray(self.is_count), jnp.round(x).astype(option.dtype), option)
        return option, jnp.where(self.active(option), self._chart(x), self.mean)

    def x(self, option: Options, u: Point) -> Point:
        """The point with these options and coordinates; a body never reaches its ends, where an atom may be."""
        both, left, right = self._ends()
        width = jnp.where(both, self.high - self.low, 1.0)
        low, high = jnp.where(both | left, self.low, 0.0), jnp.where(both | right, self.high, 0.0)
        near = jnp.exp(jnp.where(left, u, jnp.where(right, -u, 0.0)))  # the distance to the only end
        # From the nearer of two ends, so that no digits are lost.
        inside = jnp.where(u < 0, low + width * jax.nn.sigmoid(u), high - width * jax.nn.sigmoid(-u))
        body = jnp.where(both, inside, jnp.where(left, low + near, jnp.where(right, high - near, u)))
        body = jnp.clip(body, *self._innermost())
        atom = jnp.take_along_axis(self.atoms, jnp.minimum(option, self.atoms.shape[1] - 1)[:, None], 1)[:, 0]
        return jnp.where(self.active(option), body, jnp.where(jnp.asarray(self.is_count), option.astype(u.dtype), atom))

    def inside(self, x: Point) -> Bool[Array, " d"]:
        """Which coordinates floating-point numbers can tell from infinity and from the ends of their bodies."""
        least, most = self._innermost()
        return jnp.isfinite(x) & (x > least) & (x < most)

    def log_slope(self, u: Point) -> Point:
        """Log |dx/du| of each body."""
        both, left, right = self._ends()
        inside = jnp.log(jnp.where(both, self.high - self.low, 1.0)) + jax.nn.log_sigmoid(u) + jax.nn.log_sigmoid(-u)
        return jnp.where(both, inside, jnp.where(left, u, jnp.where(right, -u, 0.0)))

    def log_r(self, u: Point) -> Point:
        """Log density of each body's proposal, as one of x."""
        return norm.logpdf(u, self.mean, self.std) - self.log_slope(u)

    def other(self, j: Array, option: Int[Array, ""], key: PRNGKeyArray) -> tuple[Int[Array, ""], Scalar]:
        r"""Another option o' of column j, drawn from a law t, and $\log\frac{t(o \mid o')}{t(o' \mid o)}$.

        Uniform over the others; of a count one more or one less, and from 0 always one more.
        """
        num = jnp.maximum(jnp.asarray(self.num_options)[j], 2)
        shift = jr.randint(key, (), 1, num)
        up = (option == 0) | (jr.uniform(key) < 0.5)
        count = option + jnp.where(up, 1, -1)
        at_zero = jnp.log(2.0) * ((count == 0).astype(float) - (option == 0))
        is_count = jnp.asarray(self.is_count)[j]
        return jnp.where(is_count, count, (option + shift) % num), jnp.where(is_count, at_zero, 0.0)

    def _chart(self, x: Point) -> Point:
        both, left, right = self._ends()
        above = jnp.log(jnp.where(both | left, x - self.low, 1.0))
        below = jnp.log(jnp.where(both | right, self.high - x, 1.0))
        return jnp.where(both | left | right, above - below, x)

    def _ends(self) -> tuple[Array, Array, Array]:
        """Which bodies have two ends, only a lower one, only an upper one."""
        low, high = jnp.isfinite(self.low), jnp.isfinite(self.high)
        return low & high, low & ~high, high & ~low

    def _innermost(self) -> tuple[Array, Array]:
        """The least and the largest normal number between the ends."""
        low, high, tiny = self.low, self.high, jnp.finfo(self.low.dtype).tiny
        least = jnp.where(low == 0, tiny, jnp.nextafter(low, high))
        most = jnp.where(high == 0, -tiny, jnp.nextafter(high, low))
        return jnp.where(jnp.isfinite(low), least, -jnp.inf), jnp.where(jnp.isfinite(high), most, jnp.inf)
