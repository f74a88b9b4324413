"""Coefficient vectors over a growing set of coordinates or basis rows.

A vector that is shorter than another one is zero along the coordinates that came later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.solver.basis import OrthonormalBasis

    FloatArray = NDArray[np.float64]

__all__ = ["CoefficientTable", "linear_combination", "widened"]


class CoefficientTable:
    """Coefficient vectors over the rows of a basis that grows, one a row.

    Parameters
    ----------
    basis : OrthonormalBasis
    """

    def __init__(self, basis: OrthonormalBasis) -> None:
        self._basis = basis
        self._table = np.zeros((basis.capacity, basis.capacity))
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def vectors(self) -> FloatArray:
        """All vectors, shape (length, n_rows of the basis); a view."""
        self._fit()
        return self._table[: self._length, : self._basis.n_rows]

    def append(self, vector: FloatArray) -> None:
        """Append a vector; entries beyond its length are zero."""
        self._fit()
        self._table[self._length, : len(vector)] = vector
        self._length += 1

    def replace(self, vectors: FloatArray) -> None:
        """Replace all vectors, in place."""
        self._table[:] = 0.0
        self._table[: len(vectors), : vectors.shape[1]] = vectors
        self._length = len(vectors)

    def restore(self, vectors: FloatArray) -> None:
        """Hold these vectors; the basis has been restored."""
        self._table = np.zeros((self._basis.capacity, self._basis.capacity))
        self.replace(vectors)

    def _fit(self) -> None:
        """Make room for as many rows as the basis has room for."""
        more = self._basis.capacity - len(self._table)
        if more:
            self._table = np.pad(self._table, ((0, more), (0, more)))


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
