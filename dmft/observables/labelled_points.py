"""Labels at the points of a cubature, averages over the noise taken in closed form where known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.model.problem import Problem

    FloatArray = NDArray[np.float64]

__all__ = ["labelled", "noise_coordinates", "positive_probability"]


def noise_coordinates(problem: Problem) -> int:
    """Count the coordinates of the label noise in a cubature: none where it is summed over."""
    target = problem.target
    return int(target.uses_noise and target.classes is None)


def labelled(
    problem: Problem, points: FloatArray, weights: FloatArray | None = None
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Add labels to points; those of random classes come twice, once with each label.

    Parameters
    ----------
    problem : Problem
    points : ndarray, shape (q, N)
        The first k rows are latent coordinates, the last one the noise where
        `noise_coordinates` says so.
    weights : ndarray, shape (N,), optional
        Of sum one; default equal ones.

    Returns
    -------
    points : ndarray, shape (q, N) or (q, 2 N)
    labels : ndarray
    weights : ndarray or None
        None where equal ones stay so.
    """
    z = np.ascontiguousarray(points[: problem.k].T)
    target, n = problem.target, points.shape[1]
    if target.classes is None or not target.classes.is_random:
        eps = points[-1] if noise_coordinates(problem) else np.zeros(n)
        return points, problem.sample_labels(z, eps), weights
    up = target.class_probability(z)
    weights = np.full(n, 1.0 / n) if weights is None else weights
    return (
        np.concatenate([points, points], axis=1),
        np.repeat([1.0, -1.0], n),
        np.concatenate([weights * up, weights * (1.0 - up)]),
    )


def positive_probability(problem: Problem, points: FloatArray) -> FloatArray:
    """Return the probability (N,) of the label +1 at points as in `labelled`."""
    z = np.ascontiguousarray(points[: problem.k].T)
    if problem.target.classes is not None:
        return problem.target.class_probability(z)
    eps = points[-1] if noise_coordinates(problem) else np.zeros(points.shape[1])
    return np.where(problem.target.sample_labels(z, eps) > 0.0, 1.0, 0.0)
