"""Directions that stay hard while neurons overlap with others: the later features of a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft.model.features import separate_features
from dmft.model.hard_directions import hard_given
from dmft.model.target_directions import by_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from dmft.model.problem import Problem
    from dmft.model.target import Target

__all__ = ["held_directions", "made_easy_by"]

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
    return _hard_given(target, basis @ left[:, sizes > 1e-12 * sizes.max()])


def _hard_given(target: Target, learned: Array) -> Array:
    """Find the directions (k, k_r) that are hard given the easy ones and those learned, (k, e)."""
    basis = target.hard_basis
    if learned.shape[1] == basis.shape[1] or target.inputs is not None:
        return np.zeros((target.k, 0))
    easy = np.linalg.svd(target.easy_projector)[0][:, : target.k - basis.shape[1]]
    known = np.hstack([easy, learned])
    known = np.where(np.abs(known) < 1e-14, 0.0, known)  # axes stay axes

    def search(label: Callable[..., Array], *, uses_noise: bool) -> Array:
        return hard_given(label, known, uses_noise=uses_noise)

    return by_labels(target, search)


def made_easy_by(target: Target) -> Array:
    """Return which hard directions become easy once another one is learned: staircases.

    Directions in whose coordinates labels are even by themselves stay hard whatever else is
    learned, and so do those of a feature when another one is (`dmft.model.features`).

    Parameters
    ----------
    target : Target

    Returns
    -------
    ndarray, shape (k_h, k_h)
        Row i: with column i of ``target.hard_basis`` learned, the share of each column that is easy
        then, from 0 to 1; its own is 0.

    Raises
    ------
    ValueError
        If it is not clear which they are.

    Examples
    --------
    >>> from dmft import Target
    >>> made_easy_by(Target(lambda z, eps: z[:, 0] ** 2 + z[:, 1] ** 2, k=2))
    array([[0., 0.],
           [0., 0.]])
    >>> made_easy_by(Target("product"))
    array([[0., 1.],
           [1., 0.]])
    """
    basis = target.hard_basis
    found = np.zeros((basis.shape[1],) * 2)
    if target.inputs is not None:  # nothing is known of what stays hard
        return found
    for feature in separate_features(target):
        places = np.flatnonzero(np.abs(basis.T @ feature).max(axis=1) > 0.5)
        for i in places if len(places) > 1 else ():
            still = _hard_given(target, basis[:, [i]])
            found[i, places] = 1.0 - np.sum((still.T @ basis[:, places]) ** 2, axis=0)
            found[i, i] = 0.0
    return np.where(np.abs(found) < 1e-9, 0.0, found)
