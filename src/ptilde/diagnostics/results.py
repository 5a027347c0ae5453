r"""What a diagnostic answers with: a number and how far to trust it.

An `Estimate` carries a standard error and has the interval $v \pm z\,\mathrm{se}$; a `Bounded` the ends of an interval
that holds for any law; a `Test` a p-value; a `Floored` the same measure of two samples of real rows, since a distance
between two finite samples is never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    standard_error: float

    def interval(self, confidence: float = 0.95) -> Bounded:
        """The ends between which the true value lies with the given confidence, were the error normal."""
        from scipy.stats import norm

        reach = float(norm.ppf(0.5 + confidence / 2)) * self.standard_error
        return Bounded(self.value, self.value - reach, self.value + reach)


class Bounded(NamedTuple):
    """A number between the ends of its confidence interval."""

    value: float
    low: float
    high: float


class Test(NamedTuple):
    """A statistic, and the chance of one as large if the hypothesis holds."""

    statistic: float
    p_value: float


Test.__test__ = False  # type: ignore[attr-defined]  # no pytest class


class Floored(NamedTuple):
    """A distance of draws from held-out rows, and that of the rows of the fit from the same."""

    value: Any
    floor: Any


def beside_floor(measure: Callable[..., Any], train: Any, test: Any, draws: Any, **options: Any) -> Floored:
    """Any measure of two tables, of the draws and of the fitted rows against the held-out ones.

    Args:
        measure: such as `two_sample_auc`, `sliced_wasserstein` or `mmd_test`.
        train: the rows that the model was fitted on.
        test: held-out rows.
        draws: the model's rows.
        options: handed on to the measure.
    """
    return Floored(measure(test, draws, **options), measure(test, train, **options))


def share(count: int, total: int, confidence: float = 0.95) -> Bounded:
    """A share with an interval that never covers less often than it says.

    References:
        Clopper & Pearson (1934), The use of confidence or fiducial limits illustrated in the case of the binomial,
        Biometrika 26.
    """
    from scipy.stats import binomtest

    if total < 1:
        raise ValueError(f"a share needs at least one case; got {total}.")
    ends = binomtest(int(count), int(total)).proportion_ci(confidence)
    return Bounded(count / total, float(ends.low), float(ends.high))
