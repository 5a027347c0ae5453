"""A verdict for machines and notebooks: plain values for strict JSON, and a short list in HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

import ptilde
from ptilde.report.canvas import legible

if TYPE_CHECKING:
    from ptilde.report.numbers import Verdict
    from ptilde.report.phrases import Finding
    from ptilde.report.regressor import RegressorVerdict

MEASURES = ("comparison", "bodies", "categories", "dependence", "law", "memory", "density")
REGRESSOR_MEASURES = ("target", "num_outside", "log_density", "atoms", "mean", "unevenness", "coverage", "gain", "crps")
REGRESSOR_MEASURES += ("importance", "dependence", "history", "fitted")


def told(verdict: Verdict) -> dict[str, Any]:
    """The findings, the number of rows, the schema and every measure by its name."""
    rows = {name: len(next(iter(getattr(verdict, name).values()))) for name in ("train", "test", "draws")}
    return {
        "ptilde": ptilde.__version__,
        "rows": rows,
        "findings": [finding._asdict() for finding in verdict.findings],
        **{name: plain(getattr(verdict, name)) for name in MEASURES},
        "schema": plain(verdict.schema.to_dict()),
    }


def told_of_regressor(verdict: RegressorVerdict) -> dict[str, Any]:
    """The findings and every measure by its name."""
    return {
        "ptilde": ptilde.__version__,
        "rows": {"test": verdict.num_rows},
        "findings": [finding._asdict() for finding in verdict.findings],
        **{name: plain(getattr(verdict, name)) for name in REGRESSOR_MEASURES},
        "schema": plain(verdict.schema.to_dict()),
    }


def plain(value: Any) -> Any:
    """The value in dicts with words as keys, lists, numbers, words and null."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if hasattr(value, "_asdict"):
        value = value._asdict()
    elif is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _key(key: Any) -> str:
    if isinstance(key, tuple):  # a state
        return ",".join(str(part) for part in key)
    return f"{key:.10g}" if isinstance(key, float) else str(key)


def list_of(findings: Sequence[Finding]) -> str:
    """The findings as a list for a notebook."""
    signs = {"good": "✓", "fair": "?", "poor": "✗", "none": "·"}
    items = [
        Markup("<li>{} <b>{}</b> {}</li>").format(signs[mark], escape(legible(question)), escape(legible(answer)))
        for question, answer, mark in findings
    ]
    return str(Markup("<ul style='list-style:none'>{}</ul>").format(Markup("").join(items)))


def of_model(model: Any) -> str:
    """An estimator for a notebook: what it is, how it was fitted, what its columns may hold."""
    text = repr(model)
    if hasattr(model, "schema_"):
        text += (
            f"\nfitted in {model.n_iter_:,} steps and {model.fit_seconds_:.0f} s, seed {model.seed_}\n\n{model.schema_}"
        )
    return str(Markup("<pre>{}</pre>").format(legible(text)))
