r"""Losses that compare a model with noise that was added to the data.

With $\tilde x = x + \sigma\varepsilon$, $\varepsilon \sim N(0, I)$ and $p(\cdot, \sigma)$ the density of $\tilde x$,

$$\nabla_x \log p(\tilde x, \sigma) = -\mathbb E[\varepsilon \mid \tilde x] / \sigma
\quad\text{and}\quad \partial_{\log\sigma} \log p(\tilde x, \sigma) = \mathbb E[\|\varepsilon\|^2 - k \mid \tilde x],$$

so that both derivatives of log p are conditional means, learnt by least squares. The targets may be replaced by their
means given anything beside $\tilde x$: the minimiser is the same, the noise less (`pooled_noise`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ptilde import _validate
from ptilde._typing import GaussianBase, NoisyLogDensity, Point, Scalar


class Noise(NamedTuple):
    r"""What is known of the noise in a noisy point: itself and its squared norm, or their means given more.

    Attributes:
        mean: $\varepsilon$, or its mean.
        square: $\|\varepsilon\|^2$, or its mean.
    """

    mean: Point
    square: Scalar


def pooled_noise(
    x: Float[Array, "b d"], sigma: Float[Array, " b"], noise: Float[Array, "b d"], group: Int[Array, " b"]
) -> tuple[Float[Array, "b d"], Noise]:
    r"""Noisy points, and the noise in each averaged over the rows of the batch that it may have come from.

    Given $\tilde x_i = x_i + \sigma_i\varepsilon_i$ and the batch, the row behind it was $j$ with probability
    $w_{ij} \propto \exp(-\|\tilde x_i - x_j\|^2 / 2\sigma_i^2)$ among the rows of its group. Targets averaged with
    these weights have the same conditional mean and less variance (Rao & Blackwell): the more, the more rows lie within
    σ of each other.

    Args:
        x: clean rows.
        sigma: of each row.
        noise: standard normal.
        group: only rows of one group can be confused.

    References:
        Xu, Tong & Jaakkola (2023), Stable target field for reduced variance score estimation, equation 6.
    """
    noisy = x + sigma[:, None] * noise
    square = jnp.sum(noisy**2, 1)[:, None] + jnp.sum(x**2, 1) - 2 * noisy @ x.T
    own = jnp.eye(len(x), dtype=bool)
    # A row's distance to itself is known exactly; by the difference of squares it would drown in rounding at small σ.
    square = jnp.where(own, jnp.sum(noise**2, 1), jnp.maximum(square, 0.0) / sigma[:, None] ** 2)
    weight = jax.nn.softmax(jnp.where(group[:, None] == group, -0.5 * square, -jnp.inf), axis=1)
    alone = jnp.diagonal(weight)[:, None]
    others = jnp.where(own, 0.0, weight)
    away = (noisy * jnp.sum(others, 1, keepdims=True) - others @ x) / sigma[:, None]
    return noisy, Noise(alone * noise + away, jnp.sum(weight * square, 1))


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
        self, log_density: NoisyLogDensity, x: Point, log_sigma: Scalar, noise: Noise, base: GaussianBase
    ) -> tuple[Scalar, DualTerms]:
        """Evaluate the loss and its parts at one noisy point x, given the noise in it or its conditional mean."""
        sigma = jnp.exp(log_sigma)
        k, r = jnp.sum(base.active), base.signal(sigma)
        score, slope = jax.grad(log_density, argnums=(0, 1))(x, log_sigma)
        residual = base.active * (sigma * score + noise.mean)
        residual = residual if base.rotation is None else base.rotation.T @ residual
        # No column active: nothing to learn, and nothing to divide by.
        space = jnp.sum(jnp.where(r > 0, residual**2 / jnp.where(r > 0, r, 1), 0)) / jnp.maximum(k, 1)
        level = (slope - (noise.square - k)) ** 2 / jnp.maximum(2 * jnp.sum(r), 1e-6)
        terms = DualTerms(space, jnp.where(k > 0, level, 0.0))
        return terms.space + self.level_weight * terms.level, terms
