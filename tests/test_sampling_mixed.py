"""`sample` on mixed supports: atoms exact, bodies inside, categories and counts, in one law.

Breaks these: a chart's slope counted for a column on an atom; moments of amounts that count the atoms; a start that is
not put on its atom.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.special import softmax
from test_fit import compilations

import ptilde
from ptilde import Categorical, Count, Interval, Positive, Real, SemiContinuous
from ptilde.models import Hurdle, strata
from ptilde.samplers import Ula
from ptilde.samplers.convergence import mean_error

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

AMOUNT, LIMITED = SemiContinuous((0.0,)), SemiContinuous((0.0, 200.0), Interval(0, 200))
SUPPORT = [AMOUNT, LIMITED, Categorical((1, 2, 5)), Count(), Real()]
CLASSES, SHIFT = np.array([0.5, 0.2, 0.3]), np.array([0.0, 1.0, -0.5])


def claims(x):
    """A claim, what is paid of another, a class, a count that grows with it, and a number around the count."""
    amount, paid, kind, count, number = x
    claim = jnp.where(amount == 0, jnp.log(0.7), jnp.log(0.3) + lognormal(amount))
    share = paid / 200
    inside = jnp.log(0.5 * 6 / 200) + jnp.log(share) + jnp.log1p(-share)  # Beta(2, 2)
    payment = jnp.where(paid == 0, jnp.log(0.1), jnp.where(paid == 200, jnp.log(0.4), inside))
    is_kind = kind == jnp.array([1.0, 2.0, 5.0])
    rate = jnp.exp(is_kind @ jnp.asarray(SHIFT))
    counts = count * jnp.log(rate) - rate - jax.scipy.special.gammaln(count + 1)
    return claim + payment + is_kind @ jnp.log(jnp.asarray(CLASSES)) + counts - 0.5 * (number - count) ** 2


def lognormal(x):
    return -jnp.log(x) - 0.5 * ((jnp.log(x) - 7) / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))


TRUTHS = {
    "no claim": (lambda x: x[..., 0] == 0, 0.7),
    "log claim": (lambda x: np.where(x[..., 0] > 0, np.log(np.where(x[..., 0] > 0, x[..., 0], 1)) - 7, 0), 0.0),
    "its square": (
        lambda x: np.where(x[..., 0] > 0, (np.log(np.where(x[..., 0] > 0, x[..., 0], 1)) - 7) ** 2, 0),
        0.3 * 0.25,
    ),
    "nothing paid": (lambda x: x[..., 1] == 0, 0.1),
    "the limit paid": (lambda x: x[..., 1] == 200, 0.4),
    "paid": (lambda x: x[..., 1] / 200, 0.4 + 0.5 * 0.5),
    "class 2": (lambda x: x[..., 2] == 2, 0.2),
    "class 5": (lambda x: x[..., 2] == 5, 0.3),
    "counts": (lambda x: x[..., 3], CLASSES @ np.exp(SHIFT)),
    "no counts": (lambda x: x[..., 3] == 0, CLASSES @ np.exp(-np.exp(SHIFT))),
    "the number's square": (lambda x: (x[..., 4] - x[..., 3]) ** 2, 1.0),
}


@pytest.fixture(scope="module")
def chains():
    start = np.array([0.0, 200.0, 1.0, 0.0, 0.0])
    return ptilde.sample(claims, start, support=SUPPORT, num_chains=40, num_steps=1500, warmup=300, key=3)


@pytest.mark.parametrize("what", TRUTHS)
def test_every_kind_of_column_has_its_law(chains, what):  # false alarm 7e-6 each
    function, truth = TRUTHS[what]
    values = np.asarray(function(chains.x), float)
    assert abs(values.mean() - truth) < 4.5 * mean_error(values)
    assert mean_error(values) < 0.03 * max(truth, 0.3)  # so that what is wrong would be seen


def test_every_value_is_on_an_atom_or_inside_its_body(chains):
    amount, paid, kind, count, _ = np.moveaxis(chains.x, -1, 0)
    assert (amount >= 0).all() and (amount[amount > 0] > 1).all()
    assert ((paid >= 0) & (paid <= 200)).all()
    assert set(np.unique(kind)) == {1, 2, 5} and (count == np.round(count)).all()


def test_log_q_is_that_of_the_draws_on_atoms_and_off(chains):
    some = chains.x[:, ::300].reshape(-1, 5)
    assert len(np.unique(some[:, :2] == 0, axis=0)) == 4
    expected = np.asarray(jax.jit(jax.vmap(claims))(jnp.asarray(some)))
    np.testing.assert_allclose(chains.log_q[:, ::300].ravel(), expected, rtol=1e-3, atol=1e-3)


def hurdle():
    random = np.random.default_rng(0)
    root = 0.3 * random.standard_normal((5, 5))
    precision = 1.2 * np.eye(5) + root @ root.T
    logits, pairs = np.array([-0.1, -0.8, -0.2, -1.3, 0.1]), random.normal(0, 0.5, 10)
    return Hurdle(logits, pairs, random.normal(0, 0.6, 5), precision[np.triu_indices(5)], log=True)


@pytest.mark.slow
def test_a_hurdle_law_is_drawn_from_the_all_zero_state():
    chains = ptilde.sample(hurdle(), np.zeros(5), support=AMOUNT, num_chains=40, num_steps=1500, warmup=500)
    law, x = strata(hurdle()), chains.x.reshape(-1, 5)
    masses = softmax(law.log_masses)
    shares = np.bincount((x != 0) @ [16, 8, 4, 2, 1], minlength=32) / len(x)
    assert chains.doubts() == []
    assert 0.5 * np.abs(shares - masses).sum() <= 0.02
    logs = np.log(np.where(x > 0, x, 1))
    np.testing.assert_allclose(logs.mean(0), masses @ law.means, atol=0.05)


def test_unadjusted_chains_on_atoms_are_called_approximate():
    chains = ptilde.sample(hurdle(), np.zeros(5), support=AMOUNT, sampler=Ula(0.05), num_steps=20, warmup=60)
    assert not chains.exact and (chains.x == 0).any() and (chains.x > 0).any()


def test_a_second_run_compiles_nothing():
    model = hurdle()
    again = lambda atoms, key: ptilde.sample(  # noqa: E731
        model, np.zeros(5), support=SemiContinuous(atoms), num_steps=20, warmup=60, key=key
    )
    again((0.0,), 0)
    assert compilations(lambda: again((0.0,), jr.key(1))) == 0


def test_a_start_within_float_noise_of_an_atom_is_on_it():
    log_q = lambda x: jnp.where(x[0] == 0.1, 0.0, -jnp.inf)  # noqa: E731
    chains = ptilde.sample(log_q, [0.1 + 1e-9], support=SemiContinuous((0.1,)), num_steps=5, warmup=0)
    assert (chains.x == 0.1).all()


ZERO = np.zeros(1)


@pytest.mark.parametrize(
    ("log_q", "x0", "support", "message"),
    [
        (
            jnp.sum,
            [-1.0],
            AMOUNT,
            r"`x0` must lie inside its support SemiContinuous.*; got -1.0 in column 0 of chain 0",
        ),
        (jnp.sum, [3.0], Categorical((1, 2)), "`x0` must lie inside its support Categorical.*; got 3.0"),
        (jnp.sum, [1.5], Count(), "`x0` must lie inside its support Count.*; got 1.5"),
        (jnp.sum, [-1.0], Count(), "`x0` must lie inside its support Count.*; got -1.0"),
        (jnp.sum, [200.0], Interval(0, 200), "`x0` must lie inside its support Interval.*; got 200.0"),
        (
            lambda x: jnp.log(x[0]) * 0 - x[0],
            [1.0],
            AMOUNT,
            r"every atom, or -inf; got nan at \[0.0\].*jnp.where\(x == 0",
        ),
        (lambda x: jnp.where(x[0] == 0, jnp.nan, -x[0]), ZERO, AMOUNT, r"log q = \[nan\] at \[0.0\] \(chain 0\)"),
        (lambda x: -x, ZERO, AMOUNT, "all real for a bare score"),
        (jnp.sum, ZERO, Categorical(("a", "b")), "categories that are numbers; got .*codes: 0, 1"),
        (jnp.sum, ZERO, SemiContinuous((0,), Positive(grid=0.1)), "no grid and no missing values"),
        (jnp.sum, ZERO, [Count(), Count()], "for each of the 1 columns"),
    ],
)
def test_what_cannot_be_drawn_is_refused(log_q, x0, support, message):
    with pytest.raises(ValueError, match=message):
        ptilde.sample(log_q, x0, support=support, num_steps=10)


def test_atoms_may_lie_outside_the_body():
    log_q = lambda x: jnp.where(x[0] == -1, jnp.log(0.25), jnp.log(0.75) - x[0])  # noqa: E731
    support = SemiContinuous((-1.0,), Positive())
    chains = ptilde.sample(log_q, [-1.0], support=support, num_chains=20, num_steps=1000, warmup=200)
    on = (chains.x[..., 0] == -1).astype(float)
    assert abs(on.mean() - 0.25) < 4.5 * mean_error(on)
    assert (chains.x[chains.x != -1] > 0).all()
