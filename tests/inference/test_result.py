"""What an estimate answers, against formulas and simulation."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, chi2, norm

import ptilde
from ptilde.inference.hypotheses import mixture_tail


def normal(theta, x):
    return -0.5 * jnp.exp(-2 * theta["log_std"]) * (x - theta["mean"]) ** 2


START = {"mean": 0.0, "log_std": 0.0}


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(5).gamma(3, size=800)


@pytest.fixture(scope="module")
def fit(data):
    return ptilde.estimate(normal, START, data)


def by_hand(x):
    """Gradients and Hessian of Hyvärinen's loss of a normal law in (log std, mean), at the sample moments."""
    mean, k = x.mean(), 1 / x.var()
    away = x - mean
    # loss = k² away²/2 - k, with k = exp(-2 log_std)
    gradients = np.stack([-2 * k**2 * away**2 + 2 * k, -(k**2) * away], 1)
    hessian = np.array([[8 * k**2 * np.mean(away**2) - 4 * k, 0], [0, k**2]])
    return gradients, hessian, np.mean(k**2 * away**2 / 2 - k)


def test_the_sandwich_and_the_criterion_are_their_formulas(data, fit):
    gradients, hessian, loss = by_hand(data)
    outer = gradients.T @ gradients / len(data)
    inverse = np.linalg.inv(hessian)
    np.testing.assert_allclose(fit.covariance, inverse @ outer @ inverse / len(data), rtol=1e-7)
    np.testing.assert_allclose(fit.information_criterion, len(data) * loss + np.trace(outer @ inverse), rtol=1e-7)
    np.testing.assert_allclose(fit.loss, loss, rtol=1e-7)


def test_intervals_are_symmetric_about_the_estimate(fit):
    low, high = fit.confidence_intervals(0.9)["mean"]
    np.testing.assert_allclose([low, high], fit.theta["mean"] + norm.ppf([0.05, 0.95]) * fit.standard_errors["mean"])
    with pytest.raises(ValueError, match="`level` must be below 1; got 95"):
        fit.confidence_intervals(95)


def test_the_delta_method_is_exact_for_linear_functions_and_the_formula_for_others(fit):
    value, error = fit.delta_method(lambda theta: {"std": jnp.exp(theta["log_std"]), "twice": 2 * theta["mean"]})
    np.testing.assert_allclose(error["twice"], 2 * fit.standard_errors["mean"])
    np.testing.assert_allclose(error["std"], value["std"] * fit.standard_errors["log_std"])


def test_a_wald_test_of_one_parameter_is_its_z_squared(fit):
    test = fit.wald_test({"mean": 2.9})
    z = (fit.theta["mean"] - 2.9) / fit.standard_errors["mean"]
    np.testing.assert_allclose([test.statistic, test.p_value], [z**2, 2 * norm.sf(abs(z))])
    same = fit.wald_test(lambda theta: theta["mean"] - 2.9)
    np.testing.assert_allclose(same.statistic, test.statistic)


def test_restrictions_that_follow_from_each_other_are_refused(fit):
    with pytest.raises(ValueError, match="none of which follows"):
        fit.wald_test(lambda theta: jnp.stack([theta["mean"], 2 * theta["mean"]]))
    with pytest.raises(ValueError, match="must name parameters, log_std, mean; got 'slope'"):
        fit.wald_test({"slope": 0.0})
    with pytest.raises(ValueError, match="leave a parameter free"):
        fit.score_difference_test({"mean": 0.0, "log_std": 0.0})


def test_the_tail_of_a_mixture_of_chi_squares_is_exact():
    for x in (0.1, 1.0, 7.0, 30.0):
        np.testing.assert_allclose(mixture_tail(x, np.array([2.0, 2.0, 2.0])), chi2.sf(x / 2, 3), rtol=1e-9)
        # λ χ²_2 is exponential with mean 2λ: the sum of two of them is hypoexponential.
        a, b = 1 / 2.0, 1 / 5.0
        exact = (b * np.exp(-a * x) - a * np.exp(-b * x)) / (b - a)
        np.testing.assert_allclose(mixture_tail(x, np.array([1.0, 1.0, 2.5, 2.5])), exact, atol=2e-5)


def test_the_bootstrap_agrees_with_the_sandwich(fit):
    errors = fit.bootstrap(400, seed=1).standard_errors
    for name in START:  # a standard deviation of 400 draws is known to 1/sqrt(800)
        assert abs(errors[name] / fit.standard_errors[name] - 1) < 4.5 / np.sqrt(800) + 0.05


def test_the_bootstrap_draws_whole_groups(data):
    twice = ptilde.estimate(normal, START, np.repeat(data, 2), groups=np.repeat(np.arange(800), 2))
    once = ptilde.estimate(normal, START, data)
    np.testing.assert_allclose(twice.bootstrap(50, 3).draws, once.bootstrap(50, 3).draws, rtol=1e-6)


def test_the_summary_says_what_was_done(fit):
    text = str(fit.summary())
    for word in (
        "Hyvarinen",
        "800",
        "Newton",
        "criterion",
        "estimate",
        "std err",
        "P>|z|",
        "[0.025",
        "log_std",
        "mean",
    ):
        assert word in text
    frame = fit.to_frame()
    assert frame.loc["mean", "estimate"] == fit.theta["mean"]
    assert list(frame.index) == list(fit.names)


@pytest.mark.slow
def test_both_tests_reject_five_in_a_hundred_where_the_model_is_wrong_about_the_shape():
    """Laplace data under a normal model: a test that trusts the model would reject far too often."""
    generator, rejected, n = np.random.default_rng(6), np.zeros(2, int), 400
    hypothesis = {"log_std": 0.5 * np.log(2.0)}
    for _ in range(n):
        fit = ptilde.estimate(normal, START, generator.laplace(size=600))
        tests = fit.wald_test(hypothesis), fit.score_difference_test(hypothesis)
        rejected += [test.p_value < 0.05 for test in tests]
    # In 600 rows the level itself is off by a little: 3 to 8 in a hundred, then 1e-5 of chance.
    assert (binom.ppf(1e-5, n, 0.03) <= rejected).all() and (rejected <= binom.ppf(1 - 1e-5, n, 0.08)).all()
