"""Interrupts (Ctrl-C) that libraries drop."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import TracebackType

__all__ = ["forget", "heard"]

_AGAIN_AFTER = 0.02  # seconds, in which whatever dropped it has come to its end


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Raise an interrupt again after a finaliser or a callback has dropped it.

    Python prints what is raised there and goes on, and compiling a function runs many of them. So
    does compiled code of libraries that cannot raise; it asks the hook of exceptions to print too.
    """
    before, shown = sys.unraisablehook, sys.excepthook
    again: list[threading.Timer] = []

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
        elif threading.current_thread() is threading.main_thread():
            again.append(threading.Timer(_AGAIN_AFTER, _interrupt))
            again[-1].start()

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            shown(kind, error, trace)

    sys.unraisablehook, sys.excepthook = hook, show
    try:
        yield
    finally:
        sys.unraisablehook, sys.excepthook = before, shown
        for timer in again:
            timer.cancel()


def _interrupt() -> None:
    """Interrupt the main thread, also while it waits for something."""
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)
    else:
        _thread.interrupt_main()


def forget() -> None:
    """Have the interpreter end with our exit code.

    One that was interrupted within ``exec``, which dataclasses are made with, ends by the signal
    instead, although that was caught; unless it has executed something since.
    """
    exec("")
