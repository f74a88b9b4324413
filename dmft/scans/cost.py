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
# Of other computations one; a further feature, and the first of a stage, of a cascade.
_SOLVES: Final = {"threshold": 14, "curve": 13, "feature": 4}
_ROOT_SOLVES: Final = 2
# Error of a threshold on 8 x 1024 paths, roughly; it falls like the root of their number.
_ERROR, _ERROR_OF_LATER, _PATHS_OF_ERROR = 0.02, 0.05, 1024
_FLOPS: Final = 1e9  # of gradient descent at finite d, per second and core
# As `_measured` finds them on a core of 2025, for one neuron; and what a step of a run takes too.
_ROUGH_RATES: Final = (1.0e-6, 1.2e-8)
_STEP_SECONDS: Final = 3.5e-4
_LAW_SECONDS: Final = 2e-7  # of edges and gap of a law, for a path; grows like the cube of neurons
_LABEL_SECONDS: Final = 5.0
_PLAN_SECONDS: Final = 2.0  # of other tasks


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


def estimate(tasks: Sequence[Task], done: Mapping[str, Outcome], most: int = 200) -> Estimate:
    """Estimate processor time and memory of tasks.

    Finished computations of a kind say what others of it take; without any, a solve on few paths
    is measured and scaled.

    Parameters
    ----------
    tasks : sequence of Task
    done : mapping of str to Outcome
        What is finished, by key.
    most : int
        Number of tasks to look at; the others are taken to be like these.

    Returns
    -------
    Estimate
    """
    left = [task for task in tasks if task.key not in done]
    stride = max(1, math.ceil(len(left) / most))
    sample = left[::stride]
    times: dict[str, list[float]] = {}
    for task in tasks:
        if task.key in done and done[task.key].seconds > 0:
            times.setdefault(task.computation, []).append(done[task.key].seconds)
    model = _Model()
    seconds, memory, measured = 0.0, _INTERPRETER, True
    for task in sample:
        memory = max(memory, bytes_of(task))
        if task.computation in times:
            known = times[task.computation]
            seconds += sum(known) / len(known)
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


def roughly(run: RunFile, computation: str, n_read: int = 1) -> tuple[float, float]:
    """Estimate processor time (seconds) and memory (bytes) of a command, without measuring.

    Parameters
    ----------
    run : RunFile
    computation : {"threshold", "curve", "feature", "trajectory"}
        As in `dmft.scans.computations.COMPUTATIONS`; "feature": what the curve of a further outlier
        adds to that of the first.
    n_read : int
        Number of steps at which a solve gives the gap.
    """
    task = _Command(computation, run)
    n_steps, n_runs = run.method.n_steps, run.sampling.replicates + 1
    count = _SOLVES.get(computation, 1)
    seconds = _Model(_ROUGH_RATES).seconds(task) + count * n_runs * n_steps * _STEP_SECONDS
    if count > 1:  # a law of each replicate, and one of all
        first, last = _paths(task)
        images = 2 if run.problem.is_antithetic else 1
        n_paths = count * first + (_ROOT_SOLVES * last if last > first else 0)
        n_paths *= 2 * images * run.sampling.replicates
        seconds += n_read * n_paths * _LAW_SECONDS * run.problem.m**3
    return seconds, bytes_of(task)


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
            return settings.seeds * run.method.n_steps * 4.0 * delta * d * d * m / _FLOPS
        step = run.method.n_steps
        count = _SOLVES.get(task.computation, 1)
        if task.computation == "threshold" and run.threshold.step is not None:
            step = run.threshold.step
        if task.computation == "hessian":
            step = max(ReadingName.parse(text).step or 0 for text in task.readings)
        if not step:
            return _PLAN_SECONDS
        first, last = _paths(task)
        seconds = count * self._solve(run, step, first)
        if run.accuracy is not None and last > first:
            seconds += _ROOT_SOLVES * self._solve(run, step, last)
        return seconds

    def _solve(self, run: RunFile, n_steps: int, n_paths: int) -> float:
        """Estimate the time of one solve: its steps get longer as the basis grows."""
        key = run.problem.m, type(run.method).__name__
        if key not in self._rates and self._given is not None:
            m = run.problem.m
            self._rates[key] = self._given[0] * m, self._given[1] * m * m
        elif key not in self._rates:
            self._rates[key] = _measured(run)
        constant, growth = self._rates[key]
        rank = min(n_steps, _MOST_RANK)
        work = constant * n_steps + growth * rank * (n_steps - rank / 2.0)
        return work * n_paths * run.sampling.replicates / 8.0


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
