"""blackjax behind our interface: the step size means what it does in Langevin's steps, held columns cost nothing.

Breaks these: h = ε instead of √(2ε); momentum in held columns; L of all columns where some are held; a temperature that
is skipped. That the law stays as it is: `test_invariance`.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import chisquare
from test_fit import compilations

import ptilde
from ptilde.samplers import Column, Density, Field, Hmc, Jump, Mala, Nuts, TemperedSmc, Ula
from ptilde.samplers.base import run
from ptilde.samplers.convergence import mean_error
from ptilde.samplers.external import _JITTER, _followed, _root
from ptilde.samplers.jump import Slice

FALSE_ALARM = 1e-5
ROOT = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.5, 0.3, 0.7]])


class Normal(eqx.Module):
    precision: jax.Array

    def __call__(self, x):
        return -0.5 * x @ self.precision @ x


class Slope(eqx.Module):
    """A log density that is a plane: leapfrog steps are exact there."""

    slope: jax.Array

    def __call__(self, x):
        return self.slope @ x


@eqx.filter_jit
def stepped(sampler, target, x, keys):
    """One step from x with each key, and what it says of itself."""
    states, infos = jax.vmap(lambda key: sampler.step(target, sampler.init(target, x), key))(keys)
    return states.x, infos


@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("scale", [None, np.array([0.5, 2.0]), ROOT[:2, :2]], ids=["none", "diagonal", "dense"])
def test_epsilon_is_that_of_langevin_steps(num_steps, scale):
    """On a plane of slope a, a trajectory of time T = nh leads ½T² LLᵀa further than without the slope."""
    epsilon, slope, n = 0.3, jnp.array([0.7, -1.1]), 4000
    sampler = Hmc(num_steps, epsilon, None if scale is None else jnp.asarray(scale, jnp.float32))
    keys = jr.split(jr.key(0), n)
    ends = {a: stepped(sampler, Density(Slope(a * slope)), jnp.ones(2), keys) for a in (0.0, 1.0)}
    full = np.eye(2) if scale is None else np.diag(scale) if scale.ndim == 1 else scale
    drift = epsilon * num_steps**2 * full @ full.T @ slope  # as ½h² = ε
    ratio = np.asarray(ends[1.0][0] - ends[0.0][0]) @ drift / (drift @ drift)
    low, high = (1 - _JITTER) ** 2, (1 + _JITTER) ** 2
    assert low - 1e-3 < ratio.min() < low + 0.02 and high - 0.02 < ratio.max() < high + 1e-3
    np.testing.assert_allclose(ends[1.0][1].acceptance, 1, atol=1e-4)
    spread = np.asarray(ends[0.0][0] - 1) / np.sqrt(2 * epsilon * num_steps**2 * (1 + _JITTER**2 / 3))
    white = spread @ np.linalg.inv(full).T  # covariance I; of a mean of squares it is 2 (1.0 for the jitter) / n
    assert np.abs(white.T @ white / n - np.eye(2)).max() < 4.5 * 1.7 / np.sqrt(n)


def place(option):
    """A mixed density of three columns, each with an atom, at options and at a point of its charts."""
    columns = Jump(Mala(), [Column((9.0,))] * 3).columns
    return Slice(Normal(jnp.asarray(np.linalg.inv(ROOT @ ROOT.T))), columns, jnp.asarray(option)), jnp.ones(3)


def test_the_root_is_that_of_the_covariance_of_what_moves():
    density, x = place([1, 0, 1])
    root, free = _root(jnp.asarray(ROOT), density, x)
    covariance, moves = np.asarray(root @ root.T), np.array([0, 2])
    np.testing.assert_allclose(covariance[np.ix_(moves, moves)], (ROOT @ ROOT.T)[np.ix_(moves, moves)], rtol=1e-5)
    assert covariance[1, 1] == 1 and not covariance[1, moves].any() and free.tolist() == [True, False, True]


class Counting(Nuts):
    """A sampler that tells how many steps its trajectory took."""

    def step(self, target, state, key):
        from blackjax.mcmc import nuts

        def kernel(*args):
            end, info = nuts.build_kernel()(*args, max_num_doublings=self.max_doublings)
            return end, info._replace(acceptance_rate=info.num_integration_steps)

        return _followed(kernel, self, 1.0, target, state, key)


@pytest.mark.slow
def test_held_columns_do_not_move_nor_make_trajectories_longer():
    sampler, keys = Counting(7, 0.1, jnp.asarray(ROOT, jnp.float32)), jr.split(jr.key(1), 200)
    for option in ([1, 0, 1], [0, 1, 0], [0, 0, 0]):
        density, x = place(option)
        ends, info = stepped(sampler, Density(density), x, keys)
        held = np.array(option) == 0
        assert (np.asarray(ends)[:, held] == 1).all()
        assert held.all() or (np.asarray(ends)[:, ~held] != 1).any(1).mean() > 0.9
        assert info.acceptance.max() <= (1 if held.all() else 31)
    flat = lambda u: density(u)  # the same, but not known to be held  # noqa: E731
    _, info = stepped(sampler, Density(flat), x, keys)
    assert info.acceptance.min() == 127


def amounts(x):
    """Two amounts beside zero that know of each other, not normal in any chart."""
    one, two = x
    body_one = 0.4 - 0.25 * one**4 + 0.5 * one
    body_two = -0.5 * (two - one) ** 2 - jax.nn.softplus(-two) + jnp.where(one == 0, 0.0, 0.3)
    return jnp.where(one == 0, 0.0, body_one) + jnp.where(two == 0, 0.0, body_two)


@functools.cache
def by_quadrature():
    """Masses of the four patterns, and the mean of both columns where both are in their bodies."""
    grid = np.linspace(-9, 9, 1201) + 1e-4  # never on the atoms
    cell = grid[1] - grid[0]
    at = jax.jit(jax.vmap(amounts))
    none = np.exp(at(jnp.zeros((1, 2))))[0]
    ones = np.exp(at(jnp.column_stack([grid, 0 * grid]))).sum() * cell
    twos = np.exp(at(jnp.column_stack([0 * grid, grid]))).sum() * cell
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    both = np.exp(np.asarray(at(jnp.asarray(points)), np.float64))
    masses = np.array([none, twos, ones, both.sum() * cell**2])
    return masses / masses.sum(), both @ points / both.sum()


@pytest.mark.slow
def test_a_hurdle_law_that_is_jumped_to_has_the_masses_and_means_of_quadrature():
    jump = Jump(Nuts(5, 0.3, jnp.asarray(ROOT[:2, :2], jnp.float32)), [Column((0.0,))] * 2)
    n, target = 10_000, Density(amounts)
    states = eqx.filter_vmap(jump.init, in_axes=(None, 0))(target, jnp.zeros((n, 2)))
    states, _, _ = run(jump, target, states, jr.key(0), jnp.asarray(0), 1, 30)
    x, (masses, means) = np.asarray(states.x, np.float64), by_quadrature()
    counts = np.bincount((x != 0) @ [2, 1], minlength=4)
    assert chisquare(counts, n * masses).pvalue > FALSE_ALARM > chisquare(counts, n * masses[[0, 2, 1, 3]]).pvalue
    both = x[(x != 0).all(1)]
    error = both.std(0) / np.sqrt(len(both))
    assert (np.abs(both.mean(0) - means) < 4.5 * error).all() and (np.abs(means) > 4.5 * error).all()


@pytest.mark.parametrize("sampler", [Hmc(), Nuts(6)], ids=["Hmc", "Nuts"])
def test_a_narrow_normal_is_drawn_after_warm_up_and_a_second_one_compiles_nothing(sampler):
    covariance = np.array([[1.0, 9.9], [9.9, 100.0]])
    density = Normal(jnp.asarray(np.linalg.inv(covariance), jnp.float32))
    draw = lambda density, sampler, key: ptilde.sample(  # noqa: E731
        density, np.array([3.0, -3.0]), sampler=sampler, num_chains=8, num_steps=600, warmup=400, key=key
    )
    chains = draw(density, sampler, 1)
    assert chains.exact and chains.doubts() == [] and abs(chains.acceptance.mean() - sampler.goal) < 0.08
    np.testing.assert_allclose(chains.scale @ chains.scale.T, covariance, rtol=0.3)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        product = chains.x[..., i] * chains.x[..., j]
        assert abs(product.mean() - covariance[i, j]) < 4.5 * mean_error(product)
    other, wide = eqx.tree_at(lambda s: s.step_size, sampler, jnp.asarray(0.02, float)), Normal(jnp.eye(2))
    assert compilations(lambda: draw(wide, other, 2)) == 0


def test_steps_that_go_astray_are_told():
    _, info = stepped(Hmc(3, 50.0), Density(Normal(jnp.eye(2))), jnp.ones(2), jr.split(jr.key(0), 10))
    assert info.diverged.all() and (info.acceptance == 0).all()


MASS = 0.3


class TwoModes(eqx.Module):
    """Two unit normals twelve standard deviations apart, one with three tenths of the mass."""

    away: jax.Array

    def __call__(self, x):
        one, other = (-0.5 * jnp.sum((x - sign * self.away) ** 2) for sign in (-1, 1))
        return jnp.logaddexp(jnp.log(MASS) + one, jnp.log(1 - MASS) + other)


@pytest.mark.parametrize("d", [2, 10])
def test_particles_have_the_shares_of_modes_far_apart_and_their_normaliser(d):
    away = jnp.full(d, 6 / np.sqrt(d))
    points = np.random.default_rng(0).normal(size=(200, d)) + np.asarray(away) * np.repeat([[-1], [1]], 100, 0)
    runs = [TemperedSmc(600).draw(TwoModes(away), points, jr.key(seed)) for seed in range(12)]
    sides = [run.x @ np.asarray(away) < 0 for run in runs]
    shares = np.array([side.mean() for side in sides])
    error = shares.std(ddof=1) / np.sqrt(12)
    assert error < 0.02 and abs(shares.mean() - MASS) < 4 * error and abs(shares.mean() - 0.5) > 4 * error
    ratios = np.exp([run.log_normalizer - d / 2 * np.log(2 * np.pi) for run in runs])  # unbiased for 1, nearly
    assert ratios.std() < 0.4 and abs(ratios.mean() - 1) < 4 * ratios.std(ddof=1) / np.sqrt(12)
    white = [run.x - np.where(side, -1, 1)[:, None] * away for run, side in zip(runs, sides, strict=True)]
    np.testing.assert_allclose(np.var(white, (0, 1)), 1, atol=0.1)


def test_what_draw_returns_is_of_the_particles():
    draw = lambda key: TemperedSmc(200, num_moves=2).draw(Normal(jnp.eye(2)), np.eye(2) * 3, jr.key(key))  # noqa: E731
    one, again, other = draw(0), draw(0), draw(1)
    np.testing.assert_array_equal(one.x, again.x)
    assert one.x.shape == (200, 2) and not np.array_equal(one.x, other.x)
    assert 100 < one.ess <= 200 and abs(one.log_normalizer - np.log(2 * np.pi)) < 0.5 and one.num_rungs >= 2


def tempered(log_q, kept=0.8):
    return TemperedSmc(50, num_moves=1, kept=kept).draw(log_q, np.eye(2), jr.key(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hmc(0), "`num_steps` must be at least 1; got 0"),
        (lambda: Nuts(0), "`max_doublings` must be at least 1; got 0"),
        (lambda: Nuts(5, jnp.ones(2)), "`step_size` must be one number"),
        (lambda: Hmc().init(Field(jnp.negative), jnp.ones(2)), "for a bare score; got Hmc.*give the log density"),
        (lambda: ptilde.sample(jnp.negative, np.ones(2), sampler=Nuts()), "for a bare score; got Nuts"),
        (lambda: TemperedSmc(1), "`num_particles` must be at least 2; got 1"),
        (lambda: TemperedSmc(kept=1.0), "`kept` must be below 1; got 1.0"),
        (lambda: TemperedSmc(inner=Ula()), r"`inner` must be Mala\(\), Hmc\(\) or Nuts\(\); got Ula"),
        (lambda: TemperedSmc().draw(jnp.sum, np.ones(2), jr.key(0)), r"span the modes, \(n, d\); got shape \(2,\)"),
        (lambda: TemperedSmc().draw(jnp.sum, np.ones((2, 2)), jr.key(0)), "in every column; column 0 is constant"),
        (lambda: tempered(lambda x: jnp.nan * x[0]), r"`log_q` must be finite near `x0`; it is not around \[0.5, 0.5"),
        (
            lambda: tempered(lambda x: -30 * x @ x, 0.999999),
            "`kept` must let particles arrive; after 1000 temperatures",
        ),
        (lambda: tempered(lambda x: 0.1 * x @ x), "`log_q` must fall far from its modes.*Check its sign"),
        (lambda: tempered(lambda x: -0.5 * x[0] ** 2), "`log_q` must fall far from its modes"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
