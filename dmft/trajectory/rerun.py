"""Runs of a trajectory whose paths were not kept, followed again from the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dmft._numerics.execution import Execution
from dmft.solver.replicates import run_replicates
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dmft.solver.runs import Run
    from dmft.trajectory.trajectory import Trajectory

__all__ = ["runs_again", "status_of"]


def runs_again(trajectory: Trajectory, step: int, *, keep_paths: bool = False) -> list[Run]:
    """Run a trajectory up to a step again, with the pre-activations there.

    Parameters
    ----------
    trajectory : Trajectory
        That knows its problem.
    step : int
    keep_paths : bool
        Whether the runs keep their paths.

    Returns
    -------
    list of Run
        Over all paths, then each replicate.

    Raises
    ------
    NumericalFailure
        If the step cannot be computed again.
    """
    assert trajectory.problem is not None
    runs = run_replicates(
        trajectory.problem,
        trajectory.delta,
        trajectory.method.until(step),
        trajectory.sampling,
        Execution(),
        hessian_steps=[step],
        keep_paths=keep_paths,
    )
    if min(run.n_times for run in runs) <= step:
        raise NumericalFailure(status_of(runs), f"Step {step} could not be computed again.")
    return runs


def status_of(runs: Sequence[Run]) -> Status:
    """Return the status of the first run that ended at the last time that all have."""
    n_times = min(run.n_times for run in runs)
    failed = (run.status for run in runs if not run.status.ok and run.n_times == n_times)
    return next(failed, Status.SUCCESS)
