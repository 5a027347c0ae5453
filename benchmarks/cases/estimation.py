"""Estimates of known parameters: bias, coverage of intervals, rate, size of tests, and the weights of half-lines.

`--max-iter N` makes a run that only shows that all works: N replicates of everything.
"""

import sys

import jax.random as jr
import numpy as np
from scipy import stats

from benchmarks.estimation import laws, weights
from benchmarks.estimation.replicates import Replicates, band, replicate, slopes
from benchmarks.harness import Floor, Options, Rows
from ptilde import Positive, losses
from ptilde.inference.support import loss_for
from ptilde.models import Hurdle
from ptilde.tabular.points import points

SEEDS = [0]
LAWS, VARIANCE, RATE, SLOPE, TESTS = "Laws", "Variance", "Rate", "Slopes", "Tests"
WEIGHTS, EFFICIENCY, START, HALF_LINES = "Weights", "Efficiency", "Start", "Half-lines"
PAIR, FIVE = "hurdle, 2 columns", "hurdle, 5 columns"
TRUNCATED = {f"truncated normal, {name}": law for name, law in laws.truncated().items()}
GENSCORE = dict(zip(TRUNCATED, (2.795459, 2.379507), strict=True))
LIKELIHOOD = dict(zip(TRUNCATED, (1 / (1 - 2 / np.pi), 2.0), strict=True))
RUNS = {name: (law, 1_000, 1_000) for name, law in TRUNCATED.items()} | {  # law, rows, replicates
    PAIR: (laws.hurdle_pair(), 4_000, 1_000),
    FIVE: (laws.hurdle_five(), 4_000, 400),
}
RATES = {"Gaussian, 3 columns": laws.gaussian(), "truncated normal": laws.truncated_gaussian(), PAIR: RUNS[PAIR][0]}
SIZES, NUM_RATE, NUM_START, NUM_HALF = [250, 1_000, 4_000, 16_000], 120, 5, 300
ASKED = loss_for(points(np.array([1.0, 2.0]), [Positive()])).weight.h
HALF_LINE = {"as the support asks": None, "t²": losses.Bounded(losses.Ends(np.zeros(1), np.inf, losses.Power(2.0)))}
PARAMETER = ["truth", "mean", "spread", "SE", "bias", "coverage"]
ENDS = ["coverage", "coverage most", "band", "band most", "SE / spread", "SE / spread most"]
TABLES = {
    LAWS: ["n", "replicates", "parameters", "bias", *ENDS, "stuck"],
    VARIANCE: ["n variance", "MC error", "n SE²", "asymptotic", "genscore", "Cramér-Rao"],
    PAIR: PARAMETER,
    FIVE: PARAMETER,
    START: ["n", "replicates", "moved"],
    RATE: ["n", "replicates", "RMSE", "RMSE √n"],
    SLOPE: ["slope", "slope least", "slope most"],
    TESTS: ["degrees", "replicates", "rejected", "band", "band most"],
    WEIGHTS: [*weights.WEIGHTS, weights.LIKELIHOOD],
    EFFICIENCY: list(weights.WEIGHTS),
    HALF_LINES: ["n", "replicates", "bias", *ENDS, "stuck"],
}
METRICS = {
    "n": "rows of a data set",
    "replicates": "data sets",
    "parameters": "how many the law has",
    "bias": "mean error in Monte-Carlo standard errors of that mean; of a law, the largest |bias| of its parameters",
    "coverage": "share of 95 % intervals that hold the truth; of a law, the least of its parameters",
    "coverage most": "the largest",
    "band": "where all shares lie but once in 1,000, if 95 % (of tests: 5 %) is true: lower end",
    "band most": "upper end",
    "SE / spread": "mean standard error over the standard deviation of the estimates: the least of the parameters",
    "SE / spread most": "the largest",
    "stuck": "estimates that did not converge",
    "n variance": "n times the variance of the estimates",
    "MC error": "its Monte-Carlo standard error",
    "n SE²": "n times the mean squared standard error",
    "asymptotic": "the limit of both, by quadrature",
    "genscore": "the limit that the vignette of genscore gives",
    "Cramér-Rao": "the limit of maximum likelihood",
    "truth": "the parameter",
    "mean": "of its estimates",
    "spread": "standard deviation of its estimates",
    "SE": "mean standard error",
    "moved": "most that an estimate changes, in standard errors, if the search begins at `Hurdle.start` instead",
    "RMSE": "root mean squared error over parameters, each in asymptotic standard errors of a single row",
    "RMSE √n": "which tends to 1",
    "slope": "of log RMSE in log n, by least squares",
    "slope least": "the same of single parameters: the least",
    "slope most": "the largest",
    "degrees": "of freedom: true values that are tested together",
    "rejected": "share of Wald tests of a true hypothesis with p below 0.05",
    "functions of t": "n·variance (efficiency) with this weight, t the distance to 0 in medians of x",
    weights.LIKELIHOOD: "n·variance of maximum likelihood",
}


def _floor(text: str, row: str, value, low: float, high: float) -> Floor:
    return Floor(text, lambda rows: value(rows[row]), lambda value: low <= value <= high)


def _floors() -> list[Floor]:
    floors = []
    for name in TRUNCATED:
        row = f"{VARIANCE}: {name}"
        away = lambda r: r["asymptotic"] / r["genscore"] - 1  # noqa: E731
        off = lambda r: (r["n variance"] - r["asymptotic"]) / r["MC error"]  # noqa: E731
        floors.append(_floor(f"{name}: quadrature within 1e-4 of genscore's variance", row, away, -1e-4, 1e-4))
        floors.append(_floor(f"{name}: variance within 4 Monte-Carlo errors of it", row, off, -4, 4))
    for name, (law, _, num) in RUNS.items():
        row, value = f"{LAWS}: {name}", lambda metric: lambda r: r[metric]
        # 1,000 replicates: ±3.3 standard errors. Fewer, and many parameters, need the band that allows for both.
        low, high = (0.927, 0.973) if num >= 1_000 else band(num, law.truth.size)
        within, (few, many) = f"in [{low:.4g}, {high:.4g}]", (0.027, 0.073) if num >= 1_000 else band(num, 1, 0.05)
        floors.append(_floor(f"{name}: every bias at most 4 Monte-Carlo errors", row, value("bias"), 0, 4))
        floors.append(_floor(f"{name}: least coverage {within}", row, value("coverage"), low, high))
        floors.append(_floor(f"{name}: largest coverage {within}", row, value("coverage most"), low, high))
        for test in law.hypotheses:
            text = f"{name}, {test}: true hypotheses rejected in [{few:.4g}, {many:.4g}]"
            floors.append(_floor(text, f"{TESTS}: {name}, {test}", value("rejected"), few, many))
    for law in weights.LAWS:
        row, least = f"{HALF_LINES}: {law}, as the support asks", lambda r: r["coverage"]
        floors.append(_floor(f"{law}, as the support asks: least coverage at least .9", row, least, 0.9, 1))
    slope = lambda r: r["slope"]  # noqa: E731
    return floors + [_floor(f"{name}: slope -.50 ± .08", f"{SLOPE}: {name}", slope, -0.58, -0.42) for name in RATES]


FLOORS = _floors()


def notes() -> list[str]:
    return [
        "Every data set has a key of its own, also for what the loss draws. Searches begin at the truth, for time; "
        "`Start` shows that others end there too.",
        f"With {RUNS[FIVE][0].truth.size} parameters and {RUNS[FIVE][2]} replicates the extreme shares wander by "
        "chance; the band allows for the number of both.",
        "Weights: an empty cell is an infinite variance (efficiency 0). A law's efficiency is the lesser of its "
        "parameters'. These are limits: on 20,000 quantiles of a log-normal with σ = 2 the first two weights seem far "
        "better than they are, since the least values, which make their variance, are not among them.",
        f"The weight that a half-line asks for is {ASKED}.",
    ]


def measure(seed: int, options: Options, path) -> Rows:
    key, rows, found = jr.key(seed), {}, {}
    for i, (name, (law, n, num)) in enumerate(RUNS.items()):
        _tell(name)
        found[name] = replicate(law, n, options.max_iter or num, jr.fold_in(key, i))
        rows[f"{LAWS}: {name}"] = {"n": n, **_ends(found[name])}
        rows |= _tests(name, law, found[name])
    for name, law in TRUNCATED.items():
        rows[f"{VARIANCE}: {name}"] = _variance(name, law, RUNS[name][1], found[name])
    for name in (PAIR, FIVE):
        rows |= {f"{name}: {parameter}": row for parameter, row in _parameters(found[name]).items()}
        rows[f"{START}: {name}"] = _start(name, options.max_iter or NUM_START, jr.fold_in(key, 1_000))
    errors = {}
    for i, (name, law) in enumerate(RATES.items()):
        _tell(f"rate, {name}")
        more, errors[name] = _rate(name, law, options.max_iter or NUM_RATE, jr.fold_in(key, 100 + i))
        rows |= more
    _tell("weights")
    variances = weights.variances()
    rows |= {f"{WEIGHTS}: {name}": row for name, row in variances.items()}
    rows |= {f"{EFFICIENCY}: {name}": row for name, row in weights.efficiencies(variances).items()}
    for i, (law, (model, truth)) in enumerate(weights.LAWS.items()):
        _tell(f"{law}, draws")
        for weight, loss in HALF_LINE.items():
            law_of = laws.on_half_line(model, truth, loss)
            drawn = replicate(law_of, 1_000, options.max_iter or NUM_HALF, jr.fold_in(key, 200 + i))
            rows[f"{HALF_LINES}: {law}, {weight}"] = {"n": 1_000, **_ends(drawn)}
    if path:
        from benchmarks.estimation.picture import draw

        draw(path, found, SIZES, errors)
    return rows


def _ends(found: Replicates) -> dict[str, float]:
    low, high = band(found.num, found.truth.size)
    ends = {"band": low, "band most": high, "stuck": float(np.sum(~found.converged))}
    for metric, values in (("coverage", found.coverage), ("SE / spread", found.calibration)):
        ends |= {metric: float(values.min()), f"{metric} most": float(values.max())}
    bias = float(np.abs(found.bias).max())
    return {"replicates": found.num, "parameters": found.truth.size, "bias": bias, **ends}


def _variance(name: str, law: laws.Law, n: int, found: Replicates) -> dict[str, float]:
    by_number = lambda theta, x: law.log_q(theta, x[0])  # noqa: E731
    limit = weights.asymptotic(by_number, law.theta, stats.halfnorm.logpdf, law.loss)
    variance, errors = n * found.spread[0] ** 2, found.estimates[:, 0] - found.estimates[:, 0].mean()
    return {
        "n variance": variance,
        "MC error": float(variance * np.sqrt((stats.kurtosis(errors, fisher=False) - 1) / found.num)),
        "n SE²": float(n * np.mean(found.std_errs**2)),
        "asymptotic": float(limit[0, 0]),
        "genscore": GENSCORE[name],
        "Cramér-Rao": LIKELIHOOD[name],
    }


def _parameters(found: Replicates) -> Rows:
    each = found.truth, found.estimates.mean(0), found.spread, found.std_errs.mean(0), found.bias, found.coverage
    return {
        name: dict(zip(PARAMETER, map(float, row), strict=True))
        for name, row in zip(found.names, np.transpose(each), strict=True)
    }


def _tests(name: str, law: laws.Law, found: Replicates) -> Rows:
    few, many = band(found.num, 1, 0.05)
    edges = {"replicates": found.num, "band": few, "band most": many}
    return {
        f"{TESTS}: {name}, {test}": {"degrees": len(law.held(test)), "rejected": float(np.mean(p < 0.05)), **edges}
        for test, p in found.p_values.items()
    }


def _start(name: str, num: int, key) -> dict[str, float]:
    """How far estimates move if the search begins at the model's usual start."""
    law, n, _ = RUNS[name]
    far = replicate(law.starting_at(Hurdle.start(law.log_q.logits.size)), n, num, key)
    near = replicate(law, n, num, key)
    return {"n": n, "replicates": num, "moved": float(np.max(np.abs(far.estimates - near.estimates) / near.std_errs))}


def _rate(name: str, law: laws.Law, num: int, key) -> tuple[Rows, np.ndarray]:
    """Rows of errors by n and of slopes; and the errors."""
    found = [replicate(law, n, num, jr.fold_in(key, n)) for n in SIZES]
    unit = found[-1].std_errs.mean(0) * np.sqrt(SIZES[-1])
    each = np.array([f.errors / unit for f in found])
    together = np.sqrt(np.mean(each**2, axis=1))
    single = slopes(SIZES, each)
    rows = {
        f"{RATE}: {name}, n = {n:,}": {"n": n, "replicates": num, "RMSE": error, "RMSE √n": error * np.sqrt(n)}
        for n, error in zip(SIZES, map(float, together), strict=True)
    }
    ends = {"slope least": float(single.min()), "slope most": float(single.max())}
    return rows | {f"{SLOPE}: {name}": {"slope": float(slopes(SIZES, together)), **ends}}, together


def _tell(what: str) -> None:
    print(f"  {what} ...", file=sys.stderr, flush=True)
