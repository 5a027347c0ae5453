"""The package imports fast, names what it has, and every public name can be reached."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ptilde

HEAVY = {"jax", "jaxlib", "equinox", "pandas", "polars", "pyarrow", "sklearn", "scipy", "matplotlib", "numpy"}


def modules_after(code):
    """The top-level modules that a fresh process has loaded after running the code."""
    code = f"{code}\nimport sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_ptilde_loads_nothing_heavy():
    loaded = modules_after("import ptilde; ptilde.__version__; dir(ptilde)")
    assert "ptilde" in loaded
    assert not loaded & HEAVY


def test_the_schema_and_the_errors_need_no_jax():
    assert not modules_after("import ptilde; ptilde.Schema, ptilde.Real, ptilde.DataError") & {"jax", "equinox"}
    assert not modules_after("import ptilde; ptilde.datasets.load_randhie()") & {"jax", "equinox"}


def test_jax_is_seen_once_it_is_loaded():
    # The sibling that must fail of the tests above.
    assert "jax" in modules_after("import ptilde._cache; ptilde._cache.enable()")


@pytest.mark.parametrize("name", ptilde.__all__)
def test_every_public_name_is_reached_from_its_home_and_listed(name):
    value = getattr(ptilde, name)
    assert name in dir(ptilde)
    if name in ptilde._SUBMODULES:
        assert value is importlib.import_module(f"ptilde.{name}")
    else:
        assert value is getattr(importlib.import_module(ptilde._HOMES[name]), name)


def test_every_listed_name_has_one_home():
    assert sorted([*ptilde._HOMES, *ptilde._SUBMODULES]) == ptilde.__all__ == sorted(ptilde.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'ptilde' has no attribute 'ScoreDensty'"):
        _ = ptilde.ScoreDensty


def test_every_module_opens_with_what_it_means():
    source = Path(ptilde.__file__).parent
    silent = [
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if path.read_text().strip() and not re.match(r'r?"""\S', path.read_text())
    ]
    assert silent == []


def test_the_citation_and_the_changelog_name_this_version():
    root = Path(__file__).parents[1]
    assert f"\nversion: {ptilde.__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"\n## {ptilde.__version__} " in (root / "CHANGELOG.md").read_text()
