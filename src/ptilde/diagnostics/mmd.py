r"""Do two tables come from one law? The maximum mean discrepancy, by permutation.

$$\mathrm{MMD}^2 = E\,k(x, x') + E\,k(y, y') - 2E\,k(x, y)$$

is 0 only for equal laws; its unbiased estimate leaves out the pairs of a row with itself. With a the indicator of the
rows of x among all, K the kernel of all rows and $r = K 1$, the sums over pairs are $a^\top K a$,
$a^\top r - a^\top K a$ and $1^\top r - 2a^\top r + a^\top K a$: one quadratic form for each permutation of the labels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde.diagnostics.kernels import GaussianKernel, Kernel, squared_distances, with_bandwidth
from ptilde.diagnostics.quadratic import forms
from ptilde.diagnostics.tables import points, same_width

Floats = NDArray[np.float64]


class MmdTest(NamedTuple):
    """The result of an MMD test.

    Attributes:
        statistic: MMD², unbiased.
        p_value: the share of permutations with one as large, this one included.
        null_spread: the standard deviation of the statistic under permutation.
        bandwidth: of the kernel.
    """

    statistic: float
    p_value: float
    null_spread: float
    bandwidth: float


def mmd_test(
    x: ArrayLike,
    y: ArrayLike,
    *,
    kernel: Kernel = GaussianKernel(),  # noqa: B008
    num_permutations: int = 500,
    max_rows: int = 2500,
    seed: int = 0,
) -> MmdTest:
    """The test that rows of two tables have one law; its level is exact.

    Args:
        x: rows, (n, d), in units that make columns comparable.
        y: rows, (m, d).
        kernel: `GaussianKernel()` or `Imq()`; without a bandwidth, the median distance among all rows.
        num_permutations: of the labels; the least p-value is 1/(num_permutations + 1).
        max_rows: of each table; of a longer one as many at random.
        seed: of the rows and the permutations.

    References:
        Gretton, Borgwardt, Rasch, Schölkopf & Smola (2012), A kernel two-sample test, JMLR 13, equation 3.
    """
    x, y = points("x", x), points("y", y)
    same_width(x, y)
    rng = np.random.default_rng(seed)
    x, y = (rows[rng.permutation(len(rows))[:max_rows]] for rows in (x, y))
    rows, n, m = np.concatenate([x, y]), len(x), len(y)
    kernel = with_bandwidth(kernel, rows, 1.0, rng)
    labels = np.zeros((num_permutations + 1, n + m))
    labels[0, :n] = 1.0
    for label in labels[1:]:
        label[rng.permutation(n + m)[:n]] = 1.0
    within, sums = forms(lambda part: kernel(squared_distances(rows[part], rows))[0], labels)
    all_x = labels @ sums
    value = (within - n) / (n * (n - 1)) + (sums.sum() - 2 * all_x + within - m) / (m * (m - 1))
    value -= 2 * (all_x - within) / (n * m)
    p_value = float(np.mean(value >= value[0] - 1e-12))
    assert kernel.bandwidth is not None
    return MmdTest(float(value[0]), p_value, float(np.std(value[1:])), kernel.bandwidth)
