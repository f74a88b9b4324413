"""Hermite polynomials of several Gaussians, normalised to unit variance."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["hermite_product", "hermite_values", "multi_indices"]

Array = NDArray[np.float64]


def hermite_values(x: Array, degree: int) -> Array:
    r"""Return :math:`He_l(x)/\sqrt{l!}` for every degree up to `degree`.

    Parameters
    ----------
    x : ndarray, shape (...)
    degree : int
        At least 1.

    Returns
    -------
    ndarray, shape (degree + 1, ...)
        Orthonormal under the standard normal law.

    Examples
    --------
    >>> hermite_values(np.array([2.0]), 3)[:, 0]  # 1, x, (x^2 - 1)/sqrt(2), (x^3 - 3x)/sqrt(6)
    array([1.        , 2.        , 2.12132034, 0.81649658])
    """
    values = np.ones((degree + 1, *x.shape))
    values[1] = x
    for n in range(1, degree):
        values[n + 1] = (x * values[n] - math.sqrt(n) * values[n - 1]) / math.sqrt(n + 1)
    return values


def multi_indices(dimension: int, lowest: int, highest: int) -> list[tuple[int, ...]]:
    """Return the degrees in each variable of all products of total degree in a range.

    Examples
    --------
    >>> multi_indices(2, 2, 2)
    [(0, 2), (1, 1), (2, 0)]
    """
    return [
        powers
        for powers in itertools.product(range(highest + 1), repeat=dimension)
        if lowest <= sum(powers) <= highest
    ]


def hermite_product(values: Array, powers: tuple[int, ...]) -> Array:
    """Return one product (N,) of what `hermite_values` gives for variables (dimension, N)."""
    product = np.ones(values.shape[2:])
    for variable, n in enumerate(powers):
        if n:
            product *= values[n, variable]
    return product
