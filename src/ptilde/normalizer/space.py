"""Where a density lives, as real coordinates and choices: w = (u, z).

A column with a body has a real coordinate u, in the chart of that body. A column with atoms or categories has a choice
z: 0, 1, ... for its atoms, and after them its body, if it has one. The pattern z says which coordinates are active.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike, NDArray

from ptilde import _validate
from ptilde._typing import LogDensity, Point, Scalar
from ptilde.samplers.charted import Charted
from ptilde.samplers.moves import Start
from ptilde.tabular.kinds import Categorical, Count, Kind, Real
from ptilde.tabular.points import atoms_of, ends_of

Floats = NDArray[np.float64]


class Space(eqx.Module):
    """Columns, their bodies and their choices.

    Args:
        kinds: of the columns.
        bodies: the columns that have a body.
        choosers: the columns that have atoms or categories.
        counts: how many values each choice has.
        num_atoms: how many of them are atoms.
        owned: the real coordinate of each chooser; −1 for none.
        atoms: of each chooser, filled up with zeros.
        low: end of each body.
        high: the other.
    """

    kinds: tuple[Kind, ...] = eqx.field(static=True)
    bodies: tuple[int, ...] = eqx.field(static=True)
    choosers: tuple[int, ...] = eqx.field(static=True)
    counts: tuple[int, ...] = eqx.field(static=True)
    num_atoms: tuple[int, ...] = eqx.field(static=True)
    owned: tuple[int, ...] = eqx.field(static=True)
    atoms: Float[np.ndarray, "c a"]
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]

    @classmethod
    def of(cls, kinds: tuple[Kind, ...]) -> "Space":
        """The space of a support."""
        bodies = tuple(j for j, kind in enumerate(kinds) if not isinstance(kind, Categorical))
        choosers = tuple(j for j, kind in enumerate(kinds) if atoms_of(kind))
        listed = [atoms_of(kinds[j]) for j in choosers]
        atoms = np.zeros((len(choosers), max(map(len, listed), default=0)))
        for row, values in zip(atoms, listed, strict=True):
            row[: len(values)] = values
        num_atoms = tuple(map(len, listed))
        counts = tuple(n + (j in bodies) for n, j in zip(num_atoms, choosers, strict=True))
        owned = tuple(bodies.index(j) if j in bodies else -1 for j in choosers)
        low, high = np.reshape([ends_of(kinds[j]) for j in bodies], (-1, 2)).T
        return cls(kinds, bodies, choosers, counts, num_atoms, owned, atoms, low, high)

    def active(self, z: Point) -> Bool[Array, " k"]:
        """Which real coordinates a pattern switches on."""
        of = np.array([self.choosers.index(j) if j in self.choosers else -1 for j in self.bodies], int)
        return jnp.append(z, 0.0)[of] >= np.append(self.num_atoms, 0)[of]

    def chart(self, active: Bool[Array, " k"]) -> Charted:
        """The chart of the active bodies; nothing is done to the others."""
        low, high = jnp.where(active, self.low, -jnp.inf), jnp.where(active, self.high, jnp.inf)
        return Charted(lambda x: jnp.sum(x), low, high)

    def x(self, u: Point, z: Point) -> Point:
        """The point of these coordinates and choices."""
        columns = range(len(self.kinds))
        body = np.array([self.bodies.index(j) if j in self.bodies else -1 for j in columns])
        choice = np.array([self.choosers.index(j) if j in self.choosers else -1 for j in columns])
        code, num_atoms = jnp.append(z, 0.0)[choice], np.append(self.num_atoms, 0)[choice]
        table = jnp.pad(jnp.asarray(self.atoms, u.dtype), ((0, 1), (0, 1)))  # and a row for columns without a choice
        atom = table[choice, jnp.clip(code.astype(int), 0, table.shape[1] - 1)]
        return jnp.where(code < num_atoms, atom, jnp.append(self.chart(self.active(z)).x(u), 0.0)[body])

    def coordinates(self, x: Floats) -> Floats:
        """The real coordinates (n, k) of points; NaN where a point is on an atom."""
        on = jnp.ones(len(self.bodies), bool)
        u = np.asarray(self.chart(on).u(jnp.asarray(x[:, list(self.bodies)])))
        return np.where(np.isfinite(u), u, np.nan)

    def start(self, mean: Floats, root: Floats) -> Start:
        """Where particles begin."""
        whole = (jnp.asarray(part, int) for part in (self.counts, self.num_atoms, self.owned))
        return Start(*map(jnp.asarray, (mean, root, np.linalg.inv(root))), *whole, joint=not self.choosers)


class Extended(eqx.Module):
    """log q as a density of w = (u, z): times the chart's slope, and the start's law for coordinates that are off."""

    log_q: LogDensity
    space: Space
    start: Start

    def __call__(self, w: Point) -> Scalar:
        u, z = self.start.split(w)
        active = self.space.active(z)
        idle = jnp.sum(jnp.where(active, 0.0, self.start.log_marginals(u)))
        return self.log_q(self.space.x(u, z)) + self.space.chart(active).log_slope(u) + idle


def kinds_of(support: Any, dim: int | None, x0: ArrayLike | None, draws: ArrayLike | None) -> tuple[Kind, ...]:
    """A kind for each column, from whatever says how many columns there are."""
    told = {"dim": dim, "x0": _width(x0), "draws": _width(draws)}
    listed: tuple[Any, ...] = ()
    if support is not None and not isinstance(support, Kind):
        listed = tuple(getattr(support, "columns", {}).values()) or tuple(support)
        told["support"] = len(listed)
    widths = {name: width for name, width in told.items() if width is not None}
    if not widths:
        raise ValueError("`dim` must be given, or a `support` with a kind for each column, or `x0`; got none of them.")
    if len(set(widths.values())) > 1:
        raise ValueError(f"`dim`, `support`, `x0` and `draws` must have one number of columns; got {widths}.")
    width = next(iter(widths.values()))
    _validate.whole("dim", width, 1)
    kinds = listed or (Real() if support is None else support,) * width
    for column, kind in enumerate(kinds):
        _refuse(kind, column)
    return kinds


def _width(points: ArrayLike | None) -> int | None:
    return None if points is None else int(np.shape(points)[-1]) if np.ndim(points) else 1


def _refuse(kind: Any, column: int) -> None:
    if isinstance(kind, Count):
        raise ValueError(
            f"`support` must have finitely many categories; got Count() in column {column}. Give "
            "Categorical(range(n)), with n so large that what is beyond does not matter."
        )
    if not isinstance(kind, Kind):
        raise ValueError(f"`support` must hold a kind for each column, such as Positive(); got {kind!r}.")
    if kind.missing or getattr(kind, "grid", None) is not None:
        raise ValueError(
            f"`support` must have no missing values and no grid; got {kind!r} in column {column}. Give the kind "
            "without them, or the values of the grid as Categorical(...)."
        )
