"""Tasks of a scan in processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from dmft._numerics.execution import Execution
from dmft._numerics.machine_memory import available_memory, readable
from dmft.scans.cost import bytes_of
from dmft.scans.tasks import run_task
from dmft.simulation.seed_runs import run_tasks
from dmft.simulation.simulation_plan import check_workers

if TYPE_CHECKING:
    from dmft.scans.tasks import Outcome, Task

__all__ = ["WorkersLostError", "run_here", "workers_within"]


class WorkersLostError(ValueError):
    """Workers that have died, or cannot be had, so that a scan does not go on."""


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

    A worker that is killed takes the others with it: what they were at is done again, by half as
    many, whose memory may suffice.

    Parameters
    ----------
    tasks : sequence of Task
    workers : int or None
        Processes; with 1 everything runs in this one.

    Raises
    ------
    WorkersLostError
        If workers go on dying.
    """
    count = workers_within(tasks, workers)
    left = {task.key: task for task in tasks}
    while left:
        before = len(left)
        try:
            for outcome in run_tasks(
                run_task, [(task,) for task in left.values()], Execution(workers=count)
            ):
                del left[outcome.key]
                yield outcome
        except BrokenProcessPool:
            if count == 2 and len(left) == before:
                needed = readable(max(map(bytes_of, left.values())))
                raise WorkersLostError(
                    "worker processes were killed again and again, perhaps for want of memory "
                    f"(about {needed} each); {before} of {len(tasks)} computations are not done, "
                    "the same command goes on (give --workers 1)"
                ) from None
            # With one, the task would run in this process, and take it with it.
            count = max(count // 2, 2)
