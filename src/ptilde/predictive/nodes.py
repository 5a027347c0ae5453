r"""The law of the only amount of rows, at nodes: two routes to one distribution function.

* Quadrature of the one-pass density. With $m$ and $s$ the mean and standard deviation of the Gaussian base at the least
  noise level and $t_j$ evenly spaced, $u_j = m + s t_j$ and
  $$F(z_j) \propto \int_{-\infty}^{t_j} p(m + st)\,s\,dt, \qquad z_j = T^{-1}(u_j),$$
  by the trapezoidal rule of fourth order; in all, it converges faster than any power of the spacing.
* The probability flow in one dimension is increasing and sends the blurred law, a Gaussian, to the law: what
  $m + \sqrt{C + \sigma_{\max}^2}\;t_j$ is carried to is the quantile at $\Phi(t_j)$.

Nodes lie where the law of each row has its mass, however narrow it is, for the map takes them there.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray
from scipy.special import ndtr

from ptilde.amounts import AmountDensity, Law
from ptilde.models import Stratum
from ptilde.samplers import ProbabilityFlow

# Standard deviations of the base, in steps of an eighth: beyond 8 lies less than 1e-15.
NODES = np.linspace(-8.0, 8.0, 129)
_ROWS = 64  # at once
# The flow's own error falls with the square of its steps; with these its distribution function is that of the density
# to .003, and most of that is the network's (tests/predictive).
_FLOW = ProbabilityFlow(128)


class Nodes(NamedTuple):
    """A distribution function of each of n rows, at Q places.

    Attributes:
        z: (n, Q) amounts, increasing.
        cdf: (n, Q) the probability of amounts up to there.
        density: (n, Q) its derivative.
    """

    z: NDArray[np.float64]
    cdf: NDArray[np.float64]
    density: NDArray[np.float64]


def by_quadrature(law: AmountDensity, state: NDArray[np.int32], given: NDArray[np.float32]) -> Nodes:
    """From the one-pass density of amounts given states (n, K), which put it to use, and covariates (n, c)."""
    z, log_density, log_slope = law.apply(_quadrature, state, given)
    density = np.exp(log_density - log_density.max(1, keepdims=True))  # of t
    cdf = _cumulative(density)
    slope, step = np.exp(log_slope), NODES[1] - NODES[0]  # dt/dz, dt
    return Nodes(z, cdf / cdf[:, -1:], density / (step * cdf[:, -1:]) * slope)


def by_flow(law: AmountDensity, state: NDArray[np.int32], given: NDArray[np.float32]) -> Nodes:
    """From the probability-flow ODE: slow, and independent of the network's own normalisation."""
    z = np.maximum.accumulate(law.apply(_flowed, state, given), 1)
    z += np.arange(len(NODES)) * 1e-9  # increasing, where single precision sees no step
    cdf = np.broadcast_to(ndtr(NODES), z.shape)
    return Nodes(z, cdf, np.gradient(cdf, axis=1) / np.gradient(z, axis=1))


def _cumulative(f: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral up to each node, in units of the spacing: exact for cubics between the ends."""
    step = (f[:, :-1] + f[:, 1:]) / 2
    step[:, 1:-1] += (f[:, 1:-2] + f[:, 2:-1] - f[:, :-3] - f[:, 3:]) / 24
    return np.concatenate([np.zeros((len(f), 1)), np.cumsum(np.maximum(step, 0.0), 1)], 1)


@eqx.filter_jit
def _quadrature(law: Law, pattern: Array, tokens: Array, given: Array) -> tuple[Array, Array, Array]:
    def one(pattern: Array, tokens: Array, given: Array) -> tuple[Array, Array, Array]:
        log_density, stratum = law.at(pattern, tokens, given)
        low = law.levels[0]
        spread = jnp.sqrt(stratum.eigenvalues[0] + jnp.exp(2 * low))
        u = stratum.mean[0] + spread * jnp.asarray(NODES, jnp.float32)
        log_p = jax.vmap(lambda u: log_density(u[None], low))(u)
        z, log_slope = _inverse(law, stratum, u)
        return z, log_p, log_slope - jnp.log(spread)

    return jax.lax.map(lambda row: one(*row), (pattern, tokens, given), batch_size=_ROWS)


@eqx.filter_jit
def _flowed(law: Law, pattern: Array, tokens: Array, given: Array) -> Array:
    def one(pattern: Array, tokens: Array, given: Array) -> Array:
        log_density, stratum = law.at(pattern, tokens, given)
        low, high = law.levels
        start = stratum.mean[0] + jnp.sqrt(stratum.eigenvalues[0] + jnp.exp(2 * high)) * jnp.asarray(NODES, jnp.float32)
        u = jax.vmap(lambda x: _FLOW(log_density, x[None], low, high, jr.key(0))[0])(start)
        return _inverse(law, stratum, u)[0]

    return jax.lax.map(lambda row: one(*row), (pattern, tokens, given), batch_size=_ROWS)


def _inverse(law: Law, stratum: Stratum, u: Array) -> tuple[Array, Array]:
    """Where the map takes the values u, and its log slope there."""
    if law.transport is None:
        return u, jnp.zeros_like(u)
    column = law.transport.first(stratum.context, stratum.active)
    z = jax.vmap(column.inverse)(u)
    return z, jax.vmap(column)(z)[1]
