"""Red wine (UCI): 1,599 rows of physical and chemical measurements; ours beside flows in the same time."""

from benchmarks import continuous

METRICS, FLOORS, notes, measure = continuous.case("redwine")
