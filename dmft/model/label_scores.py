"""Normal scores of labels: what searches for hard directions condition on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["label_scores", "normal_scores"]

Array = NDArray[np.float64]

_KNOTS = 1025  # of the normal score as a function of the label
_TIE = 1e-12  # labels closer than this (relative) are one label computed in two ways


def label_scores(
    label: Callable[[Array, Array], ArrayLike], points: Array, eps: Array, axes: Array
) -> Array:
    """Return the normal scores (R, N) of the labels at points with coordinates along `axes`."""
    z = points.reshape(-1, points.shape[-1]) @ axes.T
    y = np.asarray(label(z, eps.reshape(-1)), dtype=np.float64)
    n = len(z)
    if y.shape != (n,):
        raise ValueError(f"label must return an array of shape (N,) = ({n},), got shape {y.shape}")
    if not np.all(np.isfinite(y)):
        bad = n - int(np.count_nonzero(np.isfinite(y)))
        raise ValueError(f"label returned non-finite values for {bad} of {n} samples")
    return normal_scores(y).reshape(points.shape[0], -1)


def normal_scores(y: Array) -> Array:
    """Return the normal scores (N,) of numbers: of their ranks, the same for equal numbers."""
    from scipy.special import ndtri

    n = len(y)
    ordered = np.sort(y)
    spread = ordered[(3 * n) // 4] - ordered[n // 4]
    new = np.diff(ordered) > _TIE * (np.abs(ordered[1:]) + spread)
    edges = np.concatenate([[0], np.flatnonzero(new) + 1, [n]])
    middle = 0.5 * (edges[:-1] + edges[1:]) / n
    # Ranks proper jump by 1/N however close two labels are, and in the tails that is a large jump
    # of the score. Between knots the score is linear in y: labels that differ little score alike.
    knots = np.searchsorted(edges, np.linspace(0, n - 1, _KNOTS).astype(np.intp), "right") - 1
    knots = np.unique(knots)
    return np.asarray(np.interp(y, ordered[edges[knots]], ndtri(middle[knots])))
