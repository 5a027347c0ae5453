r"""Exponential families, $\log q(x) = \theta^\top T(x)$ up to a constant: affine in what is to be estimated.

So the score is affine in $\theta$ too, and score matching is a quadratic, $\tfrac12\theta^\top A\theta - b^\top\theta$:
one linear solve. Parameters are the natural ones, fields; the usual ones are properties.

References:
    Hyvärinen (2007), Some extensions of score matching, Computational Statistics & Data Analysis 51.
"""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ptilde._typing import Point, Scalar
from ptilde.models.parameters import check, check_packed, cholesky, generator, identity, length, ones, symmetric, zeros


class Gaussian(eqx.Module):
    r"""$\log q(x) = h^\top x - \tfrac12 x^\top K x$; truncated where the support is bounded, a graphical model in $K$.

    Under Hyvärinen's loss on all of space the minimiser has exactly the mean and the covariance of the data.

    Args:
        linear: $h = K\mu$.
        precision: $K$, packed with its diagonal.

    References:
        Hyvärinen (2005), Estimation of non-normalized statistical models by score matching, Section 3.1.
    """

    linear: Float[Array, " d"]
    precision: Float[Array, " d*(d+1)/2"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("linear", self.linear, None)
        check_packed("precision", self.precision, length(self.linear))

    @classmethod
    def start(cls, dim: int) -> "Gaussian":
        """The standard normal law."""
        return cls(zeros(dim), identity(dim))

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        return self.linear @ x - 0.5 * (x @ self.precision_matrix @ x)

    @property
    def precision_matrix(self) -> Float[Array, "d d"]:
        """$K$: an entry is zero where two columns are independent given the others."""
        return symmetric(self.precision, self.linear.size)

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """$K^{-1}$, of the law that is not truncated."""
        return self.precision.__array_namespace__().linalg.inv(self.precision_matrix)

    @property
    def mean(self) -> Point:
        r"""$\mu = K^{-1}h$, of the law that is not truncated."""
        return self.covariance @ self.linear

    def draw(self, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
        """Draws of the law that is not truncated."""
        root, noise = cholesky(self.precision_matrix), generator(key).standard_normal((self.linear.size, n))
        white_mean = np.linalg.solve(root, np.asarray(self.linear, float))
        return np.linalg.solve(root.T, white_mean[:, None] + noise).T


class Exponential(eqx.Module):
    r"""$\log q(x) = -\sum_j b_j x_j$ on the positive numbers.

    Args:
        rate: $b$.
    """

    rate: Float[Array, " d"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("rate", self.rate, None)

    @classmethod
    def start(cls, dim: int) -> "Exponential":
        """Rates of one."""
        return cls(ones(dim))

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        return -(self.rate @ x)

    @property
    def mean(self) -> Point:
        """$1/b$."""
        return 1 / self.rate

    def draw(self, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
        """Independent draws of every column."""
        return generator(key).exponential(self.mean, (n, self.rate.size))


class Gamma(eqx.Module):
    r"""$\log q(x) = \sum_j (a_j - 1)\log x_j - b_j x_j$ on the positive numbers.

    Args:
        shape: $a$.
        rate: $b$.
    """

    shape: Float[Array, " d"]
    rate: Float[Array, " d"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("shape", self.shape, None)
        check("rate", self.rate, length(self.shape))

    @classmethod
    def start(cls, dim: int) -> "Gamma":
        """Shapes and rates of one: exponential laws."""
        return cls(ones(dim), ones(dim))

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        return (self.shape - 1) @ jnp.log(x) - self.rate @ x

    @property
    def mean(self) -> Point:
        """$a/b$."""
        return self.shape / self.rate

    @property
    def variance(self) -> Point:
        """$a/b^2$."""
        return self.shape / self.rate**2

    def draw(self, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
        """Independent draws of every column."""
        return generator(key).gamma(self.shape, 1 / self.rate, (n, self.rate.size))


class LogNormal(eqx.Module):
    r"""$\log q(x) = \sum_j h_j \log x_j - \tfrac12 k_j (\log x_j)^2 - \log x_j$: the logs are normal.

    Args:
        linear: $h$, mean of the log over its variance.
        precision: $k$, one over the variance of the log.
    """

    linear: Float[Array, " d"]
    precision: Float[Array, " d"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("linear", self.linear, None)
        check("precision", self.precision, length(self.linear))

    @classmethod
    def start(cls, dim: int) -> "LogNormal":
        """Logs of mean zero and variance one."""
        return cls(zeros(dim), ones(dim))

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        y = jnp.log(x)
        return (self.linear - 1) @ y - 0.5 * (self.precision @ y**2)

    @property
    def mean(self) -> Point:
        """$h/k$, of log x."""
        return self.linear / self.precision

    @property
    def std(self) -> Point:
        r"""$1/\sqrt{k}$, of log x."""
        return self.precision**-0.5

    def draw(self, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
        """Independent draws of every column."""
        return generator(key).lognormal(self.mean, self.std, (n, self.linear.size))


class VonMises(eqx.Module):
    r"""$\log q(x) = \sum_j c_j \cos x_j + s_j \sin x_j = \sum_j \kappa_j \cos(x_j - \mu_j)$, angles in radians.

    A circle has no end, so score matching needs no weight although the angles are bounded.

    Args:
        cosine: $c = \kappa\cos\mu$.
        sine: $s = \kappa\sin\mu$.

    References:
        Mardia, Kent & Laha (2016), Score matching estimators for directional distributions, arXiv:1604.08470.
    """

    cosine: Float[Array, " d"]
    sine: Float[Array, " d"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("cosine", self.cosine, None)
        check("sine", self.sine, length(self.cosine))

    @classmethod
    def start(cls, dim: int) -> "VonMises":
        """Uniform on the circle."""
        return cls(zeros(dim), zeros(dim))

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        return self.cosine @ jnp.cos(x) + self.sine @ jnp.sin(x)

    @property
    def concentration(self) -> Point:
        r"""$\kappa$."""
        return (self.cosine**2 + self.sine**2) ** 0.5

    @property
    def direction(self) -> Point:
        r"""$\mu$, between -π and π."""
        xp = (self.cosine + self.sine).__array_namespace__()  # JAX's where only one of them is traced
        return xp.atan2(self.sine, self.cosine)

    def draw(self, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
        """Independent draws of every column, between -π and π."""
        return generator(key).vonmises(self.direction, self.concentration, (n, self.cosine.size))


class Exponents(eqx.Module):
    r"""$\log q(x) = \theta^\top T(x)$ for any statistic: the exponential family in general.

    Args:
        statistic: $T$, from a point (d,) to (m,), a function of `jax.numpy`; it must not change.
        theta: $\theta$.
    """

    statistic: Callable[[Point], Float[Array, " m"]] = eqx.field(static=True)
    theta: Float[Array, " m"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("theta", self.theta, None, meaning="one number a statistic")

    @classmethod
    def start(cls, statistic: Callable[[Point], Float[Array, " m"]], dim: int) -> "Exponents":
        """As many zeros as the statistic has values at a point of `dim` columns: a flat density."""
        return cls(statistic, zeros(*jax.eval_shape(statistic, jnp.zeros(dim)).shape))

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        return self.theta @ self.statistic(x)
