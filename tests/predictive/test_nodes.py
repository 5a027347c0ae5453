"""A distribution function at nodes: exact for laws that are known, and by two routes for those that are not."""

import numpy as np
import pytest
from gaussian_strata import noise
from predictive.members_by_hand import APART, LAYOUT, LOW, OWN, VARIANCE, TwoModes, amounts, means, rows
from scipy.integrate import trapezoid
from scipy.stats import norm

from ptilde.amounts import transported
from ptilde.models import NoiseConditionalDensity
from ptilde.predictive import by_flow, by_quadrature


def normal(u, mean, given):
    """The distribution function of the Gaussian at the least noise level."""
    return norm.cdf(u, mean[:, None], np.sqrt(VARIANCE + LOW**2))


def two_modes(u, mean, given):
    """That of the mixture."""
    return sum(0.5 * norm.cdf(u, mean[:, None] + s * APART, np.sqrt(OWN + LOW**2)) for s in (-1, 1))


def sent(law, z, given):
    """Where the map takes the nodes (n, Q)."""
    n, q = z.shape
    flat = transported(law.transport, LAYOUT, np.ones((n * q, 1), np.int32), z.reshape(-1, 1), given.repeat(q, 0))
    return flat.reshape(n, q)


@pytest.mark.parametrize("bend", [None, 0.2], ids=["plain", "behind a map"])
@pytest.mark.parametrize(("network", "exact"), [(None, normal), (TwoModes(), two_modes)], ids=["normal", "modes"])
def test_quadrature_gives_the_distribution_function_that_is_known(network, exact, bend):
    law, (state, given) = amounts(network, bend), rows()
    nodes = by_quadrature(law, state, given)
    assert np.all(np.diff(nodes.z, axis=1) > 0)
    mean, u = means(law, given), sent(law, nodes.z, given)
    assert bend is None or np.abs(u - nodes.z).max() > 0.3  # the map does something
    np.testing.assert_allclose(nodes.cdf, exact(u, mean, given), atol=2e-5)
    assert np.abs(nodes.cdf - exact(u, mean + 0.01, given)).max() > 1e-3  # a mean that is a little off is seen
    density = [law.log_prob(state[[i] * z.size], z[:, None], given[[i] * z.size]) for i, z in enumerate(nodes.z)]
    near = np.abs(nodes.cdf - 0.5) < 0.4999
    np.testing.assert_allclose(nodes.density[near], np.exp(density)[near], rtol=2e-3)


@pytest.mark.parametrize("bend", [None, 0.2], ids=["plain", "behind a map"])
@pytest.mark.parametrize("network", [None, TwoModes()], ids=["normal", "modes"])
def test_the_flow_is_another_route_to_the_same_quantiles(network, bend):
    law, (state, given) = amounts(network, bend), rows()
    flow, quadrature = by_flow(law, state, given), by_quadrature(law, state, given)
    for i in range(len(given)):
        cdf = np.interp(flow.z[i], quadrature.z[i], quadrature.cdf[i])
        np.testing.assert_allclose(cdf, flow.cdf[i], atol=3e-3)
    assert np.abs(flow.cdf[0] - np.interp(flow.z[0], quadrature.z[1], quadrature.cdf[1])).max() > 0.1  # another row's


def test_what_a_network_says_is_integrated_whatever_its_mass():
    """Another route: the one-pass density itself, on a fine grid."""
    network = noise(NoiseConditionalDensity, 1, LAYOUT.num_context, 8, 1, scale=0.15)
    law, (state, given) = amounts(network, 0.2), rows(2)
    nodes = by_quadrature(law, state, given)
    for i in range(2):
        z = np.linspace(nodes.z[i, 0], nodes.z[i, -1], 20_001)
        density = np.exp(law.log_prob(np.repeat(state[:1], z.size, 0), z[:, None], given[[i] * z.size]))
        step = np.diff(z) * (density[1:] + density[:-1]) / 2
        mass = trapezoid(density, z)
        assert abs(mass - 1) > 0.01  # else this says nothing about other masses
        fine = np.interp(nodes.z[i], z, np.append(0, np.cumsum(step)) / mass)
        # It is several times narrower than the base, so few nodes carry it.
        np.testing.assert_allclose(nodes.cdf[i], fine, atol=5e-4)


def test_a_row_has_the_nodes_that_it_has_beside_others():
    law, (state, given) = amounts(TwoModes(), 0.2), rows(6)
    whole, part = by_quadrature(law, state, given), by_quadrature(law, state[2:4], given[2:4])
    for all_, few in zip(whole, part, strict=True):
        np.testing.assert_array_equal(few, all_[2:4])
