"""Parallel work: sharing among threads, and whether there may be processes.

Threads take turns at the interpreter, and each turn costs as much as some hundred thousand
operations of a compiled kernel. So small solves are faster on one thread (``worth``), and work on
blocks of paths is handed over in one piece for each thread (``sharing``). Results do not depend on
any of it.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.validation import check_integer
from rmt._blas import single_threaded_blas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor, Future
    from types import TracebackType
    from typing import Protocol, TypeVar

    T = TypeVar("T")
    R = TypeVar("R")

    class Mapper(Protocol):
        """``map``, or a pool's ``map``."""

        def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterable[R]: ...


__all__ = [
    "Threads",
    "functions_not_kept",
    "may_start_processes",
    "sharing",
    "single_threaded_blas",
    "worker_count",
    "worth",
]

# Paths, times the square of the number of neurons, from which on a second thread pays: for runs
# side by side, and for the blocks of one run.
_RUNS_SIDE_BY_SIDE = 8192
_BLOCKS_OF_A_RUN = 32768
_BETWEEN_INTERRUPTS = 0.1  # seconds


def worker_count(threads: int | None, n_tasks: int) -> int:
    """Return the number of threads to use for ``n_tasks`` independent tasks."""
    if threads is None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        threads = available or os.cpu_count() or 1
    else:
        threads = check_integer("threads", threads, minimum=1)
    return max(1, min(threads, n_tasks))


def worth(n_workers: int, n_paths: int, m: int, *, of_one_run: bool = False) -> int:
    """Return the number of threads that pay for runs over ``n_paths`` paths each, or for one."""
    least = _BLOCKS_OF_A_RUN if of_one_run else _RUNS_SIDE_BY_SIDE
    return n_workers if n_paths * m * m >= least else 1


def sharing(pool: Executor, n_workers: int) -> Mapper:
    """Return a ``map`` that shares out its items: one part is done here, the others by the pool."""
    if n_workers == 1:
        return map

    def run(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        def of_share(share: list[T]) -> list[R]:
            with np.errstate(all="ignore"):  # a thread has its own; what overflows is looked at
                return [function(item) for item in share]

        whole = list(items)
        shares = [whole[first::n_workers] for first in range(n_workers)]
        others = [pool.submit(of_share, share) for share in shares[1:] if share]
        done = [of_share(shares[0]), *(future.result() for future in others)]
        return [done[i % n_workers][i // n_workers] for i in range(len(whole))]

    return run


class Threads(ThreadPoolExecutor):
    """Threads that stop when their ``with`` block is left by an exception, Ctrl-C say.

    Others would go on to the end of what they do, a whole run or all that there is to compile, and
    the interrupt would seem to be lost.
    """

    def __init__(self, n_workers: int) -> None:
        super().__init__(n_workers)
        self._lock = threading.Lock()
        self._at_work: set[int] = set()
        self._stopped = False

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Have a thread call a function."""
        return super().submit(self._call, function, *args, **named)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.shutdown(wait=False, cancel_futures=True)
            self._stopped = True
            while self._interrupt():  # again, should one fall into a finaliser, which drops it
                for thread in self._threads:
                    thread.join(_BETWEEN_INTERRUPTS)
        super().__exit__(kind, error, trace)

    def _call(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        identity = threading.get_ident()
        with self._lock:
            self._at_work.add(identity)
        try:
            return None if self._stopped else function(*args, **named)
        finally:
            with self._lock:
                self._at_work.discard(identity)

    def _interrupt(self) -> int:
        """Raise an exception in all threads at work; return how many there are."""
        with self._lock:  # none of them is leaving, and would have it elsewhere
            for identity in self._at_work:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(identity), ctypes.py_object(KeyboardInterrupt)
                )
            return len(self._at_work)


_forked_with_workers = False


def _note_fork() -> None:
    """Remember that joblib's workers, if there are any, belong to the process forked from."""
    global _forked_with_workers
    _forked_with_workers = _forked_with_workers or "joblib" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def may_start_processes() -> bool:
    """Whether this process may have worker processes; if not, it does the work itself.

    Daemonic processes, as those of a `multiprocessing.Pool`, may have no children. A fork of a
    process with workers would wait for answers that go to the other. And joblib has no workers
    for its own threads, nor where the system has no semaphores, or ``JOBLIB_MULTIPROCESSING=0``.
    """
    if multiprocessing.current_process().daemon or _forked_with_workers:
        return False
    from joblib import parallel

    if getattr(parallel, "mp", multiprocessing) is None:
        return False
    nested = parallel.get_active_backend()[0].nesting_level
    return not nested or threading.current_thread() is threading.main_thread()


def functions_not_kept() -> bool:
    """Whether compiled functions could not be written to disk, as far as is known here."""
    module = sys.modules.get("rmt._compiled")
    return module is not None and module.could_not_keep()
