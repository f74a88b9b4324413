"""Easy and hard directions of a label law, and those among them that labels do not depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmft.model.irrelevant_directions import split_irrelevant

if TYPE_CHECKING:
    from dmft.model.hard_directions import DirectionSearch
    from dmft.model.target import Target

__all__ = ["LabelDirections", "label_directions", "with_zeros"]

Array = NDArray[np.float64]

_SAME_SPACE = 1e-3  # distance of the projectors on two subspaces taken for the same


class LabelDirections(NamedTuple):
    """Bases of the easy (k, k_e) and the hard directions (k, k_h) of a label law.

    With those of the hard ones that labels do not depend on, (k_h,), and whether the hard ones are
    those that a search has found.
    """

    easy: Array
    hard: Array
    outside: NDArray[np.bool_]
    agrees: bool


def label_directions(target: Target, search: DirectionSearch) -> LabelDirections:
    """Return the directions of labels, those of a search unless they are stated.

    Raises
    ------
    ValueError
        If a direction stated to be hard is clearly easy.
    """
    hard, agrees = _hard_basis(target, search)
    easy = _complement(hard)
    return LabelDirections(easy, *split_irrelevant(target, hard), agrees)


def with_zeros(shares: Array, outside: NDArray[np.bool_]) -> Array:
    """Return shares (L, q) of the hard directions, zero for those labels do not depend on."""
    found = np.zeros((len(shares), len(outside)))
    if not outside.all():
        found[:, ~outside] = shares
    return found


def _hard_basis(target: Target, search: DirectionSearch) -> tuple[Array, bool]:
    """Return the hard directions, stated or else found, and whether the two agree."""
    if target.hard_directions is None and not isinstance(target.label, str):
        return search.hard, search.doubtful is None
    try:
        stated = np.array(target.hard_basis)
    except ValueError:
        if target.hard_directions is not None:  # they are easy
            raise
        return search.hard, False  # of classes whose noise leaves it open
    distance = np.linalg.norm(stated @ stated.T - search.hard @ search.hard.T)
    return stated, bool(distance < _SAME_SPACE)


def _complement(hard: Array) -> Array:
    """Return an orthonormal basis of the complement; coordinate axes stay exact."""
    k, k_h = hard.shape
    projector = np.eye(k) - hard @ hard.T
    axes = np.flatnonzero(np.abs(np.diag(projector) - 1.0) < 1e-14)
    if len(axes) == k - k_h:
        return np.eye(k)[:, axes]
    return np.linalg.eigh(projector)[1][:, k_h:]
