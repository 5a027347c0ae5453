"""The three numbers that the first notebook of this project asked for."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import ptilde
from ptilde import fit, losses, models
from ptilde.datasets import gaussian_mixture, gaussian_mixture_score, tweedie

N = 10_000
MIXTURE = {"weights": (0.1, 0.9), "means": ((-3.0,), (3.0,))}


def plain(columns, data, **plan):
    """What Hyvärinen's loss makes of a network that is any score."""
    network = models.ScoreNetwork(1, width=32, mean=columns.mean(), std=columns.std(), key=jr.key(0))
    plan = fit.Descent(batch_size=512, weight_decay=0.0, **plan)
    return fit.descend(fit.Match(losses.Hyvarinen()), network, data, None, plan, jr.key(1))


def test_a_normal_law_has_the_mean_and_the_deviation_of_its_rows_and_their_standard_errors():
    x = np.random.default_rng(0).normal(5.3, 2.1, N)
    found = ptilde.estimate(lambda t, x: -0.5 * ((x - t["mean"]) / t["std"]) ** 2, {"mean": 0.0, "std": 1.0}, x)
    mean, std = found.theta["mean"], found.theta["std"]
    np.testing.assert_allclose([mean, std], [x.mean(), x.std()], rtol=1e-8)  # maximum likelihood, here
    error = found.standard_errors
    assert abs(mean - 5.3) < 4.5 * error["mean"] and abs(std - 2.1) < 4.5 * error["std"]  # false alarms: 7e-6 each
    fourth = np.mean((x - x.mean()) ** 4) / x.var() ** 2
    expected = [std / N**0.5, std * ((fourth - 1) / 4 / N) ** 0.5]  # of a sample's mean and deviation
    np.testing.assert_allclose([error["mean"], error["std"]], expected, rtol=1e-6)


@pytest.mark.slow
def test_a_network_learns_the_score_of_two_separate_modes():
    x = gaussian_mixture(N, seed=0, **MIXTURE)
    truth = gaussian_mixture_score(x, **MIXTURE)
    network = plain(x, fit.rows(x), num_steps=2_000, step_size=5e-3).model
    away = lambda score: np.mean((np.asarray(score) - truth) ** 2)  # noqa: E731
    assert away(jax.vmap(network)(jnp.asarray(x, jnp.float32))) < 0.02
    assert away((x.mean() - x) / x.var()) > 0.5  # the normal law of the same mean and variance


def test_plain_score_matching_falls_without_limit_on_an_atom_and_ptilde_refuses_it():
    claims = tweedie(N, seed=1)[:, None]
    lowest = {}
    for name, weight in (("all", np.ones(N)), ("positive", np.where(claims[:, 0] > 0, 1.0, 0.0))):
        data = fit.Data.of((claims.astype(np.float32),), weight)  # not `fit.rows`, which looks at the data
        lowest[name] = min(plain(claims, data, num_steps=1_000, step_size=2e-2).loss[:5])
    assert lowest["all"] < -100
    assert lowest["positive"] > -2  # the same rows without the atom
    share = np.mean(claims == 0)
    with pytest.raises(ptilde.DataError, match=rf"{share:.2g} of its rows are exactly 0: .* Declare the atom"):
        fit.rows(claims)
