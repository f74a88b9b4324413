"""Tolerances of truncation along a run: those stated in `Sampling`, or matched to its errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dmft.training.gradient_flow import GradientFlow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft._numerics.sampling import Sampling
    from dmft.training.methods import Method

    FloatArray = NDArray[np.float64]

__all__ = ["compression_along", "rank_tolerances"]

# A rule for the tolerance at step t must not look ahead: steps of a longer run are those of a
# shorter one, and are computed again as such. It is also part of what a seed means: results hold
# the settings alone, and the rule makes of them the same run again.

# The first steps are as exact as their errors ask for, which Sobol points make small, and as the
# outliers of their Hessians in all directions ask for.
_FINE, _FINE_STEPS = 1e-10, 100
# Then the tolerance grows like this power of the step,
_GROWTH = 8
# up to this much of one over the square root of the number of paths: errors are of that order by
# then. What is truncated adds less than a fifth to them (tests/solver/test_tolerances.py).
_OF_SAMPLING = 1e-3
_COMPRESSION = 0.02
# Directions that a flow truncates are this much smaller than the error allowed in a step.
_RANK_PER_TOL = 0.1


def rank_tolerances(
    method: Method, sampling: Sampling, n_paths: int, *, antithetic: bool = False
) -> FloatArray:
    """Return the rank tolerance at each step of a run, shape (n_steps + 1,).

    Parameters
    ----------
    method : Method
    sampling : Sampling
    n_paths : int
        Paths of the run: all of them, or those of a replicate.
    antithetic : bool
        Whether paths are antithetic pairs: what they have in common is then far larger than what
        is of interest, the difference, and the tolerance stays fine.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from dmft import GradientDescent, Sampling
    >>> rank_tolerances(GradientDescent(0.2, 400), Sampling(), 2**17)[[0, 100, 200, 400]].round(12)
    array([1.000000e-10, 1.000000e-10, 2.560000e-08, 2.762136e-06])
    """
    t = np.arange(method.n_steps + 1)
    stated = sampling.effective_rank_tolerance
    if isinstance(method, GradientFlow):
        return np.full(len(t), max(stated or _FINE, _RANK_PER_TOL * method.tol))
    if antithetic or stated is not None:
        return np.full(len(t), stated or _FINE)
    growth = np.maximum(t / _FINE_STEPS, 1.0) ** _GROWTH
    return np.asarray(np.minimum(_FINE * growth, _OF_SAMPLING / math.sqrt(n_paths)))


def compression_along(method: Method, sampling: Sampling) -> float:
    """Return ``sampling.compression``, or its default along the trajectory of a method."""
    if sampling.compression is not None:
        return sampling.compression
    matched = sampling.rank_tolerance is None
    return _COMPRESSION if matched or isinstance(method, GradientFlow) else 0.0
