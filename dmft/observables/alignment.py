"""Alignment of the neurons with the hard directions, from the order parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["hard_cosine", "largest_cosine", "recovery_step"]

_SHORTEST = 1e-75  # length of a neuron whose fourth power, and its inverse, are still in range


def hard_cosine(overlap: FloatArray, norm: FloatArray, hard_basis: FloatArray) -> FloatArray:
    """Return the largest squared cosine between a hard direction and the span of the neurons.

    The largest squared canonical correlation between the two spaces: the largest eigenvalue of
    ``M_h^T C^+ M_h``. It does not depend on lengths or on a mixing of the neurons; for one neuron
    and one hard direction it is ``M_h^2 / C``.

    Parameters
    ----------
    overlap : ndarray, shape (..., m, k)
        M.
    norm : ndarray, shape (..., m, m)
        C, positive semidefinite.
    hard_basis : ndarray, shape (k, k_h)
        Orthonormal columns.

    Returns
    -------
    ndarray, shape (...)
        In [0, 1]; 0 without hard directions or where all neurons are zero, NaN where an entry is
        not finite.

    Examples
    --------
    >>> import numpy as np
    >>> hard_cosine(np.array([[0.5, 1.0]]), np.array([[4.0]]), np.eye(2)[:, 1:])
    array(0.25)
    """
    hard = overlap @ hard_basis
    shape = hard.shape[:-2]
    result = np.full(shape, np.nan)
    if not hard.shape[-1]:
        result[...] = 0.0
        return result
    finite = np.isfinite(hard).all(axis=(-1, -2)) & np.isfinite(norm).all(axis=(-1, -2))
    M, C = hard[finite], norm[finite]
    # To neurons of length one where those so short or long leave the range of floats.
    length = np.sqrt(np.max(np.abs(C), axis=(-1, -2), keepdims=True))
    length[(length == 0.0) | ((length > _SHORTEST) & (length < 1.0 / _SHORTEST))] = 1.0
    M, C = M / length, C / length / length
    inverse = np.linalg.pinv(C, rcond=1e-12, hermitian=True)
    squared = np.linalg.eigvalsh(np.swapaxes(M, -1, -2) @ inverse @ M)[..., -1]
    result[finite] = np.clip(squared, 0.0, 1.0)
    return result


def largest_cosine(cosine: FloatArray) -> float:
    """Return the largest value of a squared cosine along a run; NaN if it never has one.

    Examples
    --------
    >>> import numpy as np
    >>> largest_cosine(np.array([0.1, 0.4, np.nan])), largest_cosine(np.array([np.nan]))
    (0.4, nan)
    """
    known = cosine[np.isfinite(cosine)]
    return float(known.max()) if len(known) else float("nan")


def recovery_step(cosine: FloatArray, recovery: float) -> int:
    """Return the first step at which a squared cosine reaches a level; -1 if it never does.

    Examples
    --------
    >>> import numpy as np
    >>> recovery_step(np.array([0.1, 0.4, 0.6, np.nan]), 0.5), recovery_step(np.zeros(3), 0.5)
    (2, -1)
    """
    reached = np.flatnonzero(cosine >= recovery)
    return int(reached[0]) if len(reached) else -1
