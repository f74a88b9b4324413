"""Scan of a bracket: sign changes of the gap, hidden ones too, and the status they imply."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from dmft.threshold.interpolation import suspected_change
from dmft.threshold.question import even_in_log
from dmft.threshold.threshold import Crossing
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dmft.threshold.gap_memo import GapFunction, GapValues

    FloatArray = NDArray[np.float64]

__all__ = [
    "DOUBTFUL",
    "doubtful_signs",
    "few_paths_failed",
    "hidden_change",
    "in_range",
    "is_open_for_certain",
    "look_closer",
    "sign_changes",
    "status_of_scan",
]

DOUBTFUL: Final = 3.0
"""A sign is in doubt where the gap is less than so many standard errors from zero."""

# Gaps above two to this power are scaled before they are interpolated.
_LARGE_EXPONENT = 200
# Intervals of log delta narrower than this are not searched for hidden sign changes. Where no
# solve is needed the scan is made finer by a factor, and then searched down to smaller intervals
# by so many further evaluations.
_NARROWEST = 1e-3
_FINER = 8
_NARROWEST_AT_START, _MOST_AT_START = 1e-6, 64
# Failures of few paths, which more of them may mend.
_OF_FEW_PATHS = (Status.TOO_FEW_PATHS, Status.ILL_CONDITIONED, Status.UNPHYSICAL_BRANCH)


def sign_changes(deltas: FloatArray, gaps: FloatArray) -> list[Crossing]:
    """Find the sign changes between neighbouring evaluations with a finite gap.

    Parameters
    ----------
    deltas, gaps : ndarray, shape (n,)
        Increasing in delta.

    Returns
    -------
    list of Crossing
        Increasing in delta, located by linear interpolation.
    """
    finite = np.isfinite(gaps)
    deltas, gaps = deltas[finite], gaps[finite]
    found = []
    for i in np.flatnonzero((gaps[:-1] < 0) != (gaps[1:] < 0)):
        weight = gaps[i] / (gaps[i] - gaps[i + 1])
        location = float(deltas[i] + weight * (deltas[i + 1] - deltas[i]))
        opens = bool(gaps[i + 1] < 0)
        found.append(Crossing(location, float(deltas[i]), float(deltas[i + 1]), opens))
    return found


def status_of_scan(
    values: GapValues, crossings: Sequence[Crossing], hidden: float = np.nan
) -> Status:
    """Return SUCCESS if the last sign change defines delta_NN, otherwise why there is none.

    Parameters
    ----------
    values : GapValues
    crossings : sequence of Crossing
        Their sign changes.
    hidden : float
        Location of a suspected further one; NaN if there is none.

    Returns
    -------
    Status
    """
    deltas, gaps, failures = values.delta, values.gap, values.failures
    if Status.UNBOUNDED_EDGE in failures.values():
        return Status.UNBOUNDED_EDGE
    if np.isnan(gaps[-1]):
        return failures[float(deltas[-1])]
    if crossings and crossings[-1].opens:
        # Without a gap inside the interval of the sign change its location is open, and above it
        # whether the outlier stays; below it, only what happens there.
        failed = np.isnan(gaps) & (deltas > crossings[-1].lower)
        if failed.any():
            return failures[float(deltas[failed][0])]
        return Status.MAX_STEPS if hidden > crossings[-1].lower else Status.SUCCESS
    if not crossings and np.isnan(gaps[0]) and gaps[-1] < 0:
        return failures[float(deltas[0])]
    return Status.NO_BRACKET


def few_paths_failed(status: Status, values: GapValues) -> bool:
    """Return whether there is no threshold for want of paths; below one failures do not matter."""
    failures = () if status.ok else (status, *values.failures.values())
    return any(failure in _OF_FEW_PATHS for failure in failures)


def doubtful_signs(values: GapValues, rtol: float) -> NDArray[np.bool_]:
    """Return where noise may decide on the sign of the gap.

    Parameters
    ----------
    values : GapValues
    rtol : float
        At the ends of the bracket it does not matter where, by the slope of the gap there, a sign
        change would lie within this tolerance, relative to delta, of the end.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    gaps, errors = values.gap, values.stderr
    doubtful = np.abs(gaps) < DOUBTFUL * errors
    known = np.flatnonzero(np.isfinite(gaps))
    if len(known) > 1:
        for end, inner in (known[:2], known[:-3:-1]):
            away = abs(np.log(values.delta[end] / values.delta[inner]))
            doubtful[end] &= errors[end] * away > rtol * abs(gaps[end] - gaps[inner])
    return doubtful


def is_open_for_certain(status: Status, values: GapValues) -> bool:
    """Return whether the gap at the upper end says there is no threshold, on any number of paths.

    It is positive beyond doubt there, and not by the bias that replicates show. Signs at smaller
    delta do not matter then.
    """
    if status is not Status.NO_BRACKET or not values.evaluations:
        return False
    sample = list(values.evaluations.values())[-1].sample
    gap = np.asarray(sample.gap)
    bias = max(float(gap[1:].mean() - gap[0]), 0.0) if len(gap) > 1 else 0.0
    return bool(gap[0] - bias > DOUBTFUL * sample.stderr)


def in_range(gaps: FloatArray) -> FloatArray:
    """Scale gaps by a power of two, where their products would be too large for a float."""
    _, exponent = np.frexp(np.abs(gaps).max(initial=0.0))
    return gaps if exponent < _LARGE_EXPONENT else np.ldexp(gaps, -int(exponent))


def hidden_change(
    deltas: FloatArray, gaps: FloatArray, errors: FloatArray, narrowest: float
) -> tuple[float, float, float] | None:
    """Find where the interpolated gap most likely changes sign, and back, between evaluations.

    Parameters
    ----------
    deltas, gaps, errors : ndarray, shape (n,)
        Increasing in delta; gap NaN or infinite where there is none.
    narrowest : float
        Width of an interval of log delta above which it is searched.

    Returns
    -------
    lower, upper, place : float
        Ends of an interval, and the place in it; None if nowhere.
    """
    known = np.flatnonzero(np.isfinite(gaps))
    x = np.log(deltas[known])
    y, noise = in_range(np.stack([gaps[known], errors[known]]))
    # Intervals in which no evaluation has failed, and wide enough to be divided.
    searched = np.flatnonzero((np.diff(known) == 1) & (np.diff(x) > narrowest))
    found = [(*suspected_change(x, y, noise, i), i) for i in searched.tolist()]
    depth, place, interval = max(found, default=(0.0, np.nan, 0))
    if not depth > 0.0:
        return None
    lower, upper = deltas[known[interval : interval + 2]].tolist()
    return lower, upper, float(np.exp(place))


def look_closer(gap: GapFunction, most: int) -> float:
    """Evaluate the gap where it may change sign and change back between two evaluations.

    Parameters
    ----------
    gap : GapFunction
    most : int
        Number of further evaluations, where each takes more than milliseconds.

    Returns
    -------
    float
        Location of a sign change still suspected; NaN if there is none.
    """
    if Status.UNBOUNDED_EDGE in gap.values().failures.values():
        return np.nan
    return _search_finely(gap) if gap.is_cheap else _divide(gap, most, _NARROWEST)


def _divide(gap: GapFunction, most: int, narrowest: float) -> float:
    """Evaluate the gap at the most suspected places, until there is none."""
    for further in range(most + 1):
        values = gap.values()
        hidden = hidden_change(values.delta, values.gap, values.stderr, narrowest)
        if hidden is None:
            break
        if further == most:
            return hidden[2]
        gap(hidden[2])
    return np.nan


def _search_finely(gap: GapFunction) -> float:
    """Search between all evaluations, where another takes no solve, and add those at sign changes.

    The finer scan stays in a copy unless it shows sign changes that the evaluations do not.
    Returns the location of a sign change still suspected, as `look_closer`.
    """
    finer, scan = gap.copy(), gap.values().delta
    for lower, upper in itertools.pairwise(scan):
        for delta in even_in_log(lower, upper, _FINER + 1)[1:-1]:
            finer(delta)
    hidden = _divide(finer, _MOST_AT_START, _NARROWEST_AT_START)
    deltas, gaps = finer.values().delta, finer.values().gap
    for lower, upper in itertools.pairwise(scan):
        inside = (deltas >= lower) & (deltas <= upper)
        found = sign_changes(deltas[inside], gaps[inside])
        ends = np.isin(deltas[inside], (lower, upper))
        if len(found) > len(sign_changes(deltas[inside][ends], gaps[inside][ends])):
            for crossing in found:
                gap(crossing.lower)
                gap(crossing.upper)
    return hidden
