"""Pictures of a verdict: real rows against drawn ones, column by column, together, and the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ptilde.report.canvas import (
    MODEL,
    REAL,
    Picture,
    heat_map,
    histogram,
    logarithmic_scale,
    picture,
    scatter,
    shown,
    sticks,
)
from ptilde.report.numbers import Verdict
from ptilde.report.rows import atoms_of, numeric, off_atoms, pattern_shares
from ptilde.tabular.schema import Categorical, Kind, Real

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 24
MAX_POINTS = 12  # atoms or categories of one column


def column_pictures(verdict: Verdict) -> list[Picture]:
    """A picture for each of the first columns: atoms or categories as sticks, the body as a histogram."""
    return [_column(verdict, name, kind) for name, kind in list(verdict.schema.columns.items())[:MAX_COLUMNS]]


def pattern_picture(verdict: Verdict) -> Picture | None:
    """The commonest patterns: which columns are off their atoms together."""
    shares = pattern_shares(atoms_of(verdict.schema), verdict.real, verdict.draws)
    if len(shares) < 2:
        return None
    place = np.arange(len(shares))[::-1]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.barh(place + 0.2, [real for _, real, _ in shares], 0.38, color=REAL, label="real")
        axes.barh(place - 0.2, [model for _, _, model in shares], 0.38, color=MODEL, label="model")
        axes.set_yticks(place, [shown(name, 36) for name, _, _ in shares])
        axes.set_xlabel("share of rows")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)  # above: bars reach every corner

    alt = "Shares of the commonest patterns: " + "; ".join(f"{n} {r:.3f} real, {m:.3f} model" for n, r, m in shares[:4])
    return picture(draw, (6, 0.6 + 0.3 * len(shares)), "Which columns are off their atoms together", alt)


def correlation_picture(verdict: Verdict) -> Picture | None:
    """Rank correlations of the numeric columns, real beside model."""
    names = numeric(verdict.schema)[:40]
    if len(names) < 2:
        return None
    matrices = [_rank_correlation(rows, names) for rows in (verdict.test, verdict.draws)]
    labels = [shown(name, 12) for name in names]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2)
        for axes, matrix, title in zip(panels, matrices, ("real", "model"), strict=True):
            heat_map(axes, matrix, labels, named=title == "real")
            axes.set_title(title)
        figure.colorbar(panels[0].collections[0], ax=list(panels), shrink=0.7)

    largest = np.nanmax(np.abs(matrices[0] - matrices[1]))
    return picture(draw, (7, 3.4), "Rank correlations", f"Largest difference of a rank correlation: {largest:.3f}")


def pair_pictures(verdict: Verdict, number: int = 3) -> list[Picture]:
    """The most dependent pairs of columns, real rows beside drawn ones, where both are off their atoms."""
    names = numeric(verdict.schema)
    if len(names) < 2:
        return []
    strength = np.abs(np.triu(np.nan_to_num(_rank_correlation(verdict.test, names)), 1))
    best = [np.unravel_index(i, strength.shape) for i in np.argsort(strength, axis=None)[::-1][:number]]
    return [_pair(verdict, names[i], names[j]) for i, j in best if i < j]


def training_pictures(verdict: Verdict) -> list[Picture]:
    """For each stage of the fit the loss of its steps, and that of rows held out of them."""
    told = verdict.density.history if verdict.density else {}
    pictures = (_training(stage, history) for stage, history in told.items())
    return [found for found in pictures if found]


def _training(stage: str, history: dict[str, list]) -> Picture | None:
    steps = np.asarray(history.get("step", []), float)
    named = {"loss": "rows trained on", "validation": "rows held out"}
    curves = {label: _series(history.get(key, []), len(steps)) for key, label in named.items()}
    curves = {label: curve for label, curve in curves.items() if np.isfinite(curve).any()}
    if len(steps) < 2 or not curves:
        return None
    known = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for (label, curve), color in zip(curves.items(), (REAL, MODEL), strict=False):
            there = np.isfinite(curve)
            axes.plot(steps[there], curve[there], color=color, label=label, linewidth=1)
        margin = 0.05 * (np.quantile(known, 0.98) - known.min()) + 1e-9
        axes.set_ylim(known.min() - margin, np.quantile(known, 0.98) + margin)  # the first steps would flatten the rest
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.legend()
        figure.suptitle(f"the {stage}", fontsize=9, fontweight="bold")

    ends = "; ".join(f"{label} end at {curve[np.isfinite(curve)][-1]:.3f}" for label, curve in curves.items())
    return picture(draw, (6, 2.6), stage, f"Loss of the {stage} against step: {ends}")


def _series(values: Sequence[float | None], length: int) -> NDArray:
    curve = np.array([np.nan if value is None else value for value in values], float)
    return curve if len(curve) == length else np.full(length, np.nan)


def _rank_correlation(rows: dict[str, NDArray], names: list[str]) -> NDArray:
    from scipy.stats import rankdata

    ranks = np.array([rankdata(np.nan_to_num(rows[name], nan=-np.inf)) for name in names])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(ranks)


def _column(verdict: Verdict, name: str, kind: Kind) -> Picture:
    real, model = verdict.real[name], verdict.draws[name]
    if isinstance(kind, Categorical):
        points = list(kind.categories)[:MAX_POINTS]
        return _sticks_only(name, points, *([float(np.mean(x == p)) for p in points] for x in (real, model)))
    atoms = atoms_of(verdict.schema).get(name, ())[:MAX_POINTS]
    shares = [[float(np.mean(np.isclose(x, a))) for a in atoms] for x in (real, model)]
    logarithmic = _on_log_scale(kind)
    real_body, model_body = (x[off_atoms(x, atoms) & ((x > 0) | (not logarithmic))] for x in (real, model))

    def draw(figure: Figure) -> None:
        widths = (0.5 + 0.35 * len(atoms), 4) if atoms else (4,)
        panels = np.atleast_1d(figure.subplots(1, len(widths), width_ratios=widths))
        if atoms:
            sticks(panels[0], [f"{a:g}" for a in atoms], *shares)
            panels[0].tick_params(axis="x", rotation=90 if len(atoms) > 3 else 0)
        histogram(panels[-1], real_body, model_body, (len(real), len(model)), logarithmic=logarithmic)
        figure.suptitle(shown(name), fontsize=9, fontweight="bold")

    words = (f"{r:.3f} of real and {m:.3f} of drawn rows at {a:g}" for a, r, m in zip(atoms, *shares, strict=True))
    alt = f"Column {shown(name)}: {'; '.join(words) or 'histogram, real against model'}"
    return picture(draw, (4.2, 2.3), name, alt)


def _sticks_only(name: str, points: Sequence, real: list[float], model: list[float]) -> Picture:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        sticks(axes, [shown(str(p), 10) for p in points], real, model)
        axes.tick_params(axis="x", rotation=45 if len(points) > 4 else 0)
        figure.suptitle(shown(name), fontsize=9, fontweight="bold")

    rows = zip(points, real, model, strict=True)
    words = "; ".join(f"{shown(str(p))} {r:.3f} real, {m:.3f} model" for p, r, m in rows)
    return picture(draw, (4.2, 2.3), name, f"Column {shown(name)}: {words}")


def _on_log_scale(kind: Kind) -> bool:
    """Bodies that cannot fall below zero are drawn on a logarithmic scale."""
    body = getattr(kind, "body", kind)
    return not isinstance(body, Real) and getattr(body, "low", 0.0) >= 0


def _pair(verdict: Verdict, first: str, second: str) -> Picture:
    atoms = atoms_of(verdict.schema)
    number = min(len(verdict.test[first]), len(verdict.draws[first]))  # as many points on either side

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, rows, color, title in zip(
            panels, (verdict.test, verdict.draws), (REAL, MODEL), ("real", "model"), strict=True
        ):
            x, y = rows[first][:number], rows[second][:number]
            there = off_atoms(x, atoms.get(first, ())) & off_atoms(y, atoms.get(second, ()))
            scatter(axes, x[there], y[there], color)
            axes.set_title(title)
            axes.set_xlabel(shown(first))
            if _on_log_scale(verdict.schema.columns[first]):
                logarithmic_scale(axes, "x")
            if _on_log_scale(verdict.schema.columns[second]):
                logarithmic_scale(axes, "y")
        panels[0].set_ylabel(shown(second))

    title = f"{shown(first)} and {shown(second)}"
    return picture(draw, (6, 2.8), title, f"Scatter of {title}, real rows beside drawn ones, both off their atoms")
