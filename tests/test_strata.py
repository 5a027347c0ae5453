"""The Gaussian base of every state: ridge means, one covariance, a spectrum for each pattern of active columns."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.linear_model import Ridge

from ptilde import strata
from ptilde.strata import Gaussian, Layout

# Column 0 has three tokens and a body (token 2), column 1 two tokens and no body, column 2 two and a body (token 1);
# the last amount is always active.
LAYOUT = Layout((3, 2, 2), ((0, 2), (2, 1), None))
STATES = np.array(list(itertools.product(range(3), range(2), range(2))), np.int32)


def rows(n=400, seed=0, states=STATES):
    rng = np.random.default_rng(seed)
    state = states[rng.integers(len(states), size=n)]
    root = np.array([[1, 0, 0], [0.8, 0.6, 0], [-0.3, 0.5, 0.4]])
    z = rng.normal(size=(n, 3)) @ root.T + state @ np.array([[0.2, -0.5, 0], [0.4, 0.1, 0.3], [0, 0.7, -0.2]])
    active = LAYOUT.active_rows(state)
    return state, np.where(active, z, 0.0), rng.uniform(0.5, 1.5, n)


def fitted(**options):
    return Gaussian.fit(LAYOUT, *rows(**options))


def test_both_routes_to_the_active_columns_agree():
    by_row = np.stack([LAYOUT.active(jnp.asarray(s)) for s in STATES])
    np.testing.assert_array_equal(by_row, LAYOUT.active_rows(STATES))
    np.testing.assert_array_equal(by_row[:, 0], STATES[:, 0] == 2)
    assert by_row[:, 2].all()


def test_every_token_from_the_first_of_a_body_on_puts_it_to_use():
    layout = Layout((5,), ((0, 2),))  # two points, and a body of three levels
    tokens = np.arange(5, dtype=np.int32)[:, None]
    np.testing.assert_array_equal(layout.active_rows(tokens)[:, 0], [False, False, True, True, True])
    np.testing.assert_array_equal(
        layout.features(jnp.asarray(tokens), jnp.zeros((len(tokens), 0)))[1][:, 0], [0, 0, 1, 1, 1]
    )


def exact_log_density(gaussian, state, z, sigma, covariance):
    """By scipy, on the active block of one row."""
    on = np.flatnonzero(LAYOUT.active_rows(state[None])[0])
    hot = np.concatenate([[1.0]] + [np.eye(n)[t] for n, t in zip(LAYOUT.num_tokens, state, strict=True)])
    block = covariance[np.ix_(on, on)] + sigma**2 * np.eye(len(on))
    return multivariate_normal((gaussian.coefficients @ hot)[on], block).logpdf(z[on])


def check_densities(gaussian, state, covariance):
    z = np.random.default_rng(1).normal(size=(len(state), 3))
    base, pattern = gaussian.base(LAYOUT, state)
    for row, x, p in zip(state, z, pattern, strict=True):
        stratum = base.stratum(jnp.asarray(row), jnp.zeros(0), jnp.asarray(p))
        for sigma in (0.05, 2.0):
            value = stratum.log_density(jnp.asarray(x, jnp.float32), sigma)
            expected = exact_log_density(gaussian, row, x, sigma, covariance.astype(float))
            np.testing.assert_allclose(value, expected, rtol=2e-4, atol=2e-4)  # float32


def test_the_base_of_every_state_is_the_normal_law_on_its_active_block():
    gaussian = fitted()
    assert gaussian.rotate
    check_densities(gaussian, STATES, gaussian.covariance)


def test_states_that_the_fit_never_saw_have_a_base_too():
    seen = STATES[(STATES[:, 0] < 2) & (STATES[:, 2] == 1)]
    gaussian = fitted(states=seen)
    check_densities(gaussian, STATES, gaussian.covariance)


def test_one_pattern_alone_is_its_own_and_only_entry():
    gaussian = fitted()
    check_densities(gaussian, STATES[-1:], gaussian.covariance)
    assert gaussian.base(LAYOUT, STATES[-1:])[0].eigenvalues.shape == (1, 3)


def test_more_patterns_than_the_limit_drop_the_correlations_and_keep_the_variances(monkeypatch):
    with_correlations = fitted()
    monkeypatch.setattr(strata, "MOST_ROTATION", 4 * 9 - 1)  # four patterns of three columns
    gaussian = fitted()
    assert with_correlations.rotate and not gaussian.rotate
    check_densities(gaussian, STATES, np.diag(np.diag(gaussian.covariance)))
    base, pattern = gaussian.base(LAYOUT, STATES)
    assert base.rotation is None and not pattern.any()


def test_means_are_a_ridge_regression_on_the_rows_where_the_amount_is_active():
    state, z, weight = rows()
    gaussian, active = Gaussian.fit(LAYOUT, state, z, weight), LAYOUT.active_rows(state)
    hot = np.concatenate([np.eye(n)[state[:, k]] for k, n in enumerate(LAYOUT.num_tokens)], 1)
    for j in range(3):
        on = active[:, j]
        ridge = Ridge(10.0).fit(hot[on], z[on, j], weight[on])  # its intercept is not shrunk; ours by a millionth
        np.testing.assert_allclose(gaussian.coefficients[j, 0], ridge.intercept_, rtol=1e-4)
        np.testing.assert_allclose(gaussian.coefficients[j, 1:], ridge.coef_, rtol=1e-4, atol=1e-5)


def test_the_covariance_is_that_of_the_residuals_over_pairs_active_together():
    state, z, weight = rows(5000)
    gaussian, active = Gaussian.fit(LAYOUT, state, z, weight), LAYOUT.active_rows(state)
    hot = np.concatenate([np.ones((len(z), 1))] + [np.eye(n)[state[:, k]] for k, n in enumerate(LAYOUT.num_tokens)], 1)
    residual = z - hot @ gaussian.coefficients.T
    for i, j in itertools.product(range(3), range(3)):
        both = active[:, i] & active[:, j]
        exact = np.average(residual[both, i] * residual[both, j], weights=weight[both])
        np.testing.assert_allclose(gaussian.covariance[i, j], exact, rtol=1e-4)  # pairs in plenty: hardly shrunk


def test_a_row_of_weight_two_counts_as_two_rows():
    state, z, weight = rows()
    doubled = np.where(np.arange(len(z)) % 3 == 0, 2, 1)
    ours = Gaussian.fit(LAYOUT, state, z, weight * doubled)
    twice = Gaussian.fit(LAYOUT, *(np.repeat(a, doubled, 0) for a in (state, z, weight)))
    np.testing.assert_allclose(ours.coefficients, twice.coefficients, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ours.covariance, twice.covariance, rtol=1e-5, atol=1e-7)
    plain = Gaussian.fit(LAYOUT, state, z, weight)
    assert np.abs(plain.coefficients - twice.coefficients).max() > 1e-3  # weights that were ignored would be seen


@given(st.integers(0, 10_000), st.integers(2, 30))
def test_however_few_rows_the_covariance_is_positive_definite_and_the_axes_are_orthogonal(seed, n):
    gaussian = fitted(n=n, seed=seed)
    eigenvalues = np.linalg.eigvalsh(gaussian.covariance.astype(float))
    assert eigenvalues.min() > 0
    np.testing.assert_allclose(gaussian.least_spread, np.sqrt(max(eigenvalues.min(), strata.LEAST_EIGENVALUE)))
    active = LAYOUT.active_rows(STATES)
    values, axes = strata._spectra(gaussian.covariance.astype(float), active)
    np.testing.assert_allclose(axes @ axes.transpose(0, 2, 1), np.broadcast_to(np.eye(3), axes.shape), atol=1e-9)
    for on, e, q in zip(active, values, axes, strict=True):
        k = on.sum()
        np.testing.assert_array_equal(e[k:], 1)
        np.testing.assert_allclose(q[~on][:, :k], 0, atol=1e-9)  # active directions are of active columns alone


def test_two_amounts_never_seen_together_are_taken_as_independent():
    apart = STATES[(STATES[:, 0] == 2) != (STATES[:, 2] == 1)]
    assert fitted(states=apart).covariance[0, 1] == pytest.approx(0, abs=1e-6)
