"""Each simulator's density integrates to one, and agrees with its own draws."""

import itertools

import numpy as np
import pytest
from scipy import integrate, stats

from ptilde import datasets

TWEEDIES = [(1.2, 3.0, 2.0), (1.5, 1.0, 0.5), (1.35, 20.0, 4.0)]


@pytest.mark.parametrize(("power", "mean", "dispersion"), TWEEDIES)
def test_tweedie_has_total_mass_one_and_its_stated_mean_and_variance(power, mean, dispersion):
    law = {"power": power, "mean": mean, "dispersion": dispersion}
    variance = dispersion * mean**power

    def moment(k):
        def integrand(y):
            return y**k * np.exp(datasets.tweedie_log_density(y, **law))

        cuts = [0, mean / 4, mean, mean + 5 * np.sqrt(variance), mean + 60 * np.sqrt(variance)]
        return sum(integrate.quad(integrand, *ends, epsabs=1e-12, limit=200)[0] for ends in itertools.pairwise(cuts))

    atom = np.exp(datasets.tweedie_log_density(0.0, **law))
    assert atom + moment(0) == pytest.approx(1, abs=1e-8)
    assert moment(1) == pytest.approx(mean, rel=1e-8)
    assert moment(2) - mean**2 == pytest.approx(variance, rel=1e-7)


def test_tweedie_series_equals_the_bessel_form_at_power_one_and_a_half():
    # With p = 3/2 the amounts are exponential and the series is a Bessel function.
    from scipy.special import ive

    mean, dispersion = 2.0, 0.7
    rate, scale = 2 * np.sqrt(mean) / dispersion, dispersion * np.sqrt(mean) / 2
    y = np.geomspace(1e-6, 200, 40)
    root = 2 * np.sqrt(rate * y / scale)
    expected = -rate - y / scale + 0.5 * np.log(rate / (y * scale)) + np.log(ive(1, root)) + root
    got = datasets.tweedie_log_density(y, power=1.5, mean=mean, dispersion=dispersion)
    np.testing.assert_allclose(got, expected, rtol=1e-11)


def test_tweedie_density_beyond_its_support_is_minus_infinity_and_nan_stays_nan():
    assert datasets.tweedie_log_density(np.array([-1.0, np.inf, np.nan]))[:2].tolist() == [-np.inf, -np.inf]
    assert np.isnan(datasets.tweedie_log_density(np.nan))


def tweedie_statistics(y, mean=3.0):
    """Standard scores of the share of zeros and of the mean, and the KS p-value of the amounts against the density."""
    atom = np.exp(datasets.tweedie_log_density(0.0, mean=mean))
    variance = 2 * mean**1.2
    share = (np.mean(y == 0) - atom) / np.sqrt(atom * (1 - atom) / len(y))
    average = (y.mean() - mean) / np.sqrt(variance / len(y))
    grid = np.linspace(0, 80, 40_001)
    density = np.where(grid > 0, np.exp(datasets.tweedie_log_density(grid, mean=mean)), 0)
    cdf = integrate.cumulative_simpson(density, x=grid, initial=0) / (1 - atom)
    return abs(share), abs(average), stats.kstest(y[y > 0], lambda v: np.interp(v, grid, cdf)).pvalue


def test_tweedie_draws_follow_its_density_and_draws_of_another_mean_do_not():
    # Two-sided false alarm 1e-5 each: 4.4 deviations, and p-values of 1e-5.
    share, average, p_value = tweedie_statistics(datasets.tweedie(50_000, seed=1))
    assert share < 4.4 and average < 4.4 and p_value > 1e-5
    share, average, p_value = tweedie_statistics(datasets.tweedie(50_000, mean=3.3, seed=1))
    assert share > 4.4 and average > 4.4 and p_value < 1e-5


def test_two_mode_toy_integrates_to_one_with_its_weights_on_its_modes():
    grid = np.linspace(-14, 14, 281)  # the trapezoid rule is exact to rounding for a Gaussian at this step
    x = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(datasets.gaussian_mixture_log_density(x)) * (grid[1] - grid[0]) ** 2
    assert mass.sum() == pytest.approx(1, abs=1e-12)
    assert mass[x.sum(1) > 0].sum() == pytest.approx(0.8, abs=1e-8)


def test_gaussian_mixture_score_is_the_gradient_of_its_log_density():
    law = {"weights": (1, 2, 3), "means": ((0, 0), (1, -1), (2, 2)), "covariance": ((1, 0.4), (0.4, 0.5))}
    x = np.random.default_rng(0).normal(size=(20, 2)) * 2
    step = 1e-5
    for j in range(2):
        shift = step * np.eye(2)[j]
        above, below = (datasets.gaussian_mixture_log_density(x + s * shift, **law) for s in (1, -1))
        np.testing.assert_allclose(
            datasets.gaussian_mixture_score(x, **law)[:, j], (above - below) / (2 * step), atol=1e-8
        )


def test_gaussian_mixture_draws_have_the_stated_weights_and_spread():
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    x = datasets.gaussian_mixture(40_000, covariance=covariance, seed=2)
    big = x.sum(1) > 0
    assert abs(big.mean() - 0.8) < 4.4 * np.sqrt(0.16 / 40_000)
    z = np.linalg.solve(np.linalg.cholesky(covariance), (x[big] - 5).T)
    assert min(stats.kstest(row, "norm").pvalue for row in z) > 1e-5
    assert abs(np.mean(z[0] * z[1])) < 4.4 / np.sqrt(big.sum())


HURDLE_2 = {
    "logits": (0.3, -0.4),
    "interactions": ((0, 0.9), (0.9, 0)),
    "log_means": (0.5, -0.2),
    "log_covariance": ((0.5, 0.2), (0.2, 0.3)),
}


def hurdle_masses():
    """The mass of each of the four patterns of two columns, by the trapezoid rule in the logs."""
    u = np.linspace(-7, 7, 281)
    step, amount = u[1] - u[0], np.exp(u)
    zero = np.zeros_like(u)
    first, second = (np.stack(pair, 1) for pair in ((amount, zero), (zero, amount)))
    both = np.exp(np.stack(np.meshgrid(u, u, indexing="ij"), -1).reshape(-1, 2))

    def mass(x, jacobian, cell):
        return np.sum(np.exp(datasets.hurdle_log_density(x, **HURDLE_2)) * jacobian) * cell

    return np.array(
        [
            mass(np.zeros((1, 2)), 1, 1),
            mass(second, amount, step),
            mass(first, amount, step),
            mass(both, both.prod(1), step**2),
        ]
    )


def test_hurdle_has_the_ising_mass_on_each_pattern():
    weights = np.exp([0, -0.4, 0.3, 0.3 - 0.4 + 0.9])
    np.testing.assert_allclose(hurdle_masses(), weights / weights.sum(), rtol=1e-10)


def test_hurdle_draws_have_those_masses_and_amounts_of_the_stated_dependence():
    x = datasets.hurdle(40_000, seed=3, **HURDLE_2)
    masses = hurdle_masses()
    counts = np.bincount((x > 0) @ [2, 1], minlength=4)
    assert stats.chisquare(counts, masses * len(x)).pvalue > 1e-5
    logs = np.log(x[(x > 0).all(1)])
    z = np.linalg.solve(np.linalg.cholesky(HURDLE_2["log_covariance"]), (logs - HURDLE_2["log_means"]).T)
    assert min(stats.kstest(row, "norm").pvalue for row in z) > 1e-5
    assert abs(np.mean(z[0] * z[1])) < 4.4 / np.sqrt(z.shape[1])


def test_hurdle_density_is_minus_infinity_below_zero():
    assert datasets.hurdle_log_density([[-1.0, 2.0, 3.0]]) == -np.inf


@pytest.mark.parametrize("draw", [datasets.tweedie, datasets.gaussian_mixture, datasets.hurdle])
def test_the_same_seed_gives_the_same_draws_and_another_seed_others(draw):
    np.testing.assert_array_equal(draw(50, seed=7), draw(50, seed=np.random.default_rng(7)))
    assert not np.array_equal(draw(50, seed=7), draw(50, seed=8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.tweedie(3, power=2.0), "`power` must be above 1 and below 2"),
        (lambda: datasets.tweedie(3, mean=-1.0), "`mean` must be"),
        (
            lambda: datasets.gaussian_mixture(3, weights=(1, -1)),
            "`weights` must be one number >= 0 for each of the 2 means",
        ),
        (lambda: datasets.hurdle(3, interactions=np.eye(3)), "zero on its diagonal"),
        (lambda: datasets.hurdle(3, interactions=np.eye(2)), "`interactions` must be a symmetric matrix"),
        (lambda: datasets.hurdle(-1), "`n` must be at least 0; got -1"),
    ],
)
def test_a_law_that_cannot_be_is_refused_in_words(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
