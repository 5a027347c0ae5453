"""Every public name stands in the API pages, and every name of ours that a page mentions exists."""

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import ptilde

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [path for path in DOCS.rglob("*.md") if "gallery" not in path.parts]
PUBLIC = ["ptilde", *(f"ptilde.{name}" for name in ptilde.__all__ if isinstance(getattr(ptilde, name), ModuleType))]
PUBLIC += ["ptilde.normalizer", "ptilde.report", "ptilde.report.plots"]
PARTS = "datasets|diagnostics|estimators|inference|losses|models|normalizer|samplers"
NAME = re.compile(rf"(?<![\w./-])(ptilde(?:\.[A-Za-z_]\w*)+|(?:{PARTS})\.(?!md\b)[A-Za-z_]\w*)")


def api() -> Any:
    """Sphinx's extension, which says what the blocks of a page stand for."""
    spec = importlib.util.spec_from_file_location("api", DOCS / "_ext" / "api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documented() -> list[tuple[str, str]]:
    """Module and name of all that the API pages list."""
    pages = [api().names(path.read_text(encoding="utf-8")) for path in sorted((DOCS / "api").glob("*.md"))]
    return [(module, name) for page in pages for module, names in page.items() for name in names]


def undocumented(listed: list[tuple[str, str]]) -> list[str]:
    """Public names whose object is on no page; a name that stands in two modules is documented in one."""
    known = {id(getattr(importlib.import_module(module), name)) for module, name in listed}
    found = []
    for module in map(importlib.import_module, PUBLIC):
        things = {name: getattr(module, name) for name in module.__all__}
        found += [
            f"{module.__name__}.{n}" for n, v in things.items() if not isinstance(v, ModuleType) and id(v) not in known
        ]
    return found


def resolves(name: str) -> bool:
    """Whether a dotted name leads to something: through modules first, then through attributes."""
    parts = (name if name.startswith("ptilde") else f"ptilde.{name}").split(".")
    thing: Any = ptilde
    for i, part in enumerate(parts[1:], start=2):
        if not hasattr(thing, part):
            try:
                importlib.import_module(".".join(parts[:i]))
            except ImportError:
                return part in getattr(thing, "__annotations__", {}) or f"{part}:" in (thing.__doc__ or "")
        thing = getattr(thing, part)
    return True


def mentioned(text: str) -> set[str]:
    """Names of ours in a text; code of other libraries, which stands in blocks that do not run, is left out."""
    return set(NAME.findall(re.sub(r"^```\{code-block\}.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)))


def test_every_public_name_is_on_an_api_page():
    listed = documented()
    assert len(listed) > 130 and undocumented(listed) == []
    assert undocumented([pair for pair in listed if pair[1] != "Sliced"]) == ["ptilde.losses.Sliced"]


def test_a_name_is_listed_once_and_has_a_docstring():
    listed = documented()
    assert sorted(set(listed)) == sorted(listed)
    assert all(getattr(importlib.import_module(module), name).__doc__ for module, name in listed)


def test_every_name_that_a_page_mentions_exists():
    for path in [*PAGES, ROOT / "README.md", *(ROOT / "examples").glob("*.py")]:
        names = mentioned(path.read_text(encoding="utf-8"))
        assert [name for name in sorted(names) if not resolves(name)] == [], path
    assert not resolves("ptilde.losses.Slyced") and not resolves("models.Gaussian.stort")
    assert mentioned("`ptilde.fit.rows(x)`, losses.Sliced") == {"ptilde.fit.rows", "losses.Sliced"}


def test_every_committed_table_of_results_is_on_a_page():
    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "benchmarks").glob("*.md"))
    tables = [path.name for path in (ROOT / "benchmarks" / "results").glob("*.md")]
    assert tables and [name for name in tables if f"results/{name}\n" not in pages] == []


def test_a_block_of_a_page_either_runs_or_is_plainly_text():
    for path in PAGES:
        assert set(re.findall(r"^```(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)) <= {"python", "text"}, path


def test_markdown_of_docstrings_becomes_sphinx_markup():
    rst = api().restructured
    assert rst("of `x`, $\\sigma$") == "of ``x``, :math:`\\sigma`"
    assert rst("the `x`s, seed_ too") == "the ``x``\\ s, seed\\_ too"
    block = re.sub(r"\n\s*\n", "\n\n", rst("it is\n    $$a\n      + b,$$\n    as"))
    assert block == "it is\n\n    .. math::\n\n       a\n       + b,\n\n    as"
