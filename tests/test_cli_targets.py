"""`ptilde fit --target` and `ptilde predict` do what `ScoreRegressor` does, and refuse what they cannot do."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import ptilde
from ptilde import Stream
from ptilde.cli import work
from ptilde.cli.errors import run
from ptilde.launch import parts

ROWS = 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with claims, and a model of them given age, region and exposure."""
    folder, rng = tmp_path_factory.mktemp("targets"), np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 80, ROWS),
            "région": rng.choice(["nord", "sud"], ROWS),
            "years": rng.uniform(0.1, 1, ROWS).round(3),
        }
    )
    claims = rng.random(ROWS) < 0.4 * table["years"] * (1 + (table["age"] < 40))
    table["claim"] = np.where(claims, rng.lognormal(6, 1, ROWS), 0.0)
    table.to_csv(folder / "t.csv", index=False)
    command = ["fit", str(folder / "t.csv"), "--target", "claim", "--exposure", "years", "--max-iter", "20"]
    assert run([*command, "-o", str(folder / "m.ptilde")]) == 0
    return folder


def test_predictions_are_those_of_python(folder, tmp_path, monkeypatch, capsys):
    table, model = pd.read_csv(folder / "t.csv"), ptilde.load(folder / "m.ptilde")
    assert type(model).__name__ == "ScoreRegressor" and list(model.feature_names_in_) == ["age", "région"]
    command = ["predict", str(folder / "m.ptilde"), str(folder / "t.csv"), "--quantiles", ".5,.99"]
    assert run([*command, "--exposure", "years"]) == 0
    out, err = capsys.readouterr()
    found = pd.read_csv(io.StringIO(out))
    assert list(found) == ["mean", "P(=0)", "q0.5", "q0.99"] and "Traceback" not in err
    X, years = table[["age", "région"]], table["years"]
    np.testing.assert_allclose(found["mean"], model.predict(X, years), rtol=1e-6)
    np.testing.assert_allclose(found["P(=0)"], model.predict_atoms(X, years)[0.0], rtol=1e-6)
    np.testing.assert_allclose(found[["q0.5", "q0.99"]], model.predict_quantile(X, [0.5, 0.99], years), rtol=1e-6)
    monkeypatch.setattr(parts, "PART", 130)
    for place in (tmp_path / "p", tmp_path / "p.csv"):
        assert run([*command, "--exposure", "years", "-o", str(place)]) == 0
        np.testing.assert_allclose(pa.concat_tables(Stream(place).blocks()).to_pandas(), found, rtol=1e-5)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["fit", "t.csv", "--target", "clam", "-o", "m"], "`--target` must name columns of the table; got 'clam'"),
        (["fit", "t.csv", "--target", "claim", "--given", "ag", "-o", "m"], "`--given` must name columns of the table"),
        (["fit", "t.csv", "--target", "claim", "--given", "claim", "-o", "m"], "columns other than the target"),
        (["fit", "t.csv", "--target", "région", "-o", "m"], "Target 'région' must hold numbers; got text"),
        (["fit", "t.csv", "--target", "claim", "--exposure", "région", "-o", "m"], "must name a column of numbers"),
        (["fit", "t.csv", "--given", "age", "-o", "m"], "it needs --target"),
        (["sample", "m.ptilde", "-o", "s.csv"], "must hold a ScoreDensity for this; got a ScoreRegressor"),
        (
            ["predict", "m.ptilde", "t.csv", "-o", "p.csv"],
            "`exposure` must be given as in the fit, which had an exposure",
        ),
        (["predict", "m.ptilde", "t.csv", "--quantiles", "1.5"], "must be numbers between 0 and 1"),
        (["predict", "m.ptilde", "t.csv", "-o", "no/p.csv"], "must lie in a folder that exists"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(command, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert run(command) == 2
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and out == ""
    assert sorted(folder.iterdir()) == before


def test_a_model_of_an_array_is_told_its_covariates_by_the_names_that_columns_of_arrays_have():
    assert work.covariates_of(SimpleNamespace(n_features_in_=2)) == ["x0", "x1"]
    assert work.covariates_of(SimpleNamespace(n_features_in_=2, feature_names_in_=np.array(["b", "a"]))) == ["b", "a"]
