"""Formulas as MathML, made by docutils when the site is built: a page loads no script and asks no other host."""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.util import logging

# What docutils does not read as TeX does, or does not know.
SPELLINGS = [
    (re.compile(r"\\dots\b"), r"\\ldots"),
    (re.compile(r"\\[td]?frac(\d)(\w)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\(log|operatorname\{\w+\}) ?(?=[A-Za-z\\])(?!\\[bB]ig|\\left)"), r"\\\1\\,"),
]
logger = logging.getLogger(__name__)


def converted(node: nodes.Element, *, as_block: bool) -> str:
    """MathML of a formula; one that docutils cannot read is a warning."""
    text = node.astext()
    for pattern, better in SPELLINGS:
        text = pattern.sub(better, text)
    if as_block and "\\\\" in text and "\\begin" not in text:
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    try:
        return latex2mathml.tex2mathml(text, as_block=as_block).replace("<mo>‖", '<mo stretchy="false">‖')
    except Exception as error:
        logger.warning("docutils cannot read the formula %r: %s", text, error, location=node)
        return ""


def inline(self: Any, node: nodes.Element) -> None:
    """Within a line."""
    self.body.append(converted(node, as_block=False))
    raise nodes.SkipNode


def block(self: Any, node: nodes.Element) -> None:
    """On lines of its own."""
    self.body.append(f'<div class="math">{converted(node, as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
