r"""Initial weights: Gram matrix, overlaps, and coordinates in which they hold.

The start is given by the Gram matrix of the neurons, :math:`Q = \Theta^{0T}\Theta^0` (m, m), and
their overlaps with the latent directions, :math:`M(0) = \Theta^{0T}\Theta_*` (m, k). The
components of the neurons orthogonal to the latent directions have the Gram matrix
:math:`Q - M(0) M(0)^T`, which must be positive semidefinite; it may be singular, as for equal
neurons.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.validation import check_finite_array, check_real

__all__ = [
    "INIT_LAWS",
    "check_gram",
    "check_radius",
    "check_remainder",
    "first_weights",
    "semidefinite_factor",
    "starting_coordinates",
]

Array = NDArray[np.float64]

#: Laws of the initial weights at finite dimension; the limit is the same for all.
INIT_LAWS: Final = ("sphere", "gaussian")

# Negative eigenvalues and asymmetries up to this much of the largest entry are taken for rounding.
_ROUNDING = 1e-12


def check_radius(init_radius: float | ArrayLike, m: int) -> float | tuple[float, ...]:
    """Return the radius, or one for each neuron where they differ.

    Raises
    ------
    ValueError
        If it is not a number >= 0 or a sequence of m of them.

    Examples
    --------
    >>> check_radius([1.0, 0.5], 2), check_radius([1.0, 1.0], 2)
    ((1.0, 0.5), 1.0)
    """
    sequence = isinstance(init_radius, Sequence) and not isinstance(init_radius, str | bytes)
    if not sequence and not getattr(init_radius, "ndim", 0):
        return check_real("init_radius", init_radius, minimum=0.0)
    expected = f"a number >= 0 or a sequence of m = {m} of them"
    radii = check_finite_array("init_radius", init_radius, ndim=1, expected=expected)
    if len(radii) != m or np.any(radii < 0.0):
        raise ValueError(f"init_radius must be {expected}, got {radii.tolist()}")
    return float(radii[0]) if np.all(radii == radii[0]) else tuple(radii.tolist())


def check_gram(init_gram: ArrayLike, m: int) -> Array:
    """Return the Gram matrix of the initial neurons, read-only.

    Raises
    ------
    ValueError
        If it is not a symmetric positive semidefinite matrix (m, m).

    Examples
    --------
    >>> check_gram([[1.0, 2.0], [2.0, 1.0]], 2)
    Traceback (most recent call last):
    ...
    ValueError: init_gram must be positive semidefinite, got smallest eigenvalue -1
    """
    expected = f"a symmetric array of shape (m, m) = {(m, m)}"
    gram = check_finite_array("init_gram", init_gram, ndim=2, expected=expected)
    if gram.shape != (m, m):
        raise ValueError(f"init_gram must be {expected}, got shape {gram.shape}")
    scale = float(np.max(np.abs(gram)))
    if float(np.max(np.abs(gram - gram.T))) > _ROUNDING * scale:
        raise ValueError(f"init_gram must be {expected}, got {gram.tolist()}")
    gram = 0.5 * (gram + gram.T)
    smallest = float(np.linalg.eigvalsh(gram)[0])
    if smallest < -_ROUNDING * scale:
        raise ValueError(
            f"init_gram must be positive semidefinite, got smallest eigenvalue {smallest:.6g}"
        )
    gram.flags.writeable = False
    return gram


def check_remainder(
    name: str, gram: Array, overlap: Array, along_with: str = "", *, is_stated: bool = False
) -> None:
    """Raise unless neurons with a Gram matrix (m, m) can have overlaps (m, q).

    The message speaks of radii where neurons are independent and no Gram matrix was stated.

    Raises
    ------
    ValueError
        If ``gram - overlap overlap^T`` has a negative eigenvalue.

    Examples
    --------
    >>> check_remainder("initial_overlap", np.eye(1), np.array([[2.0]]))
    Traceback (most recent call last):
    ...
    ValueError: initial_overlap must have singular values of at most init_radius = 1, got 2
    >>> check_remainder("initial_overlap", np.diag([4.0, 1.0]), np.array([[0.0], [2.0]]))
    Traceback (most recent call last):
    ...
    ValueError: initial_overlap must leave Q - M M^T positive semidefinite, with Q the Gram matrix
    of the initial neurons and M their overlaps; its smallest eigenvalue is -3
    """
    square = float(np.max(np.diag(gram), initial=0.0))
    one_radius = np.array_equal(gram, np.diag(np.full(len(gram), square)))
    if one_radius and not is_stated:
        radius, largest = np.sqrt(square), float(np.linalg.norm(overlap, 2))
        if largest > radius * (1.0 + _ROUNDING):
            raise ValueError(
                f"{name} must have singular values{along_with} of at most init_radius = "
                f"{radius:g}, got {largest:g}"
            )
        return
    smallest = float(np.linalg.eigvalsh(gram - overlap @ overlap.T)[0])
    if smallest < -_ROUNDING * square:
        raise ValueError(
            f"{name} must leave Q - M M^T positive semidefinite, with Q the Gram matrix of the "
            f"initial neurons and M their overlaps; its smallest eigenvalue is {smallest:.6g}"
        )


def semidefinite_factor(matrix: Array, scales: Array) -> Array:
    """Return the lower triangular factor L of L L^T = `matrix` (m, m), positive semidefinite.

    Pivots that are rounding of their row's entry of `scales` (m,) are zero, and with them their
    column: the usual factor does not exist there, and a square root of the rounding would be noise
    of 1e-8 of the row.

    Examples
    --------
    >>> semidefinite_factor(np.array([[1.0, 1.0], [1.0, 1.0]]), np.ones(2))
    array([[1., 0.],
           [1., 0.]])
    """
    m = len(matrix)
    factor = np.zeros((m, m))
    smallest = 16.0 * m * np.finfo(np.float64).eps * scales
    for j in range(m):
        column = matrix[j:, j] - factor[j:, :j] @ factor[j, :j]
        if column[0] > smallest[j]:
            factor[j:, j] = column / np.sqrt(column[0])
    return factor


def starting_coordinates(gram: Array, overlap: Array) -> tuple[Array, Array]:
    """Return initial weights along the directions of the overlaps and m orthogonal ones.

    Parameters
    ----------
    gram : ndarray, shape (m, m)
        Q.
    overlap : ndarray, shape (m, q)
        M.

    Returns
    -------
    overlap : ndarray, shape (m, q)
        M itself.
    factor : ndarray, shape (m, m)
        L with L L^T = Q - M M^T. Neurons that are equal, or opposite, in Q and M are so in it to
        the bit.
    """
    factor = semidefinite_factor(gram - overlap @ overlap.T, np.diag(gram))
    for j in range(1, len(gram)):
        for sign, i in itertools.product((1.0, -1.0), range(j)):
            if np.array_equal(sign * gram[i], gram[j]) and np.array_equal(
                sign * overlap[i], overlap[j]
            ):
                factor[j] = sign * factor[i]
                break
    return overlap, factor


def first_weights(
    gram: Array, overlap: Array | None, radius: float | tuple[float, ...] | None, k: int
) -> Array:
    """Return initial weights (m, k + m) in latent and first fresh coordinates.

    Parameters
    ----------
    gram : ndarray, shape (m, m)
        Of the neurons.
    overlap : ndarray, shape (m, k), or None
    radius : float or tuple of float, optional
        Of the neurons; None where the Gram matrix is stated.
    k : int
    """
    m = len(gram)
    weights = np.zeros((m, k + m))
    if not isinstance(radius, float):
        stated = np.zeros((m, k)) if overlap is None else overlap
        weights[:, :k], weights[:, k:] = starting_coordinates(gram, stated)
        return weights
    if overlap is None:
        weights[:, k:] = radius * np.eye(m)
        return weights
    weights[:, :k] = overlap
    rest = radius**2 * np.eye(m) - overlap @ overlap.T
    # The Cholesky factor of a matrix that may be singular: L^T is the R factor of its root.
    values, vectors = np.linalg.eigh(rest)
    factor = np.linalg.qr(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)[1].T
    weights[:, k:] = factor * np.where(np.diag(factor) < 0.0, -1.0, 1.0)
    return weights
