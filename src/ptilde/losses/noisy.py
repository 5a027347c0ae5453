r"""Score matching for data blurred by Gaussian noise (Vincent 2011).

With $\tilde x = x + \sigma\varepsilon$, $\varepsilon \sim N(0, I)$ and $p_\sigma$ the density of $\tilde x$, the score
of $p_\sigma$ is $-\mathbb E[\varepsilon \mid \tilde x]/\sigma$, so that regression on $-\varepsilon/\sigma$ is score
matching:

$$\mathbb E\,\tfrac12\|s(\tilde x) + \varepsilon/\sigma\|^2
  = \mathbb E_{p_\sigma}\bigl[\operatorname{tr}\nabla s + \tfrac12\|s\|^2\bigr] + \frac{d}{2\sigma^2}.$$

No derivative of $s$ is needed, and ties in the data do no harm; what is fitted is $p_\sigma$, not $p$.
"""

from itertools import pairwise
from typing import ClassVar, Literal, Self

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ptilde import _validate
from ptilde._typing import NoisyScore, Point, Scalar, Score


class Denoising(eqx.Module):
    r"""Match the score of the data blurred by one noise level.

    Without `control` it is Vincent's loss $\tfrac12\|s(\tilde x) + \varepsilon/\sigma\|^2$. As σ → 0 its variance grows
    like $\sigma^{-4}$, and that of its gradient in the parameters like $\sigma^{-2}$. With it,

    $$\tfrac12\|s(\tilde x)\|^2 + \langle s(\tilde x) - s(x), \varepsilon\rangle / \sigma,$$

    which is less by $\|\varepsilon\|^2/2\sigma^2$, where no parameter is, and by
    $\langle s(x), \varepsilon\rangle/\sigma$, whose mean is zero. So the mean gradient is the same, but the variances
    stay bounded: as σ → 0 the loss at a point tends to `Sliced` along $v = \varepsilon$. It costs a second score.

    Args:
        sigma: standard deviation of the noise, in the units of x.
        control: whether the noise that has no part in the mean gradient is taken out.

    References:
        Vincent (2011), A connection between score matching and denoising autoencoders.
        Wang, Cheng, Li, Zhu & Zhang (2020), A Wasserstein minimum velocity approach to learning unnormalized models.
    """

    sigma: float
    control: bool = True
    needs: ClassVar[Literal["score", "log density", "noisy score"]] = "score"
    takes_ties: ClassVar[bool] = True

    def __check_init__(self) -> None:
        _validate.positive("sigma", self.sigma)
        _validate.one_of("control", self.control, (True, False))

    def __call__(self, score: Score, x: Point, key: PRNGKeyArray) -> Scalar:
        """Evaluate the loss at one clean point."""
        noise = jr.normal(key, (x.size,), x.dtype)
        s = score(x + self.sigma * noise)
        if self.control:
            return 0.5 * jnp.vdot(s, s) + jnp.vdot(s - score(x), noise) / self.sigma
        return 0.5 * jnp.sum((s + noise / self.sigma) ** 2)


class NoiseConditional(eqx.Module):
    r"""Match the scores of the data blurred by each of several noise levels.

    $$\frac1L \sum_{i=1}^L \frac{\lambda(\sigma_i)}2 \|s(x + \sigma_i\varepsilon, \log\sigma_i)
      + \varepsilon/\sigma_i\|^2, \qquad \lambda(\sigma) = \sigma^2,$$

    with one level, drawn uniformly, in place of the mean. The weight λ makes the terms of all levels alike in size.

    Args:
        sigmas: $\sigma_1 > \dots > \sigma_L$, standard deviations in the units of x.

    References:
        Song & Ermon (2019), Generative modeling by estimating gradients of the data distribution, equations 5 and 6.
    """

    # Numbers, not an array: equal losses then share one compiled program, and no precision is lost before x is known.
    sigmas: tuple[float, ...] = eqx.field(converter=lambda sigmas: tuple(np.atleast_1d(sigmas).tolist()))
    needs: ClassVar[Literal["score", "log density", "noisy score"]] = "noisy score"
    takes_ties: ClassVar[bool] = True

    @classmethod
    def geometric(cls, high: float, low: float, num: int) -> Self:
        """Levels with one ratio between neighbours.

        Args:
            high: the first, which should blur all structure: about the largest distance between two points of the data
                (Song & Ermon 2020, Improved techniques for training score-based generative models, Technique 1).
            low: the last, which should hide none.
            num: how many.
        """
        _validate.positive("low", low)
        _validate.positive("high", high)
        _validate.whole("num", num, 2)
        return cls(np.geomspace(high, low, num))

    def __check_init__(self) -> None:
        _validate.at_least("len(sigmas)", len(self.sigmas), 1)
        for i, sigma in enumerate(self.sigmas):
            _validate.positive(f"sigmas[{i}]", sigma)
        for before, after in pairwise(self.sigmas):
            if not after < before:
                raise ValueError(
                    f"`sigmas` must be strictly decreasing; got {after!r} after {before!r}. "
                    "Sort them from high to low, each once."
                )

    def __call__(self, score: NoisyScore, x: Point, key: PRNGKeyArray) -> Scalar:
        """Evaluate the loss at one clean point."""
        key_level, key_noise = jr.split(key)
        sigma = jnp.asarray(self.sigmas, x.dtype)[jr.randint(key_level, (), 0, len(self.sigmas))]
        noise = jr.normal(key_noise, (x.size,), x.dtype)
        return 0.5 * jnp.sum((sigma * score(x + sigma * noise, jnp.log(sigma)) + noise) ** 2)
