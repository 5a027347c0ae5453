r"""Are synthetic rows too near to the rows of the fit?

Take as many fitted rows as held-out ones, and for each synthetic row the nearest among both. If the model knows its law
only, either kind is as likely: which of the rows were fitted is a coin thrown beforehand. Row r is the nearest of $c_r$
of N synthetic rows, so the share of those that are nearest to a fitted row has mean 1/2 and, over the choice of m among
2m rows, the variance

$$\frac14\,\frac{2m}{2m-1}\Big(\sum_r \frac{c_r^2}{N^2} - \frac{1}{2m}\Big).$$

A binomial error would count neighbours that many rows share as if they were many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde.diagnostics.patterns import atom_states
from ptilde.diagnostics.results import Bounded, Estimate, Floored, share
from ptilde.diagnostics.tables import Columns, coded, columns

Floats = NDArray[np.float64]
TIE = 1e-9  # of two distances, in standard deviations


class ClosestRecords(NamedTuple):
    """Distances from synthetic rows to the nearest real ones.

    Attributes:
        nearer_to_train: the share nearer to a fitted row than to any held-out one, a tie counted one half, with the
            standard error of the choice of rows; 0.5 expected.
        p_value: the chance of a share as large if the model did not look at single rows.
        to_train: the median distance to the nearest fitted row, in standard deviations of the columns.
        to_test: the same to the nearest held-out row.
    """

    nearer_to_train: Estimate
    p_value: float
    to_train: float
    to_test: float


def closest_records(
    train: Columns | ArrayLike, test: Columns | ArrayLike, draws: Columns | ArrayLike, *, seed: int = 0
) -> ClosestRecords:
    """Whether draws lie nearer to the rows of the fit than to others of the same law.

    Args:
        train: rows that the model was fitted on; the longer of the two tables is cut to the other's length.
        test: rows that it was not fitted on.
        draws: its own rows. Columns of objects count as one standard deviation where they differ; missing is a value.
        seed: of the cut.
    """
    from scipy.spatial import KDTree
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    first, second, drawn = _placed(columns(train), columns(test), columns(draws))
    size = min(len(first), len(second))
    first, second = (rows[rng.permutation(len(rows))[:size]] for rows in (first, second))
    (near, which), (far, other) = (KDTree(rows).query(drawn) for rows in (first, second))
    tied = np.abs(near - far) <= TIE
    closer = np.where(tied, 0.5, near < far)
    nearest = np.where(near < far, which, size + other)[~tied]
    counts = np.bincount(nearest, minlength=2 * size) / len(drawn)
    variance = 0.25 * 2 * size / (2 * size - 1) * (np.sum(counts**2) - np.sum(counts) ** 2 / (2 * size))
    value, error = float(closer.mean()), float(np.sqrt(max(variance, 0.0)))
    p_value = float(norm.sf((value - 0.5) / error)) if error else 1.0
    return ClosestRecords(Estimate(value, error), p_value, float(np.median(near)), float(np.median(far)))


def near_records(
    real: Columns | ArrayLike, draws: Columns | ArrayLike, *, level: float = 0.05, confidence: float = 0.95
) -> Bounded | None:
    """The share of draws nearer to a real row than all but few real rows are to another: `level` under equal laws.

    A law that is too narrow has more of them too; copies with a little noise have nearly all.

    Args:
        real: the rows that the draws were made from, if none is known that they were not made from.
        draws: drawn rows, measured as in `closest_records`.
        level: the share of real rows that lie as near to another one.
        confidence: of the interval.

    Returns:
        The share, or None where more real rows than `level` have a twin.
    """
    from scipy.spatial import KDTree

    rows, drawn, _ = _placed(columns(real), columns(draws), columns(draws))
    tree = KDTree(rows)
    near = np.quantile(tree.query(rows, 2)[0][:, 1], level)
    if near <= TIE:
        return None
    return share(int(np.sum(tree.query(drawn)[0] < near)), len(drawn), confidence)


def exact_copies(
    train: Columns, test: Columns | None, draws: Columns, atoms: Mapping[str, Sequence[float]] | None = None
) -> Floored:
    """The share of draws, with an amount off the atoms, that repeat a fitted row; its floor is that of held-out rows.

    Rows without an amount repeat by nature and are not looked at; amounts on a grid do so too, which the floor says.

    Args:
        train: name to column: the rows of the fit.
        test: held-out rows; None if there are none: the floor is the share of fitted rows that repeat another one.
        draws: the model's rows.
        atoms: the atoms of each column that has some; columns of floating-point numbers are amounts.
    """
    numbers = [name for name, column in train.items() if np.asarray(column).dtype.kind == "f"]
    amounts = {name: (atoms or {}).get(name, ()) for name in numbers}
    if not numbers:
        raise ValueError("`train` must have a column of floating-point numbers; got none.")

    def copies(rows: Columns, fewest: int = 1) -> Bounded:
        real, others = (_words(part) for part in coded(columns(train), columns(rows)))
        times, looked_at = Counter(real), np.any(atom_states(rows, amounts) == 0, axis=1)
        found = [times[row] >= fewest for row, look in zip(others, looked_at, strict=True) if look]
        return share(sum(found), len(found))

    return Floored(copies(draws), copies(train, 2) if test is None else copies(test))


def _words(rows: NDArray) -> list[bytes]:
    """Each row as bytes that are equal where rows are."""
    return [row.tobytes() for row in np.nan_to_num(rows, nan=np.inf) + 0.0]  # + 0.0 makes of -0.0 a 0.0


def _placed(train: Columns, test: Columns, draws: Columns) -> tuple[Floats, Floats, Floats]:
    """Three tables as points, numbers in standard deviations of the fitted rows, other values at distance one."""
    placed = []
    for name in train:
        three = [np.asarray(table[name]) for table in (train, test, draws)]
        ends = np.cumsum([len(column) for column in three])[:-1]
        if all(column.dtype.kind in "biuf" for column in three):
            spread = np.nanstd(three[0].astype(float)) or 1.0
            values = np.concatenate(three).astype(float)[:, None] / spread
            missing = np.isnan(values)
            values = np.column_stack([np.where(missing, 0.0, values), missing])
        else:
            _, index = np.unique([repr(value) for value in np.concatenate(three)], return_inverse=True)
            values = np.eye(index.max() + 1)[index] / np.sqrt(2)
        placed.append(np.split(values, ends))
    first, second, third = (np.column_stack([column[i] for column in placed]) for i in range(3))
    return first, second, third
