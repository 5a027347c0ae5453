"""Compiled programs, kept between processes in a folder that only their owner can write.

A compiled program is machine code that JAX will run, so the folder must be private: ours alone, mode 0700, no link. It
is `$XDG_CACHE_HOME/ptilde/xla-<jaxlib version>-<machine>` (by default under `~/.cache`); `PTILDE_CACHE_DIR` names
another place, `PTILDE_CACHE=0` turns the cache off, and a compilation cache that the user has set in JAX is left alone.
"""

import hashlib
import os
import platform
import stat
import warnings
from importlib import metadata
from pathlib import Path

_FOLDER = "jax_compilation_cache_dir"


def enable() -> None:
    """Point JAX to the private cache folder; called once, where the first module that needs JAX is imported."""
    if os.environ.get("PTILDE_CACHE") == "0":
        return
    import jax

    if getattr(jax.config, _FOLDER) is not None:
        return
    try:
        folder = _base() / f"xla-{metadata.version('jaxlib')}-{_machine()}"
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.lexists(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        doubt = _doubt(folder)
    except (OSError, RuntimeError):  # no home, or one that cannot be written to: compile anew each time
        return
    if doubt:
        warnings.warn(
            f"compiled programs are not kept: {str(folder)!r} {doubt}. Remove it, or set PTILDE_CACHE_DIR to a folder "
            "of your own, or PTILDE_CACHE=0 to do without.",
            stacklevel=2,
        )
    elif os.access(folder, os.W_OK):
        jax.config.update(_FOLDER, str(folder))
        # A start compiles dozens of small programs: JAX's own threshold, 1 s, would keep none of them.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _base() -> Path:
    if chosen := os.environ.get("PTILDE_CACHE_DIR"):
        return Path(chosen).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "ptilde"


def _machine() -> str:
    """Eight letters that differ where the processor does: a home may be shared, machine code may not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        features = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:8]


def _doubt(folder: Path) -> str:
    """Why the folder cannot be trusted; empty when it can."""
    if os.name != "posix":
        return ""  # no owners or modes to look at
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return "is a link" if stat.S_ISLNK(status.st_mode) else "is not a folder"
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, and you are {os.geteuid()}"
    if mode := stat.S_IMODE(status.st_mode) & 0o077:
        return f"is open to other users (mode {stat.S_IMODE(status.st_mode):o}, {mode:03o} too much)"
    return ""
