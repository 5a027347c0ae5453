"""Real rows against draws of a model, each distance beside the floor that real rows reach among themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ptilde.diagnostics.classifier import two_sample_auc
from ptilde.diagnostics.patterns import atom_shares, atom_states, pattern_total_variation
from ptilde.diagnostics.results import Bounded, Estimate
from ptilde.diagnostics.tables import Columns, matrix
from ptilde.diagnostics.tails import q99_ratio, tail_quantiles
from ptilde.diagnostics.transport import wasserstein


@dataclass(frozen=True)
class Comparison:
    """Real rows against draws of a model; each distance has beside it the floor that real rows reach."""

    auc: Estimate
    auc_floor: Estimate
    atoms: dict[str, dict[float, tuple[Estimate, Estimate]]]  # column, atom: share in the real rows, in the draws
    tails: dict[str, dict[float, tuple[Bounded, Bounded]]]  # column, level: quantile in the real rows, in the draws
    distances: dict[str, tuple[float, float]]  # column: Wasserstein distance to the draws, and its floor
    pattern: Estimate | None = None
    pattern_floor: Estimate | None = None
    row_sum: Estimate | None = None


def compare(
    train: Columns,
    test: Columns,
    draws: Columns,
    *,
    atoms: Mapping[str, Sequence[float]],
    quantiles: Sequence[float] = (0.5, 0.9, 0.99),
    seed: int = 0,
) -> Comparison:
    """Hold draws of a model against held-out rows, and the rows it was fitted on against the same for the floors.

    Args:
        train: name to column: the rows that the model was fitted on.
        test: the held-out rows, with the same names.
        draws: the model's rows, with the same names.
        atoms: for each column that has some, its atoms; their joint pattern is compared too.
        quantiles: the levels of the quantiles that are compared.
        seed: of the classifiers and the bootstrap.
    """
    numbers = [name for name, column in test.items() if np.asarray(column).dtype.kind in "iuf"]
    real = {name: np.concatenate([train[name], test[name]]) for name in test}
    states = [atom_states(table, atoms) for table in (train, test, draws)]
    return Comparison(
        auc=two_sample_auc(test, draws, seed=seed),
        auc_floor=two_sample_auc(test, train, seed=seed),
        atoms={n: _beside(atom_shares(real[n], values), atom_shares(draws[n], values)) for n, values in atoms.items()},
        tails={n: _beside(tail_quantiles(real[n], quantiles), tail_quantiles(draws[n], quantiles)) for n in numbers},
        distances={n: (wasserstein(test[n], draws[n]), wasserstein(test[n], train[n])) for n in numbers},
        pattern=pattern_total_variation(states[1], states[2], seed=seed) if atoms else None,
        pattern_floor=pattern_total_variation(states[1], states[0], seed=seed) if atoms else None,
        row_sum=q99_ratio(matrix(real, numbers), matrix(draws, numbers), seed=seed) if numbers else None,
    )


def _beside(real: Mapping, model: Mapping) -> dict:
    return {key: (value, model[key]) for key, value in real.items()}
