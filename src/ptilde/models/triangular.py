r"""A triangular map of the amounts to about N(0, I): each column as it looks from the columns before it.

$$u_i = S\bigl((x_i - m_i)\,e^{-a_i};\; b_i\bigr), \qquad (m_i, a_i, b_i) = \text{net}_i(x_1, \dots, x_{i-1}, s),$$

with $S$ a monotone rational-quadratic spline on $[-B, B]$ of $K$ intervals, the identity outside. Its Jacobian is
triangular, so if $q$ is a density of $u$, the density of $x$ is $q(u) \prod_i du_i/dx_i$. Each column has a network of
its own, so drawing, one column after the other, costs what evaluating costs. At the start the map is the identity.

References:
    Rosenblatt (1952), Remarks on a multivariate transformation.
    Durkan, Bekasov, Murray & Papamakarios (2019), Neural spline flows, equations 4 to 8.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ptilde import _validate
from ptilde._typing import Point, Scalar

NUM_INTERVALS = 8
_REACH = 6.0  # B
_LEAST = 1e-3  # share of an interval's width and rise, and slope at a knot
_SHARPEST = 7.0  # |a| stays below it


class Spline(eqx.Module):
    """A monotone rational-quadratic spline on [-B, B], the identity outside.

    Args:
        raw: (3K - 1,) numbers without bounds: widths, rises, slopes at the inner knots. Zero is the identity.
    """

    starts: Float[Array, "2 K"]
    sizes: Float[Array, "2 K"]
    slopes: Float[Array, " K+1"]

    def __init__(self, raw: Float[Array, " p"]):
        k = (raw.size + 1) // 3
        share = jax.nn.softmax(raw[: 2 * k].reshape(2, k)) * (1 - _LEAST * k) + _LEAST
        self.sizes = 2 * _REACH * share
        # A product with a triangle of ones: a cumulative sum is slow to compile and to run on some machines.
        self.starts = self.sizes @ jnp.triu(jnp.ones((k, k)), 1) - _REACH
        inner = jax.nn.softplus(raw[2 * k :] + np.log(np.expm1(1 - _LEAST))) + _LEAST
        self.slopes = jnp.concatenate([jnp.ones(1), inner, jnp.ones(1)])

    def __call__(self, x: Scalar) -> tuple[Scalar, Scalar]:
        """Value and log slope: Gregory & Delbourgo (1982), equations 2.3 and 2.4."""
        (x0, y0), (width, rise), d0, d1 = self._interval(0, x)
        t, s = jnp.clip((x - x0) / width, 0.0, 1.0), rise / width
        bend = t * (1 - t)
        bottom = s + (d1 + d0 - 2 * s) * bend
        y = y0 + rise * (s * t**2 + d0 * bend) / bottom
        log_slope = 2 * jnp.log(s / bottom) + jnp.log(d1 * t**2 + 2 * s * bend + d0 * (1 - t) ** 2)
        inside = jnp.abs(x) < _REACH
        return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0.0)

    def inverse(self, y: Scalar) -> Scalar:
        """Where the spline takes the value y: the root in [0, 1] of a quadratic."""
        (x0, y0), (width, rise), d0, d1 = self._interval(1, y)
        s, up = rise / width, jnp.clip(y - y0, 0.0, rise)
        bend = d1 + d0 - 2 * s
        a, b, c = rise * (s - d0) + up * bend, rise * d0 - up * bend, -s * up
        q = -0.5 * (b + jnp.copysign(jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0.0)), b))
        t = jnp.where(b >= 0, c / q, q / jnp.where(a == 0, 1.0, a))  # of two forms the one that does not cancel
        return jnp.where(jnp.abs(y) < _REACH, x0 + t * width, y)

    def _interval(self, axis: int, value: Scalar) -> tuple[Array, Array, Scalar, Scalar]:
        """Start, size, and slopes at both ends of the interval that holds the value on an axis."""
        here = jax.nn.one_hot(jnp.sum(value >= self.starts[axis, 1:]), self.sizes.shape[1])
        return self.starts @ here, self.sizes @ here, self.slopes[:-1] @ here, self.slopes[1:] @ here


class ColumnMap(eqx.Module):
    """The map of one column: a spline, shifted and stretched.

    Args:
        raw: m, a, and the numbers of the spline.
    """

    shift: Scalar
    sharpness: Scalar
    spline: Spline

    def __init__(self, raw: Float[Array, " o"]):
        self.shift, self.sharpness = raw[0], _SHARPEST * jnp.tanh(raw[1] / _SHARPEST)
        self.spline = Spline(raw[2:])

    def __call__(self, x: Scalar) -> tuple[Scalar, Scalar]:
        """Value and log slope."""
        u, log_slope = self.spline((x - self.shift) * jnp.exp(self.sharpness))
        return u, log_slope + self.sharpness

    def inverse(self, u: Scalar) -> Scalar:
        """Where the map takes the value u."""
        return self.shift + self.spline.inverse(u) * jnp.exp(-self.sharpness)


class Columns(eqx.Module):
    r"""A residual network for each column, which sees the columns before it and the state.

    Args:
        dim: number of columns $d$.
        num_context: number of features of the state.
        num_outputs: of each network.
        width: of every layer.
        depth: number of residual blocks of two layers.
        num_frequencies: columns are seen with $\sin$ and $\cos$ of $\tfrac{\pi}{2} 2^i x$ for so many $i$.
        additive: whether the outputs have a part that is linear in the state.
    """

    first: Float[Array, "d w n"]
    first_shift: Float[Array, "d w"]
    blocks: list[tuple[Float[Array, "d w w"], Float[Array, "d w"], Float[Array, "d w w"], Float[Array, "d w"]]]
    last: Float[Array, "d o w"]
    last_shift: Float[Array, "d o"]
    additive: Float[Array, "d o m"] | None

    def __init__(
        self,
        dim: int,
        num_context: int,
        num_outputs: int,
        width: int,
        depth: int,
        num_frequencies: int,
        additive: bool,
        *,
        key: PRNGKeyArray,
    ):
        first, shift, *blocks = jr.split(key, 2 + 2 * depth)
        normal = lambda key, *shape: jr.normal(key, shape) / np.sqrt(shape[-1])  # noqa: E731
        num_features = 1 + 2 * num_frequencies
        num_seen = num_features * jnp.arange(dim) + num_context
        num_inputs = num_features * dim + num_context
        self.first = jr.normal(first, (dim, width, num_inputs)) / jnp.sqrt(num_seen)[:, None, None]
        self.first_shift = 0.3 * jr.normal(shift, (dim, width))
        flat = jnp.zeros((dim, width))
        self.blocks = [
            (normal(a, dim, width, width), flat, normal(b, dim, width, width), flat)
            for a, b in zip(blocks[::2], blocks[1::2], strict=True)
        ]
        self.last, self.last_shift = jnp.zeros((dim, num_outputs, width)), jnp.zeros((dim, num_outputs))
        self.additive = jnp.zeros((dim, num_outputs, num_context)) if additive else None

    def __call__(self, i: Scalar, x: Point, state: Float[Array, " m"]) -> Float[Array, " o"]:
        """The outputs for column i, of which `self` holds the weights alone."""
        num_features = self.first.shape[-1] - state.size
        features = _features(x, num_features // x.size)
        seen = jnp.repeat(jnp.arange(x.size) < i, num_features // x.size, total_repeat_length=num_features)
        h = (self.first * jnp.pad(seen, (0, state.size), constant_values=True)) @ jnp.concatenate([features, state])
        h = h + self.first_shift
        for inner, inner_shift, outer, outer_shift in self.blocks:
            h = h + outer @ jax.nn.silu(inner @ jax.nn.silu(h) + inner_shift) + outer_shift
        out = self.last @ jax.nn.silu(h) + self.last_shift
        return out if self.additive is None else out + self.additive @ state


class TriangularMap(eqx.Module):
    """A map of the active columns of rows to about N(0, I), given their states.

    Args:
        dim: number of columns $d$.
        num_context: number of features of the state.
        width: of each column's network.
        depth: residual blocks of two layers.
        num_frequencies: of the features of the columns before.
        num_intervals: $K$ of the splines.
        additive: whether $m, a, b$ have a part that is linear in the state and the covariates.
    """

    columns: Columns
    num_frequencies: int = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        num_context: int,
        width: int,
        depth: int = 2,
        num_frequencies: int = 1,
        num_intervals: int = NUM_INTERVALS,
        additive: bool = False,
        *,
        key: PRNGKeyArray,
    ):
        sizes = {"dim": dim, "width": width, "depth": depth, "num_frequencies": num_frequencies}
        for name, low in {"dim": 1, "width": 1, "depth": 0, "num_frequencies": 0}.items():
            _validate.at_least(name, sizes[name], low)
        _validate.at_least("num_intervals", num_intervals, 2)
        num_outputs = 3 * num_intervals + 1
        self.num_frequencies = num_frequencies
        self.columns = Columns(dim, num_context + dim, num_outputs, width, depth, num_frequencies, additive, key=key)

    @property
    def width(self) -> int:
        """Of each column's network."""
        return self.columns.first.shape[1]

    @property
    def depth(self) -> int:
        """Residual blocks."""
        return len(self.columns.blocks)

    @property
    def num_intervals(self) -> int:
        """$K$ of the splines."""
        return self.columns.last.shape[1] // 3

    def refined(self, num_frequencies: int) -> "TriangularMap":
        """The same map with the columns before also seen at higher frequencies, up to so many in all."""
        num_columns, width, num_inputs = self.columns.first.shape
        old, num_context = self.num_frequencies, num_inputs - num_columns * (1 + 2 * self.num_frequencies)
        _validate.at_least("num_frequencies", num_frequencies, old)
        seen, context = jnp.split(self.columns.first, [num_inputs - num_context], axis=2)
        plain, sines, cosines = jnp.split(seen.reshape(num_columns, width, num_columns, -1), [1, 1 + old], axis=3)
        unseen = jnp.zeros((num_columns, width, num_columns, num_frequencies - old))
        seen = jnp.concatenate([plain, sines, unseen, cosines, unseen], axis=3).reshape(num_columns, width, -1)
        columns = eqx.tree_at(lambda c: c.first, self.columns, jnp.concatenate([seen, context], axis=2))
        sizes = num_columns, num_context - num_columns, width, self.depth, num_frequencies, self.num_intervals
        return eqx.tree_at(lambda m: m.columns, TriangularMap(*sizes, key=jr.key(0)), columns)

    def blind(self, unseen: Bool[Array, " m"]) -> "TriangularMap":
        """The same map with no weight yet on those of the context; it may learn them."""
        weight, additive = self.columns.first, self.columns.additive
        kept = jnp.pad(~unseen, (0, weight.shape[0]), constant_values=True)
        before = (weight.shape[2] - kept.size, 0)
        parts = weight * jnp.pad(kept, before, constant_values=True), additive if additive is None else additive * kept
        where = lambda m: (m.columns.first, m.columns.additive)  # noqa: E731
        return eqx.tree_at(where, self, parts, is_leaf=lambda a: a is None)

    def __call__(
        self, x: Float[Array, "b d"], context: Float[Array, "b m"], active: Float[Array, "b d"]
    ) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        r"""$u$ and $\log du_i/dx_i$ of rows; both are 0 where a column is inactive.

        Columns outside, rows inside: so each layer is one large product of matrices.
        """
        x, state = active * x, jnp.concatenate([context, active], axis=1)
        one = lambda net, i: jax.vmap(lambda x, s: ColumnMap(net(i, x, s))(x[i]))(x, state)  # noqa: E731
        u, log_slope = jax.vmap(one)(self.columns, jnp.arange(x.shape[1]))
        return active * u.T, active * log_slope.T

    def inverse(
        self, u: Float[Array, "b d"], context: Float[Array, "b m"], active: Float[Array, "b d"]
    ) -> Float[Array, "b d"]:
        """The rows that the map sends to u, one column after the other."""
        state = jnp.concatenate([context, active], axis=1)

        def step(x: Array, column: tuple[Columns, Scalar]) -> tuple[Array, None]:
            net, i = column
            value = jax.vmap(lambda x, s, u: ColumnMap(net(i, x, s)).inverse(u[i]))(x, state, u)
            return x.at[:, i].set(active[:, i] * value), None

        return jax.lax.scan(step, jnp.zeros_like(u), (self.columns, jnp.arange(u.shape[1])))[0]

    def first(self, context: Float[Array, " m"], active: Float[Array, " d"]) -> "ColumnMap":
        """The map of the first column of one row: it sees no other."""
        net = jax.tree.map(lambda a: a[0], self.columns)
        return ColumnMap(net(0, jnp.zeros_like(active), jnp.concatenate([context, active])))


def _features(x: Point, num_features: int) -> Float[Array, " n"]:
    """Each entry with its sines and cosines."""
    phase = 0.5 * jnp.pi * x[:, None] * 2.0 ** jnp.arange((num_features - 1) // 2)
    return jnp.concatenate([x[:, None], jnp.sin(phase), jnp.cos(phase)], axis=1).ravel()
