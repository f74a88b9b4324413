"""Hard directions that a user states: checked, and as an orthonormal basis."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["StatedDirections", "check_stated", "orthonormal_basis"]

Array = NDArray[np.float64]
StatedDirections = tuple[int, ...] | tuple[tuple[float, ...], ...]


def check_stated(value: Iterable[int] | ArrayLike | None, k: int) -> StatedDirections | None:
    """Return hard directions in plain form: sorted indices, or the rows of a (k, k_h) array.

    Raises
    ------
    ValueError
        If they are neither, or linearly dependent.

    Examples
    --------
    >>> check_stated([1, 0], 2), check_stated(np.array([[1.0], [2.0]]), 2)
    ((0, 1), ((1.0,), (2.0,)))
    """
    if value is None:
        return None
    expected = (
        f"None, a sequence of distinct indices from 0 to {k - 1}, or an array (k, k_h) with k = {k}"
    )
    try:
        array = np.asarray(value if isinstance(value, np.ndarray) else list(value))  # type: ignore[arg-type]
        if np.ma.is_masked(value):
            raise TypeError
    except (TypeError, ValueError):
        raise ValueError(f"hard_directions must be {expected}, got {value!r}") from None
    if array.size == 0 and array.shape in ((0,), (k, 0)):
        return ()
    if array.ndim == 1 and array.dtype.kind in "iu":
        indices = sorted(int(index) for index in array)
        if len(set(indices)) < len(indices) or indices[0] < 0 or indices[-1] >= k:
            raise ValueError(f"hard_directions must be {expected}, got {array.tolist()}")
        return tuple(indices)
    if array.ndim != 2 or array.shape[0] != k or array.dtype.kind not in "iuf":
        raise ValueError(f"hard_directions must be {expected}, got {array.tolist()}")
    columns = array.astype(np.float64)
    if not np.all(np.isfinite(columns)):
        raise ValueError("hard_directions must have finite entries")
    singular = np.linalg.svd(columns, compute_uv=False)
    if array.shape[1] > k or singular[-1] <= 1e-10 * singular[0]:
        raise ValueError(
            "hard_directions must have linearly independent columns, got singular values "
            f"{singular.tolist()}"
        )
    return tuple(map(tuple, columns.tolist()))


def orthonormal_basis(stated: StatedDirections, k: int) -> Array:
    """Return an orthonormal basis (k, k_h) of stated directions, unit vectors where they span it.

    Examples
    --------
    >>> orthonormal_basis((1,), 2)
    array([[0.],
           [1.]])
    """
    if all(isinstance(index, int) for index in stated):
        return np.eye(k)[:, np.array(stated, dtype=np.intp)]
    columns = np.array(stated)
    k_h = columns.shape[1]
    support = np.flatnonzero(np.any(columns != 0.0, axis=1))
    if support.size == k_h:
        return np.eye(k)[:, support]
    basis = np.zeros((k, k_h))
    basis[support], _ = np.linalg.qr(columns[support])
    # QR fixes the columns up to sign: keep the direction the caller gave.
    signs = np.sign(np.sum(basis * columns, axis=0))
    return basis * np.where(signs == 0.0, 1.0, signs)
