r"""The kernel exponential family, as flexible as its centres are many, fitted in closed form.

With rows whitened by a Gaussian base $N(m, C)$, $y = L^{-1}(x - m)$ for $C = LL^\top$, and a Gaussian kernel
$k(y, z) = \exp(-\|y - z\|^2 / 2h^2)$,

$$\log q(x) = \sum_m \alpha_m\, k(y, z_m) - \tfrac12 \|y\|^2,$$

up to a constant: the base times a bounded function, so $q$ has an integral. Hyvärinen's loss in $y$ is quadratic,

$$L(\alpha) = \tfrac12 \alpha^\top G \alpha + b^\top \alpha + \text{const}, \qquad
  G_{ml} = \operatorname{mean}\, \nabla k_m \cdot \nabla k_l, \qquad
  b_m = \operatorname{mean}\,(\Delta k_m - y \cdot \nabla k_m),$$

and with the ridge $\tfrac{\lambda}{2} \|f\|^2 = \tfrac{\lambda}{2} \alpha^\top K \alpha$ its minimiser is
$\alpha = -(G + \lambda K)^{-1} b$. Centres $z_m$ at some of the rows only are Nyström's approximation.

Whitening leaves nothing to linear changes of the columns. Without it, kernels as wide as the columns miss how narrow a
combination of them may be: with correlations near 1 that was worse than the Gaussian.

References:
    Sriperumbudur, Fukumizu, Gretton, Hyvärinen & Kumar (2017), Density estimation in infinite dimensional exponential
        families, JMLR.
    Strathmann, Sejdinovic, Livingstone, Szabo & Gretton (2015), Gradient-free Hamiltonian Monte Carlo with efficient
        kernel exponential families, NeurIPS.
    Sutherland, Strathmann, Arbel & Gretton (2018), Efficient and principled score estimation with Nyström kernel
        exponential families, AISTATS, Section 3.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist, pdist

from ptilde import _validate
from ptilde._typing import Point, Scalar
from ptilde._validate import DataError
from ptilde.models.parameters import check

_BANDWIDTHS = 2.0 ** np.arange(-4, 3)  # times the median distance of two rows
_RIDGES = 10.0 ** np.arange(-7, 1)  # below, weights cancel each other beyond the digits of float32
_NUM_DISTANCES = 1_000  # rows whose distances have their median taken
_CHUNK = 4_096  # rows of the kernel matrix held at a time
_TINY = 1e-10  # share of G's mean diagonal that keeps the factorisation from failing where centres nearly coincide
_FEWEST = 10  # rows, of which a fifth is held out
_ALIKE = 1e-12  # spread that is rounding alone

Matrix = Float[np.ndarray, "n d"]
Vector = Float[np.ndarray, " m"]


class Trial(NamedTuple):
    """A bandwidth and a ridge, and the held-out loss that they had, with its standard error."""

    bandwidth: float
    ridge: float
    loss: float
    error: float


@dataclass(frozen=True, eq=False)
class Basis:
    """All but the weights; what JAX compiles takes it for a constant, equal to another one with the same numbers.

    Args:
        centres: (m, d), in the units of the data.
        bandwidth: $h$.
        mean: (d,) $m$.
        covariance: (d, d) $C$.
    """

    centres: Matrix
    bandwidth: float
    mean: Vector
    covariance: Matrix

    def __post_init__(self):
        _validate.positive("bandwidth", self.bandwidth)
        dim = self.mean.size
        check("centres", self.centres, None, dim, meaning="a row for each weight, a column for each entry of `mean`")
        check("covariance", self.covariance, dim, dim, meaning="a row and a column for each entry of `mean`")
        least = np.linalg.eigvalsh(self.covariance)[0]
        if not least > 0:
            raise ValueError(f"`covariance` must be positive definite; got the eigenvalue {least:.3g}.")

    @property
    def whitening(self) -> Matrix:
        """$L^{-1}$."""
        return np.linalg.inv(np.linalg.cholesky(self.covariance))

    @property
    def _content(self) -> tuple[Any, ...]:
        arrays = (self.centres, self.mean, self.covariance)
        return (self.bandwidth, self.centres.shape, *(array.tobytes() for array in arrays))

    def __hash__(self):
        return hash(self._content)

    def __eq__(self, other: object):
        return isinstance(other, Basis) and self._content == other._content


class KernelExponential(eqx.Module):
    r"""The log density of this module's head, up to a constant; its parameters are the weights alone.

    Args:
        weights: $\alpha_m$.
        centres: the points that have $z_m$ as their y, in the units of the data.
        bandwidth: $h$.
        mean: $m$.
        covariance: $C$.
        trials: what `fit` tried.
    """

    weights: Float[Array | np.ndarray, " m"]
    basis: Basis = eqx.field(static=True)
    trials: tuple[Trial, ...] = eqx.field(static=True, repr=False)
    gives: ClassVar = "log density"

    def __init__(
        self,
        weights: Float[Array | np.ndarray, " m"],
        centres: Matrix,
        bandwidth: float,
        mean: Vector,
        covariance: Matrix,
        trials: Iterable[Trial] = (),
    ):
        centres, mean, covariance = (np.array(part, np.float64) for part in (centres, mean, covariance))
        self.weights, self.trials = weights, tuple(trials)
        self.basis = Basis(centres, float(bandwidth), mean, covariance)
        check("weights", weights, len(centres), meaning="one number a centre")

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        basis, whitening = self.basis, self.basis.whitening
        z = jnp.asarray((basis.centres - basis.mean) @ whitening.T, x.dtype)
        y = jnp.asarray(whitening, x.dtype) @ (x - jnp.asarray(basis.mean, x.dtype))
        kernel = jnp.exp(-0.5 * jnp.sum(((y - z) / basis.bandwidth) ** 2, axis=1))
        return jnp.vdot(self.weights, kernel) - 0.5 * jnp.vdot(y, y)

    @classmethod
    def fit(
        cls,
        x: Float[np.ndarray, "n d"],
        *,
        centres: int = 300,
        bandwidth: float | None = None,
        ridge: float | None = None,
        key: PRNGKeyArray,
    ) -> "KernelExponential":
        r"""The minimiser of Hyvärinen's loss plus the ridge, in float64; its base has the rows' mean and covariance.

        What of bandwidth and ridge is left open is chosen by the loss of a fifth of the rows, plus its standard error;
        the weights are then fitted to all rows. Memory does not grow with the number of rows.

        Args:
            x: rows. No value may repeat often: on ties the loss rewards spikes, as that of any density does.
            centres: how many rows, drawn at random, are centres; all of them if there are fewer.
            bandwidth: $h$; if None, the median distance of two whitened rows times 1/16, 1/8, ..., 4.
            ridge: $\lambda$; if None, $10^{-7}, 10^{-6}, \dots, 1$.
            key: for the draw of the centres and of the held-out fifth.
        """
        x = _checked(x)
        _validate.whole("centres", centres, 1)
        mean, covariance = x.mean(0), np.atleast_2d(np.cov(x.T, bias=True))
        x = x[np.asarray(jr.permutation(key, len(x)))]
        y = (x - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
        bandwidths, ridges = _grid("bandwidth", bandwidth, _BANDWIDTHS), _grid("ridge", ridge, _RIDGES)
        if bandwidth is None:
            bandwidths = bandwidths * np.median(pdist(y[:_NUM_DISTANCES]))
        # The centres of the trials are rows that were fitted: those of the final fit have seen their own rows, too.
        trained = len(y) - len(y) // 5
        trials = [trial for h in bandwidths for trial in _trials(y, trained, min(centres, trained), float(h), ridges)]
        # Where kernels are narrow, one row of the held-out fifth may carry the mean: a trial must be good beyond that.
        h, best, *_ = min(trials, key=lambda trial: trial.loss + trial.error)
        weights = _weights(*_sums(y, y[:centres], h), _kernel(y[:centres], h), best)
        return cls(weights, x[:centres], h, mean, covariance, trials)


def _trials(y: Matrix, trained: int, centres: int, h: float, ridges: Vector) -> list[Trial]:
    """The ridges at one bandwidth, on the rows that are not `trained`."""
    z = y[:centres]
    kernel, (gram, linear) = _kernel(z, h), _sums(y[:trained], z, h)
    weights = np.stack([_weights(gram, linear, kernel, ridge) for ridge in ridges], axis=1)
    held_out = y[trained:]
    losses = np.concatenate([_losses(weights, held_out[i : i + _CHUNK], z, h) for i in range(0, len(held_out), _CHUNK)])
    columns = ridges, losses.mean(0), losses.std(0) / np.sqrt(len(losses))
    return [Trial(h, *map(float, numbers)) for numbers in zip(*columns, strict=True)]


def _losses(weights: Matrix, y: Matrix, z: Matrix, h: float) -> Matrix:
    """Hyvärinen's loss in y of each row, a column for each column of weights."""
    squared = cdist(y, z, "sqeuclidean")
    kernel = np.exp(-0.5 * squared / h**2)
    divergence = (kernel * (squared / h**2 - y.shape[1])) @ weights / h**2 - y.shape[1]
    field = kernel @ weights
    scores = [((kernel * c) @ weights - x[:, None] * field) / h**2 - x[:, None] for x, c in zip(y.T, z.T, strict=True)]
    return divergence + 0.5 * np.sum(np.square(scores), axis=0)


def _weights(gram: Matrix, linear: Vector, kernel: Matrix, ridge: float) -> Vector:
    tiny = _TINY * np.trace(gram) / len(gram)
    return -cho_solve(cho_factor(gram + ridge * kernel + tiny * np.eye(len(gram))), linear)


def _sums(y: Matrix, z: Matrix, h: float) -> tuple[Matrix, Vector]:
    r"""$G$ and $b$, over chunks of rows; $2(y - z_m)\cdot(y - z_l) = r_m^2 + r_l^2 - \|z_m - z_l\|^2$ spares a sum."""
    products, linear = np.zeros((2, len(z), len(z))), np.zeros(len(z))
    for start in range(0, len(y), _CHUNK):
        rows = y[start : start + _CHUNK]
        squared = cdist(rows, z, "sqeuclidean")
        kernel = np.exp(-0.5 * squared / h**2)
        pull = 0.5 * (squared + np.sum(rows**2, 1)[:, None] - np.sum(z**2, 1))  # (y - z)·y
        linear += np.sum(kernel * (squared / h**2 - y.shape[1] + pull), 0) / h**2
        products += kernel.T @ kernel, (kernel * squared).T @ kernel
    cross = products[1] + products[1].T - products[0] * cdist(z, z, "sqeuclidean")
    return 0.5 * cross / h**4 / len(y), linear / len(y)


def _kernel(z: Matrix, h: float) -> Matrix:
    return np.exp(-0.5 * cdist(z, z, "sqeuclidean") / h**2)


def _grid(name: str, given: float | None, grid: Vector) -> Vector:
    if given is None:
        return grid
    _validate.positive(name, given)
    return np.array([float(given)])


def _checked(x: Any) -> Matrix:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) < _FEWEST:
        raise DataError(f"`x` must be a 2-D array of {_FEWEST} rows or more; got shape {x.shape}.")
    wrong = np.argwhere(~np.isfinite(x))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"`x` must hold finite numbers; got {x[row, column]} in row {row}, column {column}. Drop or fill that row."
        )
    std = x.std(0)
    constant = np.flatnonzero(std <= _ALIKE * np.abs(x).max(0))
    if len(constant):
        name, value = constant[0], x[0, constant[0]]
        raise DataError(f"Columns of `x` must vary; got {value:g} in every row of column {name}. Leave it out.")
    sizes, directions = np.linalg.eigh(np.atleast_2d(np.corrcoef(x.T)))
    if sizes[0] <= _ALIKE:
        column = np.argmax(np.abs(directions[:, 0]))
        raise DataError(f"No column of `x` may follow from the others; column {column} does. Leave it out.")
    return x
