"""Tasks of a scan: which computations its points need, each of them once.

Points that differ in settings on which a computation does not depend share it: the threshold does
not depend on delta, Hessian and losses at one delta come from one trajectory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dmft._numerics.machine_memory import readable
from dmft._numerics.plain_data import digest, plain
from dmft._numerics.sampling import RANDOM_NUMBERS
from dmft._numerics.workers import single_threaded_blas
from dmft.config.config import RunFile
from dmft.io.results import software_version
from dmft.model.custom_laws import fingerprint
from dmft.model.problem import Problem
from dmft.scans.computations import COMPUTATIONS
from dmft.scans.designs import ALIASES, Design
from dmft.scans.quantities import QUANTITIES, read
from dmft.scans.readings import Reading, ReadingName, failed

__all__ = ["Outcome", "Plan", "Task", "overrides_of", "plan_of", "run_task"]


@dataclass(frozen=True)
class Task:
    """A computation and what is read from it.

    Attributes
    ----------
    computation : str
    run : RunFile
        With all that it depends on; it travels to workers with laws of its own.
    config : dict
        Tables of that which decide the result, as plain types.
    readings : tuple of str
        Names as `ReadingName` writes them.
    key : str
        Hash of computation, tables and version: what is stored under it is the result.
    """

    computation: str
    run: RunFile
    config: Mapping[str, Any]
    readings: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class Outcome:
    """Readings of a task, by name, with the processor time it took."""

    key: str
    readings: Mapping[str, Reading]
    seconds: float = 0.0
    version: str = field(default_factory=software_version)

    @classmethod
    def failed(cls, task: Task, error: BaseException, seconds: float = 0.0) -> Outcome:
        """Return that of a task which an exception has ended, without any of its readings."""
        return cls(task.key, dict.fromkeys(task.readings, failed(error)), seconds)

    @classmethod
    def lost(cls, task: Task, what: str, needed: float) -> Outcome:
        """Return that of a task whose workers have died; `needed` is its memory in bytes."""
        why = f"{what}, perhaps for want of memory (about {readable(needed)})"
        return cls.failed(task, ValueError(why))


@dataclass(frozen=True)
class Plan:
    """Tasks of a scan, and where the numbers of each point come from.

    Attributes
    ----------
    tasks : dict of str to Task
        By key, in the order of the points.
    cells : tuple of tuple
        For each point and quantity: key and name of a reading; or a `Reading`, where the settings
        of the point are not allowed.
    """

    tasks: Mapping[str, Task]
    cells: Sequence[Sequence[tuple[str, str] | Reading]]


def overrides_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a point as overrides of a run file."""
    return {key: value for name, value in settings.items() for key in ALIASES.get(name, (name,))}


def plan_of(
    make: Callable[[Mapping[str, Any]], RunFile],
    design: Design,
    quantities: Sequence[ReadingName],
    points: Iterable[int] | None = None,
) -> Plan:
    """Find the tasks of all points of a scan, or of some.

    Parameters
    ----------
    make : callable
        Takes overrides, and returns the run file with these; ValueError where it is none.
    design : Design
    quantities : sequence of ReadingName
    points : iterable of int, optional

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If no point has settings that are allowed for any of the quantities: what the first says.
    """
    wanted: dict[str, dict[str, None]] = {}
    tasks: dict[str, Task] = {}
    cells: list[list[tuple[str, str] | Reading]] = []
    first: ValueError | None = None
    for index in range(design.points) if points is None else points:
        cells.append([])
        try:
            run = make(overrides_of(design.settings(index)))
        except ValueError as error:
            first = first or error
            cells[-1] = [failed(error)] * len(quantities)
            continue
        for name in quantities:
            try:
                task, reading = _task(run, name)
            except ValueError as error:
                first = first or error
                cells[-1].append(failed(error))
                continue
            tasks.setdefault(task.key, task)
            wanted.setdefault(task.key, {})[reading] = None
            cells[-1].append((task.key, reading))
    if not tasks and first is not None:
        raise first
    found = {key: replace(task, readings=tuple(wanted[key])) for key, task in tasks.items()}
    return Plan(found, cells)


def _task(run: RunFile, name: ReadingName) -> tuple[Task, str]:
    """Return the task of one quantity of one point, and what is read from it."""
    quantity = QUANTITIES[name.quantity]
    quantity.check(run)
    kind = quantity.computation
    if kind == "trajectory" and run.accuracy is None:
        kind = "hessian"  # both follow the same trajectory
    computation = COMPUTATIONS[kind]
    run, reading = COMPUTATIONS[quantity.computation].settings(run, name)
    tables = run.to_config()
    config = plain({table: tables[table] for table in computation.tables if table in tables})
    # Functions without a source are known by what they give at a few points.
    asked = run.problem if "network" in computation.tables else Problem(run.problem.target)
    identity = [kind, config, fingerprint(asked), software_version(), RANDOM_NUMBERS]
    return Task(kind, run, config, (), digest(identity, 32)), str(reading)


def run_task(task: Task) -> Outcome:
    """Compute a task in this thread; failures are readings."""
    start = time.process_time()
    names = [ReadingName.parse(text) for text in task.readings]
    try:
        with single_threaded_blas():
            result = COMPUTATIONS[task.computation].run(task.run, names)
            found = {str(name): read(result, name) for name in names}
    except Exception as error:  # of one task, which must not stop the others
        return Outcome.failed(task, error, time.process_time() - start)
    return Outcome(task.key, found, time.process_time() - start)
