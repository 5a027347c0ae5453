"""The law of the amounts: exact at the Gaussian start, behind a map too, the same for a row whatever lies beside it."""

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import COVARIANCE, mixture
from joint_densities import AT_TIMES, LAYOUT, LOW, ONE_COLUMN, amount_density, rows
from scipy.integrate import trapezoid
from scipy.stats import chi2, kstest, multivariate_normal

from ptilde import amounts
from ptilde.amounts import BLOCK, AmountDensity, row_keys, transported
from ptilde.normalizer import importance
from ptilde.samplers import Annealed, PredictorCorrector, ProbabilityFlow
from ptilde.strata import Gaussian


@pytest.fixture(scope="module")
def bent():
    """Gaussian behind a map."""
    return amount_density(bend=0.2)


@pytest.fixture(scope="module")
def moved():
    """Scores of no Gaussian, behind a map."""
    return amount_density(scale=0.2, bend=0.2)


def without_map(model):
    return eqx.tree_at(lambda m: m.transport, model, None)


def log_slope(model, state, z):
    """log |det ∂u/∂z| by the map itself."""
    return np.sum(
        eqx.filter_jit(lambda m, s, z: m.transport(z, *m.layout.features(s, np.zeros((len(s), 0))))[1])(
            model, state, z
        ),
        axis=1,
    )


def gaussian_of(model, state):
    """Of each row the active columns, and the law of their amounts at the start, by scipy."""
    hot = np.concatenate([np.ones((len(state), 1))] + [np.eye(n)[state[:, k]] for k, n in enumerate((3, 2))], 1)
    for mean, on in zip(hot @ model.gaussian.coefficients.T, LAYOUT.active_rows(state), strict=True):
        yield on, multivariate_normal(mean[on], COVARIANCE[np.ix_(on, on)] + LOW**2 * np.eye(on.sum()))


def test_at_the_start_it_is_the_gaussian_of_the_state(bent):
    state, z = rows(50)
    exact = [law.logpdf(z[on]) for (on, law), z in zip(gaussian_of(bent, state), z, strict=True)]
    np.testing.assert_allclose(without_map(bent).log_prob(state, z), exact, rtol=1e-4, atol=1e-4)  # float32


def test_behind_a_map_it_is_the_density_of_what_the_map_makes_times_its_slope(moved):
    state, z = rows(200)
    u = transported(moved.transport, LAYOUT, state, z)
    assert np.abs(u - z).max() > 0.5  # the map does something
    expected = without_map(moved).log_prob(state, u) + log_slope(moved, state, z)
    np.testing.assert_allclose(moved.log_prob(state, z), expected, rtol=1e-5, atol=1e-5)


def test_its_gradient_is_that_of_the_density_map_included(moved):
    state, z = rows(200)
    # Differences of fourth order. Splines bend anew at each knot: a longer step sees that, a shorter one the rounding.
    step, gradient = 0.005, np.zeros(z.shape)
    for j in range(3):
        ahead = [moved.log_prob(state, z + k * step * np.eye(3)[j]) for k in (1, -1, 2, -2)]
        gradient[:, j] = (8 * (ahead[0] - ahead[1]) - (ahead[2] - ahead[3])) / (12 * step)
    found, active = moved.gradient(state, z), LAYOUT.active_rows(state)
    assert np.all(found[~active] == 0) and np.all(found[active] != 0)
    np.testing.assert_allclose(found, gradient, rtol=0.01, atol=0.01)


def test_the_flow_is_another_route_to_the_same_density(bent):
    state, z = rows(20)
    value, error = bent.flow_log_prob(state, z, jr.key(0))
    np.testing.assert_allclose(value, bent.log_prob(state, z), rtol=1e-3)
    assert np.all(np.abs(value - bent.log_prob(state, z)) <= 2 * error + 1e-3)


def test_a_value_does_not_depend_on_the_rows_beside_it(moved):
    state, z = rows(BLOCK + 7)
    whole = moved.log_prob(state, z)
    np.testing.assert_array_equal(moved.log_prob(state[::-1], z[::-1])[::-1], whole)
    # With fewer patterns the base has another layout: the same up to rounding.
    np.testing.assert_allclose(moved.log_prob(state[-3:], z[-3:]), whole[-3:], rtol=1e-5, atol=1e-5)


def test_spans_that_bound_the_memory_change_nothing(moved, monkeypatch):
    state, z = rows(3 * BLOCK)
    whole = moved.log_prob(state, z)
    monkeypatch.setattr(amounts, "MOST_ROTATION", 1)
    assert len(list(moved._spans(len(z)))) == 3
    np.testing.assert_allclose(moved.log_prob(state, z), whole, rtol=1e-6, atol=1e-6)


def test_the_map_sends_draws_to_draws_of_the_law_behind_it(bent):
    state = rows(2000)[0]
    z = bent.sample(state, jr.key(0))
    np.testing.assert_array_equal(z[~LAYOUT.active_rows(state)], 0)

    def p_value(u):
        whitened = [
            np.linalg.solve(np.linalg.cholesky(law.cov), u[on] - law.mean)
            for (on, law), u in zip(gaussian_of(bent, state), u, strict=True)
        ]
        return kstest(np.concatenate(whitened), "norm").pvalue

    assert p_value(transported(bent.transport, LAYOUT, state, z)) > 1e-5
    assert p_value(z) < 1e-5


SAMPLERS = {
    "adaptive flow": ProbabilityFlow(None),
    "predictor and corrector": PredictorCorrector(),
    "annealed": Annealed.between(1.0, 0.01, 3, 400, adjusted=True),  # spans no level of the models here
}


def variance_surprise(noise):
    """How likely a mean square as far from 1, either way, is of normal noise."""
    below = chi2(noise.size).cdf(np.sum(noise**2))
    return 2 * min(below, 1 - below)


@pytest.mark.parametrize("name", SAMPLERS)
def test_other_samplers_draw_the_gaussian_of_the_state_behind_the_map(bent, name):
    state = rows(2000)[0]
    z = bent.sample(state, jr.key(1), SAMPLERS[name])
    np.testing.assert_array_equal(z[~LAYOUT.active_rows(state)], 0)
    whitened = [
        np.linalg.solve(np.linalg.cholesky(law.cov), u[on] - law.mean)
        for (on, law), u in zip(gaussian_of(bent, state), transported(bent.transport, LAYOUT, state, z), strict=True)
    ]
    assert kstest(np.concatenate(whitened), "norm").pvalue > 1e-5
    assert variance_surprise(np.concatenate(whitened)) > 1e-5
    assert variance_surprise(1.1 * np.concatenate(whitened)) < 1e-5


@pytest.mark.parametrize("name", SAMPLERS)
def test_other_samplers_draw_two_modes_that_the_gaussian_knows_nothing_of(name):
    z = two_modes(0.0).sample(np.zeros((4000, 0), np.int32), jr.key(2), SAMPLERS[name])[:, 0]
    spread = np.hypot(TwoModes.spread, LOW)
    assert abs(np.mean(z > 0) - 0.5) < 4.42 * 0.5 / 4000**0.5
    assert kstest((np.abs(z) - 1) / spread, "norm").pvalue > 1e-5
    assert variance_surprise((np.abs(z) - 1) / spread) > 1e-5
    assert variance_surprise((np.abs(z) - 1) / TwoModes.spread) < 1e-5  # the law is that of the least level


@pytest.mark.slow
def test_all_samplers_of_a_fitted_model_agree_in_mean_and_covariance(fitted_model):
    joint, n = fitted_model._joint, 4000
    state = joint.draw_states(n, jr.key(0))
    active = joint.amounts.layout.active_rows(state)
    pairs = [(i, j) for i in range(active.shape[1]) for j in range(i, active.shape[1])]

    def moments(z):
        """Of each column the mean, of each pair the covariance, and their standard errors."""
        centred = z - [z[on, j].mean() for j, on in enumerate(active.T)]
        each = [z[on, j] for j, on in enumerate(active.T)]
        each += [np.prod(centred[:, [i, j]], 1)[active[:, i] & active[:, j]] for i, j in pairs]
        return np.array([[v.mean(), v.std() / np.sqrt(len(v))] for v in each]).T

    def surprise(z, other):
        (one, error), (two, its) = moments(z), moments(other)
        return np.max(np.abs(one - two) / np.hypot(error, its))

    by_flow = joint.draw_amounts(state, jr.key(1))
    draws = [joint.draw_amounts(state, jr.key(2 + i), sampler) for i, sampler in enumerate(SAMPLERS.values())]
    assert [surprise(z, by_flow) < 4.8 for z in draws] == [True] * 3  # of 9 numbers: false alarm 1.4e-5 each
    assert surprise(1.15 * draws[0], by_flow) > 4.8


def test_no_sampler_is_the_flow_to_the_last_bit(moved):
    state = rows(20)[0]
    np.testing.assert_array_equal(moved.sample(state, jr.key(0)), moved.sample(state, jr.key(0), ProbabilityFlow()))


def test_a_sampler_that_leaves_the_numbers_is_refused():
    with pytest.raises(ValueError, match="`sampler` must keep draws finite; got other values in 9 of 9 rows"):
        two_modes(0.0).sample(np.zeros((9, 0), np.int32), jr.key(0), Annealed([3.0, 1.0], 100.0, 50))


def signal(state, layout=LAYOUT):
    """Σr of the active block of each state: tr C(C + σ²I)⁻¹."""
    blocks = [COVARIANCE[: len(on), : len(on)][np.ix_(on, on)] for on in layout.active_rows(state)]
    return np.array([np.trace(b @ np.linalg.inv(b + LOW**2 * np.eye(len(b)))) for b in blocks])


def tilted(model, state):
    """The model with a level head of 0.1, and by how much that lifts log p in each state."""
    head = np.float32([0.0] * len(model.layout.bodies) + [0.1])
    lift = 0.1 * np.sqrt(signal(state, model.layout)) * (1 + np.log1p(LOW**-2.0))
    return eqx.tree_at(lambda m: m.network.network.last.bias, model, head), lift


def test_the_ratio_certifies_a_density_that_is_normalised_and_measures_one_that_is_not(bent):
    state = rows(2000)[0]
    wrong, lift = tilted(bent, state)

    def off(model, expected):
        value, error = importance(model.log_ratio(state, jr.key(7)))
        return abs(value - expected) / (error + 1e-4)

    assert off(bent, 0.0) < 4.5  # false alarm 7e-6
    assert off(bent, 0.02) > 4.5
    assert off(wrong, np.log(np.mean(np.exp(lift)))) < 4.5


def test_the_mass_is_brought_to_one_if_it_is_known_well(bent):
    state, z = rows(6000)
    wrong, lift = tilted(bent, state)
    right = wrong.calibrated(state, jr.key(0))
    np.testing.assert_allclose(right.log_mass, np.log(np.mean(np.exp(lift))), rtol=1e-3)
    lower = wrong.log_prob(state, z) - right.log_prob(state, z)
    np.testing.assert_allclose(lower, right.log_mass, rtol=1e-3)
    assert amount_density().calibrated(state, jr.key(0)).log_mass == 0
    assert wrong.calibrated(state[:1], jr.key(0)).log_mass == 0


def test_states_without_amounts_do_not_count_in_the_mass():
    state = np.arange(12_000, dtype=np.int32)[:, None] % 2
    wrong, lift = tilted(amount_density(layout=AT_TIMES), state)
    np.testing.assert_allclose(wrong.calibrated(state, jr.key(0)).log_mass, lift[1], rtol=1e-3)


class TwoModes(eqx.Module):
    """Two narrow modes far apart, exact at every noise level but for a lift; its mass is e to the lift."""

    lift: float
    spread: float = 0.05

    def __call__(self, x, log_sigma, stratum):
        return mixture([0.5, 0.5], [[-1.0], [1.0]], [self.spread, self.spread])(x, log_sigma) + self.lift


def two_modes(lift):
    """Scores of two modes upon a Gaussian of the same mean and variance."""
    gaussian = Gaussian(np.zeros((1, 1), np.float32), np.array([[1 + TwoModes.spread**2]], np.float32), False)
    of = lambda m: (m.gaussian, m.network)  # noqa: E731
    return eqx.tree_at(of, amount_density(layout=ONE_COLUMN), (gaussian, TwoModes(lift)))


def test_the_mass_of_modes_far_apart_is_measured_by_the_flow(monkeypatch):
    model, state, key = two_modes(0.05), np.zeros((6000, 0), np.int32), jr.key(0)

    def mass(model):
        x = np.linspace(-2, 2, 8001)
        return trapezoid(np.exp(model.log_prob(np.zeros((len(x), 0), np.int32), x[:, None])), x)

    assert importance(model.apply(amounts._base_ratio, state, None, row_keys(key, 6000))).standard_error > 0.03
    assert mass(model) == pytest.approx(np.exp(0.05), rel=1e-4)
    assert mass(model.calibrated(state, key)) == pytest.approx(1, abs=0.01)
    monkeypatch.setattr(amounts, "WELL_KNOWN", np.inf)
    assert abs(mass(model.calibrated(state, key)) - 1) > 0.03  # the base alone does not know better


def test_the_flow_is_asked_for_fewer_draws_and_only_where_the_base_knows_too_little(monkeypatch):
    asked, log_ratio = [], AmountDensity.log_ratio
    monkeypatch.setattr(amounts, "FLOW_DRAWS", 1000)
    monkeypatch.setattr(AmountDensity, "log_ratio", lambda *args: (asked.append(len(args[1])), log_ratio(*args))[1])
    state = np.zeros((6001, 0), np.int32)
    amount_density(layout=ONE_COLUMN).calibrated(state, jr.key(0))
    assert asked == []
    two_modes(0.0).calibrated(state, jr.key(0))
    assert asked == [858]  # every seventh
