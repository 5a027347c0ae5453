"""The objective of a map: minus the log-likelihood of amounts behind which a normal law stands."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from joint_densities import LAYOUT, amount_density, rows
from scipy.stats import norm

from ptilde.amounts import transported
from ptilde.fit import Likelihood


def test_it_is_minus_the_mean_log_density_of_the_active_amounts():
    model, (state, z) = amount_density(bend=0.2), rows(40)
    on = LAYOUT.active_rows(state)
    u = transported(model.transport, LAYOUT, state, z)
    # The slope of each column by differences: all that the map does to it when the columns before stand still.
    step, log_slope = 1e-2, np.zeros(z.shape)
    for j in range(3):
        ahead, behind = (transported(model.transport, LAYOUT, state, z + k * step * np.eye(3)[j]) for k in (1, -1))
        log_slope[on[:, j], j] = np.log((ahead - behind)[on[:, j], j] / (2 * step))
    expected = -np.mean(norm.logpdf(u) * on + log_slope, axis=0)
    unused = jnp.zeros(len(z), jnp.int32)
    given = unused, jnp.asarray(z, jnp.float32), jnp.asarray(state), jnp.zeros((len(z), 0)), unused
    loss, terms = eqx.filter_jit(Likelihood(LAYOUT))(model.transport, given, jnp.zeros((len(z), 0)))
    np.testing.assert_allclose(terms, expected, rtol=1e-3)
    np.testing.assert_allclose(loss, expected.sum(), rtol=1e-3)
    assert Likelihood(LAYOUT).num_uniforms(given) == 0
