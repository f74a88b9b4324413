r"""Runs of a solve: the self-consistent process over all paths, and over those of each replicate.

One step, for each replicate (Montanari & Wang, arXiv:2602.01434; Celentano, Cheng & Montanari,
arXiv:2112.07572, in the coordinates of ``dmft.solver.paths``):

    r^t     = B_t q                                       pre-activations
    g^t     = sum_{v <= t} Gamma(t, v) ghat^v             Gram-Schmidt over samples
    grad^t  = (E[g^t q^T], -Gamma(t, t) / sqrt(delta))    old coordinates, new block
    B_{t+1} = B_t - eta (grad^t + lam B_t)

It is gradient descent in a space that grows by m dimensions per step. There is no fixed point to
iterate: B_{t+1} needs averages over paths up to time t only.

The averages enter B nonlinearly, so finitely many paths leave a bias of order one over their
number (|B|^2 contains the squared sampling noise of every coordinate). Values therefore come from
one run over the paths of all replicates together; runs over the paths of each replicate alone give
the standard error. More replicates then reduce error and bias alike.

Hard directions have zero overlap in the limit, and their columns of E[g^t q^T], where paths leave
only noise, are set to zero. If the problem starts with an overlap there, to follow a run of finite
dimension beyond O(1) steps, they move instead, and paths are antithetic pairs: z_h and -z_h with
otherwise the same numbers. E[g z_h] = E[(g_+ - g_-) z_h]/2 is then proportional to the overlap, so
that an instability amplifies the overlap and not the sampling noise.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.execution import Execution
from dmft._numerics.sampling import RANK_TOLERANCE_FLOOR, Sampling
from dmft._numerics.validation import check_integer
from dmft._numerics.workers import Threads, sharing, single_threaded_blas, worker_count, worth
from dmft.io.folders import check_folder, read_configuration
from dmft.model.drawn_inputs import leading_rows, n_leading_normals
from dmft.model.held_directions import held_directions
from dmft.model.problem import Problem
from dmft.observables.integrability import gradients_are_undefined
from dmft.solver.descent import descend
from dmft.solver.fresh_batches import FreshProcess
from dmft.solver.integrator import flow
from dmft.solver.masks import MaskStream
from dmft.solver.memory import check_solve, rows_within
from dmft.solver.process import Process
from dmft.solver.runs import Record, Run
from dmft.solver.streams import GaussianStream, HardCoordinates
from dmft.solver.tolerances import compression_along, rank_tolerances
from dmft.training.gradient_descent import GradientDescent
from dmft.training.methods import Method
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from dmft._numerics.workers import Mapper
    from dmft.solver.checkpoints import Checkpoint, RunCheckpoint

    FloatArray = NDArray[np.float64]

__all__ = ["run_replicates", "solve_antithetic"]

# Pre-activations are kept by default while they fit in this much memory,
_KEEP_BYTES = 512 * 2**20
# or in this much of the memory allowed,
_KEEP_FRACTION = 0.125
# and the paths themselves while all runs together fit in this much.
_KEEP_PATHS_BYTES = 256 * 2**20
# Runs with a rank tolerance up to this are exact.
_EXACT = 2.0 * RANK_TOLERANCE_FLOOR
# Sample-orthogonality costs a bias of (rows / paths). It must stay small where values come from, in
# the run over all paths; from those of the replicates comes their spread, which is there as long as
# the paths have somewhere to go.
_MOST_ROWS_PER_PATH, _MOST_ROWS_OF_REPLICATE = 0.25, 0.75


def run_replicates(
    problem: Problem,
    delta: float,
    method: Method,
    sampling: Sampling,
    execution: Execution,
    *,
    hessian_steps: Iterable[int] | None = None,
    keep_paths: bool | None = None,
) -> list[Run]:
    """Run the process over all paths, then over those of each replicate.

    Parameters
    ----------
    problem, delta, method, sampling, hessian_steps, keep_paths
        As for :func:`dmft.solve`, checked.
    execution : Execution

    Returns
    -------
    list of Run, length replicates + 1
        The run over all paths first.

    Raises
    ------
    ValueError, OSError
        As :func:`dmft.solve` does.
    """
    asked = hessian_steps
    if asked is None and execution.checkpoint is not None:
        asked = _recorded_steps(execution.checkpoint, method)
    steps = _steps_to_keep(problem, method, sampling, asked, execution.max_memory)
    basis_rows = rows_within(execution.max_memory, problem, method, sampling, len(set(steps)))
    if keep_paths is None:
        # The run over all paths and those of the replicates hold as many rows of numbers each.
        n_columns = 2 * sampling.n_paths * sampling.replicates
        most_rows = 0 if hessian_steps is not None else _KEEP_PATHS_BYTES // (8 * n_columns)
    elif isinstance(keep_paths, bool):
        most_rows = sys.maxsize if keep_paths else 0
    else:
        raise ValueError(f"keep_paths must be True, False or None, got {keep_paths!r}")
    problem.check_labels()
    hard_basis = problem.target.hard_basis  # found once, before the threads start
    n_workers = worker_count(execution.threads, sampling.replicates)

    undefined = gradients_are_undefined(problem)

    shared = _Shared(
        problem,
        delta,
        method.until(0) if undefined else method,
        sampling,
        frozenset(steps),
        most_rows,
        hard_basis,
        _apart(execution.counting),
        antithetic=problem.is_antithetic,
        held=held_directions(problem) if held_directions(problem).shape[1] else None,
        basis_rows=basis_rows,
    )
    if execution.checkpoint is None:
        with _errors_of_progress():
            pooled, *replicates = _runs(shared, n_workers, None)
    else:
        from dmft.solver.checkpoints import Checkpoint, configuration

        folder = Checkpoint(
            execution.checkpoint,
            configuration(problem, delta, method, sampling, steps),
            execution.checkpoint_seconds,
            execution.quick_seconds,
        )
        with _errors_of_progress(), folder.open():
            pooled, *replicates = _runs(shared, n_workers, folder)
    if undefined:
        for run in (pooled, *replicates):
            run.status = Status.UNDEFINED_AVERAGE
            run.gamma[:] = run.gradient_second_moment[:] = run.squared_gradient_norm[:] = np.nan
    return [pooled, *replicates]


def solve_antithetic(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    sampling: Sampling,
    execution: Execution | None = None,
    *,
    forcing: FloatArray | None = None,
    keep: Iterable[int] = (),
    features: Sequence[FloatArray] = (),
    held: FloatArray | None = None,
) -> Run:
    """Run over antithetic pairs of all paths, perturbed by a force on the overlaps.

    Parameters
    ----------
    problem : Problem
    delta : float
    method : GradientDescent
    sampling : Sampling
    execution : Execution, optional
        Its threads.
    forcing : ndarray, shape (n_steps, m, k), optional
        Added to E[g^t z^T] at step t, so that M(t + 1) receives ``-step_size * forcing[t]``.
    keep : iterable of int
        Steps whose pre-activations the run keeps.
    features : sequence of ndarray, shape (k, r)
        Groups of hard directions with pairs of their own (`dmft.model.features`).
    held : ndarray, shape (k, r), optional
        Directions whose overlaps stay what they are.

    Returns
    -------
    Run
        Values only: no replicates are run.
    """
    hard_basis = problem.target.hard_basis
    kept = frozenset(keep)
    images = replace(sampling, n_paths=sampling.n_paths * 2 ** max(len(features) - 1, 0))
    check_solve(problem, method, images, len(kept))
    shared = _Shared(
        problem, delta, method, sampling, kept, 0, hard_basis, None, True, forcing, held,
        features=tuple(features),
    )  # fmt: skip
    n_workers = worker_count((execution or Execution()).threads, sampling.replicates)
    with single_threaded_blas(), Threads(n_workers) as pool:
        streams = list(pool.map(shared.stream, range(sampling.replicates)))
        return _run(shared, streams, _shared_blocks(shared, pool, n_workers))


class _ProgressError(Exception):
    """Wraps an error of the caller's `progress`, which says nothing of the numbers."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _apart(progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """Wrap errors of the caller's function, to tell them from those of the run."""
    if progress is None:
        return None

    def call(count: int) -> None:
        try:
            progress(count)
        except Exception as error:
            raise _ProgressError(error) from error

    return call


@contextlib.contextmanager
def _errors_of_progress() -> Iterator[None]:
    """Raise the errors of `progress` as they were."""
    try:
        yield
    except _ProgressError as failed:
        raise failed.error from None


def _shared_blocks(shared: _Shared, pool: Executor, n_workers: int) -> Mapper:
    """Return the mapper of a run over the blocks of all paths."""
    n_paths = shared.sampling.n_paths * shared.sampling.replicates
    return sharing(pool, worth(n_workers, n_paths, shared.problem.m, of_one_run=True))


def _recorded_steps(checkpoint: str | os.PathLike[str], method: Method) -> list[int] | None:
    """Return the steps kept by the solve of a folder, if it may be this one.

    The default depends on ``max_memory``, which may be another one by now.
    """
    with contextlib.suppress(OSError):  # for the checkpoint to report
        recorded = read_configuration(check_folder(checkpoint)) or {}
        steps = recorded.get("hessian_steps")
        if isinstance(steps, list) and all(step in range(method.n_steps + 1) for step in steps):
            return steps
    return None


def _steps_to_keep(
    problem: Problem,
    method: Method,
    sampling: Sampling,
    hessian_steps: Iterable[int] | None,
    max_memory: float | None,
) -> list[int]:
    n_steps = method.n_steps
    if hessian_steps is not None:
        if not isinstance(hessian_steps, Iterable):
            raise ValueError(f"hessian_steps must be a list of steps, got {hessian_steps!r}")
        steps = [check_integer("hessian_steps", step, minimum=0) for step in hessian_steps]
        for step in steps:
            if step > n_steps:
                raise ValueError(f"hessian_steps must lie in 0..n_steps = 0..{n_steps}, got {step}")
        return steps
    n_bytes = 8 * problem.m * sampling.n_paths * sampling.replicates * (n_steps + 1)
    most = _KEEP_BYTES if max_memory is None else min(_KEEP_BYTES, _KEEP_FRACTION * max_memory)
    return list(range(n_steps + 1)) if n_bytes <= most else [n_steps]


@dataclass(frozen=True)
class _Shared:
    """Settings common to all runs of one solve."""

    problem: Problem
    delta: float
    method: Method
    sampling: Sampling
    keep: frozenset[int]
    most_rows: int  # paths with more rows in their basis are not kept
    hard_basis: FloatArray
    progress: Callable[[int], None] | None
    antithetic: bool = False  # paths are pairs with the hard coordinates z_h and -z_h
    forcing: FloatArray | None = None
    held: FloatArray | None = None  # with antithetic paths: directions that stay hard
    features: tuple[FloatArray, ...] = ()  # likewise: groups with pairs of their own
    basis_rows: int = sys.maxsize  # that the paths may have

    def masks(self, replicate: int, stream: GaussianStream) -> MaskStream | None:
        """Return the batches of one replicate; None where every step uses all samples."""
        fraction = self.method.batch_fraction
        if fraction == 1.0:
            return None
        return MaskStream(self.sampling, replicate, fraction, stream.leading())

    def stream(self, replicate: int) -> GaussianStream:
        """Return the random numbers of one replicate: leading coordinates and fresh blocks."""
        problem = self.problem
        n_leading = n_leading_normals(problem)
        hard = transform = None
        if problem.inputs is not None:
            transform = partial(leading_rows, problem)
        elif self.hard_basis.shape[1] and not problem.starts_on_hard and not self.antithetic:
            target = problem.target
            hard = HardCoordinates(self.hard_basis, target.uses_noise, problem.sample_labels)
        with np.errstate(all="ignore"):  # labels are checked
            return GaussianStream(self.sampling, replicate, n_leading, problem.m, hard, transform)


def _runs(shared: _Shared, n_workers: int, folder: Checkpoint | None) -> list[Run]:
    """Run over all paths, then over those of each replicate, but for runs that the folder has."""
    n = shared.sampling.replicates
    kept: list[RunCheckpoint] | list[None] = [None] * (n + 1)
    done: list[Run | None] = [None] * (n + 1)
    if folder is not None:
        kept = [folder.run("all"), *(folder.run(f"{index:03d}") for index in range(n))]
        done = [checkpoint.finished() for checkpoint in kept]
        if shared.progress is not None and (
            steps := sum(max(run.n_times - 1, 0) for run in done if run)
        ):
            shared.progress(steps)
        if all(done):
            return [run for run in done if run]
    with single_threaded_blas(), Threads(n_workers) as pool:
        streams = list(pool.map(shared.stream, range(n)))
        pooled = done[0] or _run(shared, streams, _shared_blocks(shared, pool, n_workers), kept[0])
        if pooled.paths is not None and shared.basis_rows < sys.maxsize:
            shared = replace(shared, basis_rows=shared.basis_rows - pooled.paths.basis.capacity)
        side_by_side = worth(n_workers, shared.sampling.n_paths, shared.problem.m) > 1
        replicates = (pool.map if side_by_side else map)(
            lambda index: (
                done[index] or _run(shared, [streams[index - 1]], map, kept[index], first=index - 1)
            ),
            range(1, n + 1),
        )
        return [pooled, *replicates]


def _run(
    shared: _Shared,
    streams: list[GaussianStream],
    run: Mapper,
    checkpoint: RunCheckpoint | None = None,
    first: int = 0,
) -> Run:
    """Follow the self-consistent process on the paths of streams, of replicates `first` and on.

    Numbers that no float can hold are a status, wherever they turn up.
    """
    with np.errstate(all="ignore"):
        return _followed(shared, streams, run, checkpoint, first)


def _followed(
    shared: _Shared,
    streams: list[GaussianStream],
    run: Mapper,
    checkpoint: RunCheckpoint | None,
    first: int,
) -> Run:
    problem, method = shared.problem, shared.method
    n_paths = shared.sampling.n_paths * len(streams)
    tolerances = rank_tolerances(method, shared.sampling, n_paths, antithetic=shared.antithetic)
    is_exact = (shared.sampling.effective_rank_tolerance or 1.0) <= _EXACT
    masks = [shared.masks(index, stream) for index, stream in enumerate(streams, start=first)]
    trains = method.trains_second_layer, method.trains_biases
    process: Process | FreshProcess
    if isinstance(method, GradientDescent) and method.fresh_batches:
        process = FreshProcess(problem, shared.delta, streams, trains=trains)
    else:
        process = Process(
            problem,
            shared.delta,
            streams,
            run,
            antithetic=shared.antithetic,
            held=shared.held,
            features=shared.features,
            masks=[mask for mask in masks if mask is not None] or None,
            trains=trains,
            max_rows=shared.basis_rows,
            exact=is_exact,
            compression=compression_along(method, shared.sampling),
            rows_per_path=_MOST_ROWS_PER_PATH if len(streams) > 1 else _MOST_ROWS_OF_REPLICATE,
        )
    record = Record(process)
    try:
        if isinstance(method, GradientDescent):
            descend(
                process,
                record,
                method,
                tolerances,
                shared.keep,
                shared.forcing,
                shared.progress,
                checkpoint,
            )
        elif isinstance(process, Process):
            tolerance = float(tolerances[0])
            flow(process, record, method, tolerance, shared.keep, shared.progress, checkpoint)
        process.close()
    except (ArithmeticError, np.linalg.LinAlgError):
        record.status = Status.NONFINITE
    if record.status is Status.DIVERGED and not record.n_times:
        record.status = Status.NONFINITE  # no step has been taken
    # In limited memory, three times: for the run over all paths, and for the replicates, with room.
    fits = process.paths.basis.capacity <= shared.basis_rows // 3
    finished = record.run(fits and process.paths.basis.n_rows <= shared.most_rows, tolerances)
    if checkpoint is not None and finished.status is not Status.OUT_OF_MEMORY:
        checkpoint.finish(finished)
    return finished
