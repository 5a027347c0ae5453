"""How far one table lies from another, or from a density: plain numbers, each with its uncertainty.

Arrays go in, and a number with its standard error, an interval or a p-value comes out; no model is needed, only its
draws, its score or its cumulative distribution function. The measures look at different faults, so that no fault hides
from all of them:

| | |
|---|---|
| the whole law, by the score | `ksd_test`, `mixed_ksd_test` on atoms and bodies, `fisher_divergence` |
| the whole law, by draws | `two_sample_auc`, `mmd_test`, `sliced_wasserstein` |
| one column | `wasserstein`, `atom_shares`, `pit`, `pit_among`, `quantile_residuals`, `uniformity_test` |
| its tail | `tail_quantiles`, `q99_ratio`, `mean_excess`, `hill` |
| columns together | `compare_correlations`, `tail_dependence` |
| atoms together | `pattern_test`, `pattern_fit_test`, `pattern_total_variation`, `pair_patterns` |
| single rows | `closest_records`, `near_records`, `exact_copies` |
| estimators and samplers | `simulation_calibration`, `coverage` |

A table is a 2-D array, or a mapping from column name to a 1-D array (numbers with NaN for missing, or objects).
A distance between two finite samples is never 0 even when the laws agree, so every one of them should be read beside
its floor: the same distance between two samples of real rows. `beside_floor` gives both for one measure, `compare` for
several.
"""

from ptilde.diagnostics.calibration import pit, pit_among, quantile_residuals, uniformity_test
from ptilde.diagnostics.classifier import two_sample_auc
from ptilde.diagnostics.comparison import Comparison, compare
from ptilde.diagnostics.dependence import compare_correlations, kendall, spearman, tail_dependence
from ptilde.diagnostics.fisher import fisher_difference, fisher_divergence
from ptilde.diagnostics.kernels import GaussianKernel, Imq
from ptilde.diagnostics.ksd import KsdTest, ksd_test
from ptilde.diagnostics.mixed import MixedTest, mixed_ksd_test
from ptilde.diagnostics.mmd import MmdTest, mmd_test
from ptilde.diagnostics.patterns import (
    atom_shares,
    atom_states,
    pair_patterns,
    pattern_fit_test,
    pattern_test,
    pattern_total_variation,
)
from ptilde.diagnostics.privacy import closest_records, exact_copies, near_records
from ptilde.diagnostics.results import Bounded, Estimate, Floored, Test, beside_floor
from ptilde.diagnostics.simulation import coverage, ranks_among, simulation_calibration
from ptilde.diagnostics.tails import hill, mean_excess, q99_ratio, tail_quantiles
from ptilde.diagnostics.transport import column_wasserstein, sliced_wasserstein, wasserstein

__all__ = [
    "Bounded",
    "Comparison",
    "Estimate",
    "Floored",
    "GaussianKernel",
    "Imq",
    "KsdTest",
    "MixedTest",
    "MmdTest",
    "Test",
    "atom_shares",
    "atom_states",
    "beside_floor",
    "closest_records",
    "column_wasserstein",
    "compare",
    "compare_correlations",
    "coverage",
    "exact_copies",
    "fisher_difference",
    "fisher_divergence",
    "hill",
    "kendall",
    "ksd_test",
    "mean_excess",
    "mixed_ksd_test",
    "mmd_test",
    "near_records",
    "pair_patterns",
    "pattern_fit_test",
    "pattern_test",
    "pattern_total_variation",
    "pit",
    "pit_among",
    "q99_ratio",
    "quantile_residuals",
    "ranks_among",
    "simulation_calibration",
    "sliced_wasserstein",
    "spearman",
    "tail_dependence",
    "tail_quantiles",
    "two_sample_auc",
    "uniformity_test",
    "wasserstein",
]
