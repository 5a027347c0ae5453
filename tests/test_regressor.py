"""The law of a target given covariates: near the truth, and one law whichever way it is asked."""

import jax
import numpy as np
import pytest
import simulated_claims as sim
from scipy.integrate import trapezoid
from scipy.stats import kstest, norm

FRESH = sim.claims(1000, seed=50)


@pytest.fixture(scope="module")
def model():
    return sim.model()


def marginal_log_density(model, y):
    """What the law that knows no covariates says: the share of zeros, and the fitted marginal of the body."""
    share = np.mean(sim.claims()[1] == 0)
    rows = model._encoder.encode({"y": y})
    body = np.log(1 - share) + norm.logpdf(rows.z[:, 0]) + rows.log_slope
    return np.where(y == 0, np.log(share), body)


def test_fresh_rows_are_nearly_as_likely_as_under_the_truth_and_likelier_than_under_the_marginal_law(model):
    X, y, exposure = FRESH
    found, exact = model.score_samples(X, y, exposure=exposure), sim.log_density(X, y, exposure)
    assert np.mean(found - marginal_log_density(model, y)) > 0.75 * np.mean(exact - marginal_log_density(model, y))
    assert -0.01 < np.mean(exact - found) < 0.06


def test_means_are_near_the_truth(model):
    X, _, exposure = FRESH
    found, exact = model.predict(X, exposure=exposure), sim.mean(X, exposure)
    assert abs(found.mean() / exact.mean() - 1) < 0.05
    assert np.mean((found - exact) ** 2) < 0.1 * exact.var()


def test_the_exposure_is_used(model):
    X, _, _ = FRESH
    for exposure in (0.25, 0.95):
        e = np.full(len(X), exposure)
        share = model.predict_atoms(X, exposure=e)[0.0]
        assert abs(share.mean() - sim.zero_share(X, e).mean()) < 0.04
    assert abs(sim.zero_share(X, np.full(len(X), 0.25)) - sim.zero_share(X, e)).mean() > 0.2


@pytest.mark.parametrize("row", [0, 3, 8])
def test_atoms_and_density_sum_to_one_and_their_sums_are_the_distribution_function(model, row):
    y = np.exp(np.linspace(-6, 9, 1500))
    X, exposure = np.repeat(FRESH[0][[row]], len(y), 0), np.repeat(FRESH[2][[row]], len(y))
    share = model.predict_atoms(X[:1], exposure=exposure[:1])[0.0]
    density = model.pdf(X, y, exposure=exposure)
    assert share[0] + trapezoid(density, y) == pytest.approx(1, abs=3e-3)
    assert model.pdf(X[:1], [0.0], exposure=exposure[:1]) == pytest.approx(share, rel=1e-5)
    sums = share + np.append(0, np.cumsum(np.diff(y) * (density[1:] + density[:-1]) / 2))
    np.testing.assert_allclose(model.cdf(X, y, exposure=exposure), sums, atol=3e-3)
    assert model.cdf(X[:1], [0.0], exposure=exposure[:1], strict=True) == 0


def transformed(model, X, y, exposure):
    """The randomised distribution function at y: uniform if y is drawn from the law."""
    below, up_to = (model.cdf(X, y, exposure=exposure, strict=strict) for strict in (True, False))
    return below + np.random.default_rng(3).random(len(y)) * (up_to - below)


def test_draws_have_the_law_of_their_row_and_not_that_of_another(model):
    """The chance of a false alarm is 1e-5."""
    X, _, exposure = (a[:300] for a in FRESH)
    drawn = model.sample(X, 10, random_state=5, exposure=exposure)
    assert drawn.shape == (300, 10)
    X, exposure = np.repeat(X, 10, 0), np.repeat(exposure, 10)
    assert kstest(transformed(model, X, drawn.ravel(), exposure), "uniform").pvalue > 1e-5
    order = np.argsort(model.predict_atoms(X, exposure=exposure)[0.0])  # the wrong rows: half a law moved up
    moved = transformed(model, X[order], drawn.ravel()[np.roll(order, 600)], exposure[order])
    zero = drawn.ravel()[np.roll(order, 600)] == 0
    assert kstest(moved[zero] / model.cdf(X[order], 0 * moved, exposure=exposure[order])[zero], "uniform").pvalue > 1e-5
    low = order[: len(order) // 2]
    other = transformed(model, X[low], drawn.ravel()[order[len(order) // 2 :]], exposure[low])
    assert kstest(other, "uniform").pvalue < 1e-5


def test_one_row_can_be_drawn_once(model):
    """With two members, one of them draws nothing."""
    X, _, exposure = (a[:1] for a in FRESH)
    assert model.sample(X, random_state=0, exposure=exposure).shape == (1, 1)


def test_the_same_seed_draws_the_same_and_another_does_not(model):
    X, _, exposure = (a[:20] for a in FRESH)
    drawn = [model.sample(X, 5, random_state=seed, exposure=exposure) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    np.testing.assert_array_equal(
        model.sample(X, 5, exposure=exposure), model.sample(X, 5, random_state=0, exposure=exposure)
    )


def test_quantiles_intervals_layers_and_shortfalls_are_of_one_law(model):
    X, _, exposure = (a[:50] for a in FRESH)
    levels = [0.05, 0.5, 0.95]
    q = model.predict_quantile(X, levels, exposure=exposure)
    for j, level in enumerate(levels):
        assert np.all(model.cdf(X, q[:, j], exposure=exposure) >= level - 1e-9)
        assert np.all(model.cdf(X, q[:, j], exposure=exposure, strict=True) <= level + 1e-9)
    np.testing.assert_array_equal(model.predict_quantile(X, 0.5, exposure=exposure), q[:, 1])
    np.testing.assert_allclose(model.predict_interval(X, 0.9, exposure=exposure), q[:, [0, 2]], rtol=1e-9, atol=1e-12)
    whole = model.predict(X, exposure=exposure)
    parts = model.limited_expected_value(X, 4.0, exposure=exposure) + model.layer(X, 4.0, 1e9, exposure=exposure)
    np.testing.assert_allclose(parts, whole, rtol=1e-9)
    # Rockafellar & Uryasev (2002), equation 2: expected shortfall is q + E(y - q)+ / (1 - level).
    beyond = [model.layer(X[[i]], q[i, 2], 1e9, exposure=exposure[[i]])[0] for i in range(5)]
    shortfall = model.expected_shortfall(X[:5], 0.95, exposure=exposure[:5])
    np.testing.assert_allclose(shortfall, q[:5, 2] + np.array(beyond) / 0.05, rtol=1e-6)


def test_the_flow_gives_the_same_means_and_quantiles(model):
    X, _, exposure = (a[:20] for a in FRESH)
    means = [model.predict(X, exposure=exposure, method=m) for m in ("one_pass", "ode")]
    np.testing.assert_allclose(means[1], means[0], rtol=0.01)
    tails = [model.predict_quantile(X, 0.97, exposure=exposure, method=m) for m in ("one_pass", "ode")]
    np.testing.assert_allclose(tails[1], tails[0], rtol=0.02)


def test_the_crps_is_an_integral_and_prefers_the_right_rows(model):
    X, y, exposure = FRESH
    v = np.append(np.linspace(0, 5, 400, endpoint=False), np.geomspace(5, 3000, 800))
    for i in np.flatnonzero(y > 0)[:2]:
        cdf = model.cdf(np.repeat(X[[i]], len(v), 0), v, exposure=np.repeat(exposure[i], len(v)))
        square = (cdf - (v >= y[i])) ** 2
        found = model.crps(X[[i]], y[[i]], exposure=exposure[[i]])
        np.testing.assert_allclose(found, trapezoid(square, v), rtol=0.02)
    assert model.crps(X, y, exposure=exposure).mean() < model.crps(X[::-1], y, exposure=exposure[::-1]).mean() - 0.05


def test_the_score_is_the_weighted_mean_log_density_and_rows_of_weight_zero_do_not_count(model):
    X, y, exposure = (a[:40] for a in FRESH)
    weight = np.arange(40) % 3
    value = model.score_samples(X, y, exposure=exposure)
    expected = np.average(value, weights=weight)
    assert model.score(X, y, sample_weight=weight, exposure=exposure) == pytest.approx(expected, rel=1e-12)
    outside = np.where(weight == 0, -1.0, y)
    with pytest.warns(UserWarning, match="no probability"):
        assert model.score(X, outside, weight, exposure) == pytest.approx(expected, rel=1e-12)


def test_values_without_probability_get_minus_infinity_and_a_warning(model):
    X, _, exposure = (a[:3] for a in FRESH)
    with pytest.warns(UserWarning, match=r"log density -inf: 1 in column 'y', the first in row 1: -2\.5"):
        value = model.score_samples(X, [0.0, -2.5, 1.0], exposure=exposure)
    np.testing.assert_array_equal(np.isneginf(value), [False, True, False])
    np.testing.assert_array_equal(model.cdf(X, [-2.5, -1e-9, -1e300], exposure=exposure), 0)
    np.testing.assert_allclose(model.cdf(X, [1e300, 1e12, 1e9], exposure=exposure), 1, rtol=1e-9)


@pytest.mark.parametrize(
    ("exposure", "message"),
    [
        (None, "`exposure` must be given as in the fit, which had an exposure. Give one"),
        ([1.0, 0.0, 1.0], r"`exposure` must be positive and finite; got 0\.0 in row 1"),
        ([1.0, 1.0, np.nan], "`exposure` must be positive and finite; got nan in row 2"),
        ([-1.0, 1.0, 1.0], r"`exposure` must be positive and finite; got -1\.0 in row 0"),
        ([1.0, 1.0], r"`exposure` must have one number a row, 3; got shape \(2,\)"),
    ],
)
def test_an_exposure_that_is_none_is_refused(model, exposure, message):
    with pytest.raises(ValueError, match=message):
        model.predict(FRESH[0][:3], exposure=exposure)


def test_the_same_seed_gives_the_same_law_to_the_last_bit_however_many_members_follow(model):
    again = sim.fitted(*sim.claims(), n_estimators=1)
    first, second = (jax.tree.leaves(m) for m in model._members)
    for a, b in zip(jax.tree.leaves(again._members[0]), first, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))  # each holds other rows out
    assert model.n_iter_ > 0 and len(model.history_) == 2 * len(again.history_) - 1  # the first alone tries scores


def test_covariates_that_say_nothing_cost_nothing():
    """A table whose covariates and exposures are those of other rows."""
    X, exposure = sim.covariates(seed=9)
    noise = sim.fitted(X, sim.claims()[1], exposure)
    X, y, exposure = sim.claims(4000, seed=60)
    lost = marginal_log_density(noise, y) - noise.score_samples(X[::-1], y, exposure=exposure[::-1])
    assert lost.mean() < 0.01


def test_a_portfolio_has_the_mean_of_its_rows_and_one_seed_gives_one_portfolio(model):
    X, _, exposure = (a[:200] for a in FRESH)
    total = model.aggregate(X, 4000, random_state=1, exposure=exposure)
    assert total.expected == pytest.approx(model.predict(X, exposure=exposure).sum(), rel=1e-9)
    assert abs(total.mean.value - total.expected) < 5 * total.mean.standard_error
    assert abs(total.mean.value - 0.97 * total.expected) > 5 * total.mean.standard_error  # were 3 % lost
    again = model.aggregate(X, 4000, random_state=1, exposure=exposure)
    np.testing.assert_array_equal(again.total, total.total)
    assert total.tail_value_at_risk(0.99).value > total.value_at_risk(0.99).value > total.expected
