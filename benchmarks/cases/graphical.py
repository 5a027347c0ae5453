"""Sparse Gaussian graphs by l1-penalised score matching: a chain and a random graph, 200 columns, 2,000 rows.

Chain: unit diagonal, 0.4 beside it. Random graph: each pair with probability 3 / 200, entries ±(0.3 … 0.7), the
diagonal such that the least eigenvalue is 0.2. The order in which a method takes in the pairs is that of the largest
penalty at which a pair has an edge; of equal ones the larger entry first.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import GraphicalLasso, GraphicalLassoCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from benchmarks.harness import OURS, Floor, Options, Rows, clock, peak_memory
from ptilde.inference.graphical import graphical_path

METRICS = {
    "s": "seconds of the whole path",
    "edges": "of the graph that the method chose",
    "F1": "of its edges",
    "best F1": "of the best graph on the path, which only the truth can tell",
    "average precision": "area below precision against recall, as pairs are taken in",
    "error": "Frobenius norm of the chosen penalised estimate less the true precision, over that of the latter",
    "error refitted": "the same of the estimate without penalty on the chosen edges",
    "peak MB": "most memory held by the process after it",
}
GRAPHS = ("chain", "random")
TABLES = {graph: list(METRICS) for graph in GRAPHS}
FLOORS = [
    Floor(f"{graph}: {text}", lambda m, graph=graph, metric=metric: m[f"{graph}: {OURS}"][metric], reached)
    for graph in GRAPHS
    for text, metric, reached in (
        ("at most 5 s", "s", lambda value: value <= 5),
        ("F1 at least 0.95", "F1", lambda value: value >= 0.95),
    )
]
NUM_COLUMNS, NUM_ROWS = 200, 2_000
ALPHAS = np.geomspace(0.4, 0.05, 6)


def notes() -> list[str]:
    return [
        "GraphicalLassoCV has 2 folds and a grid of 4 penalties, refined once; GraphicalLasso has 6 penalties: both to "
        "bound the time. Both see standardised columns, as ours does, and their estimates are scaled back."
    ]


def measure(seed: int, options: Options, picture) -> Rows:
    rows: Rows = {}
    curves = {}
    for place, graph in enumerate(GRAPHS):
        rng = np.random.default_rng([seed, place])
        truth = _chain() if graph == "chain" else _random(rng)
        x = rng.standard_normal((NUM_ROWS, NUM_COLUMNS)) @ np.linalg.cholesky(np.linalg.inv(truth)).T
        timed = clock()
        with timed("s"):
            path = graphical_path(x)
        row, curves[f"{graph}: {OURS}"] = _score(truth, path.precisions, path.penalties)
        row |= {**timed.seconds, **_chosen(truth, path.precision), "error refitted": _error(truth, path.refitted)}
        rows[f"{graph}: {OURS}"] = {**row, "peak MB": peak_memory()}
        for name, row, curve in _peers(truth, x) if options.wants("simple") else ():
            rows[f"{graph}: {name}"] = row
            curves |= {f"{graph}: {name}": curve} if curve else {}
    if picture is not None:
        _draw(picture, curves)
    return rows


def _peers(truth: NDArray, x: NDArray):
    std = x.std(0)
    z, units = (x - x.mean(0)) / std, np.outer(std, std)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        timed = clock()
        with timed("s"):
            precisions = np.stack([GraphicalLasso(alpha).fit(z).precision_ for alpha in ALPHAS]) / units
        row, curve = _score(truth, precisions, ALPHAS)
        yield "scikit-learn GraphicalLasso, 6 penalties", {**timed.seconds, **row}, curve
        with timed("s"):
            chosen = GraphicalLassoCV(alphas=4, n_refinements=2, cv=2).fit(z).precision_ / units
        yield "scikit-learn GraphicalLassoCV", {**timed.seconds, **_chosen(truth, chosen)}, None


def _score(truth: NDArray, precisions: NDArray, penalties: NDArray) -> tuple[dict[str, float], tuple]:
    pairs = np.triu_indices(NUM_COLUMNS, 1)
    real, entries = truth[pairs] != 0, np.abs(precisions[:, *pairs])
    first = np.argmax(entries > 0, axis=0)
    order = np.where(entries.any(0), penalties[first], 0) + 1e-6 * entries[first, np.arange(real.size)]
    best = max(f1_score(real, entry > 0, zero_division=0) for entry in entries)
    precision, recall, _ = precision_recall_curve(real, order)
    return {"best F1": best, "average precision": average_precision_score(real, order)}, (recall, precision)


def _chosen(truth: NDArray, precision: NDArray) -> dict[str, float]:
    pairs = np.triu_indices(NUM_COLUMNS, 1)
    real, found = truth[pairs] != 0, precision[pairs] != 0
    return {"edges": float(found.sum()), "F1": f1_score(real, found), "error": _error(truth, precision)}


def _error(truth: NDArray, precision: NDArray) -> float:
    return float(np.linalg.norm(precision - truth) / np.linalg.norm(truth))


def _chain() -> NDArray:
    return np.eye(NUM_COLUMNS) + 0.4 * (np.eye(NUM_COLUMNS, k=1) + np.eye(NUM_COLUMNS, k=-1))


def _random(rng: np.random.Generator) -> NDArray:
    size = (NUM_COLUMNS, NUM_COLUMNS)
    links = (rng.random(size) < 3 / NUM_COLUMNS) * rng.uniform(0.3, 0.7, size) * rng.choice([-1, 1], size)
    upper = np.triu(links, 1)
    precision = upper + upper.T
    return precision + (0.2 - np.linalg.eigvalsh(precision)[0]) * np.eye(NUM_COLUMNS)


def _draw(path, curves: dict) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for graph, panel in zip(GRAPHS, figure.subplots(1, len(GRAPHS), sharey=True), strict=True):
        for name, (recall, precision) in curves.items():
            if name.startswith(graph):
                panel.step(recall, precision, where="post", label=name.removeprefix(f"{graph}: "))
        panel.set(title=graph, xlabel="recall", ylabel="precision")
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)
