"""Significance of normalised Hermite energies: the degrees at which they are not zero.

An energy counts as nonzero if it exceeds both 5 standard errors and 1e-6. A degree below the first
nonzero one must have an energy below 1e-3 by 3 standard errors, or else nothing is decided.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Exponents", "exponents_of", "is_resolved", "least", "margin"]

Array = NDArray[np.float64]
Exponents = tuple[int | None, ...]

_SIGNIFICANT = 5.0  # standard errors
_SMALLEST_ENERGY = 1e-6
_UNRESOLVED = 1e-3  # an energy that may be larger than this is not known to be zero


def exponents_of(energy: Array, error: Array) -> Exponents:
    """Return the first degree of nonzero energy (L, q), for each direction.

    Examples
    --------
    >>> exponents_of(np.array([[1e-9, 0.0], [0.5, 0.0]]), np.full((2, 2), 1e-8))
    (2, None)
    """
    nonzero = energy > _needed(error)  # NaN is not
    return tuple(int(np.argmax(column)) + 1 if column.any() else None for column in nonzero.T)


def least(exponents: Exponents) -> int | None:
    """Return the smallest exponent; None if there is none."""
    return min((exponent for exponent in exponents if exponent is not None), default=None)


def margin(energy: Array, error: Array, exponents: Exponents) -> float:
    """Return the smallest factor by which an energy that decides exceeds what it must, or NaN."""
    ratios = energy / _needed(error)
    deciding = [float(ratios[degree - 1, j]) for j, degree in enumerate(exponents) if degree]
    return min(deciding, default=math.nan)


def is_resolved(energy: Array, error: Array, exponents: Exponents) -> bool:
    """Say whether every degree below the exponents is known to have a small energy."""
    bound = energy + 3.0 * error
    return not any(
        np.any(bound[: None if exponent is None else exponent - 1, j] > _UNRESOLVED)
        for j, exponent in enumerate(exponents)
    )


def _needed(error: Array) -> Array:
    """Return the energy above which it counts as nonzero."""
    return np.maximum(_SIGNIFICANT * error, _SMALLEST_ENERGY)
