r"""Scan of settings: quantities of the theory and of runs at every point of a design.

Each computation is on disk when it is finished, under the hash of the settings that it depends on
and of the version. What a point gives depends on these alone: not on other points, their order,
the workers, or on whether the scan was interrupted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.plain_data import plain
from dmft._numerics.progress import shown_progress
from dmft._numerics.validation import check_progress
from dmft.config.config import TABLES, RunFile, run_of
from dmft.config.overrides import OF_PROBLEM, with_overrides
from dmft.config.run_sources import RunSource, source_of_file, source_of_preset
from dmft.model.label_functions import TargetFunction
from dmft.model.law_sources import SourcedFunction
from dmft.scans.cost import Estimate, estimate
from dmft.scans.designs import ALIASES, Design, design_of
from dmft.scans.quantities import QUANTITIES, check_quantity
from dmft.scans.readings import Reading, ReadingName
from dmft.scans.running import run_here
from dmft.scans.scan_result import Scan
from dmft.scans.store import PointStore
from dmft.scans.tasks import Outcome, Plan, Task, plan_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Question", "answered", "dry_run", "question_of", "scan"]

_ALWAYS = (*OF_PROBLEM, "method", "sampling", "trajectory", "spectrum")
_LOOKED_AT = 200  # points that an estimate looks at


def scan(
    run: RunFile | Mapping[str, Any] | str | os.PathLike[str],
    axes: Mapping[str, Any] | None = None,
    quantity: str | Sequence[str] | None = None,
    *,
    design: str | None = None,
    points: int | Sequence[Mapping[str, Any]] | None = None,
    seed: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    dask: str | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
) -> Scan:
    """Compute quantities at every point of a design over the settings of a run file.

    Parameters
    ----------
    run : RunFile, mapping, path-like or str
        A run file, its tables, its path, or the name of a preset. Its table ``scan`` has what is
        not given here.
    axes : mapping, optional
        By dotted key (``"target.noise"``; ``"delta"`` for that of trajectory, Hessian and runs;
        several keys with commas, which then change together): a list of values, or a range
        ``{"from": 0, "to": 1, "num": 8}``, with ``"scale": "log"`` even in the logarithm.
    quantity : str or sequence of str, optional
        Names in `dmft.scans.quantities.QUANTITIES`: ``"threshold"`` (default), ``"limit"``,
        ``"gap"``, ``"outlier"``, ``"test_loss"``, ``"delta_alg"``, ``"recovery"``, ...; with a
        step, ``"gap@40"``, and an entry, ``"norm[0,0]"``.
    design : {"product", "zip", "list", "random", "sobol"}, optional
        How axes make points; default: product.
    points : int or sequence of mapping, optional
        Of random designs their number; of a list the settings of each point.
    seed : int, optional
        Of random designs.
    checkpoint : path-like, optional
        Folder for finished computations: the same call goes on from there, and another scan takes
        from it what it shares.
    workers : int, optional
        Processes; default: one for each core, as far as memory allows. With 1 everything runs in
        this process.
    dask : str, optional
        Run on a cluster instead: the address of a Dask scheduler, ``tcp://HOST:PORT``, or
        ``slurm`` (or another batch system of dask-jobqueue).
    jobs : int, optional
        Of a batch system, jobs at most.
    progress : callable or True, optional
        Called with the number of computations just finished, those found in `checkpoint` included;
        True for a progress bar.

    Returns
    -------
    Scan
        A computation that fails, or settings that are not allowed together, are a status there.

    Raises
    ------
    ValueError
        If an argument is not allowed, a key or quantity does not exist, no point has settings that
        are allowed, workers go on dying, or there is no such cluster.
    OSError
        If `checkpoint` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> axes = {"problem.init_radius": {"from": 1.0, "to": 2.0, "num": 2}}
    >>> found = dmft.scan("robust-phase-retrieval-gelu", axes, "threshold@0", workers=1)
    >>> found.value.round(2).ravel(), found.statuses.ravel().tolist()
    (array([1.69, 3.66]), ['SUCCESS', 'SUCCESS'])
    """
    question = question_of(run, axes, quantity, design=design, points=points, seed=seed)
    return answered(
        question,
        question.plan(),
        checkpoint=checkpoint,
        workers=workers,
        dask=dask,
        jobs=jobs,
        progress=progress,
    )


@dataclass(frozen=True)
class Question:
    """What a scan asks for.

    Attributes
    ----------
    run : RunFile
        Which the points change.
    tables : mapping
        Those of it, as they are written.
    folder : str
        Where Python files of own laws are looked for.
    design : Design
    quantities : tuple of ReadingName
    """

    run: RunFile
    tables: Mapping[str, Any]
    folder: str
    design: Design
    quantities: tuple[ReadingName, ...]

    def plan(self, points: Iterable[int] | None = None) -> Plan:
        """Find the computations of all points, or of some."""
        return plan_of(self._point, self.design, self.quantities, points)

    def _point(self, overrides: Mapping[str, Any]) -> RunFile:
        """Return the run file of a point."""
        name, tables = self.run.name, dict(self.tables)
        if _is_python(self.run):  # its problem is that of all points
            tables |= {"target": {"label": "linear"}, "network": {}, "problem": {}}
            run = RunFile.from_config(tables, name, overrides=overrides)
            return dataclasses.replace(run, problem=self.run.problem)
        return RunFile.from_config(tables, name, overrides=overrides, folder=self.folder)


def question_of(
    run: RunFile | RunSource | Mapping[str, Any] | str | os.PathLike[str],
    axes: Mapping[str, Any] | None = None,
    quantity: str | Sequence[str] | None = None,
    *,
    design: str | None = None,
    points: int | Sequence[Mapping[str, Any]] | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Question:
    """Check the arguments of `scan`; those that are None are those of the run file.

    With `overrides`, as `RunFile.from_config` takes them, that all points share.

    Raises
    ------
    ValueError
        As `scan`.
    """
    found, tables, folder = _read(run, overrides or {})
    stated = found.scan.stated()
    if axes is None and points is None:
        axes, points = _axes(stated.get("axes"), overrides or {}), stated.get("points")
        design = stated.get("design") if design is None else design
        seed = stated.get("seed") if seed is None else seed
    if quantity is None:
        quantity = stated.get("quantity", "threshold")
    names = [quantity] if isinstance(quantity, str) else quantity
    if not isinstance(names, Sequence) or not names:
        raise ValueError(f"scan.quantity must be a name or a list of names, got {quantity!r}")
    checked = tuple(dict.fromkeys(map(check_quantity, names)))
    made = design_of(axes, "product" if design is None else design, points, seed or 0)
    changed = [key for name in made.keys for key in ALIASES.get(name, (name,))]
    if _is_python(found) and any(key.partition(".")[0] in OF_PROBLEM for key in changed):
        raise ValueError(
            "a scan of target, network or problem needs laws by name: write your own as "
            '"file.py:object" in the run file'
        )
    # Other tables may have steps beyond the horizon of a point.
    needed = {table for name in checked for table in QUANTITIES[name.quantity].tables}
    of_points = {name: table for name, table in tables.items() if name in (*_ALWAYS, *needed)}
    return Question(found, of_points, folder, made, checked)


def _axes(stated: Mapping[str, Any] | None, overrides: Mapping[str, Any]) -> Any:
    """Return the axes of a run file without those that overrides replace, written otherwise."""
    # An override of scan.axes.target.noise makes a table; the file has "target.noise" in quotes.
    replaced = {key.removeprefix("scan.axes.") for key in overrides}
    if not isinstance(stated, Mapping):
        return stated
    return {name: stated[name] for name in stated if "." not in name or name not in replaced}


def _read(
    run: RunFile | RunSource | Mapping[str, Any] | str | os.PathLike[str],
    overrides: Mapping[str, Any],
) -> tuple[RunFile, dict[str, Any], str]:
    """Return a run file, its tables as they are written, and the folder of its own laws."""
    if isinstance(run, RunFile):
        return run, plain(run.to_config()), ""
    if isinstance(run, Mapping):
        run = RunSource(run, "scan", "scan")
    elif isinstance(run, str) and not run.endswith(".toml") and not Path(run).exists():
        run = source_of_preset(run)
    elif isinstance(run, str | os.PathLike):
        run = source_of_file(run)
    if not isinstance(run, RunSource):
        raise ValueError(f"run must be a run file, its tables, its path or a preset, got {run!r}")
    found = run_of(run, overrides)
    return found, with_overrides(run.tables, overrides, TABLES), os.fspath(run.folder)


def _is_python(run: RunFile) -> bool:
    """Return whether a problem has laws that no run file can name."""
    problem = run.problem
    label = problem.target.label
    laws = (problem.network.activation, problem.loss)
    return not isinstance(label, str | SourcedFunction | TargetFunction) or any(
        isinstance(law.config, dict) and "custom" in law.config and law.source is None
        for law in laws
    )


def answered(
    question: Question,
    plan: Plan,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    dask: str | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
) -> Scan:
    """Carry out the plan of all points of a scan; arguments as those of `scan`."""
    check_progress(progress)
    store = None if checkpoint is None else PointStore(checkpoint)
    outcomes = {} if store is None else store.read(plan.tasks.values())
    if store is not None:
        store.open()
    left = _left(plan.tasks.values(), outcomes)
    with shown_progress(progress, len(plan.tasks), "computations") as advance:
        if advance is not None and len(left) < len(plan.tasks):
            advance(len(plan.tasks) - len(left))
        for outcome in _run(left, workers, dask, jobs):
            before = outcomes.get(outcome.key)
            if store is not None:
                store.write(plan.tasks[outcome.key], outcome, before)
            kept = {} if before is None else dict(before.readings)
            outcomes[outcome.key] = Outcome(outcome.key, {**kept, **outcome.readings})
            if advance is not None:
                advance(1)
    return _result(question, plan, outcomes)


def dry_run(
    question: Question,
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    at_once: bool = False,
) -> Estimate:
    """Estimate what a scan takes; of many points, some are looked at.

    Parameters
    ----------
    question : Question
    checkpoint : path-like, optional
        Folder with what is finished.
    at_once : bool
        Measure nothing.

    Returns
    -------
    Estimate
        Of all points.

    Raises
    ------
    ValueError
        If none of the points looked at has settings that are allowed.
    """
    n_points = question.design.points
    stride = -(-n_points // _LOOKED_AT)
    plan = question.plan(range(0, n_points, stride))
    store = None if checkpoint is None else PointStore(checkpoint)
    tasks = list(plan.tasks.values())
    stored = {} if store is None else store.read(tasks)
    left = {task.key for task in _left(tasks, stored)}
    done = {key: outcome for key, outcome in stored.items() if key not in left}
    found = estimate(tasks, done, at_once=at_once)
    if stride == 1:
        return found
    factor = n_points / len(range(0, n_points, stride))
    return Estimate(
        round(found.n_tasks * factor),
        round(found.n_done * factor),
        found.seconds * factor,
        found.bytes,
        found.measured,
    )


def _left(tasks: Iterable[Task], outcomes: Mapping[str, Outcome]) -> list[Task]:
    """Return the tasks with the readings that are not there yet."""
    left = []
    for task in tasks:
        known = outcomes[task.key].readings if task.key in outcomes else {}
        missing = tuple(name for name in task.readings if name not in known)
        if missing:
            left.append(dataclasses.replace(task, readings=missing))
    return left


def _run(
    tasks: list[Task], workers: int | None, dask: str | None, jobs: int | None
) -> Iterator[Outcome]:
    if dask is None:
        return run_here(tasks, workers)
    from dmft.scans.cluster import check_address, run_on_cluster

    check_address(dask)
    return run_on_cluster(tasks, dask, jobs) if tasks else iter(())


def _result(question: Question, plan: Plan, outcomes: Mapping[str, Outcome]) -> Scan:
    """Put the table together, in the order of the points."""
    design, shape = question.design, (len(plan.cells), len(question.quantities))
    value, error = np.full((2, *shape), np.nan)
    statuses = np.full(shape, "", dtype="<U32")
    details: dict[str, str] = {}
    for point, row in enumerate(plan.cells):
        for place, cell in enumerate(row):
            reading = cell if isinstance(cell, Reading) else outcomes[cell[0]].readings[cell[1]]
            value[point, place], error[point, place] = reading.value, reading.error
            statuses[point, place] = reading.status.name
            if reading.detail:
                details[f"{point},{place}"] = reading.detail
    each = [design.settings(point) for point in range(design.points)]
    return Scan(
        settings={
            key: [plain(settings.get(key), finite=False) for settings in each]
            for key in design.keys
        },
        quantities=tuple(map(str, question.quantities)),
        value=value,
        error=error,
        statuses=statuses,
        details=details,
        design=design.kind,
        shape=design.shape,
        axes=tuple(axis.keys for axis in design.axes) or (design.keys,),
        errors=tuple(QUANTITIES[name.quantity].error for name in question.quantities),
        config=plain(question.run.to_config()),
    )
