"""A second process that compiles what is called next, while this one compiles what is called first.

Of the threads of a process numba lets one compile at a time. What one process has compiled, the
other finds in numba's folder: nothing is sent or waited for, and a process that does not start, or
fails, costs time alone.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["compile_ahead"]

_process: subprocess.Popen[bytes] | None = None


def compile_ahead(module: str) -> None:
    """Have a second process run a module, unless one was started before; it ends with this one."""
    global _process
    if _process is not None or not _may_start():
        return
    # Modules are found where this process finds them, not in the folder that it happens to be in.
    command = [sys.executable, "-P", "-m", module]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    nothing = subprocess.DEVNULL
    with contextlib.suppress(OSError, ValueError):
        _process = subprocess.Popen(
            command, env=environment, stdin=nothing, stdout=nothing, stderr=nothing
        )
        atexit.register(_stop, _process, os.getpid())


def _may_start() -> bool:
    """Whether this process is no worker of another, which has as many as there are cores."""
    is_worker = multiprocessing.parent_process() is not None or "joblib" in sys.modules
    # A program with Python in it would start itself again.
    return not is_worker and "python" in Path(sys.executable or "").name


def _stop(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:  # no fork of it
        process.kill()
        process.wait()
