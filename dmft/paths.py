r"""The paths of one replicate: coordinates ``q``, normalised gradients ``ghat``, and their basis.

What gradient descent sees of the inputs after t steps is their restriction to a space that grows
by m directions per step. For one sample the coordinates in that space are

    q = (z, xi, q^0, q^1, ...),       q^t = zeta^t - ghat^t / sqrt(delta),

with z the latent coordinates, xi those of the initial weights, zeta^t fresh Gaussians and ghat^t
the gradients, orthonormalised over samples. ``Paths`` holds both families in a common basis:

    q = Q w,    ghat = H w,    w = (1, z, xi, zeta and gradient directions, orthonormalised),

where the rows of ``w`` (the only large array, rows x paths) are orthonormal *as sample averages*,
to rounding. This buys three things. Every average against all coordinates is one matrix product
with ``w``; Gram-Schmidt of the gradients happens between short rows of coefficients, where it is
cheap and accurate; and a fresh block made orthogonal to ``w`` is orthogonal to everything the
trajectory has seen, which removes the leading sampling fluctuations for free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Paths"]

# A part of a row smaller than this, relative to the row, is rounding: the row lies in the span.
_SPAN_TOLERANCE = 1e-13
# Kahan's criterion: one Gram-Schmidt pass suffices when no more than this much of a row was lost.
_SECOND_PASS_BELOW = 0.5
_GROWTH = 1.5


class Paths:
    """Coordinates and normalised gradients of all paths of one replicate.

    Parameters
    ----------
    leading : ndarray, shape (n_leading, n_paths)
        The coordinates known from the start, (z, xi).
    capacity : int
        Rows of the basis to reserve; it grows when needed.

    Attributes
    ----------
    n_coordinates : int
        Length of q: leading coordinates plus fresh ones kept so far.
    n_directions : int
        Number of normalised gradients kept so far.
    """

    def __init__(self, leading: FloatArray, capacity: int = 64) -> None:
        self.n_leading, self.n_paths = leading.shape
        self.n_coordinates = 0
        self.n_directions = 0
        self._n_rows = 0
        self._basis = np.empty((max(capacity, 2 * self.n_leading + 2), self.n_paths))
        rows = self._basis.shape[0]
        self._q = np.zeros((rows, rows))
        self._ghat = np.zeros((rows, rows))
        self._append_row(np.ones(self.n_paths))
        for coordinate in leading:
            coefficients, remainder = self._decompose(coordinate[np.newaxis])
            self._append_row(remainder[0])
            norm = np.sqrt(np.mean(remainder[0] ** 2))
            row = np.append(coefficients[0], norm)
            self._append_coordinate(row)

    # -- reading -----------------------------------------------------------------------------

    @property
    def n_rows(self) -> int:
        """Rows of the basis in use."""
        return self._n_rows

    @property
    def basis(self) -> FloatArray:
        """The orthonormal rows w, shape (n_rows, n_paths); a view."""
        return self._basis[: self._n_rows]

    @property
    def coordinate_coefficients(self) -> FloatArray:
        """Q with q = Q w, shape (n_coordinates, n_rows); a view."""
        return self._q[: self.n_coordinates, : self._n_rows]

    @property
    def gradient_coefficients(self) -> FloatArray:
        """H with ghat = H w, shape (n_directions, n_rows); a view."""
        return self._ghat[: self.n_directions, : self._n_rows]

    def combine(self, weights: FloatArray) -> FloatArray:
        """Pre-activations ``r = B q`` of every path: (m, n_coordinates) -> (m, n_paths)."""
        combined: FloatArray = (weights @ self.coordinate_coefficients) @ self.basis
        return combined

    # -- growing -----------------------------------------------------------------------------

    def absorb(
        self, gradient: FloatArray, smallest: float
    ) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.intp]]:
        """Gram-Schmidt the gradients of a step and append the directions worth keeping.

        Parameters
        ----------
        gradient : ndarray, shape (m, n_paths)
            The gradients g^t. Used as scratch space.
        smallest : float
            Directions with a norm below this are dropped.

        Returns
        -------
        correlation : ndarray, shape (m, n_coordinates)
            ``E[g^t q^T]`` on the coordinates present before this step.
        gamma_past : ndarray, shape (m, n_directions before this step)
            ``Gamma(t, v)``, v < t, in the order in which directions were kept.
        gamma_diagonal : ndarray, shape (m, n_kept)
            The kept columns of the lower triangular ``Gamma(t, t)``.
        kept : ndarray of int
            The neurons whose direction was kept, increasing.
        """
        m = gradient.shape[0]
        coefficients, remainder = self._decompose(gradient)
        correlation = coefficients @ self.coordinate_coefficients.T
        n_old = self._n_rows

        # Part of the gradients outside the span: up to m new basis rows.
        extension = np.zeros((m, m))
        new_rows: list[FloatArray] = []
        size = np.sqrt(np.sum(coefficients**2, axis=1) + np.mean(remainder**2, axis=1))
        for j in range(m):
            row = remainder[j]
            for i, earlier in enumerate(new_rows):
                overlap = float(earlier @ row) / self.n_paths
                extension[j, i] = overlap
                row = row - overlap * earlier
            norm = float(np.sqrt(row @ row / self.n_paths))
            if norm > max(_SPAN_TOLERANCE * size[j], 0.0) and norm >= smallest:
                extension[j, len(new_rows)] = norm
                new_rows.append(row / norm)
        extension = extension[:, : len(new_rows)]
        full = np.concatenate([coefficients, extension], axis=1)

        # Gram-Schmidt against earlier directions, twice, between rows of coefficients.
        past = np.zeros((self.n_directions, full.shape[1]))
        past[:, :n_old] = self.gradient_coefficients
        gamma_past = np.zeros((m, self.n_directions))
        for _ in range(2):
            overlap_matrix = full @ past.T
            full = full - overlap_matrix @ past
            gamma_past += overlap_matrix
        directions: list[FloatArray] = []
        kept: list[int] = []
        gamma_diagonal = np.zeros((m, m))
        for j in range(m):
            row = full[j]
            for i, earlier in enumerate(directions):
                for _ in range(2):
                    overlap = float(earlier @ row)
                    gamma_diagonal[j, i] += overlap
                    row = row - overlap * earlier
            norm = float(np.sqrt(row @ row))
            if norm >= smallest and norm > _SPAN_TOLERANCE * size[j]:
                gamma_diagonal[j, len(directions)] = norm
                directions.append(row / norm)
                kept.append(j)
        for new_row in new_rows:
            self._append_row(new_row, normalised=True)
        for direction in directions:
            self._append_direction(direction)
        return correlation, gamma_past, gamma_diagonal[:, : len(kept)], np.array(kept, dtype=np.intp)

    def open_coordinates(self, fresh: FloatArray, kept: NDArray[np.intp], delta: float) -> None:
        """Append the coordinates ``q = zeta - ghat / sqrt(delta)`` of the directions just kept.

        Parameters
        ----------
        fresh : ndarray, shape (m, n_paths)
            Raw Gaussians of this step; those of ``kept`` neurons are made orthogonal, as sample
            averages, to everything the paths hold, and given unit variance. Scratch space.
        kept : ndarray of int
            As returned by :meth:`absorb`.
        delta : float
            n/d.
        """
        if not len(kept):
            return
        first_direction = self.n_directions - len(kept)
        _, zeta = self._decompose(fresh[kept])
        for i in range(len(kept)):
            row = zeta[i]
            for j in range(i):
                earlier = self._basis[self._n_rows - i + j]
                row = row - (earlier @ row / self.n_paths) * earlier
            self._append_row(row)
            self._append_coordinate(np.append(np.zeros(self._n_rows - 1), 1.0))
        new = slice(self.n_coordinates - len(kept), self.n_coordinates)
        old = slice(first_direction, self.n_directions)
        self._q[new] -= self._ghat[old] / np.sqrt(delta)

    def _decompose(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Coefficients on the basis and the remainder orthogonal to it (rows are overwritten)."""
        basis = self.basis
        before = np.mean(rows**2, axis=1)
        coefficients = (rows @ basis.T) / self.n_paths
        remainder = rows - coefficients @ basis
        after = np.mean(remainder**2, axis=1)
        if np.any(after < _SECOND_PASS_BELOW**2 * before):
            correction = (remainder @ basis.T) / self.n_paths
            remainder -= correction @ basis
            coefficients += correction
        return coefficients, remainder

    def _append_row(self, row: FloatArray, *, normalised: bool = False) -> None:
        if self._n_rows == self._basis.shape[0]:
            self._grow()
        self._basis[self._n_rows] = row
        if not normalised:
            self._basis[self._n_rows] /= np.sqrt(row @ row / self.n_paths)
        self._n_rows += 1

    def _append_coordinate(self, coefficients: FloatArray) -> None:
        self._q[self.n_coordinates, : len(coefficients)] = coefficients
        self.n_coordinates += 1

    def _append_direction(self, coefficients: FloatArray) -> None:
        self._ghat[self.n_directions, : len(coefficients)] = coefficients
        self.n_directions += 1

    def _grow(self) -> None:
        old = self._basis.shape[0]
        new = int(_GROWTH * old) + 1
        basis = np.empty((new, self.n_paths))
        basis[:old] = self._basis
        self._basis = basis
        self._q = np.pad(self._q, ((0, new - old), (0, new - old)))
        self._ghat = np.pad(self._ghat, ((0, new - old), (0, new - old)))
