"""Both ends of the spectrum of a symmetric operator, by one Lanczos iteration without restarts.

A product with the operator costs far more than keeping its result, so the whole Krylov basis is
kept and every new vector is made orthogonal to all of it: no product is spent twice, no spurious
copies appear, and the iteration stops as soon as both ends have converged. ARPACK, which restarts,
needs more products: ``tests/benchmarks/bench_simulation.py`` counts both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["extreme_eigenpairs"]

Array = NDArray[np.float64]

# An eigenpair has converged when its residual, and the error of its eigenvalue, are below these
# fractions of the width of the spectrum.
_RESIDUAL, _ERROR = 1e-6, 1e-9
_MAX_STEPS = 4000
# Convergence is looked at after this many steps and then whenever this fraction has been added.
_FIRST_CHECK, _CHECK_FRACTION = 16, 1 / 24
# A new direction this small beside the operator is rounding: the space found is invariant.
_BREAKDOWN = 1e-13


def extreme_eigenpairs(
    apply: Callable[[Array], Array], size: int, count: int, seed: int = 0
) -> tuple[Array, Array, Status]:
    """Smallest and largest eigenvalues, with the eigenvectors of the smallest.

    An eigenvalue that is exactly multiple may be counted once: a single starting vector has one
    component in its eigenspace.

    Parameters
    ----------
    apply : callable
        Product of the operator with a vector (size,).
    size : int
        Order of the operator.
    count : int
        How many eigenvalues at either end, at most size / 2.
    seed : int
        Of the starting vector.

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
    >>> diagonal = np.linspace(-1.0, 2.0, 31)
    >>> values, vectors, status = extreme_eigenpairs(lambda v: diagonal * v, 31, 1)
    >>> values.round(6), (vectors[0] ** 2).argmax(), status.name
    (array([-1.,  2.]), np.int64(0), 'SUCCESS')
    """
    with np.errstate(over="ignore", invalid="ignore"):  # noticed, and said in the status
        return _iterate(apply, size, count, np.random.default_rng(seed))


def _iterate(
    apply: Callable[[Array], Array], size: int, count: int, rng: np.random.Generator
) -> tuple[Array, Array, Status]:
    most = min(size, _MAX_STEPS)
    basis = np.empty((min(most, 64), size))
    diagonal, below = np.zeros(most), np.zeros(most)
    new = rng.standard_normal(size)
    norm, scale, check = float(np.linalg.norm(new)), 0.0, max(_FIRST_CHECK, 2 * count)
    status = Status.MAX_STEPS
    for step in range(1, most + 1):
        if step > len(basis):
            basis = np.concatenate([basis, np.empty((min(len(basis), most - len(basis)), size))])
        known = basis[:step]
        known[-1] = new / norm
        new = apply(known[-1])
        diagonal[step - 1] = known[-1] @ new
        norm = _orthogonalise(new, known)
        if not np.isfinite(norm):
            status = Status.NONFINITE
            break
        scale = max(scale, abs(diagonal[step - 1]), norm)
        if norm <= _BREAKDOWN * scale:  # go on in a direction that was not reached so far
            norm = 0.0
            if step < most:
                new = rng.standard_normal(size)
                _orthogonalise(new, known)
        below[step - 1] = norm
        if step >= check or step == size:
            check = step + max(4, round(_CHECK_FRACTION * step))
            values, vectors, gaps = _ends(diagonal[:step], below[: step - 1], count)
            residuals = norm * np.abs(vectors[-1])
            # The error is at most the residual, and at most its square over the gap to the next.
            errors = residuals * np.minimum(1.0, residuals / np.maximum(gaps, np.finfo(float).tiny))
            width = values[-1] - values[0]
            converged = residuals.max() <= _RESIDUAL * width and errors.max() <= _ERROR * width
            if converged or step == size:
                return values, vectors[:, :count].T @ known, Status.SUCCESS
        norm = norm if norm > 0.0 else float(np.linalg.norm(new))
    return np.full(2 * count, np.nan), np.full((count, size), np.nan), status


def _orthogonalise(vector: Array, rows: Array) -> float:
    """Project orthonormal `rows` out of `vector`, in place; return the norm of what is left."""
    for _ in range(2):  # once more for what rounding left
        vector -= (rows @ vector) @ rows
    return float(np.linalg.norm(vector))


def _ends(diagonal: Array, below: Array, count: int) -> tuple[Array, Array, Array]:
    """Both ends of a tridiagonal matrix: eigenvalues, ascending, eigenvectors, and gaps.

    The gap of an eigenvalue is the distance to the nearest other one.
    """
    size = len(diagonal)
    more = min(count + 1, size)  # one more, for the gap of the last
    values, vectors, gaps = [], [], []
    for low, kept in ((0, slice(0, count)), (size - more, slice(more - count, more))):
        chosen = (low, low + more - 1)
        part, columns = eigh_tridiagonal(
            diagonal, below, select="i", select_range=chosen, check_finite=False
        )
        spacing = np.concatenate([[np.inf], np.diff(part), [np.inf]])
        values.append(part[kept])
        vectors.append(columns[:, kept])
        gaps.append(np.minimum(spacing[:-1], spacing[1:])[kept])
    return np.concatenate(values), np.concatenate(vectors, axis=1), np.concatenate(gaps)
