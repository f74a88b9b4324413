"""Order parameters to an accuracy asked for: solves on more and more paths."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dmft.solver.budget import Stopwatch, begin_within
from dmft.training.gradient_descent import GradientDescent
from dmft.trajectory.quantities import QUANTITIES
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dmft._numerics.accuracy import Accuracy
    from dmft._numerics.execution import Execution
    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.training.methods import Method
    from dmft.trajectory.trajectory import Trajectory

__all__ = ["ACCURATE", "check_names", "relative_errors", "solve_to_accuracy"]

ACCURATE = ("train_loss", "test_loss", "norm")
"""Quantities that an accuracy is about, if none are named."""

# Failures of few paths, which more of them may mend.
_OF_FEW_PATHS = (Status.TOO_FEW_PATHS, Status.ILL_CONDITIONED)


def check_names(names: Sequence[str], problem: Problem, method: Method) -> tuple[str, ...]:
    """Return names of quantities, checked.

    Raises
    ------
    ValueError
        If there is none, or one that is no quantity, or one that problem and method do not have.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    unknown = [name for name in names if name not in QUANTITIES]
    if unknown or not names:
        what = repr(unknown[0]) if unknown else "none"
        raise ValueError(f"of must be one or several of {', '.join(QUANTITIES)}; got {what}")
    if "test_error" in names and not problem.target.has_sign_labels:
        raise ValueError("of must not have test_error: labels are not -1 and +1")
    if "response" in names and not isinstance(method, GradientDescent):
        raise ValueError("of must not have response: along a gradient flow it is not known")
    return names


def relative_errors(trajectory: Trajectory, names: Sequence[str]) -> tuple[float, float]:
    """Return the largest standard error and bias of quantities, relative to their size.

    The size of a quantity at a time is that of its largest entry there. What is missing, or
    infinite, has no error.

    Parameters
    ----------
    trajectory : Trajectory
    names : sequence of str

    Returns
    -------
    statistical, bias : float
    """
    worst = [0.0, 0.0]
    for name in names:
        value = np.abs(getattr(trajectory, name))
        if not value.size:
            continue
        size = np.nanmax(value.reshape(len(value), -1), axis=1, initial=0.0)
        for index, error in enumerate((trajectory.stderr[name], trajectory.bias[name])):
            largest = np.nanmax(np.abs(error).reshape(len(value), -1), axis=1, initial=0.0)
            here = np.isfinite(size) & (largest > 0.0)
            with np.errstate(divide="ignore"):
                worst[index] = max(worst[index], (largest[here] / size[here]).max(initial=0.0))
    return float(worst[0]), float(worst[1])


def solve_to_accuracy(
    accuracy: Accuracy,
    names: Sequence[str],
    execution: Execution,
    problem: Problem,
    method: Method,
    sampling: Sampling,
    n_kept: int,
    solve_on: Callable[[Execution, Sampling], Trajectory],
) -> Trajectory:
    """Solve on more and more paths until the errors of some quantities are within the tolerance.

    Parameters
    ----------
    accuracy : Accuracy
    names : sequence of str
        Of the quantities.
    execution : Execution
        Each number of paths has a subfolder of its checkpoint.
    problem, method : Problem, Method
    sampling : Sampling
        Its ``n_paths`` are not used.
    n_kept : int
        Number of steps whose pre-activations are kept at the least.
    solve_on : callable
        Takes execution and sampling, and returns the trajectory.

    Returns
    -------
    Trajectory
        On the most paths that were taken; MAX_PATHS or OUT_OF_MEMORY where these are not enough.
    """
    n_paths = accuracy.first_paths(float(method.times[-1]))
    found: Trajectory | None = None
    while True:
        part = execution.part(f"paths-{n_paths}", silent=False)
        watch = Stopwatch(part.checkpoint)
        latest = solve_on(part, replace(sampling, n_paths=n_paths))
        seconds = watch.stop()
        if latest.status is Status.OUT_OF_MEMORY and found is not None:
            return found.ended(Status.OUT_OF_MEMORY)
        found = latest
        if found.status.ok:
            statistical, bias = relative_errors(found, names)
            if np.hypot(statistical, bias) <= accuracy.rtol:
                return found
        elif found.status in _OF_FEW_PATHS:
            statistical, bias = np.inf, 0.0
        else:
            return found
        more = accuracy.more_paths(n_paths, statistical, bias)
        if more is None:
            return found.ended(Status.MAX_PATHS)
        status = begin_within(
            accuracy,
            execution,
            problem,
            method,
            replace(sampling, n_paths=more),
            n_kept,
            count=method.n_steps * (sampling.replicates + 1),
            seconds=seconds * more / n_paths,
            rank=found.rank if found.n_steps >= 0 else 0,
        )
        if not status.ok:
            return found.ended(status)
        n_paths = more
