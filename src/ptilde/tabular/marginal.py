r"""A monotone smooth map from a column's body to about N(0, 1).

The body is first put on the real line by a `Chart`, $y(x)$. Then $z = S(y)$, where $S$ is a monotone rational-quadratic
spline (Gregory & Delbourgo 1982) through empirical quantiles, continued by straight lines. With $\dot z = dz/dx$, a
density $q$ of $z$ is the density $q(z)\,\dot z$ of $x$.

* The straight tails never clip: $z$ and $x$ range over the whole line, so draws may exceed the sample's extremes. Their
  slope makes the mean excess over the last knot what it is under N(0, 1), so a tail is Gaussian in $y$: log-normal for
  a positive body.
* The number of knots, with the chart where there is a choice, are those whose implied density $\varphi(z)\,\dot z$ has
  the highest cross-validated likelihood, unless that density has a deep valley between modes far apart. Flattened to
  N(0, 1) it would become a cliff in z, which in several columns no smooth network fits. Then the map keeps the shape:
  its slope may not fall below 1/`DEEPEST_VALLEY` of what it is on both sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import norm

from ptilde.tabular.charts import Chart

Array = NDArray[np.float64]

NUM_KNOTS = (2, 3, 5, 9, 17, 33)
FOLDS = 5
DEEPEST_VALLEY = 3.0
# Values from which the spline is fitted: more would move it by less than the network's own error.
MAX_ROWS = 20_000
# A straight tail begins where this many values are left, so that its slope has a relative error of about 1/√30.
TAIL_COUNT = 30


@dataclass(frozen=True, eq=False)
class Marginal:
    """The map of one column: a chart onto the line, then a monotone spline.

    Attributes:
        chart: how the body reaches the real line.
        knots: (3, m) rows $y_k$, $z_k$ and the slope $dz/dy$ there; increasing in the first two.
    """

    chart: Chart
    knots: Array

    @classmethod
    def fit(cls, charts: Sequence[Chart], x: Array, weight: Array | None = None) -> "Marginal":
        """The map fitted to values `x` (n,) inside the body, in any order, with weights (n,), by the best chart."""
        weight = np.ones(len(x)) if weight is None else weight
        order = np.argsort(x, kind="stable")
        order = order[weight[order] > 0]
        if len(order) > MAX_ROWS:
            order = order[np.linspace(0, len(order) - 1, MAX_ROWS).round().astype(int)]
        x, weight = x[order], weight[order]
        fold = np.random.default_rng(0).permutation(len(x)) % FOLDS
        tried = []
        for chart in charts:
            y, log_slope = chart.forward(x)
            for num_knots in _numbers_of_knots(len(x)):
                knots = _knots(y, weight, num_knots)
                tried.append((_score(y, log_slope, weight, fold, num_knots), -num_knots, cls(chart, knots)))
        best = max(tried, key=lambda t: t[:2])[2]
        if _valley(_slopes(best.knots)) <= DEEPEST_VALLEY or _valley(_densities(best.knots)) <= DEEPEST_VALLEY:
            return best
        # Five knots are the fewest that can show a valley: with less, a map of modes far apart is straight.
        kept = [t for t in tried if t[1] == -2 or (t[1] <= -5 and _valley(_slopes(t[2].knots)) <= DEEPEST_VALLEY)]
        return max(kept, key=lambda t: t[:2])[2]

    def forward(self, x: Array) -> tuple[Array, Array]:
        r"""$z$ and $\log dz/dx$ at values `x` (n,) inside the body."""
        y, log_slope = self.chart.forward(x)
        z, slope = _spline(self.knots, y)
        return z, log_slope + np.log(slope)

    def bend(self, x: Array) -> Array:
        r"""The derivative of $\log dz/dx$ at values `x` (n,) inside the body."""
        y, log_slope = self.chart.forward(x)
        return self.chart.bend(x) + _spline_bend(self.knots, y) * np.exp(log_slope)

    def inverse(self, z: Array) -> Array:
        """The values (n,) of the body that `forward` sends to `z` (n,)."""
        return self.chart.inverse(_inverse_spline(self.knots, z))


def _numbers_of_knots(num_rows: int) -> list[int]:
    """What `num_rows` values can bear: ten or so between two knots."""
    return [m for m in NUM_KNOTS if m <= max(2, num_rows // (2 * FOLDS))]


def _slopes(knots: Array) -> Array:
    """The mean slope dz/dy between knots."""
    return np.diff(knots[1]) / np.diff(knots[0])


def _densities(knots: Array) -> Array:
    """The mean implied density of y between knots."""
    return np.diff(ndtr(knots[1])) / np.diff(knots[0])


def _valley(heights: Array) -> float:
    """How far a height falls below the largest on its left and the largest on its right."""
    left, right = np.maximum.accumulate(heights), np.maximum.accumulate(heights[::-1])[::-1]
    return float(np.max(np.minimum(left, right) / heights))


def _score(y: Array, log_slope: Array, weight: Array, fold: NDArray[np.int_], num_knots: int) -> float:
    """The cross-validated log-likelihood of sorted values with charts (y, log slope)."""
    total = 0.0
    for f in range(FOLDS):
        out = fold == f
        learn = ~out if len(y) >= 2 * FOLDS else np.ones(len(y), bool)  # too few to leave any out
        z, slope = _spline(_knots(y[learn], weight[learn], num_knots), y[out])
        with np.errstate(over="ignore"):  # a left-out giant: minus infinity is its score
            total += float(np.sum(weight[out] * (norm.logpdf(z) + np.log(slope) + log_slope[out])))
    return total


def _spline(knots: Array, y: Array) -> tuple[Array, Array]:
    """Value and slope of the spline at `y`: Gregory & Delbourgo (1982), equations 2.3 and 2.4."""
    y_k, z_k, d_k = knots
    i = np.clip(np.searchsorted(y_k, y) - 1, 0, len(y_k) - 2)
    width, rise = y_k[i + 1] - y_k[i], z_k[i + 1] - z_k[i]
    t = np.clip((y - y_k[i]) / width, 0.0, 1.0)
    s, d0, d1 = rise / width, d_k[i], d_k[i + 1]
    bend = t * (1 - t)
    bottom = s + (d1 + d0 - 2 * s) * bend
    z = z_k[i] + rise * (s * t**2 + d0 * bend) / bottom
    slope = s**2 * (d1 * t**2 + 2 * s * bend + d0 * (1 - t) ** 2) / bottom**2
    return z + d_k[0] * np.minimum(y - y_k[0], 0) + d_k[-1] * np.maximum(y - y_k[-1], 0), slope


def _spline_bend(knots: Array, y: Array) -> Array:
    """The derivative of the log slope of the spline; 0 in the tails."""
    y_k, z_k, d_k = knots
    i = np.clip(np.searchsorted(y_k, y) - 1, 0, len(y_k) - 2)
    width = y_k[i + 1] - y_k[i]
    t, s, d0, d1 = (y - y_k[i]) / width, (z_k[i + 1] - z_k[i]) / width, d_k[i], d_k[i + 1]
    top = d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2
    bottom = s + (d1 + d0 - 2 * s) * t * (1 - t)
    log_top = (2 * d1 * t + 2 * s * (1 - 2 * t) - 2 * d0 * (1 - t)) / top
    log_bottom = (d1 + d0 - 2 * s) * (1 - 2 * t) / bottom
    return np.where((t >= 0) & (t <= 1), (log_top - 2 * log_bottom) / width, 0.0)


def _inverse_spline(knots: Array, z: Array) -> Array:
    """Where the spline takes the value `z`: the root in [0, 1] of a quadratic in each interval."""
    y_k, z_k, d_k = knots
    i = np.clip(np.searchsorted(z_k, z) - 1, 0, len(z_k) - 2)
    width, rise = y_k[i + 1] - y_k[i], z_k[i + 1] - z_k[i]
    s, d0, d1 = rise / width, d_k[i], d_k[i + 1]
    up = np.clip(z - z_k[i], 0.0, rise)
    bend = d1 + d0 - 2 * s
    a, b, c = rise * (s - d0) + up * bend, rise * d0 - up * bend, -s * up
    t = 2 * c / (-b - np.sqrt(np.maximum(b**2 - 4 * a * c, 0.0)))
    return y_k[i] + t * width + np.minimum(z - z_k[0], 0) / d_k[0] + np.maximum(z - z_k[-1], 0) / d_k[-1]


def _knots(y: Array, weight: Array, num_knots: int) -> Array:
    """Knots at quantiles of sorted `y`, equally spaced in z, with the slopes of the two tails; two make it straight."""
    if num_knots == 2:
        return _straight(y, weight)
    level = (np.cumsum(weight) - 0.5 * weight) / np.sum(weight)
    effective = np.sum(weight) ** 2 / np.sum(weight**2)
    share = np.clip(TAIL_COUNT / effective, 0.001, 0.16)
    z_k = np.linspace(ndtri(share), -ndtri(share), num_knots)
    y_k = np.interp(ndtr(z_k), level, y)
    # Ties and tiny samples: a knot that does not move y ahead by a float's worth is dropped.
    spread = max(y[-1] - y[0], 1e-6 * (1 + np.abs(y).max()))
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(y_k)) > 1e-7 * spread])
    if keep.sum() < 2:
        return _straight(y, weight)
    y_k, z_k = y_k[keep], z_k[keep]
    secant = np.diff(z_k) / np.diff(y_k)
    inner = 2 * secant[1:] * secant[:-1] / (secant[1:] + secant[:-1])
    left = _tail_slope(y_k[0] - y, weight, -z_k[0], secant[0])
    right = _tail_slope(y - y_k[-1], weight, z_k[-1], secant[-1])
    return np.array([y_k, z_k, np.concatenate([[left], inner, [right]])])


def _straight(y: Array, weight: Array) -> Array:
    """The map that sends the mean to 0 and the standard deviation to 1."""
    centre = np.average(y, weights=weight)
    scale = np.sqrt(np.average((y - centre) ** 2, weights=weight))
    if scale <= 4 * np.spacing(np.abs(y).max()):  # all equal, up to rounding
        scale = 1e-6 * (1 + np.abs(y).max())
    return np.array([[centre - scale, centre + scale], [-1.0, 1.0], [1 / scale, 1 / scale]])


def _tail_slope(excess: Array, weight: Array, z: float, secant: float) -> float:
    """The slope at which the mean excess beyond the last knot is that of N(0, 1) beyond z."""
    beyond = excess > 0
    if not np.any(beyond):
        return float(secant)
    mean = np.average(excess[beyond], weights=weight[beyond])
    slope = (norm.pdf(z) / norm.sf(z) - z) / max(float(mean), 1e-300)
    return float(min(slope, 10 * secant))  # no bound below: far outliers would have z in the hundreds
