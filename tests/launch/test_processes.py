"""A supervisor of ranks says who died and starts all again; a fit spread over processes is the same for any number."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ptilde.cli.errors import run
from ptilde.launch import supervisor
from ptilde.launch.supervisor import Ended, shares, supervise

BEGIN = """
import os, signal, sys, time
from pathlib import Path
from ptilde.launch import processes
place, folder = processes.Place.told(), Path(sys.argv[1])
first = not (folder / "again").exists()
def kill(): os.kill(os.getpid(), signal.SIGKILL)
def wait(): time.sleep(60)
def wait_for(name):  # written by another rank, however slowly it starts
    while not (folder / name).exists(): time.sleep(0.01)
"""


def rank(code, folder):
    """What each rank runs, given whether to go on: a stand-in, which knows its place."""
    return lambda going_on: [sys.executable, "-c", BEGIN + code, str(folder), *["--resume"] * going_on]


def supervised(code, folder, num=2, resume=False):
    """The exit code, and the words."""
    said = []
    exit_code = supervise(rank(code, folder), num, folder / "checkpoint", resume, said.append)
    return exit_code, said


def test_each_rank_knows_its_place_and_all_have_as_many_cores(tmp_path):
    code = """
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
(folder / str(place.rank)).write_text(f"{place.size} {place.coordinator} {len(cores)} {len(sys.argv)}")
for other in range(place.size): wait_for(str(other))
"""
    mine = sorted(os.sched_getaffinity(0))
    assert supervised(code, tmp_path, 4) == (0, [])
    told = {(tmp_path / str(i)).read_text() for i in range(4)}
    assert len(told) == 1 and told.pop().split()[0] == "4"
    assert sorted(os.sched_getaffinity(0)) == mine  # the supervisor's own are as before
    assert shares([0, 1, 2, 3, 4], 2) == [{0, 1}, {2, 3}]
    assert shares([3, 5], 4) == [{3}, {5}, {3}, {5}]


@pytest.mark.parametrize("dead", [0, 1])
def test_when_one_dies_all_are_started_again_from_the_checkpoint(tmp_path, dead):
    code = f"""
if first and place.rank == {dead}:
    wait_for("begun"); (folder / "checkpoint").write_text("here"); (folder / "again").touch(); kill()
if first: (folder / "begun").touch(); wait()
(folder / str(place.rank)).write_text(" ".join(sys.argv[2:]))
wait_for("0"); wait_for("1")
"""
    exit_code, said = supervised(code, tmp_path)
    where = f"all are started again from the checkpoint {tmp_path / 'checkpoint'}."
    assert (exit_code, said) == (0, [f"process {dead} of 2 was killed by signal 9: {where}"])
    assert [(tmp_path / str(i)).read_text() for i in range(2)] == ["--resume"] * 2


def test_an_older_checkpoint_counts_only_if_the_person_goes_on_from_it(tmp_path):
    code = """
(folder / f"{place.rank} {first}").write_text(" ".join(sys.argv[2:]))
if first and place.rank == 1: wait_for("0 True"); (folder / "again").touch(); kill()
if first: wait()
"""
    (tmp_path / "checkpoint").write_text("of another fit")
    for resume, word in ((False, ""), (True, "--resume")):
        exit_code, [line] = supervised(code, tmp_path, resume=resume)
        assert exit_code == 0 and ("from the checkpoint" if resume else "from the beginning") in line
        assert [(tmp_path / f"0 {first}").read_text() for first in (False, True)] == [word] * 2
        for name in ("again", "0 True", "0 False"):
            (tmp_path / name).unlink()


def test_the_line_names_the_one_that_was_killed_not_the_one_that_lost_it(tmp_path):
    code = """
if first and place.rank == 1: wait_for("gone"); (folder / "again").touch(); kill()
if first: (folder / "gone").touch(); os._exit(134)
"""
    assert supervised(code, tmp_path)[1] == [
        "process 1 of 2 was killed by signal 9: all are started again from the beginning."
    ]
    blame = [Ended(0, 134), Ended(1, -9), Ended(2, -6), Ended(3, 2)]
    assert min(blame, key=supervisor._rank_of_blame).rank == 1


def test_ranks_that_die_again_and_again_are_given_up_with_their_last_lines(tmp_path):
    code = """
with (folder / "starts").open("a") as file: file.write(str(place.rank))
if place.rank == 0: wait()
print("out of memory", file=sys.stderr, flush=True)
starts = lambda: (folder / "starts").read_text()
while starts().count("0") < starts().count("1"): time.sleep(0.01)
kill()
"""
    words = (
        r"process 1 of 2 was killed by signal 9, and so it went 3 times without a newer.*2 processes\?.*out of memory"
    )
    with pytest.raises(ChildProcessError, match=words):
        supervised(code, tmp_path)
    assert sorted((tmp_path / "starts").read_text()) == list("000111")


def test_ranks_that_die_but_get_on_are_not_given_up(tmp_path):
    code = """
starts = len(list(folder.glob("start*"))) if place.rank == 0 else 0
if place.rank: wait()
(folder / f"start{starts}").touch()
if starts < 5: (folder / "checkpoint").write_text(str(starts)); kill()
"""
    exit_code, said = supervised(code, tmp_path)
    assert exit_code == 0 and len(said) == 5


def test_an_error_in_words_is_not_tried_again(tmp_path):
    alone = """
if place.rank == 1: print("no table here", file=sys.stderr, flush=True); os._exit(2)
wait()
"""
    assert supervised(alone, tmp_path) == (2, ["process 1 of 2 ended with code 2:\nno table here"])
    by_all = """
if place.rank == 0: (folder / "begun").touch(); time.sleep(1.0)  # it has the words, so it is waited for
wait_for("begun")
os._exit(2)
"""
    assert supervised(by_all, tmp_path) == (2, [])


def test_the_first_rank_done_is_the_fit_done(tmp_path):
    code = """
if place.rank == 0: (folder / "part").write_text(str(os.getpid())); (folder / "part").rename(folder / "pid"); sys.exit()
wait_for("pid")
while Path("/proc", (folder / "pid").read_text()).exists(): time.sleep(0.01)
kill()
"""
    assert supervised(code, tmp_path) == (0, [])


LONELY = (
    BEGIN
    + """
if place is None:
    command = lambda going_on: [sys.executable, *sys.orig_argv[1:]]
    def end(*_): raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, end)
    from ptilde.launch.supervisor import supervise
    os._exit(supervise(command, 2, folder / "checkpoint", False, print))
import threading
threading.Thread(target=processes._leave_with_supervisor, args=(place.lifeline,), daemon=True).start()
def end(*_):
    (folder / "written").touch()
    os._exit(143)
if place.rank == 0: signal.signal(signal.SIGTERM, end)
(folder / str(place.rank)).write_text(str(os.getpid()))
wait()
"""
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_no_rank_outlives_its_supervisor_and_the_first_is_told_to_end(tmp_path, number):
    process = subprocess.Popen([sys.executable, "-c", LONELY, str(tmp_path)])
    files = [tmp_path / "0", tmp_path / "1"]
    while not all(file.exists() and file.read_text() for file in files):
        assert process.poll() is None
        time.sleep(0.02)
    pids = [int(file.read_text()) for file in files]
    process.send_signal(number)
    assert process.wait() == (143 if number == signal.SIGTERM else -9)
    assert (tmp_path / "written").exists() == (number == signal.SIGTERM)
    until = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", ["0", "3", "16", "two"])
def test_a_number_of_processes_that_cannot_share_a_batch_is_refused(tmp_path, capsys, number):
    table = tmp_path / "t.csv"
    table.write_text("a\nx\n")
    assert run(["fit", str(table), "-o", str(tmp_path / "m"), "--processes", number]) == 2
    assert f"--processes: '{number}' must be 1, 2, 4, 8, or auto" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_of_all_ranks_and_none_of_them(tmp_path):
    table, output = tmp_path / "t.csv", tmp_path / "m.ptilde"
    table.write_text("a,b\n" + "x,u\ny,v\nx,v\nx,u\n" * 100)
    options = ["fit", str(table), "-o", str(output), "--max-iter", "20000", "--processes", "2"]
    code = "from ptilde.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("step" in line for line in process.stderr)  # a step is behind it
    pids = [int(pid) for pid in open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()]
    process.send_signal(signal.SIGINT)
    words = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 130 and len(pids) == 2
    assert words == f"ptilde: interrupted; add --resume to the command, and it goes on from {output}.checkpoint."
    assert (tmp_path / "m.ptilde.checkpoint").exists() and not output.exists()
    assert not any(alive(pid) for pid in pids)
