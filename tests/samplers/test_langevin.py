"""Langevin chains: reversibility exactly, invariance by a statistic that a broken chain does not pass."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import chi2, kstest, norm

from ptilde.samplers import Density, Field, Info, Mala, Ula
from ptilde.samplers.base import State, run, windows
from ptilde.samplers.langevin import _proposed

ROOT = np.array([[1.0, 0.0], [0.9, 0.3]])
FALSE_ALARM = 1e-5


class Normal(eqx.Module):
    precision: jax.Array

    def __call__(self, x):
        return -0.5 * x @ self.precision @ x


class Mixture(eqx.Module):
    """Two modes on the line; its cdf is known."""

    def __call__(self, x):
        return jnp.logaddexp(jnp.log(0.3) - 0.5 * (x[0] + 1.5) ** 2, jnp.log(0.7) - 0.5 * (x[0] - 1.5) ** 2)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def log_transition(x, y, score, step_size, scale):
    """Of the proposal, written out as the density of N(x + εLLᵀs, 2εLLᵀ)."""
    covariance = 2 * step_size * scale @ scale.T
    away = y - x - step_size * scale @ scale.T @ score
    return -0.5 * away @ np.linalg.solve(covariance, away)


def test_the_noise_that_leads_back_gives_the_ratio_of_proposals():
    target = Density(Normal(jnp.asarray(np.linalg.inv(ROOT @ ROOT.T))))
    here = target.at(jnp.array([0.3, -1.0]))
    there, noise, back = _proposed(jnp.asarray(0.4), jnp.asarray(ROOT), target, here, jr.key(1))
    forward = log_transition(here.x, there.x, here.score, 0.4, ROOT)
    backward = log_transition(there.x, here.x, there.score, 0.4, ROOT)
    np.testing.assert_allclose(0.5 * (noise @ noise - back @ back), backward - forward, rtol=1e-10)


@pytest.mark.parametrize("scale", [None, np.array([0.9, 1.4]), ROOT], ids=["none", "diagonal", "dense"])
def test_detailed_balance_holds_point_by_point(scale):
    """The chance of x → y under q equals that of y → x: the accept ratios are each other's inverse."""
    target = Density(Normal(jnp.asarray(np.linalg.inv(ROOT @ ROOT.T))))
    full = np.eye(2) if scale is None else np.diag(scale) if scale.ndim == 1 else scale
    scale = None if scale is None else jnp.asarray(scale)
    for seed in range(5):
        here = target.at(jnp.asarray(np.random.default_rng(seed).normal(size=2)))
        there, noise, back = _proposed(jnp.asarray(0.3), scale, target, here, jr.key(seed))
        ours = target.rise(here, there) + 0.5 * (noise @ noise - back @ back)
        exact = (there.log_q + log_transition(there.x, here.x, there.score, 0.3, full)) - (
            here.log_q + log_transition(here.x, there.x, here.score, 0.3, full)
        )
        np.testing.assert_allclose(ours, exact, rtol=1e-9, atol=1e-12)


class Careless(Mala):
    """MALA that forgets the ratio of proposals."""

    def step(self, target, state, key):
        key_noise, key_accept = jr.split(key)
        there, _, _ = _proposed(self.step_size, self.scale, target, state, key_noise)
        taken = jnp.log(jr.uniform(key_accept)) < target.rise(state, there)
        return State(*(jnp.where(taken, n, o) for n, o in zip(there, state, strict=True))), Info(
            jnp.ones(()), jnp.zeros((), bool)
        )


def p_value_after(sampler, num_chains=20_000, num_steps=5):
    """Chains from exact draws of the mixture, then a Kolmogorov-Smirnov test of where they are."""
    generator = np.random.default_rng(7)
    x = np.where(generator.random(num_chains) < 0.3, -1.5, 1.5) + generator.normal(size=num_chains)
    target = Density(Mixture())
    states = jax.vmap(sampler.init, (None, 0))(target, jnp.asarray(x)[:, None])
    last, _, _ = run(sampler, target, states, jr.key(3), jnp.asarray(0), 1, num_steps)
    return kstest(np.asarray(last.x[:, 0]), lambda t: 0.3 * norm.cdf(t + 1.5) + 0.7 * norm.cdf(t - 1.5)).pvalue


def test_mala_leaves_its_target_invariant():
    assert p_value_after(Mala(1.0)) > FALSE_ALARM


@pytest.mark.parametrize("sampler", [Ula(1.0), Careless(1.0)], ids=["unadjusted", "no proposal ratio"])
def test_chains_that_do_not_are_seen_by_the_same_statistic(sampler):
    assert p_value_after(sampler) < FALSE_ALARM


def test_the_law_of_ula_on_a_normal_is_the_autoregression_s():
    """x ← (1 - ε)x + √(2ε)ξ has variance 1/(1 - ε/2) (Roberts & Tweedie 1996)."""
    target, n = Density(Normal(jnp.eye(1))), 40_000
    states = jax.vmap(target.at)(jnp.zeros((n, 1)))
    last, _, _ = run(Ula(0.3), target, states, jr.key(5), jnp.asarray(0), 1, 60)
    statistic = float(jnp.sum(last.x**2)) * (1 - 0.3 / 2)
    assert chi2.ppf(FALSE_ALARM / 2, n) < statistic < chi2.isf(FALSE_ALARM / 2, n)
    assert not chi2.ppf(FALSE_ALARM / 2, n) < statistic / (1 - 0.3 / 2) < chi2.isf(FALSE_ALARM / 2, n)


def test_the_line_integral_of_a_gradient_is_the_difference():
    density, field = Density(Mixture()), Field(jax.grad(Mixture()), 40)
    here, there = (jnp.array([v]) for v in (-2.0, 1.3))
    np.testing.assert_allclose(
        field.rise(field.at(here), field.at(there)), density.rise(density.at(here), density.at(there)), rtol=1e-8
    )


def test_chains_do_not_depend_on_how_many_there_are_nor_on_how_draws_are_cut():
    target = Density(Normal(jnp.eye(2)))
    states = jax.vmap(target.at)(jnp.asarray(np.random.default_rng(0).normal(size=(6, 2))))
    _, whole, _ = run(Mala(0.5), target, states, jr.key(1), jnp.asarray(0), 20, 1)
    few = jax.tree.map(lambda a: a[:3], states)
    middle, first, _ = run(Mala(0.5), target, few, jr.key(1), jnp.asarray(0), 8, 1)
    _, rest, _ = run(Mala(0.5), target, middle, jr.key(1), jnp.asarray(8), 12, 1)
    np.testing.assert_array_equal(np.concatenate([first.x, rest.x]), whole.x[:, :3])


def test_windows_double_and_the_last_settles_the_step_size():
    assert windows(1000) == [50, 100, 200, 450, 200]
    assert all(sum(windows(n)) == max(n, 1) for n in (1, 10, 137, 5000))
    assert windows(1) == [1]


def test_a_step_size_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="`step_size` must be one number"):
        Mala(jnp.ones(2))
