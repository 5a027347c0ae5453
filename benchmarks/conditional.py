r"""What every case on a law of y given X measures: ours and the peers, on one random split, by the same code.

Each model gives a law for a block of held-out rows, with its distribution function $F_i$ and its mean. From $F_i$:

* $\log P(|Y - y_i| \le h) = \log(F_i(y_i + h) - F_i((y_i - h)^-))$, $h = 0.5$, fair to laws with other atoms than ours;
  it is floored at $\log 10^{-12}$; of a target recorded in steps s, $h = 0.5 + s/2$, for $\pm 0.5$ holds one value
  more of a law on the grid than of one that is not;
* $\int (F_i(t) - 1\{y_i \le t\})^2 dt$, the CRPS, $F_i$ linear between some 500 places shared by all models, on both
  sides of each value that is frequent;
* $U_i = F_i(y_i^-) + V_i\,(F_i(y_i) - F_i(y_i^-))$ with $V_i$ uniform: the randomised PIT, uniform if the law is right.

References:
    Gneiting & Raftery (2007), Strictly proper scoring rules, prediction, and estimation, equation 20.
    Czado, Gneiting & Held (2009), Predictive model assessment for count data: the randomised PIT.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import kstest

from benchmarks import peers
from benchmarks.harness import OURS, Floor, Options, Rows
from benchmarks.peers import regressors
from benchmarks.peers.mixture_net import MixtureNet
from ptilde import ScoreRegressor

HALF, LEAST, BLOCK, HELD_OUT = 0.5, 1e-12, 2048, 0.25
LINEAR = regressors.HurdleLinear.name
METRICS = {
    "log P(bin)": f"mean held-out log P(|Y - y| <= {HALF}), in nats; more is better",
    "floored": f"rows whose probability was below {LEAST} and counts as that",
    "CRPS": "continuous ranked probability score, in the units of y; less is better",
    "CRPS/marginal": "that over the marginal law's",
    "Brier": "Brier score of y = 0; that of the hurdle GLM is logistic regression's",
    "mean ratio": "sum of the predicted means over the sum of the observed values",
    "cover": "share of the randomised PIT in [.05, .95]: the coverage of a 90 % interval, without what atoms add",
    "KS p": "Kolmogorov-Smirnov p-value of the randomised PIT",
    "fit s": "seconds to fit, compilation included",
    "score s": "seconds for the laws of the held-out rows and all of these numbers",
    "mean rows/s": "rows a second of `predict`, compiled",
}
Frame = Any


def notes() -> list[str]:
    return [
        "treeffuser 0.2 stands aside: it wants numpy 1, scikit-learn 1.5 and LightGBM 4.3, which the others do not.",
    ]


@dataclass(frozen=True)
class Part:
    """Covariates and target of some rows."""

    X: Frame
    y: NDArray

    def take(self, rows: NDArray) -> Part:
        return Part(self.X.iloc[rows].reset_index(drop=True), self.y[rows])


def split(whole: Part, seed: int) -> tuple[Part, Part]:
    """Rows to fit and rows held out."""
    order = np.random.default_rng(seed).permutation(len(whole.y))
    num_test = round(HELD_OUT * len(order))
    return whole.take(order[num_test:]), whole.take(order[:num_test])


@dataclass
class Ours:
    """As a user has it, all choices left to it."""

    seed: int
    options: Options
    name = OURS

    def fit(self, X: Frame, y: NDArray) -> Ours:
        limits = {"max_iter": self.options.max_iter or "auto", "time_budget": self.options.budget}
        self.model = ScoreRegressor(random_state=self.seed, **limits).fit(X, y)
        return self

    def law(self, X: Frame) -> Any:
        ((_, law),) = self.model._laws(X, None)  # the public `cdf` takes one value a row
        return law

    @property
    def atoms(self) -> tuple[float, ...]:
        return tuple(self.model._encoder.columns[0].points)


def entered(seed: int, atoms: tuple[float, ...]) -> list[Any]:
    """The peers of every case."""
    r = regressors
    found = [r.Marginal(), r.TweedieLinear(), r.HurdleLinear()]
    found += [kind(seed) for kind in (r.BoostedTweedie, r.BoostedLognormal, r.BoostedGamma)]
    found += [MixtureNet(seed)]
    return found + ([MixtureNet(seed, atoms)] if len(atoms) > 1 else [])


def measure(
    train: Part,
    test: Part,
    seed: int,
    options: Options,
    picture: Path | None,
    others: tuple[Any, ...] = (),
    more: Callable[[ScoreRegressor], dict[str, float]] = lambda model: {},
    half: float = HALF,
) -> Rows:
    """The lines of the table; `more` measures on ours what only the case asks for, `half` is h."""
    places, pits = _places(train.y, test.y), {}
    ours = Ours(seed, options)

    def judged(model: Any) -> dict[str, float]:
        start = time.perf_counter()
        row, pits[model.name] = scores(model, test, places, seed, half)
        row["score s"] = time.perf_counter() - start
        if model is not ours:
            return row
        ours.model.predict(test.X.iloc[:BLOCK])
        start = time.perf_counter()
        ours.model.predict(test.X)
        return row | {"mean rows/s": len(test.y) / (time.perf_counter() - start)} | more(ours.model)

    rows = peers.row(_Given(ours, train), train.X, judged)
    if options.wants("simple"):
        for peer in (*entered(seed, ours.atoms), *others):
            rows |= peers.row(_Given(peer, train), train.X, judged)
    unit = rows.get(regressors.Marginal.name)
    for row in filter(None, rows.values() if unit else ()):
        row["CRPS/marginal"] = row["CRPS"] / unit["CRPS"]
    if picture:
        _draw(picture, rows, pits)
    return rows


@dataclass
class _Given:
    """A peer as `peers.row` takes it: fitted to one thing."""

    peer: Any
    train: Part

    def __post_init__(self) -> None:
        self.name, self.needs = self.peer.name, getattr(self.peer, "needs", ())

    def fit(self, X: Frame) -> Any:
        return self.peer.fit(X, self.train.y)


def scores(model: Any, test: Part, places: NDArray, seed: int, half: float = HALF) -> tuple[dict[str, float], NDArray]:
    """What the laws of the held-out rows are worth, and their randomised PIT."""
    blocks = np.array_split(np.arange(len(test.y)), -(-len(test.y) // BLOCK))
    parts = [_of_block(model.law(test.X.iloc[rows]), test.y[rows], places, half) for rows in blocks]
    mass, crps, zero, mean, below, up_to = map(np.concatenate, zip(*parts, strict=True))
    pit = below + np.random.default_rng([seed, 1]).random(len(below)) * (up_to - below)
    row = {
        "log P(bin)": float(np.log(np.maximum(mass, LEAST)).mean()),
        "floored": float(np.sum(mass < LEAST)),
        "CRPS": float(crps.mean()),
        "Brier": float(np.mean((zero - (test.y == 0)) ** 2)),
        "mean ratio": float(mean.sum() / test.y.sum()),
        "cover": float(np.mean((pit >= 0.05) & (pit <= 0.95))),
        "KS p": float(kstest(np.clip(pit, 0, 1), "uniform").pvalue),
    }
    return row, pit


def _of_block(law: Any, y: NDArray, places: NDArray, half: float) -> tuple[NDArray, ...]:
    at = y[:, None]
    mass = law.cdf(at + half) - law.cdf(at - half, strict=True)
    below, up_to = law.cdf(at, strict=True), law.cdf(at)
    zero = law.cdf(np.zeros_like(at))
    cdf = law.cdf(np.broadcast_to(places, (len(y), len(places))))
    crps = _crps(places, cdf, at, below, up_to)
    return mass[:, 0], crps, zero[:, 0], np.asarray(law.mean()), below[:, 0], up_to[:, 0]


def _crps(places: NDArray, cdf: NDArray, y: NDArray, below: NDArray, up_to: NDArray) -> NDArray:
    """The integral of squares of a function linear in each cell; the cell of y is cut there."""
    left, right, f, g = places[:-1], places[1:], cdf[:, :-1], cdf[:, 1:]
    before = np.where(right < y, _square(f, g), 0.0) * (right - left)
    after = np.where(left >= y, _square(1 - f, 1 - g), 0.0) * (right - left)
    own = (np.searchsorted(places, y[:, 0], "left") - 1)[:, None]
    f, g = np.take_along_axis(f, own, 1), np.take_along_axis(g, own, 1)
    within = _square(f, below) * (y - left[own]) + _square(1 - up_to, 1 - g) * (right[own] - y)
    return (before + after).sum(1) + within[:, 0]


def _square(f: NDArray, g: NDArray) -> NDArray:
    return (f * f + f * g + g * g) / 3


def _places(fitted: NDArray, held_out: NDArray) -> NDArray:
    """Places by size and by frequency, with both sides of frequent values; they hold all values between them."""
    y = np.concatenate([fitted, held_out])
    some = y[y > 0]
    value, count = np.unique(y, return_counts=True)
    often = value[np.argsort(-count)[:100]]
    often = often[np.isin(often, value[count > 0.001 * len(y)])]
    spread = np.geomspace(np.quantile(some, 0.01) / 20, 20 * some.max(), 250)
    inside = np.quantile(some, (np.arange(150) + 0.5) / 150)
    return np.unique(np.concatenate([[-1e-6, 0.0], spread, inside, often, often - 1e-6]))


# --- floors and the picture ------------------------------------------------------------------------------------------


def besides(m: Rows, metric: str, skip: tuple[str, ...] = ()) -> list[float]:
    """The metric of every peer that has it."""
    found = [row[metric] for name, row in m.items() if name not in (OURS, *skip) and metric in row]
    if not found:
        raise KeyError(metric)
    return found


FLOORS = [
    Floor(
        "log P(bin) not below the best peer's: ours less that",
        lambda m: m[OURS]["log P(bin)"] - max(besides(m, "log P(bin)")),
        lambda value: value >= 0,
    ),
    Floor(
        "CRPS not above the best peer's: ours over that",
        lambda m: m[OURS]["CRPS"] / min(besides(m, "CRPS")),
        lambda value: value <= 1,
    ),
    Floor(
        "Brier score of zero not above logistic regression's: ours over that",
        lambda m: m[OURS]["Brier"] / m[LINEAR]["Brier"],
        lambda value: value <= 1,
    ),
    Floor("mean ratio in .95-1.05", lambda m: m[OURS]["mean ratio"], lambda value: 0.95 <= value <= 1.05),
]


def _draw(path: Path, rows: Rows, pits: dict[str, NDArray]) -> None:
    """How far each model is from the best in either score, and the PIT of ours and of the best peer."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    shown = {name: row for name, row in rows.items() if "CRPS" in row}
    colors = ["C1" if name == OURS else "C0" for name in shown]
    for axes, metric, title in (
        (left, "log P(bin)", "nats below the best"),
        (middle, "CRPS", "CRPS, % above the best"),
    ):
        values = np.array([row[metric] for row in shown.values()])
        worse = values.max() - values if axes is left else 100 * (values / values.min() - 1)
        axes.barh(list(shown), worse, color=colors)
        axes.set_xlim(0, 1.1 * np.sort(worse)[-min(3, len(worse))] + 1e-9)
        axes.set_title(title, fontsize=9)
        axes.invert_yaxis()
    middle.set_yticks([])
    names = sorted(shown, key=lambda name: -shown[name]["log P(bin)"])
    for name in dict.fromkeys([OURS, *(n for n in names if n != OURS)][:2]):
        right.hist(
            pits[name], 20, (0, 1), density=True, histtype="step", label=name, color="C1" if name == OURS else "C0"
        )
    right.axhline(1, color="0.7", linewidth=0.8)
    right.set_title("randomised PIT", fontsize=9)
    right.set_ylim(0, None)
    right.legend(fontsize=7, loc="lower center")
    figure.savefig(path, dpi=110)
