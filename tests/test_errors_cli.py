"""Bad input: the right answer, or one clear message that names what, where and the cure; never a traceback.

Each case is a file as a person might have it, a command, and the words that go to stderr (golden: the whole line). Exit
code 2, nothing on stdout, nothing written.
"""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import small_fit

import ptilde
from ptilde import DataError, ModelFileError
from ptilde.cli.errors import run
from ptilde.tabular.reader import read_table, write_table

rng = np.random.default_rng(0)
GOOD = "a,b\n" + "".join(f"{x:.4f},{y:.4f}\n" for x, y in rng.lognormal(size=(60, 2)))
FIRST = min(line.split(",")[0] for line in GOOD.split()[1:])
DAYS = "day,b\n" + "".join(f"2024-01-{i % 28 + 1:02d},{x:.4f}\n" for i, x in enumerate(rng.normal(size=60)))
IDS = "id,b\n" + "".join(f"{2**53 + 2 * i + 1},{x:.4f}\n" for i, x in enumerate(rng.normal(size=60)))
CONSTANT = "The table must have at least one column whose values vary; got "


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(content, name="t.csv"):
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def refused(capsys, *command):
    """The words of a command that must refuse; what lies in the folder must not change."""
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert run(command) == 2
    out, err = capsys.readouterr()
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
    assert out == "" and "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("ptilde: ")
    return last.removeprefix("ptilde: ")


UNREADABLE = {
    "empty file": ("", "'t.csv' must hold a header and rows; got an empty file."),
    "no rows": ("a,b\n", "'t.csv' must hold at least one row; got only a header: a, b."),
    "duplicate names": ("a,b,a\n1,2,3\n", "'t.csv' must have distinct column names; got 'a' twice. Rename one."),
    "binary file": (
        bytes(range(256)),
        "'t.csv' must be CSV or Parquet; got binary data (byte 0x00 in line 1).",
    ),
    "ragged lines": (
        GOOD + "1,2,3\n",
        "'t.csv' must have as many fields in every line as in its header, 2; got 3 in line 62. "
        "Quote fields that hold the separator ','.",
    ),
    "latin-1 text": (
        "a,b\n1,caf\xe9\n".encode("latin-1"),
        "'t.csv' must be UTF-8 text; got byte 0xe9 in line 2. It may be Latin-1: save it as UTF-8, "
        "or run `iconv -f latin1 -t utf-8`.",
    ),
}
UNFIT = {
    "one row": (
        "a,b\n1.5,2\n",
        f"{CONSTANT}'a' is constant: always 1.5; 'b' is constant: always 2. "
        "A single row (n_samples=1, one sample) has no law to learn.",
    ),
    "all zero": ("a\n" + "0\n" * 50, f"{CONSTANT}'a' is constant: always 0."),
    "infinite": (
        GOOD + "inf,1\n",
        "Column 'a' must hold finite numbers; got inf in row 60. "
        "Leave the cell empty if the value is missing, or replace it.",
    ),
    "dates": (
        DAYS,
        "Column 'day' must hold numbers, text or booleans; got a date in row 0. "
        "Turn dates into numbers, such as days since the first one, or drop the column.",
    ),
    "mixed types": (
        GOOD + "hello,1\n",
        f"Column 'a' must hold one type of value; got 'hello' in row 60 among numbers such as {FIRST!r}. "
        "Replace it by a number or an empty cell.",
    ),
}


@pytest.mark.parametrize("command", [("schema", "t.csv"), ("fit", "t.csv", "-o", "m.ptilde")], ids=["schema", "fit"])
@pytest.mark.parametrize(("content", "message"), (UNREADABLE | UNFIT).values(), ids=UNREADABLE | UNFIT)
def test_a_table_that_cannot_be_used_is_refused_in_a_line(content, message, command, capsys):
    put(content)
    assert refused(capsys, *command) == message


@pytest.mark.parametrize(("content", "message"), UNFIT.values(), ids=UNFIT)
def test_python_says_the_same_words(content, message):
    put(content)
    with pytest.raises(DataError) as caught:
        ptilde.ScoreDensity().fit(read_table("t.csv"))
    assert str(caught.value) == message


FRAMES = {
    "no rows": (pd.DataFrame({"a": [], "b": []}), "The table must have at least one row; got none (columns 'a', 'b')."),
    "no columns": (pd.DataFrame(index=range(3)), "The table must have at least one column; got none."),
    "duplicate names": (
        pd.DataFrame(np.eye(3), columns=["a", "b", "a"]),
        "Column names must be distinct; got 'a' 2 times. Rename one.",
    ),
    "dates": (
        pd.DataFrame({"day": pd.date_range("2024-01-01", periods=9)}),
        "Column 'day' must hold numbers, text or booleans; got a date and time in row 0. "
        "Turn dates into numbers, such as days since the first one, or drop the column.",
    ),
    "mixed types": (
        pd.DataFrame({"a": [1.5, 2.5, "x"]}, dtype=object),
        "Column 'a' must hold one type of value; got 1.5 in row 0 and 'x' in row 2. "
        "Make them all numbers or all strings, with empty cells for what is missing.",
    ),
    "infinite": (
        pd.DataFrame({"a": [1.0, -np.inf, 2.0]}),
        "Column 'a' must hold finite numbers; got -inf in row 1. "
        "Leave the cell empty if the value is missing, or replace it.",
    ),
}


@pytest.mark.parametrize(("frame", "message"), FRAMES.values(), ids=FRAMES)
def test_a_frame_that_cannot_be_used_is_refused_in_a_sentence(frame, message):
    with pytest.raises(DataError) as caught:
        ptilde.ScoreDensity().fit(frame)
    assert str(caught.value) == message


SOUND = {
    "one column": "a\n" + "".join(f"{x:.4f}\n" for x in rng.normal(size=60)),
    "a constant beside": "a,c\n" + "".join(f"{x:.4f},7\n" for x in rng.normal(size=60)),
    "an empty cell": GOOD + ",1.5\n",
    "1e300": GOOD + "1e300,2\n",
    "integers beyond 2^53": IDS,
    "byte order mark": "\ufeff" + GOOD,
    "semicolons and decimal commas": GOOD.replace(",", ";").replace(".", ","),
    "a column named <script>": GOOD.replace("a,b", "<script>alert(1)</script>,b"),
}


QUICK = ("a constant beside", "integers beyond 2^53", "a column named <script>")  # others compile more


@pytest.mark.parametrize(
    "content", [pytest.param(v, id=k, marks=[] if k in QUICK else pytest.mark.slow) for k, v in SOUND.items()]
)
def test_a_strange_but_sound_table_is_fitted_drawn_and_scored(content, capsys):
    put(content)
    assert run(["fit", "t.csv", "--max-iter", "10", "-o", "m.ptilde"]) == 0
    assert run(["sample", "m.ptilde", "-n", "20", "-o", "drawn.csv"]) == 0
    assert run(["score", "m.ptilde", "t.csv", "-o", "scored.csv"]) == 0
    names = read_table("t.csv").column_names
    assert set(read_table("drawn.csv").column_names) <= set(names)
    assert np.isfinite(read_table("scored.csv")["log_density"].to_numpy()).all()
    assert "Traceback" not in capsys.readouterr().err


def test_commas_and_semicolons_hold_the_same_table():
    put(GOOD, "a.csv")
    put("\ufeff" + GOOD.replace(",", ";").replace(".", ","), "b.csv")
    assert read_table("a.csv").equals(read_table("b.csv"))


# --- scoring what the model was not fitted on ------------------------------------------------------------------------


def changed(**cells):
    """The table of the small fit, its first rows, with a cell of row 3 replaced."""
    rows = small_fit.small_table().slice(0, 10).to_pydict()
    for name, value in cells.items():
        rows[name][3] = value
    return pa.table(rows)


OUTSIDE = {
    "new category": ({"region": "west"}, "region", "'west'", "Categorical"),
    "below the bounds": ({"claim": -1.0}, "claim", "-1.0", "SemiContinuous"),
    "above the bounds": ({"share": 1.5}, "share", "1.5", "Interval"),
    "off the grid": ({"rain": 0.33}, "rain", "0.33", "SemiContinuous"),
}


@pytest.mark.parametrize(("cells", "name", "value", "kind"), OUTSIDE.values(), ids=OUTSIDE)
def test_a_value_outside_the_support_scores_minus_infinity_with_a_word(cells, name, value, kind, fitted_path, capsys):
    write_table(changed(**cells), "new.csv")
    assert run(["score", str(fitted_path), "new.csv", "-o", "scored.csv"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == (
        f"ptilde: warning: column '{name}' holds what its kind {kind} cannot, in 1 of 10 rows: first {value} in row 3. "
        "Their log density is -inf."
    )
    assert "Log density -inf: 1 of 10 rows; the mean is over the others." in err
    log_density = read_table("scored.csv")["log_density"].to_numpy()
    assert list(np.flatnonzero(np.isneginf(log_density))) == [3]
    assert "over 9 rows" in out


@pytest.mark.parametrize(("cells", "name", "value", "kind"), OUTSIDE.values(), ids=OUTSIDE)
def test_python_warns_once_and_scores_minus_infinity(cells, name, value, kind, fitted_model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log_density = fitted_model.score_samples(changed(**cells))
    assert list(np.flatnonzero(np.isneginf(log_density))) == [3]
    told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    assert len(told) == 1
    assert name in told[0] and "row 3" in told[0] and value in told[0]


MISFIT = {
    "a missing value": (
        changed(claim=None),
        "Column 'claim' must have no missing values, as its kind says; got one in row 3. "
        "Fill it in, drop the row, or set missing = true in the schema and fit again.",
    ),
    "an absent column": (
        changed().drop_columns(["share"]),
        "The table must have the columns of the schema; got none named 'share'. "
        "The table has 'claim', 'rain', 'region'.",
    ),
    "a renamed column": (
        changed().rename_columns(["claims", "rain", "share", "region"]),
        "The table must have the columns of the schema; got none named 'claim'. Perhaps rename 'claims' to 'claim'.",
    ),
    "one column more": (
        changed().append_column("year", pa.array([2020] * 10)),
        "The table must have no columns but those of the schema; got also 'year'. "
        "Drop them, or name them as left out in the schema.",
    ),
    "another type": (
        changed().set_column(0, "claim", pa.array(["x"] * 10)),
        "Column 'claim' must hold numbers, as its kind SemiContinuous says; got 'x' in row 0. "
        "Convert the column, or correct its kind in the schema.",
    ),
    "a column log_density": (
        changed().append_column("log_density", pa.array([0.0] * 10)),
        "The table must have no column 'log_density': the result has that name. Rename it.",
    ),
}


@pytest.mark.parametrize(("table", "message"), MISFIT.values(), ids=MISFIT)
def test_a_table_of_another_shape_is_not_scored(table, message, fitted_path, capsys):
    write_table(table, "new.parquet")
    assert refused(capsys, "score", str(fitted_path), "new.parquet", "-o", "scored.csv") == message


# --- model files -----------------------------------------------------------------------------------------------------


def damaged(path):
    whole = path.read_bytes()
    return {
        "cut off": whole[: len(whole) // 2],
        "a changed byte": whole[:-9] + bytes([whole[-9] ^ 255]) + whole[-8:],
        "a table": GOOD.encode(),
        "empty": b"",
        "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00.",
    }


@pytest.mark.parametrize("fault", ["cut off", "a changed byte", "a table", "empty", "a pickle"])
@pytest.mark.parametrize("command", [("inspect",), ("sample", "-o", "x.csv"), ("score", "t.csv", "-o", "x.csv")])
def test_a_file_that_is_no_sound_model_is_refused(fault, command, fitted_path, capsys):
    if command == ("inspect",) and fault == "a changed byte":
        pytest.skip("inspect reads no weights")
    put(GOOD)
    put(damaged(fitted_path)[fault], "m.ptilde")
    message = refused(capsys, command[0], "m.ptilde", *command[1:])
    assert message.startswith("model file 'm.ptilde' is ")
    assert message.endswith(("Give the path of a file that `save` wrote.", "or fit and save the model anew."))


def test_python_refuses_the_same_files(fitted_path):
    for content in damaged(fitted_path).values():
        put(content, "m.ptilde")
        with pytest.raises(ModelFileError, match=r"model file '.*m\.ptilde' is "):
            ptilde.load("m.ptilde")


# --- paths and options -----------------------------------------------------------------------------------------------

COMMANDS = {
    "a missing table": (
        "schema absent.csv",
        "'absent.csv' must be a CSV or Parquet file; there is no such file. Check the path.",
    ),
    "a folder for a table": (
        "schema .",
        "The folder '.' must hold Parquet files only; got 't.csv'. Name a file in it, or move the others away.",
    ),
    "a missing model": ("inspect absent.ptilde", "there is no file 'absent.ptilde'. Check the path."),
    "a folder for a model": ("inspect .", "'.' must be a file; got a folder. Name the file in it."),
    "a missing schema": ("fit t.csv --schema no.toml -o m", "there is no file 'no.toml'. Check the path."),
    "output into no folder": (
        "fit t.csv -o no/m.ptilde",
        "`--output` must lie in a folder that exists; got 'no/m.ptilde'. Create its folder first.",
    ),
    "output onto a folder": ("fit t.csv -o .", "`--output` must be a file; got the folder '.'. Name a file in it."),
    "output of no known kind": (
        "sample m.ptilde -o rows.xlsx",
        "`--output` must end in .csv or .parquet; got 'rows.xlsx'.",
    ),
    "no output": ("fit t.csv", "Missing option '--output' / '-o'. Try `ptilde fit --help`."),
    "no such command": ("fitt t.csv", "No such command 'fitt'. Did you mean 'fit'? Try `ptilde --help`."),
    "a budget below zero": (
        "fit t.csv -o m --time-budget -3",
        "Invalid value for --time-budget: -3.0 is not a positive number of seconds. Try `ptilde fit --help`.",
    ),
    "a budget that is no number": (
        "demo --time-budget nan",
        "Invalid value for --time-budget: nan is not a positive number of seconds. Try `ptilde demo --help`.",
    ),
}


@pytest.mark.parametrize(("command", "message"), COMMANDS.values(), ids=COMMANDS)
def test_a_path_or_an_option_that_cannot_be_is_refused(command, message, capsys):
    put(GOOD)
    assert refused(capsys, *command.split()) == message


@pytest.mark.parametrize(
    "command",
    ["fit t.csv -o m --seed -1", "fit t.csv -o m --max-iter 0", "sample m -o x.csv -n 0", "sample m -o x.csv -n x"],
)
def test_numbers_out_of_range_name_the_option(command, capsys):
    put(GOOD)
    message = refused(capsys, *command.split())
    assert message.startswith(
        f"Invalid value for '--{ {'--seed': 'seed', '--max-iter': 'max-iter'}.get(command.split()[-2], 'rows') }'"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_said(folder, capsys):
    put(GOOD)
    Path("t.csv").chmod(0)
    assert "t.csv" in refused(capsys, "schema", "t.csv")
    Path("t.csv").chmod(0o600)
    folder.chmod(0o500)
    assert "folder you may write to" in refused(capsys, "fit", "t.csv", "-o", "m.ptilde")
    folder.chmod(0o700)


def test_a_schema_that_is_no_schema_names_the_line_or_the_column(capsys):
    put(GOOD)
    put("[columns.a]\nkind = 'Positve'\n", "s.toml")
    message = refused(capsys, "fit", "t.csv", "--schema", "s.toml", "-o", "m.ptilde")
    assert "'a'" in message and "Positve" in message
    put("not toml [", "s.toml")
    assert "s.toml" in refused(capsys, "fit", "t.csv", "--schema", "s.toml", "-o", "m.ptilde")
