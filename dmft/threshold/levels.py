"""Numbers of paths of a search, from few to many, within a budget of paths, time and memory."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from dmft.hessian.gap_samples import FIRST_NEGATIVE
from dmft.solver.budget import begin_within
from dmft.threshold.gap_memo import GapMemo
from rmt.status import Status

if TYPE_CHECKING:
    from dmft._numerics.accuracy import Accuracy
    from dmft._numerics.execution import Execution
    from dmft._numerics.sampling import Sampling
    from dmft.hessian.gap_samples import WhichOutlier
    from dmft.model.problem import Problem
    from dmft.training.methods import Method

__all__ = ["Levels"]

# A scan that leaves a sign in doubt is repeated on so many times more paths.
_MORE = 4


class Levels:
    """Memos of the gap, each on more paths than the one before.

    The Sobol points of few paths are the first ones of many, and random numbers are tied to seed,
    replicate and step.

    Parameters
    ----------
    accuracy : Accuracy
    problem, method : Problem, Method
    sampling : Sampling
        Its ``n_paths`` are not used.
    execution : Execution
        Each number of paths has a subfolder of its checkpoint.
    which, edge_sensitivity : WhichOutlier, bool
        As for `GapMemo`.
    """

    def __init__(
        self,
        accuracy: Accuracy,
        problem: Problem,
        method: Method,
        sampling: Sampling,
        execution: Execution,
        *,
        which: WhichOutlier = FIRST_NEGATIVE,
        edge_sensitivity: bool = False,
    ) -> None:
        self.accuracy = accuracy
        self._problem, self._method, self._sampling = problem, method, sampling
        self._execution, self._edge_sensitivity = execution, edge_sensitivity
        self._which = which
        self._memos: dict[int, GapMemo] = {}

    def of_index(self, index: int) -> Levels:
        """Return the levels of the gap of another index, which share all solves with these."""
        other = copy.copy(self)
        other._which = replace(self._which, index=index)
        return other

    def first(self, step: int) -> GapMemo:
        """Return a memo on the paths to begin with, for gaps up to a step."""
        return self._memo(self.accuracy.first_paths(float(self._method.times[step])))

    def again(self, memo: GapMemo, step: int, n_steps: int = 1) -> GapMemo | Status:
        """Return a memo for the same solves where these leave something in doubt, as `more`."""
        return self.more(memo, _MORE * memo.sampling.n_paths, memo.n_solves, step, n_steps)

    def more(
        self, memo: GapMemo, n_paths: int | None, n_solves: int, step: int, n_steps: int = 1
    ) -> GapMemo | Status:
        """Return a memo on more paths, or why there can be none.

        Parameters
        ----------
        memo : GapMemo
            With an evaluation at least.
        n_paths : int or None
            None where the budget of paths has ended.
        n_solves : int
            How many solves it is going to take.
        step : int
            To which these go.
        n_steps : int
            At how many steps the gap is asked for.

        Returns
        -------
        GapMemo, or Status
            MAX_PATHS, OUT_OF_MEMORY.
        """
        if n_paths is None or n_paths > self.accuracy.max_paths:
            return Status.MAX_PATHS
        status = begin_within(
            self.accuracy,
            self._execution,
            self._problem,
            self._method.until(step),
            replace(self._sampling, n_paths=n_paths),
            n_steps,
            count=n_solves,
            seconds=n_solves * memo.seconds * (n_paths / memo.sampling.n_paths),
            rank=memo.rank,
        )
        return self._memo(n_paths) if status.ok else status

    def _memo(self, n_paths: int) -> GapMemo:
        if n_paths not in self._memos:
            self._memos[n_paths] = GapMemo(
                self._problem,
                self._method,
                replace(self._sampling, n_paths=n_paths),
                self._execution.part(f"paths-{n_paths}", silent=False),
                which=self._which,
                edge_sensitivity=self._edge_sensitivity,
            )
        return self._memos[n_paths].sharing(self._which.index).counting_anew()
