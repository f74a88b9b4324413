"""Features of a label: groups of hard directions in which labels are even by themselves."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dmft.model.target import Target

__all__ = ["reflected", "separate_features"]

Array = NDArray[np.float64]

_POINTS = 512


def reflected(z: Array, basis: Array) -> Array:
    """Return latent coordinates (k, N) reflected in the span of orthonormal columns (k, r)."""
    return np.asarray(z - 2.0 * (basis @ (basis.T @ z)))


def separate_features(target: Target) -> tuple[Array, ...]:
    """Find the smallest groups of hard directions that labels and inputs are even in.

    Antithetic paths in each group keep the overlaps with one at zero, or small, however large those
    with others are. Of labels by trying, each column of the hard basis a direction.

    Parameters
    ----------
    target : Target

    Returns
    -------
    tuple of ndarray, shape (k, r)
        Their columns together are those of ``target.hard_basis``, unless some are in no such group.

    Examples
    --------
    >>> from dmft import Target
    >>> label = Target(lambda z, eps: z[:, 0] ** 2 + z[:, 1] * z[:, 2], k=3)
    >>> [feature.shape[1] for feature in separate_features(label)]
    [1, 2]
    """
    z, eps, component = target.trial(_POINTS)
    y = target.sample_labels(z, eps, component)

    def is_even(basis: Array) -> bool:
        if target.inputs is not None and not target.inputs.is_symmetric(basis):
            return False
        image = target.sample_labels(reflected(z.T, basis).T, eps, component)
        return bool(np.allclose(y, image, rtol=1e-9, atol=1e-12))

    found: list[Array] = []
    left = list(range(target.hard_basis.shape[1]))
    size = 1
    while size <= len(left):
        for group in combinations(left, size):
            basis = target.hard_basis[:, list(group)]
            if is_even(basis):
                found.append(basis)
                left = [column for column in left if column not in group]
                break
        else:
            size += 1
    return tuple(found)
