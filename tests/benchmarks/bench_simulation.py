"""Speed of `dmft.simulate`: a step beside one pass over the inputs, the Hessian beside dense.

Run on request: ``python tests/benchmarks/bench_simulation.py``. Everything runs on one thread, as
each seed of a simulation does, and times are those of the processor, so that others at work on the
machine count little. Ratios are what to quote, seconds are for orientation. ``--quick`` does the
same at a sixteenth of the size.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from threadpoolctl import threadpool_limits

import dmft
from dmft.model.gradients import curvature
from dmft.model.inputs import Inputs
from dmft.simulation.descent import descend
from dmft.simulation.finite_data import ImposedOverlap, draw_run
from dmft.simulation.finite_hessian import FiniteHessian

THREADS = 1
STEPS = 10


def timed(function, repeat: int = 1):
    """Best of a few runs, and the last result."""
    best = np.inf
    for _ in range(repeat):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return best, result


def problem(second_layer) -> dmft.Problem:
    return dmft.Problem("easy-hard", dmft.Network("gelu", second_layer), "pseudo-huber")


def draw(case: dmft.Problem, delta: float, d: int):
    return draw_run(case, round(delta * d), d, 0, Inputs(), ImposedOverlap.of(case, None))


def run(case: dmft.Problem, data, n_steps: int, visit=None):
    method = dmft.GradientDescent(0.3, n_steps)
    return descend(case, data.X, data.y, data.weights, data.frame, method, observe=visit)


def steps(d: int) -> None:
    """Step time in passes over the inputs, m = 1, 2, 4."""
    print(f"gradient descent, d {d}, n {4 * d}; a pass is X @ v, which reads the inputs once")
    for second_layer in ([1.0], [1.0, -0.5], [1.0, -0.5, 0.7, -0.3]):
        case = problem(second_layer)
        data = draw(case, 4.0, d)
        v, r = np.ones(d), np.empty(len(data.X))
        floor, _ = timed(lambda X=data.X, v=v, r=r: np.dot(X, v, out=r), repeat=5)
        n_steps = 20
        seconds, _ = timed(lambda c=case, s=data, t=n_steps: run(c, s, t), repeat=2)
        seconds /= n_steps + 1
        bandwidth = data.X.nbytes / floor / 1e9
        print(
            f"  m {case.m}: {1e3 * seconds:7.1f} ms a step = {seconds / floor:4.2f} passes "
            f"({1e3 * floor:.1f} ms, {bandwidth:.0f} GB/s)"
        )


def trained(case: dmft.Problem, delta: float, d: int) -> FiniteHessian:
    """Hessian after some steps of one run."""
    data = draw(case, delta, d)
    found = []

    def visit(step, weights, r, _):
        if step == STEPS:
            found.append(FiniteHessian(data.X, curvature(case, r, data.y)))

    run(case, data, STEPS, visit)
    return found[0]


def hessians(d: int) -> None:
    """Smallest eigenvalue: all of them from the matrix, against the matrix-free iteration."""
    print(f"both ends of the Hessian's spectrum at step {STEPS}, m 2, d {d}, m d = {2 * d}")
    for name, second_layer, delta in (
        ("edge of the bulk", [1.0, -0.5], 4.0),
        ("outlier", [1.0, 0.8], 6.0),
    ):
        hessian = trained(problem(second_layer), delta, d)
        products = []
        apply = hessian.apply
        hessian.apply = lambda w, apply=apply, products=products: products.append(1) or apply(w)
        free, (values, _, _) = timed(hessian.extremes)
        del hessian.apply
        assembly, matrix = timed(hessian.dense)
        dense, exact = timed(lambda matrix=matrix: np.linalg.eigvalsh(matrix)[0])
        print(
            f"  {name}, delta {delta:g}\n"
            f"    matrix-free {free:6.2f} s, {len(products)} products, "
            f"off by {abs(values[0] - exact):.1e}\n"
            f"    dense       {assembly + dense:6.2f} s, of which {dense:.2f} s eigvalsh\n"
            f"    dense : matrix-free = {(assembly + dense) / free:.1f}"
        )


def whole(d: int) -> None:
    """One seed of the size asked for, in one process."""
    import resource

    start = time.process_time()
    dmft.simulate(problem([1.0, -0.5]), 4.0, dmft.GradientDescent(0.3, 100), d, 1, workers=1)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"one seed, d {d}, n {4 * d}, m 2, 100 steps: {seconds:.1f} s, peak memory {peak:.2f} GB")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the size")
    d = 1000 if parser.parse_args().quick else 4000
    with threadpool_limits(THREADS):
        dmft.simulate(problem([1.0]), 2.0, dmft.GradientDescent(0.1, 1), 50, 1, workers=1)
        whole(d)
        steps(d)
        hessians(d)


if __name__ == "__main__":
    main()
