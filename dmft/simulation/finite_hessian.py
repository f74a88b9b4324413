r"""Apply the Hessian of a finite-size run without forming it; find its eigenvalues.

.. math::

    H &= \frac1n \sum_i D_i \otimes x_i x_i^T + \lambda I \\
    (H v)_j &= \frac1n \sum_i x_i \sum_l (D_i)_{jl} \langle x_i, v_l\rangle + \lambda v_j

of order :math:`m d` (Montanari & Wang, arXiv:2602.01434), vectors as (m, d) arrays flattened row by
row. A product is one pass over the inputs, like a step of the descent.

With neurons on spheres it is the Hessian on these: :math:`-\mathrm{diag}(\mu) \otimes I` in place
of :math:`\lambda I`, restricted to :math:`\langle v_j, \theta_j\rangle = 0`. Such vectors have
coordinates of their own, d - 1 for each neuron: a reflection takes :math:`\theta_j` to the first
axis, which is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import blas, eigh_tridiagonal, lapack
from scipy.sparse.linalg import LinearOperator

from rmt._lanczos import extreme_eigenpairs
from rmt.status import Status

__all__ = ["FiniteHessian", "FiniteSpectrum"]

Array = NDArray[np.float64]

# Rows weighted at a time when the matrix is formed.
_DENSE_ROWS = 512


@dataclass(frozen=True, eq=False)
class FiniteSpectrum:
    """Eigenvalues of a Hessian, all of them or the extreme ones, ascending.

    Attributes
    ----------
    eigenvalues : ndarray, shape (p,)
        All of them if `complete` (m d, on spheres m (d - 1)), otherwise the smallest and the
        largest ones.
    complete : bool
    vectors : ndarray, shape (count, m, d)
        Unit eigenvectors of the `count` smallest.
    residual : float
        Largest ``|H v - lambda v|`` of these.
    status : Status
        SUCCESS; otherwise all numbers are NaN: NONFINITE if a curvature was, MAX_STEPS if the
        iteration did not converge.
    """

    eigenvalues: Array
    complete: bool
    vectors: Array
    residual: float
    status: Status


class FiniteHessian:
    """Hessian of the risk at given inputs and curvatures.

    Parameters
    ----------
    X : ndarray, shape (n, d), float64, C-contiguous
        Inputs, one a row; not copied.
    D : array_like, shape (n, m, m)
        Curvature of every sample in its pre-activations, symmetric.
    weight_decay : float or array_like, shape (m,)
        Multiple of the identity added, or one for each neuron.
    normals : array_like, shape (m, d), optional
        Directions that are left out, one for each neuron: those of the neurons on spheres.

    Examples
    --------
    >>> hessian = FiniteHessian(np.array([[1.0, 0.0], [1.0, 2.0]]), [[[2.0]], [[-2.0]]])
    >>> hessian.dense()
    array([[ 0., -2.],
           [-2., -4.]])
    >>> hessian.apply([1.0, 1.0])
    array([-2., -6.])
    """

    def __init__(
        self,
        X: Array,
        D: ArrayLike,
        weight_decay: float | ArrayLike = 0.0,
        normals: ArrayLike | None = None,
    ) -> None:
        self._X = X
        self._D = np.ascontiguousarray(D, dtype=np.float64)
        self.m = int(self._D.shape[1])
        self.d = int(X.shape[1])
        self._shift = np.broadcast_to(np.asarray(weight_decay, dtype=np.float64), self.m)
        self._mirrors = None if normals is None else _mirrors(np.asarray(normals, np.float64))

    @property
    def size(self) -> int:
        """Order m d, or m (d - 1) on spheres."""
        return self.m * (self.d - (self._mirrors is not None))

    def lifted(self, v: ArrayLike) -> Array:
        """Return vectors (..., order) as they are in the space of all weights, (..., m, d)."""
        vectors = np.asarray(v, dtype=np.float64)
        vectors = vectors.reshape(*vectors.shape[:-1], self.m, -1)
        if self._mirrors is None:
            return vectors
        first = np.zeros((*vectors.shape[:-1], 1))
        return _reflected(np.concatenate([first, vectors], axis=-1), self._mirrors)

    def apply(self, v: ArrayLike) -> Array:
        """Return H v.

        Parameters
        ----------
        v : array_like, shape (m d,) or (m, d), on spheres (m (d - 1),) or (m, d - 1)

        Returns
        -------
        ndarray
            Of the shape of `v`.
        """
        # Here, so that numba is loaded by those who simulate only.
        from dmft._numerics.passes import hessian_kernel

        given = np.asarray(v, dtype=np.float64)
        vectors = np.ascontiguousarray(self.lifted(given.ravel()))
        product = np.zeros((self.m, self.d))
        hessian_kernel(self._X, self._D, vectors, product)
        product /= len(self._X)
        product += self._shift[:, np.newaxis] * vectors
        if self._mirrors is not None:
            product = _reflected(product, self._mirrors)[:, 1:]
        return product.reshape(given.shape)

    def operator(self) -> LinearOperator:
        """Return H as a scipy ``LinearOperator``, for methods not offered here."""
        shape = (self.size, self.size)
        return LinearOperator(shape, matvec=lambda v: self.apply(np.ravel(v)), dtype=np.float64)

    def dense(self) -> Array:
        """Return H as an array of its order.

        Its (j, l) block is ``X^T diag(D_jl) X / n``, symmetric by itself, so each of the m(m+1)/2
        different ones costs two symmetric rank updates: of the samples with positive and of those
        with negative weight.
        """
        m, d = self.m, self.d
        matrix = np.empty((m, d, m, d))
        for j in range(m):
            for i in range(j + 1):
                block = self._block(self._D[:, j, i] / len(self._X))
                if i == j:
                    block[np.diag_indices(d)] += self._shift[j]
                matrix[j, :, i] = block
                matrix[i, :, j] = block
        if self._mirrors is None:
            return matrix.reshape(self.size, self.size)
        for _ in range(2):  # both sides of a symmetric matrix, one after the other
            matrix = _reflected(matrix.transpose(2, 3, 0, 1), self._mirrors)
        return matrix[:, 1:, :, 1:].reshape(self.size, self.size)

    def _block(self, weights: Array) -> Array:
        """Return X^T diag(weights) X."""
        block = np.zeros((self.d, self.d), order="F")
        for start in range(0, len(weights), _DENSE_ROWS):
            rows = slice(start, start + _DENSE_ROWS)
            for sign in (1.0, -1.0):
                chosen = np.flatnonzero(sign * weights[rows] > 0.0)
                if chosen.size:
                    scaled = self._X[rows][chosen]
                    scaled *= np.sqrt(np.abs(weights[rows][chosen]))[:, None]
                    # The transpose of a C-ordered block is what BLAS reads without a copy.
                    block = blas.dsyrk(sign, scaled.T, beta=1.0, c=block, overwrite_c=True)
        upper = np.triu(block, 1)
        return np.asarray(np.triu(block) + upper.T)

    def spectrum(self, count: int = 1, dense_limit: int = 4000, seed: int = 0) -> FiniteSpectrum:
        """Return all eigenvalues, or the extreme ones where the matrix would be too large.

        Parameters
        ----------
        count : int
            How many eigenvectors of the smallest eigenvalues; and how many eigenvalues at either
            end if not all are computed.
        dense_limit : int
            Largest order for which the matrix is formed.
        seed : int
            Of the starting vector of the Lanczos iteration.

        Returns
        -------
        FiniteSpectrum
        """
        complete = self.size <= dense_limit
        status = Status.SUCCESS
        if not np.isfinite(self._D).all():
            status = Status.NONFINITE
            values = np.full(self.size if complete else 2 * count, np.nan)
            vectors = np.full((count, self.size), np.nan)
        elif complete:
            values, vectors = self._all(count)
        else:
            values, vectors, status = self.extremes(count, seed=seed)
        residuals = [
            float(np.linalg.norm(self.apply(vector) - value * vector))
            for value, vector in zip(values[:count], vectors, strict=True)
        ]
        return FiniteSpectrum(
            eigenvalues=values,
            complete=complete,
            vectors=self.lifted(vectors),
            residual=max(residuals),
            status=status,
        )

    def _all(self, count: int) -> tuple[Array, Array]:
        """Find all eigenvalues, and eigenvectors of the smallest, by one tridiagonal reduction."""
        matrix = self.dense()
        size = self.size
        if size == 1:
            return matrix[0], np.ones((1, 1))
        # The matrix is symmetric, so its transpose is the same matrix in the order LAPACK works in.
        lwork = int(lapack.dsytrd_lwork(size, lower=1)[0])
        reduced, diagonal, below, tau, _ = lapack.dsytrd(
            matrix.T, lower=1, lwork=lwork, overwrite_a=1
        )
        values = eigh_tridiagonal(
            diagonal, below, eigvals_only=True, lapack_driver="sterf", check_finite=False
        )
        _, small = eigh_tridiagonal(
            diagonal, below, select="i", select_range=(0, count - 1), check_finite=False
        )
        # Reflectors act on all coordinates but the first.
        turned = small.copy(order="F")
        rotated, _, _ = lapack.dormqr(
            "L", "N", np.asfortranarray(reduced[1:, :-1]), tau, small[1:], lwork=64 * count
        )
        turned[1:] = rotated
        return np.asarray(values), np.ascontiguousarray(turned.T)

    def extremes(self, count: int = 1, seed: int = 0) -> tuple[Array, Array, Status]:
        """Find extreme eigenvalues, and eigenvectors of the smallest, without the matrix.

        Parameters
        ----------
        count : int
            How many at either end, at most half the order.
        seed : int
            Of the starting vector of the Lanczos iteration.

        Returns
        -------
        eigenvalues : ndarray, shape (2 count,)
            The smallest and the largest ones, ascending.
        vectors : ndarray, shape (count, order)
            Of the smallest ones.
        status : Status
            See `rmt._lanczos.extreme_eigenpairs`.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((400, 100))
        >>> hessian = FiniteHessian(X, np.ones((400, 1, 1)))
        >>> values, _, _ = hessian.extremes()
        >>> bool(abs(values[0] - np.linalg.eigvalsh(hessian.dense())[0]) < 1e-8)
        True
        """
        return extreme_eigenpairs(self.apply, self.size, count, seed)


def _mirrors(normals: Array) -> Array:
    """Return unit vectors (m, d) whose mirrors exchange each normal and the first axis."""
    mirrors = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    mirrors[:, 0] += np.where(mirrors[:, 0] < 0.0, -1.0, 1.0)  # no cancellation
    return np.asarray(mirrors / np.linalg.norm(mirrors, axis=1, keepdims=True))


def _reflected(vectors: Array, mirrors: Array) -> Array:
    """Reflect vectors (..., m, d), each neuron's part in its mirror."""
    along = np.sum(vectors * mirrors, axis=-1, keepdims=True)
    return np.asarray(vectors - 2.0 * along * mirrors)
