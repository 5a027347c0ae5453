"""Members of an ensemble made by hand: a choice between an atom and a body, whose law knows two covariates."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from gaussian_strata import noise

from ptilde.amounts import AmountDensity
from ptilde.joint import JointDensity
from ptilde.models import TriangularMap
from ptilde.strata import Gaussian, Layout
from ptilde.tabular.covariates import Basis
from ptilde.tabular.states import StateDensity

BASIS = Basis((3,), (2,))  # three segments and a level
LAYOUT = Layout((2,), ((0, 1),), BASIS)
LOW, HIGH = 0.05, 8.0
VARIANCE = 0.6
APART, OWN = 0.6, 0.24  # of the mixture: ± from the mean, and the variance about it; 0.6² + 0.24 = 0.6


class TwoModes(eqx.Module):
    """In the place of a network: ½ N(m - ½·1.2, 0.24) + ½ N(m + ½·1.2, 0.24), blurred; of mean m and variance 0.6."""

    def __call__(self, u, log_sigma, stratum):
        variance = OWN + jnp.exp(2 * log_sigma)
        square = (u[0] - stratum.mean[0] + APART * jnp.array([-1.0, 1.0])) ** 2
        return jnp.logaddexp(*(-0.5 * square / variance)) - 0.5 * jnp.log(2 * jnp.pi * variance) - jnp.log(2.0)


def amounts(network=None, bend=None, seed=0):
    """A Gaussian with means linear in the features; or two modes, or what a network says; behind a map."""
    m = LAYOUT.num_context
    coefficients = np.random.default_rng(seed).normal(size=(1, 1 + m)).astype(np.float32)
    transport = None if bend is None else noise(TriangularMap, 1, m, 8, 1, 1, 4, True, scale=bend)
    gaussian = Gaussian(coefficients, np.full((1, 1), VARIANCE, np.float32), False)
    log_sigma = np.log(np.array([LOW, HIGH], np.float32))
    return AmountDensity(LAYOUT, transport, gaussian, network, log_sigma, np.zeros((), np.float32))


def member(seed=0):
    """States and Gaussian amounts that depend on the covariates."""
    states = noise(StateDensity, (2,), 8, jnp.zeros(2), BASIS, seed=seed, scale=0.7)
    return JointDensity(states, amounts(seed=seed))


def rows(n=6, seed=0):
    """States in the body, and covariates, one of them empty."""
    rng = np.random.default_rng(seed)
    given = np.stack([rng.uniform(0, 3, n), rng.integers(0, 2, n)], axis=1).astype(np.float32)
    given[0, 0] = np.nan
    return np.ones((n, 1), np.int32), given


def means(law, given):
    """(n,) the means of the Gaussian, from features that are spelt out here."""
    t = given[:, 0]
    place = np.where(np.isnan(t)[:, None], 0, np.clip(t[:, None] - np.arange(3), 0, 1))
    hot = np.stack([given[:, 1] == 0, given[:, 1] == 1], axis=1)
    n = len(given)
    features = np.hstack([np.ones((n, 1)), np.zeros((n, 1)), np.ones((n, 1)), place, np.isnan(t)[:, None], hot])
    return features @ law.gaussian.coefficients[0]
