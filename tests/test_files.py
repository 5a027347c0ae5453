"""A file is whole or absent, whatever happens while it is written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptilde import _files, store


def fail(*_, **__):
    raise OSError(28, "No space left on device")


def interrupt(*_, **__):
    raise KeyboardInterrupt


def break_at(step, monkeypatch, how):
    if step == "open":
        monkeypatch.setattr("builtins.open", how)
    elif step == "write":
        monkeypatch.setattr("pathlib.Path.write_text", lambda path, text: (path.open("w").write(text[:3]), how()))
    else:
        monkeypatch.setattr(os, {"flush": "fsync", "rename": "replace"}[step], how)


@pytest.mark.parametrize("how", [fail, interrupt])
@pytest.mark.parametrize("step", ["write", "flush", "rename"])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_write_that_fails_at_any_step_leaves_what_was_there(tmp_path, monkeypatch, step, how, before):
    target = tmp_path / "out.csv"
    if before:
        target.write_text(before)
    with monkeypatch.context() as broken:
        break_at(step, broken, how)
        with pytest.raises((OSError, KeyboardInterrupt)), _files.atomic(target) as temporary:
            temporary.write_text("new text")
    assert [entry.name for entry in tmp_path.iterdir()] == (["out.csv"] if before else [])
    assert not before or target.read_text() == before


@pytest.mark.parametrize("step", ["open", "flush", "rename"])
def test_a_model_file_that_fails_at_any_step_leaves_no_file(tmp_path, monkeypatch, step):
    with monkeypatch.context() as broken:
        break_at(step, broken, fail)
        with pytest.raises(store.ModelFileError, match=r"cannot be written \(.*No space left on device.*\)\. Choose"):
            store.write(tmp_path / "m.ptilde", {"a": 1}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_in_the_middle_leaves_no_file_and_the_next_write_sweeps(tmp_path):
    target = tmp_path / "out.csv"
    code = f"""
import os, signal
from ptilde import _files
with _files.atomic({str(target)!r}) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    (stale,) = tmp_path.iterdir()
    assert stale.name == f".out.csv.{_files._machine()}.{stale.name.split('.')[-2]}.tmp"
    with _files.atomic(target) as temporary:
        temporary.write_text("whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_text() == "whole"


def test_only_stale_files_of_the_same_target_are_swept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = _files._machine()
    kept = [f".other.csv.{here}.{dead.pid}.tmp", f".out.csv.{here}.{os.getppid()}.tmp", ".out.csv.abc.tmp"]
    kept += [f"out.csv.{here}.1.tmp", f".out.csv.00000000.{dead.pid}.tmp"]  # the last is another machine's
    for name in [*kept, f".out.csv.{here}.{dead.pid}.tmp"]:
        (tmp_path / name).write_text("")
    with _files.atomic(tmp_path / "out.csv") as temporary:
        temporary.write_text("x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*kept, "out.csv"])


def test_a_link_is_followed_and_what_is_no_regular_file_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "data.csv")
    with _files.atomic(tmp_path / "link.csv") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real" / "data.csv").read_text() == "x"
    places = {tmp_path: "it is a folder", Path("/dev/null"): "device or a pipe", tmp_path / "a" / "b": "does not exist"}
    for place, words in places.items():
        with pytest.raises(OSError, match=words), _files.atomic(place):
            raise AssertionError("never reached")


def test_what_another_account_has_planted_is_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("old")
    planted = tmp_path / f".out.csv.{_files._machine()}.{os.getpid()}.tmp"
    planted.symlink_to(victim)
    with _files.atomic(tmp_path / "out.csv") as temporary:
        assert temporary == planted and not temporary.is_symlink()
        temporary.write_text("new")
    assert victim.read_text() == "old" and (tmp_path / "out.csv").read_text() == "new"
