r"""Ratio matching: the mass of atoms, categories and counts against each other, without a normaliser.

A coordinate may stand at one of several *options* o: an atom a, or its body at a value y. With the rest of the point as
it is, let $\ell(a) = \log q(x_{j \to a})$ and $\ell(\text{body}) = \log q(x_{j \to y}) - \log r(y)$, y the row's own
value if it is in the body, else drawn from a density r. A row at o pays for each other option o'

$$\operatorname{softplus}(-G), \qquad G = \ell(o) - \ell(o').$$

Over a pair the expected loss is $P(o)\operatorname{softplus}(-G) + P(o')\operatorname{softplus}(G)$, least where
$G = \log P(o)/P(o')$: at the truth, for every r with full support. The *squared* form has $\sigma(-G)^2$ instead. Of
counts only neighbours make a pair.

References:
    Hyvärinen (2007), Some extensions of score matching, Computational Statistics & Data Analysis 51 (squared, binary).
    Gutmann & Hyvärinen (2012), Noise-contrastive estimation of unnormalized statistical models, JMLR 13 (logistic).
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from numpy.typing import ArrayLike, DTypeLike

from ptilde import _validate
from ptilde._typing import LogDensity, Point, Scalar


class Alternatives(NamedTuple):
    """Other values that a coordinate might have had.

    Attributes:
        values: (m,)
        offset: (m,) log r at the own value less log r at the other, each 0 if it is no body value.
        weight: (m,) how much each counts; 0 fills up.
    """

    values: Float[Array, " m"]
    offset: Float[Array, " m"]
    weight: Float[Array, " m"]


def _number(value: Any) -> Any:
    return np.asarray(value, np.float64)  # cast to the data's precision where it is used


def _known(possible: Bool[Array, ""], value: Array) -> Array:
    """`value`, or NaN for a row that cannot be, so that a fit stops there."""
    return jnp.where(possible, value, jnp.nan)


def _chart(x: Any, low: float, high: float, log: Callable[[Any], Any]) -> tuple[Any, Any]:
    r"""$u(x)$ and $\log du/dx$."""
    match math.isfinite(low), math.isfinite(high):
        case True, True:
            left, right = log(x - low), log(high - x)
            return left - right, math.log(high - low) - left - right
        case True, False:
            u = log(x - low)
            return u, -u
        case False, True:
            u = -log(high - x)
            return u, u
    return x, 0.0


def _inverse(u: Array, low: float, high: float) -> Array:
    """The x whose chart is u."""
    match math.isfinite(low), math.isfinite(high):
        case True, True:
            share = (high - low) * jax.nn.sigmoid(-jnp.abs(u))  # from the nearer end, so that no digits are lost
            return jnp.where(u < 0, low + share, high - share)
        case True, False:
            return low + jnp.exp(u)
        case False, True:
            return high - jnp.exp(-u)
    return u


class Proposal(eqx.Module):
    r"""A density on an interval: $u(y) \sim N(\text{mean}, \text{std}^2)$ in a chart u of it.

    $u = y$, $\log(y - \text{low})$, $-\log(\text{high} - y)$ or $\log\frac{y - \text{low}}{\text{high} - y}$, by which
    ends are finite.

    Args:
        low: −inf if there is none.
        high: inf if there is none.
        mean: of u.
        std: of u.
    """

    low: float = eqx.field(static=True, converter=float)
    high: float = eqx.field(static=True, converter=float)
    mean: Float[Array, ""] = eqx.field(converter=_number)
    std: Float[Array, ""] = eqx.field(converter=_number)

    def __check_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"`low` must be below `high`; got {self.low} and {self.high}.")
        _validate.finite("mean", self.mean[()])
        _validate.positive("std", self.std[()])

    @classmethod
    def fitted(cls, y: ArrayLike, low: float, high: float) -> "Proposal":
        """The proposal with the mean and the standard deviation of body values (n,) in the chart."""
        y = np.asarray(y, np.float64)
        outside = y[~((y > low) & (y < high))]
        if outside.size:
            raise ValueError(f"`y` must lie between {low} and {high}; got {outside[0]}.")
        if np.unique(y).size < 2:
            raise ValueError(f"`y` must hold at least two distinct values; got {np.unique(y)}.")
        u, _ = _chart(y, low, high, np.log)
        return cls(low, high, np.mean(u), np.std(u))

    def draw(self, key: PRNGKeyArray, shape: tuple[int, ...] = (), dtype: DTypeLike = float) -> Float[Array, "..."]:
        """Values strictly between the ends."""
        dtype = jnp.result_type(dtype)
        u = jnp.asarray(self.mean, dtype) + jnp.asarray(self.std, dtype) * jr.normal(key, shape, dtype)
        # Rounding may put a draw on an end, where it has no density: move it inside by one floating-point number.
        return jnp.clip(_inverse(u, self.low, self.high), *_innermost(self.low, self.high, dtype))

    def log_density(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log density of values between the ends; NaN outside."""
        u, log_slope = _chart(y, self.low, self.high, jnp.log)
        return norm.logpdf(u, jnp.asarray(self.mean, y.dtype), jnp.asarray(self.std, y.dtype)) + log_slope


def _innermost(low: float, high: float, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest normal number between the ends."""
    tiny = np.finfo(dtype).tiny
    ends = np.asarray([low, high], dtype)
    low, high = np.nextafter(ends, ends[::-1])
    return np.where(abs(low) < tiny, tiny, low), np.where(abs(high) < tiny, -tiny, high)


class Choice(eqx.Module):
    """A column that stands on atoms, or in a body beside them: a zero-inflated amount, a category, a spin.

    Args:
        atoms: distinct values; a row is on one if it equals it exactly.
        proposal: a density on the body; None if there is no body.
    """

    atoms: tuple[float, ...] = eqx.field(static=True, converter=lambda atoms: tuple(map(float, atoms)))
    proposal: Proposal | None = None

    def __check_init__(self) -> None:
        for atom in self.atoms:
            _validate.finite("atoms", atom)
        if len(set(self.atoms)) < len(self.atoms):
            raise ValueError(f"`atoms` must be distinct; got {self.atoms}.")
        if len(self.atoms) + (self.proposal is not None) < 2 or not self.atoms:
            raise ValueError(
                f"`atoms` must hold at least two values, or one beside a `proposal`; got {self.atoms}. "
                "For a column with nothing to choose, put None in its place."
            )

    @property
    def has_body(self) -> bool:
        """Whether a row may be on no atom."""
        return self.proposal is not None

    def in_body(self, value: Scalar) -> Bool[Array, ""]:
        """Whether a row with this value is in the body."""
        return jnp.all(value != jnp.asarray(self.atoms, value.dtype)) & self.has_body

    def alternatives(self, value: Scalar, key: PRNGKeyArray, num_draws: int) -> Alternatives:
        """Every other atom; the body, at `num_draws` values, if the row is on an atom."""
        atoms = jnp.asarray(self.atoms, value.dtype)
        own = value == atoms
        others = atoms[(jnp.argmax(own) + np.arange(1, atoms.size)) % atoms.size]
        each = jnp.ones_like(others)
        if self.proposal is None:
            return Alternatives(others, _known(jnp.any(own), 0 * each), each)
        y, filling = self.proposal.draw(key, (num_draws,), value.dtype), jnp.full(num_draws - 1, value)
        from_atom = Alternatives(
            jnp.concatenate([others, y]),
            jnp.concatenate([0 * each, -self.proposal.log_density(y)]),
            jnp.concatenate([each, jnp.full_like(y, 1 / num_draws)]),
        )
        from_body = Alternatives(
            jnp.concatenate([atoms, filling]),
            jnp.full_like(from_atom.offset, self.proposal.log_density(value)),
            jnp.concatenate([jnp.ones_like(atoms), jnp.zeros_like(filling)]),
        )
        return jax.tree.map(lambda a, b: jnp.where(jnp.any(own), a, b), from_atom, from_body)


class Neighbours(eqx.Module):
    """A column of counts 0, 1, 2, …: each against the next."""

    has_body: ClassVar[bool] = False

    def in_body(self, value: Scalar) -> Bool[Array, ""]:
        """Never: a count has no body."""
        return jnp.zeros((), bool)

    def alternatives(self, value: Scalar, key: PRNGKeyArray, num_draws: int) -> Alternatives:
        """One more, and one less if there is one; below zero the model is never called."""
        values = jnp.stack([value + 1, jnp.maximum(value - 1, 0)])
        weight = jnp.stack([jnp.ones_like(value), jnp.where(value >= 1, jnp.ones_like(value), 0)])
        is_count = (value >= 0) & (value == jnp.round(value))
        return Alternatives(values, _known(is_count, jnp.zeros_like(values)), weight)


Column = Choice | Neighbours | None


class Ratio(eqx.Module):
    r"""$\sum_j \sum_{o' \ne o} \operatorname{softplus}(-(\ell_j(o) - \ell_j(o')))$ over the columns with a choice.

    A category or a count that is none of its column's has loss NaN.

    Args:
        columns: for each coordinate what it chooses from; None if there is nothing to choose.
        num_draws: body values that a row on an atom is compared with; their mean counts.
        squared: whether the loss is $\sigma(-G)^2$.

    References:
        Hyvärinen (2007), Some extensions of score matching: binary columns, squared.
        Gutmann & Hyvärinen (2012), Noise-contrastive estimation of unnormalized statistical models.
    """

    columns: tuple[Column, ...] = eqx.field(converter=tuple)
    num_draws: int = eqx.field(default=1, static=True)
    squared: bool = eqx.field(default=False, static=True)
    needs: ClassVar[Literal["log density"]] = "log density"

    def __check_init__(self) -> None:
        _validate.whole("num_draws", self.num_draws, 1)
        if all(column is None for column in self.columns):
            raise ValueError(f"`columns` must hold a Choice or Neighbours; got {self.columns}.")

    def __call__(self, log_q: LogDensity, x: Point, key: PRNGKeyArray) -> Scalar:
        """Evaluate the loss at one point."""
        if len(self.columns) != x.size:
            raise ValueError(
                f"`columns` must have an entry for each of the {x.size} coordinates; got {len(self.columns)}."
            )
        keys = jr.split(key, x.size)
        of = lambda column, value, key: column.alternatives(value, key, self.num_draws)  # noqa: E731
        parts = [(js, jax.vmap(of)(column, x[js], keys[js])) for js, column in _alike(self.columns)]
        column = np.concatenate([np.repeat(js, a.values.shape[1]) for js, a in parts])
        values, offset, weight = (jnp.concatenate([a[i].ravel() for _, a in parts]) for i in range(3))
        # All points in one call of the model: its own, then those that differ from it in one coordinate.
        points = jnp.where(column[:, None] == np.arange(x.size), values[:, None], x)
        log_qs = jax.vmap(log_q)(jnp.concatenate([x[None], points]))
        gain = log_qs[0] - log_qs[1:] - offset
        return jnp.sum(weight * (jax.nn.sigmoid(-gain) ** 2 if self.squared else jax.nn.softplus(-gain)))


def _alike(columns: tuple[Column, ...]) -> list[tuple[np.ndarray, Any]]:
    """Columns that differ in their numbers alone, and where they stand: one program serves a hundred spins."""
    places = defaultdict(list)
    for j, column in enumerate(columns):
        if column is not None:
            places[jax.tree.structure(column)].append(j)
    stacked = lambda js: jax.tree.map(lambda *leaves: jnp.stack(leaves), *(columns[j] for j in js))  # noqa: E731
    return [(np.asarray(js), stacked(js)) for js in places.values()]
