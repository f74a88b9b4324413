"""Measure the ratios that are kept, and append them to a file, so that a slow-down is seen.

    python tests/benchmarks/run_kept.py                 # in three minutes; appends to history.csv
    python tests/benchmarks/run_kept.py --dry           # the same, and appends nothing
    python tests/benchmarks/run_kept.py floor density   # some of them

Each is the time of a job of this package over that of the same work, or of work of a fixed size,
by numpy or scipy: below 1 the package is faster. Everything has one thread, times are those of the
processor, things compared take turns, and the shortest time counts; so others at work on the
machine matter little, but what they do to caches and clocks stays. The load before the first
measurement is written down with the numbers. Printed beside each is its change against the last
entry of the same machine; changes below ten per cent are noise.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import datetime
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy is loaded

import bench_rmt  # noqa: E402
import bench_simulation  # noqa: E402
import bench_solver  # noqa: E402
import numpy as np  # noqa: E402

import dmft  # noqa: E402
import rmt  # noqa: E402
from dmft.io.results import software_commit  # noqa: E402
from dmft.model.gradients import pre_activation_gradient  # noqa: E402

HISTORY = Path(__file__).with_name("history.csv")
FIELDS = (
    "date", "commit", "machine", "cores", "load", "python", "numpy", "scipy", "numba",
    "ratio", "value", "seconds", "note",
)  # fmt: skip
NOTABLE = 0.1
LOADED = 0.5  # load of the machine before the first measurement, above which others were at work

EXACT = bench_solver.sampling(4096, 1e-12)
RATIOS: dict[str, Callable[[], tuple[float, float]]] = {}


def ratio(function: Callable[[], tuple[float, float]]) -> Callable[[], tuple[float, float]]:
    """Enter a function that returns our time and the time that it is divided by."""
    RATIOS[function.__name__] = function
    return function


def over_floor(
    second_layer: list[float], n_steps: int, given: dmft.Sampling
) -> tuple[float, float]:
    """Time of the run over all paths, and of the products of any step at its ranks, by BLAS."""
    case = bench_solver.problem(second_layer=second_layer)
    method = dmft.GradientDescent(0.2, n_steps)
    ours, run = bench_solver.timed(
        lambda: bench_solver.pooled_run(case, 6.0, method, given), 3, time.process_time
    )
    n_paths = given.replicates * given.n_paths
    return ours, bench_solver.floor_seconds(run, n_paths, case.m, time.process_time)


@ratio
def floor() -> tuple[float, float]:
    """A run (GELU, T 200, 8 x 4096, exact) over the products of any step, by BLAS."""
    return over_floor([1.0], 200, EXACT)


@ratio
def floor_short() -> tuple[float, float]:
    """The same at few rows: T 40, 8 x 8192, 1e-10."""
    return over_floor([1.0], 40, bench_solver.sampling(8192, 1e-10))


@ratio
def floor_m2() -> tuple[float, float]:
    """The same for two neurons: T 100, 8 x 4096, 1e-10."""
    return over_floor([1.0, -0.5], 100, bench_solver.sampling(4096, 1e-10))


@ratio
def floor_m4() -> tuple[float, float]:
    """The same for four neurons: T 40, 8 x 4096, 1e-10."""
    return over_floor([1.0, -0.5, 0.7, -0.3], 40, bench_solver.sampling(4096, 1e-10))


@ratio
def pointwise() -> tuple[float, float]:
    """Gradient and loss of GELU with the pseudo-Huber loss, over the same by numpy and scipy."""
    case = bench_solver.problem()
    rng = np.random.default_rng(0)
    r, y = rng.standard_normal((1, 2**16)), rng.standard_normal(2**16) ** 2
    twin = bench_solver.in_numpy(case)
    pre_activation_gradient(case, r, y)  # compile
    return in_turns(
        lambda: pre_activation_gradient(case, r, y),
        lambda: pre_activation_gradient(twin, r, y),
        repeat=20,
    )


@ratio
def plain() -> tuple[float, float]:
    """The same run over plain numpy with the same random numbers."""
    case, method = bench_solver.problem(), dmft.GradientDescent(0.2, 200)
    leading, fresh = bench_solver.plain_paths.same_numbers(case, EXACT)
    return in_turns(
        lambda: bench_solver.pooled_run(case, 6.0, method, EXACT),
        lambda: bench_solver.plain_paths.run(
            bench_solver.in_numpy(case), 6.0, method, leading, fresh, orthogonalise=True
        ),
    )


@ratio
def density() -> tuple[float, float]:
    """Density, 2000 signed weights, 400 points, over a damped iteration at Im z = 1e-3."""
    weights = bench_rmt.random_weights(2000, 1)[:, 0, 0]
    law = rmt.HessianLaw(weights, 2.0)
    x = np.linspace(*law.edges(), 402)[1:-1]
    damped = (x, 1e-3, weights, 2.0, 1e-6)
    law.density(x)
    bench_rmt.damped_scalar(*damped, 1)  # compile
    return in_turns(
        lambda: law.density(x), lambda: bench_rmt.damped_scalar(*damped, 20000), repeat=10
    )


@ratio
def threshold() -> tuple[float, float]:
    """The README's threshold, warm, over a hundred products of 1000 x 1000 matrices by BLAS."""
    run = dmft.load_preset("robust-phase-retrieval")
    matrix = np.random.default_rng(0).standard_normal((1000, 1000))

    def found(sampling: dmft.Sampling) -> dmft.Threshold:
        wanted = run.threshold
        return dmft.find_delta_nn(
            run.problem, run.method, wanted.bracket, wanted.step, sampling, threads=1
        )

    def products() -> None:
        for _ in range(100):
            matrix @ matrix

    found(dataclasses.replace(run.sampling, n_paths=256))  # compile
    return in_turns(lambda: found(run.sampling), products, repeat=1)


@ratio
def smallest() -> tuple[float, float]:
    """Both ends of a Hessian of order 3000 over numpy's eigvalsh of that order."""
    matrix = np.random.default_rng(0).standard_normal((3000, 3000))
    matrix += matrix.T
    hessian = bench_simulation.trained(bench_simulation.problem([1.0, 0.8]), 6.0, 1500)
    return in_turns(hessian.extremes, lambda: np.linalg.eigvalsh(matrix))


def in_turns(
    ours: Callable[[], object], other: Callable[[], object], repeat: int = 2
) -> tuple[float, float]:
    """Shortest time of either."""
    found = bench_solver.in_turns({"ours": ours, "other": other}, repeat, time.process_time)
    return found["ours"][0], found["other"][0]


def entries() -> list[dict[str, str]]:
    """What was measured before, oldest first."""
    if not HISTORY.exists():
        return []
    with HISTORY.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def machine() -> str:
    """Kind of processor; where the system does not say, of machine."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def append(rows: list[dict[str, object]]) -> None:
    """Add rows to the file, which is made with its first line when missing."""
    new = not HISTORY.exists()
    with HISTORY.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Measure, print, append."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ratios", nargs="*", metavar="RATIO", help=f"of {', '.join(RATIOS)}")
    parser.add_argument("--dry", action="store_true", help="append nothing")
    parser.add_argument("--note", default="", help="anything a reader should know")
    arguments = parser.parse_args()
    if unknown := set(arguments.ratios) - set(RATIOS):
        parser.error(f"no such ratio: {', '.join(sorted(unknown))}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    note = arguments.note or ("loaded" if load > LOADED else "")
    common = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": software_commit() or "",
        "machine": machine(),
        "cores": os.cpu_count(),
        "load": f"{load:.2f}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scipy", "numba")},
        "note": note,
    }
    here = {row["ratio"]: row for row in entries() if row["machine"] == common["machine"]}
    start, rows = time.perf_counter(), []
    small = bench_solver.sampling(64, replicates=2)
    dmft.solve(bench_solver.problem(), 6.0, dmft.GradientDescent(0.2, 30), small)  # compile
    for name in arguments.ratios or RATIOS:
        ours, other = RATIOS[name]()
        value, change = ours / other, ""
        if name in here:
            before = float(here[name]["value"])
            change = f"{value / before - 1:+.0%} since {here[name]['date'][:10]}"
            change += f" ({here[name]['note']})" if here[name]["note"] else ""
            change += "   SLOWER" if value > (1 + NOTABLE) * before else ""
        print(f"{name:12s} {value:9.4f}   {ours:8.4f} s   {change}", flush=True)
        print(f"             {RATIOS[name].__doc__}")
        rows.append({**common, "ratio": name, "value": f"{value:.5g}", "seconds": f"{ours:.4g}"})
    if not arguments.dry:
        append(rows)
    print(f"{time.perf_counter() - start:.0f} s, {note or 'quiet machine'}")


if __name__ == "__main__":
    main()
