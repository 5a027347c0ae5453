r"""A mixture of Gaussians, with weights, means and precisions all free.

$$\log q(x) = \log \sum_k \exp\bigl(\omega_k + \log\det R_k - \tfrac12 \lVert R_k (x - \mu_k) \rVert^2\bigr),
    \qquad R_k \text{ upper triangular},\quad R_k^\top R_k = \Sigma_k^{-1}.$$

**Score matching is blind to the weights of modes that lie apart**: between them there are no data, and within each the
score does not know of the others. The loss then hardly depends on $\omega$, and its estimates scatter by far more than
those of maximum likelihood; noise on the data (`losses.Denoising`, `losses.NoiseConditional`) joins the modes.

Adding a number to all $\omega$ changes nothing that a score can see, so the first one is zero. Permuting the components
changes nothing at all: an estimate is one of m! equal ones.

References:
    Wenliang & Kanagawa (2020), Blindness of score-based methods to isolated components and mixing proportions,
    arXiv:2008.10087.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike
from scipy.special import softmax

from ptilde import _validate
from ptilde._typing import Point, Scalar
from ptilde.models.parameters import check, gathered, generator, ones


class GaussianMixture(eqx.Module):
    r"""The law of this module's head; every array of real numbers is a valid parameter.

    Args:
        log_weights: $\omega_2, \dots, \omega_m$, logs of the ratios to the first weight, (m-1,).
        means: $\mu_k$, (m, d).
        factors: $R_k$, (m, d(d+1)/2): upper triangles packed row by row, with the *log* of the diagonal in its place.
    """

    log_weights: Float[Array, " m-1"]
    means: Float[Array, "m d"]
    factors: Float[Array, "m d*(d+1)/2"]
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        check("means", self.means, None, None, meaning="a row a component")
        if not hasattr(self.means, "shape"):  # a Module of axes or placeholders
            return
        num, dim = self.means.shape
        check("log_weights", self.log_weights, num - 1, meaning="one number a component but the first")
        meaning = f"an upper triangle packed row by row for each of {num} components in {dim} columns"
        check("factors", self.factors, num, dim * (dim + 1) // 2, meaning=meaning)

    @classmethod
    def start(cls, dim: int, num_components: int, key: PRNGKeyArray) -> "GaussianMixture":
        """Equal weights and unit covariances, at means drawn from N(0, I): equal means would never part."""
        _validate.whole("num_components", num_components, 1)
        return cls.isotropic(ones(num_components), generator(key).standard_normal((num_components, dim)), 1.0)

    @classmethod
    def isotropic(cls, weights: ArrayLike, means: ArrayLike, std: ArrayLike) -> "GaussianMixture":
        """Round components: positive weights (m,), means (m, d), one standard deviation for all or one for each."""
        arrays: list[Any] = [np.asarray(part, float) for part in (weights, means, std)]
        shares, centres, sigma = arrays
        check("means", centres, None, None, meaning="a row a component")
        check("weights", shares, len(centres), meaning="one number a component")
        if not (shares > 0).all() or not (sigma > 0).all():
            raise ValueError(f"`weights` and `std` must be positive; got {weights} and {std}.")
        log_diagonal = -np.log(np.broadcast_to(sigma, len(centres)))
        _, on = _packing(centres.shape[1])
        return cls(np.log(shares[1:] / shares[0]), centres, log_diagonal[:, None] * on)

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        _, on = _packing(x.size)
        white = jnp.einsum("kij,kj->ki", self._roots, x - self.means)
        return jax.nn.logsumexp(self._logits + self.factors @ on - 0.5 * jnp.sum(white**2, axis=1))

    @property
    def weights(self) -> Float[Array, " m"]:
        """They sum to one."""
        odds = self.log_weights.__array_namespace__().exp(self._logits - self._logits.max())
        return odds / odds.sum()

    @property
    def covariances(self) -> Float[Array, "m d d"]:
        r"""$\Sigma_k$."""
        inverses = self.factors.__array_namespace__().linalg.inv(self._roots)
        return inverses @ inverses.mT

    def draw(self, n: int, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
        """Exact draws: a component by its weight, then its Gaussian."""
        random, num = generator(key), len(self.means)
        which = random.choice(num, n, p=softmax(np.asarray(self._logits, float)))
        x = random.standard_normal((n, self.means.shape[1]))
        for k, (mean, root) in enumerate(zip(np.asarray(self.means), np.asarray(self._roots, float), strict=True)):
            x[which == k] = mean + np.linalg.solve(root, x[which == k].T).T
        return x

    @property
    def _logits(self) -> Float[Array, " m"]:
        xp = self.log_weights.__array_namespace__()
        return xp.concat([xp.zeros(1, self.log_weights.dtype), self.log_weights])

    @property
    def _roots(self) -> Float[Array, "m d d"]:
        """$R_k$."""
        where, on = _packing(self.means.shape[1])
        xp = self.factors.__array_namespace__()
        # The inner choice keeps the exponential, and its derivative, finite off the diagonal.
        return gathered(xp.where(on, xp.exp(xp.where(on, self.factors, 0)), self.factors), where)


def _packing(dim: int) -> tuple[Any, Any]:
    """Where each entry of an upper triangle is in its packed form, and which packed entries are of the diagonal."""
    rows, columns = np.triu_indices(dim)
    where = np.full((dim, dim), rows.size)
    where[rows, columns] = np.arange(rows.size)
    return where, rows == columns
