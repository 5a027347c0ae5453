"""The pages of documentation run: their Python blocks, in order, in one namespace."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def run_page(path: Path) -> dict:
    """What the names of a page stand for at its end."""
    spec = importlib.util.spec_from_file_location("run_readme", ROOT / "tools" / "run_readme.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    namespace: dict = {"__name__": "__main__"}
    for language, line, code in tool.blocks(path.read_text(encoding="utf-8")):
        assert language == "python"
        tool.run_python(code, line, namespace)
    return namespace


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_page_on_samplers_does_what_it_says():
    page = run_page(ROOT / "docs" / "choosing-a-sampler.md")
    assert abs(page["biased"].x.var() - 1.25) < 0.05
    assert abs(np.mean(page["particles"].x[:, 0] > 0) - 0.8) < 0.06
    assert not page["nuts"].doubts() and page["nuts"].ess.min() > 1000
    assert not page["chains"].doubts() and page["chains"].exact
    assert np.median(page["error"]) < 0.05


@pytest.mark.slow
def test_the_page_on_two_part_models_does_what_it_says():
    page = run_page(ROOT / "docs" / "two-part-models.md")
    y, new, total = page["y"].to_numpy(), page["new"], page["total"]
    assert abs(page["zero"].mean() - np.mean(y[new] == 0)) < 0.1  # four standard errors of 400 rows
    quantiles = page["tail"]
    assert np.mean(y[new] <= quantiles[:, 1]) > 0.9 and (np.diff(quantiles, axis=1) >= 0).all()
    assert (page["layer"] <= page["mean"]).all() and (page["beyond"] >= quantiles[:, 2]).all()
    assert abs(total.mean.value - page["mean"].sum()) < 5 * total.mean.standard_error
