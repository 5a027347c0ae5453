"""What a regressor takes: several targets, counts, few rows, covariates that say nothing, frames; what it refuses."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.integrate import trapezoid
from scipy.stats import poisson

from ptilde import Count, Positive, Schema, ScoreRegressor, SemiContinuous
from ptilde.estimators import predictions

slow = pytest.mark.slow  # their programs take long to compile
QUICK = {"n_estimators": 1, "max_iter": 200, "random_state": 0}


def pairs(n=600, seed=0):
    """A covariate, and two targets that are 0 together and else nearly proportional."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    size = np.where(rng.random(n) < 0.4, 0.0, np.exp(0.5 * x + 0.5 * rng.normal(size=n)))
    both = pd.DataFrame({"paid": size, "cost": np.where(size > 0, 0.1 * size * np.exp(0.1 * rng.normal(size=n)), 0.0)})
    return x[:, None], both


@pytest.fixture(scope="module")
def two():
    kind = SemiContinuous((0.0,), Positive())
    return ScoreRegressor(Schema({"paid": kind, "cost": kind}), **QUICK).fit(*pairs())


@slow
def test_several_targets_are_drawn_together(two):
    drawn = two.sample(pairs()[0][:100], 20)
    assert drawn.shape == (100, 20, 2)
    zero = drawn == 0
    assert abs(zero.mean() - 0.4) < 0.05
    assert np.mean(zero[..., 0] == zero[..., 1]) > 0.95  # independent ones would agree in .52
    logs = np.log(drawn[~zero.any(2)])
    assert np.corrcoef(logs.T)[0, 1] > 0.9


@slow
def test_of_several_targets_every_answer_has_one_column_for_each(two, monkeypatch):
    monkeypatch.setattr(predictions, "_DRAWS", 300)
    X, y = pairs(100, seed=1)
    mean, q = two.predict(X), two.predict_quantile(X, [0.5, 0.9])
    assert mean.shape == (100, 2) and q.shape == (100, 2, 2)
    np.testing.assert_array_equal(two.predict_quantile(X, 0.9), q[:, 1])
    assert np.all(q[:, 0] <= q[:, 1])
    np.testing.assert_allclose(mean.mean(0), y.to_numpy().mean(0), rtol=0.3)
    np.testing.assert_allclose(np.mean(y <= q[:, 1], axis=0), 0.9, atol=0.1)
    atoms = two.predict_atoms(X)
    assert list(atoms) == ["paid", "cost"]
    for name in atoms:
        assert abs(np.mean(atoms[name][0.0]) - 0.4) < 0.08
        assert abs(np.mean(two.sample(X, 20)[..., 0 if name == "paid" else 1] == 0) - atoms[name][0.0].mean()) < 0.05


@slow
def test_columns_of_targets_go_by_their_names(two):
    X, y = pairs(20, seed=1)
    value = two.score_samples(X, y)
    np.testing.assert_array_equal(two.score_samples(X, y[["cost", "paid"]]), value)
    np.testing.assert_array_equal(two.score_samples(X, y.to_numpy()), value)
    with pytest.raises(ValueError, match="y must have the columns paid, cost; got paid, other"):
        two.score_samples(X, y.rename(columns={"cost": "other"}))
    with pytest.raises(ValueError, match="y must have 2 columns"):
        two.score_samples(X, y["paid"])


@slow
def test_the_joint_law_is_likelier_than_that_of_other_rows_targets(two):
    X, y = pairs(200, seed=1)
    swapped = y.assign(cost=y["cost"].to_numpy()[::-1])
    assert two.score(X, y) > two.score(X, swapped) + 1


@slow
@pytest.mark.parametrize("ask", ["layer", "aggregate", "crps", "calibration"])
def test_what_is_of_one_target_is_refused_for_several(two, ask):
    X, y = pairs(3)
    call = {
        "layer": lambda: two.layer(X, 1, 2),
        "aggregate": lambda: two.aggregate(X),
        "crps": lambda: two.crps(X, y),
        "calibration": lambda: two.calibration(X, y),
    }[ask]
    with pytest.raises(ValueError, match="for one target; got 2: paid, cost. Fit a ScoreRegressor for each"):
        call()


@slow
def test_the_slow_route_is_refused_where_answers_are_drawn(two):
    for ask in (
        lambda: two.predict(pairs(3)[0], method="ode"),
        lambda: two.predict_quantile(pairs(3)[0], 0.5, method="ode"),
    ):
        with pytest.raises(ValueError, match='`method` must be "one_pass" for several targets'):
            ask()


def counts(n=1200, seed=0):
    """Counts of mean e^(1 + x/2)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x[:, None], rng.poisson(np.exp(1 + 0.5 * x)).astype(float)


@pytest.fixture(scope="module")
def counted():
    return ScoreRegressor(Count(), **QUICK).fit(*counts())


@slow
def test_a_law_of_counts_is_one_of_whole_numbers_whichever_way_it_is_asked(counted):
    X, k = np.array([[-1.0], [0.0], [1.5]]), np.arange(200.0)
    for x in X:
        rows = np.repeat(x[None], len(k), 0)
        mass = counted.pdf(rows, k)  # of a cell from its median: right to second order in its width, here to .006
        assert mass.sum() == pytest.approx(1, abs=0.01)
        np.testing.assert_allclose(counted.cdf(rows, k), np.cumsum(mass), atol=0.01)
        np.testing.assert_allclose(counted.cdf(rows, k, strict=True)[1:], counted.cdf(rows, k)[:-1], atol=1e-9)
        np.testing.assert_allclose(counted.predict(x[None]), mass @ k, rtol=0.03)
    q = counted.predict_quantile(X, [0.01, 0.3, 0.6, 0.9, 0.99, 0.9999])
    np.testing.assert_array_equal(q, np.round(q))
    drawn = counted.sample(X, 100)
    np.testing.assert_array_equal(drawn, np.round(drawn))


@slow
def test_a_law_of_counts_is_near_the_truth(counted):
    X, k = counts(800, seed=3)
    exact = poisson(np.exp(1 + 0.5 * X[:, 0]))
    lost = np.mean(exact.logpmf(k) - counted.score_samples(X, k))
    whole = poisson(k.mean())
    assert -0.02 < lost < 0.1 < np.mean(exact.logpmf(k) - whole.logpmf(k))


def amounts(n, seed=0):
    """A covariate and positive amounts."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x[:, None], np.exp(1 + 0.5 * x + 0.3 * rng.normal(size=n))


def few(n, X=None, **options):
    """A fit to rows that are too few for a descent, or nearly so."""
    own, y = amounts(n)
    return ScoreRegressor(Positive(), **(QUICK | options)).fit(own if X is None else X, y)


@pytest.mark.parametrize("n", [5, 15, pytest.param(50, marks=slow)])
def test_few_rows_give_a_law_of_mass_one_whose_mean_is_among_them(n):
    model, (X, y) = few(n), amounts(n)
    grid = np.exp(np.linspace(-6, 8, 2000))
    for i in (0, n // 2):
        density = model.pdf(np.repeat(X[[i]], len(grid), 0), grid)
        assert trapezoid(density, grid) == pytest.approx(1, abs=5e-3)
    mean = model.predict(X)
    assert y.min() < mean.mean() < y.max() and np.all(mean < 3 * y.max())
    if n > 5:  # these see which way the covariate points
        assert np.corrcoef(mean, np.exp(X[:, 0] / 2))[0, 1] > 0.7


def test_columns_that_are_constant_or_empty_change_nothing():
    X, _ = amounts(15)
    more = np.hstack([X, np.full((15, 1), 7.0), np.full((15, 1), np.nan)])
    model = few(15, more)
    np.testing.assert_allclose(model.predict(more), few(15).predict(X), rtol=1e-4)
    changed = more + np.array([[0.0, 1.0, 0.0]])
    np.testing.assert_allclose(model.predict(changed), model.predict(more), rtol=1e-6)


@pytest.fixture(scope="module")
def framed():
    X, y = amounts(18)
    table = pd.DataFrame({"age": X[:, 0], "doors": np.arange(18) % 3, "town": ["a", None, "c"] * 6})
    return ScoreRegressor(Positive(), **QUICK).fit(table, pd.Series(y, name="cost")), table, y


def test_frames_of_any_library_and_order_are_one_table(framed):
    model, table, y = framed
    value = model.score_samples(table, y)
    assert list(model.schema_.columns) == ["cost"] and list(model.feature_names_in_) == ["age", "doors", "town"]
    others = [table[["town", "doors", "age"]], pl.from_pandas(table), pl.from_pandas(table).to_arrow()]
    for other in others:
        np.testing.assert_array_equal(model.score_samples(other, y), value)
    for target in (list(y), pd.Series(y), pd.DataFrame({"cost": y}), pl.DataFrame({"other": y})):
        np.testing.assert_array_equal(model.score_samples(table, target), value)
    assert np.ptp(model.predict(table)) > 0.5
    np.testing.assert_allclose(model.predict(table.assign(town="never")), model.predict(table), rtol=1e-6)  # all rare


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X.drop(columns="doors"), y), "must have the covariate 'doors'"),
        (lambda X, y: (X.assign(age="old"), y), "Covariate 'age' must hold numbers, as when it was fitted; got 'old'"),
        (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
        (lambda X, y: (X, np.where(y == y[3], np.nan, y)), "NaN|empty cell; got one in row 3"),
        (lambda X, y: (X, pd.DataFrame({"cost": ["x"] * len(y)})), "Target 'cost' must hold numbers; got text"),
        (lambda X, y: (X, np.stack([y, y], 1)), "y must have 1 columns"),
        (lambda X, y: (X, None), "requires y to be passed"),
    ],
)
def test_tables_that_are_not_as_fitted_are_refused(framed, change, message):
    model, table, y = framed
    with pytest.raises(ValueError, match=message):
        model.score_samples(*change(table, y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_estimators": 0}, "`n_estimators` must be at least 1; got 0"),
        ({"max_iter": 0}, "`max_iter` must be at least 1; got 0"),
        ({"max_iter": "soon"}, "`max_iter` must be one of 'auto'; got 'soon'"),
        ({"time_budget": 0}, "`time_budget` must be positive"),
        ({"schema": 3}, "`schema` must be a ptilde.Schema, a kind or None; got int"),
    ],
)
def test_parameters_that_make_no_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ScoreRegressor(**({"schema": Positive()} | options)).fit(*amounts(15))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m, X: m.predict_quantile(X, 1.0), "`q` must lie between 0 and 1; got"),
        (lambda m, X: m.predict_interval(X, 0), "`level` must lie between 0 and 1; got 0"),
        (lambda m, X: m.predict(X, method="fast"), "`method` must be one of 'one_pass', 'ode'; got 'fast'"),
        (lambda m, X: m.sample(X, 0), "`n_samples` must be at least 1; got 0"),
        (lambda m, X: m.layer(X, 1, -1), "`limit` must be at least 0; got -1"),
        (lambda m, X: m.aggregate(X, 1), "`n_sims` must be at least 2; got 1"),
        (lambda m, X: m.predict(X, exposure=np.ones(len(X))), "which had no exposure. Leave it out, or fit with one"),
    ],
)
def test_questions_that_have_no_answer_are_refused(framed, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(framed[0], framed[1])


def test_a_target_that_does_not_vary_is_refused():
    X, _ = amounts(30)
    with pytest.raises(ValueError, match="'y' is constant: always 2"):
        ScoreRegressor(**QUICK).fit(X, np.full(30, 2.0))


def test_no_covariate_may_take_the_name_of_the_exposure():
    X, y = amounts(15)
    with pytest.raises(ValueError, match=r"No covariate may be called 'log\(exposure\)'.*Rename it"):
        ScoreRegressor(Positive(), **QUICK).fit(pd.DataFrame(X, columns=["log(exposure)"]), y)


def test_a_fit_on_good_rows_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few(15).predict(amounts(15)[0])
