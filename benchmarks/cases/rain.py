"""Rain at 40 Australian stations: 2,051 days, 37 % to 90 % of them dry, recorded in steps of 0.2 mm.

The table is no part of the project: rain_aus_wide.parquet, a column a station, from the Australian Bureau of
Meteorology by way of the R package rattle.data. Peers' draws are rounded to the grid, except generators' as they come.

Amounts are compared given which stations are wet, as probabilities of the recorded values, so that nobody gains by a
spike on a tie. Ours is (log density - log P(pattern)) + log step a wet station - log Z, so that surplus mass flatters
nobody either; the kernel densities are integrated over each value's cell. Both take the steps that schema inference
found, station by station.
"""

import numpy as np
import pyarrow.parquet as pq

from benchmarks import tables
from benchmarks.harness import OURS, Floor, Options, Rows, shared_table
from benchmarks.peers.simple import KernelCells

METRICS = tables.METRICS | {
    "amounts": "mean held-out log probability of a row's amounts, given which are positive; ours less log Z",
    "amounts over": f"that of ours less that of {KernelCells.name}",
    "ODE over": "the same with the density of the probability-flow ODE, which needs no log Z, on the first rows",
}
FLOORS = [
    tables.auc_floor(0.10),
    Floor("amounts above independent kernel densities", lambda m: m[OURS]["amounts over"], lambda value: value > 0),
]
NUM_ODE = 200
notes = tables.notes


def measure(seed: int, options: Options, picture) -> Rows:
    table = pq.read_table(shared_table("rain_aus_wide.parquet"))
    stations = [name for name in table.column_names if name != "Date"]
    parts = tables.split(table, stations, seed)
    kernels: dict[str, float] = {}

    def amounts(parts, model, draws) -> dict[str, float]:
        if any(kind.atoms != (0.0,) or not kind.grid for kind in model.schema_.columns.values()):
            raise SystemExit(f"Every station must have the atom 0 and a grid; got\n{model.schema_}")
        test = parts.frame(parts.test)
        log_step = np.log([model.schema_.columns[name].grid for name in stations])
        pattern = model._joint._log_states(model._rows(test)[1].state)  # no public name gives a part of the density
        known = (parts.test > 0) @ log_step - pattern
        alone = KernelCells().fit(parts.train, np.exp(log_step), seed).log_prob(parts.test)
        density = np.asarray(model.score_samples(test))
        inside = np.flatnonzero(np.isfinite(density))
        few = inside[:NUM_ODE]
        by_ode = np.asarray(model.score_samples(test.take(few), method="ode"))
        kernels["amounts"] = float(alone[inside].mean())
        return {
            "amounts": float((density + known)[inside].mean()),
            "ODE over": float((by_ode + known[few] - alone[few]).mean()),
        }

    rows = tables.measure(parts, seed, options, picture, ode_rows=NUM_ODE, step=0.2, more=amounts)
    rows[OURS]["amounts"] -= rows[OURS]["log Z"]
    rows[OURS]["amounts over"] = rows[OURS]["amounts"] - kernels["amounts"]
    return rows | {KernelCells.name: kernels}
