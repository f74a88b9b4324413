"""Estimates of time and memory of the tasks of a scan, from a solve measured on few paths."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from dmft._numerics.sampling import Sampling, power_of_two
from dmft._numerics.workers import single_threaded_blas
from dmft.scans.readings import ReadingName
from dmft.solver.memory import surely_needed
from dmft.threshold.horizon import checked_steps
from dmft.threshold.question import expected_solves
from dmft.trajectory.solving import solve

if TYPE_CHECKING:
    from dmft.config.config import RunFile
    from dmft.scans.tasks import Outcome, Task

__all__ = ["Estimate", "bytes_of", "estimate", "roughly"]

_INTERPRETER: Final = 0.28e9  # with its libraries and compiled functions
_SPARE: Final = 1.5  # what an allocator does not give back at once
_MOST_RANK: Final = 150  # directions of a basis per neuron, roughly, before truncation holds them
_MEASURED_PATHS: Final = 512
_MEASURED_STEPS: Final = (8, 24)
_FEATURE_SOLVES: Final = 4  # of a further feature, and of the first of a stage, of a cascade
# On the most paths: around one root, and around those of all steps of a curve, a part of which each
# is read at.
_ROOT_SOLVES, _CURVE_ROOT_SOLVES, _SHARE_READ = 2, 6, 0.75
# Error of a threshold on 8 x 1024 paths, roughly; it falls like the root of their number.
_ERROR, _ERROR_OF_LATER, _PATHS_OF_ERROR = 0.02, 0.05, 1024
_FLOPS: Final = 3e9  # of gradient descent at finite d, per second and core
_RUN_SECONDS, _WIDE_RUN_SECONDS = 2e-4, 3e-3  # a step takes beside these, of one neuron and of more
# As `_measured` finds them on a core of 2025, for one neuron; and what a step of a run takes too.
_ROUGH_RATES: Final = (1.0e-6, 1.2e-8)
_STEP_SECONDS: Final = 3.5e-4
# Of edges and gap of a law: for a path, which grows like the cube of neurons, and beside that, of
# numbers and of matrices, for each neuron.
_PATH_SECONDS: Final = 2e-7
_LAW_SECONDS, _MATRIX_LAW_SECONDS = 6e-4, 4.5e-3
# Of a law at step 0, of numbers; of matrices, on more points, for the cube of neurons. How many of
# them a search, and a curve, look at.
_START_SECONDS, _MATRIX_START_SECONDS = 7e-3, 0.11
_STARTS, _MATRIX_STARTS = 70, 14
# Of one draw of the weights of a run; draws that a gap takes at step 0 and later, about.
_DRAW_SECONDS, _DRAWS_AT_START, _DRAWS = 0.01, 64, 16
_LIMIT_SECONDS: Final = 0.035  # of the limit of a curve, for a step
_LABEL_SECONDS: Final = 5.0
_EXACT_SECONDS: Final = 1.0  # of risk minimisers and spectral methods
_EXACT: Final = ("minimizer", "spectral-method", "spectral-threshold")


class _Costed(Protocol):
    """Protocol of a task, as much of one as its cost depends on."""

    @property
    def computation(self) -> str: ...

    @property
    def run(self) -> RunFile: ...

    @property
    def readings(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class _Command:
    """The computation of a command."""

    computation: str
    run: RunFile
    readings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """Estimate of a scan.

    Attributes
    ----------
    n_tasks, n_done : int
        Computations, and how many of them are on disk.
    seconds : float
        Processor time of those that are not.
    bytes : float
        Memory of the largest.
    measured : bool
        Whether it rests on finished computations of the same kinds.
    """

    n_tasks: int
    n_done: int
    seconds: float
    bytes: float
    measured: bool


def estimate(
    tasks: Sequence[Task], done: Mapping[str, Outcome], most: int = 200, *, at_once: bool = False
) -> Estimate:
    """Estimate processor time and memory of tasks.

    Finished computations of a kind say how much longer, or shorter, than by count others of it
    take; without any, a solve on few paths is measured and scaled.

    Parameters
    ----------
    tasks : sequence of Task
    done : mapping of str to Outcome
        What is finished, by key.
    most : int
        Number of tasks to look at; the others are taken to be like these.
    at_once : bool
        Take the rates of solves as those of a usual core, and measure nothing.

    Returns
    -------
    Estimate
    """
    left = [task for task in tasks if task.key not in done]
    stride = max(1, math.ceil(len(left) / most))
    sample = left[::stride]
    by_count = _Model(_ROUGH_RATES)
    model = by_count if at_once else _Model()
    spent: dict[str, float] = {}
    counted: dict[str, float] = {}
    for task in tasks:
        if task.key in done and done[task.key].seconds > 0 and (count := by_count.seconds(task)):
            kind = task.computation
            spent[kind] = spent.get(kind, 0.0) + done[task.key].seconds
            counted[kind] = counted.get(kind, 0.0) + count
    seconds, memory, measured = 0.0, _INTERPRETER, True
    for task in sample:
        memory = max(memory, bytes_of(task))
        if task.computation in spent:
            kind = task.computation
            seconds += by_count.seconds(task) * spent[kind] / counted[kind]
        else:
            seconds += model.seconds(task)
            measured = False
    if sample:
        seconds *= len(left) / len(sample)
    return Estimate(len(tasks), len(tasks) - len(left), seconds, memory, measured)


def bytes_of(task: _Costed) -> float:
    """Estimate the memory that a worker needs for a task, its interpreter included."""
    run = task.run
    if task.computation == "runs":
        d, delta = (run.sweep.d or (1,))[-1], (run.sweep.deltas or (1.0,))[0]
        return _INTERPRETER + _SPARE * 8.0 * 4 * d * (delta * d + 1)
    if task.computation == "label":
        return _INTERPRETER + 8.0 * 2**24 * 6
    n_paths = max(_paths(task))
    replicates = run.sampling.replicates
    kept = len(task.readings) if task.computation == "hessian" else 30
    n_kept = 1 if task.computation == "threshold" else min(kept, run.method.n_steps + 1)
    n_steps = run.method.n_steps
    least = surely_needed(run.problem, run.method, n_paths, replicates, n_kept, n_steps)
    drawn = n_paths * replicates * (2 if run.problem.is_antithetic else 1)
    basis = 8.0 * 2 * run.problem.m * min(n_steps, _MOST_RANK) * drawn
    return _INTERPRETER + _SPARE * (least + basis)


def _paths(task: _Costed) -> tuple[int, int]:
    """Return the paths per replicate of the first and of the last solves of a task."""
    run = task.run
    accuracy = run.accuracy
    if accuracy is None:
        return run.sampling.n_paths, run.sampling.n_paths
    step = run.threshold.step if task.computation == "threshold" else None
    times = run.method.times
    first = accuracy.first_paths(float(times[-1 if step is None else step]))
    error = _ERROR_OF_LATER if task.computation == "feature" else _ERROR
    wanted = _PATHS_OF_ERROR * (error / accuracy.rtol) ** 2
    return first, int(min(max(power_of_two(wanted), first), accuracy.max_paths))


def roughly(run: RunFile, computation: str) -> tuple[float, float]:
    """Estimate processor time (seconds) and memory (bytes) of a command, without measuring.

    Parameters
    ----------
    run : RunFile
    computation : {"threshold", "curve", "feature", "trajectory"}
        As in `dmft.scans.computations.COMPUTATIONS`; "feature": what the curve of a further outlier
        adds to that of the first.
    """
    task = _Command(computation, run)
    return _Model(_ROUGH_RATES).seconds(task), bytes_of(task)


@dataclass(frozen=True)
class _Work:
    """Solves of equal length on as many paths, and Hessians that are read from each."""

    count: float
    n_steps: int
    n_paths: int
    readings: float = 0.0


def _work(task: _Costed) -> tuple[list[_Work], int]:
    """Count the solves of a task, and the laws that are looked at of step 0."""
    run, kind = task.run, task.computation
    starts = _STARTS if run.problem.m == 1 else _MATRIX_STARTS
    first, last = _paths(task)
    is_refined = run.accuracy is not None and last > first
    if kind == "threshold":
        settings = run.threshold
        step = run.method.n_steps if settings.step is None else settings.step
        count = expected_solves(**_points(settings.scan_points))
        if not step:
            return [], count if settings.d else starts
        refined = [_Work(_ROOT_SOLVES, step, last, 1.0)] if is_refined else []
        return [_Work(count, step, first, 1.0), *refined], 0
    if kind in ("curve", "feature"):
        steps = checked_steps(run.curve.steps, run.method)
        later = sum(step > 0 for step in steps)
        of_start = starts if steps[0] == 0 and kind == "curve" else 0
        if not later:
            return [], of_start
        count = expected_solves(**_points(run.curve.points)) if kind == "curve" else _FEATURE_SOLVES
        around = _Work(_CURVE_ROOT_SOLVES, steps[-1], last, _SHARE_READ * later)
        refined = [around] if is_refined else []
        return [_Work(count, steps[-1], first, later), *refined], of_start
    if kind == "hessian":
        read = {ReadingName.parse(text).step or 0 for text in task.readings}
        return [_Work(1, max(read), first, len(read - {0}))], int(0 in read)
    refined = [_Work(_ROOT_SOLVES, run.method.n_steps, last)] if is_refined else []
    return [_Work(1, run.method.n_steps, first), *refined], 0


def _points(stated: int | None) -> dict[str, int]:
    return {} if stated is None else {"points": stated}


class _Model:
    """Time of solves, measured once for each problem's number of neurons, or at given rates."""

    def __init__(self, rates: tuple[float, float] | None = None) -> None:
        self._given = rates
        self._rates: dict[tuple[int, str], tuple[float, float]] = {}

    def seconds(self, task: _Costed) -> float:
        """Estimate the processor time of a task."""
        run = task.run
        if task.computation == "label":
            return _LABEL_SECONDS
        if task.computation == "runs":
            settings, m = run.sweep, run.problem.m
            d, delta = (settings.d or (1,))[-1], (settings.deltas or (1.0,))[0]
            step = 4.0 * delta * d * d * m / _FLOPS
            step += _RUN_SECONDS if m == 1 else _WIDE_RUN_SECONDS
            return settings.seeds * run.method.n_steps * step
        if task.computation in _EXACT:
            return _EXACT_SECONDS
        work, starts = _work(task)
        m = run.problem.m
        start = _START_SECONDS if m == 1 else _MATRIX_START_SECONDS * m**3
        drawn: float | None = None
        if (run.threshold if task.computation == "threshold" else run.curve).d:
            drawn, start = _DRAWS * _DRAW_SECONDS * m**2, _DRAWS_AT_START * _DRAW_SECONDS * m**2
        seconds = starts * start
        for part in work:
            reading = _reading(run, part.n_paths) if drawn is None else drawn
            each = self._solve(run, part.n_steps, part.n_paths) + part.readings * reading
            seconds += part.count * each
        if task.computation == "curve" and work:
            seconds += _LIMIT_SECONDS * work[0].readings
        return seconds

    def _solve(self, run: RunFile, n_steps: int, n_paths: int) -> float:
        """Estimate the time of one solve: its steps get longer as the basis grows."""
        if not n_steps:
            return 0.0
        key = run.problem.m, type(run.method).__name__
        if key not in self._rates and self._given is not None:
            m = run.problem.m
            self._rates[key] = self._given[0] * m, self._given[1] * m * m
        elif key not in self._rates:
            self._rates[key] = _measured(run)
        constant, growth = self._rates[key]
        rank = min(n_steps, _MOST_RANK)
        work = constant * n_steps + growth * rank * (n_steps - rank / 2.0)
        replicates = run.sampling.replicates
        of_steps = (replicates + 1) * n_steps * _STEP_SECONDS if self._given else 0.0
        return work * n_paths * replicates / 8.0 + of_steps


def _reading(run: RunFile, n_paths: int) -> float:
    """Estimate the time of the gap at a step: of the law of all paths, and of each replicate."""
    m, replicates = run.problem.m, run.sampling.replicates
    each = _LAW_SECONDS if m == 1 else _MATRIX_LAW_SECONDS * m
    images = 2 if run.problem.is_antithetic else 1
    drawn = 2 * images * replicates * n_paths  # in the law of all, and in those of parts
    return (replicates + 1) * each + drawn * _PATH_SECONDS * m**3


def _measured(run: RunFile) -> tuple[float, float]:
    """Measure a solve on few paths: seconds of a path in a step, and their growth with the step."""
    sampling = Sampling(_MEASURED_PATHS, 8)
    horizons = [min(steps, run.method.n_steps) for steps in _MEASURED_STEPS]
    delta = 4.0 if run.trajectory.delta is None else run.trajectory.delta
    spent = []
    with single_threaded_blas():
        for steps in (horizons[0], *horizons):  # the first compiles, or reads what was compiled
            start = time.process_time()
            options: dict[str, Any] = {"hessian_steps": (), "keep_paths": False, "threads": 1}
            solve(run.problem, delta, run.method.until(steps), sampling, **options)
            spent.append((time.process_time() - start) / _MEASURED_PATHS)
    short, long = spent[1:]
    first, last = horizons
    if last <= first:
        return short / first, 0.0
    # short = a s + b s^2/2 at both horizons.
    growth = max(2.0 * (long / last - short / first) / (last - first), 0.0)
    return max(short / first - growth * first / 2.0, 0.0), growth
