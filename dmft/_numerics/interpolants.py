"""Chebyshev interpolants on short intervals, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

__all__ = ["DEGREE", "NODES", "TO_COEFFICIENTS", "derivative_rows", "interpolated_derivative"]

Array = NDArray[np.float64]

DEGREE = 12
NODES = chebyshev.chebpts1(DEGREE + 1)
TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(NODES, DEGREE))
"""Coefficients of the interpolant from values at the nodes, (degree, node)."""


def derivative_rows(t: Array, order: int) -> Array:
    """Return the derivatives (n, degree + 1) of the Chebyshev polynomials at points t (n,)."""
    rows = [chebyshev.chebval(t, chebyshev.chebder(row, order)) for row in np.eye(DEGREE + 1)]
    return np.stack([np.broadcast_to(row, t.shape) for row in rows], axis=1)


def interpolated_derivative(
    function: Callable[..., Any],
    order: int,
    x: Array,
    rest: list[Array],
    low: Array,
    high: Array,
    width: float,
) -> tuple[Array, Array]:
    """Return the derivative (n,) of interpolants of half a width within bounds, and its error.

    The error is relative to derivative and function, from the last coefficients.
    """
    # Far out, numbers themselves are coarse.
    half = np.minimum(np.maximum(width, 1e-8 * np.abs(x)), 0.5 * (high - low))
    centre = np.clip(x, low + half, high - half)
    place = (x - centre) / half
    shifted = np.flatnonzero(place)
    plain = derivative_rows(np.zeros(1), order)[0] @ TO_COEFFICIENTS
    rows = derivative_rows(place[shifted], order) @ TO_COEFFICIENTS
    found, size = np.zeros(len(x)), np.zeros(len(x))
    tails = np.zeros((2, len(x)))
    for j, node in enumerate(NODES):
        value = np.asarray(function(centre + half * node, *rest), dtype=np.float64)
        weight = np.full(len(x), plain[j])
        weight[shifted] = rows[:, j]
        found += weight * value
        tails += TO_COEFFICIENTS[-2:, j, None] * value
        np.maximum(size, np.abs(value), out=size)
    found /= half**order
    # Rounding makes a last coefficient, which by chance is less.
    tail = np.abs(tails).max(axis=0) + np.finfo(np.float64).eps * size
    tail *= DEGREE ** (2 * order) / half**order
    error = tail / (np.abs(found) + size + 1e-300)
    return found, np.where(np.isfinite(error), error, np.inf)
