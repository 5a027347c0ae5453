"""The kernel exponential family: its closed form against JAX and a dense solve, its choices, its refusals."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from ptilde.models import KernelExponential, kernel


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def bent(n=200, seed=0):
    """Rows on a bent band, whose columns have different units."""
    z = np.random.default_rng(seed).standard_normal((n, 2))
    return np.stack([10 + 3 * z[:, 0], 0.5 * z[:, 0] ** 2 + 0.2 * z[:, 1]], axis=1)


def two_modes(seed, n=5_000):
    rng = np.random.default_rng(seed)
    return (np.where(rng.random(n) < 0.1, -3.0, 3.0) + rng.standard_normal(n))[:, None]


def two_modes_score(x):
    log_odds = np.log(9) + 6 * x  # of the mode at 3
    return -x + 3 * np.tanh(log_odds / 2)


def score_error(model, x):
    """The mean squared error of the score over the rows."""
    score = jax.jit(jax.vmap(jax.grad(model)))(jnp.asarray(x))
    return float(np.mean((score - two_modes_score(x)) ** 2))


def objective(weights, model, x, ridge):
    """Hyvärinen's loss of the whitened rows by automatic differentiation, plus the ridge."""
    root, (y, z) = np.linalg.cholesky(model.basis.covariance), whitened(model, x)
    log_q = lambda y: with_weights(model, weights)(model.basis.mean + root @ y)  # noqa: E731
    losses = jax.vmap(lambda y: jnp.trace(jax.hessian(log_q)(y)) + 0.5 * jnp.sum(jax.grad(log_q)(y) ** 2))(y)
    gram = jnp.exp(-0.5 * jnp.sum((z[:, None] - z) ** 2, -1) / model.basis.bandwidth**2)
    return jnp.mean(losses) + 0.5 * ridge * weights @ gram @ weights


def whitened(model, x):
    """Rows and centres in the coordinates of the kernel."""
    root = np.linalg.cholesky(model.basis.covariance)
    return [np.linalg.solve(root, (rows - model.basis.mean).T).T for rows in (x, model.basis.centres)]


def with_weights(model, weights):
    basis = model.basis
    return KernelExponential(weights, basis.centres, basis.bandwidth, basis.mean, basis.covariance)


def test_the_closed_form_is_where_the_gradient_of_loss_and_ridge_by_jax_is_zero():
    x, ridge = bent(), 1e-3
    model = KernelExponential.fit(x, centres=25, bandwidth=0.8, ridge=ridge, key=jr.key(0))
    tiny = kernel._TINY * jnp.trace(jax.jit(jax.hessian(lambda w: objective(w, model, x, 0.0)))(np.zeros(25))) / 25
    slope = jax.jit(jax.grad(lambda w: objective(w, model, x, ridge) + 0.5 * tiny * w @ w))
    at_zero = np.max(np.abs(slope(np.zeros(25))))
    assert np.max(np.abs(slope(model.weights))) < 1e-8 * at_zero
    assert np.max(np.abs(slope(1.001 * model.weights))) > 1e-4 * at_zero  # a thousandth off is seen


def test_the_loss_of_rows_held_out_is_hyvarinens():
    x = bent()
    model = KernelExponential.fit(x, centres=25, bandwidth=0.8, ridge=1e-3, key=jr.key(0))
    y, z = whitened(model, x)
    losses = kernel._losses(np.asarray(model.weights)[:, None], y, z, 0.8)
    expected = jax.jit(lambda weights: objective(weights, model, x, 0.0))(model.weights)
    np.testing.assert_allclose(losses.mean(), expected, rtol=1e-10)


def test_chunks_of_rows_do_not_change_the_fit(monkeypatch):
    x = bent()
    whole = KernelExponential.fit(x, centres=20, bandwidth=0.8, ridge=1e-3, key=jr.key(1))
    monkeypatch.setattr(kernel, "_CHUNK", 7)
    chunked = KernelExponential.fit(x, centres=20, bandwidth=0.8, ridge=1e-3, key=jr.key(1))
    np.testing.assert_allclose(chunked.trials, whole.trials, rtol=1e-6)
    assert chunked.basis == whole.basis
    y = jnp.asarray(x)
    np.testing.assert_allclose(jax.vmap(chunked)(y), jax.vmap(whole)(y), rtol=1e-6, atol=1e-6)


def test_with_more_centres_than_rows_it_is_the_family_on_all_rows():
    x, ridge, h = bent(60), 1e-2, 0.7
    model = KernelExponential.fit(x, centres=1_000, bandwidth=h, ridge=ridge, key=jr.key(2))
    np.testing.assert_array_equal(np.sort(model.basis.centres, axis=0), np.sort(x, axis=0))
    y, z = whitened(model, x)
    np.testing.assert_allclose(
        [y.mean(0), y.std(0), np.roll(y, 1, 1).T @ y[:, 0] / 60], [[0, 0], [1, 1], [0, 1]], atol=1e-9
    )
    k = lambda y: jnp.exp(-0.5 * jnp.sum((y - z) ** 2, -1) / h**2)  # noqa: E731
    slopes = jax.vmap(jax.jacfwd(k))(y)  # row, centre, column
    bends = jnp.trace(jax.vmap(jax.jacfwd(jax.jacfwd(k)))(y), axis1=2, axis2=3)
    gram = jnp.einsum("amj,alj->ml", slopes, slopes) / len(x)
    linear = jnp.mean(bends - jnp.einsum("amj,aj->am", slopes, y), axis=0)
    tiny = kernel._TINY * jnp.trace(gram) / len(x) * jnp.eye(len(x))
    weights = -jnp.linalg.solve(gram + ridge * jax.vmap(k)(z) + tiny, linear)
    # Single weights of centres that nearly coincide are ill-determined: compare scores.
    score = lambda weights: jax.jit(jax.vmap(jax.grad(with_weights(model, weights))))(x)  # noqa: E731
    np.testing.assert_allclose(score(model.weights), score(weights), rtol=1e-5, atol=1e-6)


def test_a_linear_change_of_columns_does_not_change_the_density():
    x, change = bent(), np.array([[100.0, 0.0], [99.0, -0.01]])  # columns that nearly determine each other
    model = KernelExponential.fit(x, centres=20, bandwidth=0.8, ridge=1e-2, key=jr.key(3))
    changed = KernelExponential.fit(5 + x @ change.T, centres=20, bandwidth=0.8, ridge=1e-2, key=jr.key(3))
    values, same = jax.vmap(changed)(jnp.asarray(5 + x @ change.T)), jax.vmap(model)(jnp.asarray(x))
    assert np.ptp(same) > 5
    # Less a constant, which the loss does not see; columns this close to each other cost eight digits.
    np.testing.assert_allclose(values - values[0], same - same[0], atol=1e-3)


def test_the_score_of_two_separate_modes_is_close_to_the_truth():
    x = two_modes(0)
    model = KernelExponential.fit(x, key=jr.key(0))
    gaussian = np.mean(((x.mean() - x) / x.var() - two_modes_score(x)) ** 2)
    error = score_error(model, x)
    assert error < 0.05  # 0.010 … 0.033 over twelve seeds
    assert error < gaussian / 10


def test_the_bandwidth_chosen_is_better_than_the_ends_of_its_grid():
    x = two_modes(0)
    model = KernelExponential.fit(x, centres=100, key=jr.key(0))
    widths = sorted({trial.bandwidth for trial in model.trials})
    for width in (widths[0], widths[1], widths[-1]):
        end = KernelExponential.fit(x, centres=100, bandwidth=width, key=jr.key(0))
        assert score_error(end, x) > 2 * score_error(model, x)


def test_one_lucky_row_of_the_held_out_fifth_does_not_choose():
    x = two_modes(1)
    model = KernelExponential.fit(x, key=jr.key(1))
    lucky = min(model.trials, key=lambda trial: trial.loss)  # kernels narrow enough to fit single rows
    assert lucky.bandwidth < model.basis.bandwidth / 8
    fooled = KernelExponential.fit(x, bandwidth=lucky.bandwidth, ridge=lucky.ridge, key=jr.key(1))
    assert score_error(model, x) < 0.05 < 1 < score_error(fooled, x)


def test_the_weights_are_the_only_parameters():
    model = KernelExponential.fit(bent(50), centres=5, key=jr.key(4))
    assert [leaf.shape for leaf in jax.tree.leaves(model)] == [(5,)]
    x = jnp.asarray(bent(1)[0])
    slope = jax.grad(lambda model: model(x))(jax.tree.map(jnp.asarray, model)).weights
    y, z = whitened(model, x)
    np.testing.assert_allclose(slope, np.exp(-0.5 * np.sum((y - z) ** 2, 1) / model.basis.bandwidth**2), rtol=1e-12)


def test_a_second_model_with_the_same_basis_compiles_nothing():
    traced = []
    value = jax.jit(lambda model, x: traced.append(0) or model(x))
    model = KernelExponential.fit(bent(50), centres=5, bandwidth=1.0, ridge=1e-3, key=jr.key(4))
    for factor in (1.0, 2.0):
        value(with_weights(model, factor * model.weights), jnp.zeros(2))
    assert len(traced) == 1
    other = KernelExponential(model.weights, 2 * model.basis.centres, 1.0, model.basis.mean, model.basis.covariance)
    assert value(other, jnp.zeros(2)) != value(with_weights(model, model.weights), jnp.zeros(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": np.full((20, 2), np.nan)},
            "`x` must hold finite numbers; got nan in row 0, column 0. Drop or fill that",
        ),
        ({"x": np.arange(20.0)}, r"`x` must be a 2-D array of 10 rows or more; got shape \(20,\)"),
        ({"x": bent(5)}, r"`x` must be a 2-D array of 10 rows or more; got shape \(5, 2\)"),
        (
            {"x": bent(20) * [1, 0] + [0, 7]},
            "Columns of `x` must vary; got 7 in every row of column 1. Leave it out.",
        ),
        ({"x": bent(20)[:, [0, 1, 0]]}, "No column of `x` may follow from the others; column [02] does. Leave it out."),
        ({"centres": 0}, "`centres` must be at least 1; got 0"),
        ({"bandwidth": -1.0}, "`bandwidth` must be positive and finite; got -1.0"),
        ({"ridge": 0.0}, "`ridge` must be positive and finite; got 0.0"),
    ],
)
def test_a_fit_refuses_what_it_cannot_use(change, message):
    given = {"x": bent(20), "key": jr.key(0)} | change
    with pytest.raises(ValueError, match=message):
        KernelExponential.fit(given.pop("x"), **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.ones(3)}, r"`weights` must be an array of floats of shape \(2\), one number a centre"),
        ({"centres": np.ones((2, 3))}, r"`centres` must be an array of floats of shape \(any, 1\)"),
        ({"covariance": np.zeros((1, 1))}, "`covariance` must be positive definite; got the eigenvalue 0."),
        ({"covariance": np.ones(1)}, r"`covariance` must be an array of floats of shape \(1, 1\)"),
        ({"bandwidth": 0.0}, "`bandwidth` must be positive and finite; got 0.0"),
    ],
)
def test_a_model_refuses_parts_that_do_not_fit_together(change, message):
    parts = {"weights": np.ones(2), "centres": np.ones((2, 1)), "bandwidth": 1.0, "mean": np.zeros(1)}
    parts["covariance"] = np.eye(1)
    with pytest.raises(ValueError, match=message):
        KernelExponential(**parts | change)
