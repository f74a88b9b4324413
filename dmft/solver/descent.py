r"""Driver of gradient descent: its steps as evaluations of the gradient.

Steps only combine points and gradients, so they are exact in the growing space of
``dmft.solver.process``.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dmft.solver.coefficients import linear_combination
from dmft.solver.evaluation import divergence_bound
from dmft.training.constraints import onto_spheres, radii_of
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from dmft.solver.checkpoints import RunCheckpoint
    from dmft.solver.fresh_batches import AnyProcess
    from dmft.solver.runs import Record
    from dmft.training.gradient_descent import GradientDescent

    FloatArray = NDArray[np.float64]

__all__ = ["descend"]

# Evaluations of steps smaller than this, relative to the largest, are as exact as theirs.
_LEAST_VALUE = 1e-3


def descend(
    process: AnyProcess,
    record: Record,
    method: GradientDescent,
    tolerances: FloatArray,
    keep: Collection[int],
    forcing: FloatArray | None = None,
    progress: Callable[[int], None] | None = None,
    checkpoint: RunCheckpoint | None = None,
) -> None:
    """Descend from the initial weights of the problem, with momentum if there is any.

    Parameters
    ----------
    process : Process
    record : Record
        Receives every step.
    method : GradientDescent
    tolerances : ndarray, shape (n_steps + 1,)
        Directions that would receive a weight below this at a step are truncated.
    keep : collection of int
        Steps whose pre-activations are kept.
    forcing : ndarray, shape (n_steps, m, k), optional
        Added to E[g^t z^T].
    progress : callable, optional
    checkpoint : RunCheckpoint, optional
        Holds the state to resume from, and receives that of this run.
    """
    problem = process.problem
    k, lam, beta = problem.k, problem.weight_decay, method.momentum
    etas, values = method.step_sizes, method.direction_weights
    # The size of steps in general, which says how exact an evaluation must be. A step of its own
    # that is far smaller may truncate more, but what is reported of the gradient must be right.
    usual = method.largest_direction_weight or 1.0
    limits = method.curvature_limits(process.delta, lam)
    radii = None if method.constraint is None else radii_of(problem)
    B = process.initial_weights
    V = np.zeros_like(B)
    layer = _Layer.second(process, method)
    biases = _Layer.biases(process, method)
    largest = divergence_bound(B)
    resumed = None if checkpoint is None else checkpoint.resume(process, record)
    if checkpoint is not None and resumed is not None:
        with checkpoint.reading():
            B, V = resumed["weights"], resumed["velocity"]
            layer.weights, layer.velocity = resumed["second_layer"]
            if biases.is_trained:
                biases.weights, biases.velocity = resumed["biases"]
        if progress is not None:
            progress(record.n_times)
    for t in range(record.n_times, method.n_steps + 1):
        if not (np.sum(B**2) < largest and layer.is_bounded and biases.is_bounded):
            record.status = Status.DIVERGED
            return
        last = t == method.n_steps
        value, tolerance = float(values[t]), float(tolerances[t])
        step = max(value, _LEAST_VALUE * usual)
        counts = process.counts
        process.limit = float(limits[t])
        process.time = t + 1.0
        found = process.evaluate(
            B,
            step,
            tolerance,
            None if last or value == 0.0 else t,
            second_layer=layer.weights if layer.is_trained else None,
            biases=biases.weights if biases.is_trained else None,
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
            biases=biases.weights if biases.is_trained else None,
        )
        if last:
            return
        eta, gradient = float(etas[t]), found.gradient
        if forcing is not None:
            gradient = gradient.copy()
            gradient[:, :k] += forcing[t]
        if beta:
            V = linear_combination((beta, V), (1.0, gradient), (lam, B))
            if method.nesterov:
                B = linear_combination((1.0 - eta * lam, B), (-eta, gradient), (-eta * beta, V))
            else:
                B = linear_combination((1.0, B), (-eta, V))
        else:
            B = linear_combination((1.0 - eta * lam, B), (-eta, gradient))
        if radii is not None:
            B, growth = onto_spheres(B, radii)
            record.left_out *= growth  # what was truncated is scaled with the rest
        if layer.is_trained:
            layer.step(t, found.second_layer_gradient)
        if biases.is_trained:
            biases.step(t, found.bias_gradient)
        (B, V), residual = process.truncate([B, V], step, tolerance)
        record.left_out += value * residual / math.sqrt(process.delta)
        if progress is not None:
            progress(1)
        if checkpoint is not None:
            state = {"weights": B, "velocity": V, "second_layer": (layer.weights, layer.velocity)}
            if biases.is_trained:
                state["biases"] = biases.weights, biases.velocity
            checkpoint.offer(partial(dict, state))


class _Layer:
    """Weights of the second layer, or biases, and their gradient descent."""

    def __init__(
        self,
        weights: FloatArray,
        etas: FloatArray,
        method: GradientDescent,
        decay: float,
        is_trained: bool,
    ) -> None:
        self.is_trained = is_trained
        self.weights = weights
        self.velocity = np.zeros_like(weights)
        self._etas, self._beta, self._decay = etas, method.momentum, decay
        self._nesterov = method.nesterov
        self._largest = divergence_bound(weights)

    @classmethod
    def second(cls, process: AnyProcess, method: GradientDescent) -> _Layer:
        """Return the second layer."""
        problem = process.problem
        return cls(
            np.array(problem.network.second_layer),
            method.second_layer_step_sizes,
            method,
            problem.second_layer_weight_decay,
            method.trains_second_layer,
        )

    @classmethod
    def biases(cls, process: AnyProcess, method: GradientDescent) -> _Layer:
        """Return the biases."""
        problem = process.problem
        return cls(
            np.array(problem.network.biases or np.zeros(problem.m)),
            method.bias_step_sizes,
            method,
            problem.bias_weight_decay,
            method.trains_biases,
        )

    @property
    def is_bounded(self) -> bool:
        """Whether the run can go on."""
        return bool(np.sum(self.weights**2) < self._largest)

    def step(self, t: int, gradient: FloatArray) -> None:
        """Take step t."""
        decay = self._decay * self.weights
        self.velocity = self._beta * self.velocity + gradient + decay
        step = self.velocity
        if self._nesterov:
            step = gradient + decay + self._beta * self.velocity
        self.weights = self.weights - self._etas[t] * step
