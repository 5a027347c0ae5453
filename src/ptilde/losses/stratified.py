r"""Score matching within strata, ratio matching between them: semi-continuous rows without a normaliser.

On $\prod_j (A_j \cup I_j)$, atoms $A_j$ and bodies $I_j$, any $\log q$ is known up to one constant by its scores in the
coordinates that are in their bodies, and by the ratios of its values at atoms to those in bodies. So the loss is

$$\sum_{j:\, x_j \in I_j} \bigl[ h_j \bigl(\tfrac12 s_j^2 + \partial_j s_j\bigr) + (\partial_j h_j)\,s_j \bigr]
  + \sum_j \sum_{o' \ne o} \operatorname{softplus}(-(\ell_j(o) - \ell_j(o'))),
\qquad s = \nabla \log q .$$
"""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ptilde._typing import LogDensity, Point, Scalar
from ptilde.losses.bounded import Bounded
from ptilde.losses.ratio import Ratio


class Stratified(eqx.Module):
    """`Bounded` over the columns that are in their body, plus `Ratio`.

    Args:
        within: its weights are asked for at all columns, and used where the column is in its body.
        between: says for each column which atoms it has, and whether it has a body.
    """

    within: Bounded
    between: Ratio
    needs: ClassVar[Literal["log density"]] = "log density"

    def __call__(self, log_q: LogDensity, x: Point, key: PRNGKeyArray) -> Scalar:
        """Evaluate the loss at one point."""
        across = self.between(log_q, x, key)
        columns = self.between.columns
        bodies = np.array([j for j, c in enumerate(columns) if c is None or c.has_body], int)
        active = jnp.array([c is None or c.in_body(x[j]) for j, c in enumerate(columns)], bool)[bodies]
        row = lambda z: x.at[bodies].set(z)  # noqa: E731
        # A column on an atom gets weight zero, rather than a term of zero: there a weight may be NaN, or infinitely
        # steep, and that must not reach the derivatives in the parameters.
        weight = lambda z: jnp.where(active, self.within.weight(row(z))[bodies], 0)  # noqa: E731
        score = jax.grad(lambda z: log_q(row(z)))
        return across + jnp.sum(Bounded(weight).terms(score, x[bodies]))
