r"""The law of a total, known by simulation.

With $L_{(1)} \le \dots \le L_{(n)}$ the simulated totals and $q$ their quantile at level α, $\mathrm{TVaR} = q +
\overline{(L - q)_+}/(1-\alpha)$. The standard error of $q$ is half the distance between the quantiles at
$\alpha \pm \sqrt{\alpha(1-\alpha)/n}$, that of TVaR is that of the mean in it.

References:
    Glasserman (2003), Monte Carlo methods in financial engineering, section 9.2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptilde import _validate
from ptilde.diagnostics import Estimate


@dataclass(frozen=True, eq=False)
class Aggregate:
    """The total of a portfolio.

    Attributes:
        total: (n_sims,) simulated totals.
        expected: the exact mean.
    """

    total: NDArray[np.float64]
    expected: float

    @property
    def mean(self) -> Estimate:
        """The mean of the simulations."""
        return Estimate(float(self.total.mean()), float(self.total.std(ddof=1) / np.sqrt(len(self.total))))

    def value_at_risk(self, level: float) -> Estimate:
        """The quantile at the level."""
        _validate.share("level", level)
        off = np.sqrt(level * (1 - level) / len(self.total))
        low, middle, high = np.quantile(self.total, [max(level - off, 0.0), level, min(level + off, 1.0)])
        return Estimate(float(middle), float(high - low) / 2)

    def tail_value_at_risk(self, level: float) -> Estimate:
        """The mean beyond the quantile at the level."""
        q = self.value_at_risk(level).value
        excess = np.maximum(self.total - q, 0.0) / (1 - level)
        return Estimate(float(q + excess.mean()), float(excess.std(ddof=1) / np.sqrt(len(excess))))
