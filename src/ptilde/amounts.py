r"""The law of a table's amounts given the state, $p(z \mid s)$: a triangular map, then a noise-conditional density.

$$\log p(z \mid s) = \log p(u \mid s) + \log|\det \partial u/\partial z|, \qquad u = T(z; s).$$

The map takes up what is sharp, the scores what it left; without a map $u = z$. Covariates, if there are any, are known
beside the state. All is evaluated in blocks of rows of
one size, so that one program is compiled, a row's value does not depend on the rows beside it, and memory does not grow
with the table. Row i draws with `fold_in(key, i)`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import NDArray

from ptilde.models import NoiseConditionalDensity, Stratum, TriangularMap
from ptilde.normalizer import importance
from ptilde.samplers import NoiseSampler, ProbabilityFlow
from ptilde.strata import MOST_ROTATION, Base, Gaussian, Layout

BLOCK = 1024
WELL_KNOWN, FLOW_DRAWS = 0.003, 8192  # nats; rows


class AmountDensity(eqx.Module):
    """The law of the amounts given the state.

    Args:
        layout: which tokens put which amounts to use.
        transport: the map $T$; None for none.
        gaussian: what the transported amounts start from.
        network: their law; None if that is the Gaussian.
        log_sigma: the least and the largest noise level.
        log_mass: what the network's log density at the least level is too high by, on average over the states.
    """

    layout: Layout
    transport: TriangularMap | None
    gaussian: Gaussian
    network: NoiseConditionalDensity | None
    log_sigma: Float[Array, " 2"]
    log_mass: Float[Array, ""]

    def log_prob(
        self, state: NDArray[np.int32], z: NDArray[Any], given: NDArray[np.float32] | None = None
    ) -> NDArray[np.float64]:
        """(n,) log density of amounts (n, d) given states (n, K) and covariates (n, c): one forward pass."""
        return self.apply(_one_pass, state, given, z)

    def flow_log_prob(
        self, state: NDArray[np.int32], z: NDArray[Any], key: PRNGKeyArray, given: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) log density by the probability-flow ODE, and an estimate (n,) of its numerical error."""
        return self.apply(_flow_density, state, given, z, row_keys(key, len(state)))

    def gradient(self, state: NDArray[np.int32], z: NDArray[Any]) -> NDArray[np.float64]:
        """(n, d) gradient of the log density; 0 where a column is not in its body."""
        return self.apply(_gradient, state, None, z)

    def sample(
        self,
        state: NDArray[np.int32],
        key: PRNGKeyArray,
        sampler: NoiseSampler | None = None,
        given: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """(n, d) amounts given states (n, K) and covariates (n, c).

        Args:
            state: of the rows.
            key: of all randomness.
            sampler: what takes draws of the Gaussian from the largest noise level to the least. If None, the
                Gaussian itself where there is no network, else `ProbabilityFlow()`.
            given: covariates of the rows; None if there are none.

        Raises:
            ValueError: if a sampler that was given leaves the finite numbers.
        """
        drawn = self.apply(partial(_draw, sampler), state, given, row_keys(key, len(state)))
        astray = ~np.isfinite(drawn).all(1)
        if sampler is not None and astray.any():
            raise ValueError(
                f"`sampler` must keep draws finite; got other values in {astray.sum()} of {len(drawn)} rows. Give it "
                "more or shorter steps, or accept/reject."
            )
        return drawn

    def log_ratio(
        self, state: NDArray[np.int32], key: PRNGKeyArray, given: NDArray[np.float32] | None = None
    ) -> NDArray[np.float64]:
        """(n,) log of one-pass density over true density at rows drawn by the flow: its exponential has mean Z."""
        return self.apply(_log_ratio, state, given, row_keys(key, len(state)))

    def calibrated(
        self, state: NDArray[np.int32], key: PRNGKeyArray, given: NDArray[np.float32] | None = None
    ) -> "AmountDensity":
        r"""The same law with the mass that its density has over the given rows brought to 1.

        $\int p(u, \sigma)\,du = \mathbb E[p(u, \sigma)/g(u)]$ with draws of the Gaussian base $g$, blurred alike; where
        that is not well known, as with modes far apart, with fewer and dearer draws of the flow. A mass that is within
        three standard errors of 1 is left alone.
        """
        active = self.layout.active_rows(state).any(1)
        state, given = state[active], None if given is None else given[active]
        if len(state) < 2:
            return self
        mass = importance(self.apply(_base_ratio, state, given, row_keys(key, len(state))))
        if mass.standard_error > WELL_KNOWN:
            some = slice(None, None, -(-len(state) // FLOW_DRAWS))
            dear = self.log_ratio(state[some], key, None if given is None else given[some])
            mass = min(mass, importance(dear), key=lambda mass: mass.standard_error)
        if not abs(mass.value) > 3 * mass.standard_error:
            return self
        return eqx.tree_at(lambda a: a.log_mass, self, self.log_mass + mass.value)

    def apply(
        self, function: Callable, state: NDArray[np.int32], given: NDArray[np.float32] | None, *arrays: Any
    ) -> Any:
        """Apply a compiled function of (law, pattern, state, covariates, *arrays) to rows."""
        parts, arrays = [], (state, known(given, len(state)), *arrays)
        for rows in self._spans(len(state)):
            base, pattern = self.gaussian.base(self.layout, state[rows])
            law = partial(function, Law(self.transport, self.network, base, self.log_sigma, self.log_mass))
            parts.append(in_blocks(law, len(pattern), pattern, *(a[rows] for a in arrays)))
        return jax.tree.map(lambda *a: np.concatenate(a), *parts)

    def _spans(self, n: int) -> Iterator[slice]:
        """Spans of rows whose patterns, were they all different, fit the limit of the rotations."""
        d = len(self.layout.bodies)
        size = max(BLOCK, MOST_ROTATION // d**2 // BLOCK * BLOCK)
        return (slice(a, a + size) for a in range(0, max(n, 1), size))


def transported(
    transport: TriangularMap | None,
    layout: Layout,
    state: NDArray[np.int32],
    z: NDArray[Any],
    given: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """(n, d) amounts (n, d) as the map sends them."""
    if transport is None:
        return z
    return in_blocks(partial(_transported, transport, layout), len(state), state, known(given, len(state)), z)


def known(given: NDArray[np.float32] | None, n: int) -> NDArray[np.float32]:
    """Covariates (n, c) of n rows, none if there are none."""
    return np.zeros((n, 0), np.float32) if given is None else given


def row_keys(key: PRNGKeyArray, n: int) -> Any:
    """A key for each of n rows, which does not depend on n."""
    return jax.vmap(partial(jr.fold_in, key))(jnp.arange(-(-n // BLOCK) * BLOCK))[:n]


def in_blocks(call: Callable, n: int, *arrays: Any) -> Any:
    """A compiled function of blocks of rows, over any number of rows."""
    parts = []
    for start in range(0, n, BLOCK):
        block = [a[start : start + BLOCK] for a in arrays]
        padding = BLOCK - len(block[0])
        out = call(*(_padded(a, padding) for a in block))
        parts.append(jax.tree.map(lambda a: np.asarray(a)[: BLOCK - padding], out))  # noqa: B023
    joined = jax.tree.map(lambda *a: np.concatenate(a), *parts)
    return jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, joined)


def _padded(a: Any, padding: int) -> Any:
    if isinstance(a, jax.Array):  # keys
        return jnp.concatenate([a, jnp.broadcast_to(a[-1:], (padding, *a.shape[1:]))]) if padding else a
    a = a.astype(np.float32) if a.dtype == np.float64 else a
    return np.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1)) if padding else a


class Law(eqx.Module):
    """The law in the form that compiled functions take: with the base on the patterns of the rows at hand."""

    transport: TriangularMap | None
    network: NoiseConditionalDensity | None
    base: Base
    levels: Float[Array, " 2"]
    log_mass: Float[Array, ""]

    def forward(self, tokens: Array, given: Array, z: Array) -> tuple[Array, Array]:
        r"""$u$, and $\log|\det \partial u/\partial z|$."""
        if self.transport is None:
            return z, jnp.zeros(len(z))
        u, log_slope = self.transport(z, *self.base.layout.features(tokens, given))
        return u, jnp.sum(log_slope, axis=1)

    def inverse(self, tokens: Array, given: Array, u: Array) -> Array:
        """The rows that the map sends to u."""
        return u if self.transport is None else self.transport.inverse(u, *self.base.layout.features(tokens, given))

    def at(self, pattern: Array, tokens: Array, given: Array) -> tuple[Callable, Stratum]:
        """For what is known of one row the noise-conditional log density, (u, log σ) ↦ nats, and the stratum."""
        stratum, network = self.base.stratum(tokens, given, pattern), self.network
        if network is None:
            return (lambda u, level: stratum.log_density(u, jnp.exp(level))), stratum
        return (lambda u, level: network(u, level, stratum)), stratum


@eqx.filter_jit
def _transported(transport: TriangularMap, layout: Layout, tokens: Array, given: Array, z: Array) -> Array:
    return transport(z, *layout.features(tokens, given))[0]


@eqx.filter_jit
def _one_pass(law: Law, pattern: Array, tokens: Array, given: Array, z: Array) -> Array:
    def one(pattern: Array, tokens: Array, given: Array, u: Array) -> Array:
        log_density, stratum = law.at(pattern, tokens, given)
        return jnp.where(jnp.any(stratum.active > 0), log_density(u, law.levels[0]) - law.log_mass, 0.0)

    u, log_slope = law.forward(tokens, given, z)
    return jax.vmap(one)(pattern, tokens, given, u) + log_slope


@eqx.filter_jit
def _gradient(law: Law, pattern: Array, tokens: Array, given: Array, z: Array) -> Array:
    active = jax.vmap(law.base.layout.active)(tokens)
    return active * jax.grad(lambda z: jnp.sum(_one_pass(law, pattern, tokens, given, z)))(z)


@eqx.filter_jit
def _flow_density(law: Law, pattern: Array, tokens: Array, given: Array, z: Array, keys: Array) -> tuple[Array, Array]:
    def one(pattern: Array, tokens: Array, given: Array, u: Array, key: Array) -> tuple[Array, Array]:
        log_density, stratum = law.at(pattern, tokens, given)
        low, high = law.levels
        at_high = lambda u: stratum.log_density(u, jnp.exp(high))  # noqa: E731
        return ProbabilityFlow().log_density(log_density, at_high, stratum.active * u, low, high, key)

    u, log_slope = law.forward(tokens, given, z)
    value, error = jax.vmap(one)(pattern, tokens, given, u, keys)
    return value + log_slope, error


@eqx.filter_jit
def _draw(sampler: NoiseSampler | None, law: Law, pattern: Array, tokens: Array, given: Array, keys: Array) -> Array:
    def one(pattern: Array, tokens: Array, given: Array, key: Array) -> Array:
        log_density, stratum = law.at(pattern, tokens, given)
        low, high = law.levels
        noise = jr.normal(key, stratum.active.shape)
        if sampler is None and law.network is None:
            return stratum.draw(jnp.exp(low), noise)
        carry, start = sampler or ProbabilityFlow(), stratum.draw(jnp.exp(high), noise)
        return stratum.active * carry(log_density, start, low, high, jr.fold_in(key, 1))

    return law.inverse(tokens, given, jax.vmap(one)(pattern, tokens, given, keys))


@eqx.filter_jit
def _base_ratio(law: Law, pattern: Array, tokens: Array, given: Array, keys: Array) -> Array:
    def one(pattern: Array, tokens: Array, given: Array, key: Array) -> Array:
        log_density, stratum = law.at(pattern, tokens, given)
        sigma = jnp.exp(law.levels[0])
        u = stratum.draw(sigma, jr.normal(key, stratum.active.shape))
        return log_density(u, law.levels[0]) - law.log_mass - stratum.log_density(u, sigma)

    return jax.vmap(one)(pattern, tokens, given, keys)


@eqx.filter_jit
def _log_ratio(law: Law, pattern: Array, tokens: Array, given: Array, keys: Array) -> Array:
    def one(pattern: Array, tokens: Array, given: Array, key: Array) -> Array:
        log_density, stratum = law.at(pattern, tokens, given)
        low, high = law.levels
        start = stratum.draw(jnp.exp(high), jr.normal(key, stratum.active.shape))
        end, stretch = ProbabilityFlow().stretch(log_density, start, low, high)
        ratio = log_density(end, low) - law.log_mass - (stratum.log_density(start, jnp.exp(high)) - stretch)
        return jnp.where(jnp.any(stratum.active > 0), ratio, 0.0)

    return jax.vmap(one)(pattern, tokens, given, keys)
