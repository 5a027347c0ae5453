"""The table that ships is the experiment's."""

import numpy as np
import pyarrow as pa
import pytest

from ptilde import DataError
from ptilde.datasets import load_randhie, spending


def test_spending_columns_come_first_with_the_shares_of_zeros_of_the_experiment():
    table = load_randhie()
    assert (table.num_rows, tuple(table.column_names[:5])) == (20_190, spending)
    zeros = [float(np.mean(table[name].to_numpy() == 0)) for name in spending]
    np.testing.assert_allclose(zeros, [0.25547, 0.46518, 0.78519, 0.96602, 0.90971], atol=1e-5)


def test_amounts_are_the_recorded_single_precision_numbers():
    for name in spending:
        amounts = load_randhie([name])[name].to_numpy()
        np.testing.assert_array_equal(amounts, amounts.astype(np.float32))
    # Means of the package's own table, and one amount as it prints it.
    means = [load_randhie([name])[name].to_numpy().mean() for name in spending]
    np.testing.assert_allclose(means, [51.126493, 13.168700, 6.802400, 6.870347, 100.469410], rtol=1e-6)
    assert np.abs(load_randhie()["outpdol"].to_numpy() - 48.7870635986328).min() < 1e-12


def test_only_the_schooling_of_four_heads_is_missing():
    table = load_randhie()
    assert {name: table[name].null_count for name in table.column_names if table[name].null_count} == {"educdec": 4}
    assert set(table.schema.types) == {pa.float64(), pa.int64()}


def test_columns_come_in_the_order_asked_for_and_a_wrong_name_is_refused():
    assert load_randhie(["year", "inpdol"]).column_names == ["year", "inpdol"]
    with pytest.raises(DataError, match="'zper', which RAND HIE does not have; it has .'outpdol'"):
        load_randhie(["zper"])
