"""Settings of every test: hypothesis tries the same examples each time, and a busy machine fails none."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from hypothesis import settings
from rich_fit import rich_model
from slow_budget import BUDGET, skip_beyond, slow_last
from small_fit import fitted_model, fitted_path, fitted_table

__all__ = ["fitted_model", "fitted_path", "fitted_table", "rich_model"]  # fixtures: quick fits for all tests

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

# Most programs of tests run for a blink, so they get less of LLVM's effort, and so do the processes that tests start.
# XLA reads this at its first program. What README.md says runs with all of it (.ci/run readme).
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

MAPS = Path("/proc/self/maps")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In CI slow tests come last."""
    if BUDGET < float("inf"):
        slow_last(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """In CI slow tests have a budget."""
    skip_beyond(item)


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_are_let_go() -> Iterator[None]:
    """A program that JAX has compiled holds several memory maps, and Linux kills a process that has 65,530 of them."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
