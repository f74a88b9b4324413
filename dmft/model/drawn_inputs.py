"""Leading coordinates of paths under a law of the inputs, their labels and scales.

The leading rows of a path are z/s (k), the coordinates xi of the initial neurons (m), the noise of
the label where there is one, and then, where the inputs have them, scale and cluster, and of a
spectral start the Gaussian of its eigenvector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.model.problem import Problem

    FloatArray = NDArray[np.float64]

__all__ = ["labels_and_scales", "leading_rows", "n_leading_normals", "scaled"]


def scaled(values: FloatArray, scales: FloatArray) -> FloatArray:
    """Return values (..., N) times scales (N,), or as they are where there are none, (0,)."""
    return values * scales if len(scales) else values


def n_leading_normals(problem: Problem) -> int:
    """Return the number of standard normals that the leading rows of a path are made of."""
    n = problem.k + problem.m + int(problem.target.uses_noise)
    n += problem.spectral_start is not None
    return n if problem.inputs is None else n + problem.inputs.n_normals


def leading_rows(problem: Problem, normals: FloatArray) -> FloatArray:
    """Return the leading rows of paths, from standard normals (n_leading_normals, N).

    Examples
    --------
    >>> from dmft.model.problem import Problem
    >>> problem = Problem("linear", inputs={"law": "elliptical", "scales": "laplace"})
    >>> leading_rows(problem, np.zeros((3, 1)))
    array([[0.       ],
           [0.       ],
           [0.8325546...]])
    """
    inputs, k = problem.inputs, problem.k
    if inputs is None:
        return normals
    n = k + problem.m + int(problem.target.uses_noise)
    drawn = inputs.draw(normals[:k], normals[n:])
    parts = [drawn.reduced, normals[k:n]]
    if inputs.has_scales:
        parts.append(drawn.scales[np.newaxis])
    if inputs.n_components > 1:
        parts.append(drawn.component[np.newaxis].astype(np.float64))
    if problem.spectral_start is not None:
        parts.append(normals[-1:])
    return np.concatenate(parts)


def labels_and_scales(problem: Problem, leading: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the labels (N,) of paths and their scales, (N,) or (0,) where all are one."""
    k, m, inputs, target = problem.k, problem.m, problem.inputs, problem.target
    n = leading.shape[1]
    z, scales = leading[:k], np.empty(0)
    eps = leading[k + m] if target.uses_noise else np.zeros(n)
    component = None
    if inputs is not None:
        if inputs.has_scales:
            scales = np.ascontiguousarray(leading[k + m + int(target.uses_noise)])
            z = z * scales
        component = np.zeros(n, dtype=np.intp)
        if inputs.n_components > 1:
            place = k + m + int(target.uses_noise) + int(inputs.has_scales)
            component = leading[place].astype(np.intp)
    return problem.sample_labels(np.ascontiguousarray(z.T), eps, component), scales
