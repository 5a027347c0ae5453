r"""Laws on discrete points, each affine in its parameters; their normalisers are sums that nobody can list.

There is no score: neighbouring points are compared instead (`losses.Ratio`). Points are arrays of floats that hold
whole numbers, so that discrete columns and others are columns of one array.

References:
    Besag (1974), Spatial interaction and the statistical analysis of lattice systems, JRSS B 36: auto-logistic models.
    Hyvärinen (2007), Some extensions of score matching, Computational Statistics & Data Analysis 51: ratio
    matching.
"""

import itertools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import softmax

from ptilde import _validate
from ptilde._typing import Point, Scalar
from ptilde.models.parameters import check, check_packed, generator, length, ones, symmetric, zeros

_MOST_POINTS = 4096  # that are listed for a draw: 2^12


class Ising(eqx.Module):
    r"""$\log q(x) = a^\top x + \sum_{j<k} J_{jk} x_j x_k$ for $x_j$ in {0, 1} (not -1 and 1).

    Args:
        fields: $a$, the logit of column j where all others are 0.
        couplings: $J$, packed without its diagonal; what column k's being 1 adds to the logit of column j.
    """

    fields: Float[Array, " d"]
    couplings: Float[Array, " d*(d-1)/2"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("fields", self.fields, None)
        check_packed("couplings", self.couplings, length(self.fields), diagonal=False)

    @classmethod
    def start(cls, dim: int) -> "Ising":
        """Independent fair coins."""
        return cls(zeros(dim), zeros(dim * (dim - 1) // 2))

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        return self.fields @ x + 0.5 * (x @ self.interaction_matrix @ x)

    @property
    def interaction_matrix(self) -> Float[Array, "d d"]:
        """$J$."""
        return symmetric(self.couplings, self.fields.size, diagonal=False)

    def draw(self, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
        """Exact draws, for at most 12 columns, from the list of all points."""
        return _draw(self, self.fields.size, 2, n, key)


class Potts(eqx.Module):
    r"""$\log q(x) = \sum_j a_j[x_j] + \sum_{j<k} J_{jk}[x_j, x_k]$ for codes $x_j$ in {0, ..., m-1}; else $-\infty$.

    Code 0 has field and couplings 0, which makes the others identified and two codes an `Ising` law.

    Args:
        fields: $a$, (d, m-1), of the codes from 1 on.
        couplings: $J$, (d(d-1)/2, m-1, m-1): a table for each pair of columns j < k, in the order of the upper triangle
            row by row; its rows are the codes of j from 1 on, its columns those of k.

    References:
        Wu (1982), The Potts model, Reviews of Modern Physics 54.
    """

    fields: Float[Array, "d m-1"]
    couplings: Float[Array, "d*(d-1)/2 m-1 m-1"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("fields", self.fields, None, None, meaning="a row a column, an entry for each code from 1 on")
        dim, free = getattr(self.fields, "shape", (None, None))
        pairs = None if dim is None else dim * (dim - 1) // 2
        check("couplings", self.couplings, pairs, free, free, meaning="a table for each pair of columns")

    @classmethod
    def start(cls, dim: int, num_levels: int) -> "Potts":
        """Independent columns with codes of equal probability."""
        _validate.whole("num_levels", num_levels, 2)
        free = num_levels - 1
        return cls(zeros(dim, free), zeros(dim * (dim - 1) // 2, free, free))

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        first, second = np.triu_indices(x.size, 1)
        levels = self.num_levels
        on = x[:, None] == np.arange(1, levels)
        both = on[first][:, :, None] & on[second][:, None, :]
        energy = jnp.sum(jnp.where(on, self.fields, 0)) + jnp.sum(jnp.where(both, self.couplings, 0))
        return jnp.where(jnp.all(on.any(1) | (x == 0)), energy, -jnp.inf)

    @property
    def num_levels(self) -> int:
        """$m$."""
        return self.fields.shape[1] + 1

    def draw(self, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
        """Exact draws, where there are at most 4096 points, from the list of them all."""
        return _draw(self, len(self.fields), self.num_levels, n, key)


class ConwayMaxwellPoisson(eqx.Module):
    r"""$\log q(x) = \sum_j x_j \log\lambda_j - \nu_j \log x_j!$ for counts; $\nu = 1$ is Poisson's law.

    Args:
        log_rate: $\log\lambda$, the natural parameter; $\lambda$ is the mean only where $\nu = 1$.
        dispersion: $\nu$; counts vary less than Poisson's above 1, more below.

    References:
        Shmueli, Minka, Kadane, Borle & Boatwright (2005), A useful distribution for fitting discrete data: revival of
        the Conway-Maxwell-Poisson distribution, JRSS C 54.
    """

    log_rate: Float[Array, " d"]
    dispersion: Float[Array, " d"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("log_rate", self.log_rate, None)
        check("dispersion", self.dispersion, length(self.log_rate))

    @classmethod
    def start(cls, dim: int) -> "ConwayMaxwellPoisson":
        """Poisson's law of rate one."""
        return cls(zeros(dim), ones(dim))

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        return self.log_rate @ x - self.dispersion @ gammaln(x + 1)

    @property
    def rate(self) -> Point:
        r"""$\lambda$."""
        return self.log_rate.__array_namespace__().exp(self.log_rate)


def _draw(model: Any, dim: int, num_levels: int, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
    """Draws from the list of all points of a law."""
    if num_levels**dim > _MOST_POINTS:
        raise ValueError(
            f"`fields` must leave at most {_MOST_POINTS} points for exact draws, as all are listed; got "
            f"{num_levels} codes in each of {dim} columns."
        )
    points = np.array(list(itertools.product(range(num_levels), repeat=dim)), float)
    with jax.enable_x64(True):
        energies = np.asarray(jax.vmap(model)(jnp.asarray(points)))
    return points[generator(key).choice(len(points), n, p=softmax(energies))]
