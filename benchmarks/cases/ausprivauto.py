"""Motor policies: claim amount (93 % zero, a deductible of 200), exposure, and value of the car; 67,856 rows.

The table is no part of the project: ausprivauto0405.parquet, from the R package CASdatasets (de Jong & Heller, 2008).
The peers know no atom but zero, so that their log density is not comparable on the rows that sit on another.
"""

import numpy as np
import pyarrow.parquet as pq

from benchmarks import tables
from benchmarks.harness import OURS, Floor, Options, shared_table
from ptilde.diagnostics import atom_shares

CLAIM, ATOMS = "ClaimAmount", (200.0, 353.77, 389.95, 390.0)
METRICS = tables.METRICS | {
    "atoms found": f"how many of {', '.join(f'{a:g}' for a in ATOMS)} schema inference found in {CLAIM}",
    "atoms off": f"largest distance of the share of 0 or one of them among {tables.NUM_DRAWS:,} draws from training",
}
FLOORS = [
    tables.auc_floor(0.02),
    Floor("all four atoms found", lambda m: m[OURS]["atoms found"], lambda value: value == len(ATOMS)),
    Floor("each atom's share within 0.003 of training", lambda m: m[OURS]["atoms off"], lambda value: value <= 0.003),
]
notes = tables.notes


def measure(seed: int, options: Options, picture) -> dict:
    table = pq.read_table(shared_table("ausprivauto0405.parquet"))
    parts = tables.split(table, (CLAIM, "Exposure", "VehValue"), seed)
    return tables.measure(parts, seed, options, picture, ode_rows=200, more=_atoms)


def _atoms(parts: tables.Split, model, draws: np.ndarray) -> dict[str, float]:
    found = getattr(model.schema_.columns[CLAIM], "atoms", ())
    drawn, fitted = (atom_shares(rows[:, parts.names.index(CLAIM)], (0.0, *ATOMS)) for rows in (draws, parts.train))
    return {
        "atoms found": float(sum(np.isclose(found, atom).any() for atom in ATOMS)),
        "atoms off": max(abs(drawn[atom].value - fitted[atom].value) for atom in fitted),
    }
