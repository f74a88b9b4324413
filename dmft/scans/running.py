"""Tasks of a scan in processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from dmft._numerics.execution import Execution
from dmft._numerics.machine_memory import available_memory
from dmft.scans.cost import bytes_of
from dmft.scans.tasks import Outcome, run_task
from dmft.simulation.seed_runs import run_tasks
from dmft.simulation.simulation_plan import check_workers

if TYPE_CHECKING:
    from dmft.scans.tasks import Task

__all__ = ["run_here", "workers_within"]


_HANDED_OUT = 3  # tasks for each worker: the one at work, and those that wait for it


def workers_within(tasks: Sequence[Task], workers: int | None) -> int:
    """Return the number of processes: those asked for, as far as their memory allows.

    Parameters
    ----------
    tasks : sequence of Task
    workers : int, optional
        Default: one for each core.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is no positive integer.
    """
    count = min(check_workers(workers), max(len(tasks), 1))
    if count == 1:
        return 1
    needed = max(map(bytes_of, tasks))
    return max(min(count, int(available_memory() / needed)), 1)


def run_here(tasks: Sequence[Task], workers: int | None) -> Iterator[Outcome]:
    """Yield the outcomes of tasks as they finish.

    A worker that is killed takes the others with it. Those that may have been at work are then done
    again one at a time, where there is more memory, and one whose worker dies again has failed.

    Parameters
    ----------
    tasks : sequence of Task
    workers : int or None
        Processes; with 1 everything runs in this one.

    Raises
    ------
    ValueError
        If the number of workers is not allowed.
    """
    count = workers_within(tasks, workers)
    left = {task.key: task for task in tasks}
    while left:
        try:
            todo = [(task,) for task in left.values()]
            for outcome in run_tasks(_run, todo, Execution(workers=count)):
                assert outcome is not None
                del left[outcome.key]
                yield outcome
        except BrokenProcessPool:
            # Tasks begin in their order, and so many at most have been handed out.
            for task in list(left.values())[: _HANDED_OUT * count]:
                del left[task.key]
                yield _alone(task)


def _alone(task: Task) -> Outcome:
    """Compute a task in a process of its own."""
    try:
        # With nothing as a second task: a single one would run in this process.
        pair = run_tasks(_run, [(task,), (None,)], Execution(workers=2))
        return next(outcome for outcome in pair if outcome)
    except BrokenProcessPool:
        return Outcome.lost(task, "its worker process was killed", bytes_of(task))


def _run(task: Task | None) -> Outcome | None:
    return None if task is None else run_task(task)
