"""Child processes to be killed, and what they leave in a folder."""

import os
import signal
import warnings
from pathlib import Path


def contents(folder):
    """Name and bytes of every file of a folder."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def forked(action):
    """Run `action` in a child process; return its id."""
    with warnings.catch_warnings():
        # Threads of the test runner are no danger to a child that only computes and exits.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:  # pragma: no cover - the child
        try:
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid


def exit_code(pid):
    """Wait for a child; return its exit code, minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(pid):
    """Kill a child; return whether it was still at work."""
    os.kill(pid, signal.SIGKILL)
    return exit_code(pid) == -signal.SIGKILL
