"""Arguments that every search for a threshold has: problem, method, sampling, bracket, grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_instance, check_real
from dmft.model.held_directions import held_directions
from dmft.model.problem import Problem
from dmft.model.spectral_start import stated_overlap
from dmft.training.constraints import check_constrained
from dmft.training.methods import METHODS, Method

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["MOST_POINTS", "POINTS", "check_question", "even_in_log", "expected_solves"]

MOST_POINTS: Final = 10**6
"""Points of a grid in delta at most: nobody waits for more."""
POINTS: Final = 9
"""Points that a search begins with, unless it is told otherwise."""

# Solves that a search usually adds to those it begins with.
_ADDED_SOLVES = 5
# Ends of a bracket: beyond these, delta and 1/delta are no normal numbers.
_SMALLEST, _LARGEST = 1e-300, 1e300


def expected_solves(points: int = POINTS) -> int:
    """Estimate the number of solves of a search that begins with so many points."""
    return points + _ADDED_SOLVES


def check_question(
    problem: Problem, method: Method, bracket: Sequence[float], sampling: Sampling
) -> tuple[float, float]:
    """Check the arguments of a search for a threshold, and return the ends of the bracket.

    Raises
    ------
    ValueError
        If an argument is of another class or no bracket, or the problem has no hard direction or
        starts with an overlap with one.
    """
    check_instance("problem", problem, Problem)
    check_instance("method", method, METHODS)
    check_instance("sampling", sampling, Sampling)
    check_constrained(problem, method)
    problem.check_labels()  # at step 0 nothing is solved
    ends = _checked_bracket(bracket)
    if not problem.target.hard_basis.shape[1]:
        raise ValueError(
            f"problem must have a hard direction for a threshold to exist; all {problem.k} latent "
            f"directions of label {problem.target.name!r} are easy"
        )
    if not held_directions(problem).shape[1]:
        raise ValueError(
            "problem must start without overlap with one hard direction at least, which those it "
            "overlaps with do not make easy, for a threshold to exist, got "
            f"{stated_overlap(problem)}"
        )
    return ends


def _checked_bracket(bracket: Sequence[float]) -> tuple[float, float]:
    try:
        lower, upper = bracket
    except (TypeError, ValueError):
        raise ValueError(f"bracket must be a pair (lower, upper), got {bracket!r}") from None
    lower = check_real("bracket[0]", lower, minimum=0.0, exclusive=True)
    upper = check_real("bracket[1]", upper, minimum=0.0, exclusive=True)
    for index, end in enumerate((lower, upper)):
        if not _SMALLEST <= end <= _LARGEST:
            raise ValueError(
                f"bracket[{index}] must be from {_SMALLEST:g} to {_LARGEST:g}, got {end:g}"
            )
    if not lower < upper:
        raise ValueError(f"bracket must have lower < upper, got ({lower:g}, {upper:g})")
    return lower, upper


def even_in_log(lower: float, upper: float, count: int) -> FloatArray:
    """Return `count` deltas from one to the other, ends included, even in log delta."""
    return np.clip(np.geomspace(lower, upper, count), lower, upper)
