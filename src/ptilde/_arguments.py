"""What scikit-learn's users give beside a table: a `random_state`, weights."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight

from ptilde._validate import DataError


def seed_of(random_state: Any) -> int:
    """The one place where a `random_state` becomes a number."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


def weights_of(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64]:
    """One weight a row, of mean one."""
    if sample_weight is None:
        return np.ones(n)
    checked = _check_sample_weight(sample_weight, np.empty((n, 1)), dtype=np.float64, ensure_non_negative=True)
    weight = np.asarray(checked)
    if not weight.sum() > 0:
        raise DataError(f"`sample_weight` must have a positive sum; got {weight.sum()}.")
    return weight * n / weight.sum()
