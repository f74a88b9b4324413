"""One thread for BLAS: the bits of its sums depend on how many there are."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["single_threaded_blas"]

_lock = threading.Lock()
_users: list[Any] = []  # the limiter, once for each user


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread, so that bits do not depend on how many there are.

    The limit holds for the whole process; users that overlap share it, and the last one lifts it.
    """
    from threadpoolctl import threadpool_limits

    with _lock:
        limiter = _users[0] if _users else threadpool_limits(limits=1, user_api="blas")
        _users.append(limiter)
    try:
        yield
    finally:
        with _lock:
            _users.pop()
            if not _users:
                limiter.restore_original_limits()
