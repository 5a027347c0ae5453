"""Parkinson's telemonitoring (UCI): 5,875 rows of voice measurements; ours beside flows in the same time."""

from benchmarks import continuous

METRICS, FLOORS, notes, measure = continuous.case("parkinsons")
