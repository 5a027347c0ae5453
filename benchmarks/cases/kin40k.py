"""Kin40k: 40,000 rows, a noise-free function of eight inputs in a box; ours beside flows in the same time."""

from benchmarks import continuous

METRICS, FLOORS, notes, measure = continuous.case("kin40k")
