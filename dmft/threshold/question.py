"""Arguments that every search for a threshold has: problem, method, sampling, bracket, grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_instance, check_integer, check_real
from dmft.model.held_directions import held_directions
from dmft.model.problem import Problem
from dmft.model.spectral_start import stated_overlap
from dmft.training.constraints import check_constrained
from dmft.training.methods import METHODS, Method

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = [
    "MOST_POINTS",
    "POINTS",
    "check_question",
    "checked_counts",
    "checked_step",
    "even_in_log",
    "expected_solves",
]

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


def checked_step(step: int | None, method: Method) -> int:
    """Return the step of a Hessian, by default the last one.

    Raises
    ------
    ValueError
        If it is not a step of the method.
    """
    if step is None:
        return method.n_steps
    step = check_integer("step", step, minimum=0)
    if step > method.n_steps:
        raise ValueError(f"step must be in 0..n_steps = 0..{method.n_steps}, got {step}")
    return step


def checked_counts(points: int, max_solves: int) -> tuple[int, int]:
    """Return the numbers of values of delta that a curve begins with, and has at most.

    Raises
    ------
    ValueError
        If they are out of range.
    """
    points = check_integer("points", points, minimum=4, maximum=MOST_POINTS)
    return points, check_integer("max_solves", max_solves, minimum=points)


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
