r"""The loss that a support asks for.

* no ends, no atoms: Hyvärinen's loss;
* finite ends: its generalisation with weights that vanish there, $s^2 (t/s)^{3/2}$ of the distance t to the nearest
  end, s its median;
* atoms, categories or counts: the same within the bodies, plus the jumps between the choices (`losses.Stratified`).

Weights and proposals with scales taken from the data leave the estimating equations unbiased whatever the scales are,
so that standard errors need no term for them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptilde import losses
from ptilde._validate import DataError
from ptilde.tabular.kinds import Categorical, Count, SemiContinuous
from ptilde.tabular.points import Points, atoms_of, ends_of

Floats = NDArray[np.float64]


def loss_for(data: Points) -> Any:
    """The loss for data on a support."""
    low, high = np.transpose([ends_of(kind) for kind in data.kinds])
    within = losses.Bounded(losses.Ends(low, high, losses.Power(1.5), _scales(data, low, high)))
    choices = tuple(_choice(data, j) for j in range(len(data.kinds)))
    if any(choice is not None for choice in choices):
        return losses.Stratified(within, losses.Ratio(choices)) if data.body.any() else losses.Ratio(choices)
    return within if np.isfinite([low, high]).any() else losses.Hyvarinen()


def _choice(data: Points, j: int) -> Any:
    kind, values = data.kinds[j], data.x[data.body[:, j], j]
    if isinstance(kind, Count):
        return losses.Neighbours()
    if isinstance(kind, Categorical):
        return losses.Choice(atoms_of(kind))
    if isinstance(kind, SemiContinuous):
        if len(values) < 2 or np.ptp(values) == 0:
            raise DataError(
                f"Column {data.names[j]!r} must have two distinct values off its atoms, or more; got {len(values)} "
                "rows there. Declare it Categorical, or give it more rows."
            )
        return losses.Choice(kind.atoms, losses.Proposal.fitted(values, *ends_of(kind)))
    return None


def _scales(data: Points, low: Floats, high: Floats) -> Floats:
    """Units of the bodies: the median distance to the nearest end, or the standard deviation without ends."""
    scales = np.ones(len(low))
    for j in range(len(low)):
        values = data.x[data.body[:, j], j]
        if values.size > 1 and np.ptp(values) > 0:
            bounded = np.isfinite([low[j], high[j]]).any()
            scales[j] = np.median(np.minimum(values - low[j], high[j] - values)) if bounded else np.std(values)
    return scales
