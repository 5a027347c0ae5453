"""Joint densities of three amounts and two choices: Gaussian, moved away from it, or behind a map."""

import itertools

import jax.numpy as jnp
import numpy as np
from gaussian_strata import COVARIANCE, noise

from ptilde.amounts import AmountDensity
from ptilde.joint import JointDensity
from ptilde.models import NoiseConditionalDensity, TriangularMap
from ptilde.strata import Gaussian, Layout
from ptilde.tabular.states import StateDensity

LAYOUT = Layout((3, 2), ((0, 2), (1, 1), None))
STATES = np.array(list(itertools.product(range(3), range(2))), np.int32)
LOW, HIGH = 0.02, 10.0
ONE_COLUMN, AT_TIMES = Layout((), (None,)), Layout((2,), ((0, 1),))


def amount_density(scale=0.0, layout=LAYOUT, bend=None):
    """Amounts that are Gaussian, or moved away from that by weights of some scale; behind a bent map, if any."""
    dim, total = len(layout.bodies), sum(layout.num_tokens)
    coefficients = np.random.default_rng(0).normal(size=(dim, 1 + total)).astype(np.float32)
    return AmountDensity(
        layout,
        None if bend is None else noise(TriangularMap, dim, total, 8, 1, 2, 4, scale=bend),
        Gaussian(coefficients, COVARIANCE[:dim, :dim].astype(np.float32), dim > 1),
        noise(NoiseConditionalDensity, dim, total, 8, 1, scale=scale),
        np.log(np.array([LOW, HIGH], np.float32)),
        np.zeros((), np.float32),
    )


def joint_density(scale=0.0, layout=LAYOUT, bend=None):
    """The same with a law of the states that is not uniform."""
    start = jnp.zeros(sum(layout.num_tokens))
    states = noise(StateDensity, layout.num_tokens, 8, start, scale=0.5) if layout.num_tokens else None
    return JointDensity(states, amount_density(scale, layout, bend) if layout.bodies else None)


def rows(n, seed=0):
    """States and amounts."""
    rng = np.random.default_rng(seed)
    state = STATES[rng.integers(len(STATES), size=n)]
    return state, rng.normal(size=(n, 3)) * LAYOUT.active_rows(state)
