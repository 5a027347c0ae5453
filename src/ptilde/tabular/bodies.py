r"""A column's body ⇄ amounts of about N(0, 1), on a grid or off.

**Grids.** A body recorded in steps of $h$ holds probabilities, not densities. Each grid value owns the cell that ends
half-way to its neighbours (at $\pm\infty$ if it has none), and its density is that of the recorded value *with respect
to its grid*: the probability of the cell divided by $h$; with $h = 1$ it is the probability. With $[a, b]$ the cell in
$z$ and $z^*$ its median under N(0, 1), the probability is taken as $q(z^*)\,(\Phi(b)-\Phi(a))/\varphi(z^*)$: exact
where $q$ is N(0, 1) in that column, however coarse the grid, and otherwise to second order in the cell. For fitting,
$z$ is drawn within the cell from N(0, 1), so that rounding a draw of $q$ to its cell is the inverse.

**Levels.** On a grid of several steps (`ptilde.tabular.levels`) each level has cells of its own, which between them
fill the body; those of a finer level step over the multiples of the coarser ones. The smooth map to $z$ is one for
all; a level whose values have rough shares has a second map behind it (`ptilde.tabular.masses`).

**Spelling.** Values of a step that people do not write, days over 365.25, may have been cut to some decimals: what is
0.30390143737 is recorded as 0.3039014374. Where the data say so, decoded values have these decimals too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp
from scipy.stats import norm

from ptilde.tabular.charts import Chart, HalfLine, HeavyLine, Line, Segment
from ptilde.tabular.kinds import Body, Count, Interval, Positive
from ptilde.tabular.levels import levels, multiple, steps_of
from ptilde.tabular.marginal import Marginal
from ptilde.tabular.masses import Masses

Array = NDArray[np.float64]

# In cells narrower than this in z the difference of two Φ loses more digits than the slope at the value, which is
# off by (width² z²)/24, about 1e-13.
NARROW = 1e-6
# The decimals that values may have been cut to, and the share of the rows that says so.
DECIMALS, SPELT_SO = range(13), 0.9
# A body of `FEWEST` values or more with more than this share, and so many rows, on one value has no density there.
TIED_SHARE, TIED_ROWS, FEWEST = 0.03, 20, 100


@dataclass(frozen=True)
class Cells:
    """One level of a body: the values $kh$ with whole $k$ in [first, last], less atoms and the coarser levels.

    Args:
        step: h.
        first: the least k, or minus infinity.
        last: the largest k, or infinity.
        excluded: the k of atoms, increasing.
        coarser: the k that are multiples of it belong to coarser levels; 0 if there are none.
    """

    step: float
    first: float
    last: float
    excluded: tuple[float, ...]
    coarser: float = 0.0

    @classmethod
    def of(cls, body: Body | Count, points: Array) -> "tuple[Cells | None, ...]":
        """The levels of a body beside points (m,) that are tokens of their own; None is full precision."""
        steps = steps_of(body.grid)
        return tuple(
            cls._level(body, points, step, multiple(coarse, step) if coarse else 0.0) if step else None
            for coarse, step in zip((0.0, *steps), steps, strict=False)
        )

    @classmethod
    def _level(cls, body: Body | Count, points: Array, step: float, coarser: float) -> "Cells":
        first, last = -np.inf, np.inf
        if isinstance(body, Interval):
            first, last = np.ceil(body.low / step - 1e-6), np.floor(body.high / step + 1e-6)
        elif isinstance(body, Positive | Count):
            first = float(isinstance(body, Positive))
        numbers = np.rint(points / step)
        # 1e-12 is what `on_atom` takes for float noise.
        taken = np.sort(numbers[np.abs(points - numbers * step) < np.maximum(1e-3 * step, 1e-12)])
        return cls(step, float(first), float(last), tuple(taken.tolist()), coarser)

    @property
    def empty(self) -> bool:
        """Whether no value is left."""
        return not self.above(np.array([max(self.first, -1e15)]))[0] <= self.last

    def below(self, k: Array) -> Array:
        r"""The nearest allowed number at or below each k; $-\infty$ if none."""
        k = self._step_over(np.minimum(k, self.last), -1)
        for number in reversed(self.excluded):
            k = np.where(k == number, self._step_over(k - 1, -1), k)
        return np.where(k < self.first, -np.inf, k)

    def above(self, k: Array) -> Array:
        r"""The nearest allowed number at or above each k; $\infty$ if none."""
        k = self._step_over(np.maximum(k, self.first), 1)
        for number in self.excluded:
            k = np.where(k == number, self._step_over(k + 1, 1), k)
        return np.where(k > self.last, np.inf, k)

    def _step_over(self, k: Array, by: int) -> Array:
        """Each k, or the next one if it belongs to a coarser level."""
        return np.where(k % self.coarser == 0, k + by, k) if self.coarser else k

    def ends(self, x: Array) -> tuple[Array, Array]:
        """The two ends of the cell of each value."""
        k = np.rint(x / self.step)
        return self.step * (k + self.below(k - 1)) / 2, self.step * (k + self.above(k + 1)) / 2

    def nearest(self, x: Array) -> Array:
        """The grid value in whose cell each number lies."""
        t = np.nan_to_num(x / self.step)
        low, high = self.below(np.floor(t)), self.above(np.ceil(t))
        return self.values(np.where(t - low <= high - t, low, high))

    def values(self, k: Array) -> Array:
        """The multiples k of the step, as a person writes them: 0.3 for three steps of 0.1, not 0.30000000000000004."""
        ratio = Fraction(self.step).limit_denominator(10**6)
        if ratio and abs(float(ratio) - self.step) <= 4 * np.spacing(self.step):
            return k * ratio.numerator / ratio.denominator
        return k * self.step


@dataclass(frozen=True, eq=False)
class BodyMap:
    """A column's body: how its values become amounts, and back.

    Attributes:
        marginal: the smooth map.
        levels: the cells of each level; None is full precision.
        masses: of the levels with rough shares, the map behind the smooth one.
        decimals: those that multiples of the steps were cut to; None if they were not.
    """

    marginal: Marginal
    levels: tuple[Cells | None, ...]
    masses: Mapping[int, Masses] = field(default_factory=dict)
    decimals: int | None = None

    @classmethod
    def fit(cls, body: Body | Count, points: Array, x: Array, weight: Array, rng: np.random.Generator) -> "BodyMap":
        """The map fitted to body values (n,) with weights (n,), beside points (m,) that are tokens of their own."""
        cells, level, x = Cells.of(body, points), levels(x, steps_of(body.grid)), x.copy()
        margin, recorded = _margin(body), x.copy()
        for i, own in enumerate(cells):
            if own is not None:
                at = level == i
                low, high = own.ends(x[at])
                reach = own.step * (0.5 if not own.coarser else 1.0)
                low, high = np.maximum(low, x[at] - reach), np.minimum(high, x[at] + reach)
                if isinstance(body, Interval):
                    low, high = np.maximum(low, body.low - margin), np.minimum(high, body.high + margin)
                x[at] = low + (high - low) * rng.uniform(1e-3, 1 - 1e-3, len(low))
        marginal, masses = Marginal.fit(_charts(body, x), x, weight), {}
        for i, own in enumerate(cells):
            if own is not None and (level == i).any():
                found = _masses(marginal, own, recorded[level == i], weight[level == i])
                masses |= {i: found} if found else {}
        return cls(marginal, cells, masses, _decimals(cells, level, recorded, weight))

    def level(self, x: Array) -> NDArray[np.int32]:
        """The level of each value of the body."""
        return levels(x, [0.0 if cells is None else cells.step for cells in self.levels])

    def encode(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Array]:
        """(z, log slope); with `rng`, z is drawn within the cell of a gridded value."""
        z, log_slope = np.empty_like(x), np.empty_like(x)
        level = self.level(x)
        for i, cells in enumerate(self.levels):
            at = level == i
            z[at], log_slope[at] = self.forward(x[at], i) if cells is None else self._in_cells(cells, i, x[at], rng)
        return z, log_slope

    def decode(self, z: Array, level: NDArray[np.int32]) -> Array:
        """The values of the body at amounts z on their levels."""
        z = z.copy()
        for i, masses in self.masses.items():
            z[level == i] = masses.inverse(z[level == i])
        x = self.marginal.inverse(z)
        for i, cells in enumerate(self.levels):
            if cells is not None:
                value = cells.nearest(x[level == i])
                x[level == i] = value if self.decimals is None else np.round(value, self.decimals)
        return x

    def slope(self, x: Array) -> tuple[Array, Array]:
        r"""$\log dz/dx$ at values (n,) of the body, and its derivative."""
        log_slope, bend = self.marginal.forward(x)[1], self.marginal.bend(x)
        level = self.level(x)
        for i in self.masses:
            at = level == i
            smooth, log_smooth = self.marginal.forward(x[at])
            z, log_slope[at] = self.forward(x[at], i)
            bend[at] += z * np.exp(log_slope[at]) - smooth * np.exp(log_smooth)
        return log_slope, bend

    def forward(self, x: Array, level: int) -> tuple[Array, Array]:
        """Amounts and log dz/dx at numbers (n,) among the cells of a level."""
        z, log_slope = self.marginal.forward(x)
        if level not in self.masses:
            return z, log_slope
        z, change = self.masses[level].forward(z)
        return z, log_slope + change

    def _in_cells(self, cells: Cells, level: int, x: Array, rng: np.random.Generator | None) -> tuple[Array, Array]:
        low, high = self._ends_in_z(cells, level, x)
        flip = high > -low  # work in the left tail, where Φ keeps its digits
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        floor, top = log_ndtr(low), log_ndtr(high)
        share = np.full(len(x), 0.5) if rng is None else 1 - rng.random(len(x))  # in (0, 1]
        with np.errstate(divide="ignore"):
            z = ndtri_exp(np.minimum(np.logaddexp(floor + np.log1p(-share), top + np.log(share)), -1e-300))
            log_mass = top + np.log(-np.expm1(floor - top))
        z = np.clip(z, low, high)
        log_slope = log_mass - norm.logpdf(z) - np.log(cells.step)
        narrow = high - low < NARROW
        log_slope[narrow] = self.forward(x[narrow], level)[1]
        return np.where(flip, -z, z), log_slope

    def _ends_in_z(self, cells: Cells, level: int, x: Array) -> tuple[Array, Array]:
        ends = []
        for end, outside in zip(cells.ends(x), (-np.inf, np.inf), strict=True):
            z = np.full(len(x), outside)
            inner = np.isfinite(end)
            z[inner] = self.forward(end[inner], level)[0]
            ends.append(z)
        return ends[0], ends[1]


def _masses(marginal: Marginal, cells: Cells, x: Array, weight: Array) -> Masses | None:
    """The table of a level from its values (n,) with weights (n,)."""
    x, index = np.unique(cells.step * np.rint(x / cells.step), return_inverse=True)
    ends = np.array(cells.ends(x))
    edge, place = np.unique(ends[np.isfinite(ends)], return_inverse=True)
    ends[np.isfinite(ends)] = marginal.forward(edge)[0][place]
    if np.any(weight != np.rint(weight)):  # not numbers of rows: as many rows as would tell as much
        weight = weight * (weight.sum() / np.sum(weight**2))
    return Masses.fit(ends[0], ends[1], np.bincount(index, weight).astype(np.float64))


def _decimals(cells: tuple[Cells | None, ...], level: NDArray[np.int32], x: Array, weight: Array) -> int | None:
    """To how many decimals the values (n,) on a grid were cut; None if they are multiples of their steps as such."""
    value, gridded = np.full(len(x), np.nan), [own for own in cells if own is not None]
    for i, own in enumerate(cells):
        if own is not None:
            value[level == i] = own.values(np.rint(x[level == i] / own.step))
    x, weight, value = x[level < len(gridded)], weight[level < len(gridded)], value[level < len(gridded)]
    if not len(x) or weight @ (value == x) >= SPELT_SO * weight.sum():
        return None
    # Far less than a step, or rounding would be a step of its own.
    fine = (d for d in DECIMALS if 10.0**-d <= 1e-4 * gridded[-1].step)
    return next((d for d in fine if weight @ (np.round(value, d) == x) >= SPELT_SO * weight.sum()), None)


def tied(held: Array, count: NDArray[np.int_]) -> list[int]:
    """Which distinct values of a body off a grid leave it without a density, the most frequent first.

    Args:
        held: (m,) weight of the rows on each distinct value.
        count: (m,) their number.
    """
    left, found = held.copy(), []
    often = count >= TIED_ROWS
    while count.sum() >= FEWEST and often.any():
        worst = int(np.argmax(np.where(often, left, -1.0)))
        if left[worst] <= TIED_SHARE * left.sum():
            break
        found.append(worst)
        left[worst], often[worst] = 0.0, False
    return found


def _charts(body: Body | Count, x: Array) -> list[Chart]:
    """The charts that suit a body with values (n,)."""
    match body:
        case Interval(low, high):
            margin = _margin(body)
            return [Segment(low - margin, high + margin)]
        case Positive():
            return [HalfLine()]
        case Count():
            return [HalfLine(-0.5)]
    low, centre, high = np.quantile(x, [0.25, 0.5, 0.75])
    farthest = float(np.abs(x - centre).max())
    # At least 1e-100 of the farthest, so that squares stay finite.
    scale = max(float(high - low) or _root_mean_square(x - centre), 1e-100 * farthest) or 1.0
    return [Line(float(centre), scale), HeavyLine(float(centre), scale)]


def _margin(body: Body | Count) -> float:
    """How far the cells of an interval's ends reach beyond it: not at all beside values in full precision."""
    steps = steps_of(body.grid)
    return steps[0] / 2 if steps[-1] else 0.0


def _root_mean_square(x: Array) -> float:
    largest = float(np.abs(x).max())
    return largest * float(np.sqrt(np.mean((x / largest) ** 2))) if largest else 0.0
