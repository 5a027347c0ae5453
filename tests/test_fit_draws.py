"""The objective of the states: masked tokens."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import shaken

from ptilde.fit import Unmask
from ptilde.tabular.states import StateDensity


@pytest.mark.slow
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
    rows = jnp.tile(tokens, (len(u), 1)), jnp.zeros((len(u), 0))
    loss, terms = Unmask()(model, rows, jnp.array(u))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert terms[0] == loss
