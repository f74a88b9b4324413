"""Refinement of sign changes of the gap to a fraction of their sampling error."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from dmft._numerics.sampling import is_biased
from dmft.hessian.gap_samples import standard_error
from dmft.threshold.scan import sign_changes, status_of_scan
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dmft.threshold.gap_memo import GapFunction
    from dmft.threshold.threshold import Crossing

    FloatArray = NDArray[np.float64]

__all__ = [
    "OF_LOCATION",
    "NewtonRoot",
    "Slope",
    "locate_crossings",
    "newton_step",
    "root_from",
    "slope_at",
]

OF_LOCATION: Final = 0.25
"""Of an accuracy asked for, what the location of a root may take."""

# The root is located this much more finely than its sampling error: refining further is noise; but
# never more finely than the next, relative to delta, where there is no sampling error. It is
# located worse if the gap there is more than this fraction of the gap's error.
_FRACTION_OF_ERROR = 0.1
_FINEST = 1e-7
_LARGEST_RESIDUAL = 0.25
# Its slope is not taken from gaps this many times those at the ends of the interval.
_FAR_GAP = 10.0
_MAX_REFINEMENTS = 40
# A slope at the root is taken from evaluations whose difference is known this well, relative to it.
# Late in a run truncation makes the gap rough: next to the root there is nothing but noise.
_ROUGH = 0.25
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
    far = _told_from(gap, root, far)
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


def _told_from(gap: GapFunction, root: float, others: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Choose evaluations whose gap differs from that at the root beyond noise; all if none does.

    Noise is that of the difference over replicates: with common random numbers a smooth gap has
    little of it, however near the two are.
    """
    values = gap.values()
    rows = [evaluation.sample.gap for evaluation in values.evaluations.values()]
    first = int(np.flatnonzero(values.delta == root)[0])
    told = others.copy()
    for index in np.flatnonzero(others).tolist():
        if index == first:
            continue
        differences = rows[index] - rows[first]
        if len(differences) > 1:
            noise = float(standard_error(differences[1:], axis=0))
            told[index] = noise <= _ROUGH * abs(float(differences[0]))
    return told if told.any() else others


# -- the root on more paths ----------------------------------------------------------------------

# Evaluations of Newton's iteration at most, and how far one may move, relative to delta.
_MOST_ITERATIONS = 6
_FARTHEST = 0.3
# Relative error of a slope by the bend of the gap, and how much worse that of a secant may be than
# the slope before to take its place.
_BEND, _SECANT_WORSE = 0.05, 0.1


@dataclass(frozen=True)
class NewtonRoot:
    """A root of the gap that Newton's iteration leads to, with its errors.

    Attributes
    ----------
    value : float
        Where the next evaluation would be.
    stderr : float
        Standard error over replicates.
    bias : float
        By finitely many paths, estimated from the replicates.
    interpolation_error : float
        By what is not known of the slope.
    """

    value: float
    stderr: float
    bias: float
    interpolation_error: float

    @property
    def error(self) -> float:
        """Root of the sum of squares of the three errors."""
        return float(np.linalg.norm([self.stderr, self.bias, self.interpolation_error]))

    @property
    def is_biased(self) -> bool:
        """Whether the bias, of which no more than the size is known, is the largest error."""
        return bool(is_biased(self.bias, self.stderr, self.value))

    def is_within(self, rtol: float) -> bool:
        """Return whether the error is within a tolerance; not where it is unknown."""
        return bool(self.error <= rtol * self.value)


@dataclass(frozen=True)
class Slope:
    """Slope of the gap at a root, and its relative error."""

    value: float
    error: float


def slope_at(gap: GapFunction, crossing: Crossing) -> Slope:
    """Compute the slope of the gap at a refined sign change, from the evaluations around it."""
    values = gap.values()
    rows = [evaluation.sample.gap for evaluation in values.evaluations.values()]
    others = np.isfinite(values.gap) & (values.delta != crossing.value)
    far = np.abs(values.delta - crossing.value) >= 2 * _FRACTION_OF_ERROR * crossing.stderr
    if (others & far).any():  # a bracket may be narrower than the error of the root
        others &= far
    others = _told_from(gap, crossing.value, others)
    below = np.flatnonzero(others & (values.delta < crossing.value))
    above = np.flatnonzero(others & (values.delta > crossing.value))
    root = int(np.flatnonzero(values.delta == crossing.value)[0])
    sides = [*below[-1:].tolist(), *above[:1].tolist()]
    secants = [_secant(values.delta, rows, root, side) for side in sides]
    if len(secants) < 2:
        return secants[0] if secants else Slope(np.nan, np.inf)
    # That of the parabola through the three, as in `_slope`.
    before, after = np.abs(values.delta[sides] - crossing.value)
    slope = (secants[0].value * after + secants[1].value * before) / (before + after)
    return Slope(slope, max(secant.error for secant in secants))


def _secant(deltas: FloatArray, rows: Sequence[FloatArray], first: int, second: int) -> Slope:
    """Compute the slope between two evaluations, with its error over the replicates."""
    with np.errstate(all="ignore"):
        slopes = (rows[second] - rows[first]) / (deltas[second] - deltas[first])
        noise = float(standard_error(slopes[1:], axis=0) / abs(slopes[0])) if len(slopes) > 1 else 0
    return Slope(float(slopes[0]), float(np.hypot(_BEND, noise)))


def newton_step(gap: GapFunction, delta: float, slope: Slope) -> NewtonRoot:
    """Find the root of the tangent at an evaluation, and its errors.

    Parameters
    ----------
    gap : GapFunction
    delta : float
        Evaluated already.
    slope : Slope

    Returns
    -------
    NewtonRoot
    """
    sample = gap.values().evaluations[delta].sample
    with np.errstate(all="ignore"):
        value = float(delta - sample.gap[0] / slope.value)
        stderr = float(sample.stderr / abs(slope.value)) if sample.stderr else 0.0
        bias = float(-gap.bias(delta) / slope.value) if stderr else 0.0
    return NewtonRoot(value, stderr, bias, float(slope.error * abs(value - delta)))


def root_from(
    gap: GapFunction, start: float, slope: Slope, allowed: float, bracket: tuple[float, float]
) -> tuple[NewtonRoot, Slope]:
    """Find the root of the gap near the place where that of fewer paths has one.

    Parameters
    ----------
    gap : GapFunction
    start : float
    slope : Slope
        Of the gap there, on fewer paths.
    allowed : float
        Error, besides that of sampling, which is small enough.
    bracket : tuple of float
        Beyond which the gap is not evaluated.

    Returns
    -------
    root : NewtonRoot
        Outside the bracket if the gap has no root in it.
    slope : Slope
        Of the gap there, on these paths if they tell it better.

    Raises
    ------
    NumericalFailure
        With the status of an evaluation that has no gap, or MAX_STEPS.
    """
    delta, before = start, None
    for _ in range(_MOST_ITERATIONS):
        if not np.isfinite(gap(delta)):
            raise NumericalFailure(gap.values().failures[float(delta)])
        if before is not None:
            values = gap.values()
            rows = [entry.sample.gap for entry in values.evaluations.values()]
            first, second = np.searchsorted(values.delta, sorted([before, delta])).tolist()
            secant = _secant(values.delta, rows, first, second)
            # That of noise between two places close together is none.
            if secant.value * slope.value > 0.0 and secant.error < slope.error + _SECANT_WORSE:
                slope = secant
        root = newton_step(gap, delta, slope)
        if not np.isfinite(root.value):  # a slope of zero
            break
        if root.interpolation_error <= max(_FRACTION_OF_ERROR * root.stderr, allowed):
            return root, slope
        following = np.clip(root.value, delta * (1 - _FARTHEST), delta * (1 + _FARTHEST))
        before, delta = delta, float(np.clip(following, *bracket))
        if delta == before:  # at an end of the bracket, and the root beyond
            return root, slope
    raise NumericalFailure(Status.MAX_STEPS)
