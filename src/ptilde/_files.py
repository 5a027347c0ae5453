"""Files that are whole or absent.

A write goes to a temporary file in the folder of its target, is flushed to the disk, and then takes the target's name
in one step: a reader sees the old file or the new one, never a part. A process that dies in between leaves a temporary
file `.<name>.<machine>.<process id>.tmp`, which the next write to the same target from that machine sweeps away.
"""

import contextlib
import os
import platform
import re
import zlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """The temporary path to write to; on leaving the block it becomes `path`, and on any failure it is removed.

    Links are followed, as `open` does. A target that is there already must be a regular file.
    """
    target = Path(os.path.realpath(path))
    _check_target(target)
    _sweep(target)
    temporary = target.with_name(f".{target.name}.{_machine()}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # never what another has put there
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)  # gone already when the rename was reached
    _flush_folder(target.parent)


def _check_target(target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {str(target)!r}: it is a folder. Give the name of a file in it.")
    if target.exists() and not target.is_file():
        raise OSError(f"cannot write {str(target)!r}: it is a device or a pipe. Give the name of a regular file.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist.")


def _sweep(target: Path) -> None:
    """Remove what dead processes left of earlier writes to the same target."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.{_machine()}\.([0-9]{{1,10}})\.tmp")
    for entry in os.scandir(target.parent):
        match = pattern.fullmatch(entry.name)
        if match and not _alive(int(match[1])):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def _machine() -> str:
    """Eight letters for the machine's name: a folder may be shared, process numbers are not."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _alive(process: int) -> bool:
    if os.name != "posix":
        return True  # there, signal 0 would end the process
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    # Windows flushes only what is open for writing.
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename itself last; some file systems cannot, and lose nothing but that promise."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
