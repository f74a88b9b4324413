"""Samples at the points of a cubature: averages over noise and clusters in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmft.model.drawn_inputs import scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.model.problem import Problem

    FloatArray = NDArray[np.float64]

__all__ = [
    "LabelledPoints",
    "further_coordinates",
    "input_points",
    "labelled",
    "labelled_points",
    "noise_coordinates",
]


def noise_coordinates(problem: Problem) -> int:
    """Count the coordinates of the label noise in a cubature: none where it is summed over."""
    target = problem.target
    return int(target.uses_noise and target.classes is None)


def further_coordinates(problem: Problem) -> int:
    """Count the coordinates of a cubature after z and xi: label noise, and the scale of inputs.

    Clusters of a mixture are summed over.
    """
    inputs = problem.inputs
    return noise_coordinates(problem) + (0 if inputs is None else inputs.n_extra)


@dataclass(frozen=True, eq=False)
class InputPoints:
    """Inputs at the points of a cubature, those of each cluster one after the other.

    Attributes
    ----------
    points : ndarray, shape (q, N)
        The first k rows are z / s.
    weights : ndarray, shape (N,), or None
        None where all are equal.
    scales : ndarray, shape (N,), or (0,)
        s; empty where all are one.
    component : ndarray of int, shape (N,), or (0,)
    eps : ndarray, shape (N,)
    """

    points: FloatArray
    weights: FloatArray | None
    scales: FloatArray
    component: NDArray[np.intp]
    eps: FloatArray
    k: int

    @property
    def z(self) -> FloatArray:
        """Latent coordinates, shape (N, k)."""
        return np.ascontiguousarray(scaled(self.points[: self.k], self.scales).T)

    def probability(self, problem: Problem) -> FloatArray:
        """Return the probability (N,) of the label +1."""
        target = problem.target
        if target.classes is not None:
            return target.class_probability(self.z, self.component)
        return np.where(target.sample_labels(self.z, self.eps, self.component) > 0.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Points (q, N), as of `InputPoints`, with labels (N,), weights and scales."""

    points: FloatArray
    labels: FloatArray
    weights: FloatArray | None
    scales: FloatArray

    def pre_activations(self, weights: FloatArray) -> FloatArray:
        """Return pre-activations (m, N) for weights (m, q'), of the first q' coordinates."""
        return scaled(weights @ self.points[: weights.shape[1]], self.scales)


def input_points(
    problem: Problem, points: FloatArray, weights: FloatArray | None = None
) -> InputPoints:
    """Return inputs at points.

    Parameters
    ----------
    problem : Problem
    points : ndarray, shape (q, N)
        Standard normals. The first k rows are those of the latent coordinates, the last ones noise
        and scale where `further_coordinates` counts them.
    weights : ndarray, shape (N,), optional
        Of sum one; default equal ones.
    """
    k, inputs, n = problem.k, problem.inputs, points.shape[1]
    last = len(points) - (0 if inputs is None else inputs.n_extra)
    eps = points[last - 1] if noise_coordinates(problem) else np.zeros(n)
    if inputs is None:
        nothing = np.empty(0)
        return InputPoints(points, weights, nothing, np.empty(0, dtype=np.intp), eps, k)
    shares = inputs.component_weights
    drawn = [inputs.of_component(i, points[:k], points[last:]) for i in range(len(shares))]
    if len(shares) > 1:
        equal = np.full(n, 1.0 / n) if weights is None else weights
        weights = np.concatenate([share * equal for share in shares])
    return InputPoints(
        np.concatenate([np.concatenate([one.reduced, points[k:]]) for one in drawn], axis=1),
        weights,
        np.concatenate([one.scales for one in drawn]),
        np.concatenate([one.component for one in drawn]),
        np.tile(eps, len(shares)),
        k,
    )


def labelled_points(
    problem: Problem, points: FloatArray, weights: FloatArray | None = None
) -> LabelledPoints:
    """Return samples at points; those of random classes come twice, once with each label.

    Parameters are those of `input_points`.
    """
    found = input_points(problem, points, weights)
    points, weights, n = found.points, found.weights, found.points.shape[1]
    classes = problem.target.classes
    if classes is None or not classes.is_random:
        labels = problem.sample_labels(found.z, found.eps, found.component)
        return LabelledPoints(points, labels, weights, found.scales)
    up = found.probability(problem)
    weights = np.full(n, 1.0 / n) if weights is None else weights
    return LabelledPoints(
        np.concatenate([points, points], axis=1),
        np.repeat([1.0, -1.0], n),
        np.concatenate([weights * up, weights * (1.0 - up)]),
        np.concatenate([found.scales, found.scales]),
    )


def labelled(
    problem: Problem, points: FloatArray, weights: FloatArray | None = None
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Return points, labels and weights of `labelled_points`, of inputs without scales."""
    found = labelled_points(problem, points, weights)
    return found.points, found.labels, found.weights
