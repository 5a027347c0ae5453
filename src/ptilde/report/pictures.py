"""Which pictures stand on the page of a verdict: those of `ptilde.report.plots`, each on a canvas with its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ptilde.diagnostics import pit_among
from ptilde.report import plots
from ptilde.report.canvas import Picture, picture, shown
from ptilde.report.evidence import by_chance, furthest_from_even
from ptilde.report.numbers import Verdict
from ptilde.report.plots.marginals import few_counts, points_and_shares
from ptilde.report.plots.together import dependent, largest_difference
from ptilde.report.plots.training import SCORE_TERMS, named_curves
from ptilde.report.rows import Pair, atoms_of, numeric, off_atoms, on_log_scale, pattern_shares
from ptilde.report.slices import in_words
from ptilde.tabular.schema import Categorical, Kind, Schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLUMNS = 24


def column_pictures(verdict: Verdict) -> list[Picture]:
    """A picture for each of the first columns: atoms or categories as sticks, the body as a histogram."""
    return [_column(verdict, name) for name in list(verdict.schema.columns)[:MAX_COLUMNS]]


def _column(verdict: Verdict, name: str) -> Picture:
    kind, real, drawn = verdict.schema.columns[name], verdict.real[name], verdict.draws[name]
    words = (f"{r:.3f} real, {d:.3f} model at {p}" for p, (r, d) in points_and_shares(kind, real, drawn).items())

    def draw(figure: Figure) -> None:
        plots.plot_marginals({name: real}, {name: drawn}, verdict.schema, [name], [figure.subplots()])

    alt = f"Column {shown(name)}: {'; '.join(map(shown_all, words)) or 'histogram, real against model'}"
    return picture(draw, (4.2, 2.3), name, alt + _hidden(kind, real, drawn))


def _hidden(kind: Kind, real: NDArray, drawn: NDArray) -> str:
    """What a logarithmic scale cannot show."""
    if isinstance(kind, Categorical) or not on_log_scale(kind) or few_counts(kind, real, drawn):
        return ""
    share = [float(np.mean(off_atoms(x, atoms_of(Schema({"": kind})).get("", ())) & (x <= 0))) for x in (real, drawn)]
    return f"; not shown: {share[0]:.3f} real, {share[1]:.3f} model at or below zero" if any(share) else ""


def shown_all(text: str) -> str:
    """Words on the page, which may be long ones."""
    return shown(text, 60)


def place_pictures(verdict: Verdict) -> list[Picture]:
    """Of each of the first numeric columns the quantiles of the body, and the places of held-out values among draws."""
    names = [name for name in numeric(verdict.schema)[:MAX_COLUMNS] if np.isfinite(verdict.test[name]).any()]
    return [_places(verdict, name) for name in names if np.isfinite(verdict.draws[name]).any()]


def _places(verdict: Verdict, name: str) -> Picture:
    real, drawn = (rows[name][np.isfinite(rows[name])] for rows in (verdict.test, verdict.draws))
    u = pit_among(real, drawn)
    has_body = name in verdict.bodies

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 1 + has_body, squeeze=False)[0]
        if has_body:
            plots.plot_quantiles({name: real}, {name: drawn}, verdict.schema, [name], panels[:1])
            panels[0].set_title("quantiles off the atoms", fontweight="normal")
        plots.plot_pit(u, panels[-1], len(drawn))
        panels[-1].set_title("places among draws")
        figure.suptitle(shown(name), fontsize=9, fontweight="bold")

    gap, chance = furthest_from_even(u), by_chance(len(real), len(drawn))
    alt = (
        f"{shown(name)}: {len(real):,} held-out values among {len(drawn):,} draws, ties broken at random; the share "
        f"below a place is off by {gap:.3f} at most, and equal laws stay below {chance:.3f}"
    )
    return picture(draw, (4.6, 2.5) if has_body else (2.6, 2.5), name, alt)


def joint_pictures(verdict: Verdict) -> list[Picture]:
    """Patterns of atoms, rank correlations, and scatters of pairs, where there are any."""
    made = (_patterns(verdict), _correlations(verdict), _pairs(verdict))
    return [found for found in made if found]


def _patterns(verdict: Verdict) -> Picture | None:
    shares = pattern_shares(atoms_of(verdict.schema), verdict.real, verdict.draws)
    if len(shares) < 2:
        return None
    alt = "Shares of the commonest patterns: " + "; ".join(
        f"{shown_all(n)} {r:.3f} real, {m:.3f} model" for n, r, m in shares[:4]
    )
    return picture(
        lambda figure: plots.plot_patterns(verdict.real, verdict.draws, verdict.schema, figure.subplots()),
        (6, 0.6 + 0.3 * len(shares)),
        "Which columns are off their atoms together",
        alt,
    )


def _correlations(verdict: Verdict) -> Picture | None:
    pair = Pair(verdict.schema.columns, verdict.test, verdict.draws)
    if len(pair.names) < 2:
        return None
    return picture(
        lambda figure: plots.plot_correlations(pair.real, pair.drawn, verdict.schema, figure.subplots(1, 2)),
        (7, 3.4),
        "Rank correlations",
        f"Rank correlations, real beside model; the largest difference is {largest_difference(pair):.3f}",
    )


def _pairs(verdict: Verdict) -> Picture | None:
    pair = Pair(verdict.schema.columns, verdict.test, verdict.draws)
    names = dependent(pair)
    if len(names) < 2:
        return None
    side = 1.2 * len(names) + 0.6
    return picture(
        lambda figure: plots.plot_pairs(
            pair.real, pair.drawn, verdict.schema, names, figure.subplots(len(names), len(names))
        ),
        (max(side, 4), max(side, 4)),
        "Pairs of columns",
        f"Scatters of every two of {', '.join(map(shown, names))} where both are off their atoms: held-out rows below "
        "the diagonal, drawn ones above it with the same axes",
    )


def density_pictures(verdict: Verdict) -> list[Picture]:
    """What a model says of itself: its score over two columns, its routes, its mass; none of a table."""
    density, found, made = verdict.density, verdict.slice, []
    if density is None:
        return []
    if found is not None:
        first, second = map(shown, found.names)
        held = f", the other columns held at {in_words(found.others)}" if found.others else ""
        logs = [shown(n) for n, log in zip(found.names, found.logarithmic, strict=True) if log]
        unit = f"; per unit of the logarithm of {' and '.join(logs)}" if logs else ""
        alt = (
            f"A slice of the density over {first} and {second}{held}{unit}. Contours are 0.5, 1, 2, 3, 5, 8 and 12 "
            "nats below the top; arrows are the score, per side of the picture, and point up the density"
        )
        made.append(alone(lambda axes: plots.plot_score_field(found, axes), (4.2, 4), "The score", alt))
    if density.agreement:
        one_pass, ode = density.agreement.one_pass, density.agreement.ode
        alt = f"Log densities of {density.agreement.num_rows} held-out rows by one pass against those by the ODE"
        made.append(alone(lambda axes: plots.plot_routes(one_pass, ode, axes), (4.2, 4), "Two routes", alt))
    log_z = density.certificate
    alt = (
        f"Logarithm of the total mass, {log_z.value:.3f} ± {log_z.standard_error:.3f}, shown with two standard errors; "
        "the inner margin is good, the outer one wants a look"
    )
    return [*made, alone(lambda axes: plots.plot_certificate(*log_z, axes), (4.2, 1.6), "Total mass", alt)]


def alone(draw: Callable[[Axes], object], size: tuple[float, float], title: str, alt: str) -> Picture:
    """A picture of one drawing."""
    return picture(lambda figure: draw(figure.subplots()), size, title, alt)


def training_pictures(history: dict[str, dict[str, list]]) -> list[Picture]:
    """For each stage of a fit the loss of its steps, and that of rows held out of them."""
    return [_training(stage, told) for stage, told in history.items() if len(told.get("step", [])) > 1]


def _training(stage: str, told: dict[str, list]) -> Picture:
    terms = SCORE_TERMS if "scores" in stage else ()

    def draw(figure: Figure) -> None:
        plots.plot_training(told, figure.subplots(), terms).set_title(stage, fontweight="bold")

    curves = named_curves(told, terms)
    ends = "; ".join(f"{label} end at {curve[np.isfinite(curve)][-1]:.3f}" for label, curve in curves.items())
    return picture(draw, (6, 2.6), stage, f"Loss of the {stage} against step: {ends}")
