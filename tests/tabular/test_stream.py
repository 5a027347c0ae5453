"""A table on disk is the same table in whatever stretches it is read, and a sample of it the same sample."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import kstest

from ptilde import DataError, Schema, Stream
from ptilde.tabular import stream as streams
from ptilde.tabular import subsample as subsamples
from ptilde.tabular.reader import read_table, write_table
from ptilde.tabular.subsample import subsample

rng = np.random.default_rng(0)
N = 5_000
TABLE = pa.table(
    {
        "claim": np.where(rng.random(N) < 0.7, 0.0, np.round(rng.gamma(2, 100, N), 2)),
        "count": rng.poisson(2.0, N),
        "town": pa.array(rng.choice(["north", "south"], N)).dictionary_encode(),
        "note": pa.array([None if i % 7 == 0 else "x" for i in range(N)]),
    }
)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(streams, "BLOCK", 700)
    monkeypatch.setattr(streams, "_CSV_BLOCK", 9_000)
    monkeypatch.setattr(streams, "SMALL", 0)


def written(how, tmp_path):
    if how == "csv":
        write_table(TABLE, tmp_path / "t.csv")
        return tmp_path / "t.csv"
    if how == "parquet":
        pq.write_table(TABLE, tmp_path / "t.parquet", row_group_size=900)
        return tmp_path / "t.parquet"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "_job.json").write_text("none of the table")
    for i, start in enumerate(range(0, N, 1_300)):
        part = TABLE.slice(start, 1_300)
        pq.write_table(part.select(part.column_names[:: -1 if i == 1 else 1]), folder / f"{i}.parquet")
    return folder


HOW = pytest.mark.parametrize("how", ["csv", "parquet", "folder"])


@HOW
@pytest.mark.parametrize("start", [0, 1, 1_299, 1_300, 4_999, 5_000])
def test_blocks_from_any_row_on_are_the_rows_of_the_table(how, start, tmp_path, small_blocks):
    path = written(how, tmp_path)
    stream, whole = Stream(path), read_table(path) if how == "csv" else TABLE
    assert stream.num_rows == N and stream.column_names == TABLE.column_names
    blocks = list(stream.blocks(start))
    assert len(blocks) > (N - start) / 1_300 - 1
    assert pa.concat_tables([stream.schema.empty_table(), *blocks]).to_pydict() == whole.slice(start).to_pydict()
    assert stream.schema.types == whole.schema.types


@HOW
def test_parts_have_the_size_that_is_asked_for(how, tmp_path, small_blocks):
    stream = Stream(written(how, tmp_path))
    parts = list(stream.parts(1_000, 2_000))
    assert [(start, part.num_rows) for start, part in parts] == [(2_000, 1_000), (3_000, 1_000), (4_000, 1_000)]
    assert parts[1][1].to_pydict() == TABLE.slice(3_000, 1_000).to_pydict()
    assert [part.num_rows for _, part in stream.parts(N - 1)] == [N - 1, 1]
    assert stream.rows(1_234, 1_999).to_pydict() == TABLE.slice(1_234, 765).to_pydict()


def test_text_in_views_is_text(tmp_path, small_blocks):
    viewed = TABLE.set_column(3, "note", TABLE["note"].cast(pa.string_view()))
    pq.write_table(viewed, tmp_path / "t.parquet")
    sample = subsample(Stream(tmp_path / "t.parquet"), 100)
    assert sample.table.to_pydict() == TABLE.take(sample.row).to_pydict()


def test_text_that_is_not_utf_8_is_refused_in_words(tmp_path, small_blocks):
    bad = pa.array([b"caf\xe9"] * 3, pa.binary()).view(pa.string())
    pq.write_table(pa.table({"a": bad, "b": [1.0, 2.0, 3.0]}), tmp_path / "t.parquet")
    for read in (read_table, lambda path: list(Stream(path).blocks())):
        with pytest.raises(DataError, match="damaged or cut off: .*UTF8"):
            read(tmp_path / "t.parquet")


LATE = {
    "a decimal after whole numbers": (["1"] * 900 + ["2.5"] * 100, pa.float64()),
    "numbers after empty cells": ([""] * 900 + ["3"] * 100, pa.int64()),
    "decimals after empty cells": ([""] * 900 + ["3.5"] * 100, pa.float64()),
    "a word after numbers": (["1"] * 999 + ["x"], pa.string()),
}


@pytest.mark.parametrize(("cells", "kind"), LATE.values(), ids=LATE)
def test_types_of_a_csv_file_are_those_of_all_of_it(cells, kind, tmp_path, small_blocks, monkeypatch):
    monkeypatch.setattr(streams, "_CSV_BLOCK", 500)
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))
    stream, whole = Stream(tmp_path / "t.csv"), read_table(tmp_path / "t.csv")
    assert stream.schema.field("b").type == kind == whole.schema.field("b").type
    assert pa.concat_tables(stream.blocks()).to_pydict() == whole.to_pydict()


def test_what_is_no_table_is_refused_in_words(tmp_path, small_blocks):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(DataError, match="must hold Parquet files; got none"):
        Stream(folder)
    pq.write_table(TABLE, folder / "0.parquet")
    pq.write_table(TABLE.drop_columns("note"), folder / "1.parquet")
    with pytest.raises(
        DataError, match=r"same columns; got 'note': string in '0.parquet', no such column in '1.parquet'"
    ):
        Stream(folder)
    (folder / "1.parquet").write_bytes((folder / "0.parquet").read_bytes()[:-50])
    with pytest.raises(DataError, match=r"1.parquet' starts like a Parquet file but is damaged"):
        Stream(folder)
    (folder / "1.parquet").rename(folder / "1.csv")
    with pytest.raises(DataError, match="must hold Parquet files only; got '1.csv'"):
        Stream(folder)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match="as many fields in every line as in its header, 2; got 1 in line 3"):
        Stream(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="at least one row"):
        Stream(tmp_path / "t.csv")


def test_the_middle_of_a_damaged_file_is_refused_in_words(tmp_path, small_blocks):
    path = written("parquet", tmp_path)
    whole = bytearray(path.read_bytes())
    whole[2_000:4_000] = bytes(2_000)
    path.write_bytes(whole)
    with pytest.raises(DataError, match="damaged or cut off"):
        list(Stream(path).blocks())


def test_a_sample_hangs_on_the_seed_alone_and_not_on_how_the_table_is_cut(tmp_path, small_blocks, monkeypatch):
    found = {how: subsample(Stream(written(how, tmp_path)), 500, seed=3) for how in ("csv", "parquet", "folder")}
    monkeypatch.setattr(streams, "BLOCK", 64)
    found["finer"] = subsample(Stream(tmp_path / "folder"), 500, seed=3)
    for sample in found.values():
        np.testing.assert_array_equal(sample.row, found["parquet"].row)
        assert sample.table.to_pydict() == TABLE.take(sample.row).to_pydict()
    assert not np.array_equal(subsample(Stream(tmp_path / "folder"), 500, seed=4).row, found["parquet"].row)


def test_rows_are_drawn_evenly_and_stand_for_all(tmp_path, small_blocks):
    stream = Stream(written("parquet", tmp_path))
    size, draws = 500, 200
    often = np.zeros(N)
    for seed in range(draws):
        sample = subsample(stream, size, seed)
        assert sample.weight.sum() == pytest.approx(N) and sample.num_rows == N
        often[sample.row[sample.weight > 1]] += 1
    # each row is in a tenth of the samples, but for the few witnesses, which are in all of them
    deviation = (often[often > 0] - draws / 10) / np.sqrt(draws * 0.1 * 0.9)
    assert (often == 0).sum() <= 8 and kstest(deviation, "norm").statistic < 0.08
    assert abs(np.corrcoef(often, np.arange(N))[0, 1]) < 0.05


def test_a_sample_holds_what_is_rare(tmp_path, small_blocks):
    x = rng.normal(size=N)
    x[1_234], x[4_321] = -50.0, 60.0
    town = np.array(["often"] * N, object)
    town[77], town[88] = "once", None
    whole = np.arange(N) % 3 + 1.0
    whole[5] = np.nan
    pq.write_table(
        pa.table({"x": x, "town": pa.array(town), "whole": whole}), tmp_path / "t.parquet", row_group_size=800
    )
    sample = subsample(Stream(tmp_path / "t.parquet"), 300)
    assert {1_234, 4_321, 77, 88} <= set(sample.row.tolist()) and len(sample.row) <= 310
    assert sample.weight[np.isin(sample.row, [1_234, 4_321, 77, 88])].tolist() == [1.0] * 4
    schema = Schema.infer(sample.table, sample.weight)
    assert set(schema.columns["town"].categories) == {"often", "once"} and schema.columns["town"].missing


def test_a_table_that_fits_is_taken_whole(tmp_path, small_blocks):
    sample = subsample(Stream(written("folder", tmp_path)), N)
    assert sample.table.to_pydict() == TABLE.to_pydict() and np.all(sample.weight == 1)


def test_errors_name_the_row_of_the_stream(tmp_path, small_blocks):
    x = rng.normal(size=N)
    x[4_000] = np.inf
    pq.write_table(pa.table({"x": x, "y": rng.normal(size=N)}), tmp_path / "t.parquet")
    sample = subsample(Stream(tmp_path / "t.parquet"), 300)
    with pytest.raises(DataError, match="got inf in row 4000"), sample.numbered():
        Schema.infer(sample.table)
    assert subsamples.SIZE > N
