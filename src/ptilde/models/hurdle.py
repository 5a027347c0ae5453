r"""The multivariate hurdle model: which columns are zero, and what the others are, both with their dependence.

With $v_j = 1[x_j \neq 0]$ and $y = x$, on the measure that is Lebesgue's plus a unit mass at zero in every column,

$$\log q(x) = v^\top g + \sum_{j<k} J_{jk} v_j v_k + h^\top y + v^\top C y - \tfrac12 y^\top K y .$$

It is affine in its parameters. Given the pattern $v$ the amounts are Gaussian: with $S$ the columns that are not zero,
$y_S \sim N(\mu, K_{SS}^{-1})$ and $\mu = K_{SS}^{-1}(h + C^\top v)_S$. So the law on fewer columns is a slice of the
Gaussian, not its margin: means and variances change with the pattern wherever $K$ is not diagonal.

References:
    McDavid, Gottardo, Simon & Drton (2019), Graphical models for zero-inflated single cell gene expression, Annals of
    Applied Statistics 13, which writes $G$ for $g$ and $J$, and $H$ for $h$ and $C$.
"""

import itertools
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from scipy.special import softmax

from ptilde._typing import Point, Scalar
from ptilde.models.parameters import (
    check,
    check_packed,
    cholesky,
    gathered,
    generator,
    identity,
    length,
    symmetric,
    zeros,
)

_MOST_COLUMNS = 12  # whose patterns are listed


class Hurdle(eqx.Module):
    r"""The law of this module's head; with `log`, $y_j = \log x_j$ and amounts are positive and jointly log-normal.

    Args:
        logits: $g$.
        interactions: $J$, packed without its diagonal.
        linear: $h$.
        precision: $K$, packed with its diagonal.
        cross: $C$ off its diagonal, row by row, d(d-1) entries; entry (j, k) is what column j's not being zero adds to
            `linear` of column k. None for zero.
        log: whether amounts are seen through their logs; $-\sum_j v_j \log x_j$ then makes it a density of x.
    """

    logits: Float[Array, " d"]
    interactions: Float[Array, " d*(d-1)/2"]
    linear: Float[Array, " d"]
    precision: Float[Array, " d*(d+1)/2"]
    cross: Float[Array, " d*(d-1)"] | None = None
    log: bool = eqx.field(static=True, default=False)
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        dim = length(self.logits)
        check("logits", self.logits, None)
        check("linear", self.linear, dim)
        check_packed("interactions", self.interactions, dim, diagonal=False)
        check_packed("precision", self.precision, dim)
        entries = None if dim is None else dim * (dim - 1)
        check("cross", self.cross, entries, meaning=f"what is off the diagonal, row by row, for {dim} columns")

    @classmethod
    def start(cls, dim: int, log: bool = False, cross: bool = False) -> "Hurdle":
        """Independent columns with standard normal amounts (or logs of amounts)."""
        flat, pairs = zeros(dim), zeros(dim * (dim - 1) // 2)
        return cls(flat, pairs, flat, identity(dim), zeros(dim * (dim - 1)) if cross else None, log)

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        body = x != 0
        v = body.astype(x.dtype)
        y = jnp.log(jnp.where(body, x, 1)) if self.log else x  # either way 0 on an atom, with finite derivatives
        patterns = self.logits @ v + 0.5 * (v @ self.interaction_matrix @ v)
        amounts = self.linear @ y - 0.5 * (y @ self.precision_matrix @ y)
        if self.cross is not None:
            amounts = amounts + v @ self.cross_matrix @ y
        return patterns + amounts - (jnp.sum(y) if self.log else 0)

    @property
    def interaction_matrix(self) -> Float[Array, "d d"]:
        """$J$: by how much the logit of one column's not being zero grows where another is not."""
        return symmetric(self.interactions, self.logits.size, diagonal=False)

    @property
    def precision_matrix(self) -> Float[Array, "d d"]:
        """$K$."""
        return symmetric(self.precision, self.logits.size)

    @property
    def cross_matrix(self) -> Float[Array, "d d"]:
        """$C$; zero on its diagonal."""
        if self.cross is None:
            return 0 * self.interaction_matrix
        where = np.full(2 * self.logits.shape, self.cross.size)
        where[~np.eye(self.logits.size, dtype=bool)] = np.arange(self.cross.size)
        return gathered(self.cross, where)

    def draw(self, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
        """Exact draws, for at most 12 columns: a pattern by its mass, then its Gaussian."""
        law, random = strata(self), generator(key)
        which = random.choice(len(law.patterns), n, p=softmax(law.log_masses))
        noise, x = random.standard_normal((n, self.logits.size)), np.zeros((n, self.logits.size))
        for i in np.unique(which):
            rows, on = np.flatnonzero(which == i), np.flatnonzero(law.patterns[i])
            root = np.linalg.cholesky(law.covariances[i][np.ix_(on, on)])
            amounts = law.means[i][on] + noise[np.ix_(rows, on)] @ root.T
            x[np.ix_(rows, on)] = np.exp(amounts) if self.log else amounts
        return x


class Strata(NamedTuple):
    """What a hurdle law is on each of its $2^d$ patterns.

    Attributes:
        patterns: which columns are not zero.
        log_masses: log of the integral of q over the pattern; their `logsumexp` is the log normaliser of q.
        means: of the amounts (of their logs); 0 where a column is zero.
        covariances: of the amounts (of their logs); 0 where a column is zero.
    """

    patterns: Bool[np.ndarray, "p d"]
    log_masses: Float[np.ndarray, " p"]
    means: Float[np.ndarray, "p d"]
    covariances: Float[np.ndarray, "p d d"]


def strata(model: Hurdle) -> Strata:
    """All patterns of a hurdle law of at most 12 columns, exactly."""
    dim = model.logits.size
    if dim > _MOST_COLUMNS:
        raise ValueError(
            f"`logits` must have at most {_MOST_COLUMNS} columns, as all 2^d patterns are listed; got {dim}."
        )
    cholesky(model.precision_matrix)  # refuses a precision that is none
    g, h, interactions, precision, cross = (
        np.asarray(part, float)
        for part in (model.logits, model.linear, model.interaction_matrix, model.precision_matrix, model.cross_matrix)
    )
    patterns = np.array(list(itertools.product([False, True], repeat=dim)))
    tilts = h + patterns @ cross
    energies = patterns @ g + 0.5 * np.einsum("pi,ij,pj->p", patterns, interactions, patterns)
    gaussians = [_slice(precision, tilt, v) for tilt, v in zip(tilts, patterns, strict=True)]
    log_masses, means, covariances = (np.array(part) for part in zip(*gaussians, strict=True))
    return Strata(patterns, energies + log_masses, means, covariances)


def _slice(precision: Any, tilt: Any, pattern: Any) -> tuple[Any, Any, Any]:
    r"""Log mass, mean and covariance of $\exp(b^\top y - \tfrac12 y^\top K y)$ on the columns of a pattern."""
    on = np.flatnonzero(pattern)
    mean, covariance = np.zeros(len(tilt)), np.zeros_like(precision)
    inverse = np.linalg.inv(precision[np.ix_(on, on)])
    mean[on], covariance[np.ix_(on, on)] = inverse @ tilt[on], inverse
    log_mass = 0.5 * (tilt @ mean + np.linalg.slogdet(2 * np.pi * inverse)[1])
    return log_mass, mean, covariance
