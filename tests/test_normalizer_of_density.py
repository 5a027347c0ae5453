"""log Z of arbitrary densities: right where the answer is known, honest about the error, silent where it cannot."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from scipy import stats
from scipy.special import gammaln

from ptilde import Categorical, Count, Interval, Positive, Real, SemiContinuous, log_normalizer
from ptilde.models import Hurdle, strata
from ptilde.normalizer import LogNormalizer
from ptilde.normalizer.moves import Moves, Path, moved
from ptilde.normalizer.particles import Cloud, _refuse_drift, _together
from ptilde.normalizer.start import Start, first
from ptilde.normalizer.support import columns_of

LOG_2PI = np.log(2 * np.pi)
QUARTER = np.log(np.arctan2(np.sqrt(0.75), 0.5) / np.sqrt(0.75))  # of exp(-(x² + y² + xy)/2) on x, y > 0
ZERO_OR_ONE = Categorical((0, 1))


def gaussian(dim, rho):
    """log q of correlations ρ, and its log Z."""
    covariance = np.full((dim, dim), rho) + (1 - rho) * np.eye(dim)
    precision = np.linalg.inv(covariance)
    return lambda x: -0.5 * x @ precision @ x, 0.5 * (dim * LOG_2PI + np.linalg.slogdet(covariance)[1])


def two_modes(dim, at):
    """A fifth of N(-at, I) and four of N(at, I), times (2π)^(d/2)."""
    centres, log_weights = np.array([[-at], [at]]) * np.ones(dim), np.log([0.2, 0.8])
    return lambda x: logsumexp(log_weights - 0.5 * jnp.sum((x - centres) ** 2, 1)), dim * LOG_2PI / 2


def ising(side, coupling=0.8):
    """Spins ±1 on a square, in a weak field."""
    place = np.arange(side**2).reshape(side, side)
    pairs = np.concatenate([np.stack([place[1:], place[:-1]], -1).reshape(-1, 2),
                            np.stack([place[:, 1:], place[:, :-1]], -1).reshape(-1, 2)])  # fmt: skip
    spin = lambda x: 2 * x - 1  # noqa: E731
    return lambda x: coupling * jnp.sum(spin(x)[pairs[:, 0]] * spin(x)[pairs[:, 1]]) + 0.1 * jnp.sum(spin(x))


def hurdle(dim, log=False):
    random = np.random.default_rng(1)
    half = 0.3 * random.standard_normal((dim, dim))
    logits, linear, pairs = random.normal(size=dim), random.normal(size=dim), random.normal(size=dim * (dim - 1) // 2)
    precision = (half @ half.T + np.eye(dim))[np.triu_indices(dim)]
    return Hurdle(0.5 * logits, 0.4 * pairs, linear, precision, 0.3 * random.normal(size=dim * (dim - 1)), log)


@pytest.mark.parametrize(
    "log_q, support, truth",
    [
        (lambda x: -0.5 * x @ x, Real(), LOG_2PI / 2),
        (lambda x: -jnp.log1p(x[0] ** 2), Real(), np.log(np.pi)),
        (lambda x: -0.75 * jnp.log1p(x[0] ** 2), Real(), 0.5 * np.log(np.pi) + gammaln(0.25) - gammaln(0.75)),
        (lambda x: jnp.logaddexp(-0.5 * (x[0] - 1e3) ** 2, -0.5 * (x[0] + 1e3) ** 2), Real(), np.log(2) + LOG_2PI / 2),
        (lambda x: -0.5 * jnp.log(x[0]) - x[0], Positive(), 0.5 * np.log(np.pi)),
        (lambda x: -0.5 * jnp.log(x[0]) + 2 * jnp.log1p(-x[0]), Interval(0, 1), np.log(16 / 15)),
    ],
    ids=["Gaussian", "Cauchy", "half a degree of freedom", "modes 2000 apart", "a pole at zero", "a beta"],
)
def test_quadrature_on_a_line_gives_the_closed_form(log_q, support, truth):
    found = log_normalizer(log_q, support=[support])
    assert found.method == "quadrature"
    assert abs(found.value - truth) < max(found.standard_error, 1e-9) < 1e-7


@pytest.mark.parametrize(
    "log_q, support, truth",
    [
        (two_modes(2, 5.0)[0], Real(), LOG_2PI),
        (lambda x: -1.5 * jnp.log1p(x @ x), Real(), LOG_2PI),
        (gaussian(2, 0.9999)[0], Real(), gaussian(2, 0.9999)[1]),
        (
            lambda x: -0.5 * x @ x - 0.5 * x[0] * x[1],
            Positive(),
            QUARTER,
        ),
    ],
    ids=["two modes", "Cauchy", "a ridge", "a quarter plane"],
)
def test_quadrature_in_a_plane_gives_the_closed_form(log_q, support, truth):
    found = log_normalizer(log_q, support=[support] * 2)
    assert abs(found.value - truth) < 4 * found.standard_error < 1e-4


def test_a_peak_far_away_is_found_from_a_hint():
    found = log_normalizer(lambda x: -0.5 * ((x[0] - 1234.5) * 1e6) ** 2, x0=[1234.5])
    assert found.value == pytest.approx(LOG_2PI / 2 - np.log(1e6), abs=1e-7)


def test_atoms_categories_and_bodies_are_summed_pattern_by_pattern():
    """Column 0: mass 3 at 0 and 2 at 9, or e^-x; column 1: "a" or "b", worth 1 and 4; they do not interact."""

    def log_q(x):
        atoms = jnp.where(x[0] == 0, jnp.log(3.0), jnp.where(x[0] == 9, jnp.log(2.0), -x[0]))
        return atoms + x[1] * jnp.log(4.0)

    found = log_normalizer(log_q, support=[SemiContinuous((0, 9)), Categorical(("a", "b"))])
    assert found.value == pytest.approx(np.log((3 + 2 + 1) * (1 + 4)), abs=1e-8)


@pytest.mark.parametrize("log", [False, True])
def test_a_hurdle_law_in_two_columns_is_its_strata(log):
    model = hurdle(2, log)
    found = log_normalizer(model, support=SemiContinuous((0,), Positive() if log else Real()), dim=2)
    assert found.method == "quadrature"
    assert found.value == pytest.approx(np.logaddexp.reduce(strata(model).log_masses), abs=1e-6)


def test_few_spins_are_summed_and_the_answer_says_so():
    found = log_normalizer(ising(4, 0.0), support=[ZERO_OR_ONE] * 16)
    assert (found.method, found.standard_error) == ("sum", 0)
    assert found.value == pytest.approx(16 * np.log(2 * np.cosh(0.1)), abs=1e-10)


def test_draws_of_a_known_density_give_z_without_a_chain():
    x = 1.3 * np.random.default_rng(0).standard_normal((20_000, 3))
    log_density = stats.norm(scale=1.3).logpdf(x).sum(1)
    found = log_normalizer(lambda x: -0.5 * x @ x, draws=x, log_density=log_density)
    assert found.method == "importance" and 5_000 < found.effective < 20_000
    assert abs(found.value - 1.5 * LOG_2PI) < 4.5 * found.standard_error < 0.05


def test_the_answer_is_a_pair_that_pickles_with_what_it_rests_on():
    found = LogNormalizer(1.0, 0.1, 77.0, "smc")
    again = pickle.loads(pickle.dumps(found))
    value, error = again
    assert (value, error, again.effective, again.method) == (1.0, 0.1, 77.0, "smc")
    assert found == (1.0, 0.1)


@pytest.mark.parametrize("dim", [1, 4])
@pytest.mark.parametrize(
    "log_q",
    [lambda x: -0.0 * x[0], lambda x: x @ x, lambda x: -jnp.log1p(jnp.abs(x[0])), lambda x: -x[0]],
    ids=["flat", "rising", "1/(1+|x|)", "an exponential without a support"],
)
def test_what_does_not_fall_is_refused_before_any_work(log_q, dim):
    with pytest.raises(ValueError, match=r"must fall so fast that its integral is finite; got mass per unit"):
        log_normalizer(log_q, dim=dim)


@pytest.mark.parametrize(
    "log_q, support, end",
    [(lambda x: -jnp.log(x[0]), Interval(0, 1), r"-x\[0\]"), (lambda x: -jnp.log(x[0]), Positive(), r"\+x\[0\]")],
)
def test_a_pole_that_holds_infinite_mass_is_refused(log_q, support, end):
    with pytest.raises(ValueError, match=f"along {end}"):
        log_normalizer(log_q, support=[support])


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "`dim` must be given"),
        ({"dim": 3, "x0": [0.0, 0.0]}, r"must have one number of columns; got {'dim': 3, 'x0': 2}"),
        (
            {"support": [Count()]},
            r"finitely many .* got Count\(\) in column 0. Give Categorical\(range\(n\)\)",
        ),
        ({"support": [Real(grid=0.1)]}, "no grid"),
        ({"dim": 3, "method": "quadrature"}, "more than 2 bodies.*got 3 bodies.*Try method='smc'"),
        ({"dim": 1, "method": "sum"}, "columns that have a body"),
        ({"dim": 1, "method": "nuts"}, "`method` must be one of"),
        ({"dim": 1, "num_particles": 10}, "`num_particles` must be at least 256; got 10"),
        ({"dim": 1, "method": "importance"}, "`draws` and `log_density` must be given together"),
        ({"draws": [[0.0], [1.0]], "log_density": [0.0]}, "one number for each of the draws"),
        ({"support": [Positive()], "x0": [-1.0]}, r"`x0` must lie in its support .*; got -1.0 in column 0"),
        ({"support": [Positive()], "draws": [[-1.0]], "log_density": [0.0]}, "`draws` must lie in its support"),
        ({"support": [ZERO_OR_ONE], "x0": [0.5]}, "`x0` must lie in its support"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_with_its_cure(given, message):
    with pytest.raises(ValueError, match=message):
        log_normalizer(lambda x: -0.5 * x @ x, **given)


@pytest.mark.parametrize(
    "log_q, message",
    [
        (lambda x: x, r"`log_q` must return one number; got \(1,\)"),
        (lambda x: x[7, 7], "`log_q` must be defined at a point of shape"),
        (lambda x: jnp.where(jnp.abs(x[0] - 1) < 1, jnp.nan, -0.5 * x @ x), "must be a number below infinity; got nan"),
        (lambda x: -jnp.inf * jnp.ones(()), "must be finite somewhere"),
    ],
)
def test_a_log_density_that_is_none_is_refused(log_q, message):
    with pytest.raises(ValueError, match=message):
        log_normalizer(log_q, dim=1)


@pytest.mark.parametrize("value, message", [(jnp.nan, "below infinity.*got nan at"), (-jnp.inf, "got -inf at all of")])
def test_particles_do_not_start_where_a_log_density_is_none(value, message):
    with pytest.raises(ValueError, match=message):
        log_normalizer(lambda x: jnp.where(jnp.abs(x[0]) < 1e9, value, -x @ x), dim=3, num_particles=256)


def test_draws_that_miss_the_mass_are_refused_with_what_they_gave():
    x = 0.3 * np.random.default_rng(0).standard_normal((2_000, 6))
    with pytest.raises(ValueError, match=r"50 effective draws or more; got .* Give more draws, of a density that is"):
        log_normalizer(lambda x: -0.5 * x @ x, draws=x, log_density=stats.norm(scale=0.3).logpdf(x).sum(1))


def smc(log_q, truth, **given):
    found = log_normalizer(log_q, method="smc", **given)
    assert found.method == "smc" and found.effective > 50
    assert abs(found.value - truth) < 4 * found.standard_error, found
    assert found.standard_error < 0.05, found


@pytest.mark.slow
@pytest.mark.parametrize(("target", "dim"), [(gaussian(10, 0.9), 10), (two_modes(2, 5.0), 2)], ids=["ρ", "modes"])
def test_particles_know_the_mass_of_gaussians_and_modes(target, dim):
    smc(*target, dim=dim)


@pytest.mark.slow
def test_particles_know_the_mass_of_coupled_spins():
    support = [ZERO_OR_ONE] * 16
    smc(ising(4), log_normalizer(ising(4), support=support).value, support=support)


@pytest.mark.slow
def test_particles_jump_between_the_strata_of_a_hurdle_law():
    model = hurdle(5, True)
    smc(model, np.logaddexp.reduce(strata(model).log_masses), support=SemiContinuous((0,)), dim=5)


MIXED = (SemiContinuous((0, 9), Positive()), ZERO_OR_ONE, Interval(-1, 1))


def start_of(kinds, std):
    """On MIXED, an independent start; on the plane, one with a correlation."""
    root = np.diag(std) if len(kinds) == 3 else np.array([[std[0], 0.0], [0.7, std[1]]])
    return Start.of(columns_of(kinds), np.linspace(-0.5, 0.5, len(kinds)), root)


@pytest.mark.parametrize("kinds", [MIXED, (Real(), Positive())], ids=["mixed", "correlated"])
def test_the_law_that_particles_start_from_has_mass_one(kinds):
    """Breaks: a scale without its determinant, options that are not counted, a chart without its slope."""
    with jax.enable_x64(True):
        start = start_of(kinds, np.full(len(kinds), 0.8))
        assert log_normalizer(start, support=kinds).value == pytest.approx(0, abs=1e-5)


def test_particles_start_from_the_law_that_their_weights_assume():
    """By importance: draws with the density that they are said to have give the mass of another law, 0.5^3.

    Half as wide or twice as wide, they do not.
    """
    with jax.enable_x64(True):
        log_q = start_of(MIXED, [0.7, 1.0, 0.7])
        draws = first(start_of(MIXED, [0.9, 1.0, 0.9]), jax.random.key(0), 20_000)
        z = {}
        for factor in (0.5, 1, 2):
            log_density = jax.vmap(start_of(MIXED, [0.9 * factor, 1.0, 0.9 * factor]))(draws)
            found = log_normalizer(log_q, support=MIXED, draws=draws, log_density=log_density)
            z[factor] = abs(found.value) / found.standard_error
    assert z[1] < 4.5 < 10 < min(z[0.5], z[2])


def test_a_round_of_moves_leaves_a_funnel_with_an_atom_as_it_is():
    """v ~ N(0, 1), y | v ~ N(0, e^2v), w = 0 or, with odds e^v, N(v, 1): uniforms before and after.

    Breaks: walks that stretch without the growth of volume, or whose stretch is not undone on the way back.
    """
    kinds, n = (Real(), Real(), SemiContinuous((0,), Real())), 5_000

    def log_p(x):
        v, y, w = x
        body = jnp.log(jax.nn.sigmoid(v)) + stats_norm(w - v)
        return stats_norm(v) + stats_norm(y * jnp.exp(-v)) - v + jnp.where(w == 0, jnp.log(jax.nn.sigmoid(-v)), body)

    with jax.enable_x64(True):
        columns = columns_of(kinds)
        random = np.random.default_rng(0)
        v, y, w = random.standard_normal((3, n))
        x = np.stack([v, y * np.exp(v), np.where(random.random(n) < 1 / (1 + np.exp(-v)), w + v, 0.0)], 1)
        path = Path(log_p, Start.of(columns, np.zeros(3), np.eye(3)), jnp.asarray(1, float))
        stretch = jnp.array([[0.0, 1.0, 0.3], [0.2, 0.0, 0.0], [0.0, 0.0, 0.0]])
        moves = Moves.first(columns)
        moves = eqx.tree_at(lambda m: [m.length, m.stretch], moves, [jnp.full(3, 2.0), stretch])
        for i in range(8):
            after, _ = moved(moves, path, jnp.asarray(x) if i == 0 else after, jax.random.key(i))
    after = np.asarray(after)
    assert np.mean(after[:, 1] != x[:, 1]) > 0.9
    v, y, w = after.T
    assert stats.kstest(v, "norm").pvalue > 1e-6
    assert stats.kstest(y * np.exp(-v), "norm").pvalue > 1e-6
    assert stats.kstest((w - v)[w != 0], "norm").pvalue > 1e-6
    share = (w != 0) - 1 / (1 + np.exp(-v))
    assert abs(share.mean()) < 5 * share.std() / np.sqrt(n)


def stats_norm(x):
    return jax.scipy.stats.norm.logpdf(x)


def cloud(log_z, least=100.0):
    return Cloud(jnp.zeros((64, 1)), np.full((32, 2), -np.log(2)), np.asarray(log_z), np.full(32, least))


def test_islands_that_agree_are_averaged_and_their_spread_is_the_error():
    log_z = np.log(np.linspace(0.9, 1.1, 32))
    found = _together(cloud(log_z), 64)
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.standard_error == pytest.approx(np.exp(log_z).std(ddof=1) / np.sqrt(32))
    assert found.effective == pytest.approx(32**2 * 100 / np.sum(np.exp(2 * log_z)))


@pytest.mark.parametrize(
    "log_z, least, message",
    [
        ([0.0] * 31 + [8.0], 100.0, r"runs that agree within 25%; got \d+% among 32.*`draws`"),
        ([0.0] * 32, 1.2, "50 effective draws or more; got 38.4"),
    ],
)
def test_particles_do_not_answer_when_few_of_them_count(log_z, least, message):
    with pytest.raises(ValueError, match=message):
        _together(cloud(log_z, least), 64)


def test_particles_that_go_on_drifting_at_the_target_are_refused():
    x, y = np.random.default_rng(0).standard_normal((2, 3200, 2))
    top = Cloud(jnp.asarray(x), np.full((32, 100), -np.log(100)), np.zeros(32), np.full(32, 100.0))
    found = LogNormalizer(0.0, 0.1)
    _refuse_drift(found, top, y)
    for drifted in (y + [0.0, 0.5], y * [1.0, 1.5]):
        with pytest.raises(ValueError, match="they still drift at the last temperature.*or `draws` of a density near"):
            _refuse_drift(found, top, drifted)


def errors_in_units_of_their_estimate():
    """Of a skew law in three dimensions, by 40 keys."""
    log_q = lambda x: -0.5 * x @ x + 2 * jnp.sum(jax.nn.log_sigmoid(x))  # noqa: E731
    truth = 3 * log_normalizer(log_q, dim=1).value
    found = [log_normalizer(log_q, dim=3, key=key, num_particles=512) for key in range(40)]
    return np.array([(f.value - truth) / f.standard_error for f in found])


def honest(z):
    """Whether mean and spread are those of t with 31 degrees (sd 1.034): false alarm below 1e-5.

    √40·mean/1.034 is normal within 4.6 but once in 2e5; the variance of 40 such has the relative sd √((2 + 6/27)/40) =
    0.238: that of χ² with 35 degrees over 35, which lies in 0.27 … 2.42 but once in 1e5.
    """
    return abs(z.mean()) < 4.6 * 1.034 / np.sqrt(40) and 0.27 < z.var() / 1.034**2 < 2.42


@pytest.mark.slow
def test_the_standard_error_of_particles_is_the_spread_over_keys():
    z = errors_in_units_of_their_estimate()
    assert honest(z)
    assert not honest(2 * z) and not honest(z / 2)  # an error off by two would be seen
    assert not honest(z + 1)
