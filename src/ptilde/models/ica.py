r"""Independent component analysis, $\log q(x) = \sum_i \log p(w_i^\top x)$: sources $s = Wx$ that are independent.

The density of x is $q(x)\,\lvert\det W\rvert$. The factor is a constant in x, so score matching goes without it;
maximum likelihood does not.

References:
    Hyvärinen (2005), Estimation of non-normalized statistical models by score matching, JMLR 6, Section 3.2.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ptilde._typing import Point, Scalar
from ptilde.models.parameters import check


class LogisticSource(eqx.Module):
    r"""The logistic law of variance one, $\log p(s) = -2\log\cosh\frac{\pi s}{2\sqrt3} - \log\frac{4\sqrt3}{\pi}$.

    Hyvärinen (2005), Section 3.2, has $\log 4$ for the constant, which leaves a mass of $\sqrt3/\pi$; the score is the
    same.
    """

    def __call__(self, s: Scalar) -> Scalar:
        """Evaluate log p at one number."""
        # 1 / (4 cosh²(z/2)) is the product of two logistic functions; written so, it neither overflows nor has a kink.
        z = math.pi / math.sqrt(3) * s
        return jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z) + math.log(math.pi / math.sqrt(3))


class Ica(eqx.Module):
    r"""The law of this module's head. Rows of $W$ are identified up to their order and signs.

    Args:
        unmixing: $W$, a row a source, as many as columns.
        source: $\log p$, from a number to a number, normalised; a Module may have parameters of its own.
    """

    unmixing: Float[Array, "d d"]
    source: Callable[[Scalar], Scalar] = LogisticSource()
    gives: ClassVar[str] = "log density"

    def __check_init__(self):
        dim = getattr(self.unmixing, "shape", (None,))[:1]
        check("unmixing", self.unmixing, *dim, *dim, meaning="a row a source, as many as columns")

    @classmethod
    def start(cls, dim: int) -> "Ica":
        """The columns themselves as sources: right for data that are white."""
        identity: Any = np.eye(dim)
        return cls(identity)

    def __call__(self, x: Point) -> Scalar:
        """Evaluate log q at one point."""
        return jnp.sum(jax.vmap(self.source)(self.unmixing @ x))

    @property
    def mixing(self) -> Float[Array, "d d"]:
        """$W^{-1}$: column i is what source i adds to the columns of the data."""
        return self.unmixing.__array_namespace__().linalg.inv(self.unmixing)

    def log_likelihood(self, x: Point) -> Scalar:
        r"""$\log q(x) + \log\lvert\det W\rvert$, the log density of one point."""
        return self(x) + jnp.linalg.slogdet(self.unmixing)[1]
