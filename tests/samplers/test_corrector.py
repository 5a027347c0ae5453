"""Predictor and corrector against closed forms, the reverse-time SDE and quadrature.

Breaks these: the noise of the predictor or its shrinkage in another convention, a corrector at the level before, its
step without the factor 2, accept/reject left out for densities.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import mixture
from scipy.stats import chi2, kstest, norm

from ptilde.samplers import PredictorCorrector
from ptilde.samplers.ladder import longest_step

FALSE_ALARM = 1e-5
LOW, HIGH = np.log(0.1), np.log(10.0)
MODES = {"weights": [0.2, 0.8], "means": [[-1.5], [1.5]], "spreads": [0.5, 0.5]}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def normal_score(variance):
    """The score of N(0, diag(variance)), blurred."""
    return lambda x, level: -x / (jnp.asarray(variance) + jnp.exp(2 * level))


def normal_density(variance):
    return lambda x, level: -0.5 * jnp.sum(x**2 / (jnp.asarray(variance) + jnp.exp(2 * level)))


@eqx.filter_jit
def ends(sampler, target, x, key, low=LOW, high=HIGH):
    return jax.vmap(lambda x, key: sampler(target, x, low, high, key))(x, jr.split(key, len(x)))


def variance_at_end(e, start, num_steps, num_corrections, h):
    """Of a normal column of variance e: the recursion of the scheme, by hand."""
    levels = np.exp(np.linspace(HIGH, LOW, num_steps + 1))
    v = start
    for sigma, next_ in zip(levels[:-1], levels[1:], strict=True):
        gain = 1 - (sigma**2 - next_**2) / (e + sigma**2)  # x + (σ² − σ'²) ∇log p
        v = gain**2 * v + next_**2 * (sigma**2 - next_**2) / sigma**2
        for _ in range(num_corrections):
            epsilon = h * next_**2
            v = (1 - epsilon / (e + next_**2)) ** 2 * v + 2 * epsilon
    return v


@pytest.mark.parametrize("num_corrections", [0, 1, 3])
def test_of_a_gaussian_the_law_at_the_end_is_that_of_the_linear_recursion(num_corrections):
    e, n, snr = np.array([0.01, 1.0, 9.0]), 40_000, 0.4
    start = np.sqrt(e + np.exp(2 * HIGH)) * np.random.default_rng(0).standard_normal((n, 3))
    drawn = np.asarray(
        ends(PredictorCorrector(8, num_corrections, snr), normal_score(e), jnp.asarray(start), jr.key(1))
    )

    def surprise(h, num=num_corrections, share=1.0):
        v = np.array([variance_at_end(e, e + np.exp(2 * HIGH), 8, num, h) for e in e])
        below = chi2(n).cdf(share * np.sum(drawn**2, axis=0) / v)
        return np.min(2 * np.minimum(below, 1 - below))

    assert surprise(2 * snr**2) > FALSE_ALARM
    assert surprise(2 * snr**2, share=1.06) < FALSE_ALARM
    if num_corrections:
        assert surprise(snr**2) < FALSE_ALARM  # α of 2021 is ε here
        assert surprise(2 * snr**2, num_corrections - 1) < FALSE_ALARM


def test_the_scheme_comes_to_the_law_with_the_first_power_of_the_step():
    off = [variance_at_end(1.0, 1 + np.exp(2 * HIGH), n, 0, 0.0) / (1 + np.exp(2 * LOW)) - 1 for n in (100, 200, 400)]
    np.testing.assert_allclose(np.divide(off[:-1], off[1:]), 2, rtol=0.05)


def test_accept_reject_makes_the_law_exact_however_few_the_steps():
    e, n = np.array([0.05, 1.0]), 20_000
    start = jnp.asarray(np.sqrt(e + np.exp(2 * HIGH)) * np.random.default_rng(1).standard_normal((n, 2)))
    level = np.log(1.0)  # so that steps of this level are of the size of the law there

    def p_value(target):
        drawn = np.asarray(ends(PredictorCorrector(1, 40, 0.5), target, start, jr.key(2), level))
        return min(kstest(drawn[:, j], norm(0, np.sqrt(e[j] + 1)).cdf).pvalue for j in range(2))

    assert p_value(normal_density(e)) > FALSE_ALARM
    assert p_value(normal_score(e)) < FALSE_ALARM  # unadjusted, with ε = σ²/2


def test_of_two_modes_the_law_at_the_end_is_that_of_the_scheme_by_quadrature():
    """On a grid of the line the law of the discrete scheme is a product of matrices."""
    model, num_steps, snr, n, low = mixture(**MODES), 12, 0.3, 20_000, np.log(0.3)
    grid = np.linspace(-45, 45, 1201)
    score = jax.jit(jax.vmap(lambda u, level: jax.grad(model)(u[None], level)[0], (0, None)))

    def moved(law, mean, variance):
        moves = np.exp(-0.5 * (grid[:, None] - mean) ** 2 / variance)
        return moves / moves.sum(axis=0) @ law

    def law_at_end(num_corrections):
        levels, law = np.linspace(HIGH, low, num_steps + 1), norm(0.9, np.exp(HIGH)).pdf(grid)
        for before, after in zip(levels[:-1], levels[1:], strict=True):
            fall = np.exp(2 * before) - np.exp(2 * after)
            law = moved(law, grid + fall * score(grid, before), fall * np.exp(2 * (after - before)))
            epsilon = 2 * snr**2 * np.exp(2 * after)
            for _ in range(num_corrections):
                law = moved(law, grid + epsilon * score(grid, after), 2 * epsilon)
        return law / law.sum()

    start = 0.9 + np.exp(HIGH) * np.random.default_rng(3).standard_normal((n, 1))
    sampler = PredictorCorrector(num_steps, 2, snr)
    drawn = np.asarray(ends(sampler, jax.grad(model), jnp.asarray(start), jr.key(4), low))[:, 0]
    p_value = lambda law: kstest(drawn, lambda u: np.interp(u, grid, np.cumsum(law) - law / 2)).pvalue  # noqa: E731
    assert p_value(law_at_end(2)) > FALSE_ALARM
    assert p_value(law_at_end(0)) < FALSE_ALARM
    assert p_value(np.exp(np.asarray(jax.vmap(lambda u: model(u[None], low))(grid)))) < FALSE_ALARM  # bias is seen


def test_modes_are_found_in_their_shares_with_accept_reject():
    model, n = mixture([0.2, 0.8], [[-5.0, -5.0], [5.0, 5.0]], [1.0, 1.0]), 4000
    random = np.random.default_rng(5)
    at_high = np.array([[-5.0, -5.0], [5.0, 5.0]])[random.choice(2, n, p=[0.2, 0.8])]
    start = jnp.asarray(at_high + np.sqrt(1 + np.exp(2 * HIGH)) * random.standard_normal((n, 2)))
    drawn = np.asarray(ends(PredictorCorrector(100), model, start, jr.key(6)))
    assert abs(np.mean(drawn.sum(axis=1) > 0) - 0.8) < 4.42 * np.sqrt(0.8 * 0.2 / n)
    along = drawn.sum(axis=1) / np.sqrt(2)
    exact = lambda u: norm(np.array([-1, 1]) * np.sqrt(50), np.sqrt(1.01)).cdf(u[:, None]) @ [0.2, 0.8]  # noqa: E731
    assert kstest(along, exact).pvalue > FALSE_ALARM


def test_a_correction_of_a_density_is_a_step_of_mala_at_the_level_that_was_reached():
    calls = []

    def seen(x, level):
        jax.debug.callback(lambda level: calls.append(float(level)), level)
        return normal_density(1.0)(x, level)

    sampler = PredictorCorrector(3, 2)
    sampler(seen, jnp.ones(2), LOW, HIGH, jr.key(0)).block_until_ready()
    jax.effects_barrier()
    levels = np.linspace(HIGH, LOW, 4)
    assert len(calls) == sampler.num_score_calls == 10
    np.testing.assert_allclose(calls, [levels[0], *np.repeat(levels[1:], 3)], rtol=1e-12)


def test_steps_of_accept_reject_are_as_long_as_mala_wants_them():
    """From one point, where log p is flat at this level, one correction is a normal step of variance 2hσ²."""
    flat, n = lambda x, level: 0.0 * jnp.sum(x), 20_000  # noqa: E731
    sampler = PredictorCorrector(1, 1)
    drawn = np.asarray(ends(sampler, flat, jnp.zeros((n, 3)), jr.key(7)))
    predicted = np.exp(2 * LOW) * (1 - np.exp(2 * (LOW - HIGH)))
    for h, fits in ((longest_step(3), True), (0.9 * longest_step(3), False)):
        below = chi2(3 * n).cdf(np.sum(drawn**2) / (predicted + 2 * h * np.exp(2 * LOW)))
        assert (2 * min(below, 1 - below) > FALSE_ALARM) == fits


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PredictorCorrector(0), "`num_steps` must be at least 1; got 0."),
        (lambda: PredictorCorrector(2, -1), "`num_corrections` must be at least 0; got -1."),
        (lambda: PredictorCorrector(2, snr=0.0), "`snr` must be positive and finite; got 0.0."),
        (
            lambda: PredictorCorrector()(lambda x, _: x[:1], jnp.ones(2), LOW, HIGH, jr.key(0)),
            "`target` must return one number, or a score of shape (2,); got (1,).",
        ),
    ],
)
def test_what_means_nothing_is_refused(make, message):
    with pytest.raises(ValueError) as refusal:
        make()
    assert message in str(refusal.value)
