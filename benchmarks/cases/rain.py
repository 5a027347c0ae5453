"""Rain at 40 Australian stations: 2,051 days, 37 % to 90 % of them dry, recorded in steps of 0.2 mm.

The table is no part of the project: rain_aus_wide.parquet, a column a station, from the Australian Bureau of
Meteorology by way of the R package rattle.data. Peers' draws are rounded to the grid.
"""

import pyarrow.parquet as pq

from benchmarks import tables
from benchmarks.harness import Floor, Options, shared_table

METRICS = tables.METRICS
FLOORS: list[Floor] = []


def measure(seed: int, options: Options, picture) -> dict:
    table = pq.read_table(shared_table("rain_aus_wide.parquet"))
    stations = [name for name in table.column_names if name != "Date"]
    parts = tables.split(table, stations, seed)
    return tables.measure(parts, seed, options, picture, ode_rows=200, step=0.2)
