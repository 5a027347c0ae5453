"""A Ray cluster makes the same parts as this process, also when a worker dies, and refuses in words."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_fit

from ptilde import DataError, Stream
from ptilde.cli.errors import run
from ptilde.launch import cluster
from ptilde.launch.parts import Draw, Folder, Score

ray = pytest.importorskip("ray")
ROWS = 120_000  # three parts


@pytest.fixture
def two_workers(monkeypatch):
    """A cluster of two workers, started as a person starts one, that asks for a token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("ray"))
    head = [program, "start", "--head", "--num-cpus", "2", "--port", str(port), "--include-dashboard", "false"]
    subprocess.run([*head, "--disable-usage-stats"], check=True, capture_output=True)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    yield
    subprocess.run([program, "stop", "--force"], check=True, capture_output=True)


def table_of(path):
    return pa.concat_tables(Stream(path).blocks())


def ptilde(*arguments):
    """The command line in a process of its own: Ray reads its environment when it is imported."""
    program = [sys.executable, "-c", "from ptilde.cli import main; main()"]
    done = subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slow
def test_a_cluster_of_two_makes_the_rows_that_this_process_makes(two_workers, fitted_path, tmp_path, monkeypatch):
    draw = ["sample", fitted_path, "-n", ROWS, "--seed", 2, "-o"]
    assert ptilde(*draw, tmp_path / "here").returncode == 0
    assert "in 3 parts" in ptilde(*draw, tmp_path / "ray", "--engine", "ray").stderr
    assert table_of(tmp_path / "ray").equals(table_of(tmp_path / "here"))

    pq.write_table(table_of(tmp_path / "here").slice(0, 60_000), tmp_path / "t.parquet")
    score = ["score", fitted_path, tmp_path / "t.parquet", "-o"]
    ours, theirs = ptilde(*score, tmp_path / "s here"), ptilde(*score, tmp_path / "s ray", "--engine", "ray")
    assert ours.stdout == theirs.stdout != "" and theirs.returncode == 0
    assert table_of(tmp_path / "s ray").equals(table_of(tmp_path / "s here"))

    claim = [None, *small_fit.small_table()["claim"].to_pylist()[1:]]
    pq.write_table(small_fit.small_table().set_column(0, "claim", pa.array(claim)), tmp_path / "bad.parquet")
    bad = ["score", fitted_path, tmp_path / "bad.parquet", "-o"]
    ours, theirs = ptilde(*bad, tmp_path / "b.csv"), ptilde(*bad, tmp_path / "b", "--engine", "ray")
    assert ours.stderr == theirs.stderr and ours.returncode == theirs.returncode == 2

    monkeypatch.setenv("RAY_AUTH_TOKEN", "b" * 64)
    stranger = ptilde("sample", fitted_path, "-o", tmp_path / "no", "--engine", "ray")
    assert stranger.returncode == 2 and "the token if it asks for one" in stranger.stderr
    assert stranger.stderr.count("\n") == 1


def dying(job, model, number, path):
    """A worker that is killed at its first part, once."""
    mark = Path(path).with_name("_died")
    if number == 1 and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return cluster_make(job, model, number, path)


cluster_make = cluster._make


@pytest.mark.slow
def test_the_parts_of_a_worker_that_dies_are_made_by_another(fitted_path, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    pq.write_table(small_fit.small_table(60_000), tmp_path / "t.parquet")
    job = Score(str(tmp_path / "t.parquet"))
    folder = Folder(tmp_path / "out", job, fitted_path)
    monkeypatch.setattr(cluster, "_make", dying)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests
    assert sorted(cluster.make(folder, fitted_path, [0, 1])) == [0, 1]
    assert (folder.path / "_died").exists() and folder.missing() == []


def test_without_ray_it_says_what_to_install(fitted_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    folder = Folder(tmp_path / "f", Draw(10, 0), fitted_path)
    with pytest.raises(DataError, match=r"needs Ray, which is not installed. Run `pip install 'ptilde\[ray\]'`"):
        list(cluster.make(folder, fitted_path, [0]))


def test_a_cluster_needs_a_folder(fitted_path, tmp_path, capsys):
    assert run(["sample", str(fitted_path), "-o", str(tmp_path / "x.csv"), "--engine", "ray"]) == 2
    assert "it needs a folder" in capsys.readouterr().err
