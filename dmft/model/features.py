"""Features of a label: groups of hard directions in which labels are even by themselves."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from dmft.model.target import Target

__all__ = [
    "inputs_are_even",
    "is_even_along",
    "labels_are_unchanged",
    "reflected",
    "same_labels",
    "separate_features",
]

Array = NDArray[np.float64]

_POINTS = 512


def reflected(z: Array, basis: Array) -> Array:
    """Return latent coordinates (k, N) reflected in the span of orthonormal columns (k, r)."""
    return np.asarray(z - 2.0 * (basis @ (basis.T @ z)))


def same_labels(y: Array, other: Array) -> bool:
    """Whether labels (N,) are the same to rounding."""
    return bool(np.allclose(y, other, rtol=1e-9, atol=1e-12))


def labels_are_unchanged(
    target: Target, image: Callable[[Array], Array], n_points: int = _POINTS
) -> bool:
    """Whether labels stay the same at the image of latent coordinates (N, k), by trying.

    With the same noise and cluster.
    """
    z, eps, component = target.trial(n_points)
    return same_labels(*(target.sample_labels(at, eps, component) for at in (z, image(z))))


def inputs_are_even(target: Target, basis: Array) -> bool:
    """Whether the law of the inputs stays the same when coordinates along a basis change sign."""
    return target.inputs is None or target.inputs.is_symmetric(basis)


def is_even_along(target: Target, basis: Array) -> bool:
    """Whether inputs and labels stay the same when coordinates along a basis (k, r) change sign.

    Of labels by trying.

    Examples
    --------
    >>> from dmft import Target
    >>> is_even_along(Target("product"), np.eye(2)), is_even_along(Target("product"), np.eye(2, 1))
    (True, False)
    """
    return inputs_are_even(target, basis) and labels_are_unchanged(
        target, lambda z: reflected(z.T, basis).T
    )


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
    found: list[Array] = []
    left = list(range(target.hard_basis.shape[1]))
    size = 1
    while size <= len(left):
        for group in combinations(left, size):
            basis = target.hard_basis[:, list(group)]
            if is_even_along(target, basis):
                found.append(basis)
                left = [column for column in left if column not in group]
                break
        else:
            size += 1
    return tuple(found)
