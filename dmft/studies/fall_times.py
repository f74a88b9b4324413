"""Times at which test losses fall, and their quantiles over the law of the initial overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.polynomial import polyfit, polyval
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["FEWEST_TO_FIT", "fall_step", "fall_time_quantiles", "folded_normal_quantile"]

FloatArray = NDArray[np.float64]

# Runs that fell that a parabola is fitted to.
FEWEST_TO_FIT = 6


def fall_step(loss: ArrayLike, level: float) -> float:
    """Find when a curve falls below a level for the first time after its maximum, in steps.

    Parameters
    ----------
    loss : array_like, shape (T + 1,)
        NaN where unknown.
    level : float

    Returns
    -------
    float
        Interpolated linearly between steps; NaN if it never does.

    Examples
    --------
    >>> fall_step([1.0, 2.0, 1.8, 0.8, 0.5], level=1.3)
    2.5
    """
    loss = np.asarray(loss, dtype=np.float64)
    if not np.isfinite(loss).any():
        return float("nan")
    peak = int(np.nanargmax(loss))
    below = np.flatnonzero(loss[peak:] < level)
    if not len(below):
        return float("nan")
    t = peak + int(below[0])
    if t == peak:
        return float(t)
    return t - 1 + float((loss[t - 1] - level) / (loss[t - 1] - loss[t]))


def fall_time_quantiles(
    times: FloatArray,
    amplitudes: FloatArray,
    everything: FloatArray,
    levels: tuple[float, ...],
    last: float,
) -> tuple[FloatArray, FloatArray]:
    """Estimate quantiles of the fall time over initial overlaps, with jackknife errors.

    Parameters
    ----------
    times : ndarray, shape (R,)
        Of the runs followed; NaN for those that did not fall.
    amplitudes : ndarray, shape (R,)
        Logarithms, see `dmft.studies.initial_overlap.InitialOverlapLaw.amplitudes`.
    everything : ndarray, shape (P,)
        Those of the whole law.
    levels : tuple of float
    last : float
        Later quantiles are NaN.

    Returns
    -------
    value, error : ndarray, shape (n_levels,)
    """
    fell = np.flatnonzero(np.isfinite(times))
    if len(fell) < FEWEST_TO_FIT:
        return np.full(len(levels), np.nan), np.full(len(levels), np.nan)

    def quantiles(chosen: NDArray[np.intp]) -> FloatArray:
        x, t = amplitudes[chosen], times[chosen]
        centre, width = float(x.mean()), float(np.ptp(x)) or 1.0
        u, v = (x - centre) / width, (everything - centre) / width
        fit = polyfit(u, t, 2)
        residuals = t - polyval(u, fit)
        residuals *= np.sqrt(len(t) / (len(t) - 3.0))
        # Beyond the runs that were followed the parabola goes on as its tangent.
        end = np.clip(v, u.min(), u.max())
        slope = fit[1] + 2.0 * fit[2] * end
        law = polyval(end, fit) + slope * (v - end)
        law = law[:, np.newaxis] + residuals
        return np.asarray(np.quantile(law, levels))

    value = quantiles(fell)
    without = np.array([quantiles(np.delete(fell, i)) for i in range(len(fell))])
    error = np.sqrt((len(fell) - 1.0) * without.var(axis=0))
    never = (value > last) | (np.array(levels) > len(fell) / len(times))
    return np.where(never, np.nan, value), np.where(never, np.nan, error)


def folded_normal_quantile(probability: float, mean: float, spread: float) -> float:
    """Return a quantile of |X|, X ~ N(mean, spread^2)."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    mean = abs(mean)
    if spread <= 0.0:
        return mean

    def excess(x: float) -> float:
        return float(norm.cdf((x - mean) / spread) - norm.cdf((-x - mean) / spread) - probability)

    return float(brentq(excess, 0.0, mean + 40.0 * spread, xtol=1e-12 * (mean + spread)))
