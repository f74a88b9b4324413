r"""Find delta_NN at one time against the step size, with reused and with fresh batches.

Gradient descent with step :math:`\eta` reaches time :math:`\tau` after :math:`\tau/\eta` steps. As
:math:`\eta \to 0` its threshold (Montanari & Wang, arXiv:2602.01434) becomes that of gradient flow.
It changes with :math:`\eta` for two reasons: a step is not a flow, and the same n samples are used
in every step, so that the weights remember them. With a fresh batch of n samples in each step the
second is gone; only the noise of single gradients remains.

Descent has the other options of the method: momentum, batches, the constraint; step sizes of second
layer and biases are in their ratio to that of the first layer. With momentum :math:`\beta` each
gradient is taken :math:`1/(1 - \beta)` times, so that the limit of small steps is the flow at time
:math:`\tau/(1 - \beta)`.

The points share their random numbers, so that their differences are known much better than they.
The roots of single replicates are kept for that: differences have errors of their own.

Large steps make single samples unstable (`dmft.solver.stability`). Where these carry averages, or
descent diverges, the result says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_instance
from dmft.comparison.smallest_eigenvalue import HessianPrediction, predict_smallest_at
from dmft.hessian.gap_samples import WhichOutlier, sample_gap
from dmft.io.marks import DELTA, ErrorOf
from dmft.model.problem import Problem
from dmft.model.spectral_start import FRESH_EIGENVECTOR
from dmft.solver.stability import SHARE_TOLERANCE
from dmft.studies.step_sizes import SimulationCheck, StepSizes, steps_to
from dmft.threshold.horizon import delta_nn_curve
from dmft.training.gradient_descent import GradientDescent
from dmft.training.gradient_flow import GradientFlow
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    from dmft.training.methods import Method
    from rmt.hard import Criterion

__all__ = [
    "EigenvalueCheck",
    "StepAxis",
    "StepSeries",
    "check_axis",
    "find_step_axis",
]

FloatArray = NDArray[np.float64]

_KINDS = ("reuse", "fresh")


# -- what comes out ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class StepSeries:
    """delta_NN at one time, for S step sizes.

    Attributes
    ----------
    step_sizes : ndarray, shape (S,)
        Increasing; 0 is gradient flow.
    n_steps : ndarray of int, shape (S,)
        Steps to the time; 0 for gradient flow.
    value : ndarray, shape (S,)
        delta_NN; NaN where there is none.
    stderr : ndarray, shape (S,)
        `ThresholdCurve.error`: over replicates, of the location and of finitely many paths.
    replicates : ndarray, shape (R, S)
        Roots of single replicates.
    unstable_share : ndarray, shape (S,)
        Of each threshold: what paths carry that the step makes unstable. NaN without a value.
    statuses : tuple of Status
        Of each threshold, as in :class:`dmft.ThresholdCurve`.
    """

    _axes: ClassVar = {"S": ".step_size", "R": "replicate"}

    step_sizes: Annotated[FloatArray, "S"]
    n_steps: Annotated[NDArray[np.intp], "S"]
    value: Annotated[FloatArray, "S", DELTA]
    stderr: Annotated[FloatArray, "S", DELTA, ErrorOf("value")]
    replicates: Annotated[FloatArray, "R S"]
    unstable_share: Annotated[FloatArray, "S"]
    statuses: Annotated[tuple[Status, ...], "S"]

    @property
    def unstable(self) -> NDArray[np.bool_]:
        """Where unstable paths carry so much that the value is that of the step size, (S,)."""
        return np.asarray(self.unstable_share > SHARE_TOLERANCE)

    def shift(self, reference: StepSeries, index: int = 0) -> tuple[FloatArray, FloatArray]:
        """Return the difference from a point of this or another series, and its standard error.

        Parameters
        ----------
        reference : StepSeries
            Of the same sampling, so that errors in common cancel.
        index : int
            Point of `reference`.

        Returns
        -------
        difference, stderr : ndarray, shape (S,)
        """
        paired = self.replicates - reference.replicates[:, index, np.newaxis]
        error = paired.std(axis=0, ddof=1) / np.sqrt(len(paired))
        return self.value - reference.value[index], error


@dataclass(frozen=True)
class EigenvalueCheck:
    """Smallest eigenvalue of the Hessian at the time of the axis: theory and finite dimension.

    Attributes
    ----------
    delta : float
    fresh : bool
        Whether each step had a batch of its own.
    step_size : float
    step : int
    d, seeds : int
    status : Status
        Of theory and runs; other than SUCCESS, there is nothing to compare.
    prediction : HessianPrediction or None
        Both values with their errors, and both overlaps with the hard space
        (`dmft.comparison.smallest_eigenvalue`); None where theory or runs ended early.
    """

    delta: float
    fresh: bool
    step_size: float
    step: int
    d: int
    seeds: int
    status: Status
    prediction: HessianPrediction | None

    def to_config(self) -> dict[str, Any]:
        """Return it as plain types."""
        found = None
        if self.prediction is not None:
            found = {**vars(self.prediction), "status": self.prediction.status.name}
        return {**vars(self), "status": self.status.name, "prediction": found}


@dataclass(frozen=True, eq=False)
class StepAxis:
    """delta_NN at one time against the step size.

    Attributes
    ----------
    network : str
        Name of the network.
    time : float
    reuse : StepSeries
        The same n samples in every step.
    fresh : StepSeries or None
        n new samples in every step.
    check : tuple of EigenvalueCheck
        Runs of finite dimension at some delta, if asked for.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> found = dmft.algorithmic_gap(
    ...     "phase-retrieval",
    ...     {"r^2": problem},
    ...     (0.5, 4),
    ...     method=dmft.GradientDescent(0.2, 2),
    ...     sampling=dmft.Sampling(256, 4),
    ...     step_axis=dmft.StepSizes([0.1, 0.2], time=0.4, compare_fresh=False),
    ...     n_points=2**16,
    ... )
    >>> found.step_axis.reuse.n_steps, found.step_axis.fresh
    (array([4, 2]), None)
    """

    network: str
    time: float
    reuse: StepSeries
    fresh: StepSeries | None = None
    check: tuple[EigenvalueCheck, ...] = ()

    @property
    def series(self) -> tuple[StepSeries, ...]:
        """Reuse, and fresh batches if there are any."""
        return (self.reuse,) if self.fresh is None else (self.reuse, self.fresh)

    @property
    def status(self) -> Status:
        """SUCCESS, or the first other status of a point."""
        statuses = [status for series in self.series for status in series.statuses]
        statuses += [entry.status for entry in self.check]
        return first_failure(statuses)


# -- finding it ----------------------------------------------------------------------------------


def find_step_axis(
    problem: Problem,
    bracket: Sequence[float],
    asked: StepSizes,
    sampling: Sampling,
    *,
    name: str = "",
    simulate: SimulationCheck | None = None,
    criterion: Criterion = "negative",
    index: int = 1,
    execution: Execution | None = None,
    method: Method | None = None,
) -> StepAxis:
    """Find delta_NN at one time for every step size, one after the other.

    Parameters
    ----------
    problem : Problem
    bracket : pair of float
    asked : StepSizes
        Its ``network`` is not looked at.
    sampling : Sampling
    name : str
        What to call the network.
    simulate : SimulationCheck, optional
    criterion, index : optional
        As in :func:`dmft.find_delta_nn`.
    execution : Execution, optional
        Each search has a subfolder of its checkpoint folder.
    method : GradientDescent or GradientFlow, optional
        Whose options other than step sizes the descent has; plain descent by default.

    Returns
    -------
    StepAxis

    Raises
    ------
    ValueError
        As :func:`dmft.delta_nn_curve`, and `check_axis`.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
    >>> sampling = dmft.Sampling(n_paths=128, replicates=4)
    >>> axis = find_step_axis(problem, (1, 4), StepSizes([0, 0.2, 0.4], 0.8), sampling)
    >>> axis.reuse.n_steps, axis.fresh.n_steps, axis.status.name
    (array([0, 4, 2]), array([4, 2]), 'SUCCESS')
    """
    check_instance("asked", asked, StepSizes)
    method = GradientDescent(1.0, 0) if method is None else method
    check_axis(asked, method, problem)
    execution = Execution() if execution is None else execution

    def find(sizes: Sequence[float], kind: str) -> StepSeries:
        found = []
        for size in sizes:
            fresh = kind == _KINDS[1]
            own = _method(asked, size, method, fresh=fresh)
            curve = delta_nn_curve(
                problem,
                own,
                bracket,
                [own.n_steps],
                sampling,
                criterion=criterion,
                index=index,
                **execution.part(f"{kind}-{size!r}", silent=False).options(),
            )
            found.append(curve)
        return StepSeries(
            step_sizes=np.array(sizes, dtype=np.float64),
            n_steps=np.array([steps_to(asked.time, size) for size in sizes], dtype=np.intp),
            value=np.array([curve.value[0] for curve in found]),
            stderr=np.array([curve.error[0] for curve in found]),
            replicates=np.stack([curve.replicates[:, 0] for curve in found], axis=1),
            unstable_share=np.array([curve.unstable_share[0] for curve in found]),
            statuses=tuple(curve.statuses[0] for curve in found),
        )

    def compare(delta: float, size: float, *, is_fresh: bool) -> EigenvalueCheck:
        """Compare the smallest eigenvalue of runs with the theory at the last step."""
        from dmft.simulation.simulation import simulate as run
        from dmft.trajectory.solving import solve_with

        assert simulate is not None
        descent = _method(asked, size, method, fresh=is_fresh)
        assert isinstance(descent, GradientDescent)  # the step size is not zero
        own = execution.part(f"check-{_KINDS[is_fresh]}-{delta!r}")
        step, d = descent.n_steps, simulate.d
        trajectory = solve_with(
            own.part("theory"), problem, delta, descent, sampling, hessian_steps=[step]
        )
        status, prediction = trajectory.status, None
        if status.ok:
            runs = run(
                problem,
                delta,
                descent,
                d,
                simulate.seeds,
                hold_hard=True,
                hessian_steps=[step],
                n_extreme=min(2, problem.m * d),
                checkpoint=own.part(f"d{d}").checkpoint,
                workers=simulate.workers,
            )
            found = sample_gap(
                trajectory.hessian(step), WhichOutlier.checked(problem, criterion, index)
            ).status
            # Without an edge in the limit there is still the edge that runs of this size see.
            known = found.ok or found is Status.UNBOUNDED_EDGE
            status = runs.status if known else found
            if status.ok:
                prediction = predict_smallest_at(trajectory, [runs], step).prediction
                status = prediction.status
        return EigenvalueCheck(delta, is_fresh, size, step, d, simulate.seeds, status, prediction)

    reuse = find(asked.step_sizes, _KINDS[0])
    fresh = None
    if asked.compare_fresh:
        fresh = find([size for size in asked.step_sizes if size > 0.0], _KINDS[1])
    check: list[EigenvalueCheck] = []
    known = np.flatnonzero((reuse.step_sizes > 0.0) & np.isfinite(reuse.value))
    if simulate is not None and len(known):
        size, threshold = (float(of[known[-1]]) for of in (reuse.step_sizes, reuse.value))
        for factor in simulate.factors:
            for is_fresh in (False, True)[: 1 + asked.compare_fresh]:
                check.append(compare(float(f"{factor * threshold:.4g}"), size, is_fresh=is_fresh))
                execution.advance()
    return StepAxis(name, asked.time, reuse, fresh, tuple(check))


def check_axis(asked: StepSizes, method: Method, problem: Problem) -> None:
    """Raise unless descent with the options of a method has such step sizes.

    Raises
    ------
    ValueError
        If the method has a schedule, which no one step size replaces, or trains the second layer
        and gradient flow is among the step sizes; if there can be no fresh batches to compare.
    """
    if asked.compare_fresh and problem.spectral_start is not None:
        raise ValueError(f"compare_fresh must be False here: {FRESH_EIGENVECTOR}")
    if isinstance(method, GradientFlow):
        return
    if asked.compare_fresh and method.batch_fraction < 1.0:
        raise ValueError(
            "compare_fresh must be False for batches of a part of the samples, got batch_fraction "
            f"{method.batch_fraction:g}"
        )
    sizes = method.step_size, method.second_layer_step_size, method.bias_step_size
    if not all(isinstance(size, float) for size in sizes):
        raise ValueError(
            "method must have a constant step size, and constant ones of second layer and biases, "
            "for an axis of step sizes"
        )
    if method.trains_second_layer and 0.0 in asked.step_sizes:
        raise ValueError(
            "step_sizes must be positive where the second layer is trained: gradient flow is that "
            "of the first layer"
        )


def _method(asked: StepSizes, step_size: float, method: Method, *, fresh: bool) -> Method:
    """Return the method that gets to the time with such steps, and the other options of one."""
    rates = _rates(method)
    if step_size == 0.0:
        t_max, times = asked.time, [0.0, asked.time]
        if isinstance(method, GradientDescent) and method.momentum:
            t_max /= 1.0 - method.momentum
            times = [0.0, t_max]
        return GradientFlow(
            t_max, asked.flow_tol, times, bias_rate=rates[1], constraint=method.constraint
        )
    n_steps = steps_to(asked.time, step_size)
    second_layer, biases = (rate * step_size for rate in rates)
    descent = GradientDescent(1.0, 0) if isinstance(method, GradientFlow) else method
    return GradientDescent(
        step_size,
        n_steps,
        descent.batch_fraction,
        descent.momentum,
        second_layer,
        fresh,
        biases,
        descent.nesterov,
        method.constraint,
    )


def _rates(method: Method) -> tuple[float, float]:
    """Return the step sizes of second layer and biases relative to that of the first layer."""
    if isinstance(method, GradientFlow):
        return 0.0, method.bias_rate
    assert isinstance(method.step_size, float)  # see `check_axis`
    of_others = method.second_layer_step_size, method.bias_step_size
    second_layer, biases = (
        size / method.step_size if isinstance(size, float) and size else 0.0 for size in of_others
    )
    return second_layer, biases
