"""`sample`: what a person calls."""

import warnings

import arviz
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import beta, expon, gamma
from sklearn.exceptions import ConvergenceWarning
from test_fit import compilations

import ptilde
from ptilde import Interval, Positive, Real
from ptilde.samplers import Density, Field, Mala, Ula
from ptilde.sampling import _curl


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


def test_the_same_function_compiles_nothing_again_and_another_one_does():
    normal = lambda scale: lambda x: -0.5 * x @ x / scale  # noqa: E731
    one, options = normal(2.0), {"num_steps": 50, "warmup": 60}
    ptilde.sample(one, np.zeros(2), **options)
    assert compilations(lambda: ptilde.sample(one, np.ones(2), sampler=Mala(0.3), key=1, **options)) == 0
    assert compilations(lambda: ptilde.sample(normal(2.0), np.ones(2), **options)) > 0


def test_the_same_key_gives_the_same_chains():
    one, two, other = (ptilde.sample(NARROW, np.zeros(2), num_steps=20, warmup=20, key=key) for key in (3, 3, 4))
    np.testing.assert_array_equal(one.x, two.x)
    assert not np.array_equal(one.x, other.x)


def test_chains_that_have_not_mixed_warn_and_say_why():
    far = lambda x: jnp.logaddexp(-0.5 * (x[0] - 20) ** 2, -0.5 * (x[0] + 20) ** 2)  # noqa: E731
    with pytest.warns(ConvergenceWarning, match="R-hat is .* in 'x0', above 1.01"):
        chains = ptilde.sample(far, np.array([[-20.0], [20.0]]), num_steps=200)
    assert "! R-hat" in chains.summary()


ENDLESS = {
    "flat": lambda x: 0 * x[0],
    "of the wrong sign": lambda x: 0.5 * x @ x,
    "a slope in one column": lambda x: x[0] - 0.5 * x[1] ** 2,
    "falling too slowly": lambda x: -0.75 * jnp.log1p(x @ x),
}
ENDING = {
    "Cauchy": lambda x: -jnp.sum(jnp.log1p(x**2)),
    "a funnel": lambda x: -0.5 * x[0] ** 2 - 0.5 * x[1] ** 2 * jnp.exp(-2 * x[0]) - x[0],
    "a box": lambda x: jnp.where(jnp.all(jnp.abs(x) < 3), 0.0, -jnp.inf),
    "a wide normal seen from within": lambda x: -0.5 * x @ x / 1e12,
    "beside a mode far away": lambda x: -jnp.logaddexp(0.5 * x @ x, 0.5 * (x - 1e4) @ (x - 1e4)),
}


class Chosen(eqx.Module):
    """One of these log densities, or its score; all are one program."""

    which: jax.Array
    bare: bool = eqx.field(static=True)

    @classmethod
    def named(cls, name, bare=False):
        return cls(jnp.asarray([*ENDLESS, *ENDING].index(name)), bare)

    def log_q(self, x):
        return jax.lax.switch(self.which, [*ENDLESS.values(), *ENDING.values()], x)

    def __call__(self, x):
        return jax.grad(self.log_q)(x) if self.bare else self.log_q(x)


@pytest.mark.parametrize("bare", [False, True], ids=["density", "score"])
@pytest.mark.parametrize("name", ENDLESS)
def test_chains_without_end_are_told_in_words(name, bare):  # breaks it: rays of draws without those of the axes
    with pytest.warns(ConvergenceWarning, match="log q does not fall.*: chains move away without end. Check its sign"):
        chains = ptilde.sample(Chosen.named(name, bare), np.ones(2), num_steps=20, warmup=0)
    assert chains.endless and "without end" in chains.summary()


def test_chains_without_end_are_told_after_warm_up_and_on_half_lines():
    assert ptilde.sample(ENDLESS["flat"], np.ones(2), num_steps=50, warmup=100).endless
    assert ptilde.sample(lambda x: 0 * x[0], [1.0], support=Positive(), num_steps=50, warmup=200).endless


@pytest.mark.parametrize("name", ENDING)
def test_what_has_an_integral_is_not_called_endless(name):
    assert not ptilde.sample(Chosen.named(name), np.ones(2), num_steps=20, warmup=0).endless


class Turning(eqx.Module):
    """The score of a normal law, and a rotation about its centre."""

    precision: jax.Array
    turn: jax.Array

    def __call__(self, x):
        return -self.precision @ x + self.turn * jnp.array([x[1], -x[0]])


def test_the_antisymmetric_share_of_a_jacobian_is_measured_and_warned_of():
    def curl(precision, turn):
        score = Turning(jnp.asarray(precision, jnp.float32), jnp.asarray(turn))
        return ptilde.sample(score, np.ones(2), num_steps=50, warmup=60)

    narrow = curl(NARROW.precision, 0.0)
    assert narrow.curl < 1e-5 and not any("gradient" in doubt for doubt in narrow.doubts())
    with pytest.warns(
        ConvergenceWarning, match=r"the score is no gradient, so no density has it: 0\.[23].* of its Jacobian"
    ):
        turning = curl(np.eye(2), 0.3)  # the preconditioner is near the identity, in which it is 0.3/√1.09
    np.testing.assert_allclose(turning.curl, 0.3 / np.sqrt(1.09), rtol=0.15)
    assert ptilde.sample(NARROW, np.zeros(2), num_steps=50, warmup=60).curl is None


def test_the_antisymmetric_share_is_free_of_units():
    score, units = Turning(jnp.eye(2), jnp.asarray(0.5)), np.array([1e-3, 1e4])
    scaled = lambda x: score(x / units) / units  # noqa: E731
    found = _curl(Field(scaled), jnp.asarray(np.ones((4, 8, 2)) * units), jnp.asarray(units), jr.key(0))
    np.testing.assert_allclose(found, 0.5 / np.sqrt(1.25), rtol=0.1)


def test_a_score_that_cannot_be_differentiated_is_drawn_all_the_same():
    score = lambda x: jax.pure_callback(lambda x: -x, x, x, vmap_method="expand_dims")  # noqa: E731
    assert ptilde.sample(score, np.ones(2), num_steps=20, warmup=0).curl is None


def test_scores_made_by_grad_bring_no_warning_of_equinox():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Field(jax.grad(NARROW))
        Density(jax.jit(NARROW))


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


def test_a_listener_hears_of_each_tenth_and_changes_no_draw(chains, capsys):
    heard = []
    told = ptilde.sample(NARROW, np.array([3.0, -3.0]), num_chains=8, num_steps=2000, key=1, callback=heard.append)
    np.testing.assert_array_equal(told.x, chains.x)
    assert [word.draw for word in heard] == list(range(200, 2001, 200)) and heard[-1].eta_seconds == 0
    assert heard[-1].acceptance == pytest.approx(chains.acceptance.mean(), rel=1e-5)
    assert heard[-1].divergences == chains.diverged.sum() and capsys.readouterr().out == ""
    assert heard[0].acceptance == pytest.approx(chains.acceptance[:, :200].mean(), rel=1e-5)


def test_a_line_is_printed_if_wanted_and_parts_may_differ_in_length(capsys):
    plain = ptilde.sample(NARROW, np.zeros(2), num_chains=2, num_steps=33, warmup=0, thin=2, key=0)
    told = ptilde.sample(NARROW, np.zeros(2), num_chains=2, num_steps=33, warmup=0, thin=2, key=0, verbose=True)
    np.testing.assert_array_equal(told.x, plain.x)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and lines[-1].startswith("draws: 33 of 33 a chain, acceptance ")
