"""Annealed Langevin dynamics against closed forms, quadrature and the published toy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import chi2, kstest, norm

from ptilde.samplers import Annealed, Density, Info, Mala, Ula, annealed
from ptilde.samplers.base import State, run
from ptilde.samplers.ladder import excess, least_excess, longest_step, overlap, variance_after, widest_ratio
from ptilde.samplers.levels import Level, Levels

FALSE_ALARM = 1e-5
WEIGHTS, CENTRES = np.array([0.2, 0.8]), np.array([[-5.0, -5.0], [5.0, 5.0]])
PUBLISHED = {"sigmas": np.geomspace(20.0, 1.0, 10), "step_size": 0.05, "num_steps": 100, "denoise": False}


class Toy(eqx.Module):
    """The mixture of Song & Ermon (2019), Section 3.2.2, blurred, in units of `unit`."""

    unit: float = 1.0

    def __call__(self, x, log_sigma):
        variance = self.unit**2 + jnp.exp(2 * log_sigma)
        away = jnp.sum((x - self.unit * CENTRES) ** 2, axis=1)
        return jax.nn.logsumexp(jnp.log(WEIGHTS) - 0.5 * away / variance) - jnp.log(2 * jnp.pi * variance)


def toy_rows(n, seed, sigma=0.0):
    random = np.random.default_rng(seed)
    which = random.choice(2, n, p=WEIGHTS)
    return CENTRES[which] + np.sqrt(1 + sigma**2) * random.standard_normal((n, 2))


def noise_alone(x, log_sigma):
    """The score of data that are all zero."""
    return -x / jnp.exp(2 * log_sigma)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("adjusted", "kind"), [(False, Ula), (True, Mala)])
def test_one_level_is_langevin_dynamics_there(adjusted, kind):
    toy, x0, key = Toy(), jnp.asarray(toy_rows(7, 0)), jr.key(1)
    ends = Annealed([2.0], 0.9, 30, adjusted=adjusted, denoise=False).draw(toy, x0, key)
    target = Density(Level(toy, jnp.log(jnp.asarray(2.0))))
    sampler = kind(0.9)
    states = jax.vmap(sampler.init, (None, 0))(target, x0)
    np.testing.assert_array_equal(ends, run(sampler, target, states, key, jnp.asarray(0), 1, 30)[0].x)


@pytest.mark.parametrize("bare", [False, True], ids=["density", "score"])
def test_unadjusted_it_is_algorithm_1_and_then_tweedies_formula(bare):
    toy, x0, key, sigmas = Toy(), toy_rows(3, 0), jr.key(1), [8.0, 3.0, 0.5]
    target = (lambda x, level: eqx.filter_grad(toy)(x, level)) if bare else toy
    x, t, scores = x0.copy(), 0, jax.jit(jax.vmap(eqx.filter_grad(toy), (0, None)))
    for sigma in sigmas:
        for _ in range(4):
            noise = [jr.normal(jr.fold_in(jr.fold_in(key, t), i), (2,)) for i in range(3)]
            alpha = 2 * 0.01 * sigma**2 / sigmas[-1] ** 2
            x, t = x + alpha / 2 * scores(x, np.log(sigma)) + np.sqrt(alpha) * np.array(noise), t + 1
    noisy = Annealed(sigmas, 0.01, 4, denoise=False).draw(target, x0, key)
    clean = Annealed(sigmas, 0.01, 4).draw(target, x0, key)
    np.testing.assert_allclose(noisy, x, rtol=1e-12)
    np.testing.assert_allclose(clean, x + sigmas[-1] ** 2 * scores(x, np.log(sigmas[-1])), rtol=1e-12)


def test_adjusted_chains_go_on_from_one_level_at_the_next():
    toy, x, key, sigmas = Toy(), jnp.asarray(toy_rows(3, 0)), jr.key(1), [8.0, 3.0]
    ends = Annealed(sigmas, 4.0, 5, adjusted=True).draw(toy, x, key)
    for i, sigma in enumerate(sigmas):
        target, sampler = Density(Level(toy, jnp.log(sigma))), Mala(4.0 * sigma**2 / 3.0**2)
        states = jax.vmap(target.at)(x)
        x = run(sampler, target, states, key, jnp.asarray(5 * i), 1, 5)[0].x
    np.testing.assert_allclose(ends, x + 9 * jax.vmap(eqx.filter_grad(toy), (0, None))(x, np.log(3.0)), rtol=1e-12)


def test_the_variance_at_the_end_is_that_of_the_autoregression():
    """A linear score makes all ends Gaussian, with a variance that each step takes to (1 − h)² · it + 2hσ²."""
    sigmas, h, n = np.array([4.0, 1.5, 0.5]), 0.6, 200_000
    variance = 0.0
    for sigma in sigmas:
        for _ in range(3):
            variance = (1 - h) ** 2 * variance + 2 * h * sigma**2

    def surprise(step_size):
        ends = Annealed(sigmas, step_size, 3, denoise=False).draw(noise_alone, np.zeros((n, 1)), jr.key(3))
        below = chi2(n).cdf(np.sum(np.asarray(ends) ** 2) / variance)
        return 2 * min(below, 1 - below)

    assert surprise(h * 0.5**2) > FALSE_ALARM
    assert surprise(1.1 * h * 0.5**2) < FALSE_ALARM
    assert surprise(0.5 * h * 0.5**2) < FALSE_ALARM  # the step in the convention of 2019


def test_columns_much_wider_than_the_last_noise_end_too_wide_by_what_chains_lag_behind():
    """dV/dσ² = hN(V − 1 − σ²) for V of a column of variance 1, where σ is small: V = 1 + σ² + 1/(hN)."""
    h, sigmas, n = 0.1, np.geomspace(3.0, 0.05, 400), 50_000
    lag = np.log(sigmas[0] / sigmas[-1]) / (h * len(sigmas))
    x0 = np.sqrt(1 + sigmas[0] ** 2) * np.random.default_rng(0).standard_normal((n, 1))
    target = lambda x, level: -x / (1 + jnp.exp(2 * level))  # noqa: E731
    ends = Annealed(sigmas, h * sigmas[-1] ** 2, 1, denoise=False).draw(target, x0, jr.key(5))
    np.testing.assert_allclose(
        np.var(ends) - 1 - sigmas[-1] ** 2, lag, rtol=0.25
    )  # 0.102; its Monte Carlo error is 0.007


def test_at_one_level_chains_settle_where_the_stationary_variance_says():
    """Of ULA at N(0, v): v / (1 − ε/2v), here with v = σ² + 1; a row of one step from there keeps it, exactly."""
    sigma, step_size, v = 2.0, 3.0, 5.0
    stationary = v / (1 - step_size / (2 * v))
    np.testing.assert_allclose((1 - step_size / v) ** 2 * stationary + 2 * step_size, stationary, rtol=1e-12)
    x0 = np.sqrt(stationary) * np.random.default_rng(0).standard_normal((40_000, 1))
    target = lambda x, level: -x / (1 + jnp.exp(2 * level))  # noqa: E731
    ends = np.asarray(Annealed([sigma], step_size, 10, denoise=False).draw(target, x0, jr.key(0)))[:, 0]
    assert kstest(ends, norm(0, np.sqrt(stationary)).cdf).pvalue > FALSE_ALARM
    assert kstest(ends, norm(0, np.sqrt(v)).cdf).pvalue < FALSE_ALARM


class Unbalanced(eqx.Module):
    """Mala without the ratio of proposals."""

    step_size: jax.Array

    def step(self, target, state, key):
        there, _ = Ula(self.step_size).step(target, state, key)
        ratio = target.rise(state, there)
        taken = jnp.log(jr.uniform(jr.fold_in(key, 1))) < ratio
        kept = State(*(jnp.where(taken, new, old) for new, old in zip(there, state, strict=True)))
        return kept, Info(jnp.exp(jnp.minimum(ratio, 0.0)), jnp.asarray(False))


@pytest.mark.parametrize("sigma", [0.3, 3.0, 20.0])
def test_accept_reject_leaves_the_law_of_a_level_as_it_is(sigma, monkeypatch):
    x0, std = toy_rows(20_000, 1, sigma), np.sqrt(1 + sigma**2)

    def surprise(num_steps, adjusted):
        sampler = Annealed([sigma], 0.9 * std**2, num_steps, adjusted=adjusted, denoise=False)
        along = np.asarray(sampler.draw(Toy(), x0, jr.key(2))).sum(axis=1) / np.sqrt(2)
        return kstest(along, lambda u: norm(np.sqrt(2) * CENTRES[:, 0], std).cdf(u[:, None]) @ WEIGHTS)

    assert surprise(10, True).pvalue > FALSE_ALARM
    assert surprise(10, False).pvalue < FALSE_ALARM
    monkeypatch.setattr(annealed, "Mala", Unbalanced)
    assert surprise(11, True).pvalue < FALSE_ALARM  # another number of steps, so that it is compiled anew


@pytest.mark.parametrize(("ratio", "d"), [(1.04, 3072), (1.5, 10), (0.6, 2), (3.0, 1)])
def test_overlap_is_the_mass_of_a_radius_near_that_of_another_level(ratio, d):
    ours, others = norm(np.sqrt(d), np.sqrt(0.5)), (ratio * np.sqrt(d), ratio * np.sqrt(0.5))
    low, high = others[0] - 3 * others[1], others[0] + 3 * others[1]
    np.testing.assert_allclose(overlap(ratio, d), ours.cdf(high) - ours.cdf(low), rtol=1e-10)


def test_half_of_each_level_lies_at_the_next_and_ladders_are_near_the_published_ones():
    for d in (1, 2, 10, 1000):
        np.testing.assert_allclose(overlap(1 / widest_ratio(d), d), 0.5, rtol=1e-8)
        assert overlap(widest_ratio(d), d) > 0.5  # the rule as published holds then
    for d, high, num_levels in ((3 * 32**2, 50, 232), (3 * 64**2, 90, 500)):  # CIFAR-10, CelebA: σ_L = 0.01
        np.testing.assert_allclose(1 + np.log(high / 0.01) / np.log(widest_ratio(d)), num_levels, rtol=0.05)


def test_the_variance_rule_is_the_recursion_and_has_the_published_step():
    ratio, h, num_steps, variance = 1.3, 0.2, 4, 1.0
    for level in range(2000):
        variance *= ratio**2
        for _ in range(num_steps):
            variance = (1 - h) ** 2 * variance + 2 * h
        if not level:
            np.testing.assert_allclose(variance_after(ratio, h, num_steps), variance, rtol=1e-12)
    np.testing.assert_allclose(excess(ratio, h, num_steps), variance, rtol=1e-12)
    assert excess(2.0, 0.01, 3) == np.inf
    # Song & Ermon's choice for CIFAR-10, T = 5 and ε = 6.2e-6 at σ_L = 0.01, is as good as any ε to three digits.
    cifar = [variance_after((50 / 0.01) ** (1 / 231), h, 5) for h in np.append(np.linspace(0.001, 0.5, 5000), 0.062)]
    np.testing.assert_allclose(cifar[-1], min(cifar), rtol=1e-3)


def test_the_adjusted_step_is_accepted_with_the_probability_that_mala_aims_at():
    d, n = 50, 4000
    target = Density(Level(lambda x, _: -0.5 * x @ x, jnp.zeros(())))
    states = jax.vmap(target.at)(jr.normal(jr.key(0), (n, d)))
    for share, low, high in ((1.0, 0.55, 0.60), (1.1, 0.0, 0.54), (0.9, 0.61, 1.0)):  # its Monte Carlo error is 0.006
        step = Mala(share * longest_step(d)).step
        assert low < jax.vmap(step, (None, 0, 0))(target, states, jr.split(jr.key(1), n))[1].acceptance.mean() < high


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_fitted_ladder_keeps_the_rules_and_the_budget(adjusted):
    x = toy_rows(500, 2)
    rules, rich = (Annealed.fitted(x, num, adjusted=adjusted) for num in (None, 1000))
    for sampler in (rules, rich):
        np.testing.assert_allclose(sampler.sigmas[0], pdist(x).max(), rtol=1e-12)
        np.testing.assert_allclose(sampler.sigmas[-1], x.std(axis=0).min() / 25, rtol=1e-12)
        ratios = sampler.sigmas[:-1] / sampler.sigmas[1:]
        np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)
        h = sampler.step_size / sampler.sigmas[-1] ** 2
        least = least_excess(ratios[0], sampler.num_steps)
        assert least[1] <= 1.05 and ratios[0] <= widest_ratio(2)
        np.testing.assert_allclose(h, longest_step(2) if adjusted else least[0], rtol=1e-9)
    assert least_excess(ratios[0], rich.num_steps - 1)[1] > 1.045  # no step too many ...
    assert least_excess(rules.sigmas[0] / rules.sigmas[1], rules.num_steps - 1)[1] > 1.05
    assert 1000 - rich.sigmas.size < rich.num_score_calls <= 1000  # ... and no call that would have made one more
    assert f"levels: {rich.sigmas.size}, from σ = " in str(rich)
    assert f"score calls of a chain: {rich.num_score_calls}" in str(rich)
    assert ("Metropolis" in str(rich)) == adjusted


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_chain_evaluates_the_target_as_often_as_it_says(adjusted):
    calls = []

    def counted(x, log_sigma):
        jax.debug.callback(lambda level: calls.append(float(level)), log_sigma)
        return -0.5 * x @ x / jnp.exp(2 * log_sigma)

    sampler = Annealed([3.0, 2.0, 1.0], 0.1, 4, adjusted=adjusted)
    sampler.draw(counted, np.ones((1, 2)), jr.key(0)).block_until_ready()
    jax.effects_barrier()
    assert len(calls) == sampler.num_score_calls == (15 if adjusted else 13)


@eqx.filter_jit
def carried(sampler, x, low, high, key):
    return sampler(Toy(), x, low, high, key)


@eqx.filter_jit
def through_its_levels(sampler, x, key):
    log_sigmas = jnp.log(sampler.sigmas)
    return annealed._descended(sampler, Levels(Toy(), Density), log_sigmas, x, lambda t: jr.fold_in(key, t)).x


@pytest.mark.parametrize("adjusted", [False, True])
def test_carried_between_other_levels_it_is_the_ladder_stretched_to_them(adjusted):
    ladder, low, high = Annealed([8.0, 3.0, 0.5], 0.01, 4, adjusted=adjusted), 0.1, 20.0
    share = np.log(3.0 / 0.5) / np.log(8.0 / 0.5)
    stretched = Annealed([high, low * (high / low) ** share, low], 0.01 * (low / 0.5) ** 2, 4, adjusted)
    x, ends, key = jnp.asarray(toy_rows(1, 0, high)[0]), jnp.log(jnp.array([low, high])), jr.key(4)
    end = carried(ladder, x, *ends, key)
    np.testing.assert_allclose(end, through_its_levels(stretched, x, key), rtol=1e-9)
    assert not np.allclose(end, through_its_levels(ladder, x, key))
    alone = carried(Annealed([7.0], 0.3 * 7.0**2, 4, adjusted), x, *ends, key)
    np.testing.assert_allclose(alone, through_its_levels(Annealed([low], 0.3 * low**2, 4, adjusted), x, key), rtol=1e-9)


def test_a_ladder_between_given_levels_is_that_of_data_with_these():
    x = toy_rows(500, 2)
    fitted = Annealed.fitted(x, 300, adjusted=True)
    given = Annealed.between(pdist(x).max(), x.std(axis=0).min() / 25, 2, 300, adjusted=True)
    np.testing.assert_array_equal(fitted.sigmas, given.sigmas)
    assert (fitted.step_size, fitted.num_steps) == (given.step_size, given.num_steps)


@pytest.mark.parametrize("adjusted", [False, True])
def test_units_of_the_data_do_not_matter(adjusted):
    x, x0 = toy_rows(300, 3), toy_rows(5, 4)
    one, thousand = (Annealed.fitted(u * x, 200, adjusted=adjusted) for u in (1.0, 1000.0))
    np.testing.assert_allclose(thousand.sigmas, 1000 * one.sigmas, rtol=1e-12)
    np.testing.assert_allclose(thousand.step_size, 1000**2 * one.step_size, rtol=1e-12)
    ends = (one.draw(Toy(), x0, jr.key(0)), thousand.draw(Toy(1000.0), 1000 * x0, jr.key(0)))
    np.testing.assert_allclose(ends[1], 1000 * ends[0], rtol=1e-6)


def test_other_ladders_of_the_same_length_compile_nothing():
    traced = []

    def score(x, log_sigma):
        traced.append(log_sigma)
        return noise_alone(x, log_sigma)

    x0 = np.ones((4, 2))
    ends = [
        Annealed([5.0, 1.0], 0.1, 20, denoise=False).draw(score, x0, jr.key(0)),
        num := len(traced),
        Annealed([9.0, 2.0], 0.4, 20, denoise=False).draw(score, x0, jr.key(0)),
    ]
    assert len(traced) <= num + 1  # the look at what shape it returns
    assert not np.allclose(ends[2], ends[0])


def exact_share(sigmas, step_size, num_steps):
    """The share with x + y > 0 by quadrature: along the diagonal unadjusted chains are a chain on the line."""
    u, centre = np.linspace(-75, 75, 501), np.sqrt(50)
    law = np.maximum(0, 1 - np.abs(u) / np.sqrt(128))  # of (x + y)/√2, uniform on [−8, 8]²
    for sigma in sigmas:
        epsilon, v = step_size * sigma**2 / sigmas[-1] ** 2, 1 + sigma**2
        score = (centre * np.tanh(centre * u / v + np.log(2)) - u) / v  # log 2 is half the log of 0.8/0.2
        moves = norm(u + epsilon * score, np.sqrt(2 * epsilon)).pdf(u[:, None])
        for _ in range(num_steps):
            law = moves / moves.sum(axis=0) @ law
    return (law[u > 0].sum() + 0.5 * law[u == 0].sum()) / law.sum()


def shares(sampler, target):
    """The share in the big mode of 1,280 particles, for each of ten seeds."""
    found = []
    for seed in range(10):
        start, key = jr.split(jr.key(seed))
        ends = sampler.draw(target, jr.uniform(start, (1280, 2), minval=-8, maxval=8), key)
        found.append(np.mean(np.sum(ends, axis=1) > 0))
    return np.array(found)


@pytest.mark.slow
def test_on_the_toy_of_2019_a_ladder_by_the_rules_finds_the_modes_in_their_shares():
    """The share is 0.8. With 1,000 calls the published ladder stops at 0.783, one level at 0.505."""
    score, ladder = eqx.filter_grad(Toy()), {name: PUBLISHED[name] for name in ("sigmas", "step_size", "num_steps")}
    error = np.sqrt(0.8 * 0.2 / 12_800)
    assert abs(shares(Annealed(**PUBLISHED), score).mean() - exact_share(**ladder)) < 4.42 * error
    assert shares(Annealed([0.01], 0.05, 1000, denoise=False), score).mean() < 0.55
    sampler = Annealed.fitted(toy_rows(20_000, 0), 1000, adjusted=True)
    assert sampler.num_score_calls <= 1000
    assert abs(shares(sampler, Toy()).mean() - 0.8) < 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Annealed([], 0.1, 1), "`sigmas` must be a list of levels; got shape (0,)."),
        (lambda: Annealed([[1.0]], 0.1, 1), "`sigmas` must be a list of levels; got shape (1, 1)."),
        (lambda: Annealed([1.0, 2.0], 0.1, 1), "`sigmas` must be strictly decreasing; got 2 after 1. Sort them"),
        (lambda: Annealed([1.0, 1.0], 0.1, 1), "`sigmas` must be strictly decreasing; got 1 after 1."),
        (lambda: Annealed([1.0, 0.0], 0.1, 1), "`sigmas[1]` must be positive and finite; got 0.0."),
        (lambda: Annealed([np.nan], 0.1, 1), "`sigmas[0]` must be positive and finite; got nan."),
        (lambda: Annealed([1.0], [0.1], 1), "`step_size` must be one number; got shape (1,)."),
        (lambda: Annealed([1.0], -0.1, 1), "`step_size` must be positive and finite; got -0.1."),
        (lambda: Annealed([1.0], 0.1, 0), "`num_steps` must be at least 1; got 0."),
        (lambda: Annealed([1.0], 0.1, 2.0), "`num_steps` must be a whole number; got 2.0."),
        (lambda: Annealed.fitted(np.ones(3)), "`x` must be rows of data, (n, d) with at least two; got shape (3,)."),
        (lambda: Annealed.fitted([[1.0], [np.nan]]), "`x` must be finite; got nan in row 1, column 0."),
        (lambda: Annealed.fitted([[1.0, 2.0], [0.0, 2.0]]), "column 1 is constant. Leave it out."),
        (lambda: Annealed.between(1.0, 2.0, 3), "`high` must be at least 2.0; got 1.0."),
        (lambda: Annealed.between(1.0, 0.0, 3), "`low` must be positive and finite; got 0.0."),
        (lambda: Annealed.between(1.0, 0.5, 0), "`dim` must be at least 1; got 0."),
        (lambda: Annealed.fitted([[1.0], [0.0]], 3), "`num_score_calls` must be at least 6, one step at each of 5"),
        (lambda: Annealed.fitted([[1.0], [0.0]], 2.5), "`num_score_calls` must be a whole number; got 2.5."),
        (lambda: Annealed.fitted([[1.0], [0.0]], sigma_min=2.0), "must be below the largest distance of two rows, 1;"),
        (lambda: Annealed.fitted([[1.0], [0.0]], sigma_min=0.0), "`sigma_min` must be positive and finite; got 0.0."),
    ],
)
def test_hyperparameters_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError) as refusal:
        make()
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("target", "x0", "message"),
    [
        (noise_alone, np.zeros(2), "`x0` must be a point for each chain, (chain, d); got shape (2,)."),
        (noise_alone, np.zeros((1, 2)), "`adjusted` must be False for a bare score; give a log density"),
        (lambda x, _: x[:1], np.zeros((1, 2)), "`target` must return one number, or a score of shape (2,); got (1,)."),
        (lambda x, _: -(x @ x), [[0.0], [np.inf]], "got other values in 1 of 2 chains, first in the one from [inf]."),
    ],
)
def test_targets_and_starts_that_do_not_fit_are_refused(target, x0, message):
    with pytest.raises(ValueError) as refusal:
        Annealed([1.0], 0.1, 2, adjusted=True).draw(target, x0, jr.key(0))
    assert message in str(refusal.value)
