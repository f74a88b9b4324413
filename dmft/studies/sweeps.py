r"""Recovery of the hard directions over a grid of delta: the threshold as experiments see it.

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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_instance, check_integer, check_progress, check_real
from dmft.io.folders import check_folder, renamed_out
from dmft.io.records import read_record, write_record
from dmft.io.results import reporting
from dmft.io.stored_settings import check_settings
from dmft.model.inputs import Inputs, get_inputs
from dmft.model.problem import Problem
from dmft.simulation.seed_runs import complete, finish_seed, run_tasks
from dmft.simulation.seed_store import SeedStore
from dmft.simulation.simulation_plan import (
    SimulationPlan,
    check_deltas,
    check_seeds,
    check_sizes,
    check_workers,
)
from dmft.studies.logistic import LogisticCrossing, fit_crossing
from dmft.training.gradient_descent import GradientDescent
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Sweep", "sweep"]

FloatArray = NDArray[np.float64]

_KIND = "sweep"
_RESULTS = (
    "recovery_step",
    "final_cosine",
    "largest_cosine",
    "train_loss",
    "test_loss",
    "smallest_eigenvalue",
    "hard_overlap",
)
# The default of `simulate`, so that it can read the folders of a sweep.
_DENSE_LIMIT = 4000


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """What became of every run on a grid of sizes and deltas.

    Made by :func:`dmft.sweep`. The arrays below have shape (n_d, n_delta, S): size, delta, seed.

    =======================  ======================================================================
    attribute                quantity
    =======================  ======================================================================
    ``recovery_step``        first step at which the squared cosine between a hard direction and the
                             span of the neurons reached ``recovery``; -1 if it never did (int)
    ``final_cosine``         that squared cosine at the last step
    ``largest_cosine``       its largest value along the run
    ``train_loss``           at the last step
    ``test_loss``            at the last step: the generalisation error
    ``smallest_eigenvalue``  of the Hessian at ``hessian_step``; NaN if none was asked for
    ``hard_overlap``         squared norm of the projection of its eigenvector on the hard space
    ``statuses``             name of the `Status` of the run (str)
    =======================  ======================================================================

    Values at the last step are NaN for a run that diverged.

    Attributes
    ----------
    d : tuple of int
        Sizes, increasing.
    deltas : ndarray, shape (n_delta,)
        Increasing.
    seeds : tuple of int
    recovery : float
        Squared cosine that counts as recovered.
    hessian_step : int or None
    config : dict
        Problem, method and inputs as plain types.
    """

    d: Annotated[tuple[int, ...], "n_d"]
    deltas: Annotated[FloatArray, "n_delta"]
    seeds: Annotated[tuple[int, ...], "S"]
    recovery: float
    hessian_step: int | None
    recovery_step: Annotated[NDArray[np.int64], "n_d n_delta S"]
    final_cosine: Annotated[FloatArray, "n_d n_delta S"]
    largest_cosine: Annotated[FloatArray, "n_d n_delta S"]
    train_loss: Annotated[FloatArray, "n_d n_delta S"]
    test_loss: Annotated[FloatArray, "n_d n_delta S"]
    smallest_eigenvalue: Annotated[FloatArray, "n_d n_delta S"]
    hard_overlap: Annotated[FloatArray, "n_d n_delta S"]
    statuses: Annotated[NDArray[np.str_], "n_d n_delta S"]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        """The step budget."""
        return int(self.config["method"]["n_steps"])

    @property
    def diverged(self) -> NDArray[np.bool_]:
        """Which runs diverged, shape (n_d, n_delta, S)."""
        return np.asarray(self.statuses == Status.DIVERGED.name)

    @property
    def recovered(self) -> NDArray[np.bool_]:
        """Which runs recovered within the budget; those that diverged did not."""
        return np.asarray((self.recovery_step >= 0) & ~self.diverged)

    @property
    def probability(self) -> FloatArray:
        """Fraction of the seeds that recovered, shape (n_d, n_delta)."""
        return np.asarray(self.recovered.mean(axis=2))

    @property
    def excess_loss(self) -> FloatArray:
        """Test loss minus training loss at the last step, shape (n_d, n_delta, S)."""
        return np.asarray(self.test_loss - self.train_loss)

    @property
    def status(self) -> Status:
        """SUCCESS, or what went wrong with the first run that failed."""
        failed = self.statuses[self.statuses != Status.SUCCESS.name]
        return Status[str(failed[0])] if failed.size else Status.SUCCESS

    def probability_interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Interval of the recovery probability at each size and delta.

        Jeffreys' interval: the central part of Beta(r + 1/2, S - r + 1/2) after r recoveries of S,
        from 0 if there was none and to 1 if all recovered.

        Parameters
        ----------
        level : float
            Between 0 and 1.

        Returns
        -------
        lower, upper : ndarray, shape (n_d, n_delta)

        Raises
        ------
        ValueError
            If the level is out of range.
        """
        from scipy.stats import beta

        level = check_real("level", level, minimum=0.0, exclusive=True)
        if not level < 1.0:
            raise ValueError(f"level must be between 0 and 1, got {level:g}")
        count = len(self.seeds)
        r = self.recovered.sum(axis=2)
        tail = (1.0 - level) / 2.0
        lower = beta.ppf(tail, r + 0.5, count - r + 0.5)
        upper = beta.ppf(1.0 - tail, r + 0.5, count - r + 0.5)
        return np.where(r == 0, 0.0, lower), np.where(r == count, 1.0, upper)

    def crossing(self, d: int, *, level: float = 0.95) -> LogisticCrossing:
        """Where the recovery probability crosses one half at one size.

        Parameters
        ----------
        d : int
            One of the sizes.
        level : float
            Of the likelihood interval, see `dmft.studies.logistic.fit_crossing`.

        Returns
        -------
        LogisticCrossing
            With status NO_BRACKET, and no value, where the grid does not bracket a crossing.

        Raises
        ------
        ValueError
            If there is no such size, or an argument is out of range.
        """
        if d not in self.d:
            raise ValueError(f"d must be one of the sizes {', '.join(map(str, self.d))}; got {d!r}")
        recovered = self.recovered[self.d.index(d)].sum(axis=1)
        trials = np.full(len(self.deltas), len(self.seeds))
        return fit_crossing(self.deltas, recovered, trials, level=level)

    def table(self) -> str:
        """Return the results as text: for every size its crossing, then one line for each delta."""
        lower, upper = self.probability_interval()
        count = len(self.seeds)
        lines = [
            f"recovered: squared cosine {self.recovery:g} within {self.n_steps} steps; "
            f"{count} seed{'s' if count != 1 else ''} per delta; intervals 95 %"
        ]
        head = f"{'delta':>9} {'recovered':>10} {'probability':>23} {'median step':>12}"
        head += f" {'test loss':>10} {'excess':>10} {'diverged':>9}"
        if self.hessian_step is not None:
            head += f" {'eigenvalue':>11} {'overlap':>8}"
        for i, d in enumerate(self.d):
            lines += ["", f"d = {d}: {_sentence(self.crossing(d))}", head]
            for j, delta in enumerate(self.deltas):
                recovered = self.recovered[i, j]
                steps = self.recovery_step[i, j][recovered]
                interval = f"({lower[i, j]:.2f} to {upper[i, j]:.2f})"
                line = f"{delta:9.4g} {f'{recovered.sum()}/{count}':>10}"
                line += f" {self.probability[i, j]:7.2f} {interval:>15}"
                line += f" {f'{np.median(steps):.0f}' if len(steps) else '-':>12}"
                line += (
                    f" {_median(self.test_loss[i, j]):>10} {_median(self.excess_loss[i, j]):>10}"
                )
                line += f" {self.diverged[i, j].sum():9d}"
                if self.hessian_step is not None:
                    line += f" {_median(self.smallest_eigenvalue[i, j]):>11}"
                    line += f" {_median(self.hard_overlap[i, j]):>8}"
                lines.append(line)
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write data, configuration, version and seeds to one ``.npz`` file (atomically).

        Parameters
        ----------
        path : path-like
            The file; a missing ``.npz`` suffix is added.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left behind.
        """
        write_record(path, _KIND, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sweep:
        """Read a sweep written by :meth:`save`.

        Raises
        ------
        ValueError
            If the file is not a sweep, is damaged, or was written by a newer version.
        """
        found = read_record(
            path,
            _KIND,
            cls,
            lambda found: check_settings(found.config, "problem", "method", "inputs"),
        )
        with reporting(path):
            for name in np.unique(found.statuses):
                if name not in Status.__members__:
                    raise ValueError(f"statuses must be names of a Status, got {str(name)!r}")
        return found

    def __repr__(self) -> str:
        return (
            f"Sweep(d={self.d}, n_delta={len(self.deltas)}, seeds={len(self.seeds)}, "
            f"n_steps={self.n_steps}, recovery={self.recovery:g}, status={self.status.name})"
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
    progress: Callable[[int], None] | None = None,
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
    progress : callable, optional
        Called with 1 for every finished run, those found in `checkpoint` included.
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
    check_progress(progress)
    grid = check_deltas(_listed(deltas))
    sizes = check_sizes(_listed(d))
    recovery = check_real("recovery", recovery, minimum=0.0, exclusive=True)
    if not recovery < 1.0:
        raise ValueError(f"recovery must be between 0 and 1, got {recovery:g}")
    if hessian_step is not None:
        hessian_step = check_integer("hessian_step", hessian_step, minimum=0)
        if hessian_step > method.n_steps:
            raise ValueError(
                f"hessian_step must be in 0..n_steps = 0..{method.n_steps}, got {hessian_step}"
            )
    law = get_inputs(inputs)
    chosen = check_seeds(seeds)
    cells = [
        _Cell(i, j, _plan(problem, delta, method, size, law, hessian_step), recovery)
        for i, size in enumerate(sizes)
        for j, delta in enumerate(grid)
    ]
    _check_samples(cells)
    n_workers = check_workers(workers)

    shape = len(sizes), len(grid), len(chosen)
    values = {name: np.full(shape, np.nan) for name in _RESULTS}
    statuses = np.full(shape, Status.SUCCESS.name, dtype="<U32")
    for cell, seed, status, summary in _results(cells, chosen, folder, n_workers):
        place = cell.size_index, cell.delta_index, chosen.index(seed)
        for name, value in summary.items():
            values[name][place] = value
        statuses[place] = status
        if progress is not None:
            progress(1)
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
        },
        **values,
    )


def _plan(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    d: int,
    inputs: Inputs,
    hessian_step: int | None,
) -> SimulationPlan:
    """Plan of the runs of one size and delta, the same that `simulate` makes."""
    return SimulationPlan.of(
        problem,
        delta,
        method,
        d,
        inputs=inputs,
        hold_hard=False,
        hard_overlap=None,
        hessian_steps=() if hessian_step is None else (hessian_step,),
        n_extreme=1,
        dense_limit=_DENSE_LIMIT,
        n_test=None,
    )


@dataclass(frozen=True, eq=False)
class _Cell:
    """One size and delta: its place in the grid and the plan of its runs."""

    size_index: int
    delta_index: int
    plan: SimulationPlan
    recovery: float

    def store(self, checkpoint: str | os.PathLike[str] | None) -> SeedStore | None:
        """Folder of its runs; the name is the exact delta."""
        if checkpoint is None:
            return None
        folder = check_folder(checkpoint) / f"d{self.plan.d}" / f"delta-{self.plan.delta!r}"
        return SeedStore(folder, self.plan.config_of_files)

    def summary(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        """Reduce a run to what the sweep keeps of it."""
        cosine = arrays["hard_cosine"]
        reached = np.flatnonzero(cosine >= self.recovery)
        known = cosine[np.isfinite(cosine)]
        summary = {
            "recovery_step": reached[0] if len(reached) else -1,
            "final_cosine": cosine[-1],
            "largest_cosine": known.max() if len(known) else np.nan,
            "train_loss": arrays["train_loss"][-1],
            "test_loss": arrays["test_loss"][-1],
        }
        for step in self.plan.hessian_steps:
            summary["smallest_eigenvalue"] = arrays[f"hessian/{step}/smallest"][0]
            summary["hard_overlap"] = arrays[f"hessian/{step}/overlaps"][0]
        return {name: float(value) for name, value in summary.items()}


def _check_samples(cells: list[_Cell]) -> None:
    """Raise if two deltas draw the same runs, which would count as independent ones."""
    # Sizes one after the other, deltas ascending: equal numbers of samples are neighbours.
    for one, two in itertools.pairwise(cell.plan for cell in cells):
        if (one.d, one.n) == (two.d, two.n):
            raise ValueError(
                "deltas must give different numbers of samples n = round(delta d) at every size, "
                f"got {one.delta!r} and {two.delta!r}, both n = {one.n} at d = {one.d}"
            )


def _results(
    cells: list[_Cell],
    seeds: tuple[int, ...],
    checkpoint: str | os.PathLike[str] | None,
    n_workers: int,
) -> Iterator[tuple[_Cell, int, str, dict[str, float]]]:
    """Cell, seed, status and summary of every run: first those on disk, then as they finish."""
    tasks: list[tuple[_Cell, int, SeedStore | None]] = []
    # All folders are read before anything runs: one of another configuration is refused at once.
    stores = [cell.store(checkpoint) for cell in cells]
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
        yield from run_tasks(_run, tasks, n_workers)


def _run(
    cell: _Cell, seed: int, store: SeedStore | None
) -> tuple[_Cell, int, str, dict[str, float]]:
    """One run, written as it finishes; all that comes back is its summary."""
    _, (status, arrays) = finish_seed(cell.plan, seed, store)
    return cell, seed, status, cell.summary(arrays)


def _listed(values: object) -> list[Any]:
    """One value or several, as a list."""
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        return list(values)
    return [values]


def _sentence(crossing: LogisticCrossing) -> str:
    if crossing.status is Status.NO_BRACKET:
        return "the grid does not bracket a crossing; widen it"
    if not crossing.status.ok:
        return f"{crossing.status.name}: {crossing.status.value}"
    low = f"{crossing.lower:.4g}" if crossing.lower > 0 else "below the grid"
    high = f"{crossing.upper:.4g}" if np.isfinite(crossing.upper) else "above the grid"
    return (
        f"crossing at delta = {crossing.value:.4g} ({low} to {high}), "
        f"width {crossing.width:.2g} in log delta"
    )


def _median(values: FloatArray) -> str:
    finite = values[np.isfinite(values)]
    return f"{np.median(finite):.4g}" if len(finite) else "-"
