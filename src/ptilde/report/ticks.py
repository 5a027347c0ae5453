"""Ticks of a logarithmic axis: powers of ten, or what lies between them where there are not two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

LEAST = 2  # ticks from which a scale can be read


class Decades(LogLocator):
    """Powers of ten where two of them are seen, else 1 and 3 times these, or 1, 2 and 5, else even steps."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Ticks of an axis between these values."""
        low, high = sorted((vmin, vmax))
        if not 0 < low < high < np.inf:
            return super().tick_values(vmin, vmax)
        found = super().tick_values(low, high)
        if _seen(found, low, high) >= LEAST:
            return found
        powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for between in ([1, 3], [1, 2, 5]):
            found = np.outer(powers, between).ravel().tolist()
            if _seen(found, low, high) >= LEAST:
                return found
        return MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high)


def _seen(ticks: Sequence[float], low: float, high: float) -> int:
    return sum(low <= tick <= high for tick in ticks)


def spelt(value: float) -> str:
    """A number as it stands at a tick."""
    return f"{value:,g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
