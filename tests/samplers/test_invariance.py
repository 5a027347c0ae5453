"""Every sampler leaves laws as they are: chains from exact draws, some steps, and the same law again.

A law is whitened by its conditional distribution functions into independent uniforms, so one statistic serves all:
Kolmogorov-Smirnov tests of both, of their sum and of their difference; of choices, chi-square. All laws of a sampler
are one compiled program, as the law is an argument. Breaks these: momentum too hot, ends taken without being weighed,
the density of jumps off. Hurdle laws: `test_jump`.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.scipy.stats import norm as jnorm
from scipy.stats import beta, chisquare, expon, gamma, kstest, logistic, norm, poisson, t

from ptilde.samplers import Column, Density, Hmc, Jump, Mala, Nuts, Ula
from ptilde.samplers.base import run
from ptilde.samplers.columns import Columns
from ptilde.samplers.external import _followed

FALSE_ALARM = 1e-5
NUM_CHAINS = 20_000
MIXED = [(0.3, -2.0, 1.0), (0.7, 2.0, 1.0)], [(0.5, 0.0, 1.0), (0.3, 1.0, 0.2), (0.2, -2.0, 0.5)]


class Given(NamedTuple):
    """A law of two columns: log q, the first one, the second one given the first, steps for it."""

    log_q: object
    first: object
    second: object
    step_size: float
    root: object = np.eye(2)


class Normals:
    """A mixture of normal laws on the line, as SciPy has laws."""

    def __init__(self, parts):
        self.weights, self.means, self.stds = np.array(parts).T

    def cdf(self, x):
        return norm.cdf(x[:, None], self.means, self.stds) @ self.weights

    def rvs(self, size, random_state):
        part = random_state.choice(len(self.weights), size, p=self.weights)
        return random_state.normal(self.means[part], self.stds[part])


def mixture(x, parts):
    weights, means, stds = np.array(parts).T
    return jax.scipy.special.logsumexp(jnp.log(weights) + jnorm.logpdf(x, means, stds))


def inside(log_q, here):
    return jnp.where(here, log_q, -jnp.inf)


LAWS = {
    "correlation of 0.99": Given(
        lambda x: -0.5 * (x[0] ** 2 + (x[1] - 0.99 * x[0]) ** 2 / (1 - 0.99**2)),
        norm(),
        lambda a: norm(0.99 * a, np.sqrt(1 - 0.99**2)),
        0.6,
        np.array([[1.0, 0.0], [0.95, 0.2]]),
    ),
    "funnel": Given(
        lambda x: -0.5 * x[0] ** 2 - 0.5 * (x[1] * jnp.exp(-x[0])) ** 2 - x[0],
        norm(),
        lambda a: norm(0, np.exp(a)),
        0.15,
    ),
    "banana": Given(lambda x: -0.5 * x[0] ** 2 - 2 * (x[1] - x[0] ** 2) ** 2, norm(), lambda a: norm(a**2, 0.5), 0.08),
    "two modes": Given(
        lambda x: mixture(x[0], MIXED[0]) - 0.5 * (x[1] - x[0]) ** 2, Normals(MIXED[0]), lambda a: norm(a, 1), 0.6
    ),
    "three scales": Given(
        lambda x: mixture(x[0], MIXED[1]) - x[1] - 2 * jnp.log1p(jnp.exp(-x[1])),
        Normals(MIXED[1]),
        lambda a: logistic(),
        0.08,
        np.diag([1.0, 2.0]),
    ),
    "heavy tails": Given(
        lambda x: -2 * jnp.log1p(x[0] ** 2 / 3) - 2 * jnp.log1p((x[1] + x[0]) ** 2 / 3), t(3), lambda a: t(3, -a), 0.8
    ),
    "half-lines seen as walls": Given(
        lambda x: inside(-x[0] + 2 * jnp.log(jnp.maximum(x[1], 1e-30)) - x[1], jnp.all(x > 0)),
        expon(),
        lambda a: gamma(3),
        0.15,
    ),
    "a box seen as walls": Given(
        lambda x: inside(jnp.log(jnp.maximum(x[0] * (1 - x[0]), 1e-30)), jnp.all((x > 0) & (x < 1))),
        beta(2, 2),
        lambda a: beta(1, 1),
        0.02,
    ),
}


class Law(eqx.Module):
    """One of the laws, by its number."""

    which: jax.Array

    def __call__(self, x):
        return jax.lax.switch(self.which, [law.log_q for law in LAWS.values()], x)


def drawn(law):
    random = np.random.default_rng(1)
    first = law.first.rvs(size=NUM_CHAINS, random_state=random)
    return np.column_stack([first, law.second(first).rvs(size=NUM_CHAINS, random_state=random)])


def doubt(law, x):
    """The least of four p-values, times four."""
    uniform = np.column_stack([law.first.cdf(x[:, 0]), law.second(x[:, 0]).cdf(x[:, 1])])
    one, two = norm.ppf(np.clip(uniform, 1e-12, 1 - 1e-12)).T
    return 4 * min(kstest(z, "norm").pvalue for z in (one, two, (one + two) / np.sqrt(2), (one - two) / np.sqrt(2)))


def after(sampler, name, num_steps, log_q=None):
    """The law, where chains are after some steps from its draws, and their mean acceptance."""
    law, number = LAWS[name], jnp.asarray(list(LAWS).index(name))
    tuned = jnp.asarray(law.step_size, jnp.float32), jnp.asarray(law.root, jnp.float32)
    sampler = eqx.tree_at(lambda s: (s.step_size, s.scale), sampler, tuned, is_leaf=lambda leaf: leaf is None)
    target = Density(Law(number) if log_q is None else log_q)
    states = begun(sampler, target, jnp.asarray(drawn(law), jnp.float32))
    states, _, info = run(sampler, target, states, jr.key(2), jnp.asarray(0), 1, num_steps)
    return law, np.asarray(states.x, np.float64), float(info.acceptance.mean())


@eqx.filter_jit
def begun(sampler, target, x):
    return jax.vmap(lambda x: sampler.init(target, x))(x)


SAMPLERS = {"Mala": (Mala(), 8), "Hmc": (Hmc(4), 3), "Nuts": (Nuts(4), 3)}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("sampler", ["Mala", "Hmc", pytest.param("Nuts", marks=pytest.mark.slow)])
def test_a_law_stays_as_it_is(sampler, name):
    law, x, acceptance = after(*(SAMPLERS[sampler][0], name, SAMPLERS[sampler][1]))
    assert doubt(law, x) > FALSE_ALARM
    assert 0.2 < acceptance < 0.995  # so that there was something to accept, and something to reject
    assert (x != drawn(law).astype(np.float32)).any(1).mean() > 0.5


class Hot(Hmc):
    """Momentum with twice its variance."""

    def step(self, target, state, key):
        from blackjax.mcmc import hmc

        def kernel(key, start, log_q, length, metric):
            hot = metric._replace(sample_momentum=lambda *args: np.sqrt(2) * metric.sample_momentum(*args))
            return hmc.build_kernel()(key, start, log_q, length, hot, self.num_steps)

        return _followed(kernel, self, 1.0, target, state, key)


class Unweighed(Hmc):
    """The end of each trajectory, whatever its energy."""

    def step(self, target, state, key):
        from blackjax.mcmc import hmc

        def kernel(*args):
            _, info = hmc.build_kernel()(*args, self.num_steps)
            return info.proposal, info

        return _followed(kernel, self, 1.0, target, state, key)


@pytest.mark.parametrize(
    "sampler", [(Hot(4), 3), (Unweighed(4), 3), (Ula(), 8)], ids=["hot", "unweighed", "unadjusted"]
)
def test_a_broken_sampler_is_seen_by_the_same_statistic(sampler):
    law, x, _ = after(sampler[0], "two modes", sampler[1], LAWS["two modes"].log_q)  # a small program is enough
    assert doubt(law, x) < FALSE_ALARM


CLASSES, VALUES, RATE, NOTHING = np.array([0.2, 0.5, 0.3]), np.array([-1.0, 2.0, 7.0]), 1.5, 0.4
KINDS = [
    Column((), (0.0, np.inf)),
    Column((), (-1.0, 3.0)),
    Column((0.0,), (0.0, np.inf)),
    Column(count=True),
    Column(tuple(VALUES), None),
    Column(),
]


def every_kind(x):
    """A half-line, an interval, nothing or an amount, a count, a category, and a number around the count."""
    line, share, amount, count, category, number = x
    body = jnp.log(1 - NOTHING) + jnorm.logpdf(jnp.log(jnp.where(amount > 0, amount, 1.0))) - jnp.log(amount)
    return (
        -line
        + jnp.log((share + 1) * (3 - share))
        + jnp.where(amount == 0, jnp.log(NOTHING), body)
        + count * jnp.log(RATE)
        - jax.scipy.special.gammaln(count + 1)
        + jnp.log(jnp.asarray(CLASSES, jnp.float32)) @ (category == jnp.asarray(VALUES, jnp.float32))
        - 0.5 * (number - count) ** 2
    )


def every_kind_drawn():
    random, n = np.random.default_rng(4), NUM_CHAINS
    amount = np.where(random.random(n) < NOTHING, 0, np.exp(random.normal(size=n)))
    count = random.poisson(RATE, n)
    line, share = random.exponential(size=n), 4 * random.beta(2, 2, n) - 1
    return np.column_stack(
        [line, share, amount, count, random.choice(VALUES, n, p=CLASSES), count + random.normal(size=n)]
    )


def doubts_of_kinds(x):
    line, share, amount, count, category, number = x.T
    some, n = amount > 0, len(x)
    masses = np.append(poisson(RATE).pmf(np.arange(6)), poisson(RATE).sf(5))
    return {
        "half-line": kstest(line, "expon").pvalue,
        "interval": kstest((share + 1) / 4, beta(2, 2).cdf).pvalue,
        "nothing": chisquare([n - some.sum(), some.sum()], n * np.array([NOTHING, 1 - NOTHING])).pvalue,
        "amount": kstest(np.log(amount[some]), "norm").pvalue,
        "count": chisquare(np.bincount(np.minimum(count, 6).astype(int), minlength=7), n * masses).pvalue,
        "category": chisquare([(category == v).sum() for v in VALUES], n * CLASSES).pvalue,
        "number": kstest(number - count, "norm").pvalue,
    }


def jumped(jump, num_steps=6):
    target = Density(every_kind)
    states = begun(jump, target, jnp.asarray(every_kind_drawn(), jnp.float32))
    states, _, _ = run(jump, target, states, jr.key(5), jnp.asarray(0), 1, num_steps)
    return np.asarray(states.x, np.float64)


ROOT = np.linalg.cholesky(0.7 * np.eye(6) + 0.3)
INNER = {
    "Mala": Mala(0.5, jnp.asarray(ROOT, jnp.float32)),
    "Hmc": Hmc(3, 0.3, jnp.asarray(np.diagonal(ROOT), jnp.float32)),
    "Nuts": Nuts(4, 0.3, jnp.asarray(ROOT, jnp.float32)),
}


@pytest.mark.parametrize("inner", ["Mala", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Hmc", "Nuts"))])
def test_every_kind_of_column_stays_as_it_is(inner):  # false alarm 7e-5 / 7 each
    x = jumped(Jump(INNER[inner], KINDS))
    assert min(doubts_of_kinds(x).values()) > FALSE_ALARM / 7
    assert (x != every_kind_drawn().astype(np.float32)).mean(0).min() > 0.4


class Inflated(Columns):
    """The density of proposals said to be 1.2 times what it is."""

    def log_r(self, u):
        return super().log_r(u) + np.log(1.2)


def test_a_jump_with_a_wrong_density_is_seen_by_the_same_statistic():
    jump = Jump(INNER["Mala"], KINDS)
    fields = {name: getattr(jump.columns, name) for name in Columns.__dataclass_fields__}
    broken = eqx.tree_at(lambda jump: jump.columns, jump, Inflated(**fields))
    assert doubts_of_kinds(jumped(broken))["nothing"] < FALSE_ALARM / 7
