"""Bases of subspaces whose directions have components in ratios of small integers."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

__all__ = ["simple_complement"]

Array = NDArray[np.float64]


def simple_complement(easy: Array, tolerance: float) -> Array:
    """Return a basis of the complement of `easy`, exact if simple fractions fit to `tolerance`."""
    k, n_easy = easy.shape
    projector = easy @ easy.T
    # Reduced form: easy span = {x : x[free] = ratio x[pivots]}, pivots where it is largest.
    pivots = _pivots(easy)
    free = [axis for axis in range(k) if axis not in pivots]
    ratio = easy[free] @ np.linalg.inv(easy[pivots]) if n_easy else np.zeros((k, 0))
    simple = np.array(sorted({p / q for q in (1, 2, 3) for p in range(-q, q + 1)}))
    rounded = simple[np.argmin(np.abs(ratio[..., None] - simple), axis=-1)]
    for candidate in (rounded, ratio):
        # The complement of the span of (1, ratio) is the span of (-ratio^T, 1).
        hard = np.zeros((k, k - n_easy))
        hard[pivots] = -candidate.T
        hard[free] = np.eye(k - n_easy)
        basis = _gram_schmidt(hard)
        distance = np.linalg.norm(np.eye(k) - basis @ basis.T - projector)
        if distance <= tolerance:
            break
    return basis


def _pivots(easy: Array) -> list[int]:
    """Return the rows on which the basis `easy` is best conditioned (k is small: try them all)."""
    k, n_easy = easy.shape
    choices = itertools.combinations(range(k), n_easy)
    # Rounding in favour of the first choice keeps the answer from depending on the last digit.
    return list(max(choices, key=lambda rows: round(abs(np.linalg.det(easy[list(rows)])), 3)))


def _gram_schmidt(columns: Array) -> Array:
    """Return the columns orthonormalised in order; zeros stay exact, largest entries positive."""
    basis = np.zeros_like(columns)
    for j in range(columns.shape[1]):
        v = columns[:, j].copy()
        for _ in range(2):
            v -= basis[:, :j] @ (basis[:, :j].T @ v)
        v /= np.linalg.norm(v)
        first = v[np.flatnonzero(np.abs(v) > 0.5 * np.max(np.abs(v)))[0]]
        basis[:, j] = v if first > 0.0 else -v
    return basis + 0.0
