r"""Objectives: the mean loss of a batch, for `ptilde.fit.descend`.

An objective is called with (model, rows, uniforms) and returns the mean loss and its terms; `num_uniforms(rows)` says
how many uniforms a row it asks for. If it is `separate`, its terms are the losses of separate parts of the model.

Those of tables do it in two moves, so that a batch can be spread over processes: `points(rows, uniforms)`, for which
all rows of the batch are needed but no model, and `mean(model, points)`, to which any block of the points may be given.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PyTree
from numpy.typing import ArrayLike

from ptilde.batches import Data
from ptilde.losses import Dual, Noise, pooled_noise
from ptilde.tabular.points import points

_EDGE = 1e-6  # uniforms are kept off 0 and 1: |noise| ≤ 4.75


class Likelihood(eqx.Module):
    """Minus the log-likelihood of amounts that a triangular map sends to N(0, I).

    Args:
        layout: which amounts a state puts to use.
    """

    layout: Any
    separate: ClassVar[bool] = True

    def num_uniforms(self, rows: PyTree) -> int:
        """None: the rows are all there is to draw."""
        return 0

    def __call__(self, model: Any, rows: PyTree, u: Float[Array, "b 0"]) -> tuple[Array, Array]:
        """The mean loss over rows (pattern, z, tokens, given, group), and its terms, one a column."""
        return self.mean(model, self.points(rows, u))

    def points(self, rows: PyTree, u: Float[Array, "b 0"]) -> PyTree:
        """What of the rows is read."""
        return rows[1:4]

    def mean(self, model: Any, points: PyTree) -> tuple[Array, Array]:
        """The mean loss over points, and its terms."""
        z, tokens, given = points
        context, active = self.layout.features(tokens, given)
        latent, log_slope = model(z, context, active)
        terms = jnp.mean(0.5 * (latent**2 + active * jnp.log(2 * jnp.pi)) - log_slope, axis=0)
        return jnp.sum(terms), terms


class Denoise(eqx.Module):
    """The dual loss of amounts, with log σ uniform between two ends.

    Args:
        loss: at one point.
        base: gives the `Stratum` of a row.
        log_sigma: the two ends.
    """

    loss: Dual
    base: Any
    log_sigma: Float[Array, " 2"]
    separate: ClassVar[bool] = False

    def num_uniforms(self, rows: PyTree) -> int:
        """One for the level, one for the noise of each column."""
        return 1 + rows[1].shape[-1]

    def __call__(self, model: Any, rows: PyTree, u: Float[Array, "b m"]) -> tuple[Array, Array]:
        """The mean loss over rows (pattern, z, tokens, given, group), and its terms."""
        return self.mean(model, self.points(rows, u))

    def points(self, rows: PyTree, u: Float[Array, "b m"]) -> PyTree:
        """Noisy rows, and what is known of the noise in them from all rows."""
        pattern, z, tokens, given, group = rows
        low, high = self.log_sigma
        level = low + (high - low) * u[:, 0]
        active = jax.vmap(self.base.layout.active)(tokens)
        noise = active * jax.scipy.special.ndtri(jnp.clip(u[:, 1:], _EDGE, 1 - _EDGE))
        noisy, pooled = pooled_noise(z, jnp.exp(level), noise, group)
        return noisy, level, pooled, tokens, given, pattern

    def mean(self, model: Any, points: PyTree) -> tuple[Array, Array]:
        """The mean loss over points, and its terms."""

        def at(
            x: Array, level: Array, noise: Noise, tokens: Array, given: Array, pattern: Array
        ) -> tuple[Array, Array]:
            stratum = self.base.stratum(tokens, given, pattern)
            loss, terms = self.loss(lambda x, s: model(x, s, stratum), x, level, noise, stratum)
            return loss, jnp.stack(terms)

        losses, terms = jax.vmap(at)(*points)
        return jnp.mean(losses), jnp.mean(terms, 0)


class Unmask(eqx.Module):
    """The cross-entropy of masked tokens: its mean is −log P(state) averaged over the orders of the columns."""

    separate: ClassVar[bool] = False

    def num_uniforms(self, rows: PyTree) -> int:
        """One for how many columns are masked, one for the rank of each column."""
        return 1 + rows[0].shape[-1]

    def __call__(self, model: Any, rows: PyTree, u: Float[Array, "b m"]) -> tuple[Array, Array]:
        """The mean loss over rows (tokens, given), and its terms."""
        return self.mean(model, self.points(rows, u))

    def points(self, rows: PyTree, u: Float[Array, "b m"]) -> PyTree:
        """The rows and what masks them."""
        return rows, u

    def mean(self, model: Any, points: PyTree) -> tuple[Array, Array]:
        """The mean loss over points, and its terms."""
        num_columns = points[1].shape[1] - 1

        def at(row: PyTree, u: Array) -> Array:
            num_masked = 1 + jnp.floor(u[0] * num_columns * (1 - _EDGE))
            rank = jnp.sum(u[1:, None] > u[1:], 1)  # sorting is slower
            masked = rank < num_masked
            surprise = jax.ops.segment_sum(
                -model(row[0], ~masked, row[1]) * model.features(row[0]),
                model.owner,
                num_columns,
                indices_are_sorted=True,
            )
            return num_columns / num_masked * jnp.sum(masked * surprise)

        loss = jnp.mean(jax.vmap(at)(*points))
        return loss, jnp.stack([loss])


class Match(eqx.Module):
    """Any loss of `ptilde.losses`, of a model called at one point.

    Args:
        loss: at one point; its `needs` says what it is given of the model.
    """

    loss: Any
    separate: ClassVar[bool] = False

    def num_uniforms(self, rows: PyTree) -> int:
        """One, which becomes the row's key."""
        return 1

    def __call__(self, model: Any, rows: PyTree, u: Float[Array, "b 1"]) -> tuple[Array, Array]:
        """The mean loss over rows (x,), and its terms."""
        given = derived(model, getattr(model, "gives", "log density"), self.loss.needs)
        # A uniform has 24 bits, and those of one batch differ: so do the keys.
        keys = jax.vmap(lambda u: jr.fold_in(jr.key(0), jnp.uint32(u * 2**24)))(u[:, 0])
        loss = jnp.mean(jax.vmap(lambda x, key: self.loss(given, x, key))(rows[0], keys))
        return loss, loss[None]


def rows(data: Any, support: Any = None, sample_weight: ArrayLike | None = None) -> Data:
    """Rows for `Match`, of an array or a table; refused if their columns have ties where they should have a density.

    Args:
        data: (n, d), (n,), or a table.
        support: a kind for each column; all real if None.
        sample_weight: (n,) in proportion to which rows are drawn.
    """
    x = points(data, support).x.astype(np.float32)
    return Data.of((x,), np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, np.float64))


def derived(model: Callable, gives: str, needs: str) -> Callable:
    """What a loss needs, of a model that gives it or a log density whose gradient it is."""
    if gives == needs:
        return model
    if gives == needs.replace("score", "log density"):
        return jax.grad(model)
    raise ValueError(f"`loss` must be one for a model that gives a {gives}; got one that needs a {needs}.")
