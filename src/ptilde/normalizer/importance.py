r"""Normalising constants from draws of a known density, with a standard error.

If draws $x_i$ come from a known density $q$, then $Z = \int \tilde p = \mathbb E_q[\tilde p/q]$, estimated without bias
by the mean of the ratios.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from ptilde import _validate

FEWEST = 50  # effective draws: fewer, and the error itself is not known


class _Pair(NamedTuple):
    value: float
    standard_error: float


class LogNormalizer(_Pair):
    """log Z and its standard error, a pair.

    Args:
        value: log Z.
        standard_error: of `value`; for quadrature an estimate of its error, 0 for a sum.
        effective: the effective number of draws or particles; inf where there are none.
        method: "quadrature", "smc", "importance" or "sum".
    """

    effective: float
    method: str

    def __new__(
        cls, value: float, standard_error: float, effective: float = np.inf, method: str = "importance"
    ) -> "LogNormalizer":
        pair = super().__new__(cls, value, standard_error)
        pair.effective, pair.method = effective, method
        return pair

    def __repr__(self) -> str:
        return (
            f"LogNormalizer(value={self.value!r}, standard_error={self.standard_error!r}, "
            f"effective={self.effective!r}, method={self.method!r})"
        )


def importance(log_ratio: ArrayLike) -> LogNormalizer:
    """Estimate log Z from log ratios (n,) of unnormalised density to that of the draws; error by the delta method."""
    log_ratio = np.asarray(log_ratio, np.float64)
    _validate.at_least("number of draws", log_ratio.size, 2)
    log_z = float(logsumexp(log_ratio) - np.log(log_ratio.size))
    relative = np.exp(log_ratio - log_z)
    error = float(np.std(relative, ddof=1) / np.sqrt(log_ratio.size))
    return LogNormalizer(log_z, error, effective_sample_size(log_ratio))


def effective_sample_size(log_ratio: ArrayLike) -> float:
    r"""Kish's effective number of draws, $(\sum w)^2/\sum w^2$."""
    log_ratio = np.asarray(log_ratio, np.float64)
    return float(np.exp(2 * logsumexp(log_ratio) - logsumexp(2 * log_ratio)))


def refuse_few(value: float, effective: float, cure: str) -> None:
    """Refuse an estimate that rests on too few draws."""
    if not effective >= FEWEST:
        raise ValueError(
            f"`log_normalizer` must rest on {FEWEST} effective draws or more; got {effective:.3g} (log Z near "
            f"{value:.6g}, unreliably). {cure}"
        )
