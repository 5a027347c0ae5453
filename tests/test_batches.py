"""What a step of a descent sees: an even batch of rows and uniforms, rows by weight, of however long a table."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from ptilde.batches import Data, batch, bucket, lattice


class Uniforms:
    """An objective as far as a batch sees one."""

    def __init__(self, number):
        self.number = number

    def num_uniforms(self, rows):
        return self.number


def shifted(num_points, num_columns, key):
    return np.asarray(lattice(num_points, jr.bits(key, (num_columns,)))) / 2.0**32


def star_discrepancy(x):
    x, i = np.sort(x), np.arange(1, len(x) + 1)
    return max((i / len(x) - x).max(), (x - (i - 1) / len(x)).max())


# Points


@pytest.mark.parametrize("num_columns", [2, 5, 12])
def test_every_coordinate_of_a_lattice_fills_the_unit_interval_evenly(num_columns):
    n = 512
    points = shifted(n, num_columns, jr.key(0))
    uniform = np.asarray(jr.uniform(jr.key(1), (n, num_columns)))
    ours, theirs = ([star_discrepancy(p[:, j]) for j in range(num_columns)] for p in (points, uniform))
    assert max(ours[:2]) < 4 * np.log(n) / n  # those that pick the row and the level
    assert max(ours) < 0.6 / np.sqrt(n) < np.mean(theirs)
    assert points.min() >= 0 and points.max() < 1


def test_a_shift_moves_all_points_alike_and_around_the_end():
    shift = np.array([2**32 - 5, 7], np.uint32)
    moved, still = (np.asarray(lattice(100, jnp.asarray(s))).astype(int) for s in (shift, 0 * shift))
    np.testing.assert_array_equal(moved, (still + shift) % 2**32)
    golden = (np.arange(100) * (np.sqrt(5) - 1) / 2) % 1  # of one column: the golden ratio
    np.testing.assert_allclose(shifted(100, 1, jr.key(0))[:, 0], (golden + shifted(1, 1, jr.key(0))[0, 0]) % 1)


def test_what_fixes_the_normalisation_is_averaged_far_better_than_by_independent_draws():
    def error(u):
        return np.mean([np.mean(ndtri(np.clip(b, 1e-6, 1 - 1e-6)) ** 2 - 1) ** 2 for b in u]) ** 0.5

    keys = jr.split(jr.key(0), 50)
    data = Data.of((np.arange(8),), np.ones(8))
    ours = error([np.asarray(batch(Uniforms(4), data, 512, k)[1])[:, 1:] for k in keys])
    theirs = error([np.asarray(jr.uniform(k, (512, 3))) for k in keys])
    assert ours < 0.25 * theirs  # as sixteen times as many points


def test_a_batch_draws_every_row_alike_and_at_all_levels_of_noise():
    data = Data.of((np.arange(64),), np.ones(64))
    (row,), u = batch(Uniforms(3), data, 4096, jr.key(0))
    assert np.abs(np.bincount(row, minlength=64) - 64).max() <= 4  # by independent draws about 20
    count = np.histogram2d(np.asarray(row) // 8, np.asarray(u[:, 0]), bins=8, range=[(0, 8), (0, 1)])[0]
    assert np.abs(count - 64).max() <= 10  # by independent draws about 20
    assert u.shape == (4096, 3) and u.dtype == jnp.float32 and u.min() >= 0 and u.max() < 1


# Rows


@given(st.integers(1, 10**7))
def test_a_bucket_holds_its_rows_wastes_little_and_is_its_own(n):
    assert n <= bucket(n) <= 1.25 * n + 64
    assert bucket(bucket(n)) == bucket(n) <= bucket(n + 1)


def quantiles(num_points):
    return jnp.asarray(((np.arange(num_points) + 0.5) / num_points * 2.0**32).astype(np.uint32))


FIRST_AND_LAST = jnp.array([0, 2**32 - 1], jnp.uint32)


def test_rows_are_drawn_in_proportion_to_their_weights_and_padding_never():
    weight = np.array([0.0, 1.0, 0.0, 3.0, 2.0, 0.0])
    data = Data.of((np.arange(6),), weight)
    drawn = np.asarray(data.take(quantiles(6000))[0])
    np.testing.assert_allclose(np.bincount(drawn, minlength=6), 1000 * weight, atol=1)
    assert data.take(FIRST_AND_LAST)[0].tolist() == [1, 4]  # not even at the very edges


LONG = 4_000_000


@pytest.fixture(scope="module")
def long():
    return Data.of((np.arange(LONG),), np.ones(LONG))


def test_every_row_of_a_long_table_can_be_drawn(long):
    np.testing.assert_array_equal(long.take(quantiles(LONG))[0], np.arange(LONG))
    assert long.take(FIRST_AND_LAST)[0].tolist() == [0, LONG - 1]


def unevenness(draw, part=64):
    """Pearson's statistic of a million draws of the last rows of a long table, in standard deviations."""
    points = ~(jr.bits(jr.key(0), (2**20,)) // np.uint32(part))  # ~u is 2^32 - 1 - u
    num_rows = LONG // part
    count = np.bincount(draw(points), minlength=LONG)[-num_rows:]
    expected = len(points) / num_rows
    return (np.sum((count - expected) ** 2 / expected) - num_rows) / np.sqrt(2 * num_rows)


def test_rows_of_a_long_table_are_equally_likely(long):
    single = jnp.asarray((np.arange(LONG) + 1.0) / LONG, jnp.float32)

    def drawn_in_single_precision(points):
        u = (points >> 8).astype(jnp.float32) * 2.0**-24
        return jnp.searchsorted(single, u * (1 - 1e-6), side="right")

    assert abs(unevenness(lambda points: long.take(points)[0])) < 4.42  # false alarm 1e-5
    assert unevenness(drawn_in_single_precision) > 20
