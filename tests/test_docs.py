"""The pages of documentation run: their Python blocks, in order, in one namespace, and say what the text says."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own_in_single_precision(tmp_path, monkeypatch) -> Iterator[None]:
    """Pages write files by their bare names, and one of them counts in double precision until its end."""
    monkeypatch.chdir(tmp_path)
    yield
    jax.config.update("jax_enable_x64", False)


def run_page(name: str) -> dict[str, Any]:
    """What the names of a page stand for at its end."""
    spec = importlib.util.spec_from_file_location("blocks", DOCS / "_ext" / "blocks.py")
    blocks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(blocks)
    page: dict[str, Any] = {}
    left = list(blocks.outputs((DOCS / name).read_text(encoding="utf-8"), name, page))
    assert left and all(output.figure.get_label() for output in left if output.figure is not None)  # read out to some
    return page


def test_the_first_page_shows_a_fit_that_is_good():
    page = run_page("index.md")
    held_out, drawn = page["spending"][10_000:], page["drawn"]
    assert np.abs((held_out == 0).mean() - (drawn == 0).mean()).max() < 0.03
    assert abs(page["model"].log_normalizer().value) < 0.03
    assert page["figure"].get_label()


def test_the_identities_of_the_theory_hold():
    page = run_page("theory.md")
    assert page["divergence"] == pytest.approx(page["bracket"] + page["constant"], abs=1e-12)
    share = np.mean(page["claims"] == 0)
    assert np.diff(page["with_atom"])[-1] == pytest.approx(-share * np.diff(page["bends"])[-1], rel=1e-3)
    assert abs(page["without"][-1] - page["without"][1]) < 0.01
    assert page["area"] == pytest.approx(page["kl"][0], rel=1e-3)
    assert float(page["by_mean"]) == pytest.approx(float(page["by_derivative"]), abs=1e-10)
    found, truth = page["found"], {"shape": 2.0, "rate": 1.0, "zero": np.log(0.3 / 0.7)}
    assert all(abs(found.theta[name] - truth[name]) < 4.5 * found.standard_errors[name] for name in truth)


def test_a_bound_that_is_not_declared_spoils_the_estimate():
    page = run_page("choosing-a-loss.md")
    right, wrong = page["right"], page["wrong"]
    assert abs(right.theta["rate"] - 0.5) < 4.5 * right.standard_errors["rate"]
    assert abs(wrong.theta["rate"] - 0.5) > 0.5
    assert page["error"] < 0.1 * np.mean(page["truth"] ** 2)


def test_a_corrected_schema_holds_and_is_drawn_from():
    page = run_page("choosing-a-schema.md")
    drawn = page["model"].sample(500, random_state=0)
    assert all(kind.holds(drawn[name].to_numpy()).all() for name, kind in page["schema"].columns.items())
    assert "claim" in str(page["inferred"]) and page["inferred"].columns["claim"].atoms[0] == 0


def test_the_sharp_bits_are_as_sharp_as_told():
    page = run_page("sharp-bits.md")
    assert page["difference"] == pytest.approx(np.log(12), abs=0.05)
    assert page["shares"].sum() == pytest.approx(1, abs=0.01)
    assert page["shares"][0] == pytest.approx(np.mean(page["visits"]["visits"] == 0), abs=0.05)
    assert page["found"].theta["precision"] == pytest.approx(0.8, abs=4.5 * page["found"].standard_errors["precision"])
    assert page["far"](page["near"]) == page["far"](2 * page["near"])


def test_what_other_libraries_do_is_done():
    page = run_page("coming-from.md")
    assert abs(page["share"] - 0.8) < 0.15
    assert {(edge.first, edge.second) for edge in page["path"].edges()} == {("x0", "x1"), ("x1", "x2"), ("x2", "x3")}
    assert np.abs((page["synthetic"] == 0).mean() - (page["table"] == 0).mean()).max() < 0.06
    assert not page["chains"].doubts()


def test_the_page_on_samplers_does_what_it_says():
    page = run_page("choosing-a-sampler.md")
    assert abs(page["biased"].x.var() - 1.25) < 0.05
    assert abs(np.mean(page["particles"].x[:, 0] > 0) - 0.8) < 0.06
    assert not page["nuts"].doubts() and page["nuts"].ess.min() > 1000
    assert not page["chains"].doubts() and page["chains"].exact
    assert np.median(page["error"]) < 0.05


def test_the_page_on_two_part_models_does_what_it_says():
    page = run_page("two-part-models.md")
    y, new, total = page["y"].to_numpy(), page["new"], page["total"]
    assert abs(page["zero"].mean() - np.mean(y[new] == 0)) < 0.1  # four standard errors of 400 rows
    quantiles = page["tail"]
    assert np.mean(y[new] <= quantiles[:, 1]) > 0.9 and (np.diff(quantiles, axis=1) >= 0).all()
    assert (page["layer"] <= page["mean"]).all() and (page["beyond"] >= quantiles[:, 2]).all()
    assert abs(total.mean.value - page["mean"].sum()) < 5 * total.mean.standard_error


def test_every_page_that_runs_is_tested():
    tested = Path(__file__).read_text(encoding="utf-8")
    pages = [page for page in DOCS.rglob("*.md") if "```python" in page.read_text(encoding="utf-8")]
    assert pages and all(f'run_page("{page.relative_to(DOCS).as_posix()}")' in tested for page in pages)


def test_a_table_in_a_folder_is_learnt_from_and_its_sample_stands_for_it():
    page = run_page("large-tables.md")
    assert page["stream"].num_rows == len(page["scores"]) == 200_000
    assert np.all(np.abs(np.array(page["by_year"]) - 20_000) < 2_500)  # 5 standard errors
    largest = max(page["pq"].read_table(path)["claim"].to_numpy().max() for path in page["folder"].iterdir())
    assert page["pa"].compute.max(page["sample"].table["claim"]).as_py() == largest


def test_days_are_rows_by_workers_and_rate_until_the_storage_ends_it():
    days = run_page("capacity.md")["days"]
    assert days(1e9, 60_000, 1) == pytest.approx(1e9 / 60_000 / 86_400)
    assert days(1e12, 60_000, 10**6) == pytest.approx(1e12 * 40 / 1e9 / 86_400)
