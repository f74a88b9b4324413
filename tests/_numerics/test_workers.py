"""Sharing out work among threads."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dmft._numerics.aligned import aligned_empty, aligned_zeros
from dmft._numerics.workers import Threads, sharing, worker_count, worth


@pytest.mark.parametrize("n_workers", [1, 2, 3])
@pytest.mark.parametrize("n_items", [0, 1, 2, 7])
def test_results_come_in_order_whoever_made_them(n_workers, n_items):
    with ThreadPoolExecutor(n_workers) as pool:
        run = sharing(pool, n_workers)
        assert list(run(lambda x: x * x, range(n_items))) == [x * x for x in range(n_items)]


def test_one_share_is_done_by_the_caller_and_the_other_is_not():
    with ThreadPoolExecutor(2) as pool:
        names = sharing(pool, 2)(lambda _: threading.current_thread().name, range(6))
    assert set(names[::2]) == {threading.current_thread().name}
    assert len(set(names[1::2])) == 1
    assert names[0] != names[1]


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_in_any_share_reaches_the_caller(bad):
    def work(item):
        if item == bad:
            raise ArithmeticError(f"item {item}")
        return item

    with ThreadPoolExecutor(2) as pool, pytest.raises(ArithmeticError, match=f"item {bad}"):
        sharing(pool, 2)(work, range(4))


def test_small_runs_are_not_worth_a_second_thread():
    assert worth(2, 1024, 1) == 1
    assert worth(2, 1024, 4) == worth(2, 16384, 1) == 2
    assert worth(2, 16384, 1, of_one_run=True) == 1
    assert worth(1, 10**6, 4) == 1
    assert worker_count(5, 3) == 3


@pytest.mark.parametrize("shape", [(3, 8), (1, 4096), (0, 16), (5, 24)])
def test_rows_of_aligned_arrays_begin_on_a_cache_line(shape):
    for array in (aligned_empty(shape), aligned_zeros(shape)):
        assert array.shape == shape
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        assert all(row.ctypes.data % 64 == 0 for row in array)
    assert not aligned_zeros(shape).any()


@pytest.mark.parametrize("finaliser", [False, True])
def test_threads_stop_when_their_block_is_left_by_an_exception(finaliser, monkeypatch):
    # They would work for ever; and one of them drops the first interrupt that it gets.
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: dropped.append(what.exc_type))
    started = threading.Barrier(3)

    class Stubborn:
        def __del__(self):
            work(1)

    def work(index):
        if finaliser and not index:
            Stubborn()
        else:
            started.wait()
        while True:
            time.sleep(0.001)

    futures = []

    def left():
        with Threads(2) as pool:
            futures.extend(pool.submit(work, index) for index in range(3))
            started.wait()
            raise KeyboardInterrupt("said by the user")

    with pytest.raises(KeyboardInterrupt, match="said by the user"):
        left()
    *futures, waiting = futures
    assert all(isinstance(future.exception(), KeyboardInterrupt) for future in futures)
    assert waiting.cancelled()
    assert dropped == [KeyboardInterrupt] * finaliser


def test_threads_left_in_peace_do_all_their_work():
    with Threads(2) as pool:
        assert list(pool.map(abs, range(-9, 0))) == list(range(9, 0, -1))
        failing = pool.submit(int, "x")
    assert isinstance(failing.exception(), ValueError)
