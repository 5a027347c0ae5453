"""`ptilde report` and `ptilde compare` write the page and numbers that Python gives, and refuse what they cannot do."""

import numpy as np
import pyarrow as pa
import pytest
import simulated_claims as sim
from small_fit import small_table

import ptilde
from ptilde import _json
from ptilde.cli.errors import run
from ptilde.tabular.reader import write_table

MEMORY = "Does it repeat the rows that it was made from?"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with real rows, unseen ones, a good synthetic table and one whose columns know nothing of each other."""
    monkeypatch.chdir(tmp_path)
    good = small_table(800, seed=2)
    rng = np.random.default_rng(0)
    apart = good
    for place, name in enumerate(good.column_names):
        apart = apart.set_column(place, name, good[name].take(rng.permutation(800)))
    for name, table in (("real", small_table()), ("unseen", small_table(seed=1)), ("good", good), ("apart", apart)):
        write_table(table, tmp_path / f"{name}.csv")
    return tmp_path


def marks(path):
    return {found["question"]: found["mark"] for found in _json.loads(path.read_text())["findings"]}


@pytest.mark.slow
def test_a_faithful_table_gets_no_red_and_one_of_lone_columns_does(folder, capsys):
    for name in ("good", "apart"):
        command = ["compare", "real.csv", f"{name}.csv", "--holdout", "unseen.csv", "--json", f"{name}.json"]
        assert run([*command, "-o", f"{name}.html"]) == 0
    out, err = capsys.readouterr()
    assert "Wrote good.html and good.json." in err
    assert "poor" not in marks(folder / "good.json").values()
    bad = {question for question, mark in marks(folder / "apart.json").items() if mark == "poor"}
    assert {"Can a classifier tell drawn rows from held-out ones?", "Do so many rows tell the two laws apart?"} <= bad
    for found in _json.loads((folder / "apart.json").read_text())["findings"]:
        assert found["question"] in out and found["answer"] in out
    assert "The rows of apart.csv, judged by real.csv" in (folder / "apart.html").read_text()


def test_the_synthetic_rows_may_be_the_real_ones_and_that_is_red(folder):
    assert run(["compare", "real.csv", "real.csv", "-o", "c.html", "--json", "c.json"]) == 0
    assert marks(folder / "c.json")[MEMORY] == "poor"


@pytest.mark.slow
def test_a_report_of_a_model_is_that_of_python(folder, fitted_path, fitted_model, fitted_table):
    command = ["report", str(fitted_path), "--test", "unseen.csv", "--train", "real.csv", "--seed", "3"]
    assert run([*command, "-o", "r.html", "--json", "r.json"]) == 0
    theirs = _json.loads((folder / "r.json").read_text())
    ours = fitted_model.report(small_table(seed=1), folder / "p.html", fitted_table, random_state=3)
    np.testing.assert_allclose(theirs["density"]["log_density"]["value"], ours.density.log_density.value, rtol=1e-4)
    np.testing.assert_allclose(theirs["comparison"]["auc"]["value"], ours.comparison.auc.value, atol=0.02)
    assert "Each column" in (folder / "p.html").read_text() and theirs["rows"]["draws"] == 1000
    assert "poor" in marks(folder / "r.json").values()  # fifty steps are few


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["compare", "real.csv", "none.csv", "-o", "c.html"], "none.csv"),
        (["compare", "real.csv", "narrow.csv", "-o", "c.html"], "'narrow.csv': The table must have the columns of"),
        (["compare", "real.csv", "few.csv", "-o", "c.html"], "synthetic rows must have 20 rows or more"),
        (["compare", "real.csv", "good.csv", "-o", "no/c.html"], "`--output` must lie in a folder that exists"),
        (["compare", "real.csv", "good.csv", "-o", "c.html", "--json", "no/c.json"], "`--json` must lie in a folder"),
        (
            ["compare", "real.csv", "good.csv", "-o", "c", "--json", "c"],
            "`--json` must be another file than `--output`",
        ),
        (["report", "none.ptilde", "--test", "real.csv", "-o", "r.html"], "there is no file 'none.ptilde'"),
        (["report", "real.csv", "--test", "real.csv", "-o", "r.html"], "real.csv"),
        (["report", "real.csv", "-o", "r.html"], "Missing option '--test'"),
        (
            ["report", "m.ptilde", "--test", "unseen.csv", "--exposure", "years", "-o", "r.html"],
            "`--exposure` must be left out for a model of whole rows",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_line(command, message, folder, fitted_path, capsys):
    (folder / "m.ptilde").write_bytes(fitted_path.read_bytes())
    write_table(small_table(30).drop_columns("rain"), folder / "narrow.csv")
    write_table(small_table(10), folder / "few.csv")
    before = sorted(folder.iterdir())
    assert run(command) == 2
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and out == ""
    assert sorted(folder.iterdir()) == before


@pytest.mark.slow
def test_a_report_without_the_rows_of_the_fit_does_not_ask_whether_they_are_repeated(folder, fitted_path):
    assert run(["report", str(fitted_path), "--test", "unseen.csv", "-o", "r.html", "--json", "r.json"]) == 0
    assert marks(folder / "r.json")[MEMORY] == "none"


def test_a_frame_of_another_model_is_refused_by_the_method(fitted_model, tmp_path):
    with pytest.raises(ptilde.DataError, match="got none named"):
        fitted_model.report(small_table(40).drop_columns("rain"), tmp_path / "p.html")
    assert not list(tmp_path.iterdir())


CLAIMS = sim.claims(1000, seed=50)


@pytest.fixture
def claims_folder(folder):
    """A folder with a regressor, and rows that it has not seen."""
    sim.model().save(folder / "claims.ptilde")
    X, y, years = CLAIMS
    write_table(pa.table({"x0": X[:, 0], "x1": X[:, 1], "y": y, "years": years}), folder / "claims.csv")
    return folder


@pytest.mark.slow
def test_a_report_of_a_regressor_is_not_red_and_that_of_python_with_shuffled_covariates_is(claims_folder):
    command = ["report", "claims.ptilde", "--test", "claims.csv", "--exposure", "years", "--seed", "3"]
    assert run([*command, "-o", "r.html", "--json", "r.json"]) == 0
    found = _json.loads((claims_folder / "r.json").read_text())
    X, y, years = CLAIMS
    expected = sim.model().score_samples(X, y, years).mean()
    np.testing.assert_allclose(found["log_density"]["value"], expected, rtol=1e-5)
    assert "poor" not in marks(claims_folder / "r.json").values()
    assert "The model claims.ptilde, judged by claims.csv" in (claims_folder / "r.html").read_text()
    others = np.random.default_rng(0).permutation(len(y))
    bad = sim.model().report(X[others], y, claims_folder / "p.html", exposure=years[others], random_state=3)
    poor = {finding.question for finding in bad.findings if finding.mark == "poor"}
    assert poor >= {"Is it better than a law that knows no covariates?", "Is the probability of each atom right?"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "`exposure` must be given as in the fit, which had an exposure"),
        (["--exposure", "yers"], "'claims.csv': `--exposure` must name columns of the table; got 'yers'"),
        (["--exposure", "years", "--train", "claims.csv"], "`--train` must be left out for a model of `fit --target`"),
    ],
)
def test_what_a_regressor_cannot_be_judged_by_is_refused_in_a_line(options, message, claims_folder, capsys):
    assert run(["report", "claims.ptilde", "--test", "claims.csv", *options, "-o", "r.html"]) == 2
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and out == ""
    assert not (claims_folder / "r.html").exists()
