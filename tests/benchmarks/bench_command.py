"""Time of the README's command: cold, with nothing compiled, and warm.

    python tests/benchmarks/bench_command.py               # in two minutes, on a quiet machine
    python tests/benchmarks/bench_command.py --compiled    # what is compiled, with seconds

Seconds on the clock and of all processors together, with as many threads as there are cores, and
the ratio of the former to a hundred products of 1000 x 1000 matrices by BLAS with one thread.
`--compiled` runs one process alone, few paths, and lists what it compiles: seconds of a function
without and with the functions it calls, and which functions are compiled more than once.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time

COMMAND = ["threshold", "--preset", "robust-phase-retrieval"]
PRODUCTS = """
import time, numpy
matrix = numpy.random.default_rng(0).standard_normal((1000, 1000))
seconds = []
for _ in range(3):
    start = time.perf_counter()
    for _ in range(100):
        matrix @ matrix
    seconds.append(time.perf_counter() - start)
print(min(seconds))
"""


def seconds_of(arguments: list[str], cache: str) -> tuple[float, float]:
    """Seconds on the clock, and of all processors, that a process takes with its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True, stdout=subprocess.DEVNULL, env=os.environ | {"NUMBA_CACHE_DIR": cache},
    )  # fmt: skip
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report() -> None:
    """Measure, print."""
    done = subprocess.run(
        [sys.executable, "-c", PRODUCTS],
        check=True, capture_output=True, text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    unit = float(done.stdout)
    print(f"{'':24s} clock  processors   ratio to {unit:.2f} s     load {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        main = ["-m", "dmft", *COMMAND, "--out", folder]
        seconds_of([*main, "--n-paths", "256"], folder)  # bytecode, files of matplotlib
        for name, arguments, repeats, is_cold in (
            ("import dmft", ["-c", "import dmft"], 5, False),
            ("delta-nn --help", ["-m", "dmft", "--help"], 5, False),
            ("README's command, cold", main, 2, True),
            ("README's command, warm", main, 3, False),
        ):
            found = []
            for _ in range(repeats):
                with tempfile.TemporaryDirectory() as empty:
                    found.append(seconds_of(arguments, empty if is_cold else folder))
            clock, processors = min(found)
            print(f"{name:24s} {clock:5.2f}  {processors:10.2f}   {clock / unit:8.2f}", flush=True)


def list_compiled(folder: str) -> None:
    """Run the command with nothing compiled, and list what is."""
    os.environ.update(NUMBA_CACHE_DIR=folder, NUMBA_NUM_THREADS="1")  # before numba is loaded
    from numba.core import event

    stack: list[tuple[int, float]] = []
    rows: list[list[float | str]] = []  # depth, name, seconds alone, seconds with those it calls

    class Listener(event.Listener):
        def on_start(self, event: event.Event) -> None:
            stack.append((len(rows), time.process_time()))
            rows.append([len(stack), event.data["dispatcher"].py_func.__qualname__, 0.0, 0.0])

        def on_end(self, event: event.Event) -> None:
            place, start = stack.pop()
            seconds = time.process_time() - start
            rows[place][2] += seconds
            rows[place][3] = seconds
            if stack:
                rows[stack[-1][0]][2] -= seconds

    event.register("numba:compile", Listener())
    from dmft.cli import main

    with contextlib.redirect_stdout(None):
        main([*COMMAND, "--n-paths", "256", "--threads", "1", "--out", folder])
    print(f"alone    with those it calls      of {sum(row[2] for row in rows):.1f} s in all")
    for depth, name, alone, whole in rows:
        print(f"{alone:5.2f}  {whole:5.2f}  {'  ' * depth}{name}")
    for name, count in collections.Counter(row[1] for row in rows).items():
        if count > 1 and "locals" not in name:  # functions of numba are made for many types
            print(f"{name} was compiled {count} times")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compiled", action="store_true", help="list what is compiled")
    if parser.parse_args().compiled:
        with tempfile.TemporaryDirectory() as cache:
            list_compiled(cache)
    else:
        report()
