r"""What a step's rows have outside the basis of the paths, and how it becomes rows of the basis.

The gradients and Gaussians of a step lose their parts in the span of the basis, then their parts
along each other, and what is left is appended. That takes inner products and combinations only. So
it can be done on the paths (``OnPaths``), or first in numbers, by the inner products that are known
from the visit that made the rows (``InNumbers``), while the paths follow at the next visit
(``Unwritten``): the basis, far larger than a cache, is then read once a step instead of two or
three times.

Numbers know a residual to the rounding error of the row that it is left of. Where that is much
larger, they must not be used (``InNumbers.leaves``); where it is somewhat larger, the row written
is measured against all others in the visit that writes it, and corrected in the next one
(``Correction``), as a second pass of Gram-Schmidt would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Blocks = list[FloatArray]

__all__ = ["Correction", "InNumbers", "OnPaths", "Residuals", "Unwritten"]


class Residuals(Protocol):
    """Rows without their parts in the span of the basis, to be orthonormalised in some order."""

    def square(self, row: int) -> float:
        """Mean square of what is left of a row."""

    def take_off(self, row: int, new: int) -> float:
        """Subtract the part of a row along a new row of the basis; returns the coefficient."""

    def append(self, row: int, norm: float) -> None:
        """Divide what is left of a row by its norm, and append it to the basis."""


class OnPaths:
    """Residuals held on the paths, and appended to the basis at once.

    Parameters
    ----------
    rows : list of ndarray, shape (j, paths of the block)
        Orthogonal to the basis; changed.
    basis : list of ndarray, shape (> n_rows, paths of the block)
    first : int
        Index of the first new row in it.
    """

    def __init__(self, rows: Blocks, basis: Blocks, first: int) -> None:
        self._rows = rows
        self._n_paths = sum(block.shape[1] for block in rows)
        self._basis = basis
        self._first = self._next = first

    def square(self, row: int) -> float:
        """Mean square of what is left of a row."""
        return self._dot(self._row(row), self._row(row))

    def take_off(self, row: int, new: int) -> float:
        """Subtract the part of a row along a new row of the basis; returns the coefficient."""
        own = self._row(row)
        other = [basis[self._first + new] for basis in self._basis]
        coefficient = self._dot(other, own)
        for x, y in zip(own, other, strict=True):
            x -= coefficient * y
        return coefficient

    def append(self, row: int, norm: float) -> None:
        """Divide what is left of a row by its norm, and append it to the basis."""
        for basis, block in zip(self._basis, self._rows, strict=True):
            np.divide(block[row], norm, out=basis[self._next])
        self._next += 1

    def _row(self, row: int) -> Blocks:
        return [block[row] for block in self._rows]

    def _dot(self, a: Blocks, b: Blocks) -> float:
        return float(sum(float(x @ y) for x, y in zip(a, b, strict=True)) / self._n_paths)


class InNumbers:
    """Residuals known by the inner products of the rows, and those with the basis.

    Parameters
    ----------
    gram : ndarray, shape (j, j)
        Sample averages of products of rows with rows,
    coefficients : ndarray, shape (j, n_rows)
        and with the basis.
    """

    def __init__(self, gram: FloatArray, coefficients: FloatArray) -> None:
        self._coefficients = coefficients
        self._gram = gram - coefficients @ coefficients.T
        self._shares = np.eye(len(gram))  # of the rows, in what is left of each
        self._new: list[FloatArray] = []

    def leaves(self, count: int) -> FloatArray:
        """Mean squares of what is left of each of the first rows beside those before it.

        Zeros where numbers cannot tell.
        """
        try:
            factor = np.linalg.cholesky(self._gram[:count, :count])
        except np.linalg.LinAlgError:
            return np.zeros(count)
        return np.diagonal(factor) ** 2

    def square(self, row: int) -> float:
        """Mean square of what is left of a row."""
        shares = self._shares[row]
        return max(float(shares @ self._gram @ shares), 0.0)

    def take_off(self, row: int, new: int) -> float:
        """Subtract the part of a row along a new row of the basis; returns the coefficient."""
        coefficient = float(self._new[new] @ self._gram @ self._shares[row])
        self._shares[row] -= coefficient * self._new[new]
        return coefficient

    def append(self, row: int, norm: float) -> None:
        """Divide what is left of a row by its norm, and append it to the basis."""
        self._new.append(self._shares[row] / norm)

    def unwritten(self, rows: Blocks, doubtful: NDArray[np.intp]) -> Unwritten:
        """Return what there is to write: the rows appended, some of them to be measured."""
        from_rows = np.array(self._new)
        n_stored = self._coefficients.shape[1]
        return Unwritten(rows, from_rows, -from_rows @ self._coefficients, n_stored + doubtful)


@dataclass(eq=False)
class Unwritten:
    """New rows of the basis, ``from_rows @ rows + from_basis @ basis``, before they are written.

    Attributes
    ----------
    rows : list of ndarray, shape (j, paths of the block)
    from_rows : ndarray, shape (n_new, j)
    from_basis : ndarray, shape (n_new, n_stored)
        Of the rows stored, once these are corrected.
    checked : ndarray of int
        Indices in the basis of those to be measured.
    """

    rows: Blocks
    from_rows: FloatArray
    from_basis: FloatArray
    checked: NDArray[np.intp]


@dataclass(eq=False)
class Correction:
    """What makes some rows of the basis orthonormal to the others, and to each other.

    Attributes
    ----------
    rows : ndarray of int
    matrix : ndarray, shape (len(rows), n_stored)
        The rows, corrected, are ``matrix @ basis``.
    """

    rows: NDArray[np.intp]
    matrix: FloatArray

    @classmethod
    def of(cls, rows: NDArray[np.intp], products: FloatArray) -> Correction:
        """From the products of the rows with the whole basis, (len(rows), n_stored)."""
        matrix = -products
        matrix[:, rows] = np.eye(len(rows))
        others = np.delete(products, rows, axis=1)
        left = np.linalg.cholesky(products[:, rows] - others @ others.T)
        return cls(rows, np.linalg.solve(left, matrix))

    def of_stored(self, coefficients: FloatArray) -> FloatArray:
        """Coefficients of the rows stored from those of the corrected basis: (j, n_stored)."""
        found = coefficients.copy()
        found[:, self.rows] = 0.0
        return found + coefficients[:, self.rows] @ self.matrix

    def of_corrected(self, products: FloatArray) -> FloatArray:
        """Products with the corrected basis from those with the rows stored: (j, n_stored)."""
        found = products.copy()
        found[:, self.rows] = products @ self.matrix.T
        return found
