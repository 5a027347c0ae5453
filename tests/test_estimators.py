"""ScoreDensity: densities that are densities, atoms that are exact, refusals in words."""

import itertools
import re
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.exceptions import NotFittedError
from small_fit import small_table

from ptilde import Categorical, Interval, Positive, Real, Schema, ScoreDensity, SemiContinuous, samplers


def bimodal(rows, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(rows) < 0.3, rng.normal(-2, 0.5, rows), rng.normal(1, 1, rows))[:, None]


@pytest.fixture(scope="module")
def one_column():
    return ScoreDensity(Schema({"x0": Real()}), random_state=0, max_iter=600).fit(bimodal(2000))


# The density


def mass(model, method="one_pass"):
    x = np.linspace(-9, 9, 901)[:, None]
    return np.trapezoid(np.exp(model.score_samples(x, method)), x[:, 0])


def test_the_mass_by_quadrature_is_what_the_normaliser_says(one_column):
    value, error = one_column.log_normalizer()
    assert abs(np.log(mass(one_column)) - value) < 5 * error + 1e-3
    assert abs(value) < 0.05 and error < 0.01


@pytest.mark.slow
def test_the_ode_is_another_route_to_the_same_density_and_has_mass_one(one_column):
    x = bimodal(300, seed=1)
    value, error = one_column.score_samples(x, "ode", return_error=True)
    one_pass = one_column.score_samples(x)
    assert np.mean(np.abs(value - one_pass)) < 0.1  # 600 steps leave a tilt of some hundredths
    assert np.all(error >= 0) and np.median(error) < 0.01
    assert mass(one_column, "ode") == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(one_column.score_samples(x, return_error=True)[1], 0)


def test_the_density_is_near_the_law_of_the_data(one_column):
    x = bimodal(4000, seed=2)
    phi = lambda m, s: np.exp(-0.5 * ((x[:, 0] - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))  # noqa: E731
    exact = np.log(0.3 * phi(-2, 0.5) + 0.7 * phi(1, 1))
    divergence = np.mean(exact - one_column.score_samples(x))
    assert abs(divergence) < 0.05
    normal = -0.5 * ((x[:, 0] - x.mean()) / x.std()) ** 2 - np.log(x.std() * np.sqrt(2 * np.pi))
    assert np.mean(exact - normal) > 0.12  # a Gaussian would be seen


def test_a_table_of_categories_alone_has_probabilities_that_sum_to_one_and_follow_the_data():
    rng = np.random.default_rng(0)
    a = rng.choice(["x", "y", "z"], 600, p=[0.5, 0.3, 0.2])
    table = pd.DataFrame({"a": a, "b": np.where(rng.random(600) < 0.8, a == "x", a != "x")})
    model = ScoreDensity(random_state=0, max_iter=300).fit(table)
    cells = pd.DataFrame(list(itertools.product("xyz", [False, True])), columns=["a", "b"])
    log_probability = model.score_samples(cells)
    np.testing.assert_allclose(np.exp(log_probability).sum(), 1, rtol=1e-5)
    share = table.value_counts(normalize=True).reindex(pd.MultiIndex.from_frame(cells)).to_numpy()
    np.testing.assert_allclose(np.exp(log_probability), share, atol=0.03)
    np.testing.assert_array_equal(model.score_samples(cells, "ode"), log_probability)
    assert model.log_normalizer() == (0, 0)
    assert np.isnan(model.grad_log_density(cells)).all()


def test_the_gradient_is_the_slope_of_the_log_density_in_the_bodies_and_nan_elsewhere(fitted_model, fitted_table):
    table = fitted_table.to_pandas().head(200)
    gradient = fitted_model.grad_log_density(table)
    on_atom = (table[["claim", "rain"]] == 0).to_numpy()
    np.testing.assert_array_equal(np.isnan(gradient), np.c_[on_atom, np.zeros(len(table)), np.ones(len(table))] > 0)
    for j, name in [(0, "claim"), (2, "share")]:
        body = table[table["claim"] > 0] if name == "claim" else table
        step = 2e-3 * (body[name] if name == "claim" else body[name] * (1 - body[name]))
        up, down = (fitted_model.score_samples(body.assign(**{name: body[name] + s * step})) for s in (1, -1))
        slope, found = (up - down) / (2 * step), gradient[body.index, j]
        np.testing.assert_allclose(found * step, slope * step, atol=2e-5)  # per step: single precision
        assert np.abs(found * step).max() > 1e-3


# Draws


def test_draws_are_exact_on_atoms_and_grid_and_go_beyond_the_sample(fitted_model, fitted_table):
    drawn, seen = fitted_model.sample(20_000).to_pandas(), fitted_table.to_pandas()
    assert drawn["claim"].min() == 0 and drawn["claim"][drawn["claim"] > 0].min() > 1e-6
    np.testing.assert_array_equal(drawn["rain"], np.rint(drawn["rain"] * 5) / 5)
    assert drawn["share"].between(0, 1, inclusive="neither").all()
    assert set(drawn["region"]) == {"north", "south"}
    for name in ("claim", "rain"):
        assert drawn[name].max() > seen[name].max()
    assert drawn["share"].min() < seen["share"].min() and drawn["share"].max() > seen["share"].max()


def z_of_zero_claims(model, factor=1.0):
    """Drawn zero claims against the model's own probability of one, in standard errors."""
    cells = [{"claim": 0.0, "rain": r, "share": 0.5, "region": g} for r in (0.0, 0.2) for g in ("north", "south")]
    rows = model._encoder.encode(model.schema_.check(model._open(pa.Table.from_pylist(cells), reset=False)))
    p = factor * np.exp(model._joint.log_states(rows.state)).sum()
    return (np.mean(np.array(model.sample(20_000)["claim"]) == 0) - p) / np.sqrt(p * (1 - p) / 20_000)


def test_the_share_of_draws_on_an_atom_is_the_probability_of_the_atom(fitted_model):
    assert abs(z_of_zero_claims(fitted_model)) < 4.42  # false alarm 1e-5
    assert abs(z_of_zero_claims(fitted_model, 1.1)) > 4.42


def test_the_seed_decides_the_draws_and_few_draws_are_the_head_of_many(fitted_model):
    many = fitted_model.sample(100)
    assert fitted_model.sample(np.int64(100)).equals(many)
    assert fitted_model.sample(100, random_state=0).equals(many)  # 0 is the seed of the fit
    assert not fitted_model.sample(100, random_state=1).equals(many)
    assert fitted_model.sample(10).to_pandas().round(4).equals(many.slice(0, 10).to_pandas().round(4))
    state = np.random.RandomState(5)
    assert not fitted_model.sample(5, state).equals(fitted_model.sample(5, state))


# Refusals


ODD = {
    "claim": (-1.0, "1 in column 'claim', the first in row 3: -1.0"),
    "rain": (0.3, "1 in column 'rain', the first in row 3: 0.3"),
    "share": (1.0, "1 in column 'share', the first in row 3: 1.0"),
    "region": ("west", "1 in column 'region', the first in row 3: 'west'"),
}


@pytest.mark.parametrize("columns", [*([name] for name in ODD), list(ODD)], ids="+".join)
def test_a_value_without_probability_has_log_density_minus_infinity_and_one_warning_names_it(fitted_model, columns):
    table = small_table(6).to_pandas()
    expected = fitted_model.score_samples(table)
    table.loc[3, columns] = [ODD[name][0] for name in columns]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        value = fitted_model.score_samples(table)
    words = "; ".join(ODD[name][1] for name in columns)
    assert [str(w.message) for w in seen] == [
        f"Rows with values that have no probability get log density -inf: {words}."
    ]
    assert seen[0].filename == __file__
    np.testing.assert_array_equal(np.isneginf(value), np.arange(6) == 3)
    np.testing.assert_array_equal(np.delete(value, 3), np.delete(expected, 3))
    assert np.isnan(fitted_model.grad_log_density(table)[3]).all()


TIES = pd.DataFrame({"x": np.r_[np.zeros(50), np.random.default_rng(0).normal(size=150)]})
UNFIT = {
    "ties in a declared body": (
        {"schema": Schema({"x": Real()})},
        TIES,
        "Column 'x' must have a density where it is continuous, but 25.0% of its body is exactly 0. Declare that value "
        "as an atom, SemiContinuous(atoms=(0,), ...), or the recording step as `grid`.",
    ),
    "a value that the declared kind has no place for": (
        {"schema": Schema({"x": SemiContinuous((0.0,), Positive())})},
        pd.DataFrame({"x": [0.0, 1.5, -2.0, 3.0]}),
        "Column 'x' must hold what its kind SemiContinuous(atoms=(0.0,), body=Positive(grid=None, missing=False), "
        "missing=False) says; got -2.0 in row 2 (1 such rows). Correct the schema (atoms, bounds, grid, categories, "
        "missing) or the data.",
    ),
    "one row": (
        {},
        pd.DataFrame({"x": [1.5]}),
        "The table must have at least one column whose values vary; got 'x' is constant: always 1.5. A single row "
        "(n_samples=1, one sample) has no law to learn.",
    ),
    "an option": ({"max_iter": 0}, TIES, "`max_iter` must be at least 1; got 0."),
    "half a step": ({"max_iter": 10.5}, TIES, "`max_iter` must be a whole number; got 10.5."),
    "a word": ({"max_iter": "many"}, TIES, "`max_iter` must be one of 'auto'; got 'many'."),
    "a budget": ({"time_budget": 0}, TIES, "`time_budget` must be positive and finite; got 0."),
    "a dict": ({"schema": {"x": "Real"}}, TIES, "`schema` must be a ptilde.Schema or None; got dict."),
}


@pytest.mark.parametrize(("options", "table", "words"), UNFIT.values(), ids=UNFIT)
def test_what_cannot_be_fitted_is_refused_in_words(options, table, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        ScoreDensity(**options).fit(table)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, t: m.score_samples(t, "both"), "`method` must be one of 'one_pass', 'ode'; got 'both'."),
        (lambda m, t: m.sample(0), "`n_samples` must be at least 1; got 0."),
        (lambda m, t: m.sample(2.5), "`n_samples` must be a whole number; got 2.5."),
        (lambda m, t: m.sample(True), "`n_samples` must be a whole number; got True."),
        (lambda m, t: m.log_normalizer(2.5), "`n_samples` must be a whole number; got 2.5."),
        (lambda m, t: m.log_normalizer(1), "`n_samples` must be at least 2; got 1."),
        (
            lambda m, t: m.score(t, sample_weight=-np.ones(len(t))),
            "Negative values in data passed to `sample_weight`.",
        ),
        (
            lambda m, t: m.score_samples(t.rename_columns(["claims", "rain", "share", "region"])),
            "The table must have the columns of the schema; got none named 'claim'. Perhaps rename 'claims' to "
            "'claim'.",
        ),
    ],
)
def test_what_a_fitted_model_cannot_do_is_refused_in_words(fitted_model, fitted_table, call, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        call(fitted_model, fitted_table)


@pytest.mark.parametrize("name", ["score_samples", "score", "grad_log_density", "sample", "log_normalizer", "save"])
def test_a_model_that_is_not_fitted_says_so(name):
    argument = [] if name == "log_normalizer" else [1] if name in ("sample", "save") else [[[1.0]]]
    with pytest.raises(NotFittedError):
        getattr(ScoreDensity(), name)(*argument)


def test_constant_columns_are_left_out_and_may_hold_anything_later():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=60), "one": 1, "y": rng.normal(size=60)})
    model = ScoreDensity(random_state=0, max_iter=5).fit(table)
    assert list(model.schema_.columns) == ["x", "y"] and list(model.schema_.left_out) == ["one"]
    assert list(model.sample(3).columns) == ["x", "y"]
    np.testing.assert_array_equal(model.score_samples(table), model.score_samples(table.assign(one=7)))
    assert np.isnan(model.grad_log_density(table)).any(0).tolist() == [False, True, False]


def test_the_score_is_the_mean_log_density_weighted(fitted_model, fitted_table):
    value, weight = fitted_model.score_samples(fitted_table), np.arange(len(fitted_table))
    assert fitted_model.score(fitted_table) == pytest.approx(value.mean())
    assert fitted_model.score(fitted_table, sample_weight=weight) == pytest.approx(value @ weight / weight.sum())


def test_rows_of_weight_zero_do_not_count_in_the_score_wherever_they_lie(fitted_model):
    table = small_table(6).to_pandas()
    expected = fitted_model.score(table[:3])
    table.loc[3:, "claim"] = -1.0
    with pytest.warns(UserWarning, match="Rows with values that have no probability"):
        assert fitted_model.score(table, sample_weight=[2, 2, 2, 0, 0, 0]) == pytest.approx(expected)
        assert fitted_model.score(table, sample_weight=[2, 2, 2, 0, 0, 1]) == -np.inf
        with pytest.raises(ValueError, match="non-zero|positive sum"):  # scikit-learn's words, by its version, or ours
            fitted_model.score(table, sample_weight=np.zeros(6))


@pytest.mark.slow
def test_the_callback_and_the_history_tell_the_same_and_verbose_prints_it(capsys):
    events = []
    table = np.random.default_rng(0).uniform(size=(60, 1))
    schema = Schema({"x0": SemiContinuous((0.0,), Interval(0, 1))})
    table[::3] = 0
    model = ScoreDensity(schema, 0, max_iter=150, verbose=1, callback=events.append).fit(table)
    assert [(e.stage, e.step) for e in events] == [("states", 100), ("states", 150), ("scores", 100), ("scores", 150)]
    for stage, history in model.history_.items():
        assert history["loss"] == [e.train_loss for e in events if e.stage == stage]
        assert history["step"] == [100, 150] and len(history["terms"]) == len(history["validation"]) == 2
    assert model.n_iter_ == 150 and model.fit_seconds_ > 0
    printed = capsys.readouterr().out
    assert re.search(r"^scores: step 150/150, held-out loss \d\.\d{4}, 0 s to go$", printed, re.MULTILINE)


def test_a_declared_category_that_the_data_never_show_is_rare_and_not_impossible():
    table = pd.DataFrame({"a": list("xy") * 40})
    model = ScoreDensity(Schema({"a": Categorical(("x", "y", "never"))}), 0, max_iter=100).fit(table)
    log_probability = model.score_samples(pd.DataFrame({"a": ["x", "y", "never"]}))
    assert -12 < log_probability[2] < -3
    np.testing.assert_allclose(np.exp(log_probability).sum(), 1, rtol=1e-5)


# Samplers


def test_amounts_may_be_drawn_by_another_sampler_of_the_same_law(fitted_model):
    flow = fitted_model.sample(4000).to_pandas()
    other = fitted_model.sample(4000, sampler=samplers.PredictorCorrector()).to_pandas()
    assert (flow["region"] == other["region"]).all() and ((flow["claim"] == 0) == (other["claim"] == 0)).all()
    assert not flow.equals(other)
    for name in ("share", "rain"):
        assert abs(flow[name].mean() - other[name].mean()) < 6 * flow[name].std() / np.sqrt(2000)


@pytest.mark.parametrize(
    ("sampler", "more", "words"),
    [
        (samplers.Mala(), {}, "`sampler` must be a ProbabilityFlow, PredictorCorrector or Annealed; got Mala"),
        (samplers.ProbabilityFlow(), {"log_weight": len}, "`sampler` must be None with `given` or `log_weight`"),
    ],
)
def test_a_sampler_that_cannot_serve_is_refused(fitted_model, sampler, more, words):
    with pytest.raises(ValueError, match=words):
        fitted_model.sample(3, sampler=sampler, **more)
