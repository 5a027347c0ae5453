"""Rain at 40 Australian stations: 2,051 days, 37 % to 90 % of them dry, recorded in steps of 0.2 mm.

The table is no part of the project: rain_aus_wide.parquet, a column a station, from the Australian Bureau of
Meteorology by way of the R package rattle.data. Peers' draws are rounded to the grid, except generators' as they come.

Amounts are compared given which stations are wet, as probabilities of the recorded values, so that nobody gains by a
spike on a tie. Ours is (log density - log P(pattern)) + log step a wet station - log Z, so that surplus mass flatters
nobody either; the kernel densities are integrated over each value's cell. Both take the steps that schema inference
found, station by station: the kernel densities the finest.
"""

import itertools

import numpy as np
import pyarrow.parquet as pq
from scipy.special import logsumexp

from benchmarks import tables
from benchmarks.harness import OURS, Floor, Options, Rows, shared_table
from benchmarks.peers.simple import KernelCells
from ptilde.tabular.levels import levels, steps_of

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
        kinds = [model.schema_.columns[name] for name in stations]
        if any(kind.atoms != (0.0,) or not kind.grid for kind in kinds):
            raise SystemExit(f"Every station must have the atom 0 and a grid; got\n{model.schema_}")
        test = parts.frame(parts.test)
        grids = [steps_of(kind.grid) for kind in kinds]
        step = np.stack([np.array(g)[levels(x, g)] for x, g in zip(parts.test.T, grids, strict=True)], axis=1)
        known = np.where(parts.test > 0, np.log(step), 0.0).sum(1) - _log_pattern(model, test)
        alone = KernelCells().fit(parts.train, np.array([g[-1] for g in grids]), seed).log_prob(parts.test)
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


def _log_pattern(model, test) -> np.ndarray:
    """(n,) log probability of which stations are wet: a sum over the steps that their amounts may be recorded in."""
    state = model._rows(test)[1].state  # no public name gives a part of the density
    columns = model._encoder.choosing
    body = np.array([column.body_token for column in columns])
    wet, ways = state >= body, []
    for level in map(np.array, itertools.product(*(range(len(column.body.levels)) for column in columns))):
        way = model._joint.log_states(np.where(wet, body + level, state).astype(np.int32))
        ways.append(np.where(np.any(~wet & (level > 0), axis=1), -np.inf, way))
    return logsumexp(ways, axis=0)
