r"""Residuals of a block of rows against the orthonormal basis, explicit or in Gram space.

The gradients and Gaussians of a step lose their components along the basis, then those along each
other, and the residuals extend the basis. That takes inner products and combinations only. So it
can be done with the rows themselves (``ExplicitResiduals``), or in Gram space, with the inner
products known from the full pass that made the rows (``GramResiduals``): norms then follow from
Pythagoras, and the rows stay pending (``PendingRows``) until the next full pass writes them. The
basis, far larger than a cache, is then read once a step instead of two or three times. In the
literature these are the low-synchronisation variants of block Gram-Schmidt with Pythagorean norms
(Carson, Lund, Ma & Oktay, arXiv:2405.01298).

Gram space knows a residual to the rounding error of the row that it comes from. Where that is much
larger, it must not be used (``GramResiduals.squares_beside``); where it is somewhat larger, the row
written is measured against all others in the full pass that writes it, and reorthogonalised in the
next one (``Reorthogonalisation``), as a second pass of Gram-Schmidt would: delayed
reorthogonalisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Blocks = list[FloatArray]

__all__ = [
    "ExplicitResiduals",
    "GramResiduals",
    "PendingRows",
    "Reorthogonalisation",
    "Residuals",
]


class Residuals(Protocol):
    """Residuals of rows against the basis, to be orthonormalised in some order."""

    def square(self, row: int) -> float:
        """Return the mean square of the residual of a row."""

    def subtract(self, row: int, new: int) -> float:
        """Subtract the component of a row along a new row of the basis; returns it."""

    def append(self, row: int, norm: float) -> None:
        """Append the residual of a row, divided by its norm, to the basis."""


class ExplicitResiduals:
    """Residuals held as rows over the paths, and appended to the basis at once.

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
        """Return the mean square of the residual of a row."""
        return self._dot(self._row(row), self._row(row))

    def subtract(self, row: int, new: int) -> float:
        """Subtract the component of a row along a new row of the basis; returns it."""
        own = self._row(row)
        other = [basis[self._first + new] for basis in self._basis]
        coefficient = self._dot(other, own)
        for x, y in zip(own, other, strict=True):
            x -= coefficient * y
        return coefficient

    def append(self, row: int, norm: float) -> None:
        """Append the residual of a row, divided by its norm, to the basis."""
        for basis, block in zip(self._basis, self._rows, strict=True):
            np.divide(block[row], norm, out=basis[self._next])
        self._next += 1

    def _row(self, row: int) -> Blocks:
        return [block[row] for block in self._rows]

    def _dot(self, a: Blocks, b: Blocks) -> float:
        return float(sum(float(x @ y) for x, y in zip(a, b, strict=True)) / self._n_paths)


class GramResiduals:
    """Residuals known by the inner products of the rows with each other and with the basis.

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
        self._shares = np.eye(len(gram))  # each residual as a combination of the rows
        self._new: list[FloatArray] = []

    def squares_beside(self, count: int) -> FloatArray:
        """Return the mean squares of the first residuals, each orthogonal to those before it.

        Zeros where rounding errors decide.
        """
        try:
            factor = np.linalg.cholesky(self._gram[:count, :count])
        except np.linalg.LinAlgError:
            return np.zeros(count)
        return np.diagonal(factor) ** 2

    def square(self, row: int) -> float:
        """Return the mean square of the residual of a row."""
        shares = self._shares[row]
        return max(float(shares @ self._gram @ shares), 0.0)

    def subtract(self, row: int, new: int) -> float:
        """Subtract the component of a row along a new row of the basis; returns it."""
        coefficient = float(self._new[new] @ self._gram @ self._shares[row])
        self._shares[row] -= coefficient * self._new[new]
        return coefficient

    def append(self, row: int, norm: float) -> None:
        """Append the residual of a row, divided by its norm, to the basis."""
        self._new.append(self._shares[row] / norm)

    def pending(self, rows: Blocks, doubtful: NDArray[np.intp]) -> PendingRows:
        """Return the rows appended, some of them to be measured once they are written."""
        from_rows = np.array(self._new)
        n_stored = self._coefficients.shape[1]
        return PendingRows(rows, from_rows, -from_rows @ self._coefficients, n_stored + doubtful)


@dataclass(eq=False)
class PendingRows:
    """New rows of the basis, ``from_rows @ rows + from_basis @ basis``, before they are written.

    Attributes
    ----------
    rows : list of ndarray, shape (j, paths of the block)
    from_rows : ndarray, shape (n_new, j)
    from_basis : ndarray, shape (n_new, n_stored)
        Of the rows stored, once these are reorthogonalised.
    checked : ndarray of int
        Indices in the basis of those to be measured.
    """

    rows: Blocks
    from_rows: FloatArray
    from_basis: FloatArray
    checked: NDArray[np.intp]


@dataclass(eq=False)
class Reorthogonalisation:
    """Linear map that makes some rows of the basis orthonormal to the others, and to each other.

    Attributes
    ----------
    rows : ndarray of int
    matrix : ndarray, shape (len(rows), n_stored)
        The rows, reorthogonalised, are ``matrix @ basis``.
    """

    rows: NDArray[np.intp]
    matrix: FloatArray

    @classmethod
    def of(cls, rows: NDArray[np.intp], products: FloatArray) -> Reorthogonalisation:
        """Build it from the products of the rows with the whole basis, (len(rows), n_stored)."""
        matrix = -products
        matrix[:, rows] = np.eye(len(rows))
        others = np.delete(products, rows, axis=1)
        left = np.linalg.cholesky(products[:, rows] - others @ others.T)
        return cls(rows, np.linalg.solve(left, matrix))

    def of_stored(self, coefficients: FloatArray) -> FloatArray:
        """Turn coefficients of the orthonormal basis into those of the rows stored."""
        found = coefficients.copy()
        found[:, self.rows] = 0.0
        return found + coefficients[:, self.rows] @ self.matrix

    def of_basis(self, products: FloatArray) -> FloatArray:
        """Turn products with the rows stored into those with the orthonormal basis."""
        found = products.copy()
        found[:, self.rows] = products @ self.matrix.T
        return found
