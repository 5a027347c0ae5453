"""Estimates against closed forms and against each other."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import halfnorm
from sklearn.exceptions import ConvergenceWarning

import ptilde
from ptilde import Categorical, Count, DataError, Interval, Positive, Real, SemiContinuous, losses
from ptilde.fit import newton
from ptilde.inference.support import loss_for
from ptilde.tabular.points import points

UPPER = np.triu_indices(2)


def normal(theta, x):
    """A Gaussian in its natural parameters."""
    matrix = jnp.zeros((2, 2)).at[UPPER].set(theta["k"])
    return theta["h"] @ x - 0.5 * x @ (matrix + matrix.T - jnp.diag(jnp.diag(matrix))) @ x


def scaled_normal(theta, x):
    return -0.5 * jnp.sum(((x - theta["mean"]) / jnp.exp(theta["log_std"])) ** 2)


def exponential(theta, x):
    return -theta * x[0]


START = {"h": np.zeros(2), "k": np.array([1.0, 0.0, 1.0])}


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).multivariate_normal([1, 2], [[2, 0.5], [0.5, 1]], 500)


def moments(theta):
    precision = np.array([[theta["k"][0], theta["k"][1]], [theta["k"][1], theta["k"][2]]])
    covariance = np.linalg.inv(precision)
    return covariance @ theta["h"], covariance


@pytest.mark.parametrize("seed", range(3))
def test_a_gaussian_has_the_mean_and_covariance_of_any_data(seed):
    x = np.random.default_rng(seed).gamma(0.7, size=(300, 2)) @ [[1.0, 5.0], [-3.0, 100.0]]
    fit = ptilde.estimate(normal, START, x)
    mean, covariance = moments(fit.theta)
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-8)
    np.testing.assert_allclose(covariance, np.cov(x.T, bias=True), rtol=1e-8)
    assert fit.route == "one linear solve" and fit.converged


def test_a_loss_that_is_not_quadratic_ends_at_the_same_moments(rows):
    fit = ptilde.estimate(scaled_normal, {"mean": 0, "log_std": 0.0}, rows[:, 0])
    np.testing.assert_allclose(fit.theta["mean"], rows[:, 0].mean(), rtol=1e-9)
    np.testing.assert_allclose(np.exp(fit.theta["log_std"]), rows[:, 0].std(), rtol=1e-9)
    assert "Newton" in fit.route and fit.converged


def test_bfgs_comes_near_from_where_the_loss_is_not_convex(rows):
    fit = ptilde.estimate(scaled_normal, {"mean": -20.0, "log_std": 3.0}, rows[:, 0])
    assert "BFGS" in fit.route and fit.converged
    np.testing.assert_allclose(np.exp(fit.theta["log_std"]), rows[:, 0].std(), rtol=1e-9)


def test_the_standard_error_of_a_mean_is_that_of_a_mean(rows):
    fit = ptilde.estimate(lambda mean, x: -0.5 * (x - mean) ** 2, 0.0, rows[:, 0])
    np.testing.assert_allclose(fit.standard_errors, rows[:, 0].std() / np.sqrt(500), rtol=1e-10)


@pytest.mark.parametrize(
    ("log_q", "start", "variance"),
    [
        (lambda mean, x: -((x - mean) ** 2) / 2, 0.5, 2.795459),
        (lambda square, x: -(x**2) / (2 * square), 1.3, 2.379507),
    ],
)
def test_a_truncated_normal_has_the_asymptotic_variances_of_yu_drton_and_shojaie(log_q, start, variance):
    n = 400_000
    x = halfnorm.ppf((np.arange(n) + 0.5) / n)  # nearly as good as an integral: the last tail is cut off
    weight = losses.Ends(np.zeros(1), np.full(1, np.inf), losses.Logarithm(2.0), np.ones(1))
    fit = ptilde.estimate(log_q, start, x, support=[Positive()], loss=losses.Bounded(weight))
    np.testing.assert_allclose(n * fit.covariance[0, 0], variance, rtol=3e-4)


@pytest.mark.slow
def test_units_do_not_matter_on_any_support():
    generator = np.random.default_rng(1)
    x = np.stack([generator.gamma(2, size=400), generator.normal(size=400)], 1)
    x[generator.random(400) < 0.4, 0] = 0.0

    def log_q(theta, x):
        off, amount = x[0] == 0, jnp.where(x[0] > 0, x[0], 1.0)
        body = theta["a"] * jnp.log(amount) - theta["b"] * amount + theta["c"] * amount * x[1]
        return jnp.where(off, theta["atom"], body) - theta["k"] * x[1] ** 2 - theta["h"] * x[1]

    support = [SemiContinuous((0.0,), Positive()), Real()]
    start = dict(atom=0.0, a=0.0, b=1.0, c=0.0, k=1.0, h=0.0)  # far off for the one in thousands
    one = ptilde.estimate(log_q, start, x, support=support)
    other = ptilde.estimate(log_q, start, x * [1000.0, 0.01], support=support)
    np.testing.assert_allclose(other.theta["a"], one.theta["a"], rtol=1e-6)
    np.testing.assert_allclose(other.theta["b"] * 1000, one.theta["b"], rtol=1e-6)
    np.testing.assert_allclose(other.theta["c"] * 10, one.theta["c"], rtol=1e-6)
    np.testing.assert_allclose(other.standard_errors["h"] * 0.01, one.standard_errors["h"], rtol=1e-6)


def test_a_weight_of_two_moves_the_estimate_as_two_rows_do(rows):
    weight = np.repeat([2.0, 1.0, 0.0], [100, 300, 100])
    weighted = ptilde.estimate(normal, START, rows, sample_weight=weight)
    repeated = ptilde.estimate(normal, START, np.repeat(rows, weight.astype(int), axis=0), loss=losses.Hyvarinen())
    np.testing.assert_allclose(weighted.theta["k"], repeated.theta["k"], rtol=1e-9)


def test_rows_of_weight_zero_are_as_good_as_absent(rows):
    weighted = ptilde.estimate(normal, START, rows, sample_weight=np.repeat([3.0, 0.0], [400, 100]))
    absent = ptilde.estimate(normal, START, rows[:400])
    np.testing.assert_allclose(weighted.covariance, absent.covariance, rtol=1e-9)


def test_rows_that_come_twice_in_one_group_count_once(rows):
    once = ptilde.estimate(normal, START, rows)
    twice = ptilde.estimate(normal, START, np.repeat(rows, 2, 0), groups=np.repeat(np.arange(500), 2))
    np.testing.assert_allclose(twice.covariance, once.covariance * 500 / 499, rtol=1e-9)
    naive = ptilde.estimate(normal, START, np.repeat(rows, 2, 0))
    np.testing.assert_allclose(naive.covariance, once.covariance / 2, rtol=1e-9)  # what groups are for


def test_chunks_change_nothing(rows, monkeypatch):
    whole = ptilde.estimate(normal, START, rows)
    monkeypatch.setattr(newton, "_CELLS", 640)
    parts = ptilde.estimate(normal, START, rows)
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-10)


def test_minibatches_come_near_and_newton_settles(rows):
    fit = ptilde.estimate(scaled_normal, {"mean": 0.0, "log_std": 0.0}, rows[:, 0], batch_size=64)
    np.testing.assert_allclose(fit.theta["mean"], rows[:, 0].mean(), rtol=1e-9)
    assert fit.route.startswith("minibatch Adam")


def test_more_starts_find_the_lower_of_two_minima():
    x = np.random.default_rng(2).normal(3, 1, 400)
    log_q = lambda t, x: jnp.logaddexp(jnp.log(0.9) - 0.5 * (x - t) ** 2, jnp.log(0.1) - 0.5 * (x + 3 - t) ** 2 / 0.01)  # noqa: E731
    one, many = (ptilde.estimate(log_q, 6.5, x, num_starts=n) for n in (1, 8))
    assert many.loss <= one.loss
    assert "starts" in many.route


def test_a_model_is_its_own_start(rows):
    from ptilde.models import Gaussian

    fit = ptilde.estimate(Gaussian.start(2), None, rows)
    np.testing.assert_allclose(fit.theta.mean, rows.mean(0), rtol=1e-8)
    np.testing.assert_allclose(fit.theta.covariance, np.cov(rows.T, bias=True), rtol=1e-8)
    assert fit.names == ("linear[0]", "linear[1]", "precision[0]", "precision[1]", "precision[2]")


def test_jax_is_left_in_single_precision(rows):
    fit = ptilde.estimate(normal, START, rows)
    assert jnp.ones(1).dtype == jnp.float32
    assert isinstance(fit.theta["h"], np.ndarray) and fit.theta["h"].dtype == np.float64


def test_the_same_key_gives_the_same_estimate_and_another_does_not():
    x = np.where(np.arange(300) % 3 == 0, 0.0, np.random.default_rng(3).normal(size=300))
    log_q = lambda t, x: jnp.where(x == 0, t["atom"], -t["k"] * x**2)  # noqa: E731
    fits = [
        ptilde.estimate(log_q, {"atom": 0.0, "k": 1.0}, x, support=SemiContinuous((0.0,), Real()), key=key)
        for key in (0, 0, 1)
    ]
    assert fits[0].theta["atom"] == fits[1].theta["atom"] != fits[2].theta["atom"]


@pytest.mark.parametrize(
    ("support", "name"),
    [
        (Real(), "Hyvarinen"),
        (Positive(), "Bounded"),
        (Interval(-1, 9), "Bounded"),
        (SemiContinuous((1.0,), Positive()), "Stratified"),
        (Count(), "Ratio"),
        (Categorical((0, 1, 2, 3)), "Ratio"),
    ],
)
def test_the_support_says_which_loss(support, name):
    x = np.random.default_rng(0).integers(0, 4, 60) * 1.0
    x = x if name == "Ratio" else x + np.random.default_rng(1).random(60) + 0.1 * (support != Real())
    assert type(loss_for(points(x, support, ties=True))).__name__ == name


def test_counts_and_categories_are_estimated_without_their_normalisers():
    generator = np.random.default_rng(4)
    counts = generator.poisson(3.0, 4000)
    poisson = lambda t, x: x * t - jax.scipy.special.gammaln(x + 1)  # noqa: E731
    fit = ptilde.estimate(poisson, 0.0, counts, support=Count())
    assert abs(fit.theta - np.log(3)) < 4.5 * fit.standard_errors < 0.1
    words = pd.DataFrame({"colour": generator.choice(["red", "blue", "green"], 4000, p=[0.2, 0.3, 0.5])})
    kinds = [Categorical(("red", "blue", "green"))]
    fit = ptilde.estimate(lambda t, x: jnp.append(0.0, t)[x[0].astype(int)], np.zeros(2), words, support=kinds)
    share = words["colour"].value_counts(normalize=True)
    np.testing.assert_allclose(
        fit.theta, np.log([share["blue"] / share["red"], share["green"] / share["red"]]), atol=1e-6
    )


def refused(log_q, theta0, data, **options):
    with pytest.raises(ValueError) as error, warnings.catch_warnings():
        warnings.simplefilter("error")
        ptilde.estimate(log_q, theta0, data, **options)
    return str(error.value)


def test_a_log_density_that_is_no_number_is_refused(rows):
    assert "got an array of shape (2,)" in refused(lambda t, x: -t * x**2, 1.0, rows)
    assert "got tuple" in refused(lambda t, x: (t, x[0]), 1.0, rows)
    assert "TypeError" in refused(lambda t, x: t @ x, np.ones(3), rows)


def test_a_log_density_that_is_not_finite_is_refused_with_its_row(rows):
    message = refused(lambda t, x: t * jnp.log(x[0]), 1.0, rows)
    assert f"in row {int(np.argmax(rows[:, 0] <= 0))}" in message and "nan" in message
    hidden = lambda t, x: jnp.where(x[0] > 1, -t * x[0] ** 2, 0 * jnp.sqrt(jnp.minimum(x[0] - 1, 0.0)))  # noqa: E731
    assert "make both of its sides safe" in refused(lambda t, x: hidden(t, jnp.maximum(x, 1.0)), 1.0, rows)


def test_what_the_data_do_not_determine_is_named(rows):
    full = lambda t, x: -0.5 * x @ t["k"] @ x  # noqa: E731
    message = refused(full, {"k": np.eye(2)}, rows)
    assert "k[0, 1]" in message and "k[1, 0]" in message and "upper triangle" in message
    idle = lambda t, x: -0.5 * t["k"] * x @ x + t["log_z"]  # noqa: E731
    assert "'log_z', which does nothing" in refused(idle, {"k": 1.0, "log_z": 0.0}, rows)
    twice = lambda t, x: -0.5 * jnp.exp(t["a"] + t["b"]) * x @ x  # noqa: E731
    assert "1 a - 1 b" in refused(twice, {"a": 0.0, "b": 0.0}, rows)
    collinear = np.column_stack([rows[:, 0], 2 * rows[:, 0]])
    assert "flat" in refused(normal, START, collinear)


def test_data_off_their_support_are_refused_with_column_and_row(rows):
    frame = pd.DataFrame({"age": np.abs(rows[:, 0]), "paid": np.abs(rows[:, 1])})
    frame.loc[7, "paid"] = -1.0
    message = refused(normal, START, frame, support=[Positive(), Positive()])
    assert "'paid'" in message and "-1.0 in row 7" in message
    assert "end an atom" in refused(normal, START, frame.clip(lower=0.0), support=[Positive(), Positive()])
    ball = losses.Bounded(losses.Distance(losses.Ball(np.zeros(2), 1.0)))
    assert "outside the region" in refused(normal, START, rows, loss=ball)
    with pytest.raises(DataError, match="row 3"):
        ptilde.estimate(exponential, 1.0, np.r_[np.ones((3, 1)), [[np.nan]]])


def test_ties_are_refused_with_value_share_and_cure():
    x = np.where(np.arange(1000) % 10 == 0, 0.0, np.random.default_rng(0).normal(size=1000))
    message = refused(lambda t, x: -t * x**2, 1.0, x)
    assert "0.1 of its rows are exactly 0" in message and "SemiContinuous(atoms=(0.0,)" in message
    assert "Count()" in refused(lambda t, x: -t * x**2, 1.0, np.arange(500) % 3)
    assert "150" in refused(lambda t, x: -t * x**2, 1.0, np.where(x == 0, 150.0, np.abs(x)), support=Positive())


def test_a_declared_grid_is_spread_over_its_cells():
    x = np.round(np.random.default_rng(0).normal(size=5000), 1)
    fit = ptilde.estimate(lambda t, x: -0.5 * t * x**2, 1.0, x, support=Real(grid=0.1))
    np.testing.assert_allclose(1 / fit.theta, np.mean(x**2) + 0.1**2 / 12, rtol=2e-3)


def test_other_bad_arguments_are_refused(rows):
    assert "more rows than parameters, 5; got 4" in refused(normal, START, rows[:4])
    assert "kind for each of the 2 columns" in refused(normal, START, rows, support=[Real()])
    assert "at least one number" in refused(lambda t, x: -x @ x, {}, rows)
    assert "finite numbers; got nan at h[1]" in refused(normal, START | {"h": np.array([0.0, np.nan])}, rows)
    assert "at least 0" in refused(normal, START, rows, sample_weight=np.full(500, -1.0))
    assert "a weight for each of the 500 rows" in refused(normal, START, rows, sample_weight=np.ones(3))
    assert "at least two groups" in refused(normal, START, rows, groups=np.zeros(500))
    assert "losses.Hyvarinen(); got 'hyvarinen'" in refused(normal, START, rows, loss="hyvarinen")
    assert "losses.Hyvarinen(); got <class" in refused(normal, START, rows, loss=losses.Hyvarinen)
    assert "`data` must be given" in refused(normal, START, None)


def test_a_loss_that_falls_for_ever_warns(rows):
    with pytest.warns(ConvergenceWarning, match="not to be trusted"):
        ptilde.estimate(lambda t, x: jnp.exp(t) * x**4, 0.0, rows[:, 0])


def test_a_search_that_was_cut_short_warns(rows, monkeypatch):
    monkeypatch.setattr(newton, "MAX_NEWTON", 1)
    monkeypatch.setattr(newton, "_bfgs", lambda criterion, theta, *_: theta)
    with pytest.warns(ConvergenceWarning, match="not to be trusted"):
        fit = ptilde.estimate(scaled_normal, {"mean": 0.0, "log_std": 0.4}, rows[:, 0])
    assert "NOT CONVERGED" in str(fit.summary())
