r"""Losses that compare a model with noise that was added to the data.

With $\tilde x = x + \sigma\varepsilon$, $\varepsilon \sim N(0, I)$ and $p(\cdot, \sigma)$ the density of $\tilde x$,
$$\nabla_x \log p(\tilde x, \sigma) = -\mathbb E[\varepsilon \mid \tilde x] / \sigma
\quad\text{and}\quad \partial_{\log\sigma} \log p(\tilde x, \sigma) = \mathbb E[\|\varepsilon\|^2 - k \mid \tilde x],$$
so that both derivatives of log p are conditional means, learnt by least squares.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ptilde import _validate
from ptilde._typing import GaussianBase, NoisyLogDensity, Point, Scalar


class DualTerms(NamedTuple):
    """The two parts of `Dual` at one point."""

    space: Scalar
    level: Scalar


class Dual(eqx.Module):
    r"""Match the score in x and in log σ at once, so that log p comes out normalised.

    $$\frac1k \sum_i \frac{(Q^\top(\sigma\nabla_x\log p + \varepsilon))_i^2}{r_i}
      + w\,\frac{(\partial_{\log\sigma}\log p - (\|\varepsilon\|^2 - k))^2}{2\sum_i r_i},$$

    where $Q$ and $r$ are the axes and signal shares of the Gaussian base: each term is of order one at every σ.

    Args:
        level_weight: $w$.

    References:
        Guth, Kadkhodaie & Simoncelli (2025), Learning normalized image densities via dual score matching, equation 6.
        Vincent (2011), A connection between score matching and denoising autoencoders.
    """

    level_weight: float = 1.0

    def __check_init__(self) -> None:
        _validate.at_least("level_weight", self.level_weight, 0)

    def __call__(
        self, log_density: NoisyLogDensity, x: Point, noise: Point, log_sigma: Scalar, base: GaussianBase
    ) -> tuple[Scalar, DualTerms]:
        """Evaluate the loss and its parts at one point; inactive columns of `noise` do not count."""
        sigma, noise = jnp.exp(log_sigma), base.active * noise
        k, r = jnp.sum(base.active), base.signal(sigma)
        score, slope = jax.grad(log_density, argnums=(0, 1))(x + sigma * noise, log_sigma)
        residual = base.active * (sigma * score + noise)
        residual = residual if base.rotation is None else base.rotation.T @ residual
        # No column active: nothing to learn, and nothing to divide by.
        space = jnp.sum(jnp.where(r > 0, residual**2 / jnp.where(r > 0, r, 1), 0)) / jnp.maximum(k, 1)
        level = (slope - (jnp.sum(noise**2) - k)) ** 2 / jnp.maximum(2 * jnp.sum(r), 1e-6)
        terms = DualTerms(space, jnp.where(k > 0, level, 0.0))
        return terms.space + self.level_weight * terms.level, terms
