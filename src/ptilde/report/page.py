"""One HTML page of a verdict: self-contained, without scripts, for phones, for the dark, for screen readers.

Everything that comes from the data is escaped, and the page forbids itself scripts and every outside resource, so that
a column named `<script>` is a name and nothing else.
"""

from __future__ import annotations

import os
from functools import singledispatch
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

import ptilde
from ptilde import _files
from ptilde.report import pictures, regressor_pictures
from ptilde.report.canvas import Picture, legible, shown
from ptilde.report.numbers import Verdict
from ptilde.report.phrases import figures
from ptilde.report.regressor import RegressorVerdict

MARKS = {"good": "good", "fair": "look at it", "poor": "poor", "none": ""}


def write_page(verdict: Any, path: str | os.PathLike, title: str = "A density and its verdict") -> None:
    """Write the page of a `Verdict` or `RegressorVerdict`, whole or not at all."""
    text = page(verdict, title)
    with _files.atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(verdict: Any, title: str) -> str:
    """The page as text."""
    given = [finding.mark for finding in verdict.findings]
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_legible,
    )
    environment.filters |= {"figures": figures, "short": shown}
    template, parts = parts_of(verdict)
    return environment.get_template(template).render(
        title=title,
        verdict=verdict,
        schema=str(verdict.schema),
        marks=MARKS,
        tally={mark: given.count(mark) for mark in ("poor", "fair", "good")},
        version=ptilde.__version__,
        **parts,
    )


def _template(name: str) -> str:
    return files("ptilde.report").joinpath("pages", name).read_text(encoding="utf-8")


@singledispatch
def parts_of(verdict: Any) -> tuple[str, dict[str, Any]]:
    """The template of a kind of verdict, and what it shows beside the findings."""
    raise TypeError(f"`verdict` must be a Verdict or a RegressorVerdict; got {type(verdict).__name__}.")


@parts_of.register
def _(verdict: Verdict) -> tuple[str, dict[str, Any]]:
    density = verdict.density
    return "density.html", {
        "rows": [f"{len(next(iter(rows.values()))):,}" for rows in (verdict.train, verdict.test, verdict.draws)],
        "columns": _shown(pictures.column_pictures(verdict)),
        "num_left": max(0, len(verdict.schema.columns) - pictures.MAX_COLUMNS),
        "places": _shown(pictures.place_pictures(verdict)),
        "joint": _shown(pictures.joint_pictures(verdict)),
        "itself": _shown(pictures.density_pictures(verdict)),
        "training": _shown(pictures.training_pictures(density.history if density else {})),
        "atoms": [(n, a, *pair) for n, shares in verdict.comparison.atoms.items() for a, pair in shares.items()],
        "tails": [(n, q, *pair) for n, levels in verdict.comparison.tails.items() for q, pair in levels.items()],
        "fitted": density.fitted if density else None,
    }


@parts_of.register
def _(verdict: RegressorVerdict) -> tuple[str, dict[str, Any]]:
    return "regressor.html", {
        "num_rows": f"{verdict.num_rows:,}",
        "calibration": _shown(regressor_pictures.calibration_pictures(verdict)),
        "explaining": _shown(regressor_pictures.explaining_pictures(verdict)),
        "training": _shown(pictures.training_pictures(verdict.history)),
        "num_members": verdict.fitted["members"],
        "fitted": verdict.fitted,
    }


def _legible(value: Any) -> Any:
    return legible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _shown(found: list[Picture]) -> list[dict[str, str]]:
    # Markup: matplotlib has escaped the names inside; the words beside them are escaped by the template.
    return [{"svg": Markup(p.svg), "title": p.title, "alt": p.alt} for p in found]
