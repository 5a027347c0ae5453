"""scikit-learn's customs: routing of weights and exposures, pipelines, searches, its own checks.

Tables of fewer than 20 rows are too few for a descent, so that the fits of these tests take no time.
"""

import numpy as np
import pytest
import sklearn
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from ptilde import Positive, Real, ScoreRegressor
from ptilde import train as training

FOLDS = KFold(2)


def regressor(schema=Positive(), **options):  # noqa: B008
    return ScoreRegressor(schema, **({"n_estimators": 1, "random_state": 0, "max_iter": 1} | options))


def table(n=36, seed=0):
    """X, y, weights, exposures."""
    rng = np.random.default_rng(seed)
    X, exposure = rng.normal(size=(n, 2)), rng.uniform(0.1, 1, n)
    y = exposure * np.exp(X[:, 0] + 0.2 * rng.normal(size=n))
    return X, y, rng.uniform(0.2, 3, n), exposure


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def asking():
    """A regressor that asks for weights and exposures wherever it can use them."""
    return (
        regressor()
        .set_fit_request(sample_weight=True, exposure=True)
        .set_score_request(sample_weight=True, exposure=True)
        .set_predict_request(exposure=True)
    )


def score_by_hand(learn, judge, weighted=True):
    X, y, weight, exposure = table()
    if not weighted:
        weight = np.ones(len(y))
    model = regressor().fit(X[learn], y[learn], sample_weight=weight[learn], exposure=exposure[learn])
    return model.score(X[judge], y[judge], sample_weight=weight[judge], exposure=exposure[judge])


def test_cross_validation_routes_weights_and_exposures_to_fits_and_scores(routing):
    X, y, weight, exposure = table()
    found = cross_val_score(asking(), X, y, cv=FOLDS, params={"sample_weight": weight, "exposure": exposure})
    splits = list(FOLDS.split(X))
    np.testing.assert_allclose(found, [score_by_hand(*s) for s in splits], rtol=1e-6)
    assert np.abs(found - [score_by_hand(*s, weighted=False) for s in splits]).min() > 1e-3


def test_a_pipeline_routes_weights_and_exposures_past_what_does_not_want_them(routing):
    X, y, weight, exposure = table(18)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    pipeline = make_pipeline(scaler, asking()).fit(X, y, sample_weight=weight, exposure=exposure)
    scaled = StandardScaler().fit_transform(X)
    alone = regressor().fit(scaled, y, sample_weight=weight, exposure=exposure)
    np.testing.assert_array_equal(pipeline.predict(X, exposure=exposure), alone.predict(scaled, exposure=exposure))
    value = pipeline.score(X, y, sample_weight=weight, exposure=exposure)
    assert value == alone.score(scaled, y, sample_weight=weight, exposure=exposure)
    unweighted = regressor().fit(scaled, y, exposure=exposure)
    assert np.ptp(unweighted.predict(scaled, exposure=exposure) / alone.predict(scaled, exposure=exposure)) > 1e-3


def test_what_is_given_and_was_not_asked_for_is_refused(routing):
    X, y, weight, exposure = table()
    with pytest.raises(ValueError, match="exposure"):
        cross_val_score(regressor(), X, y, cv=FOLDS, params={"exposure": exposure}, error_score="raise")


def test_without_routing_a_pipeline_passes_what_is_addressed_to_its_last_step():
    X, y, weight, exposure = table(18)
    name = {"scoreregressor__exposure": exposure, "scoreregressor__sample_weight": weight}
    pipeline = make_pipeline(StandardScaler(), regressor()).fit(X, y, **name)
    alone = regressor().fit(StandardScaler().fit_transform(X), y, sample_weight=weight, exposure=exposure)
    expected = alone.predict(StandardScaler().fit_transform(X), exposure=exposure)
    np.testing.assert_array_equal(pipeline.predict(X, exposure=exposure), expected)


def test_a_search_keeps_the_kind_with_the_best_mean_log_density(routing):
    X, y, weight, exposure = table()
    kinds = [Real(), Positive()]
    search = GridSearchCV(asking(), {"schema": kinds}, cv=FOLDS, refit=False)
    search.fit(X, y, sample_weight=weight, exposure=exposure)
    by_hand = np.mean([score_by_hand(*split) for split in FOLDS.split(X)])
    np.testing.assert_allclose(search.cv_results_["mean_test_score"][1], by_hand, rtol=1e-6)
    assert search.best_params_ == {"schema": Positive()}


def test_its_score_is_a_mean_log_density_and_its_tags_say_what_it_takes():
    X, y, *_ = table(18)
    model = regressor().fit(X, y)
    assert model.score(X, y) == pytest.approx(np.mean(model.score_samples(X, y)), rel=1e-12)
    tags = sklearn.utils.get_tags(model)
    assert tags.estimator_type == "regressor" and tags.target_tags.multi_output and tags.input_tags.allow_nan


# What scikit-learn demands and a law of y given X cannot do.
NOT_OURS = {
    "check_sample_weight_equivalence_on_dense_data": "folds follow rows: weights equal repeated rows in law alone",
    "check_methods_sample_order_invariance": "calls score_samples(X), which is of X and y",
    "check_methods_subset_invariance": "calls score_samples(X), which is of X and y",
    "check_non_transformer_estimators_n_iter": "no step is taken in this test; test_regressor.py counts those of a fit",
}


@pytest.mark.slow
def test_scikit_learns_own_checks_pass_but_for_those_that_cannot(monkeypatch):
    # No table of theirs has this many rows, so nothing is descended: what they check comes before and after that.
    monkeypatch.setattr(training, "FEW_ROWS", 100_000)
    monkeypatch.setattr(training, "FEWEST_ROWS", 100_000)
    results = check_estimator(regressor(None), expected_failed_checks=NOT_OURS, on_fail="raise", on_skip=None)
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    failed = {r["check_name"] for r in results if r["status"] == "xfail"}
    assert skipped <= {"check_array_api_input"}, skipped
    assert failed <= set(NOT_OURS)
