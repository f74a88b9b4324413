"""Directions that stay hard while neurons overlap with others: the later features of a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft.model.hard_directions import hard_given
from dmft.model.target_directions import by_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from dmft.model.problem import Problem

__all__ = ["held_directions"]

Array = NDArray[np.float64]


def held_directions(problem: Problem) -> Array:
    """Return an orthonormal basis (k, k_r) of the directions that stay hard.

    Those of the target, unless the neurons overlap with some of them at the start: then those
    that are hard given these. A direction that a learned one makes easy (a staircase) is not
    among them. Overlaps with the directions returned are zero at all O(1) times.

    Parameters
    ----------
    problem : Problem

    Raises
    ------
    ValueError
        If it is not clear which they are.

    Examples
    --------
    >>> from dmft import Problem, Target
    >>> label = Target(lambda z, eps: z[:, 0] ** 2 + z[:, 1] ** 2, k=2)
    >>> held_directions(Problem(label)).shape
    (2, 2)
    >>> held_directions(Problem(label, initial_overlap=[[0.1, 0.0]]))
    array([[0.],
           [1.]])
    >>> held_directions(Problem("product", initial_overlap=[[0.1, 0.0]])).shape  # a staircase
    (2, 0)
    """
    if not problem.starts_on_hard:
        return problem.target.hard_basis
    if problem.initial_overlap is None:  # a spectral start may overlap with all of them
        return np.zeros((problem.k, 0))
    # Kept with the label: problems with other layers, along a run, ask again.
    known: dict[bytes, Array] = problem.target.__dict__.setdefault("_held_directions", {})
    key = problem.initial_overlap.tobytes()
    if key not in known:
        known[key] = _hard_after(problem)
    return known[key]


def _hard_after(problem: Problem) -> Array:
    """Find the directions that are hard given those of the initial overlap.

    Under inputs with a law of their own nothing is said to be.
    """
    target, overlap = problem.target, problem.initial_overlap
    assert overlap is not None  # it starts on hard directions
    basis = target.hard_basis
    left, sizes, _ = np.linalg.svd(basis.T @ overlap.T, full_matrices=False)
    learned = basis @ left[:, sizes > 1e-12 * sizes.max()]
    if learned.shape[1] == basis.shape[1] or target.inputs is not None:
        return np.zeros((target.k, 0))
    easy = np.linalg.svd(target.easy_projector)[0][:, : target.k - basis.shape[1]]
    known = np.hstack([easy, learned])
    known = np.where(np.abs(known) < 1e-14, 0.0, known)  # axes stay axes

    def search(label: Callable[..., Array], *, uses_noise: bool) -> Array:
        return hard_given(label, known, uses_noise=uses_noise)

    return by_labels(target, search)
