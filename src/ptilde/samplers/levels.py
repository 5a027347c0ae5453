r"""Targets at every noise level: of the data blurred by $N(0, \sigma^2I)$, the log density or the score alone."""

from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp

from ptilde._typing import NoisyLogDensity, NoisyScore, Point, Scalar
from ptilde.samplers.base import Density, Field, Target


class Level(eqx.Module):
    """A function of (x, log σ) at one level."""

    function: Callable[[Point, Scalar], Any]
    log_sigma: Scalar

    def __call__(self, x: Point) -> Any:
        """Evaluate it at one point."""
        return self.function(x, self.log_sigma)


class Levels(eqx.Module):
    """The targets of all levels.

    Args:
        function: of (x, log σ).
        kind: what it gives at a level.
    """

    function: NoisyScore | NoisyLogDensity
    kind: type[Density] | type[Field] = eqx.field(static=True)

    @classmethod
    def of(cls, function: Callable, x: Point) -> Self:
        """Those of a function which, at a point like x, returns one number or a score."""
        value = eqx.filter_eval_shape(function, x, jnp.zeros((), x.dtype))
        shape = getattr(value, "shape", None)
        if shape not in ((), x.shape):
            raise ValueError(f"`target` must return one number, or a score of shape {x.shape}; got {shape or value!r}.")
        return cls(function, Field if shape else Density)

    def at(self, log_sigma: Scalar) -> Target:
        """The target of one level."""
        return self.kind(Level(self.function, log_sigma))

    def score(self, x: Point, log_sigma: Scalar) -> Point:
        """The score at a point and level."""
        return self.function(x, log_sigma) if self.kind is Field else jax.grad(self.function)(x, log_sigma)
