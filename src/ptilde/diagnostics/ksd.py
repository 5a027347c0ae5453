r"""Do rows come from the density with this score? The kernel Stein discrepancy, with a p-value.

The Stein kernel u of `kernels` has mean 0 under the density, so $U = \frac{1}{n(n-1)}\sum_{i\ne j} u(x_i, x_j)$ is
about 0 if the rows come from it and positive if not; no normalising constant is needed. Under the hypothesis U is
degenerate, and

$$U^* = \frac{1}{n(n-1)}\sum_{i\ne j}\varepsilon_i\varepsilon_j\,u(x_i, x_j), \qquad \varepsilon_i = \pm 1$$

has its law (the wild bootstrap of Chwialkowski, Strathmann & Gretton 2016 for independent rows). A sum over the pairs
within blocks of b rows costs n b in place of n²; the signs work as well there, so no normal approximation is needed:
b = 2 is the linear-time test of Liu, Lee & Jordan (2016, equation 17), b = n the whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptilde import _validate
from ptilde.diagnostics.charts import Ends, unbounded
from ptilde.diagnostics.kernels import Imq, Kernel, stein, stein_diagonal, with_bandwidth
from ptilde.diagnostics.quadratic import ENTRIES, forms
from ptilde.diagnostics.tables import points

Floats = NDArray
MOST_TO_TUNE = 2000  # rows on which a bandwidth is chosen
PRODUCTS = 2e10  # multiplications that a test may spend on its signs, before rows are cut into blocks


class KsdTest(NamedTuple):
    """The result of a kernel Stein test.

    Attributes:
        statistic: the squared discrepancy, unbiased: about 0 under the density.
        p_value: the chance of one as large under the density.
        null_spread: the standard deviation of the statistic there.
        bandwidth: of the kernel that the statistic is of.
        num_rows: that were tested.
        block_size: rows of a block; pairs are formed within.
    """

    statistic: float
    p_value: float
    null_spread: float
    bandwidth: float
    num_rows: int
    block_size: int


def ksd_test(
    x: ArrayLike,
    score: Callable | ArrayLike,
    *,
    kernel: Kernel = Imq(),  # noqa: B008
    factors: Sequence[float] = (1.0,),
    tune: float = 0.0,
    support: Ends | None = None,
    block_size: int | None = None,
    num_signs: int = 500,
    seed: int = 0,
) -> KsdTest:
    """The test that independent rows come from the density with this score.

    The median distance and the wild bootstrap use the same rows: the median settles as rows are added and knows nothing
    of the model, so the level holds. Several factors are tested at once without loss of level, by the largest of the
    statistics in units of their null spread, whose law the same signs give; or the most powerful one is chosen on a
    share of the rows and the others are tested.

    Args:
        x: the rows, (n, d), independent of each other (of a chain: thinned) and of the model.
        score: the gradient of the log density, a function of one point in JAX, or its values (n, d).
        kernel: `Imq()` or `GaussianKernel()`; without a bandwidth, the median distance.
        factors: multiples of the bandwidth, such as (0.25, 0.5, 1, 2, 4). Several at once reject too seldom where rows
            are few: (0.25, 1, 4) 3.5 % of 2,000 nulls of 100 rows (`make bench CASE=ksd`).
        tune: the share of rows (2,000 at most) spent on choosing among the factors; 0 to test all of them.
        support: both ends of each column, where the density need not vanish at one (see `charts`).
        block_size: rows of a block at least, 2 for linear time (which rejects too seldom where there are few: 3.4 % of
            nulls of 100 rows, 4.1 % of 400); None for as many as some seconds allow.
        num_signs: draws of the bootstrap; the least p-value is 1/(num_signs + 1).
        seed: of the signs, of the order of the rows and of the rows for the median.

    References:
        Liu, Lee & Jordan (2016), A kernelized Stein discrepancy for goodness-of-fit tests, ICML.
        Chwialkowski, Strathmann & Gretton (2016), A kernel test of goodness of fit, ICML.
        Jitkrittum, Xu, Szabo, Fukumizu & Gretton (2017), A linear-time kernel goodness-of-fit test, NeurIPS, Section 3
        (the bandwidth chosen on a share of the rows).
        Schrab, Guedj & Gretton (2022), KSD aggregated goodness-of-fit test, NeurIPS.
    """
    x = points("x", x)
    x, s = unbounded(x, scores_at(x, score), support)
    _validate.whole("num_signs", num_signs, 1)
    if not 0 <= tune < 1 or not len(factors):
        raise ValueError(f"`tune` must be in [0, 1) and `factors` hold one or more; got {tune!r} and {factors!r}.")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    x, s = x[order], s[order]
    kernels = [with_bandwidth(kernel, x, factor, rng) for factor in factors]
    if cut := min(int(tune * len(x)), MOST_TO_TUNE):
        spent, x, s = (x[:cut], s[:cut]), x[cut:], s[cut:]
        kernels = [max(kernels, key=lambda k: _power(k, *spent))]
    means, size = signed_means(kernels, x, s, num_signs, rng, block_size)
    spread = np.sqrt(np.mean(means[:, 1:] ** 2, axis=1))
    best = int(np.argmax(means[:, 0] / spread))
    p_value = share_above(np.max(means / spread[:, None], axis=0))
    bandwidth = kernels[best].bandwidth
    assert bandwidth is not None
    return KsdTest(float(means[best, 0]), p_value, float(spread[best]), bandwidth, len(x), size)


def scores_at(x: Floats, score: Callable | ArrayLike) -> Floats:
    """The score at each row, finite."""
    if callable(score):
        from ptilde.diagnostics.derivatives import at_rows

        score = at_rows(score, x)
    s = points("score", score)
    if s.shape != x.shape:
        raise ValueError(f"`score` must have a gradient of length {x.shape[1]} for each row; got {s.shape}.")
    return s


def share_above(statistics: Floats) -> float:
    """The p-value of the first statistic among all, itself counted."""
    return float(np.mean(statistics >= statistics[0] - 1e-12 * abs(statistics[0])))


def signed_means(
    kernels: Sequence[Kernel], x: Floats, s: Floats, num_signs: int, rng: np.random.Generator, block_size: int | None
) -> tuple[Floats, int]:
    """U of each kernel as it is, then under drawn signs, (kernel, 1 + num_signs), and the size of the blocks."""
    if block_size is None:
        block_size = int(PRODUCTS / (len(x) * num_signs * len(kernels)))
    num_blocks = len(x) // min(max(block_size, 2), len(x))
    size = len(x) // num_blocks
    x, s = (a[: num_blocks * size].reshape(num_blocks, size, -1) for a in (x, s))
    at_once = max(1, min(ENTRIES // size**2, 40 * ENTRIES // (size * (num_signs + 1))))
    total = np.zeros((len(kernels), num_signs + 1))
    for start in range(0, num_blocks, at_once):
        blocks = slice(start, start + at_once)
        signs = 1.0 - 2.0 * rng.integers(0, 2, (len(x[blocks]), num_signs + 1, size), dtype=np.int8)
        signs[:, 0] = 1.0
        for i, kernel in enumerate(kernels):
            rows = lambda part, k=kernel, x=x[blocks], s=s[blocks]: stein(k, x[:, part], s[:, part], x, s)  # noqa: E731
            total[i] += forms(rows, signs)[0] - np.sum(stein_diagonal(kernel, s[blocks]))
    return total / (num_blocks * size * (size - 1)), size


def _power(kernel: Kernel, x: Floats, s: Floats) -> float:
    """U over its standard deviation under the alternative, which a test's power rises with."""
    num = len(x)
    _, sums = forms(lambda part: stein(kernel, x[part], s[part], x, s), np.ones((1, num)))
    others = (sums - stein_diagonal(kernel, s)) / (num - 1)
    return float(others.mean() / (2 * others.std() + 1e-8))
