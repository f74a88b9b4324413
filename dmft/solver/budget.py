"""Work on more paths, within the budget of an accuracy asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dmft.solver.memory import rows_within
from rmt.status import Status

if TYPE_CHECKING:
    from dmft._numerics.accuracy import Accuracy
    from dmft._numerics.execution import Execution
    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.training.methods import Method

__all__ = ["begin_within"]


def begin_within(
    accuracy: Accuracy,
    execution: Execution,
    problem: Problem,
    method: Method,
    sampling: Sampling,
    n_kept: int,
    *,
    count: int,
    seconds: float,
) -> Status:
    """Announce work on more paths, if time and memory allow it.

    Parameters
    ----------
    accuracy : Accuracy
    execution : Execution
    problem, method, sampling, n_kept
        Of each solve, as in `dmft.solver.memory.rows_within`.
    count : int
        Steps of the progress that the work takes.
    seconds : float
        That it is likely to take.

    Returns
    -------
    Status
        SUCCESS, or what does not allow it: MAX_PATHS, OUT_OF_MEMORY.
    """
    if not accuracy.has_time_for(seconds):
        return Status.MAX_PATHS
    try:
        rows_within(execution.max_memory, problem, method, sampling, n_kept)
    except ValueError:
        return Status.OUT_OF_MEMORY
    execution.expect(count, seconds, f"{sampling.replicates} x {sampling.n_paths} paths")
    return Status.SUCCESS
