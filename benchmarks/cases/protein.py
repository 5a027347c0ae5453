"""Protein structure (UCI): 45,730 rows, columns nearly determined by each other; ours beside flows in the same time."""

from benchmarks import continuous

METRICS, FLOORS, notes, measure = continuous.case("protein")
