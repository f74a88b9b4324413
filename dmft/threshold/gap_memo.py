"""The gap lambda_min A_h as a function of delta and step, each value computed once.

One solve at a delta gives the gap at every step up to its last; at step 0 no solve is needed.
"""

from __future__ import annotations

import copy
import json
import statistics
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.progress import in_parts
from dmft._numerics.workers import Threads, single_threaded_blas, worker_count
from dmft.hessian.gap_samples import (
    FIRST_NEGATIVE,
    GapSample,
    WhichOutlier,
    sample_gap,
    standard_error,
)
from dmft.hessian.hessian import initial_law
from dmft.io.folders import check_folder, read_configuration
from dmft.solver.budget import Stopwatch
from dmft.solver.checkpoints import configuration
from dmft.threshold.onset import shown_early
from dmft.trajectory.solving import solve_with
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dmft._numerics.execution import Execution
    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.training.methods import Method
    from dmft.trajectory.trajectory import Trajectory
    from rmt import HessianLaw

    FloatArray = NDArray[np.float64]

__all__ = ["Evaluation", "GapFunction", "GapMemo", "GapValues", "merged_tables", "merged_values"]

# At step 0 the gap takes milliseconds where it is computed by quadrature with so many nodes at
# most.
_MOST_ATOMS = 2**18
# The gap at one step takes about as long as so many steps of the solve.
_STEPS_PER_READING = 2


@dataclass(frozen=True)
class Evaluation:
    """Gap and left edge at one delta and step.

    Attributes
    ----------
    sample : GapSample
    unstable_share : float
        `UnstablePaths.share_until` the step; NaN where the run ended before.
    last_step : int or None
        Last step of a run that ended before the one asked for.
    """

    sample: GapSample
    unstable_share: float = np.nan
    last_step: int | None = None


@dataclass(frozen=True)
class GapValues:
    """The gap at one step, at n values of delta.

    Attributes
    ----------
    evaluations : mapping of float to Evaluation
        By delta, increasing.
    gap, stderr : ndarray, shape (n,)
        Of these; gap NaN or infinite where there is none.
    """

    evaluations: Mapping[float, Evaluation]
    gap: FloatArray
    stderr: FloatArray

    @cached_property
    def delta(self) -> FloatArray:
        """Where they are, shape (n,)."""
        return np.array(list(self.evaluations))

    @property
    def failures(self) -> dict[float, Status]:
        """Status of each evaluation without a finite gap."""
        statuses = {delta: entry.sample.status for delta, entry in self.evaluations.items()}
        return {delta: status for delta, status in statuses.items() if not status.ok}


def merged_values(parts: Sequence[GapValues]) -> GapValues:
    """Return the gap at all deltas of several searches, of the last one that evaluated each."""
    found: dict[float, tuple[Evaluation, float, float]] = {}
    for values in parts:
        rows = zip(values.evaluations.items(), values.gap, values.stderr, strict=True)
        found |= {delta: (entry, gap, stderr) for (delta, entry), gap, stderr in rows}
    merged = {delta: found[delta] for delta in sorted(found)}
    return GapValues(
        {delta: entry for delta, (entry, _, _) in merged.items()},
        np.array([gap for _, gap, _ in merged.values()]),
        np.array([stderr for _, _, stderr in merged.values()]),
    )


def merged_tables(memos: Sequence[GapMemo], steps: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Return the tables of several memos as one, of the last one that solved at each delta.

    Parameters
    ----------
    memos : sequence of GapMemo
    steps : sequence of int

    Returns
    -------
    dict
        As `GapMemo.table`, and ``paths_of_solve``, the paths per replicate at each delta.
    """
    tables = []
    for memo in memos:
        table: dict[str, NDArray[Any]] = dict(memo.table(steps))
        table["paths_of_solve"] = np.full(len(table["delta"]), memo.sampling.n_paths, dtype=np.intp)
        tables.append(table)
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    # Of equal deltas, the last one in the order of the memos.
    _, from_the_end = np.unique(joined["delta"][::-1], return_index=True)
    rows = len(joined["delta"]) - 1 - from_the_end
    return {name: values[rows] for name, values in joined.items()}


class GapMemo:
    """Memo of the gap at the deltas evaluated so far.

    Parameters
    ----------
    problem, method, sampling
    execution : Execution
        Each delta has a subfolder of its checkpoint.
    which : WhichOutlier
        That the gap is about.
    edge_sensitivity : bool
        Whether evaluations include that of the left edge.

    Attributes
    ----------
    start_is_cheap : bool
        Whether another evaluation at step 0 takes milliseconds.
    also : sequence of int
        Steps at which a solve gives the gap too, up to the last one asked for.
    rank : int
        Largest number of directions of a solve so far.
    shows_bias : bool
        Whether replicates differ from all paths by the bias of fewer paths.
    """

    shows_bias = True

    def __init__(
        self,
        problem: Problem,
        method: Method,
        sampling: Sampling,
        execution: Execution,
        *,
        which: WhichOutlier = FIRST_NEGATIVE,
        edge_sensitivity: bool = False,
    ) -> None:
        if execution.checkpoint is not None:
            check_folder(execution.checkpoint)
        self.problem, self.method, self.sampling = problem, method, sampling
        self.execution = execution
        self.which = which
        self.edge_sensitivity = edge_sensitivity
        self.start_is_cheap = False
        self.also: Sequence[int] = ()
        self.rank = 0
        self._seconds: dict[int, list[float]] = {}
        self._known: dict[float, dict[int, Evaluation]] = {}
        self._uncounted = 0

    def evaluate(self, delta: float, steps: Sequence[int]) -> dict[int, Evaluation]:
        """Compute the gap at a delta and ascending steps, by one solve or none."""
        if steps[-1]:
            steps = sorted({*steps, *(step for step in self.also if 0 < step <= steps[-1])})
        before = self._known.get(delta, {})
        steps = [step for step in steps if step not in before]
        if not steps:
            return self._of_index(before)
        n_runs = self.sampling.replicates + 1
        n_parts = n_runs * (steps[-1] + _STEPS_PER_READING * len(steps))
        with in_parts(self.execution.counting, n_parts) as advance:
            found = self._known[delta] = before | self._evaluations(delta, steps, advance)
        return self._of_index(found)

    def _of_index(self, found: dict[int, Evaluation]) -> dict[int, Evaluation]:
        """Return the evaluations with the gap of this memo's index."""
        return {
            step: entry
            if entry.sample.index == self.which.index
            else replace(entry, sample=entry.sample.of(self.which.index))
            for step, entry in found.items()
        }

    def sharing(self, index: int) -> GapMemo:
        """Return a memo of the gap of another index, which shares all solves with this one."""
        other = copy.copy(self)
        other.which = replace(self.which, index=index)
        return other

    def counting_anew(self) -> GapMemo:
        """Return a memo that shares all solves with this one, of which it counts none so far."""
        other = copy.copy(self)
        other._uncounted = len(self._known)
        return other

    def _evaluations(
        self, delta: float, steps: Sequence[int], advance: Callable[[float], None] | None
    ) -> dict[int, Evaluation]:
        found: dict[int, Evaluation] = {}
        watch = Stopwatch(None)
        if steps[0] == 0:
            found[0] = self._initial(delta)
        later = [step for step in steps if step]
        if not later:
            self._seconds.setdefault(0, []).append(watch.stop())
            return found
        part = self.execution.part(self._folder(delta, later))
        watch = Stopwatch(part.checkpoint)
        trajectory = solve_with(
            replace(part, progress=advance),
            self.problem,
            delta,
            self.method.until(later[-1]),
            self.sampling,
            hessian_steps=later,
        )
        if trajectory.n_steps >= 0:
            self.rank = max(self.rank, trajectory.rank)
        share = trajectory.unstable_paths.share_until
        sample_at = self._reader(trajectory, later, part)

        def evaluation(step: int) -> Evaluation:
            if step > trajectory.n_steps:
                return Evaluation(self._missing(trajectory.status), last_step=trajectory.n_steps)
            read = Evaluation(sample_at(step), share(step))
            if advance is not None:
                advance(_STEPS_PER_READING * (self.sampling.replicates + 1))
            return read

        n_workers = worker_count(self.execution.threads, len(later))
        with single_threaded_blas(), Threads(n_workers) as pool:
            found |= dict(zip(later, pool.map(evaluation, later), strict=True))
        if found[later[-1]].last_step is None:  # runs that ended early were quicker
            self._seconds.setdefault(later[-1], []).append(watch.stop())
        return found

    def _folder(self, delta: float, steps: list[int]) -> str:
        """Return the subfolder of a solve: of its own where there is one that kept other steps.

        Another accuracy, and signs that are decided later, ask for other steps at the same delta.
        """
        name = f"delta-{delta!r}"
        if self.execution.checkpoint is None:
            return name
        recorded = read_configuration(Path(self.execution.checkpoint) / name) or {}
        others = recorded.get("hessian_steps") or steps
        if others == steps or others[-1] > self.method.n_steps:
            return name
        until = self.method.until(others[-1])
        same = configuration(self.problem, delta, until, self.sampling, others)
        if recorded != json.loads(json.dumps(same)):
            return name  # whose files refuse this search
        return f"{name}-{zlib.crc32(repr(steps).encode()):08x}"

    def _initial(self, delta: float) -> Evaluation:
        """Compute the gap at step 0."""
        try:
            right_edge = self.which.criterion == "any"
            more: dict[str, Any] = {"right_edge": True} if right_edge else {}
            constraint = self.method.constraint
            law = initial_law(self.problem, delta, self.sampling, constraint=constraint, **more)
        except NumericalFailure as failure:
            return Evaluation(self._missing(failure.status))
        self.start_is_cheap = law.m == 1 and not law.replicates and len(law.weights) <= _MOST_ATOMS
        return Evaluation(self._sample(law), 0.0)

    def _reader(
        self, trajectory: Trajectory, steps: Sequence[int], part: Execution
    ) -> Callable[[int], GapSample]:
        """Return the function that computes the gap at one of the steps of a trajectory."""
        return lambda step: self._sample(trajectory.hessian(step, keep=False))

    def _sample(self, law: HessianLaw) -> GapSample:
        return sample_gap(law, self.which, edge_sensitivity=self.edge_sensitivity)

    def _missing(self, status: Status) -> GapSample:
        return GapSample.missing(status, self.sampling.replicates + 1)

    def at(self, step: int) -> dict[float, Evaluation]:
        """Return the evaluations at a step, increasing in delta."""
        return {
            delta: self._of_index({step: found[step]})[step]
            for delta, found in sorted(self._known.items())
            if step in found
        }

    def samples(self, step: int) -> tuple[GapValues, FloatArray, FloatArray]:
        """Return the gap at a step, and gaps and left edges of all paths and each replicate.

        Returns
        -------
        values : GapValues
        gaps, edges : ndarray, shape (R + 1, n)
        """
        found = self.at(step)
        gaps, edges = (
            np.stack([self._rows(entry, name) for entry in found.values()], axis=1)
            for name in ("gap", "edge")
        )
        return GapValues(found, gaps[0], standard_error(gaps[1:], axis=0)), gaps, edges

    def table(self, steps: Sequence[int]) -> dict[str, FloatArray]:
        """Return all evaluations as arrays, shape (n, S), NaN where there is none.

        Returns
        -------
        dict
            ``delta`` (n,), ``gap``, ``left_edge`` and their standard errors, named as in
            `ThresholdCurve`.
        """
        deltas = sorted(self._known)
        shape = len(deltas), self.sampling.replicates + 1, len(steps)
        gap, edge = np.full((2, *shape), np.nan)
        sensitivity = np.full((len(deltas), len(steps)), np.nan)
        for i, delta in enumerate(deltas):
            for j, step in enumerate(steps):
                if step in self._known[delta]:
                    entry = self._of_index({step: self._known[delta][step]})[step]
                    gap[i, :, j], edge[i, :, j] = entry.sample.gap, entry.sample.edge
                    sensitivity[i, j] = entry.sample.edge_sensitivity
        edge_error = standard_error(edge[:, 1:], axis=1)
        return {
            "delta": np.array(deltas),
            "gap": gap[:, 0],
            "gap_stderr": standard_error(gap[:, 1:], axis=1),
            "left_edge": edge[:, 0],
            "left_edge_stderr": np.hypot(edge_error, sensitivity),
        }

    def _rows(self, entry: Evaluation, name: str) -> FloatArray:
        """Return a number of all paths and each replicate; an exact one is the same for all."""
        return np.broadcast_to(getattr(entry.sample, name), self.sampling.replicates + 1)

    @property
    def seconds(self) -> float:
        """Seconds that an evaluation takes, the median of those that went furthest; 0 if unknown.

        Those read from a checkpoint count with what they took when they were computed.
        """
        return statistics.median(self._seconds[max(self._seconds)]) if self._seconds else 0.0

    @property
    def n_solves(self) -> int:
        """Number of deltas evaluated."""
        return len(self._known) - self._uncounted

    @property
    def is_unbounded(self) -> bool:
        """Whether every left edge at some delta is -infinity.

        A property of activation, loss and label: it is the same at all other deltas.
        """
        unbounded = Status.UNBOUNDED_EDGE
        return any(
            all(entry.sample.status is unbounded for entry in found.values())
            for found in self._known.values()
        )

    @property
    def config(self) -> dict[str, Any]:
        """Problem, method and sampling as plain types."""
        parts = {"problem": self.problem, "method": self.method, "sampling": self.sampling}
        return {name: part.to_config() for name, part in parts.items()}

    def copy(self, *, edge_sensitivity: bool = False) -> GapMemo:
        """Return a silent memo with the same evaluations, which keeps further ones to itself."""
        other = copy.copy(self)
        other.edge_sensitivity = edge_sensitivity
        other.execution = replace(self.execution, progress=None)
        other._known = dict(self._known)
        other._seconds = {step: list(seconds) for step, seconds in self._seconds.items()}
        return other


class GapFunction:
    """The gap at one step as a function of delta.

    Parameters
    ----------
    memo : GapMemo
    step : int
    known : GapValues, optional
        Values of the memo at this step.
    early : int, optional
        Step at which replicates show what all paths have at `step` (`dmft.threshold.onset`): the
        gap is computed there too.
    """

    def __init__(
        self, memo: GapMemo, step: int, known: GapValues | None = None, early: int | None = None
    ) -> None:
        self.memo, self.step, self.early = memo, step, early
        self._values: dict[float, tuple[float, float]] = {}
        if known is not None:
            pairs = zip(known.gap.tolist(), known.stderr.tolist(), strict=True)
            self._values = dict(zip(known.delta.tolist(), pairs, strict=True))

    def __call__(self, delta: float) -> float:
        """Return the gap at a delta."""
        delta = float(delta)
        if delta not in self._values:
            steps = [self.step] if self.early is None else [self.early, self.step]
            sample = self.memo.evaluate(delta, steps)[self.step].sample
            self._values[delta] = float(sample.gap[0]), sample.stderr
        return self._values[delta][0]

    def stderr(self, delta: float) -> float:
        """Return the standard error of the gap at a delta evaluated before."""
        return self._values[delta][1]

    def bias(self, delta: float) -> float:
        """Estimate the bias of the gap by finitely many paths at a delta evaluated before.

        Without an early step, as if it were inversely proportional to the number of paths.
        """
        gap = self.memo.at(self.step)[delta].sample.gap
        n_replicates = len(gap) - 1
        if not n_replicates:
            return 0.0
        difference = float(gap[1:].mean() - gap[0])
        if self.early is None:
            return difference / (n_replicates - 1)
        earlier = self.memo.at(self.early)[delta].sample.gap
        shown = float(earlier[1:].mean() - earlier[0])
        if not np.isfinite(shown):  # there is no gap that early
            return difference / (n_replicates - 1)
        return float(shown_early(shown, difference, n_replicates))

    @property
    def is_cheap(self) -> bool:
        """Whether another value takes milliseconds."""
        return self.step == 0 and self.memo.start_is_cheap

    def values(self) -> GapValues:
        """Return all evaluations."""
        found = self.memo.at(self.step)
        pairs = np.array([self._values[delta] for delta in found]).reshape(-1, 2)
        return GapValues(found, pairs[:, 0], pairs[:, 1])

    def copy(self) -> GapFunction:
        """Return a function with a `GapMemo.copy`."""
        other = GapFunction(self.memo.copy(), self.step)
        other._values = dict(self._values)
        return other
