r"""The limit of the threshold from limits of the gap at fixed delta, and where both agree.

The left edge z_0 of the bulk approaches zero from below (descent ends in states that are marginally
stable), and along a run at fixed delta the gap is nearly a linear function of it: both are numbers
of one law of curvature weights that relaxes. So what the limit of the gap depends on is how it
continues to z_0 = 0, not how long that takes. Where that limit is positive the delta is below the
limit of delta_NN(t), where it is negative, above.

What is assumed: z_0 tends to zero, unless its own relaxation in time contradicts that; and the
gap is ``a - b |z_0|^w`` with w from 1/2 to 2, or this with a bounded correction. Where the edge is
no such clock, the gap is extrapolated in time like the curve itself, by
`dmft.threshold.extrapolation`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import bias_of_paths
from dmft.hessian.gap_samples import standard_error
from dmft.threshold.extrapolation import SETTLED, extrapolate
from dmft.threshold.interpolation import root_between
from dmft.threshold.onset import bias_by_onset
from dmft.threshold.relaxation import FEWEST, Points, fit, power_laws
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dmft.threshold.extrapolation import Extrapolation
    from dmft.threshold.gap_memo import GapMemo

__all__ = ["GapLimit", "agreed", "gap_limit", "gap_samples", "joined"]

FloatArray = NDArray[np.float64]

_WINDOWS: Final = (100.0, 50.0, 25.0, 10.0, 5.0)
_POWERS: Final = np.geomspace(0.5, 2.0, 13)
_CORRECTIONS: Final = ((2, -0.4), (2, 0.4), (2, 1.0))
_ENOUGH: Final = 3
_RANGE: Final = 2.0  # an edge that comes closer by less is no clock
_ROUNDING: Final = 1e-7  # relative error of any gap, where the sampling error is zero
_KNOWN_EDGE: Final = 3.0  # an edge within so many standard errors of zero is no clock


@dataclass(frozen=True)
class GapLimit:
    """Limits of the gap at n fixed values of delta, and where they change sign.

    Attributes
    ----------
    delta : ndarray, shape (n,)
        Where a limit is known, increasing.
    value, lower, upper : ndarray, shape (n,)
        Limit of the gap as t grows, with its interval.
    by_edge : ndarray of bool, shape (n,)
        Whether the left edge was the clock; otherwise time.
    threshold : float
        Root of ``value``, interpolated in log delta; NaN without any.
    threshold_lower, threshold_upper : float
        Roots of ``lower`` and ``upper``, further apart by the error of the interpolation; 0 and
        infinity where there is none.
    positive, negative : float
        Largest delta solved whose limit is positive and smallest whose limit is negative beyond
        their intervals; 0 and infinity without any.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import numpy as np
    >>> from dmft.threshold.gap_limit import gap_limit
    >>> t, delta = np.geomspace(1, 1000, 20), np.array([4.0, 5.0, 6.0, 7.0, 8.0])
    >>> edge = np.tile(-1 / t, (5, 9, 1))
    >>> edge[:, 1:] *= 1 + 0.01 * np.sin(np.arange(8)[:, np.newaxis] + t)
    >>> gap = edge + np.log(6.3 / delta)[:, np.newaxis, np.newaxis]
    >>> found = gap_limit(t, delta, gap, edge)
    >>> round(found.threshold, 2), found.positive, found.negative, found.is_known
    (6.3, 6.0, 7.0, True)
    """

    _axes: ClassVar = {"n": ".delta"}

    delta: Annotated[FloatArray, "n"]
    value: Annotated[FloatArray, "n"]
    lower: Annotated[FloatArray, "n"]
    upper: Annotated[FloatArray, "n"]
    by_edge: Annotated[NDArray[np.bool_], "n"]
    threshold: float
    threshold_lower: float
    threshold_upper: float
    positive: float
    negative: float

    @property
    def is_known(self) -> bool:
        """Whether there is a threshold with a bounded interval."""
        return bool(np.isfinite([self.threshold, self.threshold_upper]).all())


def gap_limit(times: FloatArray, delta: FloatArray, gap: FloatArray, edge: FloatArray) -> GapLimit:
    """Extrapolate the gap at fixed delta to a left edge of zero, and find where it changes sign.

    Parameters
    ----------
    times : ndarray, shape (S,)
    delta : ndarray, shape (n,)
        Increasing.
    gap, edge : ndarray, shape (n, R + 1, S)
        Gap and left edge of all paths, then of each replicate; NaN where there is none.

    Returns
    -------
    GapLimit

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    See `GapLimit`.
    """
    complete = np.isfinite(gap[:, :, -1]).all(axis=1)  # those of early steps say nothing
    delta, gap, edge = delta[complete], gap[complete], edge[complete]
    vanishing = [_may_vanish(times, one) for one in edge]
    # One test in twenty fails by accident; where most pass the edge is a clock for all.
    is_clock = 2 * sum(vanishing) > len(vanishing)
    pairs = zip(delta, gap, edge, strict=True)
    found = [(d, _limit(times, *pair, is_clock=is_clock)) for d, *pair in pairs]
    known = [(d, *numbers) for d, numbers in found if numbers is not None]
    return _located(*np.array(known, dtype=np.float64).reshape(-1, 5).T)


def joined(limit: GapLimit, coarser: GapLimit) -> GapLimit:
    """Return the limits of the gap with others on fewer paths, at further deltas.

    Of fewer paths, with their larger errors, only limits whose sign is certain are used: others
    would add sign changes by noise.

    Parameters
    ----------
    limit, coarser : GapLimit

    Returns
    -------
    GapLimit
    """
    certain = (coarser.lower > 0.0) | (coarser.upper < 0.0)
    further = certain & ~np.isin(coarser.delta, limit.delta)
    names = ("delta", "value", "lower", "upper", "by_edge")
    columns = [
        np.concatenate([getattr(limit, name), getattr(coarser, name)[further]]) for name in names
    ]
    order = np.argsort(columns[0])
    return _located(*(column[order] for column in columns))


def _located(
    at: FloatArray, value: FloatArray, lower: FloatArray, upper: FloatArray, by_edge: FloatArray
) -> GapLimit:
    """Find where limits of the gap, and the ends of their intervals, change sign."""
    threshold, _ = _root(at, value)
    low, low_error = _root(at, lower)
    high, high_error = _root(at, upper)
    return GapLimit(
        delta=at,
        value=value,
        lower=lower,
        upper=upper,
        by_edge=by_edge > 0,
        threshold=threshold,
        threshold_lower=0.0 if np.isnan(low) else low - low_error,
        threshold_upper=np.inf if np.isnan(high) else high + high_error,
        positive=float(at[lower > 0].max(initial=0.0)),
        negative=float(at[upper < 0].min(initial=np.inf)),
    )


def gap_samples(memo: GapMemo, steps: Sequence[int]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Collect the evaluations of a memo.

    Returns
    -------
    delta : ndarray, shape (n,)
    gap, edge : ndarray, shape (n, R + 1, S)
        As for `gap_limit`.
    """
    each = [memo.samples(step) for step in steps]
    delta = np.unique(np.concatenate([values.delta for values, _, _ in each]))
    gap, edge = np.full((2, len(delta), memo.sampling.replicates + 1, len(steps)), np.nan)
    for index, (values, gaps, edges) in enumerate(each):
        there = np.searchsorted(delta, values.delta)
        gap[there, :, index], edge[there, :, index] = gaps.T, edges.T
    return delta, gap, edge


def agreed(limit: Extrapolation, second: GapLimit) -> Extrapolation:
    """Combine the limit of the curve with that from the gap at fixed delta.

    Value and interval are those from the gap, and the interval of the curve has to hold that value.
    (Where both overlap, and the narrower of both, hold the limit less often: they come from the
    same samples.) The status is SUCCESS if both are bounded and agree, and the interval and the
    last point are within a tenth of the value. Estimates that disagree are joined: one of the
    assumptions is wrong.

    Parameters
    ----------
    limit : Extrapolation
        Of the curve.
    second : GapLimit

    Returns
    -------
    Extrapolation
    """
    if not second.is_known:
        return replace(
            limit,
            status=Status.NOT_SETTLED,
            detail="there is no second estimate: the limit of the gap at fixed delta does not "
            "change sign within the deltas solved to the end, or is known too roughly",
        )
    value, lower, upper = second.threshold, second.threshold_lower, second.threshold_upper
    bounded, detail = bool(np.isfinite([limit.lower, limit.upper]).all()), ""
    agree = limit.lower <= value <= limit.upper
    if not agree:
        detail = (
            f"two estimates disagree: {limit.lower:.4g} to {limit.upper:.4g} from the curve "
            f"against time, {lower:.4g} to {upper:.4g} from the limit of the gap at fixed delta"
        )
        lower, upper = min(lower, limit.lower), max(upper, limit.upper)
    elif not bounded:
        why = "does not exclude growth or decay like log t"
        detail = (
            "value and interval are those from the gap at fixed delta alone: the curve against "
            f"time {why if limit.n_points else 'follows no law considered for long enough'}"
        )
    far = np.abs(np.array([lower, upper, limit.last]) - value)
    settled = agree and bounded and bool(np.all(far <= SETTLED * value))
    return replace(
        limit,
        value=value,
        lower=lower,
        upper=upper,
        status=Status.SUCCESS if settled else Status.NOT_SETTLED,
        detail=detail,
    )


def _limit(
    times: FloatArray, gap: FloatArray, edge: FloatArray, *, is_clock: bool
) -> tuple[float, float, float, bool] | None:
    """Return the limit of the gap at one delta, its interval and the clock; None if not known."""
    known = np.isfinite(gap).all(axis=0) & (times > 0)
    times, gap, edge = times[known], gap[:, known], edge[:, known]
    found = _limit_at_zero_edge(gap, edge) if is_clock else None
    if found is not None:
        return *found, True
    in_time = _extrapolated(times, gap)
    if not np.isfinite(in_time.value):
        return None
    return in_time.value, in_time.lower, in_time.upper, False


def _may_vanish(times: FloatArray, edge: FloatArray) -> bool:
    """Return whether the left edge is below zero, and may tend to it."""
    known = np.isfinite(edge).all(axis=0) & (times > 0)
    times, edge = times[known], edge[:, known]
    if not len(times) or edge[0, 0] >= 0.0:
        return False
    limit = _extrapolated(times, edge)
    return limit.lower <= 0.0 <= limit.upper


def _extrapolated(times: FloatArray, samples: FloatArray) -> Extrapolation:
    """Extrapolate samples of all paths and each replicate in time, with their bias as the curve."""
    bias = bias_by_onset(times, samples[1:].mean(axis=0) - samples[0], len(samples) - 1)
    return extrapolate(times, samples[0], samples[1:], bias=bias)


def _limit_at_zero_edge(gap: FloatArray, edge: FloatArray) -> tuple[float, float, float] | None:
    """Extrapolate the gap to an edge of zero; None where no law describes it."""
    count = len(gap) - 1
    error = np.hypot(
        standard_error(edge[1:], axis=0), bias_of_paths(edge[0], edge[1:].mean(axis=0), count)
    )
    order = np.argsort(edge[0], kind="stable")
    order = order[-edge[0, order] > _KNOWN_EDGE * error[order]]
    distance, gap, edge = -edge[0, order], gap[:, order], edge[:, order]
    for fraction in _WINDOWS:
        late = distance <= fraction * distance[-1:]
        if late.sum() < FEWEST or distance[late][0] < _RANGE * distance[-1]:
            break
        # The clock has errors of its own: replicates are brought to that of all paths. At equal
        # edges they have other times, and the onset of a bias, a function of time, says nothing of
        # what they show then: a law in 1/N does, and is the larger of the two (`onset`).
        slope = np.polyfit(distance[late], gap[0, late], 1)[0]
        replicates = gap[1:, late] + slope * (edge[1:, late] + distance[late])
        bias = bias_of_paths(gap[0, late], replicates.mean(axis=0), count)
        errors = np.full(int(late.sum()), _ROUNDING * np.abs(gap[0]).max())
        points = Points(gap[0, late], replicates, errors, bias)
        laws = power_laws(1.0 / distance[late], _POWERS, np.zeros(1), _CORRECTIONS)
        fits = fit(points, laws)
        if fits.admissible.sum() >= _ENOUGH:
            return fits.interval(np.ones(len(laws.power), dtype=bool), stops=False)
    return None


def _root(delta: FloatArray, limits: FloatArray) -> tuple[float, float]:
    """Find the one change of sign from + to -, in log delta, and the error of the interpolation."""
    changes = np.flatnonzero((limits[:-1] > 0) != (limits[1:] > 0))
    if len(changes) != 1 or limits[changes[0]] <= 0:
        return np.nan, 0.0
    interval, x = int(changes[0]), np.log(delta)
    if len(x) == 2:
        return float(np.sqrt(delta[0] * delta[1])), float(delta[1] - delta[0])
    root = float(np.exp(root_between(x, limits, interval, 1, 1)))
    orders = [(1, 0), (0, 1)] if len(x) > 3 else [(0, 0)]
    others = [float(np.exp(root_between(x, limits, interval, *order))) for order in orders]
    return root, max(abs(other - root) for other in others)
