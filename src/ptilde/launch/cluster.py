"""Parts of a job made by the workers of a Ray cluster.

Each part is a task; a worker loads the model once and writes its parts into the folder, which all machines must see, as
they must see the model and the table. A task whose worker died is given to another one. The cluster is that of the
environment variable RAY_ADDRESS, or else one of this machine's cores for as long as the job takes. A cluster that asks
for a token gets the one that Ray finds in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from ptilde._validate import DataError
from ptilde.launch.parts import Folder, Job
from ptilde.tabular.reader import write_table

IN_FLIGHT = 4  # tasks for each core of the cluster: enough that none waits, few enough that an error is soon known


def make(folder: Folder, model: Path, numbers: Sequence[int]) -> Iterator[int]:
    """Have parts made; their numbers, as they are done.

    Raises:
        DataError: if there is no Ray or no cluster; what a part raises.
    """
    ray = _ray()
    try:
        _begin(ray)
        task = ray.remote(_make).options(max_retries=5)
        waiting = [(folder.job, str(model.resolve()), number, str(folder.part(number).resolve())) for number in numbers]
        most, running = IN_FLIGHT * int(ray.cluster_resources().get("CPU", 1)), []
        while waiting or running:
            while waiting and len(running) < most:
                running.append(task.remote(*waiting.pop(0)))
            done, running = ray.wait(running)
            yield from ray.get(done)
    except DataError as error:
        raise DataError(str(getattr(error, "cause", error))) from None
    except ray.exceptions.RayError as error:
        message = f"The Ray cluster failed: {_first_line(error)}. The same command makes what is missing."
        raise DataError(message) from error
    finally:
        ray.shutdown()


def _make(job: Job, model: str, number: int, path: str) -> int:
    """What a worker does."""
    (part,) = job.parts(_loaded(model), [number])
    write_table(part, path)
    return number


@lru_cache(maxsize=1)
def _loaded(model: str) -> Any:
    from ptilde.estimators import load

    return load(model)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise DataError("`--engine ray` needs Ray, which is not installed. Run `pip install 'ptilde[ray]'`.") from None
    return ray


def _begin(ray: Any) -> None:
    """Join the cluster, or start one; quietly."""
    address = os.environ.get("RAY_ADDRESS")
    local = {} if address else {"include_dashboard": False}
    try:
        with _without_its_words():
            ray.init(
                address=address, logging_level=logging.ERROR, log_to_driver=False, configure_logging=False, **local
            )
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        where = f"at {address} (RAY_ADDRESS)" if address else "on this machine"
        message = f"No Ray cluster could be had {where}: {_first_line(error)}. Check the address, and the token if it "
        raise DataError(message + "asks for one.") from error


@contextmanager
def _without_its_words() -> Iterator[None]:
    """What Ray's C++ writes to stderr while it joins; what matters of it comes as an exception, too."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
