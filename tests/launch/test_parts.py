"""A job in parts gives the same rows whoever makes them, in whatever order, and however often it is killed."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_fit

from ptilde import DataError, Stream, _files
from ptilde.cli.errors import run
from ptilde.launch import parts
from ptilde.launch.parts import Draw, Folder, Impute, Score
from ptilde.tabular.reader import read_table, write_table

PART = 40


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART", PART)


@pytest.fixture
def table_path(fitted_table, tmp_path):
    pq.write_table(fitted_table.slice(0, 210), tmp_path / "t.parquet", row_group_size=64)
    return tmp_path / "t.parquet"


@pytest.fixture
def holed_path(table_path, tmp_path):
    table = read_table(table_path)
    claim = [None if i % 3 == 0 else v for i, v in enumerate(table["claim"].to_pylist())]
    pq.write_table(table.set_column(0, "claim", pa.array(claim)), tmp_path / "holed.parquet")
    return tmp_path / "holed.parquet"


def jobs(table_path, holed_path):
    return {"draw": Draw(210, 3), "score": Score(str(table_path)), "impute": Impute(str(holed_path), 3)}


def rows_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize("kind", ["draw", "score", "impute"])
def test_any_number_of_workers_in_any_order_make_the_same_parts(
    kind, table_path, holed_path, tmp_path, fitted_path, fitted_model
):
    job, found = jobs(table_path, holed_path)[kind], []
    for workers, order in ((1, [0]), (4, [2, 0, 3, 1]), (7, range(7))):
        folder = tmp_path / f"by {workers}"
        for i in order:
            own = Folder(folder, job, fitted_path)
            list(own.make(fitted_model, own.missing((i, workers))))
        assert own.missing() == []
        found.append(rows_of(folder))
    assert found[0] == found[1] == found[2] and len(found[0]) == 6
    whole = pa.concat_tables(job.parts(fitted_model, range(6)))
    assert pa.concat_tables(Stream(folder).blocks()).equals(whole) and whole.num_rows == 210


def test_draws_of_two_parts_are_not_the_same(fitted_model):
    whole = pa.concat_tables(Draw(210, 3).parts(fitted_model, range(6)))
    assert len(np.unique(whole["share"].to_numpy())) == 210


def test_a_part_that_is_lost_or_cut_off_is_made_again(tmp_path, fitted_path, fitted_model):
    folder = Folder(tmp_path / "drawn", Draw(210, 0), fitted_path)
    list(folder.make(fitted_model, folder.missing()))
    before = rows_of(folder.path)
    folder.part(2).unlink()
    folder.part(4).write_bytes(folder.part(4).read_bytes()[:-20])
    pq.write_table(pq.read_table(folder.part(5)).slice(0, 3), folder.part(5))
    assert folder.missing() == [2, 4, 5]
    list(folder.make(fitted_model, folder.missing()))
    assert rows_of(folder.path) == before


def test_the_parts_of_another_job_are_refused(table_path, tmp_path, fitted_path, rich_path):
    Folder(tmp_path / "f", Draw(210, 0), fitted_path)
    for job, model, word in (
        (Draw(210, 1), fitted_path, "seed"),
        (Draw(211, 0), fitted_path, "rows"),
        (Draw(210, 0), rich_path, "model"),
        (Score(str(table_path)), fitted_path, "job"),
    ):
        with pytest.raises(DataError, match=rf"got those of another: .*{word}.* differ"):
            Folder(tmp_path / "f", job, model)
    Folder(tmp_path / "g", Score(str(table_path)), fitted_path)
    table = read_table(table_path)
    pq.write_table(table.set_column(0, "claim", pa.array(table["claim"].to_pylist()[::-1])), table_path)
    with pytest.raises(DataError, match="another: table differ"):
        Folder(tmp_path / "g", Score(str(table_path)), fitted_path)
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"must be empty or hold parts of this job; got 'letter.txt'"):
        Folder(tmp_path / "h", Draw(210, 0), fitted_path)
    (tmp_path / "f" / "_job.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Folder(tmp_path / "f", Draw(210, 0), fitted_path)


@pytest.fixture
def rich_path(rich_model, tmp_path):
    rich_model.save(tmp_path / "rich.ptilde")
    return tmp_path / "rich.ptilde"


def test_an_error_in_a_later_part_names_the_row_of_the_table(table_path, tmp_path, fitted_path, capsys):
    table = read_table(table_path)
    claim = table["claim"].to_pylist()
    claim[150] = None
    write_table(table.set_column(0, "claim", pa.array(claim)), tmp_path / "bad.parquet")
    place = str(tmp_path / "out")
    assert run(["score", str(fitted_path), str(tmp_path / "bad.parquet"), "-o", place]) == 2
    assert "got one in row 150" in capsys.readouterr().err
    assert len(rows_of(Path(place))) == 3
    assert run(["score", str(fitted_path), str(tmp_path / "bad.parquet"), "-o", f"{place}.csv"]) == 2
    assert not Path(f"{place}.csv").exists()


def test_values_outside_the_support_are_counted_over_all_parts(table_path, tmp_path, fitted_path, capsys):
    table = read_table(table_path)
    claim = table["claim"].to_pylist()
    claim[130] = claim[190] = -1.0
    write_table(table.set_column(0, "claim", pa.array(claim)), tmp_path / "odd.csv")
    assert run(["score", str(fitted_path), str(tmp_path / "odd.csv"), "-o", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "in 2 of 210 rows: first -1.0 in row 130. Their log density is -inf." in err
    assert "over 208 rows" in out


def test_shards_of_the_command_line_fill_one_folder(table_path, tmp_path, fitted_path, capsys):
    place = tmp_path / "scored"
    for shard in ("1/3", "0/3"):
        assert run(["score", str(fitted_path), str(table_path), "-o", str(place), "--shard", shard]) == 0
    assert "2 parts are left to other shards." in capsys.readouterr().err
    assert run(["score", str(fitted_path), str(table_path), "-o", str(place)]) == 0
    assert "Wrote 50 rows in 2 parts" in capsys.readouterr().err
    assert run(["score", str(fitted_path), str(table_path), "-o", str(tmp_path / "one.parquet")]) == 0
    assert pa.concat_tables(Stream(place).blocks()).equals(read_table(tmp_path / "one.parquet"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "x.csv", "--shard", "0/2"], "it needs a folder"),
        (["-o", "x", "--shard", "2/2"], "must be i/n with 0 ≤ i < n"),
        (["-o", "x", "--shard", "half"], "must be i/n with 0 ≤ i < n"),
        (["-o", "no/x"], "must lie in a folder that exists"),
    ],
)
def test_a_shard_that_is_none_is_refused(options, message, fitted_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["sample", str(fitted_path), *options]) == 2
    assert message in capsys.readouterr().err
    assert os.listdir() == []


def killed_again_and_again(arguments, folder, kills, seed):
    """The command, killed at random moments until it was let run through; how often it was killed in the middle."""
    code = f"from ptilde.launch import parts; parts.PART = {PART}; from ptilde.cli import main; main()"
    rng, hits = np.random.default_rng(seed), 0
    while True:
        started = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE)
        if hits == kills:
            assert started.wait() == 0, started.stderr.read()
            return hits
        before = set(os.listdir(folder)) if folder.exists() else set()
        while started.poll() is None and not (folder.exists() and set(os.listdir(folder)) - before):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        started.send_signal(signal.SIGKILL)
        assert started.wait() in (-9, 0)
        hits += 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sample", "score"])
def test_killed_and_started_again_it_makes_the_same_rows(kind, table_path, tmp_path, fitted_path, fitted_model):
    many = pa.concat_tables([small_fit.small_table()] * 3)
    write_table(many, tmp_path / "many.parquet")
    job = Draw(1200, 5) if kind == "sample" else Score(str(tmp_path / "many.parquet"))
    undisturbed = Folder(tmp_path / "undisturbed", job, fitted_path)
    list(undisturbed.make(fitted_model, undisturbed.missing()))
    place = tmp_path / "disturbed"
    what = ["-n", "1200", "--seed", "5"] if kind == "sample" else [str(tmp_path / "many.parquet")]
    killed_again_and_again([kind, str(fitted_path), *what, "-o", str(place)], place, 5, 0)
    assert rows_of(place) == rows_of(undisturbed.path)
    assert not [name for name in os.listdir(place) if name.endswith(".tmp")]


def test_a_sibling_that_writes_in_place_would_leave_half_a_part(tmp_path, fitted_path, fitted_model, monkeypatch):
    folder = Folder(tmp_path / "f", Draw(210, 0), fitted_path)

    def in_place(path):
        raise AssertionError(path)

    monkeypatch.setattr(_files, "atomic", in_place)
    with pytest.raises(AssertionError, match="part-000000"):
        list(folder.make(fitted_model, folder.missing()))
    assert rows_of(folder.path) == {}
