"""Measure how often intervals by standard error and bias hold the value on 16 times the paths.

    python tests/benchmarks/coverage_of_errors.py               # 40 seeds, 8 x 2048 paths
    python tests/benchmarks/coverage_of_errors.py --seeds 8     # a quicker look

The gap of one GELU neuron at delta = 10 along the gradient flow, train loss and C(t, t), at times
50, 200 and 1000: intervals of 95 % by Student's t with R - 1 degrees of freedom, of the root of the
sum of squares of standard error and bias. The reference, a mean over several seeds, has an error of
its own, which is added.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy is loaded

import numpy as np  # noqa: E402
from scipy.stats import t as student  # noqa: E402

import dmft  # noqa: E402
from dmft.hessian.gap_samples import sample_gap  # noqa: E402
from dmft.threshold.onset import bias_by_onset  # noqa: E402

TIMES = np.array([0.0, 6.25, 25.0, 50.0, 125.0, 200.0, 1000.0])
SHOWN = [3, 5, 6]
NAMES = ("gap", "train_loss", "norm")
DELTA, REPLICATES, MORE = 10.0, 8, 16


def values(n_paths: int, seed: int) -> np.ndarray:
    """Return value, standard error and bias of each quantity at each time, (3, 3, times)."""
    run = dmft.load_preset("robust-phase-retrieval-gelu")
    flow = dmft.GradientFlow(TIMES[-1], times=TIMES)
    sampling = dmft.Sampling(n_paths=n_paths, replicates=REPLICATES, seed=seed)
    steps = range(1, len(TIMES))
    result = dmft.solve(run.problem, DELTA, flow, sampling, hessian_steps=steps, threads=1)
    out = np.full((3, 3, len(TIMES)), np.nan)
    last = result.n_steps + 1
    samples = [sample_gap(result.hessian(step, keep=False)) for step in range(last)]
    out[0, 0, :last] = [sample.gap[0] for sample in samples]
    out[0, 1, :last] = [sample.stderr for sample in samples]
    shown = [
        sample.gap[1:].mean() - sample.gap[0] if len(sample.gap) > 1 else 0 for sample in samples
    ]
    out[0, 2, :last] = bias_by_onset(TIMES[:last], np.array(shown), REPLICATES)
    for row, quantity in enumerate(NAMES[1:], start=1):
        for column, source in enumerate((result, result.stderr, result.bias)):
            array = getattr(result, quantity) if source is result else source[quantity]
            out[row, column, :last] = array.reshape(last, -1)[:, 0]
    return out


def main() -> None:
    """Run the seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--n-paths", type=int, default=2048)
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.workers) as pool:
        seeds = range(1000, 1000 + asked.references)
        many = np.array(list(pool.map(partial(values, MORE * asked.n_paths), seeds)))
        few = np.array(list(pool.map(partial(values, asked.n_paths), range(asked.seeds))))
    width = student.ppf(0.975, REPLICATES - 1)
    truth = many[:, :, 0].mean(axis=0)
    own = many[:, :, 1].mean(axis=0) / np.sqrt(len(many))
    error = np.sqrt(few[:, :, 1] ** 2 + few[:, :, 2] ** 2 + own**2)
    covered = np.abs(few[:, :, 0] - truth) <= width * error
    print(f"{asked.seeds} seeds, {REPLICATES} x {asked.n_paths} paths, reference {len(many)} seeds")
    print("quantity     time   coverage   bias/error   spread/stderr")
    for row, quantity in enumerate(NAMES):
        for column in SHOWN:
            known = np.isfinite(few[:, row, 0, column])
            mean = few[known, row, 0, column].mean() - truth[row, column]
            spread = few[known, row, 0, column].std(ddof=1)
            print(
                f"{quantity:10} {TIMES[column]:6g}   {covered[known, row, column].mean():8.1%}"
                f"   {mean / error[known, row, column].mean():10.2f}"
                f"   {spread / few[known, row, 1, column].mean():13.2f}"
            )


if __name__ == "__main__":
    main()
