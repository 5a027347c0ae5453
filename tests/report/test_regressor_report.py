"""The verdict on a regressor: nothing red for the true law, and red where a law is wrong."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import simulated_claims as sim
from scipy.integrate import trapezoid
from scipy.stats import binomtest, kstest, norm

from ptilde import DataError, Schema, _json
from ptilde.diagnostics import pit
from ptilde.estimators.explanations import Dependence, Importance
from ptilde.report import measure_regressor
from ptilde.report.page import page

LEVELS = np.linspace(0.0025, 0.9975, 200)


def columns(X):
    """X (n, 2) of a table or an array."""
    return np.column_stack([X["x0"], X["x1"]]) if hasattr(X, "column_names") else np.asarray(X)


@dataclass
class Exact:
    """The true law; `scale` multiplies amounts, `zero` raises the logit of zero, `blind` sees no covariates."""

    scale: float = 1.0
    zero: float = 0.0
    blind: bool = False
    seed_: int = 3
    n_iter_: int = 10
    n_estimators: int = 2

    def __post_init__(self):
        self.schema_ = Schema({"y": sim.KIND})
        curve = {"step": [0, 10, 20], "loss": [2.0, 1.5, 1.0], "terms": [[1, 1], [1, 0.5], [0.5, 0.5]]}
        self.history_ = {f"{k} of 2: scores": curve | {"validation": [None, 1.6, 1.2]} for k in (1, 2)}

    def _law(self, X, exposure):
        X, e = columns(X), np.asarray(exposure)
        if self.blind:
            X, e = np.zeros_like(X) + [0, 0.5], np.full(len(e), 0.5)
        share = sim.zero_share(X, e)
        share = 1 / (1 + (1 / share - 1) * np.exp(-self.zero))
        law = sim.log_law(X, e)
        return share, norm(law.mean() + np.log(self.scale), law.std())

    def predict_atoms(self, X, exposure=None):
        return {0.0: self._law(X, exposure)[0]}

    def cdf(self, X, y, exposure=None, strict=False):
        share, law = self._law(X, exposure)
        positive = share + (1 - share) * law.cdf(np.log(np.where(y > 0, y, 1.0)))
        return np.where(y > 0, positive, 0.0 if strict else share)

    def predict(self, X, exposure=None):
        share, law = self._law(X, exposure)
        return (1 - share) * np.exp(law.mean() + law.var() / 2)

    def _quantile(self, X, q, exposure):
        share, law = self._law(X, exposure)
        inside = np.clip((q - share) / (1 - share), 1e-12, 1 - 1e-12)
        return np.where(q > share, np.exp(law.ppf(inside)), 0.0)

    def predict_interval(self, X, level, exposure=None):
        return np.stack([self._quantile(X, q, exposure) for q in ((1 - level) / 2, (1 + level) / 2)], 1)

    def crps(self, X, y, exposure=None):
        pinball = [
            np.where(y < q, 1 - p, -p) * (q - y) for p, q in ((p, self._quantile(X, p, exposure)) for p in LEVELS)
        ]
        return 2 * trapezoid(pinball, LEVELS, axis=0)

    def sample(self, X, n_samples=1, random_state=None, exposure=None):
        share, law = self._law(X, exposure)
        rng = np.random.default_rng(random_state)
        u, z = rng.random((n_samples, len(share))), rng.normal(size=(n_samples, len(share)))
        return np.where(u < share, 0.0, np.exp(law.mean() + law.std() * z)).T

    def score_samples(self, X, y, exposure=None):
        share, law = self._law(X, exposure)
        log_y = np.log(np.where(y > 0, y, 1.0))
        return np.where(y > 0, np.log1p(-share) + law.logpdf(log_y) - log_y, np.log(share))

    def permutation_importance(self, X, y, n_repeats, random_state, exposure=None):
        return Importance(["x1", "x0"], np.array([0.3, 0.1]), np.array([0.02, 0.01]))

    def partial_dependence(self, X, feature, n_values, exposure=None):
        values = np.linspace(0, 1, n_values)
        return Dependence(feature, values.tolist(), values + 1, values + 3, 0.99, {0.0: 1 - values / 2})


ATOMS, MEAN = "Is the probability of each atom right?", "Is the mean right?"
PLACES, INTERVALS = "Do rows fall evenly over their predicted laws?", "Do intervals hold what they should?"
GAIN, CRPS = "Is it better than a law that knows no covariates?", "How far are the laws from what came?"
X, Y, E = sim.claims(1500, seed=50)
OTHER_ROWS = np.random.default_rng(1).permutation(len(Y))


@cache
def sound():
    return measure_regressor(Exact(), X, Y, E)


def marks(found):
    return {finding.question: finding.mark for finding in found.findings}


def test_the_true_law_gets_only_good_marks():
    assert set(marks(sound()).values()) == {"good", "none"}


@pytest.mark.parametrize(
    ("model", "covariates", "target", "poor"),
    [
        (Exact(), OTHER_ROWS, 1.0, {ATOMS, MEAN, GAIN, CRPS}),  # whose covariates were shuffled
        (Exact(), slice(None), 3.0, {MEAN, PLACES, INTERVALS}),  # for a target on another scale
        (Exact(zero=1.0), slice(None), 1.0, {ATOMS, MEAN, PLACES}),  # the atom's probability
        (Exact(blind=True), slice(None), 1.0, {GAIN}),  # that learnt nothing of the covariates
    ],
    ids=["shuffled", "other scale", "atom", "blind"],
)
def test_each_fault_is_seen_by_its_questions(model, covariates, target, poor):
    found = marks(measure_regressor(model, X[covariates], target * Y, E[covariates]))
    assert {question for question, mark in found.items() if mark == "poor"} >= poor


def test_the_error_of_an_atom_s_share_is_what_the_predicted_probabilities_say():
    found, p = sound().atoms[0.0], sim.zero_share(X, E)
    assert found.observed.standard_error == pytest.approx(np.sqrt(np.sum(p * (1 - p))) / len(p))
    assert found.z == pytest.approx((np.mean(Y == 0) - p.mean()) / found.observed.standard_error)
    np.testing.assert_allclose(found.bins.weight @ found.bins.observed, np.sum(Y == 0))
    np.testing.assert_allclose(found.bins.weight @ found.bins.predicted, p.sum())


def test_places_are_even_under_the_true_law_and_not_under_another():
    assert kstest(sound().places, "uniform").pvalue > 1e-5  # the chance of a false alarm
    wrong = pit(Exact(scale=1.5).cdf(X, Y, E), Exact(scale=1.5).cdf(X, Y, E, strict=True))
    assert kstest(wrong, "uniform").pvalue < 1e-5


def test_intervals_that_end_on_an_atom_hold_more_than_they_say_and_are_held_to_that():
    share = sound().coverage
    assert share.predicted > 0.93
    assert binomtest(round(share.observed.value * len(Y)), len(Y), share.predicted).pvalue > 1e-5


def test_the_gain_is_the_mean_log_ratio_to_the_law_averaged_over_covariates():
    """By another route: one row's average over all rows, instead of some."""
    some = np.arange(150)
    mixture = [np.mean(np.exp(Exact().score_samples(X, np.full(len(Y), Y[i]), E))) for i in some]
    ratio = Exact().score_samples(X[some], Y[some], E[some]) - np.log(mixture)
    gain, error = sound().gain, ratio.std() / np.sqrt(len(some))
    assert abs(gain.value - ratio.mean()) < 4.5 * np.hypot(error, gain.standard_error)  # false alarms: 7e-6
    assert gain.value > 4.5 * gain.standard_error


def test_the_score_without_covariates_is_that_of_the_rows_own_law():
    few = slice(60)
    found = measure_regressor(Exact(), X[few], Y[few], E[few])
    y = Y[few]
    own = np.abs(y[:, None] - y).mean(1) - np.abs(y[:, None] - y).mean() / 2
    score = Exact().crps(X[few], y, E[few])
    assert found.crps[0].value == pytest.approx(score.mean())
    assert found.crps[1].value == pytest.approx((score - own).mean())


def test_machines_get_the_numbers_of_the_sentences_as_strict_json():
    told = _json.loads(_json.dumps(sound().to_dict()))
    assert [tuple(f.values()) for f in told["findings"]] == [tuple(f) for f in sound().findings]
    assert told["gain"]["value"] == sound().gain.value
    assert told["atoms"]["0"]["bins"]["predicted"] == sound().atoms[0.0].bins.predicted.tolist()
    assert told["importance"]["names"] == ["x1", "x0"]


def test_the_page_shows_each_picture_with_its_words_and_runs_nothing():
    text = page(sound(), "<script>alert(1)</script>")
    assert text.count("<svg") == text.count('role="img"') == 3 + 3 + 1  # calibration, what matters, one member
    assert "<script" not in text and "1 of 2: scores" in text and "2 of 2: scores" not in text
    assert "The first of 2 members" in text and len(text.encode()) < 2_000_000


@pytest.mark.parametrize(
    ("model", "rows", "words"),
    [
        (Exact(), 19, "The held-out rows must be 20 or more to be judged by; got 19."),
        (type("Two", (), {"schema_": Schema({"a": sim.KIND, "b": sim.KIND})})(), 50, "`model` must have one target"),
    ],
)
def test_what_cannot_be_judged_is_refused(model, rows, words):
    with pytest.raises((DataError, ValueError), match=words):
        measure_regressor(model, X[:rows], Y[:rows], E[:rows])
