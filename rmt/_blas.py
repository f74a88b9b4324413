"""One thread for BLAS: the bits of its sums depend on how many there are."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["single_threaded_blas"]

_lock = threading.Lock()
_users: list[Any] = []  # the limiter, once for each user
_found: dict[int, Any] = {}  # the libraries, by the number of modules there were


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread, so that bits do not depend on how many there are.

    The limit holds for the whole process; users that overlap share it, and the last one lifts it.
    """
    with _lock:
        limiter = _users[0] if _users else _libraries().limit(limits=1, user_api="blas")
        _users.append(limiter)
    try:
        yield
    finally:
        with _lock:
            _users.pop()
            if not _users:
                limiter.restore_original_limits()


def _libraries() -> Any:
    """Return the libraries of this process, looked for anew where modules have been imported.

    To look for them takes milliseconds, more than the small products that ask.
    """
    from threadpoolctl import ThreadpoolController

    count = len(sys.modules)
    if count not in _found:
        found = ThreadpoolController()
        _found.clear()
        _found[count] = found
    return _found[count]
