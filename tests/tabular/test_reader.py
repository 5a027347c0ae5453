"""Files in and out: what is read, what is refused, and that a failed write leaves nothing."""

import os

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ptilde._validate import DataError
from ptilde.tabular import reader
from ptilde.tabular.reader import read_table, write_table

READ = {
    "plain": (b"a,b\n1,2\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
    "byte order mark": (b"\xef\xbb\xbfa,b\n1,2\n", {"a": [1], "b": [2]}),
    "Windows line ends": (b"a,b\r\n1,2\r\n", {"a": [1], "b": [2]}),
    "semicolons and decimal commas": (b"a;b\n1,5;x\n-,25;y\n", {"a": [1.5, -0.25], "b": ["x", "y"]}),
    "semicolons and decimal points": (b"a;b\n1.5;x\n2.5;y,z\n", {"a": [1.5, 2.5], "b": ["x", "y,z"]}),
    "tabs": (b"a\tb\n1\tx y\n", {"a": [1], "b": ["x y"]}),
    "one column": (b"a\n1\n2\n", {"a": [1, 2]}),
    "quotes": (b'a,b\n"x,y",2\n"z ""q""\nw",3\n', {"a": ["x,y", 'z "q"\nw'], "b": [2, 3]}),
    "blank lines": (b"\n\na,b\n\n1,2\n\n3,4\n\n", {"a": [1, 3], "b": [2, 4]}),
    "missing": (b"a,b\n1,x\n,NA\nNaN,null\n4,\n", {"a": [1, None, None, 4], "b": ["x", None, None, None]}),
    "odd names": (b'<script>,"a.b",\xc3\xa9\n1,2,3\n', {"<script>": [1], "a.b": [2], "é": [3]}),
    "a word in a late row": (b"a\n" + b"1\n" * 300_000 + b"x\n", {"a": ["1"] * 300_000 + ["x"]}),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_as_it_was_meant(tmp_path, name):
    content, expected = READ[name]
    (tmp_path / "t.csv").write_bytes(content)
    assert read_table(tmp_path / "t.csv").to_pydict() == expected


FIELDS = (
    "must have as many fields in every line as in its header, 2; got {} in line {}. "
    "Quote fields that hold the separator ','."
)
LATIN = (
    "must be UTF-8 text; got byte 0xe9 in line {}. "
    "It may be Latin-1: save it as UTF-8, or run `iconv -f latin1 -t utf-8`."
)
REFUSED = {
    "empty": (b"", "must hold a header and rows; got an empty file."),
    "blank": (b"\n \n", "must hold a header and rows; got an empty file."),
    "header only": (b"a,b\n", "must hold at least one row; got only a header: a, b."),
    "short line": (b"a,b\n1,2\n3\n", FIELDS.format(1, 3)),
    "long line": (b"a,b\n1,2\n3,4,5\n", FIELDS.format(3, 3)),
    "long line far down": (b"a,b\n" + b"1,2\n" * 100_000 + b"1,2,3\n", FIELDS.format(3, 100_002)),
    "two of a name": (b"a,b,a\n1,2,3\n", "must have distinct column names; got 'a' twice. Rename one."),
    "zero bytes": (b"a,b\n1,\x002\n", "must be CSV or Parquet; got binary data (byte 0x00 in line 2)."),
    "a picture": (b"\x89PNG\r\n\x1a\n1234", "must be CSV or Parquet; got binary data (byte 0x1a in line 2)."),
    "Latin-1": (b"a,b\n1,\xe9\n", LATIN.format(2)),
    "Latin-1 far down": (b"a,b\n" + b"1,x\n" * 100_000 + b"1,\xe9\n", LATIN.format(100_002)),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "must be UTF-8 text; it is UTF-16. Save it as UTF-8."),
    "cut Parquet": (
        b"PAR1abcdefgh",
        "starts like a Parquet file but is damaged or cut off: Parquet magic bytes not found in footer. "
        "Either the file is corrupted or this is not a parquet file.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_table_is_refused_in_one_sentence(tmp_path, name):
    content, message = REFUSED[name]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as refusal:
        read_table(path)
    assert str(refusal.value) == f"{str(path)!r} {message}"


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="got a directory. Name the file in it"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="there is no such file. Check the path"):
        read_table(tmp_path / "none.csv")


def test_parquet_is_known_by_its_content_and_loses_the_index(tmp_path):
    frame = pd.DataFrame({"a": [1.5, None]}, index=[7, 9])
    frame.to_parquet(tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv").to_pydict() == {"a": [1.5, None]}


TABLES = {
    "pandas": pd.DataFrame({"a": [1, 2], "c": pd.Categorical(["x", "y"]), "<s>": [0.1, None]}),
    "polars": pl.DataFrame({"a": [1, 2], "c": ["x", "y"], "<s>": [0.1, None]}),
    "pyarrow": pa.table({"a": [1, 2], "c": ["x", "y"], "<s>": [0.1, None]}),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".CSV"])
@pytest.mark.parametrize("library", TABLES)
def test_what_is_written_is_read_again(tmp_path, library, suffix):
    write_table(TABLES[library], tmp_path / f"t{suffix}")
    assert read_table(tmp_path / f"t{suffix}").to_pydict() == {"a": [1, 2], "c": ["x", "y"], "<s>": [0.1, None]}
    assert os.listdir(tmp_path) == [f"t{suffix}"]


def test_floats_survive_csv_exactly(tmp_path):
    values = np.random.default_rng(0).lognormal(0, 20, 1000)
    write_table(pd.DataFrame({"a": values}), tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv")["a"].to_pylist() == values.tolist()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"t{suffix}"
    write_table(TABLES["pyarrow"], path)
    old = path.read_bytes()

    def interrupted(file, schema):
        with open(file, "wb") as handle:
            handle.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(reader.pyarrow.csv, "CSVWriter", interrupted)
    monkeypatch.setattr(pq, "ParquetWriter", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_table(TABLES["pyarrow"], path)
    assert path.read_bytes() == old and os.listdir(tmp_path) == [path.name]


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"must end in \.csv or \.parquet; got '.*t\.xls'"):
        write_table(TABLES["pyarrow"], tmp_path / "t.xls")
    with pytest.raises(DataError, match="cannot write .*: the folder .* does not exist"):
        write_table(TABLES["pyarrow"], tmp_path / "none" / "t.csv")
