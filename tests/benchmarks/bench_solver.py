"""Speed, memory and accuracy of the solver, part by part and against what it is measured by.

Run on request, all of it or the sections named::

    python tests/benchmarks/bench_solver.py
    python tests/benchmarks/bench_solver.py --sections parts plain --quick

Ratios are what to quote; seconds are for orientation, and the load of the machine is printed with
them. Things compared are timed in turns, and the shortest time counts. BLAS has as many threads as
the solver, two unless ``--threads`` says otherwise. Peak memory is that of a process which does
nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import plain_paths

import dmft
import dmft._numerics.kernels
from dmft._numerics import workers
from dmft.model.gradients import compiled_law
from dmft.solver import paths, process
from dmft.solver import replicates as solver
from dmft.solver.streams import GaussianStream

THREADS = 2
QUICK = False


# -- tools ---------------------------------------------------------------------------------------


def problem(activation: str = "gelu", second_layer=(1.0,), target: str = "phase-retrieval"):
    return dmft.Problem(target, dmft.Network(activation, second_layer), "pseudo-huber")


def in_numpy(case):
    """The same problem, with an activation whose averages are not compiled."""
    own = case.network.activation
    members = (own.value, own.derivative, own.second_derivative)
    activation = dmft.Activation(*members, name=f"{own.name} in numpy")
    return dataclasses.replace(case, network=dmft.Network(activation, case.network.second_layer))


def sampling(
    n_paths: int,
    tolerance: float | None = None,
    replicates: int = 8,
    seed: int = 0,
    compression: float | None = None,
):
    return dmft.Sampling(
        n_paths=n_paths,
        replicates=replicates,
        seed=seed,
        rank_tolerance=tolerance,
        compression=compression,
    )


def pooled_run(case, delta, method, given, threads=1):
    """The run over the paths of all replicates, without those of each replicate."""
    shared = shared_by_runs(case, delta, method, given)
    with workers.single_threaded_blas(), ThreadPoolExecutor(threads) as pool:
        streams = list(pool.map(shared.stream, range(given.replicates)))
        return solver._run(shared, streams, workers.sharing(pool, threads))


def shared_by_runs(case, delta, method, given):
    hard = case.target.hard_basis
    return solver._Shared(case, delta, method, given, frozenset(), 0, hard, None)


def in_turns(functions: dict, repeat: int = 3, clock=time.perf_counter) -> dict:
    """Shortest time of each function, and its last result; the functions take turns."""
    best, results = dict.fromkeys(functions, np.inf), {}
    for _ in range(repeat):
        for name, function in functions.items():
            start = clock()
            results[name] = function()
            best[name] = min(best[name], clock() - start)
    return {name: (best[name], results[name]) for name in functions}


def timed(function, repeat: int = 1, clock=time.perf_counter):
    return in_turns({"": function}, repeat, clock)[""]


def heading(text: str) -> None:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"\n{text}   [load {load:.1f}]", flush=True)


def line(text: str) -> None:
    print(f"  {text}", flush=True)


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


def alone(**arguments) -> dict:
    """Run one solve in a process of its own; seconds, peak memory (GB), rank, passes, error."""
    command = [sys.executable, __file__, "--child", json.dumps({"threads": THREADS} | arguments)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(found.stdout.splitlines()[-1])


def peak_memory() -> float:
    """Most that this process has held, in GB; what its parent held does not count."""
    status = Path("/proc/self/status")
    if status.exists():
        entry = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(entry.split()[1]) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def child(arguments: dict) -> None:
    """What `alone` runs."""
    a = {"activation": "gelu", "second_layer": [1.0], "delta": 6.0, "eta": 0.2} | arguments
    case = problem(a["activation"], a["second_layer"])
    given = sampling(
        a["n_paths"], a["tolerance"], a.get("replicates", 8), compression=a.get("compression")
    )
    small = sampling(64, replicates=2)
    dmft.solve(case, a["delta"], dmft.GradientDescent(a["eta"], 30), small)  # compile
    before = peak_memory()
    method = dmft.GradientDescent(a["eta"], a["n_steps"])
    start = time.perf_counter()
    trajectory = dmft.solve(case, a["delta"], method, given, threads=a["threads"])
    seconds = time.perf_counter() - start
    peak = peak_memory()
    print(
        json.dumps(
            {
                "seconds": seconds,
                "peak": peak,
                "before": before,
                "rank": int(trajectory.rank),
                "steps": trajectory.n_steps,
                "norm": float(trajectory.norm[-1, 0, 0]),
                "stderr": float(trajectory.stderr["norm"][-1, 0, 0]),
                "ok": trajectory.status.ok,
            }
        )
    )


# -- a solve by parts ----------------------------------------------------------------------------


@contextlib.contextmanager
def stopwatch(places):
    """Time what happens inside functions: {label: [seconds, calls]}; ``places`` are (owner, name).

    Times include those of other functions called within.
    """
    times = defaultdict(lambda: [0.0, 0])
    originals = [(owner, name, getattr(owner, name)) for owner, name in places]

    def wrap(original, label):
        def timed_call(*args, **kwargs):
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                times[label][0] += time.perf_counter() - start
                times[label][1] += 1

        return timed_call

    for owner, name, original in originals:
        setattr(owner, name, wrap(original, name))
    try:
        yield times
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def shares_of_pass(n_rows: int, m: int, n_rhs: int, activation: str) -> dict[str, float]:
    """Relative times of the parts of a compiled full pass, each alone on a block of 4096 paths."""
    rng = np.random.default_rng(0)
    n = 4096
    basis = rng.standard_normal((n_rows, n))
    coefficients, rows = rng.standard_normal((m, n_rows)), rng.standard_normal((n_rhs, n))
    r, g, out = np.empty((m, n)), np.empty((m, n)), np.empty((n_rhs, n_rows))
    case = problem(activation, np.ones(m))
    law = compiled_law(case)
    y, losses, above = rng.standard_normal(n) ** 2, np.empty(n), np.zeros(4)
    kernels = dmft._numerics.kernels
    found = in_turns(
        {
            "r = B q": lambda: kernels.combine_kernel(coefficients, basis, n_rows, r),
            "element-wise": lambda: kernels.gradient_kernel(
                rows[:m], kernels.Samples(y, law, np.inf, np.empty(0)), g, losses, above
            ),
            "averages with the basis": lambda: kernels.average_kernel(rows, basis, n_rows, out),
        },
        20,
    )
    total = sum(seconds for seconds, _ in found.values())
    return {name: seconds / total for name, (seconds, _) in found.items()}


def section_parts() -> None:
    """Where the time of a solve goes."""
    heading("parts of a solve: the run over all paths, one thread")
    cases = [
        ("GELU, m 1, T 200, 8 x 4096, tolerance 1e-10", "gelu", [1.0], 200, 4096, 1e-10),
        ("GELU, m 1, T 2000, 8 x 2048, tolerance 1e-6", "gelu", [1.0], 2000, 2048, 1e-6),
        ("GELU, m 2, T 200, 8 x 2048, tolerance 1e-8", "gelu", [1.0, -0.5], 200, 2048, 1e-8),
    ]
    kernels, P = dmft._numerics.kernels, process.Process
    places = [
        (kernels, name)
        for name in ("step_kernel", "recycled_kernel", "innovation_kernel", "average_kernel")
    ]
    places += [(kernels, "remove_kernel"), (P, "_full_pass"), (P, "_from_subspace")]
    places += [
        (GaussianStream, "block"),
        (paths.Paths, "add_gradients"),
        (paths.Paths, "_orthonormalise"),
    ]
    for label, activation, second_layer, n_steps, n_paths, tolerance in cases[: 1 if QUICK else 3]:
        case, m = problem(activation, second_layer), len(second_layer)
        method = dmft.GradientDescent(0.2, n_steps)
        with workers.single_threaded_blas(), stopwatch(places) as times:
            start = time.perf_counter()
            run = pooled_run(case, 6.0, method, sampling(n_paths, tolerance))
            total = time.perf_counter() - start
        seconds = {name: entry[0] for name, entry in times.items()}
        calls = {name: entry[1] for name, entry in times.items()}
        n_rows = int(run.counts[:, 2].mean()) + 1
        passes = seconds.get("step_kernel", 0.0)
        shares = shares_of_pass(n_rows, m, 2 * m, activation)
        parts = {name: share * passes for name, share in shares.items()}
        parts["averages with the basis"] += seconds.get("average_kernel", 0.0)
        parts["Gram-Schmidt: remove"] = seconds.get("remove_kernel", 0.0)
        parts["Gram-Schmidt: the rest"] = seconds["add_gradients"] - seconds.get(
            "remove_kernel", 0.0
        )
        parts["fresh Gaussians"] = seconds.get("block", 0.0)
        parts["recycled steps"] = seconds.get("_from_subspace", 0.0)
        parts["other"] = total - sum(parts.values())
        line(f"{label}: {total:.2f} s, rank {run.weights.shape[2]}, mean rows {n_rows}")
        n_blocks = -(-8 * n_paths // 4096)
        sweeps = calls.get("remove_kernel", 0) / n_blocks
        line(
            f"  {run.n_visits} of {n_steps + 1} steps by full passes; {sweeps:.0f} sweeps of "
            "Gram-Schmidt that subtract"
        )
        for name, spent in parts.items():
            line(f"    {name:26s} {100 * spent / total:5.1f} %")


# -- plain numpy ---------------------------------------------------------------------------------


def section_plain() -> None:
    """Against the plain numpy version: the same C to rounding, and the time."""
    heading("plain numpy, the same random numbers, T 200, 8 x 4096, every direction above 1e-12")
    n_steps, n_paths = (60, 512) if QUICK else (200, 4096)
    case, method = problem(), dmft.GradientDescent(0.2, n_steps)
    given = sampling(n_paths, 1e-12)
    leading, fresh = plain_paths.same_numbers(case, given)
    # The same paths in another order: what rounding does to this process whoever computes it.
    other = np.random.default_rng(0).permutation(leading.shape[1])

    def reordered(t: int) -> np.ndarray:
        return fresh(t)[:, other]

    with threadpool_limits(THREADS, "blas"):
        found = in_turns(
            {
                "plain": lambda: plain_paths.run(
                    in_numpy(case), 6.0, method, leading, fresh, orthogonalise=True
                ),
                "ours": lambda: pooled_run(case, 6.0, method, given, THREADS),
            }
        )
        found |= in_turns(
            {
                "bare": lambda: plain_paths.plain_monte_carlo(
                    in_numpy(case), 6.0, method, 8 * n_paths, 0
                ),
                "solve": lambda: dmft.solve(case, 6.0, method, given, threads=THREADS),
                "again": lambda: plain_paths.run(
                    case, 6.0, method, leading[:, other], reordered, orthogonalise=True
                ),
            },
            1,
        )
    plain, (exact, rank) = found["plain"]
    bare, _ = found["bare"]
    ours, run = found["ours"]
    whole, _ = found["solve"]
    norms = np.einsum("tir,tjr->tij", run.weights, run.weights)
    rounding = np.abs(found["again"][1][0] - exact)
    for last in (20, 40, n_steps):
        difference = np.abs(norms - exact)[: last + 1].max()
        line(
            f"largest difference of C(t,t) to step {last}: {difference:.1e}   "
            f"{verdict(difference <= 1e-10)} (1e-10); the twin with its paths in another order "
            f"{rounding[: last + 1].max():.1e}"
        )
    line(
        f"rank {run.weights.shape[2]} and {rank}; one run {ours:.2f} s; the same in plain numpy "
        f"{plain:.1f} s = {plain / ours:.1f} x   {verdict(plain >= 5 * ours)} (5)"
    )
    line(f"plain numpy without sample-orthogonality {bare:.1f} s = {bare / ours:.1f} x")
    line(f"with the runs of the replicates {whole:.2f} s; twice plain = {2 * plain / whole:.1f} x")
    memory = alone(n_steps=n_steps, n_paths=n_paths, tolerance=1e-12)
    line(f"peak memory of the solve {memory['peak']:.2f} GB   {verdict(memory['peak'] <= 1)} (1)")


# -- the floor -----------------------------------------------------------------------------------


def blas_second_per_row(n_paths: int, n_rows: int, m: int, clock=time.perf_counter) -> float:
    """Time of r = B q, E[g q^T] and a Gram-Schmidt sweep by BLAS, on blocks of 4096 paths."""
    rng = np.random.default_rng(0)
    width = 4096
    blocks = [rng.standard_normal((n_rows, width)) for _ in range(max(1, n_paths // width))]
    few, rows = rng.standard_normal((m, n_rows)), rng.standard_normal((m, width))

    def step() -> None:
        for block in blocks:
            few @ block
            rows @ block.T
        for block in blocks:
            rows @ block.T
            few @ block

    seconds, _ = timed(step, 5, clock)
    return seconds / n_rows


def floor_seconds(run, n_paths: int, m: int, clock=time.perf_counter) -> float:
    """Time of all steps of a run at the ranks it had."""
    ranks = run.counts[:, 0].astype(float)
    nodes = np.unique(np.linspace(ranks.min(), ranks.max(), 4).astype(int))
    cost = [blas_second_per_row(n_paths, int(x), m, clock) * x for x in nodes]
    return float(np.interp(ranks, nodes, cost).sum())


def section_floor() -> None:
    """Against r = B q, E[g q^T] and one Gram-Schmidt sweep of every step, by BLAS."""
    heading("times the floor: 4 N rank m flops and a Gram-Schmidt sweep a step, by BLAS")
    cases = [
        ("GELU, T 40, 8 x 8192, 1e-10", [1.0], 40, 8192, 1e-10),
        ("GELU, T 200, 8 x 4096, 1e-12", [1.0], 200, 4096, 1e-12),
        ("GELU, T 1000, 8 x 2048, 1e-6", [1.0], 1000, 2048, 1e-6),
        ("GELU, m 2, T 100, 8 x 4096, 1e-10", [1.0, -0.5], 100, 4096, 1e-10),
        ("GELU, m 4, T 40, 8 x 4096, 1e-10", [1.0, -0.5, 0.7, -0.3], 40, 4096, 1e-10),
    ]
    for label, second_layer, n_steps, n_paths, tolerance in cases[: 2 if QUICK else None]:
        case, method = problem("gelu", second_layer), dmft.GradientDescent(0.2, n_steps)
        given = sampling(n_paths, tolerance)
        with threadpool_limits(1, "blas"):
            seconds, run = timed(lambda a=(case, 6.0, method, given): pooled_run(*a), 2)
            floor = floor_seconds(run, 8 * n_paths, case.m)
        ranks = run.counts[:, 0].astype(float)
        rate = 8 * (8 * n_paths) * case.m * ranks.sum() / floor / 1e9
        line(
            f"{label:34s} {seconds / floor:5.2f} x   rank {int(ranks[-1]):3d}, floor {floor:.2f} s "
            f"at {rate:.1f} Gflop/s, one thread   {verdict(seconds <= 3 * floor)} (3)"
        )


# -- growth --------------------------------------------------------------------------------------


def section_growth() -> None:
    """Cost and memory against T, N, m and tolerance."""
    heading("growth: whole solves, each in its own process, delta 6, eta 0.2")

    def table(label: str, rows: list[dict]) -> list[float]:
        line(label)
        seconds = []
        for arguments in rows:
            found = alone(**arguments)
            seconds.append(found["seconds"])
            shown = ", ".join(f"{k} {v}" for k, v in arguments.items() if k != "activation")
            line(
                f"    {shown}: {found['seconds']:7.2f} s, {found['peak']:.2f} GB "
                f"({found['before']:.2f} before), rank {found['rank']}"
                + ("" if found["ok"] else f", stopped at step {found['steps']}")
            )
        return seconds

    lengths = [50, 100, 200] if QUICK else [50, 100, 200, 500, 1000, 2000, 5000, 10000]
    # The finer the tolerance, the more directions, which take more paths to tell apart.
    for tolerance, n_paths, longest in ((1e-4, 1024, 10000), (1e-6, 4096, 2000)):
        lengths = [n for n in lengths if n <= longest]
        seconds = table(
            f"against T, 8 x {n_paths}, tolerance {tolerance:g}",
            [{"n_steps": n, "n_paths": n_paths, "tolerance": tolerance} for n in lengths],
        )
        if not QUICK:
            cost = dict(zip(lengths, seconds, strict=True))
            exponent = np.log(cost[2000] / cost[200]) / np.log(10)
            line(
                f"  exponent between 200 and 2000: {exponent:.2f}   "
                f"{verdict(exponent <= 1.5)} (1.5)"
            )
    n_steps, n_paths = (60, 256) if QUICK else (500, 8192)
    method = dmft.GradientDescent(0.2, n_steps)

    def solved(tolerance: float) -> dmft.Trajectory:
        given = sampling(n_paths, tolerance)
        return dmft.solve(problem(), 6.0, method, given, threads=THREADS, hessian_steps=[])

    # Late in an exact run the bias of finitely many paths is larger than their standard error.
    exact, deviations = solved(1e-12), []
    for tolerance in (1e-4, 1e-6):
        found = solved(tolerance)
        for name in ("norm", "train_loss", "test_loss", "gradient_norm"):
            error = np.hypot(exact.stderr[name], exact.bias[name]) + 1e-12
            ratio = np.abs(getattr(found, name) - getattr(exact, name)) / error
            deviations.append(f"{name} {np.sqrt(np.mean(ratio**2)):.2f} ({ratio.max():.2f})")
        line(
            f"T {n_steps}, 8 x {n_paths}, tolerance {tolerance:g} against exact mode "
            f"({exact.status.name}), differences over errors of its sampling, root mean square "
            "over steps (and largest): "
            f"{', '.join(deviations[-4:])}"
        )
    base = {"n_steps": 100, "n_paths": 1024, "tolerance": 1e-8}
    table("against N", [base | {"n_paths": n} for n in (1024, 4096, 16384)[: 2 if QUICK else 3]])
    layers = ([1.0], [1.0, -0.5], [1.0, -0.5, 0.7, -0.3])
    table("against m", [base | {"second_layer": layer} for layer in layers])
    table("against the tolerance", [base | {"tolerance": x} for x in (1e-4, 1e-6, 1e-8, 1e-10)])


# -- single lines --------------------------------------------------------------------------------


def exact_linear(delta: float, lam: float, eta: float, n_steps: int) -> tuple[np.ndarray, ...]:
    """M(t) and C(t, t) of a linear neuron under the square loss, label z, Theta^0 = 0.

    By quadrature over the Marchenko-Pastur law of ratio 1/delta.
    """
    nodes, weights = np.polynomial.legendre.leggauss(4000)
    angle = 0.5 * np.pi * (nodes + 1.0)
    c = 1.0 / delta
    x = 1.0 + c - 2.0 * np.sqrt(c) * np.cos(angle)  # between the edges (1 -+ sqrt(c))^2
    density = 4.0 * c * np.sin(angle) ** 2 / (2.0 * np.pi * c * x)
    weights = 0.5 * np.pi * weights * density
    t = np.arange(n_steps + 1)[:, np.newaxis]
    filtered = x / (x + lam) * (1.0 - (1.0 - eta * (x + lam)) ** t)
    return filtered @ weights, filtered**2 @ weights


def linear_neuron() -> None:
    """A neuron with a known answer: T 50 and T 200."""
    case = dmft.Problem(
        "linear", dmft.Network("linear"), "square", init_radius=0.0, weight_decay=0.5
    )
    delta, eta = 3.0, 0.1
    exact_m, exact_c = exact_linear(delta, 0.5, eta, 200)
    for n_steps, n_paths, replicates, limit in (
        (50, 4096, 8, 1.0),
        (200, 256, 8, 0.3),
        (200, 512, 4, 0.3),
    ):
        method = dmft.GradientDescent(eta, n_steps)
        given = sampling(n_paths, replicates=replicates)
        seconds, trajectory = timed(
            lambda a=(case, delta, method, given): dmft.solve(*a, threads=THREADS), 3
        )
        error_m = np.abs(trajectory.overlap[:, 0, 0] - exact_m[: n_steps + 1]).max()
        error_c = np.abs(trajectory.norm[:, 0, 0] - exact_c[: n_steps + 1]).max()
        reached = seconds <= limit and (n_steps > 50 or max(error_m, error_c) <= 1e-4)
        line(
            f"linear neuron, delta 3, T {n_steps}, {replicates} x {n_paths}: errors of M "
            f"{error_m:.1e} and C(t,t) {error_c:.1e} in {seconds:.2f} s   "
            f"{verdict(reached)} ({limit} s)"
        )


def two_relu() -> None:
    """Two neurons with kinks, 7 steps."""
    case = dmft.Problem("product", dmft.Network("relu", [1.0, -1.0]), "square")
    method = dmft.GradientDescent(0.2, 7)
    seconds, trajectory = timed(
        lambda: dmft.solve(case, 4.0, method, sampling(8192), threads=THREADS), 2
    )
    error = trajectory.stderr["norm"][-1].max()
    line(
        f"two ReLU neurons, T 7, 8 x 8192: stderr {error:.1e} in "
        f"{seconds:.2f} s   {verdict(error <= 1e-3 and seconds <= 1.0)} (1e-3, 1 s)"
    )


def long_gelu() -> None:
    """T 2000 with 20000 paths, against the same in plain numpy."""
    n_steps = 200 if QUICK else 2000
    method = dmft.GradientDescent(0.2, n_steps)
    # 10 x 2048 paths: the run over all of them is what the plain version does.
    given = sampling(2048, 1e-6, replicates=10)
    leading, fresh = plain_paths.same_numbers(problem(), given)
    with threadpool_limits(THREADS, "blas"):
        found = in_turns(
            {
                "plain": lambda: plain_paths.run(
                    in_numpy(problem()),
                    6.0,
                    method,
                    leading,
                    fresh,
                    rank_tolerance=1e-6,
                    orthogonalise=True,
                    faint=0.0,
                ),
                "ours": lambda: pooled_run(problem(), 6.0, method, given, THREADS),
                # As users would: tolerance and compression choose themselves.
                "solve": lambda: dmft.solve(
                    problem(), 6.0, method, sampling(2048, replicates=10), threads=THREADS
                ),
            },
            1,
        )
    plain, (norms, rank) = found["plain"]
    ours, run = found["ours"]
    whole, trajectory = found["solve"]
    ended = float(np.sum(run.weights[-1] ** 2))
    error = trajectory.stderr["norm"][-1, 0, 0]
    line(
        f"GELU, T {n_steps}, 20480 paths, 1e-6: {ours:.2f} s (rank {run.weights.shape[2]}, "
        f"{run.n_visits} full passes) against {plain:.1f} s (rank {rank}) = {plain / ours:.1f} x   "
        f"{verdict(ours <= 4.0)} (4 s)"
    )
    line(
        f"    default settings, with its error {whole:.2f} s   {verdict(whole <= 12.0)} (12 s); "
        f"C(T,T) {ended:.4f} and {norms[-1, 0, 0]:.4f}, stderr {error:.4f}"
    )


def thresholds() -> None:
    for name in ("quadratic", "gelu"):
        n_paths = 2048 if QUICK else 16384
        seconds, found = timed(
            lambda a=name, n=n_paths: dmft.find_delta_nn(
                problem(a),
                dmft.GradientDescent(0.2, 40),
                (1, 12),
                sampling=sampling(n, replicates=10),
                threads=THREADS,
            )
        )
        relative = found.stderr / found.value
        reached = relative <= 0.005 and seconds <= 15.0
        line(
            f"find_delta_nn, {name}, T 40, 10 x {n_paths}: {found.value:.4f} +- "
            f"{100 * relative:.2f} % in {seconds:.1f} s   {verdict(reached)} (0.5 %, 15 s)"
        )


def long_horizon() -> None:
    n_steps, n_paths = (500, 512) if QUICK else (10000, 8192)
    for tolerance, compression in ((1e-4, 0.0), (1e-4, 0.02), (1e-6, 0.02)):
        found = alone(
            n_steps=n_steps, n_paths=n_paths, tolerance=tolerance, compression=compression
        )
        reached = found["seconds"] <= 180 and found["peak"] <= 2.0 and found["ok"]
        line(
            f"T {n_steps}, 8 x {n_paths}, tolerance {tolerance:g}, compression {compression:g}: "
            f"{found['seconds']:.0f} s, {found['peak']:.2f} GB, rank {found['rank']}, "
            f"C(T,T) {found['norm']:.4f} +- {found['stderr']:.4f}   "
            f"{verdict(reached)} (180 s, 2 GB)"
        )


def per_second() -> None:
    """Time for the same error of C(T,T), against gradient descent on real data at d = 2000."""
    for n_steps in (40, 400):
        _per_second(n_steps)


def _per_second(n_steps: int) -> None:
    d, seeds = (200, 8) if QUICK else (2000, 8)
    case, method, delta = problem(), dmft.GradientDescent(0.2, n_steps), 6.0
    dmft.simulate(case, delta, method, 50, 1, workers=1)
    simulated, sim = timed(lambda: dmft.simulate(case, delta, method, d, seeds, workers=THREADS))
    spread = np.std(sim.correlation[:, -1, 0, 0], ddof=1)
    given = [sampling(2048, seed=seed) for seed in range(8)]
    seconds, _ = timed(lambda: dmft.solve(case, delta, method, given[0], threads=THREADS), 3)
    ended = [pooled_run(case, delta, method, one, THREADS).weights[-1] for one in given]
    error = np.std([np.sum(B**2) for B in ended], ddof=1)
    ratio = simulated / seeds * (spread / error) ** 2 / seconds
    line(
        f"C(T,T) at T {n_steps}: one simulation at d {d} has a spread of {spread:.1e}, takes "
        f"{simulated / seeds:.2f} s; solve with 8 x 2048 paths {error:.1e} in {seconds:.2f} s: "
        f"{ratio:.0f} x less time for the same error   {verdict(ratio >= 300)} (300, at T 40)"
    )


def section_lines() -> None:
    """Single jobs with an aim."""
    heading("single jobs")
    for job in (linear_neuron, two_relu, long_gelu, thresholds, per_second, long_horizon):
        job()


def section_flow() -> None:
    """Gradient flow of both phase retrieval presets, and small steps of descent beside it."""
    n_paths, tol = (256, 1e-2) if QUICK else (2048, 3e-3)
    heading(f"gradient flow, 8 x {n_paths} paths, tol {tol:g}")
    beside = 4.0 if QUICK else 20.0
    times = [0.0, 1.0, 2.0, 4.0]
    if not QUICK:
        times += [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]
    eta = 0.04 if QUICK else 0.02
    for name in ("robust-phase-retrieval", "robust-phase-retrieval-gelu"):
        case = dmft.load_preset(name).problem
        for delta in (2.0, 4.0, 8.0, 16.0):
            method = dmft.GradientFlow(times[-1], tol, times)
            seconds, flow = timed(
                lambda a=(case, delta, method): dmft.solve(*a, sampling(n_paths), threads=THREADS)
            )
            line(
                f"{name}, delta {delta:g}, to time {times[-1]:g}: {seconds:.0f} s, rank "
                f"{flow.rank}, C {flow.norm[-1, 0, 0]:.3f} +- {flow.stderr['norm'][-1, 0, 0]:.3f}, "
                f"{flow.status.name}   {verdict(seconds <= 300 and flow.status.ok)} (300 s)"
            )
            # As exact as so few paths can hold, and the errors of its own steps are of order eta.
            steps = dmft.GradientDescent(eta, round(beside / eta))
            seconds, small = timed(
                lambda a=(case, delta, steps): dmft.solve(
                    *a, sampling(n_paths, 1e-5), threads=THREADS
                )
            )
            reached = min(beside, small.n_steps * eta, flow.times[flow.n_steps])
            common = [i for i, t in enumerate(times) if 0.0 < t <= reached]
            at = [round(times[i] / eta) for i in common]
            worst = 0.0
            for key in ("norm", "train_loss"):
                size = np.abs(getattr(small, key)[at])
                difference = np.abs(getattr(flow, key)[common] - getattr(small, key)[at])
                error = np.hypot(flow.stderr[key][common], small.stderr[key][at])
                worst = max(worst, float(np.max(difference / (tol * size + error))))
            line(
                f"    steps of {eta:g} to time {beside:g}: {seconds:.0f} s, rank {small.rank}, "
                f"{small.status.name}; C and loss differ by at most {worst:.1f} x (tol + standard "
                f"error)   {verdict(worst <= 3.0)} (3)"
            )


# -- options -------------------------------------------------------------------------------------


def section_options() -> None:
    """What batches, momentum, schedules and a trained second layer cost, beside plain descent."""
    n_steps, n_paths = (20, 512) if QUICK else (40, 16384)
    heading(f"options of the method, T {n_steps}, 8 x {n_paths}: processor time, in turns")
    options = {
        "plain": {},
        "mini-batches of a half": {"batch_fraction": 0.5},
        "momentum 0.9": {"step_size": 0.02, "momentum": 0.9},
        "cosine": {"step_size": dmft.Cosine(0.4, warmup_steps=5)},
        "second layer": {"second_layer_step_size": 0.1},
        "all": {
            "step_size": dmft.Cosine(0.04, warmup_steps=5),
            "batch_fraction": 0.5,
            "momentum": 0.9,
            "second_layer_step_size": 0.01,
        },
    }
    for name, layer in (("one GELU neuron", [1.0]), ("two", [1.0, -0.5])):
        case, given = problem(second_layer=layer, target="easy-hard"), sampling(n_paths)
        # A direction kept in every step: what plain descent costs at the rank of batches.
        jobs = {"plain, every direction": ({}, sampling(n_paths, 1e-300))}
        jobs |= {option: (settings, given) for option, settings in options.items()}
        solves = {
            option: lambda settings=settings, own=own, case=case: dmft.solve(
                case,
                6.0,
                dmft.GradientDescent(**{"step_size": 0.2, "n_steps": n_steps, **settings}),
                own,
                hessian_steps=(),
                threads=THREADS,
            )
            for option, (settings, own) in jobs.items()
        }
        found = in_turns(solves, 1 if QUICK else 3, time.process_time)
        plain, exact = found["plain"][0], found["plain, every direction"][0]
        for option, (seconds, trajectory) in found.items():
            ratio = seconds / plain
            line(
                f"{name}, {option}: {seconds:.2f} s, rank {trajectory.rank}, "
                f"{trajectory._runs[0].n_visits} full passes: {ratio:.2f} x plain, "
                f"{seconds / exact:.2f} x plain with every direction   "
                f"{verdict(ratio <= 1.5)} (1.5)"
            )


def section_settings() -> None:
    """What inputs, spheres, Nesterov's momentum and biases cost, beside plain descent."""
    n_steps, n_paths = (20, 512) if QUICK else (40, 16384)
    heading(f"settings of the problem, T {n_steps}, 8 x {n_paths}: processor time, in turns")
    clusters = dmft.GaussianMixture(
        [0.4, 0.6], [[1.0, 0.0], [-0.5, 0.0]], covariances=[0.5, 1.5], scales=[1.0, 1.3]
    )
    settings = {
        "plain": ({}, None, {}),
        "sphere": ({}, None, {"constraint": "sphere"}),
        "Nesterov": ({}, None, {"step_size": 0.1, "momentum": 0.5, "nesterov": True}),
        "fixed biases": ({}, 0.3, {}),
        "trained biases": ({}, 0.3, {"bias_step_size": 0.1}),
        "two clusters": ({"inputs": clusters}, None, {}),
        "student-t scales": ({"inputs": dmft.Elliptical("student-t", 9)}, None, {}),
        "rademacher": ({"inputs": dmft.IndependentLatents("rademacher")}, None, {}),
        "two laws": ({"inputs": dmft.IndependentLatents(["uniform", "normal"])}, None, {}),
    }
    for name, layer in (("one GELU neuron", [1.0]), ("two", [1.0, -0.5])):
        solves = {}
        for option, (of_problem, biases, of_method) in settings.items():
            network = dmft.Network("gelu", layer, biases=biases)
            case = dmft.Problem("easy-hard", network, "pseudo-huber", **of_problem)
            case.target.hard_basis  # noqa: B018 - found once, whatever is solved
            method = dmft.GradientDescent(**{"step_size": 0.2, "n_steps": n_steps, **of_method})
            solves[option] = lambda case=case, method=method: dmft.solve(
                case, 6.0, method, sampling(n_paths), hessian_steps=(), threads=THREADS
            )
        found = in_turns(solves, 1 if QUICK else 3, time.process_time)
        plain = found["plain"][0]
        for option, (seconds, trajectory) in found.items():
            ratio = seconds / plain
            per_row = ratio * found["plain"][1].rank / trajectory.rank
            line(
                f"{name}, {option}: {seconds:.2f} s, rank {trajectory.rank}: {ratio:.2f} x plain, "
                f"{per_row:.2f} x for each row   {verdict(min(ratio, per_row) <= 1.3)} (1.3)"
            )


# -- precision -----------------------------------------------------------------------------------


def section_precision() -> None:
    """The spread of C(t,t) over seeds, against plain Monte Carlo with as many paths."""
    n_paths, seeds = (1024, 8) if QUICK else (8192, 12)
    heading(f"spread of C(t,t) over {seeds} seeds, 8 x {n_paths}, relative to plain Monte Carlo")
    steps = np.array([5, 10, 20, 40])
    for name in dmft.preset_names():
        preset = dmft.load_preset(name)
        case, delta = preset.problem, preset.trajectory.delta
        method = dmft.GradientDescent(preset.method.step_size, int(steps[-1]))
        entries = np.tril_indices(case.m)
        plain, ours = [], []
        # The spread of plain sampling goes down as 1/sqrt(N) and is taken at a smaller N.
        with threadpool_limits(THREADS, "blas"):
            for seed in range(32):
                C, _ = plain_paths.plain_monte_carlo(case, delta, method, 4096, 1000 + seed)
                plain.append(C[steps][:, entries[0], entries[1]])
        for seed in range(seeds):
            B = pooled_run(case, delta, method, sampling(n_paths, seed=seed), THREADS).weights
            C = np.einsum("tir,tjr->tij", B, B)
            ours.append(C[steps][:, entries[0], entries[1]])
        spread = [np.sqrt(np.var(x, axis=0, ddof=1).mean(axis=1)) for x in (plain, ours)]
        ratio = spread[1] / spread[0] * np.sqrt(8 * n_paths / 4096)
        table = ", ".join(f"{t}: {x:.3f}" for t, x in zip(steps, ratio, strict=True))
        reached = ratio[0] <= 0.1 and ratio[-1] <= 1 / 3
        line(f"{name:28s} step {table}   {verdict(reached)} (0.1 at 5, 0.333 at 40)")


SECTIONS = {
    "parts": section_parts,
    "plain": section_plain,
    "floor": section_floor,
    "growth": section_growth,
    "lines": section_lines,
    "precision": section_precision,
    "flow": section_flow,
    "options": section_options,
    "settings": section_settings,
}


def main() -> None:
    """Print the tables."""
    global THREADS, QUICK
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, help="default: all but flow")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(json.loads(arguments.child))
        return
    THREADS, QUICK = arguments.threads, arguments.quick
    dmft.solve(problem(), 6.0, dmft.GradientDescent(0.2, 30), sampling(64, replicates=2))  # compile
    chosen = arguments.sections or [name for name in SECTIONS if name != "flow"]
    start = time.perf_counter()
    for name in chosen:
        SECTIONS[name]()
    print(f"\n{time.perf_counter() - start:.0f} s in all, {THREADS} threads")


if __name__ == "__main__":
    main()
