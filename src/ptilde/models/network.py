r"""One network for every noise level: log p(x, σ), the log density of the data blurred by N(0, σ²I).

Let $N(m, C)$ be a Gaussian with the mean and covariance of the $k$ active columns of a row,
$C = Q\operatorname{diag}(e)Q^\top$. With $y = Q^\top(x - m)$, $v_i = e_i + \sigma^2$ and $r_i = e_i / v_i$, the share
of direction $i$'s variance that is signal,

$$\log p(x, \sigma) = \sum_i \log N(y_i; 0, v_i)
    + \sum_i \frac{y_i}{\sigma}\sqrt{r_i}\,\tilde F_i - \tfrac12 \sum_i r_i \tilde F_i^2
    + c \sqrt{\textstyle\sum_i r_i}\,\bigl(1 + \log(1 + \sigma^{-2})\bigr),$$

where $(F, c)$ are the heads of one network and $\tilde F = Q^\top F$. Both heads are zero at the start, so training
begins at the Gaussian; at large σ every $r_i$ dies away, which anchors the normalisation.

Dual score matching: Guth, Kadkhodaie & Simoncelli (2025), Learning normalized image densities via dual score matching.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ptilde import _validate
from ptilde._typing import Point, Scalar

# Centres of the bumps that tell the network log σ, and their common width: every σ from e⁻⁶ to e⁴ has a bump near by.
_LEVELS = jnp.linspace(-6.0, 4.0, 11)
_LEVEL_WIDTH = 1.1


class Stratum(NamedTuple):
    """What is known of a row before its amounts: its state, and the Gaussian base on its active columns.

    Attributes:
        context: features of the state.
        active: 1 where the column is in its body, else 0.
        mean: $m$; 0 on inactive columns.
        eigenvalues: $e_i$ of the active directions, which come first; 1 beyond.
        rotation: $Q$, one direction a column; None for the identity.
    """

    context: Float[Array, " m"]
    active: Float[Array, " d"]
    mean: Float[Array, " d"]
    eigenvalues: Float[Array, " d"]
    rotation: Float[Array, "d d"] | None

    @property
    def live(self) -> Float[Array, " d"]:
        """1 for the directions of the active columns, 0 for the others."""
        if self.rotation is None:
            return self.active
        return (jnp.arange(self.active.size) < jnp.sum(self.active)).astype(self.active.dtype)

    def signal(self, sigma: Scalar) -> Float[Array, " d"]:
        """$r_i$, 0 on inactive directions."""
        return self.live * self.eigenvalues / (self.eigenvalues + sigma**2)

    def amplitude(self, sigma: Scalar) -> Float[Array, " d"]:
        r"""$\sqrt{r_i}$, with a derivative where it is 0."""
        return self.live * jnp.sqrt(self.eigenvalues / (self.eigenvalues + sigma**2))

    def along(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        r"""$Q^\top x$: from columns to directions."""
        return x if self.rotation is None else self.rotation.T @ x

    def back(self, y: Float[Array, " d"]) -> Float[Array, " d"]:
        """$Qy$: from directions to columns."""
        return y if self.rotation is None else self.rotation @ y

    def draw(self, sigma: Scalar, noise: Float[Array, " d"]) -> Float[Array, " d"]:
        """A draw of the base blurred by σ, from standard normal noise."""
        y = self.live * jnp.sqrt(self.eigenvalues + sigma**2) * noise
        return self.active * (self.mean + self.back(y))

    def log_density(self, x: Float[Array, " d"], sigma: Scalar) -> Scalar:
        """The log density of the base blurred by σ."""
        y, v = self.along(self.active * (x - self.mean)), self.eigenvalues + sigma**2
        return -0.5 * jnp.sum(self.live * (y**2 / v + jnp.log(2 * jnp.pi * v)))


class Residual(eqx.Module):
    """A residual network whose layers are scaled and shifted by a condition (FiLM); zero at the start.

    Args:
        num_inputs: size of the input, of which the condition is no part.
        num_conditions: size of the condition.
        num_outputs: size of the output.
        width: of every layer.
        depth: number of residual blocks of two layers.
    """

    first: eqx.nn.Linear
    films: list[tuple[eqx.nn.Linear, eqx.nn.Linear]]
    blocks: list[tuple[eqx.nn.Linear, eqx.nn.Linear]]
    last: eqx.nn.Linear

    def __init__(
        self, num_inputs: int, num_conditions: int, num_outputs: int, width: int, depth: int, *, key: PRNGKeyArray
    ):
        first, last, *keys = jr.split(key, 2 + 4 * depth)
        self.first = eqx.nn.Linear(num_inputs + num_conditions, width, key=first)
        self.films = _pairs(num_conditions, width, keys[: 2 * depth])
        self.blocks = _pairs(width, width, keys[2 * depth :])
        self.last = jax.tree.map(jnp.zeros_like, eqx.nn.Linear(width, num_outputs, key=last))

    def __call__(self, x: Float[Array, " n"], condition: Float[Array, " c"]) -> Float[Array, " o"]:
        """The output at one point."""
        h = self.first(jnp.concatenate([x, condition]))
        for (inner, outer), (scale, shift) in zip(self.blocks, self.films, strict=True):
            h = h + outer(jax.nn.silu(jax.nn.silu(inner(h)) * (1 + scale(condition)) + shift(condition)))
        return self.last(jax.nn.silu(h))


def _pairs(num_inputs: int, width: int, keys: list[PRNGKeyArray]) -> list[tuple[eqx.nn.Linear, eqx.nn.Linear]]:
    layers = [eqx.nn.Linear(num_inputs, width, key=key) for key in keys]
    return list(zip(layers[::2], layers[1::2], strict=True))


class NoiseConditionalDensity(eqx.Module):
    r"""The log density of this module's head, $\log p(x, σ)$.

    Args:
        dim: number of columns $d$.
        num_context: number of features of the state.
        width: of the network.
        depth: residual blocks of two layers.
        num_frequencies: the network sees $\sin$ and $\cos$ of $\tfrac{\pi}{2} 2^i x$ for so many $i$, each faded out
            once σ blurs it.
    """

    network: Residual
    num_frequencies: int = eqx.field(static=True)

    def __init__(
        self, dim: int, num_context: int, width: int, depth: int, num_frequencies: int = 2, *, key: PRNGKeyArray
    ):
        for name, value, low in [("dim", dim, 1), ("width", width, 1), ("depth", depth, 0)]:
            _validate.at_least(name, value, low)
        self.num_frequencies = num_frequencies
        num_conditions = _LEVELS.size + num_context + dim
        self.network = Residual(2 * dim * (1 + num_frequencies), num_conditions, dim + 1, width, depth, key=key)

    def __call__(self, x: Point, log_sigma: Scalar, stratum: Stratum) -> Scalar:
        r"""Evaluate $\log p(x, σ)$ at one point; inactive columns of `x` do not count."""
        sigma = jnp.exp(log_sigma)
        y = stratum.along(stratum.active * (x - stratum.mean))
        field, level = self._heads(x, y, log_sigma, stratum)
        f, r = stratum.along(field), stratum.signal(sigma)
        pull = jnp.sum(y * stratum.amplitude(sigma) * f) / sigma - 0.5 * jnp.sum(r * f**2)
        # 1e-12 keeps the derivative of the root finite where no column is active.
        lift = level * jnp.sqrt(jnp.sum(r) + 1e-12) * (1 + jnp.log1p(sigma**-2))
        return stratum.log_density(x, sigma) + pull + lift

    def _heads(self, x: Point, y: Point, log_sigma: Scalar, stratum: Stratum) -> tuple[Point, Scalar]:
        sigma = jnp.exp(log_sigma)
        centred = stratum.active * (x - stratum.mean)
        whitened = stratum.back(stratum.live * y / jnp.sqrt(stratum.eigenvalues + sigma**2))
        frequency = 0.5 * jnp.pi * 2.0 ** jnp.arange(self.num_frequencies)
        fade = jnp.exp(-0.5 * (frequency * sigma) ** 2)
        phase = centred[:, None] * frequency
        features = [centred / jnp.sqrt(1 + sigma**2), whitened, (fade * jnp.sin(phase)).ravel()]
        features += [(stratum.active[:, None] * fade * jnp.cos(phase)).ravel()]
        bumps = jnp.exp(-0.5 * ((log_sigma - _LEVELS) / _LEVEL_WIDTH) ** 2)
        condition = jnp.concatenate([bumps, stratum.context, stratum.active])
        out = self.network(jnp.concatenate(features), condition)
        return stratum.active * out[:-1], out[-1]
