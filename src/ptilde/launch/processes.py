"""A process of a fit on several: how it joins the others.

On one machine the processes are children of `ptilde.launch.supervisor`; on several the scheduler starts them, and JAX
finds from its variables who is who.

A child is told its `Place` in the variable `PTILDE_PLACE`. It writes its words where the supervisor has its own, if it
is the first, and the noise that libraries make to a log, which is shown if it explains an end. It leaves when the
supervisor is gone, which it knows as the lifeline closes, a pipe whose other end only the supervisor holds.
"""

import atexit
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ptilde._validate import DataError

PLACE = "PTILDE_PLACE"
ABORTED = 134  # exit code of a rank whose neighbours have gone


class Place(NamedTuple):
    """Which of the ranks a process is.

    Attributes:
        rank: its number.
        size: how many there are.
        coordinator: address where they meet.
        lifeline: descriptor that closes when the supervisor is gone.
        words: descriptor that a person reads.
    """

    rank: int
    size: int
    coordinator: str
    lifeline: int
    words: int

    @classmethod
    def told(cls) -> "Place | None":
        """What the supervisor says, if there is one."""
        said = os.environ.get(PLACE)
        return None if said is None else cls(*json.loads(said))


@contextlib.contextmanager
def joined(exit_code: Callable[[BaseException], int]) -> Iterator[None]:
    """Within this block descents are spread over all ranks; only the first has words.

    One whose block fails leaves without a goodbye, for which it would wait in vain while the others wait in a step.

    Args:
        exit_code: of a process whose block has failed.
    """
    place = Place.told()
    if place is not None:
        threading.Thread(target=_leave_with_supervisor, args=(place.lifeline,), daemon=True).start()
        if place.rank == 0:
            sys.stderr = open(place.words, "w", buffering=1, errors="backslashreplace")
    _initialise(place)
    import jax

    from ptilde.fit import spread

    try:
        spread.start()
        with contextlib.ExitStack() as quiet:
            if not spread.speaks():
                for number in (signal.SIGINT, signal.SIGTERM):  # the first rank decides, and ends all
                    signal.signal(number, signal.SIG_IGN)
                if place is None:
                    quiet.enter_context(contextlib.redirect_stderr(quiet.enter_context(open(os.devnull, "w"))))
            yield
        if place is not None:
            _leave_at_exit(0)  # at once: what JAX does at the exit takes time in which someone may still die
    except BaseException as error:
        if place is not None and place.size > 1 and isinstance(error, jax.errors.JaxRuntimeError):
            print(error, file=sys.__stderr__, flush=True)  # to the log: of a step, as another process has gone
            os._exit(ABORTED)
        _leave_at_exit(exit_code(error))
        raise


def _initialise(place: Place | None) -> None:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
    if place is not None:
        # Programs for one device are compiled on another way, and round otherwise: one process is two devices.
        jax.config.update("jax_num_cpu_devices", 2 if place.size == 1 else 1)
        jax.distributed.initialize(
            place.coordinator,
            place.size,
            place.rank,
            local_device_ids=place.rank,  # where there are several
            coordinator_bind_address=place.coordinator,  # else the whole network could speak to it
            cluster_detection_method="deactivate",
        )
        return
    try:
        jax.distributed.initialize()
    except ValueError as error:
        raise DataError(
            f"`--processes auto` must be started by SLURM, Open MPI or Kubernetes; found none of them ({error}). "
            "Give a number to start processes on this machine."
        ) from error


def _leave_with_supervisor(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(128 + signal.SIGHUP)


def _leave_at_exit(code: int) -> None:
    """Once the words are said, leave past what JAX does at the exit: wait for all."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)
