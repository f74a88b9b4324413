"""Rule of a spectral start: the preprocessing as a function, and the direction that it recovers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft.model.features import is_even_along
from dmft.recovery.label_points import label_law
from rmt.label_law import LabelLaw
from rmt.preprocessing import optimal_preprocessing

if TYPE_CHECKING:
    from dmft.model.problem import Problem

__all__ = ["HELD", "TAIL", "SpectralRule", "spectral_rule"]

Array = NDArray[np.float64]

_POINTS = 2**17
#: Leaving out so much of the law moves the edge by no more than that much of itself, unless T is
#: unbounded.
TAIL, HELD = 1e-4, 0.1
# Distances of outliers from the edge that differ by less than this are equal, to sampling errors.
_ALIKE = 0.02
# Directions with components in ratios of integers up to this, to this accuracy, are these.
_LARGEST_RATIO, _SNAP = 4, 0.03


@dataclass(frozen=True, eq=False)
class SpectralRule:
    """What theory and simulation share of a spectral start.

    Attributes
    ----------
    preprocessing : callable
        Labels (N,) to weights (N,).
    direction : ndarray, shape (k,)
        Unit vector in latent space with which the eigenvector has its overlap.
    held : ndarray, shape (k, q)
        Orthonormal basis of the directions that stay hard: those orthogonal to this one and to the
        easy ones, if labels stay the same when all coordinates along them change sign.
    """

    preprocessing: Callable[[Array], Array]
    direction: Array
    held: Array


def spectral_rule(problem: Problem, delta: float) -> SpectralRule:
    """Return the rule of a problem with a spectral start, found once for each delta.

    Raises
    ------
    ValueError
        If the preprocessing is not allowed for these labels.
    """
    return problem.remembered(("spectral rule", delta), lambda: _found(problem, delta))


def _found(problem: Problem, delta: float) -> SpectralRule:
    start = problem.spectral_start
    assert start is not None
    law = problem.remembered("label law", lambda: label_law(problem.target, n_points=_POINTS))

    preprocessing: Callable[[Array], Array] = start.weights
    if start.preprocessing == "optimal":
        preprocessing = problem.remembered("optimal T", lambda: optimal_preprocessing(law))
    direction = _snapped(_leading(preprocessing, law, delta))
    rest = _rest(problem, direction)
    held = rest if is_even_along(problem.target, rest) else rest[:, :0]
    return SpectralRule(preprocessing, direction, held)


def _leading(preprocessing: Callable[[Array], Array], law: LabelLaw, delta: float) -> Array:
    """Return the direction in which an outlier on the right comes first."""
    from rmt.law import HessianLaw

    assert law.latents is not None
    weights = preprocessing(law.labels)
    if float(np.ptp(weights)) == 0.0:
        raise ValueError(
            f"preprocessing must depend on the label, got {float(weights[0]):g} for all of them"
        )
    if law.scales is not None:
        weights = weights * law.scales**2
    of_law = HessianLaw(weights, delta, law.latents, law.probabilities)
    outliers = [o for o in of_law.outliers("hard", throw=False) if o.side == "right"]
    edge = of_law.edges().right
    if -of_law.tail_sensitivity(TAIL)[1] > HELD * abs(edge):
        raise ValueError(
            "preprocessing must be bounded above, times the squared scales of the inputs: the edge "
            f"is held by the {TAIL:g} largest of its values, up to {weights.max():.3g}"
        )
    values = [o.value - edge for o in outliers[-2:]]
    if len(values) == 2 and values[0] > (1.0 - _ALIKE) * values[1]:
        raise ValueError(
            "preprocessing must single out one latent direction for a spectral start, got two "
            "leading eigenvalues that coincide"
        )
    u = outliers[-1].vector[0] if outliers else np.linalg.eigh(of_law.hard_matrix(edge))[1][:, -1]
    return np.asarray(u * np.sign(u[np.abs(u).argmax()]))


def _snapped(u: Array) -> Array:
    """Return the direction with components in ratios of small integers next to one, or itself."""
    largest = u[np.abs(u).argmax()]
    for ratio in range(1, _LARGEST_RATIO + 1):
        scaled = u / largest * ratio
        near = np.rint(scaled)
        if np.abs(scaled - near).max() < _SNAP * ratio:
            return np.asarray(near / np.linalg.norm(near))
    return u


def _rest(problem: Problem, direction: Array) -> Array:
    """Return an orthonormal basis of the hard directions orthogonal to the one found."""
    easy = problem.target.easy_projector
    rest = direction - easy @ direction
    known = easy
    if np.linalg.norm(rest) > 1e-9:
        rest /= np.linalg.norm(rest)
        known = easy + np.outer(rest, rest)
    values, vectors = np.linalg.eigh(known)
    return np.ascontiguousarray(vectors[:, values < 1e-9])
