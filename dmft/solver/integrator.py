r"""Driver of gradient flow: stabilised Runge-Kutta-Legendre steps of adaptive size.

Stages only combine points and gradients, so they are exact in the growing space of
``dmft.solver.process``. Biases that move are a column in front of the weights.

On spheres the slope is that of the constrained flow at every stage, tangent to the sphere of each
neuron through the stage, so that the flow conserves norms; what a step of finite size leaves of
that is of the order of its error, and is removed after it (a projection method: Hairer, Lubich and
Wanner, *Geometric Numerical Integration*, section IV.4). The error is estimated of the point that
is kept.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.legendre import error_factor, legendre_stages, n_legendre_stages
from dmft.model.drawn_inputs import scaled
from dmft.model.gradients import curvature_bound
from dmft.solver.coefficients import linear_combination, widened
from dmft.solver.evaluation import LARGEST_NUMBER, divergence_bound
from dmft.solver.state import DeclaredState, fields_of
from dmft.training.constraints import normal_forces, onto_spheres, radii_of
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from numpy.typing import NDArray

    from dmft.solver.checkpoints import RunCheckpoint
    from dmft.solver.evaluation import Evaluation
    from dmft.solver.process import Process
    from dmft.solver.runs import Record
    from dmft.training.gradient_flow import GradientFlow

    FloatArray = NDArray[np.float64]

__all__ = ["flow"]

# The largest rate of decay is overestimated by this factor: it may grow within a step.
_SAFETY_OF_RATE = 1.2
_SAFETY_OF_STEP, _LEAST_FACTOR, _MOST_FACTOR = 0.8, 0.1, 2.0
_FIRST_STEP = 1e-2  # where nothing decays
_START = 1e-9  # time of the first evaluations, for averages over time: early compared with any step
# Gradients are taken to act for a time between these over the largest rate of decay. However short
# the steps, a direction weighs what it adds up to in the first: errors of the slope that were
# allowed to grow as steps shrink would shrink them further. However long, what a gradient adds is
# forgotten by most directions within the second.
_LEAST_WEIGHT, _MOST_WEIGHT = 0.3, 1.0
_LEAST_STEP = 1e-12  # relative to the time reached
_MAX_STAGES = 250
_MOST_RATE_TIME = 0.5 * _MAX_STAGES**2  # largest rate of decay times the step
_MAX_REJECTIONS = 30
# Steps are at most this much longer than the time asked for, so that powers of times stay numbers.
_MOST_TIME = 1e12


def flow(
    process: Process,
    record: Record,
    method: GradientFlow,
    tolerance: float,
    keep: Collection[int],
    progress: Callable[[int], None] | None = None,
    checkpoint: RunCheckpoint | None = None,
) -> None:
    """Integrate the gradient flow from the initial weights of the problem.

    Parameters are those of `dmft.solver.descent.descend`, but for one tolerance throughout.
    """
    resumed = None if checkpoint is None else checkpoint.resume(process, record)
    with contextlib.nullcontext() if checkpoint is None else checkpoint.reading():
        integrator = _Integrator(process, method, tolerance, resumed)
    times = method.times
    if progress is not None and record.n_times > 1:
        progress(record.n_times - 1)
    for index, time in enumerate(times):
        if index < record.n_times:
            continue
        if integrator.status.ok and not integrator.is_within_limit(time):
            integrator.status = Status.MAX_STEPS
        while integrator.status.ok and integrator.time < time:
            integrator.step()
            for found in integrator.extensions:
                record.add_directions(max(index - 1, 0), found)
            integrator.extensions.clear()
            if checkpoint is not None and integrator.status.ok:
                checkpoint.offer(integrator.state)
        if not integrator.status.ok:
            record.status = integrator.status
            return
        counts = process.counts
        B, biases = integrator.parts(integrator.at(float(time)))
        B = widened(B, counts[0])
        found = process.evaluate(B, integrator.weight, integrator.tolerance, None, biases=biases)
        if not found.status.ok:
            record.status = found.status
            return
        record.left_out = integrator.truncation_residual
        record.add(B, found, counts, weight=0.0, keep=index in keep, biases=biases)
        if progress is not None and index:
            progress(1)
        if checkpoint is not None and not integrator.extensions:
            checkpoint.offer(integrator.state)


@dataclass
class _Point:
    """Weights at a time, and minus the gradient with weight decay there."""

    time: float
    weights: FloatArray
    slope: FloatArray


class _Integrator(DeclaredState):
    """Adaptive steps of a gradient flow, from its start or from the `state` of another."""

    _STATE = ("weight", "truncation_residual", "_h", "_rate", "_n_blocks", "_n_evaluations")

    def __init__(
        self,
        process: Process,
        method: GradientFlow,
        tolerance: float,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.status = Status.SUCCESS
        self.tolerance = tolerance
        self.extensions: list[Evaluation] = []  # evaluations that kept directions
        self.truncation_residual = 0.0
        self._process = process
        self._tol = method.tol
        self._decay = process.problem.weight_decay
        self._bias_rate = method.bias_rate
        self._bias_decay = process.problem.bias_weight_decay
        self._radii = None if method.constraint is None else radii_of(process.problem)
        self._largest_force = 0.0  # outwards, at the last evaluation: decay of the other way round
        self._n_blocks = 0  # of coordinates added
        self._n_evaluations = 0
        self._max_steps = method.max_steps
        self._longest = _MOST_TIME * max(method.t_max, 1.0)
        network = process.problem.network
        B = process.initial_weights
        if self._bias_rate:
            B = np.column_stack([network.biases or np.zeros(network.m), B])
        self._largest = divergence_bound(B)
        if state is not None:
            self.restore(state)
            return
        self._h = self.weight = _FIRST_STEP
        self._last = self._next = _Point(0.0, B, B)
        process.time = _START
        weights, biases = self.parts(B)
        look = process.evaluate(weights, self.weight, tolerance, None, biases=biases)
        if not look.status.ok:
            self.status = look.status
            return
        if self._radii is not None:
            self._tangent(weights, look.gradient)
        self._rate = self._largest_rate()
        if not self.status.ok:
            return
        if self._rate > 0.0:
            self._h = 0.1 / self._rate
        self._last = self._next = _Point(0.0, B, self._slope_for_steps(B, self._h))

    def parts(self, vector: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Return weights and biases, None where these do not move."""
        return (vector[:, 1:], vector[:, 0].copy()) if self._bias_rate else (vector, None)

    @property
    def time(self) -> float:
        """Time reached."""
        return self._next.time

    def is_within_limit(self, time: float) -> bool:
        """Whether enough evaluations are left to get to a time, as far as is known before.

        Rates are at least the weight decay, and an evaluation takes at most what one of the longest
        steps does.
        """
        steps = self._decay * (time - self.time) / _MOST_RATE_TIME
        return steps * n_legendre_stages(_MOST_RATE_TIME) <= (
            1 + self._max_steps - self._n_evaluations
        )

    def state(self) -> dict[str, Any]:
        """Return everything that later steps depend on, for ``dmft.io.snapshots.pack``."""
        return {
            **super().state(),
            "last": fields_of(self._last),
            "next": fields_of(self._next),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        super().restore(state)
        self._last, self._next = _Point(**state["last"]), _Point(**state["next"])

    def at(self, time: float) -> FloatArray:
        """Weights at a time of the last step (cubic Hermite interpolation)."""
        a, b = self._last, self._next
        h = b.time - a.time
        if h == 0.0 or time == b.time:
            return b.weights
        x = (time - a.time) / h
        weights = linear_combination(
            ((1.0 + 2.0 * x) * (1.0 - x) ** 2, a.weights),
            (x**2 * (3.0 - 2.0 * x), b.weights),
            (h * x * (1.0 - x) ** 2, a.slope),
            (h * x**2 * (x - 1.0), b.slope),
        )
        return self._on_spheres(weights)

    def _on_spheres(self, vector: FloatArray) -> FloatArray:
        """Scale neurons back to their radii, if there is a constraint."""
        if self._radii is None:
            return vector
        weights, biases = self.parts(vector)
        scaled = onto_spheres(weights, self._radii)[0]
        return scaled if biases is None else np.column_stack([biases, scaled])

    def step(self) -> None:
        """Take steps until one is accepted."""
        start, residual = self._next, self.truncation_residual
        for _ in range(_MAX_REJECTIONS):
            h = min(self._h, self._longest)
            if self._rate > 0.0:
                h = min(h, _MOST_RATE_TIME / self._rate)
            self._process.time = start.time + h
            if start.time + h <= start.time * (1.0 + _LEAST_STEP):
                break
            n_stages = n_legendre_stages(h * self._rate)
            end = self._attempt(start, h, n_stages)
            slope = None if end is None else self._slope_for_steps(end, h)
            if self.status is Status.DIVERGED:
                # Too long a step: a flow on a loss that is bounded below cannot.
                self.status, end = Status.SUCCESS, None
            if not self.status.ok:
                return
            if end is None or slope is None:
                self.truncation_residual = residual
                self._h = 0.25 * h
                continue
            factor = error_factor(n_stages)
            estimate = linear_combination(
                (factor, start.weights),
                (-factor, end),
                (0.5 * factor * h, start.slope),
                (0.5 * factor * h, slope),
            )
            size = max(np.linalg.norm(x) for x in (start.weights, end, h * slope))
            error = float(np.linalg.norm(estimate) / (self._tol * size)) if size else 0.0
            factor = _SAFETY_OF_STEP * max(error, 1e-12) ** (-1.0 / 3.0)
            self._h = min(max(factor, _LEAST_FACTOR), _MOST_FACTOR) * h
            if error <= 1.0:
                self._last, self._next = start, _Point(start.time + h, end, slope)
                self._rate = self._largest_rate()
                self._truncate()
                return
            self.truncation_residual = residual
        self.status = Status.DIVERGED

    def _truncate(self) -> None:
        """Discard directions that no longer matter, now and then."""
        points = [self._last, self._next]
        vectors = [vector for point in points for vector in (point.weights, point.slope)]
        parts = [self.parts(vector) for vector in vectors]
        vectors = [weights for weights, _ in parts]
        vectors, residual = self._process.truncate(vectors, self.weight, self.tolerance)
        vectors = [
            weights if biases is None else np.column_stack([biases, weights])
            for weights, (_, biases) in zip(vectors, parts, strict=True)
        ]
        self._last = _Point(points[0].time, vectors[0], vectors[1])
        self._next = _Point(points[1].time, vectors[2], vectors[3])
        self.truncation_residual += self.weight * residual / math.sqrt(self._process.delta)

    def _attempt(self, start: _Point, h: float, n_stages: int) -> FloatArray | None:
        """Try a step; returns the weights after it, None if a stage was no longer finite."""
        stages = legendre_stages(n_stages)
        self._weigh(2.0 * h / n_stages)
        before = current = start.weights
        slope = start.slope
        for j, stage in enumerate(stages):
            if j:
                slope = self._slope(current)
                if not self.status.ok:
                    return None
            new = linear_combination(
                (stage.of_start, start.weights),
                (stage.of_last, current),
                (stage.of_second_last, before),
                (h * stage.slope, slope),
                (h * stage.slope_of_start, start.slope),
            )
            before, current = current, new
            if not np.sum(current**2) < self._largest:
                return None
        return self._on_spheres(current)

    def _slope_for_steps(self, weights: FloatArray, h: float) -> FloatArray:
        """`_slope` at the end of a step, with which the next one begins: it may be longer.

        Directions that its stages keep must not have been truncated there: they would count twice.
        """
        self._weigh(_MOST_FACTOR * h)
        return self._slope(weights)

    def _weigh(self, step: float) -> None:
        """Set what gradients are multiplied with, for all that depends on it."""
        if self._rate > 0.0:
            step = min(max(step, _LEAST_WEIGHT / self._rate), _MOST_WEIGHT / self._rate)
        self.weight = step

    def _slope(self, vector: FloatArray) -> FloatArray:
        """Minus the gradient with weight decay; keeps new directions."""
        process = self._process
        weights, biases = self.parts(vector)
        self._n_evaluations += 1
        if self._n_evaluations > self._max_steps:
            self.status = Status.MAX_STEPS
            return vector
        found = process.evaluate(
            weights, self.weight, self.tolerance, self._n_blocks, biases=biases
        )
        if not found.status.ok:
            self.status = found.status
            return vector
        if len(found.kept):
            self._n_blocks += 1
            self.extensions.append(found)
        residual = found.truncation_residual
        self.truncation_residual += self.weight * residual / math.sqrt(process.delta)
        if self._radii is None:
            slope = linear_combination((-1.0, found.gradient), (-self._decay, weights))
        else:
            slope = self._tangent(weights, found.gradient)
        if biases is None:
            return slope
        of_biases = found.bias_gradient + self._bias_decay * biases
        return np.column_stack([-self._bias_rate * of_biases, slope])

    def _tangent(self, weights: FloatArray, gradient: FloatArray) -> FloatArray:
        """Return the part of minus the gradient tangent to spheres; note the largest force."""
        weights = widened(weights, gradient.shape[1])
        forces = normal_forces(weights, gradient)
        self._largest_force = max(float(-forces.min()), 0.0)
        return np.asarray(forces[:, np.newaxis] * weights - gradient)

    def _largest_rate(self) -> float:
        """Estimate the largest eigenvalue of the Hessian at the last evaluation, from above.

        The right edge of a bulk with the scalar weights ``d`` that bound the eigenvalues of D,
        ``min over b > max d of E[d b / (b - d)] + b / delta``. Should an outlier lie beyond it all
        the same, the estimate of the error shortens the steps. Biases are weights of one more
        coordinate, which is constant.
        """
        from scipy.optimize import minimize_scalar

        process = self._process
        bounds = [
            scaled(curvature_bound(process.at, scaled(r, s), y), s**2)
            for r, y, s in zip(process.r, process.labels, process.scales, strict=True)
        ]
        d = np.maximum(np.concatenate(bounds), 0.0)
        highest = float(d.max())
        if not math.isfinite(highest):
            self.status = Status.NONFINITE
            return 0.0
        decay = max(self._decay + self._largest_force, self._bias_rate * self._bias_decay)
        if highest == 0.0:
            return decay

        def edge(log: float) -> float:
            b = highest * (1.0 + math.exp(log))
            return float(np.mean(d * (b / (b - d)))) + b / process.delta

        found = minimize_scalar(edge, bounds=(-8.0, 6.0), method="bounded", options={"xatol": 0.1})
        of_biases = self._bias_rate * float(d.mean())
        rate = _SAFETY_OF_RATE * (float(found.fun) + of_biases + decay)
        if not rate < LARGEST_NUMBER:
            self.status = Status.NONFINITE
            return 0.0
        return rate
