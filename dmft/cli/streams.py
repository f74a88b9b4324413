"""Standard streams that are closed, of few characters, full, or no longer read."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["put", "say", "usable_streams"]


@contextlib.contextmanager
def usable_streams() -> Iterator[None]:
    """Make streams take any text: closed ones discard it, characters they lack are escaped.

    A closed descriptor is opened first, or a result file would be given its number, and receive
    what a library writes to the stream.
    """
    before = sys.stdout, sys.stderr
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    with contextlib.ExitStack() as opened:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:
                nowhere = opened.enter_context(open(os.devnull, "w", encoding="utf-8"))
                setattr(sys, name, nowhere)
        strict: list[Any] = [out for out in (sys.stdout, sys.stderr) if _is_strict(out)]
        for out in strict:
            out.reconfigure(errors="backslashreplace")
        try:
            try:
                yield
            except SystemExit:  # of --help, say
                put("", end="")
                raise
            put("", end="")
        except OSError:
            _silence_if_broken(sys.stdout)
            raise
        finally:
            sys.stdout, sys.stderr = before
            for out in strict:
                with contextlib.suppress(OSError, ValueError):
                    out.reconfigure(errors="strict")


def put(text: str, end: str = "\n") -> None:
    """Print on stdout, at once; an error says that it was there.

    Raises
    ------
    BrokenPipeError
        If nobody reads it any more.
    OSError
        If it cannot be written.
    """
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def say(line: str) -> None:
    """Print one line on stderr, if it is open; characters it lacks are escaped."""
    if sys.stderr is None:
        return
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    text = " ".join(line.split()).encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _silence_if_broken(sys.stderr)


def _is_strict(out: Any) -> bool:
    return getattr(out, "errors", None) == "strict" and hasattr(out, "reconfigure")


def _silence_if_broken(out: Any) -> None:
    """Discard the pending text of a broken stream, which the interpreter would fail on."""
    try:
        out.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, out.fileno())
            os.close(nowhere)
