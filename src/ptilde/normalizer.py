r"""Normalising constants, always with a standard error.

If draws $x_i$ come from a known density $q$, then $Z = \int \tilde p = \mathbb E_q[\tilde p/q]$, estimated without bias
by the mean of the ratios.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from ptilde import _validate


class LogNormalizer(NamedTuple):
    """log Z and its standard error."""

    value: float
    standard_error: float


def importance(log_ratio: ArrayLike) -> LogNormalizer:
    """Estimate log Z from log ratios (n,) of unnormalised density to that of the draws; error by the delta method."""
    log_ratio = np.asarray(log_ratio, np.float64)
    _validate.at_least("number of draws", log_ratio.size, 2)
    log_z = float(logsumexp(log_ratio) - np.log(log_ratio.size))
    relative = np.exp(log_ratio - log_z)
    return LogNormalizer(log_z, float(np.std(relative, ddof=1) / np.sqrt(log_ratio.size)))


def effective_sample_size(log_ratio: ArrayLike) -> float:
    r"""Kish's effective number of draws, $(\sum w)^2/\sum w^2$."""
    log_ratio = np.asarray(log_ratio, np.float64)
    return float(np.exp(2 * logsumexp(log_ratio) - logsumexp(2 * log_ratio)))
