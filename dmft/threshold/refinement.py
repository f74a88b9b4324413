"""Refinement of sign changes of the gap to a fraction of their sampling error."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dmft.threshold.scan import sign_changes, status_of_scan
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from dmft.threshold.gap_memo import GapFunction
    from dmft.threshold.threshold import Crossing

__all__ = ["locate_crossings"]

# The root is located this much more finely than its sampling error: refining further is noise; but
# never more finely than the next, relative to delta, where there is no sampling error. It is
# located worse if the gap there is more than this fraction of the gap's error.
_FRACTION_OF_ERROR = 0.1
_FINEST = 1e-7
_LARGEST_RESIDUAL = 0.25
# Its slope is not taken from gaps this many times those at the ends of the interval.
_FAR_GAP = 10.0
_MAX_REFINEMENTS = 40
# An interval wider than this is halved on the logarithmic scale first, where a gap varies evenly.
_WIDEST = 1e3


def locate_crossings(gap: GapFunction, hidden: float) -> tuple[Status, tuple[Crossing, ...]]:
    """Refine all sign changes of the evaluations, that which defines delta_NN first.

    Parameters
    ----------
    gap : GapFunction
    hidden : float
        Location of a suspected further sign change; NaN if there is none.

    Returns
    -------
    status : Status
        SUCCESS if the last sign change is delta_NN.
    crossings : tuple of Crossing
        Increasing in delta.
    """
    values = gap.values()
    crossings = sign_changes(values.delta, values.gap)
    status = status_of_scan(values, crossings, hidden)
    if status is Status.SUCCESS:
        try:
            crossings[-1] = _refine(gap, crossings[-1])
        except NumericalFailure as failure:
            status = failure.status
    for index, crossing in enumerate(crossings):
        inside = (values.delta > crossing.lower) & (values.delta < crossing.upper)
        # A location that cannot be had is still known to be between its ends.
        if not crossing.refined and not np.isnan(values.gap[inside]).any():
            with contextlib.suppress(NumericalFailure):
                crossings[index] = _refine(gap, crossing)
    return status, tuple(crossings)


def _refine(gap: GapFunction, crossing: Crossing) -> Crossing:
    """Find the root of the gap in the interval of a sign change, and its standard error.

    Raises
    ------
    NumericalFailure
        With the status of an evaluation that has no gap, or MAX_STEPS.
    """
    from scipy.optimize import brentq

    def finite_gap(delta: float) -> float:
        value = gap(delta)
        if not np.isfinite(value):
            raise NumericalFailure(gap.values().failures[float(delta)])
        return value

    lower, upper = crossing.lower, crossing.upper
    while upper / _WIDEST > lower:
        middle = float(np.sqrt(lower) * np.sqrt(upper))
        if (finite_gap(middle) < 0) == (gap(lower) < 0):
            lower = middle
        else:
            upper = middle
    for _ in range(_MAX_REFINEMENTS):
        slope = (gap(upper) - gap(lower)) / (upper - lower)
        error = max(gap.stderr(lower), gap.stderr(upper))
        tolerance = max(_FRACTION_OF_ERROR * _ratio(error, slope), _FINEST * lower)
        root, outcome = brentq(
            finite_gap,
            lower,
            upper,
            xtol=tolerance,
            rtol=1e-12,
            maxiter=_MAX_REFINEMENTS,
            full_output=True,
            disp=False,
        )
        residual = finite_gap(root)
        if not outcome.converged:
            raise NumericalFailure(Status.MAX_STEPS)
        error = gap.stderr(root)
        if error == 0.0 or abs(residual) <= _LARGEST_RESIDUAL * error:
            break
        # The gap is much steeper here than between the ends: again, closer to the root.
        if (residual < 0) == (gap(lower) < 0):
            lower = float(root)
        else:
            upper = float(root)
        known = gap.values().delta
        for delta in known[(known > lower) & (known < upper)].tolist():
            if (finite_gap(delta) < 0) == (gap(lower) < 0):
                lower = delta
            else:
                upper = delta
                break
    else:
        raise NumericalFailure(Status.MAX_STEPS)
    most = _FAR_GAP * max(abs(gap(crossing.lower)), abs(gap(crossing.upper)))
    stderr = _ratio(error, _slope(gap, root, 2 * tolerance, most, slope))
    return replace(crossing, value=float(root), refined=True, stderr=stderr)


def _ratio(error: float, slope: float) -> float:
    """Compute the error of a root from that of the gap; infinite for a flat one, zero without."""
    if error == 0.0:
        return 0.0
    return float(error / abs(slope)) if slope != 0.0 else np.inf


def _slope(gap: GapFunction, root: float, distance: float, most: float, otherwise: float) -> float:
    """Compute the slope at the root from the nearest far enough evaluation on each side.

    Far enough means that the difference is more than the residual; a gap above ``most`` (next to
    where runs diverge) says nothing of the slope here. Both sides: the slope of the parabola
    through the three points; one side: the difference quotient.
    """
    values = gap.values()
    deltas, gaps = values.delta, values.gap
    far = np.isfinite(gaps) & (np.abs(deltas - root) >= distance) & (np.abs(gaps) <= most)
    below, above = deltas[far & (deltas < root)], deltas[far & (deltas > root)]
    quotients = [
        (abs(other - root), (gap(other) - gap(root)) / (other - root))
        for other in (*below[-1:], *above[:1])
    ]
    if not quotients:
        return otherwise
    if len(quotients) == 1:
        return float(quotients[0][1])
    (before, slope_before), (after, slope_after) = quotients
    return float((slope_before * after + slope_after * before) / (before + after))
