"""R-hat and effective sample sizes: against ArviZ, and against chains whose autocorrelation is known."""

import arviz
import numpy as np
import pytest

from ptilde.samplers.convergence import bulk_ess, mean_error, rank_normalized_rhat, tail_ess


def autoregressive(phi, num_chains=4, num_draws=2000, seed=0):
    noise = np.random.default_rng(seed).normal(size=(num_chains, num_draws))
    x = np.empty_like(noise)
    x[:, 0] = noise[:, 0] / np.sqrt(1 - phi**2)
    for t in range(1, num_draws):
        x[:, t] = phi * x[:, t - 1] + noise[:, t]
    return x


CASES = {
    "independent": autoregressive(0.0),
    "slow": autoregressive(0.9),
    "alternating": autoregressive(-0.6),
    "odd": autoregressive(0.5, 3, 777),
    "one chain": autoregressive(0.5, 1, 500),
    "heavy": np.random.default_rng(1).standard_cauchy((4, 1000)),
    "apart": autoregressive(0.3) + np.arange(4)[:, None],
    "drift": autoregressive(0.3) + np.linspace(0, 2, 2000),
    "ties": np.random.default_rng(2).integers(0, 3, (4, 600)).astype(float),
    "short": autoregressive(0.2, 4, 12),
}


@pytest.mark.parametrize("name", CASES)
def test_arviz_says_the_same(name):
    x = CASES[name]
    if len(x) > 1:  # ArviZ has no R-hat of one chain, though its halves have one
        np.testing.assert_allclose(rank_normalized_rhat(x), arviz.rhat(x), rtol=1e-10)
    np.testing.assert_allclose(bulk_ess(x), arviz.ess(x, method="bulk"), rtol=1e-10)
    np.testing.assert_allclose(tail_ess(x), arviz.ess(x, method="tail", prob=(0.05, 0.95)), rtol=1e-10)
    np.testing.assert_allclose(mean_error(x), arviz.mcse(x, method="mean"), rtol=1e-10)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.5])
def test_an_autoregression_is_worth_its_formula(phi):
    found = np.mean([bulk_ess(autoregressive(phi, seed=seed)) for seed in range(20)])
    assert abs(found / (8000 * (1 - phi) / (1 + phi)) - 1) < 0.1


def test_chains_that_stand_still_have_no_value():
    assert np.isnan(rank_normalized_rhat(np.ones((4, 100)))) and np.isnan(bulk_ess(np.ones((4, 100))))
