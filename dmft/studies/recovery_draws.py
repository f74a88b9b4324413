r"""Probability that a run of dimension d recovers a hard direction.

Three things decide it: the overlap of the start, of order d^(-1/2), to which the noise of the data
adds (`dmft.studies.initial_overlap`); its growth along the negative outlier of the Hessian, which
is that of the run's own n = delta d samples (`dmft.hessian.finite_law`); and how long the outlier
stays. Their joint law at dimension d is that of runs drawn in reduced coordinates
(`dmft.simulation.reduced_run`), an n x rank problem in place of an n x d one. The probability is
the fraction of draws that recover (setting of Montanari & Wang, arXiv:2602.01434).
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.execution import Execution
from dmft._numerics.validation import check_array, check_instance, check_integer, check_real
from dmft.model.problem import Problem
from dmft.observables.alignment import largest_cosine, recovery_step
from dmft.simulation.reduced_run import check_reducible, reduced_run
from dmft.simulation.seed_runs import holds, run_tasks
from dmft.simulation.seed_store import SeedStore
from dmft.simulation.simulation_plan import (
    SimulationPlan,
    check_deltas,
    check_sizes,
    check_workers,
)
from dmft.studies.recovery_result import RecoveryProbability
from dmft.studies.sweeps import check_samples, listed, store_of_cell
from dmft.training.gradient_descent import GradientDescent
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["recovery_probability"]

_MOST_DRAWS = 10**6


def recovery_probability(
    problem: Problem,
    delta: float | Iterable[float],
    d: int | Iterable[int],
    method: GradientDescent,
    *,
    draws: int = 64,
    recovery: float = 0.5,
    hard_overlap: ArrayLike | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    throw: bool = False,
) -> RecoveryProbability:
    """Predict the probability that a run of dimension d recovers a hard direction.

    Draws runs in reduced coordinates, which have the law of runs at that d (Lu, arXiv:2101.07464;
    Montanari and Wang, arXiv:2602.01434). None of them is a run of :func:`dmft.simulate`: no number
    is shared. Time and memory are those of n x rank numbers in place of n x d, so that d = 10^5
    costs what a run of d = 1000 does.

    Parameters
    ----------
    problem : Problem
        With at least one hard direction.
    delta : float or iterable of float
        Samples per dimension.
    d : int or iterable of int
        Dimensions.
    method : GradientDescent
        ``n_steps`` is the step budget. Fresh batches have no reduced coordinates.
    draws : int
        Runs drawn at each d and delta.
    recovery : float
        As in :func:`dmft.sweep`: a run recovers when the squared cosine between a hard direction
        and the span of the neurons reaches it.
    hard_overlap : optional
        Overlap with the hard directions at the start, a number or an array (m, k_h), or a sequence
        of those, one for each d; default: that of a random start.
    seed : int
    checkpoint : path-like, optional
        Folder for the draws, one subfolder for each d and delta (``d1000/delta-4.5``). Every draw
        is on disk at once; the same call, or one with more draws, deltas or dimensions, resumes.
    workers : int, optional
        Processes; default one for each core. With 1 everything runs in this process.
    progress : callable or True, optional
        True for a progress bar. A function is called with 1 after each draw.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.

    Returns
    -------
    RecoveryProbability
        Runs that diverged count as not recovered.

    Raises
    ------
    ValueError
        If an argument is not allowed, the problem has no hard direction, runs have no reduced
        coordinates or do not fit in memory, or `checkpoint` holds draws of another configuration.
    OSError
        If `checkpoint` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434; Lu, arXiv:2101.07464.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(step_size=0.2, n_steps=60)
    >>> found = dmft.recovery_probability(problem, [1, 20], 200, method, draws=16, workers=1)
    >>> found.probability
    array([[0., 1.]])
    """
    check_instance("problem", problem, Problem)
    check_instance("method", method, GradientDescent)
    if not problem.target.hard_basis.shape[1]:
        raise ValueError(
            "problem must have a hard direction, whose recovery is predicted; all "
            f"{problem.k} latent directions of label {problem.target.name!r} are easy"
        )
    deltas = check_deltas(listed(delta), "delta")
    given = [check_integer("d", size, minimum=1) for size in listed(d)]
    sizes = check_sizes(given)
    draws = check_integer("draws", draws, minimum=1, maximum=_MOST_DRAWS)
    seed = check_integer("seed", seed, minimum=0)
    recovery = check_real("recovery", recovery, minimum=0.0, maximum=1.0, exclusive=True)
    execution = Execution(progress=progress, checkpoint=checkpoint, workers=workers, throw=throw)
    overlaps = _overlap_of_each(hard_overlap, given, problem)
    plans = [
        SimulationPlan.of(problem, one, method, size, hard_overlap=overlaps[size], reduced=True)
        for size in sizes
        for one in deltas
    ]
    check_samples(plans, "delta")
    n_runs = min(check_workers(workers), draws * len(plans))
    for plan in plans:
        check_reducible(plan, n_runs)
    # All folders are read before anything is drawn: one of another configuration is refused.
    own = {"reduced coordinates, seed": seed}
    stores = [store_of_cell(plan, execution.checkpoint, own) for plan in plans]
    stored = [{} if store is None else store.read(range(draws)) for store in stores]

    shape = len(sizes), len(deltas), draws
    steps = np.full(shape, -1, dtype=np.int64)
    largest, rank = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    statuses = np.full(shape, Status.SUCCESS.name, dtype="<U32")
    tasks = [
        _Task(plan, seed, draw, (*divmod(index, len(deltas)), draw), store)
        for index, (plan, store) in enumerate(zip(plans, stores, strict=True))
        for draw in range(draws)
        if not _complete(plan, stored[index].get(draw))
    ]
    kept = [
        ((*divmod(index, len(deltas)), draw), *found)
        for index, plan in enumerate(plans)
        for draw, found in stored[index].items()
        if _complete(plan, found)
    ]
    tasks.sort(key=lambda task: -task.plan.n)
    with (
        execution.shown(draws * len(plans), "runs drawn") as execution,
        contextlib.ExitStack() as opened,
    ):
        for store in stores:
            if store is not None:
                opened.enter_context(store.open())
        drawn = run_tasks(_draw, [(task,) for task in tasks], execution)
        for place, status, arrays in itertools.chain(kept, drawn):
            cosine = arrays["hard_cosine"]
            steps[place] = recovery_step(cosine, recovery)
            largest[place] = largest_cosine(cosine)
            rank[place], statuses[place] = int(arrays["rank"]), status
            execution.advance()
    stated = None
    if hard_overlap is not None:
        stated = [overlaps[size].tolist() for size in sizes]
    result = RecoveryProbability(
        d=sizes,
        deltas=np.array(deltas),
        recovery=recovery,
        seed=seed,
        recovery_step=steps,
        largest_cosine=largest,
        rank=rank,
        statuses=statuses,
        config={
            "problem": problem.to_config(),
            "method": method.to_config(),
            "hard_overlap": stated,
        },
    )
    execution.settle(result.status, f"Probabilities: {result.probability.tolist()}.")
    return result


@dataclass(frozen=True, eq=False)
class _Task:
    """One run to draw, and its place in the results."""

    plan: SimulationPlan
    seed: int
    draw: int
    place: tuple[int, int, int]
    store: SeedStore | None


def _draw(task: _Task) -> tuple[tuple[int, int, int], str, dict[str, NDArray[np.float64]]]:
    """Draw one run and write it as it finishes; return its place, status and arrays."""
    run = reduced_run(task.plan, task.seed, task.draw)
    arrays = {"hard_cosine": run.hard_cosine, "rank": np.array(float(run.rank))}
    if task.store is not None:
        task.store.write(task.draw, run.status.name, arrays)
    return task.place, run.status.name, arrays


def _complete(plan: SimulationPlan, found: tuple[str, dict[str, NDArray[Any]]] | None) -> bool:
    """Whether what a file holds is a draw of the plan."""
    shapes = {"hard_cosine": (plan.method.n_steps + 1,), "rank": ()}
    return found is not None and holds(shapes, *found)


def _overlap_of_each(value: Any, sizes: list[int], problem: Problem) -> dict[int, Any]:
    """Return the overlap at the start for each size; None for a random one."""
    if value is None:
        return dict.fromkeys(sizes)
    shape = problem.m, problem.target.hard_basis.shape[1]
    expected = f"a number, an array of shape (m, k_h) = {shape}, or one of those for each d"
    try:
        given = check_array("hard_overlap", value, expected=expected)
        if given.ndim == 1:
            given = given[:, np.newaxis, np.newaxis]
        if given.ndim not in (0, 2, 3):
            raise ValueError
        each: NDArray[Any] = np.broadcast_to(given, (len(sizes), *shape))
    except ValueError:
        raise ValueError(f"hard_overlap must be {expected}, got {value!r}") from None
    return dict(zip(sizes, each, strict=True))
