"""Motor policies: claim amount (93 % zero, a deductible of 200), exposure, and value of the car; 67,856 rows.

The table is no part of the project: ausprivauto0405.parquet, from the R package CASdatasets (de Jong & Heller, 2008).
The peers know no atom but zero, so that their log density is not comparable on the rows that sit on another.
"""

import pyarrow.parquet as pq

from benchmarks import tables
from benchmarks.harness import Floor, Options, shared_table

METRICS = tables.METRICS
FLOORS: list[Floor] = []


def measure(seed: int, options: Options, picture) -> dict:
    table = pq.read_table(shared_table("ausprivauto0405.parquet"))
    parts = tables.split(table, ("ClaimAmount", "Exposure", "VehValue"), seed)
    return tables.measure(parts, seed, options, picture, ode_rows=200)
