r"""The algorithms, as sequences of evaluations of the gradient.

``descend`` takes the steps of gradient descent; ``flow`` integrates gradient flow by stabilised
Runge-Kutta steps of adaptive size. Both only combine points and gradients, so both are exact in the
growing space of ``dmft.solver.process``.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.legendre import error_factor, legendre_stages, n_legendre_stages
from dmft.model.gradients import curvature_bound
from dmft.solver.process import LARGEST_NUMBER
from dmft.solver.window import widened
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from numpy.typing import NDArray

    from dmft.solver.checkpoints import RunCheckpoint
    from dmft.solver.fresh_batches import AnyProcess
    from dmft.solver.process import Evaluation, Process
    from dmft.solver.runs import Record
    from dmft.training.gradient_descent import GradientDescent
    from dmft.training.gradient_flow import GradientFlow

    FloatArray = NDArray[np.float64]

__all__ = ["descend", "flow"]

# The squared norm of the weights may grow by this factor before the run counts as diverged.
_DIVERGENCE_FACTOR = 1e12
# Directions that a flow leaves out are this much smaller than the error allowed in a step.
_RANK_PER_TOL = 0.1
# The largest rate of decay is overestimated by this factor: it may grow within a step.
_SAFETY_OF_RATE = 1.2
_SAFETY_OF_STEP, _LEAST_FACTOR, _MOST_FACTOR = 0.8, 0.1, 2.0
_FIRST_STEP = 1e-2  # where nothing decays
_START = 1e-9  # time of the first evaluations, for averages over time: early beside any step
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
# Evaluations of steps smaller than this, relative to the largest, are as exact as theirs.
_LEAST_VALUE = 1e-3


def descend(
    process: AnyProcess,
    record: Record,
    method: GradientDescent,
    tolerance: float,
    keep: Collection[int],
    forcing: FloatArray | None = None,
    progress: Callable[[int], None] | None = None,
    checkpoint: RunCheckpoint | None = None,
) -> None:
    """Gradient descent from the initial weights of the problem, with momentum if there is any.

    Parameters
    ----------
    process : Process
    record : Record
        Receives every step.
    method : GradientDescent
    tolerance : float
        Directions that would receive a weight below this are not opened.
    keep : collection of int
        Steps whose pre-activations are kept.
    forcing : ndarray, shape (n_steps, m, k), optional
        Added to E[g^t z^T].
    progress : callable, optional
    checkpoint : RunCheckpoint, optional
        Where to go on from, and to keep how far it has come.
    """
    problem = process.problem
    k, lam, beta = problem.k, problem.weight_decay, method.momentum
    etas, values = method.step_sizes, method.direction_weights
    # The size of steps in general, which says how exact an evaluation must be. A step of its own
    # that is far smaller may leave out more, but what is reported of the gradient must be right.
    usual = method.largest_direction_weight or 1.0
    limits = method.curvature_limits(process.delta, lam)
    B = problem.initial_weights()
    V = np.zeros_like(B)
    layer = _SecondLayer(process, method)
    largest = _largest(B)
    resumed = None if checkpoint is None else checkpoint.resume(process, record)
    if checkpoint is not None and resumed is not None:
        with checkpoint.reading():
            B, V = resumed["weights"], resumed["velocity"]
            layer.weights, layer.velocity = resumed["second_layer"]
        if progress is not None:
            progress(record.n_times)
    for t in range(record.n_times, method.n_steps + 1):
        if not (np.sum(B**2) < largest and layer.is_bounded):
            record.status = Status.DIVERGED
            return
        last = t == method.n_steps
        value = float(values[t])
        step = max(value, _LEAST_VALUE * usual)
        counts = process.counts
        process.limit = float(limits[t])
        process.clock = t + 1.0
        found = process.evaluate(
            B,
            step,
            tolerance,
            None if last or value == 0.0 else t,
            second_layer=layer.weights if layer.is_trained else None,
            batch=t,
        )
        if not found.status.ok:
            record.status = found.status
            return
        record.add(
            B,
            found,
            counts,
            weight=value,
            keep=t in keep,
            second_layer=layer.weights,
        )
        if last:
            return
        eta, gradient = float(etas[t]), found.gradient
        if forcing is not None:
            gradient = gradient.copy()
            gradient[:, :k] += forcing[t]
        if beta:
            V = _combined((beta, V), (1.0, gradient), (lam, B))
            B = _combined((1.0, B), (-eta, V))
        else:
            B = _combined((1.0 - eta * lam, B), (-eta, gradient))
        if layer.is_trained:
            layer.step(t, found.second_layer_gradient)
        (B, V), left_out = process.compress([B, V], step, tolerance)
        record.left_out += value * left_out / math.sqrt(process.delta)
        if progress is not None:
            progress(1)
        if checkpoint is not None:
            state = {"weights": B, "velocity": V, "second_layer": (layer.weights, layer.velocity)}
            checkpoint.offer(partial(dict, state))


class _SecondLayer:
    """Weights of the second layer, and how they move."""

    def __init__(self, process: AnyProcess, method: GradientDescent) -> None:
        problem = process.problem
        self.is_trained = method.trains_second_layer
        self.weights = np.array(problem.network.second_layer)
        self.velocity = np.zeros_like(self.weights)
        self._etas, self._beta = method.second_layer_step_sizes, method.momentum
        self._decay = problem.second_layer_weight_decay
        self._largest = _largest(self.weights)

    @property
    def is_bounded(self) -> bool:
        """Whether the run can go on."""
        return bool(np.sum(self.weights**2) < self._largest)

    def step(self, t: int, gradient: FloatArray) -> None:
        """Take step t."""
        self.velocity = self._beta * self.velocity + gradient + self._decay * self.weights
        self.weights = self.weights - self._etas[t] * self.velocity


def flow(
    process: Process,
    record: Record,
    method: GradientFlow,
    tolerance: float,
    keep: Collection[int],
    progress: Callable[[int], None] | None = None,
    checkpoint: RunCheckpoint | None = None,
) -> None:
    """Gradient flow from the initial weights of the problem.

    Parameters are those of `descend`; the tolerance is raised to a tenth of ``method.tol``.
    """
    resumed = None if checkpoint is None else checkpoint.resume(process, record)
    tolerance = max(tolerance, _RANK_PER_TOL * method.tol)
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
            for found in integrator.opened:
                record.opened(max(index - 1, 0), found)
            integrator.opened.clear()
            if checkpoint is not None and integrator.status.ok:
                checkpoint.offer(integrator.state)
        if not integrator.status.ok:
            record.status = integrator.status
            return
        counts = process.counts
        B = widened(integrator.at(float(time)), counts[0])
        found = process.evaluate(B, integrator.weight, integrator.tolerance, None)
        if not found.status.ok:
            record.status = found.status
            return
        record.left_out = integrator.left_out
        record.add(B, found, counts, weight=0.0, keep=index in keep)
        if progress is not None and index:
            progress(1)
        if checkpoint is not None and not integrator.opened:
            checkpoint.offer(integrator.state)


@dataclass
class _Point:
    """Weights at a time, and minus the gradient with weight decay there."""

    time: float
    weights: FloatArray
    slope: FloatArray


# What an integrator knows from its arguments, or is the same whenever its state is asked for.
_FIXED = (
    "status", "tolerance", "opened",
    "_process", "_tol", "_decay", "_largest", "_max_steps", "_longest",
)  # fmt: skip


class _Integrator:
    """Adaptive steps of a gradient flow, from its start or from the `state` of another."""

    def __init__(
        self,
        process: Process,
        method: GradientFlow,
        tolerance: float,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.status = Status.SUCCESS
        self.tolerance = tolerance
        self.opened: list[Evaluation] = []
        self.left_out = 0.0
        self._process = process
        self._tol = method.tol
        self._decay = process.problem.weight_decay
        self._n_opened = 0
        self._n_evaluations = 0
        self._max_steps = method.max_steps
        self._longest = _MOST_TIME * max(method.t_max, 1.0)
        B = process.problem.initial_weights()
        self._largest = _largest(B)
        if state is not None:
            vars(self).update(state)
            self._last, self._next = _Point(**state["_last"]), _Point(**state["_next"])
            return
        self._h = self.weight = _FIRST_STEP
        self._last = self._next = _Point(0.0, B, B)
        process.clock = _START
        look = process.evaluate(B, self.weight, tolerance, None)
        if not look.status.ok:
            self.status = look.status
            return
        self._rate = self._largest_rate()
        if not self.status.ok:
            return
        if self._rate > 0.0:
            self._h = 0.1 / self._rate
        self._last = self._next = _Point(0.0, B, self._slope_for_steps(B, self._h))

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
        """Everything that later steps depend on, in what ``dmft.io.snapshots.pack`` accepts."""
        state = {name: value for name, value in vars(self).items() if name not in _FIXED}
        return {**state, "_last": vars(self._last), "_next": vars(self._next)}

    def at(self, time: float) -> FloatArray:
        """Weights at a time of the last step (cubic Hermite interpolation)."""
        a, b = self._last, self._next
        h = b.time - a.time
        if h == 0.0 or time == b.time:
            return b.weights
        x = (time - a.time) / h
        return _combined(
            ((1.0 + 2.0 * x) * (1.0 - x) ** 2, a.weights),
            (x**2 * (3.0 - 2.0 * x), b.weights),
            (h * x * (1.0 - x) ** 2, a.slope),
            (h * x**2 * (x - 1.0), b.slope),
        )

    def step(self) -> None:
        """Take a step that is accepted."""
        start, left_out = self._next, self.left_out
        for _ in range(_MAX_REJECTIONS):
            h = min(self._h, self._longest)
            if self._rate > 0.0:
                h = min(h, _MOST_RATE_TIME / self._rate)
            self._process.clock = start.time + h
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
                self.left_out = left_out
                self._h = 0.25 * h
                continue
            factor = error_factor(n_stages)
            estimate = _combined(
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
                self._compress()
                return
            self.left_out = left_out
        self.status = Status.DIVERGED

    def _compress(self) -> None:
        """Let go of directions that no longer matter, now and then."""
        points = [self._last, self._next]
        vectors = [vector for point in points for vector in (point.weights, point.slope)]
        vectors, left_out = self._process.compress(vectors, self.weight, self.tolerance)
        self._last = _Point(points[0].time, vectors[0], vectors[1])
        self._next = _Point(points[1].time, vectors[2], vectors[3])
        self.left_out += self.weight * left_out / math.sqrt(self._process.delta)

    def _attempt(self, start: _Point, h: float, n_stages: int) -> FloatArray | None:
        """Weights after a step, None if a stage left the region where numbers are finite."""
        stages = legendre_stages(n_stages)
        self._weigh(2.0 * h / n_stages)
        before = current = start.weights
        slope = start.slope
        for j, stage in enumerate(stages):
            if j:
                slope = self._slope(current)
                if not self.status.ok:
                    return None
            new = _combined(
                (stage.of_start, start.weights),
                (stage.of_last, current),
                (stage.of_second_last, before),
                (h * stage.slope, slope),
                (h * stage.slope_of_start, start.slope),
            )
            before, current = current, new
            if not np.sum(current**2) < self._largest:
                return None
        return current

    def _slope_for_steps(self, weights: FloatArray, h: float) -> FloatArray:
        """`_slope` at the end of a step, with which the next one begins: it may be longer.

        What its stages open must not have been left out there, or it would count twice.
        """
        self._weigh(_MOST_FACTOR * h)
        return self._slope(weights)

    def _weigh(self, step: float) -> None:
        """Set what gradients are multiplied with, for all that depends on it."""
        if self._rate > 0.0:
            step = min(max(step, _LEAST_WEIGHT / self._rate), _MOST_WEIGHT / self._rate)
        self.weight = step

    def _slope(self, weights: FloatArray) -> FloatArray:
        """Minus the gradient with weight decay; opens directions."""
        process = self._process
        self._n_evaluations += 1
        if self._n_evaluations > self._max_steps:
            self.status = Status.MAX_STEPS
            return weights
        found = process.evaluate(weights, self.weight, self.tolerance, self._n_opened)
        if not found.status.ok:
            self.status = found.status
            return weights
        if len(found.opened):
            self._n_opened += 1
            self.opened.append(found)
        self.left_out += self.weight * found.left_out / math.sqrt(process.delta)
        return _combined((-1.0, found.gradient), (-self._decay, weights))

    def _largest_rate(self) -> float:
        """Estimate the largest eigenvalue of the Hessian at the last evaluation, from above.

        The right edge of a bulk with the scalar weights ``d`` that bound the eigenvalues of D,
        ``min over b > max d of E[d b / (b - d)] + b / delta``. Should an outlier lie beyond it all
        the same, the estimate of the error shortens the steps.
        """
        from scipy.optimize import minimize_scalar

        process = self._process
        bounds = [
            curvature_bound(process.problem, r, y)
            for r, y in zip(process.r, process.labels, strict=True)
        ]
        d = np.maximum(np.concatenate(bounds), 0.0)
        highest = float(d.max())
        if not math.isfinite(highest):
            self.status = Status.NONFINITE
            return 0.0
        if highest == 0.0:
            return self._decay

        def edge(log: float) -> float:
            b = highest * (1.0 + math.exp(log))
            return float(np.mean(d * (b / (b - d)))) + b / process.delta

        found = minimize_scalar(edge, bounds=(-8.0, 6.0), method="bounded", options={"xatol": 0.1})
        rate = _SAFETY_OF_RATE * (float(found.fun) + self._decay)
        if not rate < LARGEST_NUMBER:
            self.status = Status.NONFINITE
            return 0.0
        return rate


def _largest(weights: FloatArray) -> float:
    """Squared norm beyond which a run that starts from weights counts as diverged."""
    return min(_DIVERGENCE_FACTOR * (1.0 + float(np.sum(weights**2))), LARGEST_NUMBER)


def _combined(*terms: tuple[float, FloatArray]) -> FloatArray:
    """Linear combination of arrays of different widths, the shorter ones padded with zeros."""
    width = max(array.shape[1] for _, array in terms)
    out = np.zeros((len(terms[0][1]), width))
    for factor, array in terms:
        if factor:
            out[:, : array.shape[1]] += factor * array
    return out
