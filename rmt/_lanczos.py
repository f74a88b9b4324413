"""Both ends of the spectrum of a symmetric operator that is known by its products only."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from rmt._packing import Array
from rmt.status import Status

__all__ = ["extreme_eigenpairs"]

# The error of an eigenvalue is of second order in its residual.
_TOLERANCE = 2e-6
# Products with the operator cost far more than keeping their results. With this many kept, the ends
# of a bulk of ordinary size are reached without a restart, which would spend products twice.
_KRYLOV = 180
_MAX_RESTARTS = 100
# Operators up to this order are formed, by their products with the unit vectors.
_SMALL = 64


def extreme_eigenpairs(
    apply: Callable[[Array], Array],
    size: int,
    count: int,
    seed: int = 0,
    tolerance: float = _TOLERANCE,
) -> tuple[Array, Array, Status]:
    """Compute the smallest and largest eigenvalues, with the eigenvectors of the smallest.

    By implicitly restarted Lanczos iteration, `scipy.sparse.linalg.eigsh`.

    Parameters
    ----------
    apply : callable
        Product of the operator with a vector (size,).
    size : int
        Order of the operator.
    count : int
        How many eigenvalues at either end, at most size / 2.
    seed : int, optional
        Of the starting vector.
    tolerance : float, optional
        Largest residual, relative to the eigenvalue's distance from the mean eigenvalue.

    Returns
    -------
    eigenvalues : ndarray, shape (2 count,)
        The `count` smallest and the `count` largest, ascending.
    vectors : ndarray, shape (count, size)
        Unit eigenvectors of the smallest.
    status : Status
        SUCCESS; MAX_STEPS if some did not converge, or NONFINITE if the operator overflowed, and
        then all numbers are NaN.

    Examples
    --------
    >>> diagonal = np.linspace(-1.0, 2.0, 301)
    >>> values, vectors, status = extreme_eigenpairs(lambda v: diagonal * v, 301, 1)
    >>> values.round(6), (vectors[0] ** 2).argmax(), status.name
    (array([-1.,  2.]), np.int64(0), 'SUCCESS')
    """
    start = np.random.default_rng(seed).standard_normal(size)
    start /= np.linalg.norm(start)
    with np.errstate(over="ignore", invalid="ignore"):  # noticed, and said in the status
        product = apply(start)
        mean = float(start @ product)
        if not np.isfinite(product @ product):
            return _nothing(size, count, Status.NONFINITE)
        if size <= max(_SMALL, 4 * count):
            return _dense(apply, size, count)
        if np.linalg.norm(product - mean * start) <= 1e-14 * abs(mean):
            # A random vector is an eigenvector of a multiple of the identity only.
            return np.full(2 * count, mean), np.eye(count, size), Status.SUCCESS
        return _arpack(apply, size, count, start, mean, tolerance, seed)


def _arpack(
    apply: Callable[[Array], Array],
    size: int,
    count: int,
    start: Array,
    mean: float,
    tolerance: float,
    seed: int,
) -> tuple[Array, Array, Status]:
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

    # Counted from (an estimate of) the mean eigenvalue, both ends are away from zero, and a
    # tolerance relative to the eigenvalue is one relative to the spectrum.
    shifted = LinearOperator(
        (size, size), matvec=lambda v: apply(v.ravel()) - mean * v.ravel(), dtype=np.float64
    )
    # From scipy 1.17 on vectors of restarts are drawn, unless it is said, anew at each call.
    drawn: dict[str, Any] = {"rng": seed} if "rng" in signature(eigsh).parameters else {}
    try:
        values, vectors = eigsh(
            shifted,
            k=2 * count,
            which="BE",
            v0=start,
            ncv=min(size, max(_KRYLOV, 8 * count)),
            tol=tolerance,
            maxiter=_MAX_RESTARTS,
            **drawn,
        )
    except ArpackNoConvergence:
        return _nothing(size, count, Status.MAX_STEPS)
    except ArpackError:
        return _nothing(size, count, Status.NONFINITE)
    if not np.isfinite(values).all():
        return _nothing(size, count, Status.NONFINITE)
    order = np.argsort(values)
    return values[order] + mean, vectors[:, order[:count]].T.copy(), Status.SUCCESS


def _dense(apply: Callable[[Array], Array], size: int, count: int) -> tuple[Array, Array, Status]:
    matrix = np.stack([apply(unit) for unit in np.eye(size)])
    if not np.isfinite(matrix).all():
        return _nothing(size, count, Status.NONFINITE)
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    ends = np.concatenate([values[:count], values[size - count :]])
    return ends, vectors[:, :count].T.copy(), Status.SUCCESS


def _nothing(size: int, count: int, status: Status) -> tuple[Array, Array, Status]:
    return np.full(2 * count, np.nan), np.full((count, size), np.nan), status
