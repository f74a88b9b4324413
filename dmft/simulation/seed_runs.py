"""Run the seeds of a simulation, one by one or in parallel processes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import Sampling
from dmft._numerics.workers import functions_not_kept, may_start_processes, single_threaded_blas
from dmft.model.gradients import curvature, mean_loss, pre_activation_gradient
from dmft.model.layer_states import LayerStates
from dmft.observables.alignment import hard_cosine
from dmft.observables.classification_error import expected_test_error, mean_test_error
from dmft.observables.generalization import expected_test_loss
from dmft.simulation.descent import descend, project
from dmft.simulation.finite_data import draw_batch, draw_fresh, draw_run
from dmft.simulation.finite_hessian import FiniteHessian
from dmft.simulation.simulation_plan import check_workers
from dmft.training.constraints import radii_of
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dmft._numerics.execution import Execution
    from dmft.model.problem import Problem
    from dmft.simulation.seed_store import SeedStore
    from dmft.simulation.simulation_plan import SimulationPlan

__all__ = [
    "BIASES",
    "OF_CLASSES",
    "QUANTITIES",
    "SECOND_LAYER",
    "SPECTRAL",
    "complete",
    "finish_seed",
    "holds",
    "run_seed",
    "run_seeds",
    "run_tasks",
]

Array = NDArray[np.float64]
Result = TypeVar("Result")
SeedResult = tuple[str, dict[str, Array]]

#: Arrays of a finished seed, each with the steps as its first axis,
QUANTITIES = (
    "correlation",
    "overlap",
    "gradient_covariance",
    "train_loss",
    "test_loss",
    "gradient_norm",
    "hard_cosine",
)
#: one more for labels -1 and +1,
OF_CLASSES = "test_error"
#: those of a second layer and of biases that are trained,
SECOND_LAYER, BIASES = "second_layer", "biases"
#: and those of each recorded Hessian, under ``hessian/STEP/NAME``.
SPECTRAL = ("eigenvalues", "smallest", "largest", "overlaps", "residual")

# Cubature of the exact test loss where no tensor rule suffices: one scramble of the points, and one
# more for every so many dimensions, so that its error stays below the fluctuation of the run.
_CUBATURE = Sampling()
_DIMENSIONS_PER_SCRAMBLE, _MAX_SCRAMBLES = 500, 8
_WATCH_SECONDS = 0.25


def run_seeds(
    plan: SimulationPlan,
    seeds: Sequence[int],
    store: SeedStore | None,
    execution: Execution,
) -> dict[int, SeedResult]:
    """Run seeds, in this process or in several, and write each as it finishes.

    Parameters
    ----------
    plan : SimulationPlan
    seeds : sequence of int
    store : SeedStore or None
        Receives every finished seed at once.
    execution : Execution
        Its processes; with 1, or a single seed, everything runs in this one. Its progress, which
        advances by every finished seed.

    Returns
    -------
    dict of int to (str, dict)
        Name of the status, and arrays, by seed.
    """
    tasks = [(plan, seed, store) for seed in seeds]
    results: dict[int, SeedResult] = {}
    for seed, result in run_tasks(finish_seed, tasks, execution):
        results[seed] = result
        execution.advance()
    return results


def run_tasks(
    function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], execution: Execution
) -> Iterator[Result]:
    """Yield ``function(*task)`` for every task, as they finish.

    Parameters
    ----------
    function : callable
    tasks : sequence of tuple
    execution : Execution
        Its processes, each with one BLAS thread; with 1, or a single task, everything runs in this
        one. So it does where this process may have no others.
    """
    n_workers = min(check_workers(execution.workers), len(tasks))
    if n_workers <= 1 or not may_start_processes():
        yield from (function(*task) for task in tasks)
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(
            n_jobs=n_workers,
            return_as="generator_unordered",
            batch_size=1,
            max_nbytes=None,  # the arguments are small: no detour over files
        )
        with _interrupt_for_parent_only():
            finished = pool(delayed(_in_worker)(function, task, os.getpid()) for task in tasks)
    for result, not_kept in finished:
        if not_kept and not functions_not_kept():
            from rmt._compiled import note_not_kept

            note_not_kept()
        yield result


@contextlib.contextmanager
def _interrupt_for_parent_only() -> Iterator[None]:
    """Start processes that ignore Ctrl-C: the parent hears it, and one message is enough."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def run_seed(plan: SimulationPlan, seed: int) -> SeedResult:
    """Run one seed in this thread; return the name of its status, and its arrays.

    Numbers that no float can hold are a status, wherever they turn up.
    """
    with np.errstate(all="ignore"):
        try:
            return _run_seed(plan, seed)
        except (ArithmeticError, np.linalg.LinAlgError):
            nothing = {name: np.full(shape, np.nan) for name, shape in _shapes(plan).items()}
            return Status.NONFINITE.name, nothing


def _run_seed(plan: SimulationPlan, seed: int) -> SeedResult:
    problem, hard_basis = plan.problem, plan.problem.target.hard_basis
    method = plan.method
    data = draw_run(problem, plan.n, plan.d, seed, plan.inputs, plan.imposed, plan.n_test)
    arrays = {name: np.full(shape, np.nan) for name, shape in _shapes(plan).items()}
    statuses: list[Status] = []
    samples = data.X, data.y, data.scales  # of the step

    def fresh(step: int) -> tuple[Array, Array, Array]:
        nonlocal samples
        samples = draw_fresh(problem, plan.n, data, seed, step)
        return samples

    def observe(step: int, weights: Array, r: Array, at: Problem) -> None:
        if data.test is not None:
            h = project(data.test.X, weights)
            arrays["test_loss"][step] = mean_loss(at, h, data.test.y)
            if problem.target.has_sign_labels:
                arrays[OF_CLASSES][step] = mean_test_error(at, h, data.test.y)
        if step in plan.hessian_steps:
            X, y, _ = samples
            hessian = FiniteHessian(X, curvature(at, r, y), problem.weight_decay)
            if method.constraint is not None:
                g = pre_activation_gradient(at, r, y)[0]
                forces = np.sum(g * r, axis=1) / len(y) / radii_of(problem) ** 2
                hessian = FiniteHessian(X, curvature(at, r, y), -forces, normals=weights)
            try:
                spectrum = hessian.spectrum(plan.n_extreme, plan.dense_limit, seed=seed)
            except np.linalg.LinAlgError:
                statuses.append(Status.NONFINITE)
                return
            statuses.append(spectrum.status)
            if not (np.isfinite(spectrum.eigenvalues).all() and np.isfinite(spectrum.residual)):
                statuses.append(Status.NONFINITE)
                return
            on_hard = spectrum.vectors @ (hard_basis.T @ data.frame).T
            found = {
                "eigenvalues": spectrum.eigenvalues,
                "smallest": spectrum.eigenvalues[: plan.n_extreme],
                "largest": spectrum.eigenvalues[-plan.n_extreme :],
                "overlaps": np.sum(on_hard**2, axis=(1, 2)),
                "residual": spectrum.residual,
            }
            for name, value in found.items():
                arrays[f"hessian/{step}/{name}"][...] = value

    run = descend(
        problem,
        data.X,
        data.y,
        data.weights,
        data.frame,
        method,
        hold_hard=plan.hold_hard,
        scales=data.scales,
        masks=lambda step: draw_batch(plan.n, plan.d, seed, method.batch_fraction, step),
        fresh=fresh,
        observe=observe,
    )
    for name in ("correlation", "overlap", "gradient_covariance", "train_loss", "gradient_norm"):
        arrays[name][...] = getattr(run, name)
    layers = None
    if method.trains_second_layer:
        arrays[SECOND_LAYER][...] = run.second_layer
    if method.trains_biases:
        arrays[BIASES][...] = run.biases
    if method.trains_second_layer or method.trains_biases:
        layers = LayerStates(run.second_layer, run.biases)
    reached = np.isfinite(run.train_loss)
    if data.test is None:
        scrambles = range(min(1 + plan.d // _DIMENSIONS_PER_SCRAMBLE, _MAX_SCRAMBLES))
        averages: dict[str, Callable[..., NDArray[np.float64]]] = {"test_loss": expected_test_loss}
        if problem.target.has_sign_labels:
            averages[OF_CLASSES] = expected_test_error
        for name, average in averages.items():
            arrays[name][reached] = average(
                problem,
                run.overlap[reached],
                run.correlation[reached],
                _CUBATURE,
                scrambles,
                None if layers is None else layers[reached],
            )
    arrays["hard_cosine"][...] = hard_cosine(run.overlap, run.correlation, hard_basis)
    failed = [status for status in (run.status, *statuses) if not status.ok]
    return (failed[0] if failed else Status.SUCCESS).name, arrays


def finish_seed(plan: SimulationPlan, seed: int, store: SeedStore | None) -> tuple[int, SeedResult]:
    """Run one seed with one BLAS thread and write its file; return the seed and its result."""
    with single_threaded_blas():
        status, arrays = run_seed(plan, seed)
    if store is not None:
        store.write(seed, status, arrays)
    return seed, (status, arrays)


def complete(plan: SimulationPlan, status: str, arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether what a file holds is all of a finished seed."""
    return holds(_shapes(plan), status, arrays)


def holds(
    shapes: Mapping[str, tuple[int, ...]], status: str, arrays: Mapping[str, NDArray[Any]]
) -> bool:
    """Whether what a file holds is a status and numbers of these shapes, by name."""
    found = {name: array.shape for name, array in arrays.items()}
    numbers = all(array.dtype == np.float64 for array in arrays.values())
    return found == shapes and numbers and status in Status.__members__


def _shapes(plan: SimulationPlan) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of a finished seed, by name."""
    m, k, n_times = plan.problem.m, plan.problem.k, plan.method.n_steps + 1
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(QUANTITIES, (n_times,))
    if plan.problem.target.has_sign_labels:
        shapes[OF_CLASSES] = (n_times,)
    shapes["correlation"] = shapes["gradient_covariance"] = (n_times, m, m)
    shapes["overlap"] = (n_times, m, k)
    if plan.method.trains_second_layer:
        shapes[SECOND_LAYER] = (n_times, m)
    if plan.method.trains_biases:
        shapes[BIASES] = (n_times, m)
    size, count = plan.order, plan.n_extreme
    for step in plan.hessian_steps:
        extreme: dict[str, tuple[int, ...]] = dict.fromkeys(SPECTRAL, (count,))
        extreme["eigenvalues"] = (size if size <= plan.dense_limit else 2 * count,)
        extreme["residual"] = ()
        shapes |= {f"hessian/{step}/{name}": shape for name, shape in extreme.items()}
    return shapes


def _in_worker(
    function: Callable[..., Result], task: tuple[Any, ...], parent: int
) -> tuple[Result, bool]:
    """Run a task in a worker process of `parent`; say whether compiled functions were not kept."""
    _die_with(parent)
    return function(*task), functions_not_kept()


_watched: set[int] = set()


def _die_with(parent: int) -> None:
    """End this worker process when its parent is gone: nobody waits for its results."""
    if parent in _watched or parent == os.getpid():  # joblib may run a task where it was asked to
        return
    _watched.add(parent)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
