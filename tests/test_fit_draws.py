"""What a step of a descent sees: an even batch, rows by weight, masked states."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import shaken
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from ptilde.fit import Data, Unmask, bucket, lattice
from ptilde.tabular.states import StateDensity


def star_discrepancy(x):
    x, i = np.sort(x), np.arange(1, len(x) + 1)
    return max((i / len(x) - x).max(), (x - (i - 1) / len(x)).max())


@pytest.mark.parametrize("num_columns", [2, 5, 12])
def test_every_coordinate_of_a_lattice_fills_the_unit_interval_evenly(num_columns):
    n = 512
    points = np.asarray(lattice(n, jr.uniform(jr.key(0), (num_columns,))))
    uniform = np.asarray(jr.uniform(jr.key(1), (n, num_columns)))
    ours, theirs = ([star_discrepancy(p[:, j]) for j in range(num_columns)] for p in (points, uniform))
    assert max(ours[:2]) < 4 * np.log(n) / n  # those that pick the row and the level
    assert max(ours) < 0.6 / np.sqrt(n) < np.mean(theirs)
    assert points.min() >= 0 and points.max() < 1


def test_what_fixes_the_normalisation_is_averaged_far_better_than_by_independent_draws():
    def error(u):
        return np.mean([np.mean(ndtri(np.clip(b, 1e-6, 1 - 1e-6)) ** 2 - 1) ** 2 for b in u]) ** 0.5

    keys = jr.split(jr.key(0), 50)
    ours = error([np.asarray(lattice(512, jr.uniform(k, (5,))))[:, 2:] for k in keys])
    theirs = error([np.asarray(jr.uniform(k, (512, 3))) for k in keys])
    assert ours < 0.25 * theirs  # as sixteen times as many points


@given(st.integers(1, 10**7))
def test_a_bucket_holds_its_rows_wastes_little_and_is_its_own(n):
    assert n <= bucket(n) <= 1.25 * n + 64
    assert bucket(bucket(n)) == bucket(n) <= bucket(n + 1)


def test_rows_are_drawn_in_proportion_to_their_weights_and_padding_never():
    weight = np.array([1.0, 0.0, 3.0, 2.0, 0.0])
    drawn = np.asarray(Data.of((np.arange(5),), weight).take((jnp.arange(6000) + 0.5) / 6000)[0])
    np.testing.assert_allclose(np.bincount(drawn, minlength=5), [1000, 0, 3000, 2000, 0], atol=1)
    assert Data.of((np.arange(2),), np.array([0.0, 1.0])).take(jnp.zeros(1))[0] == 1  # not even at the very edge


def test_the_last_row_is_not_lost_to_rounding():
    data = Data.of((np.arange(100_000),), np.ones(100_000))
    assert data.take(jnp.array([0.0, np.nextafter(np.float32(1), np.float32(0))]))[0].tolist() == [0, 99_999]


def test_masked_cross_entropy_is_the_surprise_averaged_over_all_orders():
    sizes = (2, 3, 2)
    model = shaken(StateDensity(sizes, 8, jnp.zeros(7), key=jr.key(0)), scale=0.5)
    tokens = jnp.array([1, 2, 0])
    law_given = jax.jit(lambda seen: model(tokens, seen))

    def surprise(order):
        seen, total = np.zeros(3, bool), 0.0
        for k in order:
            total -= law_given(jnp.asarray(seen))[sum(sizes[:k]) + tokens[k]]
            seen[k] = True
        return total

    expected = np.mean([surprise(order) for order in itertools.permutations(range(3))])
    # Every number of masked columns with every ranking of the columns, once.
    u = [[(m - 0.5) / 3, *((r + 0.5) / 3 for r in rank)]
         for m in (1, 2, 3) for rank in itertools.permutations(range(3))]  # fmt: skip
    loss, terms = Unmask()(model, (jnp.tile(tokens, (len(u), 1)),), jnp.array(u))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert terms[0] == loss
