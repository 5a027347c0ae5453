"""Jumps leave mixed laws as they are; each statistic has a false alarm of 1e-5 and a sibling that it catches.

Breaks these: log r left out, or without the slope of its chart; the end of the counts without its ratio; jumps that are
always tried; a body value on an end.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import beta, chisquare, kstest, poisson

from ptilde.models import ConwayMaxwellPoisson, Hurdle, Ising, strata
from ptilde.samplers import Column, Density, Jump, Mala, Ula
from ptilde.samplers.base import run
from ptilde.samplers.columns import Columns

INF = np.inf
FALSE_ALARM = 1e-5


def hurdle(d, log):
    """A hurdle law whose columns and amounts all depend on each other."""
    random = np.random.default_rng(3)
    root = 0.4 * random.standard_normal((d, d))
    precision = np.eye(d) + root @ root.T
    logits, pairs = random.normal(-1.0, 0.5, d), random.normal(0, 0.5, d * (d - 1) // 2)
    return Hurdle(logits, pairs, random.normal(0, 0.6, d), precision[np.triu_indices(d)], log=log)


def lower(d):
    """A root of a preconditioner with correlations of about a half."""
    return np.linalg.cholesky(0.5 * np.eye(d) + 0.5)


def amounts(d, log, inner=None):
    inner = Mala(0.8, jnp.asarray(lower(d), float)) if inner is None else inner
    return Jump(inner, [Column((0.0,), (0.0 if log else -INF, INF))] * d)


@eqx.filter_jit
def begun(jump, target, x):
    return jax.vmap(jump.init, (None, 0))(target, x)


def after(jump, log_q, x, num_steps, seed=0):
    """Where chains are after some steps, one chain from each row."""
    target = Density(log_q)
    states = begun(jump, target, jnp.asarray(x, float))
    states, _, _ = run(jump, target, states, jr.key(seed), jnp.asarray(0), 1, num_steps)
    return np.asarray(states.x, np.float64)


def patterns(x):
    return np.bincount((x != 0) @ (1 << np.arange(x.shape[1]))[::-1], minlength=2 ** x.shape[1])


def doubt(model, x):
    """The least p-value of the patterns, and of the amounts made independent and standard, times how many there are."""
    law = strata(model)
    p_values = [chisquare(patterns(x), len(x) * softmax(law.log_masses)).pvalue]
    white = []
    for pattern, mean, covariance in zip(law.patterns[1:], law.means[1:], law.covariances[1:], strict=True):
        on = np.flatnonzero(pattern)
        y = x[((x != 0) == pattern).all(1)][:, on]
        z = ((np.log(y) if model.log else y) - mean[on]) @ np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(on, on)]))
        white.append(np.column_stack([z[:, 0], z.sum(1) / np.sqrt(len(on))]))
    p_values += [kstest(z, "norm").pvalue for z in np.concatenate(white).T]
    return len(p_values) * min(p_values)


class Inflated(Columns):
    """The density of proposals said to be 1.2 times what it is."""

    def log_r(self, u):
        return super().log_r(u) + np.log(1.2)


class Flat(Columns):
    """The density of proposals in the chart, taken for that of x."""

    def log_r(self, u):
        return super().log_r(u) + self.log_slope(u)


class Endless(Columns):
    """Counts that turn at 0 without a ratio."""

    def other(self, j, option, key):
        return super().other(j, option, key)[0], 0.0


def with_columns(kind, jump):
    fields = {name: getattr(jump.columns, name) for name in Columns.__dataclass_fields__}
    return eqx.tree_at(lambda j: j.columns, jump, kind(**fields))


FIVE = pytest.param(5, False, id="five columns", marks=pytest.mark.slow)
LAWS = pytest.mark.parametrize(("d", "log"), [pytest.param(2, True, id="two amounts"), FIVE])


@functools.cache
def exact(d, log):
    return hurdle(d, log).draw(30_000, jr.key(d))


@LAWS
def test_hurdle_laws_stay_as_they_are(d, log):
    x = after(amounts(d, log), hurdle(d, log), exact(d, log), 12)
    assert doubt(hurdle(d, log), x) > FALSE_ALARM
    moved = (x != exact(d, log)).mean(0, where=exact(d, log) != 0)
    assert moved.min() > 0.9


@pytest.mark.parametrize(
    ("sibling", "d", "log"),
    [
        (functools.partial(with_columns, Inflated), 2, True),
        (functools.partial(with_columns, Flat), 2, True),
        pytest.param(functools.partial(with_columns, Inflated), 5, False, marks=pytest.mark.slow),
    ],
    ids=["log r off by 1.2", "r of the chart", "log r off by 1.2 in five columns"],
)
def test_a_wrong_density_of_proposals_would_be_seen(sibling, d, log):
    x = after(sibling(amounts(d, log)), hurdle(d, log), exact(d, log), 12)
    assert doubt(hurdle(d, log), x) < FALSE_ALARM


@pytest.mark.slow
def test_a_diagonal_preconditioner_is_exact_too():
    x = after(amounts(2, True, Mala(0.8, jnp.array([0.7, 1.3]))), hurdle(2, True), exact(2, True), 12)
    assert doubt(hurdle(2, True), x) > FALSE_ALARM


@pytest.mark.slow
def test_from_zero_all_patterns_are_found_where_mala_alone_finds_one():
    model, zero = hurdle(5, False), np.zeros((30_000, 5))
    masses = softmax(strata(model).log_masses)
    apart = lambda x: 0.5 * np.abs(patterns(x) / len(x) - masses).sum()  # noqa: E731
    assert apart(after(amounts(5, False), model, zero, 40)) <= 0.02
    alone = after(Mala(0.8), model, zero[:2_000], 40)
    assert set(np.flatnonzero(patterns(alone))) <= {0, 31}  # it is on all atoms still, or never again on one
    assert apart(alone) > 0.4


LIMIT, MASSES, SHAPE = 200.0, np.array([0.3, 0.25, 0.45]), (0.6, 0.8)


def limited(x):
    """Nothing, the limit, or a share of it between, as a person would write it."""
    y = x[0] / LIMIT
    body = jnp.log(MASSES[2]) + beta_log_density(y) - jnp.log(LIMIT)
    return jnp.where(x[0] == 0, jnp.log(MASSES[0]), jnp.where(x[0] == LIMIT, jnp.log(MASSES[1]), body))


def beta_log_density(y):
    a, b = SHAPE
    return (a - 1) * jnp.log(y) + (b - 1) * jnp.log1p(-y) - jax.scipy.special.betaln(a, b)


@pytest.mark.slow
def test_an_amount_between_nothing_and_a_limit_has_both_atoms_and_its_body():
    jump = Jump(Mala(1.0), [Column((0.0, LIMIT), (0.0, LIMIT))])
    x = after(jump, limited, np.zeros((30_000, 1)), 40)[:, 0]
    on = np.array([(x == 0).sum(), (x == LIMIT).sum(), ((x > 0) & (x < LIMIT)).sum()])
    assert chisquare(on, len(x) * MASSES).pvalue > FALSE_ALARM
    body = x[(x > 0) & (x < LIMIT)] / LIMIT
    assert kstest(body, beta(*SHAPE).cdf).pvalue > FALSE_ALARM
    assert kstest(body, beta(SHAPE[0] * 1.1, SHAPE[1]).cdf).pvalue < FALSE_ALARM


@pytest.mark.slow
def test_spins_have_the_frequencies_of_their_list():
    model = Ising(np.array([0.3, -0.8, 0.5]), np.array([1.2, -0.7, 0.9]))
    jump = Jump(Mala(), [Column((0, 1), None)] * 3)
    x = after(jump, model, np.zeros((30_000, 3)), 40)
    points = (np.arange(8)[:, None] >> np.arange(3)[::-1]) & 1
    masses = softmax(np.asarray(jax.vmap(model)(jnp.asarray(points, float)), np.float64))
    assert chisquare(patterns(x), len(x) * masses).pvalue > FALSE_ALARM
    assert chisquare(patterns(x), len(x) * np.roll(masses, 1)).pvalue < FALSE_ALARM


def test_fair_coins_are_not_turned_together_for_ever():
    x = after(Jump(Mala(), [Column((0, 1), None)] * 2), lambda x: 0 * x[0], np.zeros((30_000, 2)), 40)
    assert chisquare(patterns(x)).pvalue > FALSE_ALARM


def test_categories_are_drawn_by_their_mass_and_are_the_numbers_they_are():
    values, masses = np.array([-1.0, 0.1, 7.0]), np.array([0.2, 0.5, 0.3])
    log_q = lambda x: jnp.log(jnp.asarray(masses)) @ (x[0] == jnp.asarray(values, x.dtype))  # noqa: E731
    x = after(Jump(Mala(), [Column(values, None)]), log_q, np.full((30_000, 1), 7.0), 40)
    on = (x.astype(np.float32) == values.astype(np.float32)).sum(0)
    assert on.sum() == len(x) and chisquare(on, len(x) * masses).pvalue > FALSE_ALARM


@pytest.mark.parametrize("right", [True, False])
def test_counts_are_poisson_and_would_not_be_without_the_ratio_at_zero(right):
    model, jump = ConwayMaxwellPoisson(np.log([1.5]), np.ones(1)), Jump(Mala(), [Column(count=True)])
    x = after(jump if right else with_columns(Endless, jump), model, np.zeros((30_000, 1)), 80)[:, 0].astype(int)
    masses = np.append(poisson(1.5).pmf(np.arange(6)), poisson(1.5).sf(5))
    p_value = chisquare(np.bincount(np.minimum(x, 6), minlength=7), len(x) * masses).pvalue
    assert (p_value > FALSE_ALARM) == right


@pytest.mark.slow
def test_unadjusted_chains_jump_too():
    columns = [Column((0.0,)), Column()]
    log_q = lambda x: jnp.where(x[0] == 0, 0.4, -0.5 * x[0] ** 2) - 0.5 * (x[1] - x[0]) ** 2  # noqa: E731
    x = after(Jump(Ula(0.05), columns), log_q, np.zeros((20_000, 2)), 100)
    share = np.exp(0.4) / (np.exp(0.4) + np.sqrt(2 * np.pi))
    assert abs((x[:, 0] == 0).mean() - share) < 0.02
    assert x[:, 1].std() > 0.5


BODIES = [(-INF, INF), (2.0, INF), (-INF, -1.0), (-1.0, 3.0)]


def test_charts_return_each_point_with_the_slope_that_they_say():
    columns = Columns.of([Column((5.0,), body) for body in BODIES])
    with jax.enable_x64(True):
        columns = jax.tree.map(lambda leaf: leaf.astype(float), columns)
        x = jnp.array([0.3, 2.7, -4.0, 2.9])
        option, u = columns.split(x)
        np.testing.assert_array_equal(option, [1, 1, 1, 1])
        np.testing.assert_allclose(columns.x(option, u), x, rtol=1e-14)
        slope = jnp.diagonal(jax.jacobian(lambda u: columns.x(option, u))(u))
        np.testing.assert_allclose(jnp.exp(columns.log_slope(u)), slope, rtol=1e-12)
        atoms = columns.split(jnp.full(4, 5.0))[0]
        np.testing.assert_array_equal(columns.x(atoms, u), np.full(4, 5.0))


@pytest.mark.parametrize("ends", [(0.0, INF), (-INF, 0.0), (0.0, 1.0), (10.0, 20.0), (-1.0, 0.0)])
def test_a_body_value_is_never_on_an_end(ends):
    columns = Columns.of([Column((), ends)])
    for u in (-80.0, -40.0, 40.0, 80.0):
        x = float(columns.x(jnp.array([0]), jnp.array([u]))[0])
        assert ends[0] < x < ends[1]


def test_proposals_are_aimed_at_bodies_far_from_where_chains_start():
    # Amounts of about e^9 beside zero, and a line around 5,000, both unseen from 0 ± 2.
    log_q = lambda x: jnp.where(x[0] == 0, 0.0, far(x[0])) - 0.5 * ((x[1] - 5000) / 40) ** 2  # noqa: E731
    far = lambda x: -jnp.log(x) - 0.5 * ((jnp.log(x) - 9) / 0.2) ** 2  # noqa: E731
    jump, target = Jump(Mala(), [Column((0.0,), (0.0, INF)), Column()]), Density(log_q)
    states = begun(jump, target, jnp.array([[0.0, 4900.0], [0.0, 5100.0]]))
    aimed = jump.aimed(target, states).columns
    np.testing.assert_allclose(aimed.mean, [9.0, 5000.0], rtol=0.15)
    assert 0.2 < aimed.std[0] < 4 and 40 < aimed.std[1] < 200


def test_warm_up_finds_the_moments_of_bodies_where_they_are_in_them():
    model = hurdle(2, True)
    jump, target = amounts(2, True, Mala()), Density(model)
    states = begun(jump, target, jnp.zeros((400, 2)))
    warm, states = jump.warm_up(target, states, jr.key(0), 400, dense=True)
    y = [np.log(column[column > 0]) for column in exact(2, True).T]
    np.testing.assert_allclose(warm.columns.mean, [part.mean() for part in y], atol=0.05)
    np.testing.assert_allclose(warm.columns.std, [part.std() for part in y], rtol=0.05)
    np.testing.assert_allclose(np.diag(warm.scale @ warm.scale.T), warm.columns.std**2, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Column((0, 1, 0)), r"`atoms` must be distinct; got \(0.0, 1.0, 0.0\)"),
        (lambda: Column((np.nan,)), "`atoms` must be a finite number; got nan"),
        (lambda: Column((0.0,), (1.0, 1.0)), r"`body` must be two ends, the lower one first; got \(1.0, 1.0\)"),
        (lambda: Column((), None), "`atoms` must hold at least one value where there is no `body`"),
        (lambda: Column((0.0,), count=True), r"`atoms` must be empty for a count; got \(0.0,\)"),
        (lambda: Jump(Mala(), []), "`columns` must have an entry for each coordinate; got none"),
        (lambda: Jump(Jump(Mala(), [Column()]), [Column()]), r"`inner` must be .* such as Mala\(\); got a Jump"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
