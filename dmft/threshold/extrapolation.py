r"""Extrapolation of a curve in time: its limit, and the interval of limits its late part allows.

The family of relaxation laws is ``a + b (t + t0)^(-p)`` with p from 0.1 to 4 and shifts t0 from
-0.6 of the first time used to a tenth of the last; the same with a bounded correction,
``t^(-p) (1 + kappa (t/t1)^(-(m - 1) p))``, or a crossover, ``(t^2 + t0^2)^(-p/2)``; and
``a + b exp(-t/tau)``. A law is *admissible* if its residual is no more than sampling error. The
growth ``a + b log(t + t0)``, which has no limit, is put to the same test: where it passes, the
data set no bound on that side.

What is assumed: one of these laws holds from the first time used on. The range of powers, and
their even spacing in log p, are a prior; `Extrapolation.narrower` and `wider` show what they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dmft.threshold.relaxation import (
    FEWEST,
    LEVEL,
    Laws,
    Points,
    exponentials,
    fit,
    logarithms,
    power_laws,
)
from rmt.status import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.threshold.relaxation import Fits

    FloatArray = NDArray[np.float64]

__all__ = ["SETTLED", "Extrapolation", "extrapolate"]

SETTLED: Final = 0.1
"""A curve has settled if no admissible limit, and not its last point, is further than this
fraction from the value given."""

# The times used are the last 99 %, or as many of them as a relaxation law describes.
_WINDOWS: Final = (100.0, 50.0, 25.0, 10.0, 5.0, 3.0, 2.0)
_ENOUGH: Final = 3  # admissible laws; fewer of the grid pass by accident
_SMALLEST_POWER, _LARGEST_POWER, _N_POWERS = 0.1, 4.0, 25
_SHIFTS: Final = np.array([0.0, 0.003, 0.006, 0.01, 0.02, 0.03, 0.045, 0.07, 0.1])  # of t_last
_EARLIER: Final = np.array([-0.6, -0.4, -0.2])  # of the first time
_CROSSOVERS: Final = np.array([0.7, 1.4, 2.8])  # of the first time
_CORRECTIONS: Final = ((2, -0.4), (2, 0.4), (2, 1.0), (3, 0.4), (3, 1.0), (4, 0.4), (4, 1.0))
_DECAY_TIMES: Final = np.geomspace(0.03, 0.3, 14)  # of t_last
_ROUNDING: Final = 1e-7  # relative error of any point, where the sampling error is zero


@dataclass(frozen=True)
class Extrapolation:
    """Limit of a curve as t grows.

    Attributes
    ----------
    value : float
        Median of the limits of all admissible relaxation laws, weighted by likelihood; NaN where
        the interval is unbounded.
    lower, upper : float
        Interval that holds every limit of an admissible relaxation law with its sampling
        error, at ``level``, and the law's value at the last point. ``upper`` is infinite where
        growth like log t is admissible, and ``lower`` where decay like it is; both where nothing
        can be said.
    status : Status
        SUCCESS if interval and last point are within a tenth of the value; NOT_SETTLED otherwise.
    level : float
        Confidence level of the interval.
    last : float
        The last point of the curve.
    window : tuple of float
        First and last time of the points used; NaN without any.
    n_points : int
        Their number.
    powers : tuple of float
        Smallest and largest p of the admissible ``a + b (t + t0)^(-p)``; 0 stands for a
        logarithm, infinity for an exponential; NaN where nothing is admissible.
    narrower, wider : tuple of float
        ``in_time`` with half and twice the range of log p, (0.25, 1.6) and (0.016, 25);
        NaN where no law is admissible.
    in_time : tuple of float
        Value, lower and upper end from the curve alone. In the limit of a threshold, ``value``,
        ``lower`` and ``upper`` are those on which the gap at fixed delta agrees.
    detail : str
        Why the limit is not settled, where there is more to say than its status; may be empty.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.geomspace(0.2, 200, 30)
    >>> noise = 0.01 * np.sin(np.arange(8)[:, np.newaxis] + np.log(t))
    >>> limit = extrapolate(t, 10 - 8 / (1 + t), 10 - 8 / (1 + t) + noise)
    >>> round(limit.value), limit.level, limit.n_points > 5
    (10, 0.95, True)
    """

    value: float
    lower: float
    upper: float
    status: Status
    level: float
    last: float
    window: tuple[float, float]
    n_points: int
    powers: tuple[float, float]
    narrower: tuple[float, float] = (np.nan, np.nan)
    wider: tuple[float, float] = (np.nan, np.nan)
    in_time: tuple[float, float, float] = (np.nan, np.nan, np.nan)
    detail: str = ""

    def to_config(self) -> dict[str, Any]:
        """Return plain types."""
        return {**vars(self), "status": self.status.name}


def extrapolate(
    times: FloatArray,
    values: FloatArray,
    replicates: FloatArray,
    errors: FloatArray | None = None,
    bias: FloatArray | None = None,
) -> Extrapolation:
    """Extrapolate a curve to its limit from its late part, with an interval.

    The late part is the longest of the last 99, 98, 96, 90, 80, 67 and 50 % of time that some
    relaxation law describes. Fits and tests are those of `dmft.threshold.relaxation`. With R
    replicates the quantiles are those of Student's t with R - 1 degrees.

    Parameters
    ----------
    times : ndarray, shape (n,)
        Increasing, not negative. Even in log t is best.
    values : ndarray, shape (n,)
        NaN where there is none.
    replicates : ndarray, shape (R, n)
        The curve in each of R >= 2 replicates. Only their differences count: the standard error
        of a point is their standard deviation divided by sqrt(R).
    errors : ndarray, shape (n,), optional
        Further errors of the points, independent of each other (interpolation).
    bias : ndarray, shape (n,), optional
        Bias that all values may have in common; counts as a standard error of that size.

    Returns
    -------
    Extrapolation

    Examples
    --------
    >>> import numpy as np
    >>> t = np.geomspace(0.2, 200, 30)
    >>> noise = 0.01 * np.sin(np.arange(8)[:, np.newaxis] + np.log(t))
    >>> limit = extrapolate(t, 10 - 8 / (1 + t), 10 - 8 / (1 + t) + noise)
    >>> limit.status.name, limit.lower < 10 < limit.upper, limit.upper - limit.lower < 0.2
    ('SUCCESS', True, True)
    """
    known = np.isfinite(values) & np.isfinite(replicates).all(axis=0)
    times, values, replicates = times[known], values[known], replicates[:, known]
    errors = np.zeros(len(times)) if errors is None else np.nan_to_num(errors[known])
    errors = np.hypot(errors, _ROUNDING * np.abs(values))
    bias = np.zeros(len(times)) if bias is None else bias[known]
    last = float(values[-1]) if len(values) else np.nan
    for fraction in _WINDOWS:
        late = (times > 0) & (times >= (times[-1] / fraction if len(times) else 0.0))
        if late.sum() < FEWEST:
            break
        points = Points(values[late], replicates[:, late], errors[late], bias[late])
        fits = fit(points, _relaxation_laws(times[late]))
        within = _within(fits, 1.0)
        if (fits.admissible & within).sum() < _ENOUGH:
            continue
        value, lower, upper = fits.interval(within)
        powers = fits.power[fits.admissible & within]
        # NaN is far from anything.
        settled = np.all(np.abs(np.array([lower, upper, last]) - value) <= SETTLED * abs(value))
        return Extrapolation(
            value=value,
            lower=lower,
            upper=upper,
            status=Status.SUCCESS if settled else Status.NOT_SETTLED,
            level=LEVEL,
            last=last,
            window=(float(times[late][0]), float(times[-1])),
            n_points=int(late.sum()),
            powers=(float(powers.min()), float(powers.max())),
            narrower=fits.interval(_within(fits, 0.5))[1:],
            wider=fits.interval(_within(fits, 2.0))[1:],
            in_time=(value, lower, upper),
        )
    nothing, everything = (np.nan, np.nan), (-np.inf, np.inf)
    return Extrapolation(
        np.nan, *everything, Status.NOT_SETTLED, LEVEL, last, nothing, 0, nothing,
        everything, everything, (np.nan, *everything),
    )  # fmt: skip


def _relaxation_laws(times: FloatArray) -> Laws:
    """Return all relaxation laws, with twice the range of log p."""
    shifts = np.concatenate([_EARLIER * times[0], _SHIFTS * times[-1]])
    middle = np.sqrt(_SMALLEST_POWER * _LARGEST_POWER)
    ratio = _LARGEST_POWER / _SMALLEST_POWER
    powers = middle * ratio ** np.linspace(-1.0, 1.0, 2 * _N_POWERS - 1)
    return Laws.of([
        power_laws(times, powers, shifts, _CORRECTIONS, _CROSSOVERS * times[0]),
        exponentials(times, _DECAY_TIMES * times[-1]),
        logarithms(times, shifts),
    ])  # fmt: skip


def _within(fits: Fits, range_factor: float) -> NDArray[np.bool_]:
    """Mark the laws with powers in a multiple of the range of log p; all that have no power."""
    half = 0.5 * range_factor * np.log(_LARGEST_POWER / _SMALLEST_POWER)
    has_power = (fits.power > 0.0) & np.isfinite(fits.power)
    distance = np.log(np.where(has_power, fits.power, 1.0) ** 2 / _SMALLEST_POWER / _LARGEST_POWER)
    return np.asarray(~has_power | (0.5 * np.abs(distance) <= half * (1 + 1e-9)))
