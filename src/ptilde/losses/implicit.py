r"""Score matching without the score of the data (Hyvärinen 2005).

If $p\,s$ vanishes at infinity, integration by parts takes the unknown $\nabla\log p$ out of the Fisher divergence:

$$\tfrac12\,\mathbb E_p\|s - \nabla\log p\|^2
  = \mathbb E_p\bigl[\operatorname{tr}\nabla s + \tfrac12\|s\|^2\bigr] + \tfrac12\,\mathbb E_p\|\nabla\log p\|^2.$$

The losses are the bracket at one point, or an estimate of it: with random $v$ of $\mathbb E\,vv^\top = I$,
$\mathbb E\,v^\top\nabla s\,v = \operatorname{tr}\nabla s$ and $\mathbb E(v^\top s)^2 = \|s\|^2$.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ptilde import _validate
from ptilde._typing import LogDensity, Point, Scalar, Score

_UNROLLED = 16  # directions


def along(jvp: Callable[[Point], Array], directions: Float[Array, "m d"]) -> Float[Array, "m ..."]:
    """Products with a Jacobian, one a direction; a few are written out, which XLA makes half as long as mapping."""
    if 0 < len(directions) <= _UNROLLED:
        return jnp.stack([jvp(v) for v in directions])
    return jax.vmap(jvp)(directions)


class Hyvarinen(eqx.Module):
    r"""The loss itself: $\operatorname{tr}\nabla s(x) + \tfrac12\|s(x)\|^2$, at the cost of $d$ derivatives of $s$.

    References:
        Hyvärinen (2005), Estimation of non-normalized statistical models by score matching, Theorem 1.
    """

    needs: ClassVar[Literal["score", "log density", "noisy score"]] = "score"

    def __call__(self, score: Score, x: Point, key: PRNGKeyArray) -> Scalar:
        """Evaluate the loss at one point; nothing is drawn."""
        s, jvp = jax.linearize(score, x)
        return jnp.trace(along(jvp, jnp.eye(x.size, dtype=x.dtype))) + 0.5 * jnp.vdot(s, s)


class Sliced(eqx.Module):
    r"""As `Hyvarinen`, with the divergence estimated along random directions.

    The mean of $v^\top\nabla s(x)\,v$ over random $v$ is unbiased for the divergence (Hutchinson's trick), at a cost
    that does not grow with $d$. For symmetric $\nabla s$ one slice has variance $2\sum_{i\ne j}(\nabla s)_{ij}^2$ with
    Rademacher $v$, and $2\sum_i(\nabla s)_{ii}^2$ more with Gaussian.

    Args:
        num_slices: how many $v$ are drawn at each point.
        gaussian: whether $v$ is standard normal; else its entries are ±1.
        reduced: whether $\|s\|^2$ itself stands for its estimate $(v^\top s)^2$, as a rule with less variance.

    References:
        Song, Garg, Shi & Ermon (2019), Sliced score matching, UAI, Section 3.2.
    """

    num_slices: int = 1
    gaussian: bool = False
    reduced: bool = True
    needs: ClassVar[Literal["score", "log density", "noisy score"]] = "score"

    def __check_init__(self) -> None:
        _validate.whole("num_slices", self.num_slices, 1)
        _validate.one_of("gaussian", self.gaussian, (True, False))
        _validate.one_of("reduced", self.reduced, (True, False))

    def __call__(self, score: Score, x: Point, key: PRNGKeyArray) -> Scalar:
        """Evaluate the loss at one point."""
        s, jvp = jax.linearize(score, x)
        draw = jr.normal if self.gaussian else jr.rademacher
        v = draw(key, (self.num_slices, x.size), x.dtype)
        divergence = jnp.vdot(v, along(jvp, v)) / self.num_slices
        square = jnp.vdot(s, s) if self.reduced else jnp.mean((v @ s) ** 2)
        return divergence + 0.5 * square


class FiniteDifference(eqx.Module):
    r"""As `Sliced` with `reduced=False`, from three values of the log density along each slice and no derivative in x.

    With $h$ the step and entries of $v$ that are ±1, the mean over $v$ of

    $$\frac{\log q(x+hv) - 2\log q(x) + \log q(x-hv)}{h^2} + \frac{(\log q(x+hv) - \log q(x-hv))^2}{8h^2}.$$

    Its error is $O(h^2)$, none where log q is quadratic. Rounding adds about $4u\,|\log q|/h^2$ with $u$ the unit
    roundoff, so $h$ should be near $u^{1/4}$ times the length over which log q bends: for data of order one 0.02 in
    float32, with an error of about 0.001, and 0.0001 in float64. Data far from zero should be centred first.

    Args:
        step: $h$, in the units of x.
        num_slices: how many $v$ are drawn at each point.

    References:
        Pang, Xu, Li, Song, Ermon & Zhu (2020), Efficient learning of generative models via finite-difference score
        matching, Section 4.
    """

    step: float
    num_slices: int = 1
    needs: ClassVar[Literal["score", "log density", "noisy score"]] = "log density"

    def __check_init__(self) -> None:
        _validate.positive("step", self.step)
        _validate.whole("num_slices", self.num_slices, 1)

    def __call__(self, log_density: LogDensity, x: Point, key: PRNGKeyArray) -> Scalar:
        """Evaluate the loss at one point."""
        v = jr.rademacher(key, (self.num_slices, x.size), x.dtype)
        here = log_density(x)
        rise = jax.vmap(lambda move: log_density(x + move) - here)
        ahead, behind = rise(self.step * v), rise(-self.step * v)
        curvature = (ahead + behind) / self.step**2
        slope = (ahead - behind) / (2 * self.step)
        return jnp.mean(curvature + 0.5 * slope**2)
