r"""Incomes seen only above a threshold, events seen only inside a city.
====================================================================

Tax rolls list who earns more than a limit; a city's sensors hear shots within its borders. What is seen follows the
law of everything, cut off at a boundary, and the cut law has a normaliser that is hard (an integral over a polygon)
and that changes with the parameters. The mean and the covariance of the rows seen are no estimates of the law behind.

Score matching needs no normaliser, but its integration by parts leaves a term behind where a density is cut off. A
weight that vanishes at the boundary takes it away: a function of the distance to the threshold (Yu, Drton & Shojaie
2019; what `ptilde.estimate` takes for a `Positive` column), or the distance to the border (Liu, Kanamori & Williams
2022, Estimating density models with truncation boundaries using score matching, JMLR 23; `losses.Distance`). Both
models are exponential families, so each estimate is one linear solve.

All data are simulated, so the truth is known: each printed line has an estimate, its standard error, the truth, and
what the rows seen say if one forgets that there are others.
"""

import sys

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from scipy.stats import norm

import ptilde
from ptilde import losses, models

MEAN, STD, LIMIT = 10.3, 0.7, np.log(25_000)  # of log incomes
CENTRE, COVARIANCE = np.array([1.0, 0.2]), np.array([[1.0, 0.6], [0.6, 1.5]])
CORNERS = np.array([[-1.0, 0.0], [2.5, 0.0], [3.0, 1.0], [2.0, 2.5], [0.0, 2.0]])  # counter-clockwise


def report(title, naive, fit, function, truth):
    """Print the naive fit, and the estimate with its standard errors."""
    values, errors = fit.delta_method(function)
    for name, value, error, low, true in zip(truth, values, errors, naive, truth.values(), strict=True):
        print(f"{title} {name:<12} {value:8.3f} ± {error:.3f}   truth {true:6.3f}   rows seen {low:6.3f}")
    return values


random = np.random.default_rng(1)
log_income = random.normal(MEAN, STD, 10_000)
seen = log_income[log_income > LIMIT]
print(f"incomes: {len(seen):,} of {len(log_income):,} are above the limit")
fit = ptilde.estimate(models.Gaussian.start(1), None, (seen - LIMIT)[:, None], support=ptilde.Positive())
naive = [seen.mean(), seen.std()]
truth = {"mean": MEAN, "std": STD}
found = report("income", naive, fit, lambda m: [LIMIT + m.mean[0], m.covariance[0, 0] ** 0.5], truth)

edges = np.roll(CORNERS, -1, axis=0) - CORNERS
normals = np.column_stack([edges[:, 1], -edges[:, 0]])  # outwards
city = losses.Polytope(normals, np.sum(normals * CORNERS, axis=1))
events = random.multivariate_normal(CENTRE, COVARIANCE, 20_000)
inside = events[(events @ normals.T < city.offsets).all(axis=1)]
print(f"events: {len(inside):,} of {len(events):,} are inside the city")
border = losses.Bounded(losses.Distance(city))
fit_city = ptilde.estimate(models.Gaussian.start(2), None, inside, loss=border)
naive_city = [*inside.mean(axis=0), *np.cov(inside.T)[[0, 0, 1], [0, 1, 1]]]
truth = dict(
    zip(["mean x", "mean y", "variance x", "covariance", "variance y"], [1.0, 0.2, 1.0, 0.6, 1.5], strict=True)
)
flat = lambda m: [*m.mean, m.covariance[0, 0], m.covariance[0, 1], m.covariance[1, 1]]  # noqa: E731
found_city = report("city  ", naive_city, fit_city, flat, truth)


def rings(mean, covariance):
    """Where the density of a normal law is exp(-1) and exp(-2) of its height; a gap of NaN between."""
    turn = np.linspace(0, 2 * np.pi, 200)
    circle = np.linalg.cholesky(covariance) @ np.array([np.cos(turn), np.sin(turn)])
    return np.asarray(mean)[:, None] + np.hstack([2**0.5 * circle, np.full((2, 1), np.nan), 2 * circle])


STYLES = {
    "truth": {"color": "k"},
    "score matching": {"color": "C0", "ls": "--", "lw": 2},
    "normal fit to the rows seen": {"color": "C3", "ls": ":", "lw": 2},
}
figure = Figure(figsize=(10, 4.6), layout="constrained")
left, right = figure.subplots(1, 2)
t, bins = np.linspace(8, 13, 500), LIMIT + 0.08 * np.arange(-30, 36)
left.hist(log_income, bins, color="0.93")
left.hist(seen, bins, color="0.75")
left.text(8.9, 30, "not seen", color="0.4", fontsize=9)
laws = ((1, MEAN, STD), (1, *found), (len(seen) / len(log_income), *naive))
for (label, style), (share, mean, std) in zip(STYLES.items(), laws, strict=True):
    left.plot(t, 0.08 * len(log_income) * share * norm.pdf(t, mean, std), label=label, **style)
left.set(title="incomes above a limit", xlabel="log income", ylabel="people", xlim=(7.8, 13.2), yticks=[])
right.add_patch(Polygon(CORNERS, facecolor="0.93", edgecolor="0.4"))
right.plot(*inside[:1500].T, ".", color="0.6", ms=2)
for style, (x, y, xx, xy, yy) in zip(STYLES.values(), (truth.values(), found_city, naive_city), strict=True):
    right.plot(*rings([x, y], [[xx, xy], [xy, yy]]), **style)
right.set(title="events inside a city", xlabel="x", ylabel="y", aspect="equal")
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
figure.savefig(sys.argv[1] if sys.argv[1:] else "plot_truncated.png", dpi=110)
