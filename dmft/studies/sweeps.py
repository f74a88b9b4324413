r"""Measure the recovery of hard directions over a grid of delta, by runs of finite dimension.

At finite dimension the overlap with a hard direction starts at :math:`O(d^{-1/2})` and grows where
the Hessian has a negative outlier along it. So the probability of recovery within a budget of steps
rises from 0 to 1 around a delta that the theory's delta_NN (Montanari & Wang, arXiv:2602.01434)
predicts as d grows and the budget with it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.execution import Execution
from dmft._numerics.validation import check_instance, check_integer, check_real
from dmft.io.folders import check_folder, renamed_out
from dmft.model.custom_laws import own_laws_entry
from dmft.model.inputs import Inputs, get_inputs
from dmft.model.problem import Problem
from dmft.observables.alignment import largest_cosine, recovery_step
from dmft.simulation.seed_runs import complete, finish_seed, run_tasks
from dmft.simulation.seed_store import SeedStore
from dmft.simulation.simulation_plan import (
    SimulationPlan,
    check_deltas,
    check_seeds,
    check_sizes,
    check_workers,
)
from dmft.studies.sweep_result import Sweep
from dmft.training.gradient_descent import GradientDescent
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["check_samples", "listed", "store_of_cell", "sweep"]

_RESULTS = (
    "recovery_step",
    "final_cosine",
    "largest_cosine",
    "train_loss",
    "test_loss",
    "smallest_eigenvalue",
    "hard_overlap",
)


def sweep(
    problem: Problem,
    deltas: Iterable[float],
    method: GradientDescent,
    *,
    d: int | Iterable[int] = (500, 1000),
    seeds: int | Iterable[int] = 8,
    recovery: float = 0.5,
    hessian_step: int | None = None,
    inputs: str | Inputs | Mapping[str, Any] = "gaussian",
    checkpoint: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Sweep:
    """Run gradient descent from random starts over a grid of delta and sizes.

    Every run is that of :func:`dmft.simulate` with the same size, delta and seed, and independent
    of all others. All runs of the grid go in parallel, the longest first. Only a summary of each is
    kept in memory; with `checkpoint`, `simulate` reads the trajectories back from the subfolders.

    Parameters
    ----------
    problem : Problem
        With at least one hard direction.
    deltas : iterable of float
        Samples per input dimension, all different, and at every size by so much that the numbers
        of samples ``n = round(delta d)`` are: runs of equal n and seed would be the same run.
    method : GradientDescent
        ``n_steps`` is the step budget.
    d : int or iterable of int
        Sizes.
    seeds : int or iterable of int
        Number of runs at each size and delta, or their seeds.
    recovery : float
        A run recovers when the squared cosine between a hard direction and the span of the neurons
        reaches this value, between 0 and 1.
    hessian_step : int, optional
        Step at which the smallest eigenvalue of the Hessian and the overlap of its eigenvector with
        the hard directions are recorded.
    inputs : str, Inputs or mapping
        Law of the inputs, see `dmft.Inputs`.
    checkpoint : path-like, optional
        Folder for the runs, one subfolder for each size and delta (``d1000/delta-4.5``). Every
        finished run is on disk at once; the same call, or one with more deltas, sizes or seeds,
        resumes.
    workers : int, optional
        Processes; default one for each core. With 1 everything runs in this process.
    progress : callable or True, optional
        True for a progress bar. A function is called with 1 for every finished run, those found in
        `checkpoint` included.
    out : path-like, optional
        Former name of `checkpoint`, deprecated.

    Returns
    -------
    Sweep
        Runs that diverged count as not recovered; ``Sweep.diverged`` tells them.

    Raises
    ------
    ValueError
        If an argument is not allowed, the problem has no hard direction, two deltas give the same
        number of samples, or `checkpoint` holds results of another configuration.
    OSError
        If `checkpoint` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(
    ...     target="phase-retrieval",
    ...     network=dmft.Network(activation="quadratic"),
    ...     loss="pseudo-huber",
    ... )
    >>> method = dmft.GradientDescent(step_size=0.2, n_steps=150)
    >>> result = dmft.sweep(problem, [1, 20], method, d=60, seeds=4, workers=1)
    >>> result.probability
    array([[0., 1.]])
    """
    folder = renamed_out(checkpoint, out)
    check_instance("problem", problem, Problem)
    check_instance("method", method, GradientDescent)
    if not problem.target.hard_basis.shape[1]:
        raise ValueError(
            "problem must have a hard direction, whose recovery is what a sweep follows; all "
            f"{problem.k} latent directions of label {problem.target.name!r} are easy"
        )
    execution = Execution(progress=progress, checkpoint=folder, workers=workers)
    grid = check_deltas(listed(deltas))
    sizes = check_sizes(listed(d))
    recovery = check_real("recovery", recovery, minimum=0.0, maximum=1.0, exclusive=True)
    if hessian_step is not None:
        hessian_step = check_integer("hessian_step", hessian_step, minimum=0)
        if hessian_step > method.n_steps:
            raise ValueError(
                f"hessian_step must be in 0..n_steps = 0..{method.n_steps}, got {hessian_step}"
            )
    law = get_inputs(inputs)
    chosen = check_seeds(seeds)
    steps = () if hessian_step is None else (hessian_step,)
    cells = [
        _Cell(
            i,
            j,
            SimulationPlan.of(problem, delta, method, size, inputs=law, hessian_steps=steps),
            recovery,
        )
        for i, size in enumerate(sizes)
        for j, delta in enumerate(grid)
    ]
    check_samples(cell.plan for cell in cells)
    check_workers(workers)

    shape = len(sizes), len(grid), len(chosen)
    values = {name: np.full(shape, np.nan) for name in _RESULTS}
    statuses = np.full(shape, Status.SUCCESS.name, dtype="<U32")
    with execution.shown(len(cells) * len(chosen), "seeds") as execution:
        for cell, seed, status, summary in _results(cells, chosen, execution):
            place = cell.size_index, cell.delta_index, chosen.index(seed)
            for name, value in summary.items():
                values[name][place] = value
            statuses[place] = status
            execution.advance()
    return Sweep(
        d=sizes,
        deltas=np.array(grid),
        seeds=chosen,
        recovery=recovery,
        hessian_step=hessian_step,
        recovery_step=values.pop("recovery_step").astype(np.int64),
        statuses=statuses,
        config={
            "problem": problem.to_config(),
            "method": method.to_config(),
            "inputs": law.to_config(),
            **own_laws_entry(problem),
        },
        **values,
    )


@dataclass(frozen=True, eq=False)
class _Cell:
    """One size and delta: its place in the grid and the plan of its runs."""

    size_index: int
    delta_index: int
    plan: SimulationPlan
    recovery: float

    def summary(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        """Reduce a run to the results of `Sweep`."""
        cosine = arrays["hard_cosine"]
        summary = {
            "recovery_step": recovery_step(cosine, self.recovery),
            "final_cosine": cosine[-1],
            "largest_cosine": largest_cosine(cosine),
            "train_loss": arrays["train_loss"][-1],
            "test_loss": arrays["test_loss"][-1],
        }
        for step in self.plan.hessian_steps:
            summary["smallest_eigenvalue"] = arrays[f"hessian/{step}/smallest"][0]
            summary["hard_overlap"] = arrays[f"hessian/{step}/overlaps"][0]
        return {name: float(value) for name, value in summary.items()}


def store_of_cell(
    plan: SimulationPlan,
    checkpoint: str | os.PathLike[str] | None,
    more: Mapping[str, Any] | None = None,
) -> SeedStore | None:
    """Return the folder of the runs of one size and delta; the name is the exact delta.

    Parameters
    ----------
    plan : SimulationPlan
    checkpoint : path-like or None
        The folder of all sizes and deltas; None for none.
    more : mapping, optional
        Settings of the runs besides those of the plan.
    """
    if checkpoint is None:
        return None
    folder = check_folder(checkpoint) / f"d{plan.d}" / f"delta-{plan.delta!r}"
    return SeedStore(folder, {**plan.config_of_files, **(more or {})})


def check_samples(plans: Iterable[SimulationPlan], name: str = "deltas") -> None:
    """Raise if two deltas give the same numbers of samples, and so draw the same runs.

    Parameters
    ----------
    plans : iterable of SimulationPlan
        Sizes one after the other, deltas ascending.
    name : str
        Of the argument that holds the deltas.

    Raises
    ------
    ValueError
        Naming both deltas.
    """
    for one, two in itertools.pairwise(plans):
        if (one.d, one.n) == (two.d, two.n):
            raise ValueError(
                f"{name} must give different numbers of samples n = round(delta d) at every size, "
                f"got {one.delta!r} and {two.delta!r}, both n = {one.n} at d = {one.d}"
            )


def _results(
    cells: list[_Cell], seeds: tuple[int, ...], execution: Execution
) -> Iterator[tuple[_Cell, int, str, dict[str, float]]]:
    """Yield cell, seed, status and summary of every run: first runs on disk, then new ones."""
    tasks: list[tuple[_Cell, int, SeedStore | None]] = []
    # All folders are read before anything runs: one of another configuration is refused at once.
    stores = [store_of_cell(cell.plan, execution.checkpoint) for cell in cells]
    found: list[tuple[_Cell, int, str, dict[str, float]]] = []
    for cell, store in zip(cells, stores, strict=True):
        stored = {} if store is None else store.read(seeds)
        for seed in seeds:
            status, arrays = stored.get(seed, ("", {}))
            if complete(cell.plan, status, arrays):
                found.append((cell, seed, status, cell.summary(arrays)))
            else:
                tasks.append((cell, seed, store))
    yield from found
    tasks.sort(key=lambda task: -task[0].plan.n * task[0].plan.d)
    with contextlib.ExitStack() as opened:
        for store in stores:
            if store is not None:
                opened.enter_context(store.open())
        yield from run_tasks(_run, tasks, execution)


def _run(
    cell: _Cell, seed: int, store: SeedStore | None
) -> tuple[_Cell, int, str, dict[str, float]]:
    """Run one seed, write it as it finishes, and return its summary."""
    _, (status, arrays) = finish_seed(cell.plan, seed, store)
    return cell, seed, status, cell.summary(arrays)


def listed(values: object) -> list[Any]:
    """Return one value or several as a list."""
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        return list(values)
    return [values]
