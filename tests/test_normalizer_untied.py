"""Coordinates that untie columns: an exact change of variables, and a standard law where one sets scale or bend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ptilde import Positive, Real, log_normalizer
from ptilde.normalizer.place import Place
from ptilde.normalizer.support import columns_of
from ptilde.normalizer.untied import Untied

FALSE_ALARM = 1e-5
N = 4096
EVEN = np.full(N, 1 / N)
NORMAL = np.random.default_rng(0).standard_normal((N, 4))
FUNNEL = np.concatenate([np.exp(NORMAL[:, :1]) * NORMAL[:, 1:], 2 * NORMAL[:, :1]], 1)  # its scale comes last
BANANA = np.stack([NORMAL[:, 0], 3 + NORMAL[:, 0] ** 2 + 0.1 * NORMAL[:, 1]], 1)
RIDGE = 7 + NORMAL @ np.linalg.cholesky(0.99 + 0.01 * np.eye(4)).T
MODES = np.where(np.random.default_rng(1).random((N, 1)) < 0.2, -5, 5) + NORMAL


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def residuals(untied, u):
    """v, by solving for one column after the other."""
    v = np.zeros(u.shape)
    forward = jax.jit(jax.vmap(lambda v: untied(v)[0]))
    for j in map(int, untied.order):
        at = [np.asarray(forward(jnp.asarray(v + shift * np.eye(u.shape[1])[j])))[:, j] for shift in (0.0, 1.0)]
        v[:, j] = (u[:, j] - at[0]) / (at[1] - at[0])
    return v


@pytest.mark.parametrize("u", [FUNNEL, BANANA, RIDGE, MODES], ids=["funnel", "banana", "ridge", "modes"])
def test_the_log_volume_is_the_log_determinant_of_the_map(u):
    untied = Untied.fitted(u, EVEN)
    for v in NORMAL[:5, : u.shape[1]]:
        jacobian = jax.jacobian(lambda v: untied(v)[0])(jnp.asarray(v))
        assert float(untied(jnp.asarray(v))[1]) == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=1e-9)


@pytest.mark.parametrize("u", [FUNNEL, BANANA, RIDGE], ids=["funnel", "banana", "ridge"])
def test_laws_with_bends_and_scales_become_standard(u):
    """Columns normal, and neither they nor their sizes correlated; with coordinates that are only shifted they are."""

    def correlated(v):
        both = np.concatenate([v, np.log(np.abs(v))], 1)
        away = np.abs(stats.spearmanr(both).statistic - np.eye(both.shape[1]))
        d = v.shape[1]
        away[np.arange(d), d + np.arange(d)] = away[d + np.arange(d), np.arange(d)] = 0
        return away.max() * np.sqrt(N)

    v = residuals(Untied.fitted(u, EVEN), u)
    assert min(stats.kstest(column, "norm").pvalue for column in v.T) > FALSE_ALARM
    assert correlated(v) < 5.3  # of at most 28 pairs, two-sided: 28 · 1.2e-7
    assert correlated(residuals(Untied.plain(u.mean(0), u.std(0)), u)) > 20


def test_a_bend_that_is_of_little_use_is_left_out():
    """A parabola through a twentieth of the variance is clear in 4,096 rows, and would lead astray beyond them."""
    for share, bent in ((0.05, False), (0.5, True)):
        y = np.sqrt(share / 2) * NORMAL[:, 0] ** 2 + np.sqrt(1 - share) * NORMAL[:, 1]
        found = Untied.fitted(np.stack([NORMAL[:, 0], y], 1), EVEN)
        assert np.asarray(found.mean[:, 3:]).any() == bent


def test_a_density_has_the_same_mass_in_untied_coordinates():
    """By quadrature: x > 0 has an exponential law, y given it a normal one whose scale is x."""

    def log_q(x):
        return -x[0] - 0.5 * (x[1] / x[0]) ** 2

    random = np.random.default_rng(2)
    x = random.exponential(size=N)
    u = np.stack([np.log(x), x * random.standard_normal(N)], 1)
    place = Place.first(log_q, columns_of((Positive(), Real())), np.zeros(2), np.ones(2))
    for target in (place, place.fitted(jnp.asarray(u), EVEN)):
        found = log_normalizer(target.log_q, dim=2, method="quadrature")
        assert found.value == pytest.approx(0.5 * np.log(2 * np.pi), abs=1e-4)  # the mean of x is 1


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True], ids=["scale first", "scale last"])
def test_particles_know_the_mass_of_a_funnel(last):
    """Neal's, of ten columns: x_0 ~ N(0, 9), and the others N(0, e^x_0)."""

    def log_q(x):
        x = x[::-1] if last else x
        return -(x[0] ** 2) / 18 - 4.5 * x[0] - 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-x[0])

    found = log_normalizer(log_q, dim=10)
    assert abs(found.value - 5 * np.log(2 * np.pi) - np.log(3)) < 4 * found.standard_error < 0.1
