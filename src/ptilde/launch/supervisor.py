"""The one who starts the ranks of a fit on this machine, and starts them again when one has died.

A process that dies takes the others with it: they wait for its share of a sum, and JAX ends them. So the supervisor
says in one line who died, ends the rest, and starts all again from the checkpoint.
"""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ptilde.launch.processes import ABORTED, PLACE, Place

MOST_FRUITLESS = 3  # ends in a row without a newer checkpoint
_GRACE = 30.0  # seconds that the first rank gets to write a checkpoint
_BETWEEN_LOOKS = 0.05
_SOON = 3.0  # seconds within which the first rank says the words that all would say


class Ended(NamedTuple):
    """A rank that is over."""

    rank: int
    code: int

    @property
    def killed(self) -> bool:
        """Whether a signal from without ended it."""
        return self.code < 0 and self.code != -signal.SIGABRT

    @property
    def died(self) -> bool:
        """Whether it was ended, by a signal or because the others had gone, rather than ended itself."""
        return self.code < 0 or self.code == ABORTED

    def __str__(self) -> str:
        if self.killed:
            return f"was killed by signal {-self.code}"
        return "lost the others" if self.died else f"ended with code {self.code}"


def supervise(
    command: Callable[[bool], Sequence[str]], num: int, checkpoint: Path, resume: bool, say: Callable[[str], Any]
) -> int:
    """Run a command as ranks on this machine until it is done, starting all again when one has died.

    Args:
        command: what each rank runs, given whether to go on from the checkpoint.
        num: of ranks.
        checkpoint: the file they leave.
        resume: whether one that is there already counts.
        say: takes a line for a person.

    Returns:
        The exit code of the ranks.

    Raises:
        ChildProcessError: if ranks die again and again and the checkpoint does not change.
        KeyboardInterrupt: if the person ends it before the first rank can say so.
    """
    before, fruitless = _version_of(checkpoint), 0
    known, going_on = before, resume
    while True:
        with _Ranks(command(going_on), num) as ranks:
            ended = ranks.first_to_end()
            log = ranks.log(ended.rank)
        if not ended.died:
            if ended.rank or ended.code == 1:
                say(f"process {ended.rank} of {num} {ended}:\n{log}")
            return ended.code
        now = _version_of(checkpoint)
        fruitless, known = (fruitless + 1 if now == known else 1), now
        going_on = resume or now != before
        if fruitless == MOST_FRUITLESS:
            raise ChildProcessError(
                f"process {ended.rank} of {num} {ended}, and so it went {fruitless} times without a newer checkpoint. "
                f"Is there enough memory for {num} processes? Its last lines: {log or 'none'}"
            )
        where = f"from the checkpoint {checkpoint}" if going_on else "from the beginning"
        say(f"process {ended.rank} of {num} {ended}: all are started again {where}.")


class _Ranks:
    """Children that are alive within a block."""

    def __init__(self, command: Sequence[str], num: int) -> None:
        self.command, self.num = command, num
        self.children: list[subprocess.Popen] = []
        self.logs: list[Any] = []

    def __enter__(self) -> "_Ranks":
        mine, theirs = os.pipe()
        self.lifeline = theirs
        coordinator = f"127.0.0.1:{_free_port()}"
        try:
            for rank, cores in enumerate(shares(_cores(), self.num)):
                place = Place(rank, self.num, coordinator, mine, 2 if rank else os.dup(2))
                self._start(place, cores)
        except BaseException:
            self.__exit__()
            raise
        finally:
            os.close(mine)
        return self

    def _start(self, place: Place, cores: set[int]) -> None:
        log, all_cores = tempfile.TemporaryFile(), _cores()
        self.logs.append(log)
        _use(cores)  # a child has its parent's, from its first thread on
        try:
            self.children.append(
                subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=os.environ | {PLACE: json.dumps(place)},
                    pass_fds=(place.lifeline, place.words),
                    start_new_session=True,  # Ctrl-C is for the supervisor
                )
            )
        finally:
            _use(all_cores)
            if place.words != 2:
                os.close(place.words)

    def first_to_end(self) -> Ended:
        """The rank whose end explains the others: the first one when it is done, else one that has failed."""
        done, until = Ended(0, 0), math.inf
        try:
            while not (over := self._over()) or not (done in over or _explains(over) or time.monotonic() > until):
                failed = any(ended.code for ended in over)
                until = min(until, time.monotonic() + _SOON) if failed else math.inf
                time.sleep(_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            return self._told_to_end()
        if done not in over:
            return min(over, key=_rank_of_blame)
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_SOON)
        return done

    def _over(self) -> list[Ended]:
        return [Ended(i, code) for i, child in enumerate(self.children) if (code := child.poll()) is not None]

    def _told_to_end(self) -> Ended:
        """The first rank writes a checkpoint and says how to go on; the others have nothing to say."""
        self.children[0].terminate()
        try:
            code = self.children[0].wait(_GRACE)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        if code <= 0:
            raise KeyboardInterrupt
        return Ended(0, code)

    def log(self, rank: int) -> str:
        """The last lines of what a rank wrote, beside its words."""
        self.logs[rank].seek(0)
        return "\n".join(self.logs[rank].read().decode(errors="replace").splitlines()[-5:])

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        os.close(self.lifeline)


def shares(cores: Sequence[int], num: int) -> list[set[int]]:
    """Of the cores, to each rank as many as to any other: how many threads add has a say in how sums are rounded."""
    size = max(1, len(cores) // num)
    return [{cores[(i * size + j) % len(cores)] for j in range(size)} for i in range(num)]


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def _use(cores: Sequence[int] | set[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _explains(over: list[Ended]) -> bool:
    """Whether these ends need no other: the first rank's own, or that of one that was killed from without."""
    return any(e.rank == 0 and not e.died or e.killed for e in over)


def _rank_of_blame(ended: Ended) -> tuple[int, int]:
    """Killed from without come first, then those with words of their own, then those who lost the others."""
    return (0 if ended.killed else 2 if ended.died else 1 if ended.code else 3), ended.rank


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _version_of(path: Path) -> tuple[int, int] | None:
    """Something that changes whenever the file is written."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
