r"""Grids: the steps to which a column was recorded.

Many columns are recorded to a coarse step with exceptions at a finer one, or in full precision: prices in hundredths
with some in thousandths, incomes in thousands, hundreds or as they are. Such a grid has several steps
$h_0 > h_1 > \dots$, each a whole multiple of the next; the last may be 0, "in full precision". The *level* of a value
is the first step that it is a whole multiple of. It is a function of the value alone, so the law of a body is
$P(l)\,f_l(x)$ with no mixture, and its density is that with respect to one fixed measure,
$$\sum_{l:\,h_l > 0} h_l \sum_{x\ \text{of level}\ l} \delta_x \; + \; \text{Lebesgue measure, if the last step is 0}.$$
No grid at all is the one step 0.

Float noise: a value is on a grid within 1e-4 of a step plus 1e-7 of the value, all values being on it. Where others
are in full precision it is so within 1e-7 of the value, at most 1e-4 of a step. Which of the coarser steps it is on is
then a question of whole numbers.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptilde import _validate

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]
Grid = float | tuple[float, ...] | None


def on_grid(values: Numbers, step: float) -> Mask:
    """Which values are whole multiples of the step, to 1e-4 of a step plus 1e-7 of the value."""
    multiples = values / step
    return np.abs(multiples - np.rint(multiples)) <= 1e-4 + 1e-7 * np.abs(multiples)


def steps_of(grid: Grid) -> tuple[float, ...]:
    """The steps of a grid, coarse to fine."""
    return (0.0,) if grid is None else grid if isinstance(grid, tuple) else (grid,)


def levels(values: Numbers, steps: Sequence[float]) -> NDArray[np.int32]:
    """The level of each value: which is the first step that it is a whole multiple of; -1 if none is."""
    inner = [step for step in steps if step > 0]
    if not inner:
        return np.zeros(len(values), np.int32)
    with np.errstate(invalid="ignore", over="ignore"):
        k = np.rint(values / inner[-1])
        if steps[-1] > 0:
            on, level = on_grid(values, inner[-1]), np.full(len(values), -1, np.int32)
        else:
            noise = np.minimum(1e-7 * np.abs(values), 1e-4 * inner[-1])
            on, level = np.abs(values - k * inner[-1]) <= noise, np.full(len(values), len(inner), np.int32)
        for i, step in reversed(list(enumerate(inner))):
            level[on & (k % np.rint(step / inner[-1]) == 0)] = i
    return level


def multiple(coarse: float, fine: float) -> float:
    """How many fine steps a coarse one has; 0 if that is no whole number above 1."""
    ratio = coarse / fine
    whole = float(np.rint(ratio))
    return whole if whole >= 1 and abs(ratio - whole) <= 1e-9 * ratio else 0.0


def checked(grid: Any) -> Grid:
    """A grid as kinds keep it: a float if it has one step, else a tuple; a refusal if it is none."""
    if grid is None:
        return None
    if not isinstance(grid, list | tuple):
        _validate.positive("grid", grid)
        return float(grid)
    if not grid or list(grid) == [0]:
        raise ValueError(f"`grid` must hold a step above zero; got {grid!r}. Without any grid, leave it out.")
    for step in grid[:-1]:
        if step == 0:
            raise ValueError(f"`grid` must have 0 (in full precision) at its end only; got {grid!r}.")
    for step in grid[:-1] if grid[-1] == 0 else grid:
        _validate.positive("grid", step)
    for coarse, fine in pairwise(grid):
        if fine and multiple(coarse, fine) < 2:
            raise ValueError(
                f"`grid` must go from coarse to fine, each a whole multiple of the next; got {coarse!r} before "
                f"{fine!r}."
            )
    return float(grid[0]) if len(grid) == 1 else tuple(float(step) for step in grid)
