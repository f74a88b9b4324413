"""Work on more paths, within the budget of an accuracy asked for."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dmft._numerics.machine_memory import available_memory
from dmft.solver.memory import rows_within
from rmt.status import Status

if TYPE_CHECKING:
    import os

    from dmft._numerics.accuracy import Accuracy
    from dmft._numerics.execution import Execution
    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.training.methods import Method

__all__ = ["Stopwatch", "begin_within"]


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
    rank: int,
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
    rank : int
        Directions that a run on fewer paths has had: it will have as many at the least.

    Returns
    -------
    Status
        SUCCESS, or what does not allow it: MAX_PATHS, OUT_OF_MEMORY.
    """
    if not accuracy.has_time_for(seconds):
        return Status.MAX_PATHS
    memory = available_memory()
    if execution.max_memory is not None:
        memory = min(memory, execution.max_memory)
    try:
        rows = rows_within(memory, problem, method, sampling, n_kept)
    except ValueError:
        return Status.OUT_OF_MEMORY
    if rows < rank:
        return Status.OUT_OF_MEMORY
    execution.expect(count, seconds, f"{sampling.replicates} x {sampling.n_paths} paths")
    return Status.SUCCESS


class Stopwatch:
    """Time that a solve takes, also where it is read from its checkpoint.

    Budgets of time rest on what fewer paths took; a search that goes on from a checkpoint has to
    know it from before.

    Parameters
    ----------
    folder : path-like or None
        Of the solve, which keeps the time.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._file = None if folder is None else Path(folder) / "seconds.txt"
        self._is_whole = folder is None or not Path(folder).exists()
        self._start = time.monotonic()

    def stop(self) -> float:
        """Return the seconds, of the first of all processes that had the solve to itself."""
        elapsed = time.monotonic() - self._start
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                if self._is_whole:
                    self._file.write_text(f"{elapsed:.3f}\n", encoding="ascii")
                else:
                    return max(elapsed, float(self._file.read_text(encoding="ascii")))
        return elapsed
