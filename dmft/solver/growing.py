"""Linear algebra of coefficient vectors over a growing set of coordinates.

A vector that is shorter than another one is zero along the coordinates that came later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["linear_combination", "widened"]


def widened(rows: FloatArray, width: int) -> FloatArray:
    """Append zeros to rows, up to a width."""
    if rows.shape[1] == width:
        return rows
    out = np.zeros((len(rows), width))
    out[:, : rows.shape[1]] = rows
    return out


def linear_combination(*terms: tuple[float, FloatArray]) -> FloatArray:
    """Combine arrays of different widths linearly, the shorter ones padded with zeros."""
    width = max(array.shape[1] for _, array in terms)
    out = np.zeros((len(terms[0][1]), width))
    for factor, array in terms:
        if factor:
            out[:, : array.shape[1]] += factor * array
    return out
