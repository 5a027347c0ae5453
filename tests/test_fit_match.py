"""Any loss of any model through `fit.descend`, and the rows it is given."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from ptilde import DataError, Positive, Real, SemiContinuous, fit, losses
from ptilde.tabular.points import points


class Normal(eqx.Module):
    """log q of a normal law; `gives` is left to its default, a log density."""

    mean: jax.Array
    log_precision: jax.Array

    def __call__(self, x):
        return -0.5 * jnp.exp(self.log_precision) * jnp.sum((x - self.mean) ** 2)


class Line(eqx.Module):
    """The score of a normal law, and no log density."""

    slope: jax.Array
    gives = "score"

    def __call__(self, x):
        return -self.slope * x


class Counting(eqx.Module):
    """A loss that is its key's own number: all rows of a batch must have different ones."""

    needs = "log density"

    def __call__(self, log_q, x, key):
        return jr.uniform(key)


START = Normal(jnp.zeros(2), jnp.array(0.0))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(2.0, 0.5, (512, 2))


def test_the_mean_loss_of_a_batch_is_the_mean_over_its_rows(x):
    rows = (jnp.asarray(x[:32], jnp.float32),)
    loss, terms = fit.Match(losses.Hyvarinen())(START, rows, jnp.linspace(0, 0.9, 32)[:, None])
    exact = np.mean(0.5 * np.sum(x[:32] ** 2, 1) - 2)
    np.testing.assert_allclose([loss, terms[0]], exact, rtol=1e-5)


def test_every_row_of_a_batch_has_a_key_of_its_own(x):
    objective = fit.Match(Counting())
    lone = [float(objective(START, (jnp.zeros((1, 2)),), jnp.array([[u]]))[0]) for u in (0.1, 0.1 + 2e-7, 0.9)]
    assert len(set(lone)) == 3


@pytest.mark.parametrize(
    "loss", [losses.Hyvarinen(), losses.Sliced(), losses.Denoising(0.05)], ids=lambda v: type(v).__name__
)
def test_three_lines_fit_a_model_by_any_loss(x, loss):
    plan = fit.Descent(batch_size=128, num_steps=1500, step_size=0.05, weight_decay=0.0)
    model = fit.descend(fit.Match(loss), START, fit.rows(x), None, plan, jr.key(0)).model
    np.testing.assert_allclose(model.mean, x.mean(0), atol=0.03)
    blur = getattr(loss, "sigma", 0.0) ** 2
    np.testing.assert_allclose(np.exp(-model.log_precision), x.var(0).mean() + blur, rtol=0.06)


def test_a_loss_that_needs_more_than_the_model_gives_is_refused(x):
    with pytest.raises(ValueError, match="gives a score; got one that needs a log density"):
        fit.Match(losses.FiniteDifference(0.1))(Line(jnp.array(1.0)), (jnp.zeros((4, 2)),), jnp.zeros((4, 1)))


def test_rows_with_ties_are_refused_unless_the_atom_is_declared():
    y = np.where(np.arange(1000) % 4 == 0, 250.0, np.random.default_rng(1).gamma(2, 100, 1000))
    with pytest.raises(DataError, match=r"'x0' .*0\.25 of its rows are exactly 250.*SemiContinuous\(atoms=\(250\.0,\)"):
        fit.rows(y)
    assert fit.rows(y, SemiContinuous((250.0,), Positive())).rows[0].shape[1] == 1


def test_ties_of_a_few_rows_are_no_ties():
    y = np.random.default_rng(1).normal(size=50)
    y[1] = y[0]
    points(y)
    y[2] = y[0]
    with pytest.raises(DataError, match="0.06 of its rows"):
        points(y)


def test_values_near_an_atom_are_on_it_and_gridded_ones_spread_within_their_cells():
    found = points(np.array([1e-14, 3.0, 4.0, 5.0]), SemiContinuous((0.0,), Real(grid=1.0)), seed=3)
    assert found.x[0, 0] == 0.0 and not found.body[0, 0]
    assert (np.abs(found.x[1:, 0] - [3, 4, 5]) <= 0.5).all() and (found.x[1:, 0] != [3, 4, 5]).all()


def test_a_grid_at_the_end_of_its_support_stays_inside():
    from ptilde import Interval

    found = points(np.repeat([0.0, 1.0], 200), Interval(0.0, 1.0, grid=0.5))
    assert (found.x > 0).all() and (found.x < 1).all()
