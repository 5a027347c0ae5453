"""One HTML page of a verdict: self-contained, without scripts, for phones, for the dark, for screen readers.

Everything that comes from the data is escaped, and the page forbids itself scripts and every outside resource, so that
a column named `<script>` is a name and nothing else.
"""

from __future__ import annotations

import os
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

import ptilde
from ptilde import _files
from ptilde.report import plots
from ptilde.report.canvas import Picture, legible
from ptilde.report.numbers import Verdict

MARKS = {"good": "good", "fair": "look at it", "poor": "poor", "none": ""}


def write_page(verdict: Verdict, path: str | os.PathLike, title: str = "A density and its verdict") -> None:
    """Write the page, whole or not at all."""
    text = page(verdict, title)
    with _files.atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(verdict: Verdict, title: str) -> str:
    """The page as text."""
    given = [finding.mark for finding in verdict.findings]
    template = files("ptilde.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, finalize=_legible
    )
    return environment.from_string(template).render(
        title=title,
        verdict=verdict,
        rows=[f"{len(next(iter(rows.values()))):,}" for rows in (verdict.train, verdict.test, verdict.draws)],
        schema=str(verdict.schema),
        marks=MARKS,
        tally={mark: given.count(mark) for mark in ("poor", "fair", "good")},
        columns=[_shown(p) for p in plots.column_pictures(verdict)],
        num_left=max(0, len(verdict.schema.columns) - plots.MAX_COLUMNS),
        joint=[_shown(p) for p in (plots.pattern_picture(verdict), plots.correlation_picture(verdict)) if p],
        pairs=[_shown(p) for p in plots.pair_pictures(verdict)],
        training=[_shown(p) for p in plots.training_pictures(verdict)],
        atoms=[(n, a, *pair) for n, shares in verdict.comparison.atoms.items() for a, pair in shares.items()],
        tails=[(n, q, *pair) for n, levels in verdict.comparison.tails.items() for q, pair in levels.items()],
        version=ptilde.__version__,
    )


def _legible(value: Any) -> Any:
    return legible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _shown(picture: Picture) -> dict[str, str]:
    # Markup: matplotlib has escaped the names inside; the words beside them are escaped by the template.
    return {"svg": Markup(picture.svg), "title": picture.title, "alt": picture.alt}
