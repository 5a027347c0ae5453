"""`sample`: what a person calls."""

import arviz
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta, expon, gamma
from sklearn.exceptions import ConvergenceWarning
from test_fit import compilations

import ptilde
from ptilde import Interval, Positive, Real
from ptilde.samplers import Mala, Ula


class Normal(eqx.Module):
    precision: jax.Array

    def __call__(self, x):
        return -0.5 * x @ self.precision @ x


# Most runs here are short on purpose, and say so.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COVARIANCE = np.array([[1.0, 9.9], [9.9, 100.0]])
NARROW = Normal(jnp.asarray(np.linalg.inv(COVARIANCE), jnp.float32))


@pytest.fixture(scope="module")
def chains():
    return ptilde.sample(NARROW, np.array([3.0, -3.0]), num_chains=8, num_steps=2000, key=1)


def within(chains, function, truth, alarm=4.5):
    """Whether the mean of a function of the draws is where it should be, by its own Monte-Carlo error."""
    values = function(chains.x)
    from ptilde.samplers.convergence import mean_error

    return abs(values.mean() - truth) < alarm * mean_error(values)


def test_a_narrow_normal_is_drawn_after_warm_up(chains):
    assert chains.doubts() == []
    for i in range(2):
        assert within(chains, lambda x, i=i: x[..., i], 0.0)
        for j in range(2):
            assert within(chains, lambda x, i=i, j=j: x[..., i] * x[..., j], COVARIANCE[i, j])
    assert 0.5 < chains.acceptance.mean() < 0.65  # the goal is .574
    np.testing.assert_allclose(chains.scale @ chains.scale.T, COVARIANCE, rtol=0.25)


def test_log_q_is_that_of_the_draws(chains):
    np.testing.assert_allclose(chains.log_q[3, 50], NARROW(jnp.asarray(chains.x[3, 50])), rtol=1e-4)


@pytest.mark.parametrize(
    ("log_q", "support", "law"),
    [
        (lambda x: -x[0] / 1000.0, Positive(), expon(scale=1000)),
        (lambda x: 2 * jnp.log(x[0]) - x[0], Positive(), gamma(3)),
        (lambda x: jnp.log(x[0] - 2) + 2 * jnp.log(5 - x[0]), Interval(2, 5), beta(2, 3, 2, 3)),
    ],
    ids=["exponential", "gamma", "beta"],
)
def test_bounded_supports_are_drawn_to_their_ends(log_q, support, law):
    chains = ptilde.sample(log_q, np.array([3.0]), support=support, num_chains=20, num_steps=2000, key=2)
    low, high = support.low if isinstance(support, Interval) else 0.0, getattr(support, "high", np.inf)
    assert ((chains.x > low) & (chains.x < high)).all()
    for q in (0.05, 0.5, 0.95):
        assert within(chains, lambda x, q=q: (x[..., 0] <= law.ppf(q)).astype(float), q)
    np.testing.assert_allclose(chains.log_q[0, 0], log_q(jnp.asarray(chains.x[0, 0])), rtol=1e-3, atol=1e-4)


def test_a_bare_score_is_drawn_and_called_approximate():
    chains = ptilde.sample(jax.grad(NARROW), np.zeros(2), num_chains=8, num_steps=1000)
    assert not chains.exact and "approximate" in chains.summary() and np.isnan(chains.log_q).all()
    assert within(chains, lambda x: x[..., 1] ** 2, 100.0)


def test_a_second_run_compiles_nothing():
    ptilde.sample(NARROW, np.zeros(2), num_steps=50, warmup=60, sampler=Mala(0.1))
    other, sampler = Normal(jnp.eye(2)), Mala(0.3)
    again = lambda: ptilde.sample(other, np.ones(2), num_steps=50, warmup=90, sampler=sampler, key=5)  # noqa: E731
    assert compilations(again) == 0


def test_the_same_key_gives_the_same_chains():
    one, two, other = (ptilde.sample(NARROW, np.zeros(2), num_steps=20, warmup=20, key=key) for key in (3, 3, 4))
    np.testing.assert_array_equal(one.x, two.x)
    assert not np.array_equal(one.x, other.x)


def test_chains_that_have_not_mixed_warn_and_say_why():
    far = lambda x: jnp.logaddexp(-0.5 * (x[0] - 20) ** 2, -0.5 * (x[0] + 20) ** 2)  # noqa: E731
    with pytest.warns(ConvergenceWarning, match="R-hat is .* in 'x0', above 1.01"):
        chains = ptilde.sample(far, np.array([[-20.0], [20.0]]), num_steps=200)
    assert "! R-hat" in chains.summary()


def test_a_density_that_has_no_integral_is_not_trusted():
    with pytest.warns(ConvergenceWarning):
        ptilde.sample(lambda x: 0.5 * x @ x, np.ones(2), num_steps=200, warmup=200)


def test_what_was_estimated_in_double_precision_is_drawn_in_single():
    """A constant of NumPy's, seen by JAX in both precisions, must not be mistaken (it is, outside compiled code)."""
    matrix = np.linalg.inv(COVARIANCE)
    density = lambda x: -0.5 * x @ (matrix @ x)  # noqa: E731
    rows = np.random.default_rng(0).multivariate_normal(np.zeros(2), COVARIANCE, 300)
    fit = ptilde.estimate(lambda theta, x: theta * density(x), 1.0, rows)
    chains = ptilde.sample(density, np.zeros(2), num_steps=200, warmup=200)
    assert abs(fit.theta - 1) < 0.3 and 3 < chains.x[..., 1].std() < 30


def test_thinning_keeps_every_so_many(chains):
    plain = ptilde.sample(NARROW, np.zeros(2), sampler=Ula(1e-3), warmup=0, num_steps=12)
    thinned = ptilde.sample(NARROW, np.zeros(2), sampler=Ula(1e-3), warmup=0, num_steps=4, thin=3)
    np.testing.assert_array_equal(thinned.x, plain.x[:, 2::3])


def test_frames_and_arviz_hold_the_draws(chains):
    frame = chains.to_frame()
    assert frame.query("chain == 3 and draw == 50")[["x0", "x1"]].to_numpy().tolist() == [chains.x[3, 50].tolist()]
    data = chains.to_arviz()
    np.testing.assert_array_equal(data.posterior["x1"].values, chains.x[..., 1])
    np.testing.assert_allclose(arviz.rhat(data)["x0"].values, chains.rhat[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("log_q", "x0", "options", "message"),
    [
        (lambda x: jnp.sum(jnp.log(x)), -np.ones(2), {}, r"log q = \[nan\] at \[-1.0, -1.0\] \(chain 0\)"),
        (lambda x: jnp.sum(-jnp.sqrt(x)), np.zeros(2), {}, "its gradient"),
        (lambda x: x[:1], np.zeros(2), {}, r"one number, or a score of shape \(2,\); got \(1,\)"),
        (lambda x: x @ jnp.ones(3), np.zeros(2), {}, "TypeError"),
        (NARROW, np.zeros((2, 2, 2)), {}, r"got shape \(2, 2, 2\)"),
        (NARROW, np.zeros(2), {"num_steps": 2}, "`num_steps` must be at least 4"),
        (NARROW, np.zeros(2), {"support": Positive()}, "`x0` must lie inside its support Positive"),
        (NARROW, np.zeros(2), {"support": [Real()]}, "for each of the 2 columns"),
        (jax.grad(NARROW), np.ones(2), {"support": Positive()}, "all real for a bare score"),
    ],
)
def test_what_cannot_be_drawn_is_refused(log_q, x0, options, message):
    with pytest.raises(ValueError, match=message):
        ptilde.sample(log_q, x0, **options)
