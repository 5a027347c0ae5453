"""Which pictures stand on the page of a regressor's verdict."""

from __future__ import annotations

from ptilde.report import plots
from ptilde.report.canvas import Picture, shown
from ptilde.report.pictures import alone
from ptilde.report.regressor import RegressorVerdict


def calibration_pictures(verdict: RegressorVerdict) -> list[Picture]:
    """Whether the probabilities of atoms, the means and the whole laws come true."""
    return [*(_atom(verdict, atom) for atom in verdict.atoms), _lift(verdict), _places(verdict)]


def _atom(verdict: RegressorVerdict, atom: float) -> Picture:
    found, title = verdict.atoms[atom], f"P({shown(verdict.target)} = {atom:g})"
    alt = (
        f"{title} in ten bins of rows, predicted against observed with two standard errors, the diagonal right: "
        f"{found.predicted:.3f} predicted in all, {found.observed.value:.3f} observed"
    )
    return alone(lambda axes: plots.plot_reliability(found.bins, axes), (3.8, 3.2), title, alt)


def _lift(verdict: RegressorVerdict) -> Picture:
    found = verdict.mean
    alt = (
        f"Mean of {shown(verdict.target)} in ten bins of rows, from the least predicted one to the largest: predicted, "
        f"and observed with two standard errors; {found.predicted:.4g} predicted in all, {found.observed.value:.4g} "
        "observed"
    )
    return alone(lambda axes: plots.plot_calibration(found.bins, axes), (3.8, 3.2), "The mean", alt)


def _places(verdict: RegressorVerdict) -> Picture:
    gap, chance, _ = verdict.unevenness
    alt = (
        f"Places of {verdict.num_rows:,} held-out targets in their predicted laws, ties broken at random; in the band "
        f"lie 95 % of the bars of right laws. The share below a place is off by {gap:.3f} at most, right laws stay "
        f"below {chance:.3f}"
    )
    return alone(lambda axes: plots.plot_pit(verdict.places, axes), (3.8, 3.2), "Places in the predicted laws", alt)


def explaining_pictures(verdict: RegressorVerdict) -> list[Picture]:
    """Which covariates matter, and how the mean goes with the first of them."""
    found = verdict.importance
    height = 1.0 + 0.25 * min(len(found.names), 20)
    first = "; ".join(f"{shown(n)} {d:.4f}" for n, d in list(zip(found.names, found.drop, strict=True))[:3])
    alt = f"Nats a row that are lost when a covariate is shuffled, with two standard errors: {first}"
    matters = alone(lambda axes: plots.plot_importance(found, axes), (3.8, height), "What matters", alt)
    return [matters, *(_dependence(verdict, i) for i in range(len(verdict.dependence)))]


def _dependence(verdict: RegressorVerdict, i: int) -> Picture:
    found = verdict.dependence[i]
    alt = (
        f"Mean of {shown(verdict.target)} when {shown(found.name)} has each of some values in all rows: from "
        f"{found.mean.min():.4g} to {found.mean.max():.4g}"
    )
    return alone(lambda axes: plots.plot_partial_dependence(found, axes), (3.8, 2.8), shown(found.name), alt)
