"""Initial weights along the leading eigenvector of given data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.recovery.spectral_rule import spectral_rule
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.model.problem import Problem

    Array = NDArray[np.float64]

__all__ = ["leading_eigenvector", "spectral_weights"]

# Matrices up to these orders are diagonalised: as a whole, for one vector.
_SMALL, _DENSE = 64, 4096


def leading_eigenvector(X: Array, weights: Array, rng: np.random.Generator) -> Array:
    """Return the unit eigenvector (d,) of the largest eigenvalue of (1/n) X^T diag(weights) X."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    n, d = X.shape
    if d <= _SMALL:
        return np.asarray(np.linalg.eigh((X.T * weights) @ X / n)[1][:, -1])
    start: Any = rng.standard_normal(d)
    if d <= _DENSE:  # where T is unbounded below, an iteration takes thousands of products
        matrix = (X.T * weights) @ X / n
        return np.asarray(eigh(matrix, subset_by_index=[d - 1, d - 1], overwrite_a=True)[1][:, 0])

    def product(v: Array) -> Array:
        return np.asarray(X.T @ (weights * (X @ v.ravel())) / n)

    operator: Any = LinearOperator((d, d), matvec=product, dtype=np.float64)
    try:
        found: Any = eigsh(operator, k=1, which="LA", v0=start, maxiter=20 * d)
    except ArpackError:  # no convergence is one
        raise NumericalFailure(Status.MAX_STEPS) from None
    return np.asarray(found[1][:, 0])


def spectral_weights(
    problem: Problem, X: Array, y: Array, frame: Array, rng: np.random.Generator
) -> Array:
    """Return the initial weights (m, d) of a problem with a spectral start.

    Parameters
    ----------
    problem : Problem
    X, y : ndarray, shapes (n, d) and (n,)
    frame : ndarray, shape (k, d)
        Latent directions: they choose the sign of the eigenvector.
    rng : numpy.random.Generator
        For the components of the neurons that are not along it.
    """
    start = problem.spectral_start
    assert start is not None
    n, d = X.shape
    rule = spectral_rule(problem, n / d)
    v = leading_eigenvector(X, rule.preprocessing(y), rng)
    v = v if float(rule.direction @ (frame @ v)) > 0.0 else -v
    shares = start.shares(problem.m)[:, np.newaxis]
    units = rng.standard_normal((problem.m, d))
    units -= np.outer(units @ v, v)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    radii = np.broadcast_to(problem.init_radius, (problem.m,))[:, np.newaxis]
    return np.ascontiguousarray(radii * (shares * v + np.sqrt(1.0 - shares**2) * units))
