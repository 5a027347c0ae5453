"""Ratio matching is least at the truth, by enumeration and quadrature; proposals are the densities they say they are.

Breaks these: a sign of G, log r left out or of another density, an own option compared with itself, ∂h at an atom.
"""

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.scipy.special import gammaln
from scipy.integrate import quad
from scipy.stats import kstest, lognorm, norm

from ptilde.losses import Bounded, Choice, Distance, Ends, Neighbours, Power, Proposal, Ratio, Stratified

INF = np.inf
KEY = jr.key(0)
FALSE_ALARM = 1e-5


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


class Drawn(eqx.Module):
    """A proposal whose draws are given, so that expectations over them are sums; its density is off by a factor."""

    proposal: Proposal
    y: jax.Array = eqx.field(converter=jnp.asarray, default=np.nan)
    factor: jax.Array = eqx.field(converter=jnp.asarray, default=1.0)

    def draw(self, key, shape, dtype):
        return jnp.broadcast_to(self.y, shape).astype(dtype)

    def log_density(self, y):
        return self.proposal.log_density(y) + jnp.log(self.factor).astype(y.dtype)


def given(loss, y):
    """The loss with draws y."""
    drawn = lambda node: isinstance(node, Drawn)  # noqa: E731
    return jax.tree.map(lambda n: Drawn(n.proposal, y, n.factor) if drawn(n) else n, loss, is_leaf=drawn)


@eqx.filter_jit
def value(loss, log_q, x, y=None):
    return (loss if y is None else given(loss, y))(log_q, x, KEY)


def drawn_from(proposal, num=160):
    """Nodes and probabilities of a proposal: the trapezoidal rule in its chart, exact to rounding."""
    z = np.linspace(-7.5, 7.5, num)  # 1e-13 is left out
    u = float(proposal.mean) + float(proposal.std) * z
    match math.isfinite(proposal.low), math.isfinite(proposal.high):
        case True, True:
            y = proposal.low + (proposal.high - proposal.low) / (1 + np.exp(-u))
        case True, False:
            y = proposal.low + np.exp(u)
        case _:
            y = u
    return jnp.asarray(y), jnp.asarray(norm.pdf(z) * (z[1] - z[0]))


@eqx.filter_jit
def derivatives(loss, log_q, theta, parts):
    """Gradient and Hessian at θ of the expected loss, Σ mass · loss over parts (x, mass, y); y are the draws."""
    x, mass, y = (jnp.concatenate(p) for p in zip(*parts, strict=True))
    theta = jnp.asarray(theta)

    def total(theta):
        at = lambda x, y: given(loss, y)(lambda x: log_q(theta, x), x, KEY)  # noqa: E731
        return jnp.vdot(mass, jax.vmap(at)(x, y))

    def slope(theta):
        gradient = jax.grad(total)(theta)
        return gradient, gradient

    hessian, gradient = jax.jacfwd(slope, has_aux=True)(theta)
    return gradient, hessian


def assert_least(gradient, hessian):
    np.testing.assert_allclose(gradient, 0, atol=1e-9)
    assert np.linalg.eigvalsh(hessian)[0] > 1e-4


# A column on atoms 0 and 1 with a gamma body: log q is θ₀ at 0, θ₁ at 1.
MIXED = np.array([0.7, -0.4, 0.6])
AMOUNTS = Proposal(0, INF, 0.1, 0.9)


def mixed(theta, x):
    body = jnp.where(x > 0, x, 1.0)[0]
    inside = theta[2] * jnp.log(body) - body
    return jnp.where(x[0] == 0, theta[0], jnp.where(x[0] == 1, theta[1], inside))


def mixed_parts():
    y, r = drawn_from(AMOUNTS)
    t = jnp.linspace(-24, 4.2, 400)
    body = jnp.exp(t)
    mass = jnp.exp((MIXED[2] + 1) * t - body) * (t[1] - t[0])
    parts = [(jnp.full((y.size, 1), a), jnp.exp(MIXED[i]) * r, y) for i, a in enumerate([0.0, 1.0])]
    parts += [(body[:, None], mass, jnp.full(body.size, jnp.nan))]  # a row in the body draws nothing
    total = sum(m.sum() for _, m, _ in parts)
    return [(x, m / total, y) for x, m, y in parts]


def mixed_loss(squared, factor=1.0):
    return Ratio((Choice((0, 1), Drawn(AMOUNTS, factor=factor)),), squared=squared)


@pytest.mark.parametrize("squared", [False, True])
def test_atoms_beside_a_body_are_matched_at_the_truth(squared):
    assert_least(*derivatives(mixed_loss(squared), mixed, MIXED, mixed_parts()))


@pytest.mark.parametrize("squared", [False, True])
def test_a_proposal_density_off_by_a_tenth_would_be_seen(squared):
    gradient, _ = derivatives(mixed_loss(squared, 1.1), mixed, MIXED, mixed_parts())
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("x", [0.0, 1.0, 2.3])
def test_several_draws_count_by_their_mean(x):
    loss, log_q, x = Choice((0, 1), Drawn(AMOUNTS)), partial(mixed, MIXED), jnp.array([x])
    y = jnp.array([0.3, 1.7, 4.0])
    single = [value(Ratio((loss,)), log_q, x, v) for v in y]
    np.testing.assert_allclose(value(Ratio((loss,), 3), log_q, x, y), np.mean(single), rtol=1e-14)


def test_two_rows_by_hand():
    log_q, pay = partial(mixed, MIXED), lambda *gains: sum(np.log1p(np.exp(-g)) for g in gains)
    at = lambda x: value(mixed_loss(False), log_q, jnp.array([x]), jnp.asarray(1.7))  # noqa: E731
    body = lambda y: MIXED[2] * np.log(y) - y - lognorm.logpdf(y, 0.9, scale=np.exp(0.1))  # noqa: E731
    np.testing.assert_allclose(at(1.0), pay(MIXED[1] - MIXED[0], MIXED[1] - body(1.7)), rtol=1e-12)
    np.testing.assert_allclose(at(2.3), pay(body(2.3) - MIXED[0], body(2.3) - MIXED[1]), rtol=1e-12)


def everywhere(*columns):
    return np.stack(np.meshgrid(*columns, indexing="ij"), -1).reshape(-1, len(columns)).astype(float)


def law(log_q, theta, x):
    """The part (x, mass, nothing drawn) of a law on finitely many points."""
    return [(x, jax.nn.softmax(jax.vmap(lambda x: log_q(theta, x))(x)), jnp.zeros(len(x)))]


def ising(theta, x):
    return theta[:3] @ x + theta[3] * x[0] * x[1] + theta[4] * x[0] * x[2] + theta[5] * x[1] * x[2]


def table(theta, x):
    """Three categories by two spins, the first cell for comparison, and a column that is no part of it."""
    cells = jnp.concatenate([jnp.zeros(1), theta])
    return cells[(2 * x[0] + (x[2] + 1) / 2).astype(int)] - x[1] ** 2


def counts(theta, x):
    return theta[:2] @ x - theta[2] * x[0] * x[1] - jnp.sum(gammaln(x + 1))


SPIN = Choice((-1, 1))
DISCRETE = {
    "three spins": ((SPIN,) * 3, ising, [0.3, -0.5, 0.1, 0.4, -0.6, 0.2], everywhere(*[[-1, 1]] * 3)),
    "a table": (
        (Choice((0, 1, 2)), None, SPIN),
        table,
        [0.3, -0.5, 0.1, 0.7, -1.0],
        everywhere([0, 1, 2], [0.4], [-1, 1]),
    ),
    "two counts": ((Neighbours(),) * 2, counts, [0.9, 0.3, 0.2], everywhere(np.arange(40), np.arange(40))),
}


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("columns", "log_q", "truth", "x"), DISCRETE.values(), ids=DISCRETE)
def test_categories_and_counts_are_matched_at_the_truth_and_nowhere_else(columns, log_q, truth, x, squared):
    loss, truth = Ratio(columns, squared=squared), jnp.array(truth)
    assert_least(*derivatives(loss, log_q, truth, law(log_q, truth, x)))
    gradient, _ = derivatives(loss, log_q, 1.1 * truth, law(log_q, truth, x))
    assert np.abs(gradient).max() > 1e-3


def test_on_binary_columns_the_loss_is_the_pseudolikelihood():
    theta, x = jnp.array(DISCRETE["three spins"][2]), everywhere(*[[-1, 1]] * 3)
    found = jax.jit(jax.vmap(lambda x: Ratio((SPIN,) * 3)(lambda x: ising(theta, x), x, KEY)))(x)
    field = theta[:3] + x @ jnp.array([[0, theta[3], theta[4]], [theta[3], 0, theta[5]], [theta[4], theta[5], 0]])
    np.testing.assert_allclose(found, jnp.sum(jnp.log1p(jnp.exp(-2 * x * field)), 1), rtol=1e-12)


@jax.jit
@jax.value_and_grad
def poisson_loss(t, x):
    log_q = lambda x: jnp.where(x[0] < 0, jnp.log(x[0]), t * x[0] - gammaln(x[0] + 1))  # noqa: E731  # NaN below 0
    return Ratio((Neighbours(),))(log_q, x, KEY)


@pytest.mark.parametrize("x", [0.0, 1.0, 5.0])
def test_a_count_is_compared_with_one_more_and_one_less_but_never_with_minus_one(x):
    log_rate = 0.8
    up, down = np.log(x + 1) - log_rate, (log_rate - np.log(x) if x else INF)
    found, slope = poisson_loss(log_rate, jnp.array([x]))
    np.testing.assert_allclose(found, np.log1p(np.exp(-up)) + np.log1p(np.exp(-down)), rtol=1e-12)
    np.testing.assert_allclose(slope, 1 / (1 + np.exp(up)) - 1 / (1 + np.exp(down)), rtol=1e-12)


COLUMNS = (
    Choice((0.0,), Proposal(0, INF, 0.2, 0.7)),
    Choice((1, 2, 3)),
    None,
    Choice((0.0,), Proposal(0, INF, -0.5, 1.2)),
    Neighbours(),
    Choice((1, 2, 3)),
)
ROWS = {"in bodies": [0.7, 2, 0.4, 1.3, 3, 1], "on atoms": [0, 1, -0.3, 0, 0, 3], "on both": [0.2, 3, 0.1, 0, 1, 2]}


def tangled(x):
    return jnp.sin(x) @ jnp.cos(x[::-1]) - 0.3 * jnp.sum(x**2) + 0.2 * x[0] * x[3] * x[2]


@pytest.mark.parametrize("x", ROWS.values(), ids=ROWS)
def test_the_loss_is_the_sum_over_its_columns_one_at_a_time(x):
    at = lambda columns: value(Ratio(columns, 2), tangled, jnp.array(x, float))  # noqa: E731
    alone = [tuple(c if i == j else None for i, c in enumerate(COLUMNS)) for j in [0, 1, 3, 4, 5]]
    np.testing.assert_allclose(at(COLUMNS), sum(at(columns) for columns in alone), rtol=1e-12)


@pytest.mark.parametrize("x", ROWS.values(), ids=ROWS)
def test_strata_are_bounded_terms_of_columns_in_their_body_plus_ratios(x):
    x = jnp.array(x, float)
    within = Bounded(Ends([0, -INF, -INF, 0, -INF, -INF], [INF, INF, 2, INF, INF, INF], scale=0.7))
    terms = jax.jit(partial(within.terms, jax.grad(tangled)))(x)
    active = jnp.array([x[0] != 0, False, True, x[3] != 0, False, False])
    between = Ratio(COLUMNS, 2)
    expected = jnp.sum(terms[active]) + value(between, tangled, x)
    np.testing.assert_allclose(value(Stratified(within, between), tangled, x), expected, rtol=1e-12)


def test_strata_without_bodies_are_ratios():
    between, x = Ratio((Neighbours(), SPIN)), jnp.array([2.0, -1.0])
    log_q = lambda x: jnp.sin(x[0] * x[1])  # noqa: E731
    strata = Stratified(Bounded(Ends(-INF, INF)), between)
    np.testing.assert_allclose(value(strata, log_q, x), value(between, log_q, x), rtol=1e-14)


# Two amounts that are often zero: logits and their interaction, linear and quadratic terms, and one dependence.
HURDLE = np.array([0.3, -0.5, 0.8, 0.6, 0.4, 0.9, 1.2, -0.3])
OF_HURDLE = Proposal(0, INF, -0.2, 0.5)


def hurdle(theta, x):
    z = (x != 0).astype(x.dtype)
    each = theta[:2] @ z + theta[3:5] @ x - 0.5 * theta[5:7] @ x**2
    return each + z[0] * z[1] * theta[2] + theta[7] * x[0] * x[1]


def half_line(num=11):
    """Gauss-Legendre nodes in log x, as log r is smooth there; the weight bends at e² − 1."""
    node, mass = np.polynomial.legendre.leggauss(num)
    edges = np.append([-25, -8, -3.5, -1.5, -0.4, 0.5, 1.2], np.log([np.e**2 - 1, 10]))
    half = np.diff(edges)[:, None] / 2
    x = np.exp(edges[:-1, None] + half * (1 + node))
    return jnp.asarray(x.ravel()), jnp.asarray((half * mass * x).ravel())


def hurdle_parts(num=100):
    y, r = drawn_from(OF_HURDLE, num)
    b, w = half_line()
    zero = jnp.zeros((1, 1)), jnp.ones(1)
    body = b[:, None], w
    parts = []
    for first, second in [(zero, zero), (body, zero), (zero, body), (body, body)]:
        x = jnp.concatenate([jnp.repeat(first[0], len(second[0]), 0), jnp.tile(second[0], (len(first[0]), 1))], 1)
        mass = jnp.outer(first[1], second[1]).ravel() * jnp.exp(jax.vmap(lambda x: hurdle(HURDLE, x))(x))
        if first is body and second is body:
            parts.append((x, mass, jnp.ones(len(x))))  # draws nothing
        else:
            parts.append((jnp.repeat(x, num, 0), jnp.outer(mass, r).ravel(), jnp.tile(y, len(x))))
    total = sum(m.sum() for _, m, _ in parts)
    return [(x, m / total, y) for x, m, y in parts]


def hurdle_loss(factor=1.0, low=0.0):
    column = Choice((0,), Drawn(OF_HURDLE, factor=factor))
    return Stratified(Bounded(Ends(low, INF)), Ratio((column, column)))


def test_two_amounts_that_are_often_zero_are_matched_at_the_truth():
    assert_least(*derivatives(hurdle_loss(), hurdle, HURDLE, hurdle_parts()))


@pytest.mark.parametrize("wrong", [{"factor": 1.1}, {"low": -0.5}])
def test_a_wrong_proposal_density_or_a_weight_that_does_not_vanish_would_be_seen(wrong):
    gradient, _ = derivatives(hurdle_loss(**wrong), hurdle, HURDLE, hurdle_parts())
    assert np.abs(gradient).max() > 1e-3


# A share with atoms at both ends and a beta body between, and an amount whose mean depends on it.
SHARES = np.array([-0.8, 0.4, 1.5, 2.0, 0.7])
OF_SHARES = Proposal(0, 1, -0.1, 1.1)


def shares(theta, x):
    inside = (x[0] > 0) & (x[0] < 1)
    y = jnp.where(inside, x[0], 0.5)
    body = theta[2] * jnp.log(y) + theta[3] * jnp.log(1 - y)
    atom = jnp.where(x[0] == 0, theta[0], theta[1])
    return jnp.where(inside, body, atom) - 0.5 * (x[1] - theta[4] * x[0]) ** 2


def shares_parts():
    y, r = drawn_from(OF_SHARES)
    u, du = np.polynomial.legendre.leggauss(40)
    # x = sin², so that powers at both ends become smooth; two panels meet where the nearer end changes.
    angle, mass = np.concatenate([(u + 1) * np.pi / 8, (u + 3) * np.pi / 8]), np.tile(du, 2) * np.pi / 8
    x0, dx0 = np.sin(angle) ** 2, mass * np.sin(2 * angle)
    x1 = np.linspace(-9, 10, 60)
    grid = lambda a, b: jnp.asarray(np.stack(np.meshgrid(a, b, indexing="ij"), -1).reshape(-1, 2))  # noqa: E731
    density = lambda x: jnp.exp(jax.vmap(lambda x: shares(SHARES, x))(x)) * (x1[1] - x1[0])  # noqa: E731
    parts = []
    for atom in [0.0, 1.0]:
        x = grid([atom], x1)
        parts.append((jnp.repeat(x, y.size, 0), jnp.outer(density(x), r).ravel(), jnp.tile(y, len(x))))
    x = grid(x0, x1)
    parts.append((x, density(x) * np.repeat(dx0, x1.size), jnp.full(len(x), 0.5)))
    total = sum(m.sum() for _, m, _ in parts)
    return [(x, m / total, y) for x, m, y in parts]


def test_atoms_at_both_ends_of_a_share_are_matched_at_the_truth():
    within = Bounded(Ends([0, -INF], [1, INF], Power(1)))
    loss = Stratified(within, Ratio((Choice((0, 1), Drawn(OF_SHARES)), None)))
    assert_least(*derivatives(loss, shares, SHARES, shares_parts()))


@pytest.mark.parametrize("weight", [Ends(0, INF), Ends(-1, INF, Power(0.5)), Distance(lambda x: x[0])])
def test_a_weight_that_is_nan_or_steep_at_an_atom_leaves_no_trace(weight):
    between, x = Ratio((Choice((-1,), Proposal(0, INF, 0, 1)),) * 2), jnp.array([-1.0, -1.0])

    def derivatives(loss):
        at = lambda theta: loss(lambda x: theta @ jnp.sin(x) - x @ x, x, KEY)  # noqa: E731
        return jax.jit(jax.value_and_grad(at))(jnp.array([0.3, -0.2]))

    strata, ratios = derivatives(Stratified(Bounded(weight), between)), derivatives(between)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-13, equal_nan=False), strata, ratios)


def test_a_category_or_count_that_its_column_has_not_has_loss_nan():
    for columns, right, wrong in [((SPIN,), 1, 0), ((Neighbours(),), 2, 2.5), ((Neighbours(),), 0, -1)]:
        at = lambda v: value(Ratio(columns), jnp.sum, jnp.array([v], float))  # noqa: B023, E731
        assert jnp.isfinite(at(right)) and jnp.isnan(at(wrong))


@pytest.mark.parametrize("x", ROWS.values(), ids=ROWS)
def test_single_precision_stays_single_and_near_the_truth(x):
    # At draws that are given: in single precision a key draws other ones.
    columns = [c if c is None or not c.has_body else Choice(c.atoms, Drawn(c.proposal)) for c in COLUMNS]
    loss = Stratified(Bounded(Ends(-9.5, 9.5)), Ratio(columns, 2))
    at = lambda dtype: value(loss, tangled, jnp.array(x, dtype), jnp.array([0.4, 1.1]))  # noqa: E731
    assert at(jnp.float32).dtype == jnp.float32
    np.testing.assert_allclose(at(jnp.float32), at(float), rtol=1e-5)


def test_another_proposal_compiles_nothing_again():
    traces = []

    @eqx.filter_jit
    def loss(loss):
        traces.append(0)
        return loss(lambda x: -(x @ x), jnp.array([0.0]), KEY)

    values = [loss(Ratio((Choice((0,), Proposal(0, INF, m, s)),))) for m, s in [(0, 1), (1, 1), (0, 2)]]
    assert len(traces) == 1 and len(set(map(float, values))) == 3


CHARTS = {
    "line": (Proposal(-INF, INF, 0.4, 1.3), lambda x: x),
    "above": (Proposal(2, INF, 0.3, 0.6), lambda x: np.log(x - 2)),
    "below": (Proposal(-INF, -1, 0.3, 0.6), lambda x: -np.log(-1 - x)),
    "between": (Proposal(-1, 3, 0.5, 0.9), lambda x: np.log((x + 1) / (3 - x))),
}


@pytest.mark.parametrize(("proposal", "chart"), CHARTS.values(), ids=CHARTS)
def test_the_density_of_a_proposal_is_that_of_its_draws_and_integrates_to_one(proposal, chart):
    density = jax.jit(lambda y: jnp.exp(proposal.log_density(y)))
    middle = float(proposal.draw(jr.key(1)))
    total = sum(quad(density, *ends, epsabs=1e-10)[0] for ends in [(proposal.low, middle), (middle, proposal.high)])
    np.testing.assert_allclose(total, 1, atol=1e-8)
    mean, std = float(proposal.mean), float(proposal.std)
    low, high = middle - 0.3, middle + 0.2
    expected = np.diff(norm.cdf(chart(np.array([low, high])), mean, std))
    np.testing.assert_allclose(quad(density, low, high)[0], expected[0], rtol=1e-8)
    u = chart(np.asarray(proposal.draw(KEY, (20_000,))))
    assert kstest(u, norm(mean, std).cdf).pvalue > FALSE_ALARM
    assert kstest(u, norm(mean, 1.1 * std).cdf).pvalue < FALSE_ALARM


@pytest.mark.parametrize(("proposal", "chart"), CHARTS.values(), ids=CHARTS)
def test_a_proposal_is_found_again_from_its_draws(proposal, chart):
    y = np.asarray(proposal.draw(KEY, (500,)))
    found = Proposal.fitted(y, proposal.low, proposal.high)
    np.testing.assert_allclose([found.mean, found.std], [chart(y).mean(), chart(y).std()], rtol=1e-10)
    np.testing.assert_allclose(found.mean, proposal.mean, atol=5 * float(proposal.std) / np.sqrt(500))
    np.testing.assert_allclose(found.std, proposal.std, rtol=5 / np.sqrt(1000))
    assert (found.low, found.high) == (proposal.low, proposal.high)


@pytest.mark.parametrize("ends", [(0, 1), (-1, 0), (1e6, INF), (-INF, 0), (0, INF)])
@pytest.mark.parametrize("mean", [-60, 60])
def test_draws_in_single_precision_never_lie_on_an_end(ends, mean):
    proposal = Proposal(*ends, mean, 20)
    y = np.asarray(proposal.draw(KEY, (5_000,), jnp.float32))
    assert y.dtype == np.float32
    assert np.all((y > ends[0]) & (y < ends[1])) and np.all(np.isfinite(proposal.log_density(y)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice((0, 1, 0)), r"`atoms` must be distinct; got \(0.0, 1.0, 0.0\)"),
        (lambda: Choice((0, np.nan)), "`atoms` must be a finite number; got nan"),
        (lambda: Choice((1,)), r"`atoms` must hold at least two values, or one beside a `proposal`; got \(1.0,\)"),
        (lambda: Choice((), AMOUNTS), "put None in its place"),
        (lambda: Proposal(0, 1, 0, 0), "`std` must be positive and finite; got .*0.0"),
        (lambda: Proposal(0, 1, 0, -1), "`std` must be positive and finite; got .*-1.0"),
        (lambda: Proposal(0, 1, INF, 1), "`mean` must be a finite number; got .*inf"),
        (lambda: Proposal(1, 1, 0, 1), "`low` must be below `high`; got 1.0 and 1.0"),
        (lambda: Proposal.fitted([0.5, 0.0], 0, 1), "`y` must lie between 0 and 1; got 0.0"),
        (lambda: Proposal.fitted([0.5, np.nan], 0, 1), "`y` must lie between 0 and 1; got nan"),
        (lambda: Proposal.fitted([0.5, 0.5], 0, 1), r"`y` must hold at least two distinct values; got \[0.5\]"),
        (lambda: Ratio((SPIN,), num_draws=0), "`num_draws` must be at least 1; got 0"),
        (lambda: Ratio((None, None)), "`columns` must hold a Choice or Neighbours"),
        (lambda: Ratio((SPIN,))(jnp.sum, jnp.ones(2), KEY), "an entry for each of the 2 coordinates; got 1"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
