"""Speed of `dmft.solve` and `dmft.find_delta_nn`, beside a plain numpy version of the same steps.

Run on request: ``python tests/benchmarks/bench_solver.py``. Everything runs on two threads at
most; ratios are what to quote, seconds are for orientation.
"""

from __future__ import annotations

import resource
import time

import numpy as np
from scipy.special import ndtr
from threadpoolctl import threadpool_limits

import dmft

THREADS = 2


def plain_numpy(delta: float, eta: float, n_steps: int, n_paths: int, seed: int) -> list[float]:
    """C(t, t) of one GELU neuron, pseudo-Huber, y = z^2: coordinates and gradients kept as arrays.

    Plain sampling, Gram-Schmidt twice, no rank tolerance above rounding, nothing shared.
    """
    rng = np.random.default_rng(seed)
    q = list(rng.standard_normal((2, n_paths)))
    y = q[0] ** 2
    ghat: list[np.ndarray] = []
    B = np.array([0.0, 1.0])
    norms = [1.0]
    for _ in range(n_steps):
        r = B @ np.array(q)
        density = np.exp(-(r**2) / 2) / np.sqrt(2 * np.pi)
        residual = r * ndtr(r) - y
        g = residual / np.sqrt(1 + residual**2) * (ndtr(r) + r * density)
        gradient = np.array(q) @ g / n_paths
        gradient[0] = 0.0
        rest = g.copy()
        if ghat:
            basis = np.array(ghat)
            for _ in range(2):
                rest -= (basis @ rest / n_paths) @ basis
        size = np.sqrt(np.mean(rest**2))
        B = B - eta * gradient
        if eta * size / np.sqrt(delta) > 1e-12:
            ghat.append(rest / size)
            q.append(rng.standard_normal(n_paths) - ghat[-1] / np.sqrt(delta))
            B = np.append(B, eta * size / np.sqrt(delta))
        norms.append(float(B @ B))
    return norms


def timed(function, repeat: int = 3):
    """Best of a few runs, and the last result."""
    best = np.inf
    for _ in range(repeat):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def problem(activation: str = "gelu") -> dmft.Problem:
    return dmft.Problem("phase-retrieval", dmft.Network(activation), "pseudo-huber")


def solve(n_steps: int, n_paths: int, threads: int = THREADS) -> dmft.Trajectory:
    return dmft.solve(
        problem(),
        6.0,
        dmft.GradientDescent(0.2, n_steps),
        dmft.Sampling(n_paths=n_paths, replicates=8),
        threads=threads,
    )


def main() -> None:
    """Print the table."""
    solve(2, 64)  # compile
    print("solve, m = 1, GELU, pseudo-Huber, y = z^2, delta 6, eta 0.2")
    for n_steps, n_paths in ((50, 4096), (100, 4096), (200, 4096), (40, 16384)):
        ours, trajectory = timed(lambda a=n_steps, b=n_paths: solve(a, b))
        one, _ = timed(lambda a=n_steps, b=n_paths: solve(a, b, threads=1), repeat=1)
        with threadpool_limits(THREADS):
            plain, runs = timed(
                lambda a=n_steps, b=n_paths: [plain_numpy(6.0, 0.2, a, b, s) for s in range(8)],
                repeat=1,
            )
        plain_error = np.std([run[-1] for run in runs], ddof=1) / np.sqrt(8)
        error = trajectory.stderr["norm"][-1, 0, 0]
        print(
            f"  T {n_steps:4d}, 8 x {n_paths:5d} paths: {ours:6.2f} s (rank {trajectory.rank}); "
            f"plain numpy {plain / ours:4.1f} x the time, {plain_error / error:5.1f} x the error "
            f"of C(T,T); one thread {one / ours:4.2f} x the time"
        )
    print("find_delta_nn, step 40, 8 x 16384 paths")
    for name in ("quadratic", "gelu"):
        seconds, threshold = timed(
            lambda a=name: dmft.find_delta_nn(
                problem(a), dmft.GradientDescent(0.2, 40), (1, 12), threads=THREADS
            ),
            repeat=1,
        )
        print(
            f"  {name}: {threshold.value:.3f} +- {threshold.stderr:.3f} "
            f"({100 * threshold.stderr / threshold.value:.2f} %) in {seconds:.1f} s, "
            f"{threshold.n_evaluations} evaluations"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of all of the above: {peak:.2f} GB")


if __name__ == "__main__":
    main()
