"""Computations that the quantities of a scan are read from, each with the settings it depends on.

What a computation gives depends on those settings alone, and not on what else is read from it:
a trajectory followed to the furthest step that any reading asks for has the same bits up to each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from dmft.config.config import TrajectorySettings
from dmft.hessian.gap_samples import WhichOutlier
from dmft.hessian.hessian import initial_law
from dmft.observables.risk_minimization import erm_limit
from dmft.recovery.exponents import hardness
from dmft.recovery.spectral_methods import find_threshold, spectral_method
from dmft.studies.sweeps import sweep
from dmft.threshold.horizon import delta_nn_curve
from dmft.threshold.question import check_question
from dmft.threshold.search import find_delta_nn
from dmft.training.gradient_descent import GradientDescent
from dmft.trajectory.solving import solve

if TYPE_CHECKING:
    from dmft.config.config import RunFile
    from dmft.observables.risk_minimization import RiskMinimizer
    from dmft.recovery.exponents import Hardness
    from dmft.recovery.spectral_methods import SpectralMethod
    from dmft.scans.readings import ReadingName
    from dmft.studies.sweep_result import Sweep
    from dmft.threshold.curve import ThresholdCurve
    from dmft.threshold.threshold import Threshold
    from dmft.trajectory.trajectory import Trajectory
    from rmt import HessianLaw
    from rmt.spectral import SpectralThreshold

    Wanted = tuple[RunFile, ReadingName]

__all__ = ["COMPUTATIONS", "Computation", "Solved"]

_PROBLEM: Final = ("target", "network", "problem")
_THEORY: Final = (*_PROBLEM, "method", "sampling")


@dataclass(frozen=True)
class Computation:
    """A computation: what it depends on, and how it is done.

    Attributes
    ----------
    tables : tuple of str
        Tables of a run file that it depends on.
    settings : callable
        Takes a run file and a reading; returns them with all that is meant stated in these tables,
        the step of the reading too. Raises ValueError where the run file lacks something or the
        problem has no such quantity.
    run : callable
        Takes such a run file, and all readings that are wanted.
    """

    tables: tuple[str, ...]
    settings: Callable[[RunFile, ReadingName], Wanted]
    run: Callable[[RunFile, Sequence[ReadingName]], Any]


def _step_of(run: RunFile, stated: int | None, default: int | None = None) -> int:
    """Return a step of the method: that of the reading, of the run file, or the last one."""
    step = default if stated is None else stated
    step = run.method.n_steps if step is None else step
    if step > run.method.n_steps:
        raise ValueError(f"step must be in 0..n_steps = 0..{run.method.n_steps}, got {step}")
    return step


# -- the mean-field process ----------------------------------------------------------------------


@dataclass
class Solved:
    """A trajectory, and the law of its Hessian at the step last asked for."""

    trajectory: Trajectory
    _laws: dict[tuple[int, bool], HessianLaw] = field(default_factory=dict)

    def hessian(self, step: int, *, right_edge: bool = False) -> HessianLaw:
        """Return the law of the Hessian at a step.

        At step 0 a rule of quadrature is confirmed at the left edge; with `right_edge` at both.
        """
        key = (step, right_edge)
        if key not in self._laws:  # one at a time: it holds arrays as long as the paths
            self._laws = {key: self._hessian(step, right_edge)}
        return self._laws[key]

    def _hessian(self, step: int, right_edge: bool) -> HessianLaw:
        found = self.trajectory
        if right_edge and not step and found.problem and found.problem.spectral_start is None:
            constraint = found.method.constraint
            return initial_law(
                found.problem, found.delta, found.sampling, constraint=constraint, right_edge=True
            )
        return found.hessian(step, keep=False)


def _delta(*places: float | None) -> float:
    """Return the first delta that is stated."""
    for delta in places:
        if delta is not None:
            return delta
    raise ValueError('trajectory.delta is missing: state it, or an axis "delta"')


def _of_hessian(run: RunFile, reading: ReadingName) -> Wanted:
    delta = TrajectorySettings(_delta(run.spectrum.delta, run.trajectory.delta))
    step = _step_of(run, reading.step, run.spectrum.step)
    # Nothing holds a Hessian to an accuracy: it is that of the paths stated.
    return replace(run, trajectory=delta, accuracy=None), replace(reading, step=step)


def _of_trajectory(run: RunFile, reading: ReadingName) -> Wanted:
    run, reading = _at_delta(run, reading)
    return run, replace(reading, step=_step_of(run, reading.step))


def _at_delta(run: RunFile, reading: ReadingName) -> Wanted:
    delta = TrajectorySettings(_delta(run.trajectory.delta, run.spectrum.delta))
    return replace(run, trajectory=delta), reading


def _solved(run: RunFile, readings: Sequence[ReadingName]) -> Solved:
    steps = sorted({reading.step or 0 for reading in readings})
    # Held to an accuracy, quantities are so at all times of the method; so it is always all of it.
    method = run.method if run.accuracy else run.method.until(steps[-1])
    kept = () if run.accuracy else [step for step in steps if step]
    return Solved(
        solve(
            run.problem,
            run.trajectory.delta or 0.0,
            method,
            run.sampling,
            hessian_steps=kept,
            keep_paths=False,
            threads=1,
            **run.accuracy_options,
        )
    )


# -- thresholds ----------------------------------------------------------------------------------


def _bracket(run: RunFile, name: str, bracket: Any) -> None:
    if bracket is None:
        raise ValueError(f"{name}.bracket is missing: the range of delta to search")
    check_question(run.problem, run.method, bracket, run.sampling)


def _of_threshold(run: RunFile, reading: ReadingName) -> Wanted:
    _bracket(run, "threshold", run.threshold.bracket)
    which = run.threshold.stated("criterion", "index")
    WhichOutlier.checked(run.problem, **which)
    settings = replace(run.threshold, step=_step_of(run, reading.step, run.threshold.step))
    return replace(run, threshold=settings), replace(reading, step=None)


def _threshold(run: RunFile, _: Sequence[ReadingName]) -> Threshold:
    return find_delta_nn(
        run.problem,
        run.method,
        run.threshold.bracket or (),
        run.threshold.step,
        run.sampling,
        threads=1,
        **run.threshold.stated("scan_points", "criterion", "index"),
        **run.threshold.of_size,
        **run.accuracy_options,
    )


def _of_curve(run: RunFile, reading: ReadingName) -> Wanted:
    bracket = run.threshold.bracket if run.curve.bracket is None else run.curve.bracket
    _bracket(run, "curve", bracket)
    which = run.threshold.stated("criterion", "index") | run.curve.stated("criterion", "index")
    WhichOutlier.checked(run.problem, **which)
    horizon = run.curve.n_steps
    method = run.method if horizon is None else run.method.until(horizon)
    settings = replace(run.curve, bracket=bracket, n_steps=None, **which)
    return replace(run, method=method, curve=settings), reading


def _curve(run: RunFile, _: Sequence[ReadingName]) -> ThresholdCurve:
    return delta_nn_curve(
        run.problem,
        run.method,
        run.curve.bracket or (),
        sampling=run.sampling,
        threads=1,
        **run.curve.stated("steps", "points", "max_solves", "criterion", "index"),
        **run.curve.of_size,
        **run.accuracy_options,
    )


# -- label and runs of finite dimension ----------------------------------------------------------


def _of_label(run: RunFile, reading: ReadingName) -> Wanted:
    return run, reading


def _label(run: RunFile, _: Sequence[ReadingName]) -> Hardness:
    return hardness(run.problem.target)


def _of_runs(run: RunFile, reading: ReadingName) -> Wanted:
    if run.sweep.d is None:
        raise ValueError("sweep.d is missing: the dimension of the runs")
    if not isinstance(run.method, GradientDescent):
        raise ValueError("[method] must have step_size and n_steps: runs are gradient descent")
    if not run.problem.target.hard_basis.shape[1]:
        raise ValueError("the problem has no hard direction, whose recovery could be followed")
    delta = _delta(run.trajectory.delta, run.spectrum.delta)
    horizon = run.method.n_steps if run.sweep.n_steps is None else run.sweep.n_steps
    settings = replace(  # the largest size, and no Hessian, which nothing is read from
        run.sweep, deltas=(delta,), bracket=None, d=run.sweep.d[-1:], hessian_step=None,
        n_steps=None,
    )  # fmt: skip
    return replace(run, method=run.method.until(horizon), sweep=settings), reading


def _runs(run: RunFile, _: Sequence[ReadingName]) -> Sweep:
    assert isinstance(run.method, GradientDescent)
    return sweep(
        run.problem,
        run.sweep.deltas or (),
        run.method,
        workers=1,
        **run.sweep.stated("d", "seeds", "recovery", "inputs"),
    )


# -- exact companions ----------------------------------------------------------------------------


def _minimizer(run: RunFile, _: Sequence[ReadingName]) -> RiskMinimizer:
    return erm_limit(run.problem, run.trajectory.delta or 0.0, run.sampling)


def _points(run: RunFile) -> dict[str, Any]:
    """Return the options of a spectral method, with the sampling of its points."""
    sampling = {"replicates": run.sampling.replicates, "seed": run.sampling.seed}
    return {**run.spectral_method.stated(), **sampling}


def _spectral(run: RunFile, _: Sequence[ReadingName]) -> SpectralMethod:
    return spectral_method(run.problem, run.trajectory.delta or 0.0, **_points(run))


def _spectral_threshold(run: RunFile, _: Sequence[ReadingName]) -> SpectralThreshold:
    return find_threshold(run.problem, **_points(run))


COMPUTATIONS: Final[Mapping[str, Computation]] = {
    "hessian": Computation((*_THEORY, "trajectory"), _of_hessian, _solved),
    "trajectory": Computation((*_THEORY, "trajectory"), _of_trajectory, _solved),
    "threshold": Computation((*_THEORY, "threshold"), _of_threshold, _threshold),
    "curve": Computation((*_THEORY, "curve"), _of_curve, _curve),
    "label": Computation(("target",), _of_label, _label),
    "runs": Computation((*_PROBLEM, "method", "sweep"), _of_runs, _runs),
    "minimizer": Computation((*_PROBLEM, "sampling", "trajectory"), _at_delta, _minimizer),
    "spectral-method": Computation(
        (*_PROBLEM, "sampling", "trajectory", "spectral-method"), _at_delta, _spectral
    ),
    "spectral-threshold": Computation(
        (*_PROBLEM, "sampling", "spectral-method"), _of_label, _spectral_threshold
    ),
}
