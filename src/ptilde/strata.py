r"""The Gaussian base of every state.

Given a state, the amounts of the active columns $A$ start from $N(m(s), C_{AA})$: means linear in the state, and in the
features of the covariates if there are any, by ridge regression; and one covariance of the residuals, whose block on
$A$ is taken apart into axes and spectrum once for each pattern $A$.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from ptilde.batches import bucket
from ptilde.models import Stratum
from ptilde.tabular.covariates import NO_COVARIATES, Basis
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.index import ridge
from ptilde.tabular.states import one_hot

# Directions with less variance than this (of amounts with variance one) are not told apart.
LEAST_EIGENVALUE = 1e-6
# Patterns × columns²: above it the base keeps the variances and drops the correlations.
MOST_ROTATION = 30_000_000
# Rows that means and covariance are found from: one-hot features of more would fill the memory and change little.
MOST_ROWS = 50_000
_RIDGE = 10.0
_BEYOND = 1e9  # marks inactive directions, so that they sort last


class Layout(eqx.Module):
    """How states and amounts hang together.

    Args:
        num_tokens: of each column with a choice.
        bodies: for each amount the position in the state, and the token from which on it is put to use, for the levels
            of a body are the last tokens of its column; None if it always is.
        basis: the features of covariates.
    """

    num_tokens: tuple[int, ...] = eqx.field(static=True)
    bodies: tuple[tuple[int, int] | None, ...] = eqx.field(static=True)
    basis: Basis = eqx.field(static=True, default=NO_COVARIATES)

    @classmethod
    def of(cls, encoder: Encoder, basis: Basis = NO_COVARIATES) -> "Layout":
        """The layout of an encoder's rows."""
        position = {c.name: k for k, c in enumerate(encoder.choosing)}
        bodies = [(position[c.name], c.body_token) if c.body_token else None for c in encoder.amounts]
        return cls(tuple(c.num_tokens for c in encoder.choosing), tuple(bodies), basis)

    @property
    def num_context(self) -> int:
        """Features of what is known of a row before its amounts."""
        return sum(self.num_tokens) + self.basis.num_features

    def context(self, tokens: Int[Array, " K"], given: Float[Array, " c"]) -> Float[Array, " m"]:
        """What is known of a row before its amounts, as features: its state and its covariates."""
        return jnp.concatenate([one_hot(tokens, self.num_tokens), self.basis(given)])

    def active(self, tokens: Int[Array, " K"]) -> Float[Array, " d"]:
        """1 for each amount that the state puts to use."""
        on = [jnp.asarray(True) if body is None else tokens[body[0]] >= body[1] for body in self.bodies]
        return jnp.stack(on).astype(jnp.float32)

    def features(
        self, tokens: Int[Array, "b K"], given: Float[Array, "b c"]
    ) -> tuple[Float[Array, "b m"], Float[Array, "b d"]]:
        """Of rows: what is known as features, and which amounts the state puts to use."""
        return jax.vmap(self.context)(tokens, given), jax.vmap(self.active)(tokens)

    def active_rows(self, state: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(n, d): the same for rows of states, in NumPy."""
        on = [np.ones(len(state), bool) if b is None else state[:, b[0]] >= b[1] for b in self.bodies]
        return np.stack(on, 1) if on else np.zeros((len(state), 0), bool)


class Base(eqx.Module):
    """The base with the spectra of the patterns in use; row i of the last two belongs to pattern i."""

    layout: Layout
    coefficients: Float[Array, "d 1+m"]
    eigenvalues: Float[Array, "p d"]
    rotation: Float[Array, "p d d"] | None

    def stratum(self, tokens: Int[Array, " K"], given: Float[Array, " c"], pattern: Int[Array, ""]) -> Stratum:
        """What is known of a row from its state and its covariates."""
        row = pattern if len(self.eigenvalues) > 1 else 0  # one pattern: nothing to gather
        context = self.layout.context(tokens, given)
        active = self.layout.active(tokens)
        mean = active * (self.coefficients @ jnp.concatenate([jnp.ones(1), context]))
        rotation = None if self.rotation is None else self.rotation[row]
        eigenvalues = jnp.where(active > 0, self.eigenvalues[row], 1.0) if rotation is None else self.eigenvalues[row]
        return Stratum(context, active, mean, eigenvalues, rotation)


class Gaussian(eqx.Module):
    """Means linear in what is known, and one covariance; a `Base` for any rows is made from it.

    Args:
        coefficients: (d, 1+m) intercept and effect of each feature on the mean of each amount.
        covariance: (d, d) of the residuals.
        rotate: whether correlations are used.
    """

    coefficients: NDArray[np.float32]
    covariance: NDArray[np.float32]
    rotate: bool = eqx.field(static=True)

    @classmethod
    def fit(
        cls,
        layout: Layout,
        state: NDArray[np.int32],
        z: NDArray[Any],
        weight: NDArray[Any],
        given: NDArray[np.float32] | None = None,
    ) -> "Gaussian":
        """The base of rows (n, K), (n, d) with weights (n,); without covariates the same for all (n, c)."""
        active = layout.active_rows(state) & (weight > 0)[:, None]
        num_patterns = len(np.unique(np.packbits(active, axis=1), axis=0))
        if len(state) > MOST_ROWS:
            some = np.linspace(0, len(state) - 1, MOST_ROWS).astype(int)
            state, z, weight, active = state[some], z[some], weight[some], active[some]
            given = given if given is None else given[some]
        features = _features(state, layout.num_tokens)
        coefficients = _means(features, z, active, weight)
        if given is not None:
            features = np.hstack([features, jax.vmap(layout.basis)(jnp.asarray(given))])
            coefficients = ridge(features[:, 1:], z, active, weight)
        residual = np.where(active, z - features @ coefficients.T, 0.0)
        covariance = _covariance(residual, active * np.sqrt(weight)[:, None])
        coefficients = np.pad(coefficients, [(0, 0), (0, 1 + layout.num_context - coefficients.shape[1])])
        rotate = z.shape[1] > 1 and num_patterns * z.shape[1] ** 2 <= MOST_ROTATION
        return cls(coefficients.astype(np.float32), covariance.astype(np.float32), rotate)

    def base(self, layout: Layout, state: NDArray[np.int32]) -> tuple[Base, NDArray[np.int32]]:
        """The base on the patterns of rows (n, K), and the pattern of each row."""
        coefficients = jnp.asarray(self.coefficients)
        if not self.rotate:
            variances = np.maximum(np.diag(self.covariance), LEAST_EIGENVALUE)[None]
            return Base(layout, coefficients, jnp.asarray(variances, jnp.float32), None), np.zeros(len(state), np.int32)
        active = layout.active_rows(state)
        _, first, pattern = np.unique(np.packbits(active, axis=1), axis=0, return_index=True, return_inverse=True)
        eigenvalues, rotation = _spectra(self.covariance.astype(float), active[first])
        size = 1 if len(first) == 1 else bucket(len(first))
        padding = [(0, size - len(first))]
        eigenvalues = np.pad(eigenvalues, [*padding, (0, 0)], constant_values=1.0).astype(np.float32)
        rotation = np.pad(rotation, [*padding, (0, 0), (0, 0)]).astype(np.float32)
        base = Base(layout, coefficients, jnp.asarray(eigenvalues), jnp.asarray(rotation))
        return base, pattern.ravel().astype(np.int32)

    @property
    def least_spread(self) -> float:
        """The standard deviation of the narrowest direction."""
        return float(np.sqrt(max(np.linalg.eigvalsh(self.covariance.astype(float)).min(), LEAST_EIGENVALUE)))


def _features(state: NDArray[np.int32], num_tokens: tuple[int, ...]) -> NDArray[np.float64]:
    hot = [state[:, [k]] == np.arange(n) for k, n in enumerate(num_tokens)]
    return np.concatenate([np.ones((len(state), 1)), *hot], axis=1, dtype=np.float64)


def _means(features: Any, z: Any, active: Any, weight: Any) -> NDArray[np.float64]:
    """Ridge regression of each amount on the state, over the rows where it is active."""
    penalty = _RIDGE * np.eye(features.shape[1])
    penalty[0, 0] = 1e-6
    rows = []
    for j in range(z.shape[1]):
        x, w = features[active[:, j]], weight[active[:, j], None]
        rows.append(np.linalg.solve(x.T @ (w * x) + penalty, x.T @ (w[:, 0] * z[active[:, j], j])))
    return np.array(rows).reshape(z.shape[1], features.shape[1])


def _covariance(residual: Any, root: Any) -> NDArray[np.float64]:
    """From pairs of columns that are active together; a correlation known from few pairs is shrunk towards zero."""
    pairs = np.maximum(root.T @ root, 1e-9)
    scaled = residual * root
    variance = np.maximum((scaled**2).sum(0) / np.diag(pairs), 1e-3)
    covariance = (scaled.T @ scaled) / pairs * (1 - np.minimum(1.0, residual.shape[1] / pairs) ** 2)
    np.fill_diagonal(covariance, variance)
    eigenvalues, axes = np.linalg.eigh(covariance)
    return (axes * np.maximum(eigenvalues, 10 * LEAST_EIGENVALUE)) @ axes.T


def _spectra(covariance: NDArray[np.float64], active: NDArray[np.bool_]) -> tuple[Any, Any]:
    """Eigenvalues (p, d) and axes (p, d, d) of the active blocks, active directions first."""
    both = active[:, :, None] & active[:, None, :]
    blocks = np.where(both, covariance, 0.0)
    diagonal = np.arange(len(covariance))
    blocks[:, diagonal, diagonal] += np.where(active, 0.0, _BEYOND)
    eigenvalues, rotation = np.linalg.eigh(blocks)
    return np.where(eigenvalues > _BEYOND / 2, 1.0, np.maximum(eigenvalues, LEAST_EIGENVALUE)), rotation
