"""What particles climb: a target, and the start of known density that fits it as far as it is known."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from ptilde._typing import LogDensity
from ptilde.normalizer.start import Start
from ptilde.normalizer.untied import Pulled, Untied
from ptilde.samplers.columns import Column, Columns

_UNTIED = 50  # columns up to which coordinates are untied
_ENOUGH = 20  # particles in a body for its spread to be taken from them
Floats = NDArray[np.float64]


class Place(NamedTuple):
    """A target and a start, in the same coordinates.

    Attributes:
        log_q: Of real columns the density of their untied coordinates, else of x.
        start: of the same.
    """

    log_q: LogDensity
    start: Start

    @classmethod
    def first(cls, log_q: LogDensity, columns: Columns, mean: Floats, std: Floats) -> "Place":
        """Before any particles are seen: with a mean and a spread in charts."""
        d = len(mean)
        if columns.choices.size or not all(columns.has_body) or d > _UNTIED:
            return cls(log_q, Start.of(columns, mean, np.diag(std)))
        plain = Start.of(Columns.of([Column()] * d), np.zeros(d), np.eye(d))
        return cls(Pulled(log_q, columns, Untied.plain(mean, std)), plain)

    def fitted(self, x: Array, weight: Floats) -> "Place":
        """To weighted particles that have arrived."""
        if isinstance(self.log_q, Pulled):
            u = np.asarray(jax.vmap(self.log_q.untied)(x)[0])
            untied = Untied.fitted(u, weight)
            known = all(np.isfinite(part).all() for part in jax.tree.leaves(untied))
            return self._replace(log_q=Pulled(self.log_q.log_q, self.log_q.columns, untied)) if known else self
        columns = self.start.columns
        option, u = map(np.asarray, jax.vmap(columns.split)(x))
        active = np.asarray(jax.vmap(columns.active)(jnp.asarray(option)))
        mean, std = np.array(self.start.mean), np.diagonal(np.asarray(self.start.root)).copy()
        for j in np.flatnonzero(active.sum(0) >= _ENOUGH):  # coordinates that may be off must be independent
            on = active[:, j]
            mean[j] = np.average(u[on, j], weights=weight[on])
            std[j] = max(np.sqrt(np.average((u[on, j] - mean[j]) ** 2, weights=weight[on])), 1e-6 * std[j])
        return self._replace(start=Start.of(columns, mean, np.diag(std)))

    def point(self, x: Array) -> list[float]:
        """One of them as a person has it."""
        return np.asarray(self.log_q.x(x) if isinstance(self.log_q, Pulled) else x).tolist()
