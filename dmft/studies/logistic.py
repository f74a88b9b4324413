r"""Fit a logistic curve in log delta to success counts; likelihood interval of its midpoint.

.. math:: P(\delta) = \frac{1}{1 + e^{-(\log\delta - \log\delta_c)/w}}

The fit maximises the binomial likelihood times a weak prior on the steepness, 1/w ~ Gamma(shape
3/2, scale 20): nine times in ten between 3.5 and 78, that is from P = 0.1 to 0.9 within a factor
of 3.5 to 1.06 in delta. The prior decides only what the data leave open: without it, outcomes that
a delta separates perfectly would have w = 0. The logarithm of likelihood and prior is concave in
intercept and steepness, so the maximum is unique and Newton's method finds it.

The interval of delta_c holds the values at which the profile likelihood, the maximum over w, stays
within half a quantile of chi^2 with one degree of freedom of the overall maximum (Wilks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from dmft._numerics.validation import check_finite_array, check_real
from rmt.status import Status

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["LogisticCrossing", "fit_crossing", "jeffreys_interval"]

_SHAPE, _SCALE = 1.5, 20.0
_MAX_ITERATIONS = 100
_MAX_HALVINGS = 50
# Newton stops where the maximum is at most this much (in log likelihood) above the point.
_TOLERANCE = 1e-16
# Where less than this is left to gain, Newton's full step is right, and the gain too small to be
# seen in the objective.
_CLOSE = 1e-6


@dataclass(frozen=True)
class LogisticCrossing:
    """Midpoint of a success probability that grows with delta, and its width.

    Attributes
    ----------
    value : float
        delta_c; NaN unless ``status`` is SUCCESS.
    lower, upper : float
        Ends of the profile-likelihood interval of `level`. 0 or infinity for an end beyond the
        grid of delta, which the data do not locate; NaN without a value.
    level : float
        Probability that the interval is meant to cover.
    width : float
        w, in units of log delta: P goes from 0.27 to 0.73 between delta_c exp(-w) and
        delta_c exp(w). NaN without a value.
    status : Status
        SUCCESS; NO_BRACKET if the grid of delta does not bracket a crossing (all runs or none
        succeeded, successes do not grow with delta, or the fitted crossing is off the grid);
        MAX_STEPS if Newton's method did not converge.
    residual : float
        What a further Newton step would gain in log likelihood; NaN without a fit.
    n_iterations : int
        Newton steps taken.
    """

    value: float
    lower: float
    upper: float
    level: float
    width: float
    status: Status
    residual: float
    n_iterations: int

    @property
    def detail(self) -> str:
        """Say why there is no value, and what to try next; empty with one."""
        if self.status is Status.NO_BRACKET:
            return (
                "no crossing of 1/2 inside the deltas given; widen them, or take more runs where "
                "successes do not grow with delta"
            )
        return "" if self.status.ok else self.status.value

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"LogisticCrossing(value={self.value:.4g}, lower={self.lower:.4g}, "
            f"upper={self.upper:.4g}, level={self.level:g}, width={self.width:.4g}, "
            f"status={self.status.name}{detail})"
        )

    def probability(self, delta: ArrayLike) -> FloatArray:
        """Return the fitted probability at each delta (NaN without a fit).

        Examples
        --------
        >>> fit = fit_crossing([1.0, 2.0, 4.0, 8.0], [0, 1, 7, 8], [8, 8, 8, 8])
        >>> fit.probability([1.0, fit.value]).round(2)
        array([0. , 0.5])
        """
        x = np.log(np.asarray(delta, dtype=np.float64))
        return np.asarray(expit((x - np.log(self.value)) / self.width), dtype=np.float64)


def jeffreys_interval(
    successes: NDArray[np.integer], trials: int, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Compute Jeffreys' interval of a probability from r successes in S trials.

    The central part of Beta(r + 1/2, S - r + 1/2), from 0 if there was none and to 1 if all were.

    Parameters
    ----------
    successes : ndarray of int
    trials : int
    level : float
        Between 0 and 1.

    Returns
    -------
    lower, upper : ndarray

    Raises
    ------
    ValueError
        If the level is out of range.

    Examples
    --------
    >>> lower, upper = jeffreys_interval(np.array([0, 4, 8]), 8)
    >>> lower.round(2), upper.round(2)
    (array([0.  , 0.2 , 0.74]), array([0.26, 0.8 , 1.  ]))
    """
    from scipy.stats import beta

    level = check_real("level", level, minimum=0.0, maximum=1.0, exclusive=True)
    r, tail = successes, (1.0 - level) / 2.0
    lower = beta.ppf(tail, r + 0.5, trials - r + 0.5)
    upper = beta.ppf(1.0 - tail, r + 0.5, trials - r + 0.5)
    return np.where(r == 0, 0.0, lower), np.where(r == trials, 1.0, upper)


def fit_crossing(
    delta: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    *,
    level: float = 0.95,
) -> LogisticCrossing:
    """Fit the delta at which a success probability crosses one half.

    Parameters
    ----------
    delta : array_like, shape (n_delta,)
        Positive, strictly increasing.
    successes, trials : array_like of int, shape (n_delta,)
        How many of how many independent runs succeeded at each delta.
    level : float
        Of the profile-likelihood interval, between 0 and 1.

    Returns
    -------
    LogisticCrossing

    Raises
    ------
    ValueError
        If an argument is out of range or the shapes differ.

    Examples
    --------
    >>> fit = fit_crossing([1.0, 2.0, 4.0, 8.0], [0, 1, 7, 8], [8, 8, 8, 8])
    >>> f"{fit.value:.2f}", fit.lower < fit.value < fit.upper
    ('2.83', True)
    >>> fit_crossing([1.0, 2.0], [8, 8], [8, 8]).status.name
    'NO_BRACKET'
    """
    x, k, n = _checked_data(delta, successes, trials)
    level = check_real("level", level, minimum=0.0, maximum=1.0, exclusive=True)

    if not _grows(x, k, n):
        return _no_crossing(Status.NO_BRACKET, level, np.nan, 0)
    intercept, slope, residual, n_iterations = _maximise(x, k, n)
    center = float(x.mean()) - intercept / slope
    if residual > _TOLERANCE:
        return _no_crossing(Status.MAX_STEPS, level, residual, n_iterations)
    if not x[0] <= center <= x[-1]:
        return _no_crossing(Status.NO_BRACKET, level, residual, n_iterations)
    lower, upper = _interval(x, k, n, center, level)
    return LogisticCrossing(
        value=float(np.exp(center)),
        lower=float(np.exp(lower)),
        upper=float(np.exp(upper)),
        level=level,
        width=1.0 / slope,
        status=Status.SUCCESS,
        residual=residual,
        n_iterations=n_iterations,
    )


def _checked_data(
    delta: ArrayLike, successes: ArrayLike, trials: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return log delta, successes and trials where there are trials, checked."""
    values = check_finite_array("delta", delta, ndim=1, expected="a sequence of positive numbers")
    if not (len(values) and values[0] > 0 and np.all(np.diff(values) > 0)):
        raise ValueError(f"delta must be positive and strictly increasing, got {values.tolist()}")
    counts = []
    for name, given in (("successes", successes), ("trials", trials)):
        count = check_finite_array(name, given, ndim=1, expected="a sequence of integers >= 0")
        if count.shape != values.shape:
            raise ValueError(f"{name} must have shape {values.shape}, got shape {count.shape}")
        if np.any(count < 0) or np.any(count != np.round(count)):
            raise ValueError(f"{name} must be integers >= 0, got {count.tolist()}")
        counts.append(count)
    k, n = counts
    if np.any(k > n):
        raise ValueError(f"successes must be at most trials, got {k.tolist()} of {n.tolist()}")
    tried = n > 0
    return np.log(values[tried]), k[tried], n[tried]


def _grows(x: FloatArray, k: FloatArray, n: FloatArray) -> bool:
    """Whether there are successes and failures, and more successes at larger delta."""
    total = n.sum()
    if not 0 < k.sum() < total:
        return False
    return float(k @ (x - (n @ x) / total)) > 1e-12 * float(total)


def _no_crossing(
    status: Status, level: float, residual: float, n_iterations: int
) -> LogisticCrossing:
    nan = np.nan
    return LogisticCrossing(nan, nan, nan, level, nan, status, residual, n_iterations)


def _interval(
    x: FloatArray, k: FloatArray, n: FloatArray, center: float, level: float
) -> tuple[float, float]:
    """Return the ends of the likelihood interval of log delta_c; infinite beyond the grid."""
    from scipy.optimize import brentq
    from scipy.stats import chi2

    lowest = _profile(center, x, k, n) - 0.5 * float(chi2.ppf(level, 1))

    def excess(at: float) -> float:
        return _profile(at, x, k, n) - lowest

    # The likelihood is concave in intercept and steepness: its profile has one maximum.
    lower = -np.inf if excess(x[0]) >= 0.0 else brentq(excess, x[0], center)
    upper = np.inf if excess(x[-1]) >= 0.0 else brentq(excess, center, x[-1])
    return lower, upper


def _profile(center: float, x: FloatArray, k: FloatArray, n: FloatArray) -> float:
    """Return the logarithm of likelihood times prior for log delta_c, at its maximum over 1/w."""
    from scipy.optimize import brentq

    u = x - center

    def derivative(slope: float) -> float:
        return float((k - n * expit(slope * u)) @ u) + (_SHAPE - 1.0) / slope - 1.0 / _SCALE

    # Positive at the lower end, where the prior outweighs the data. Negative at the upper one: each
    # run pulls by at most 0.28 / slope, the maximum of y / (1 + exp(y)), there.
    total = float(n.sum())
    least = 0.5 * (_SHAPE - 1.0) / (total * float(np.abs(u).max()) + 1.0 / _SCALE)
    most = 2.0 * _SCALE * (0.28 * total + _SHAPE - 1.0)
    slope = float(brentq(derivative, least, most))
    return _log_posterior(np.array([0.0, slope]), u, k, n)


def _log_posterior(point: FloatArray, u: FloatArray, k: FloatArray, n: FloatArray) -> float:
    """Return the logarithm of likelihood times prior where P = expit(a + b u), (a, b) a point."""
    a, b = float(point[0]), float(point[1])
    eta = a + b * u
    likelihood = float(k @ eta - n @ np.logaddexp(0.0, eta))
    return likelihood + (_SHAPE - 1.0) * math.log(b) - b / _SCALE


def _maximise(x: FloatArray, k: FloatArray, n: FloatArray) -> tuple[float, float, float, int]:
    """Maximise likelihood times prior by damped Newton steps.

    Parameters
    ----------
    x, k, n : ndarray, shape (n_delta,)

    Returns
    -------
    intercept, slope : float
        P = expit(intercept + slope (x - mean of x)).
    residual : float
        Half the squared Newton decrement.
    n_iterations : int
    """
    u = x - x.mean()
    share = (k.sum() + 0.5) / (n.sum() + 1.0)
    point = np.array([np.log(share / (1.0 - share)), (_SHAPE - 1.0) * _SCALE])
    design = np.stack([np.ones_like(u), u])
    for n_iterations in range(_MAX_ITERATIONS + 1):
        b = point[1]
        p = expit(point @ design)
        gradient = design @ (k - n * p) + [0.0, (_SHAPE - 1.0) / b - 1.0 / _SCALE]
        curvature = (design * (n * p * (1.0 - p))) @ design.T
        curvature += np.diag([1e-300, (_SHAPE - 1.0) / b**2])
        step = np.linalg.solve(curvature, gradient)
        gain = float(gradient @ step)
        if 0.5 * gain <= _TOLERANCE or n_iterations == _MAX_ITERATIONS:
            break
        # The steepness stays positive; the objective never falls.
        length = 1.0 if b + step[1] > 0.0 else -0.9 * b / step[1]
        before = _log_posterior(point, u, k, n)
        for _ in range(_MAX_HALVINGS):
            risen = _log_posterior(point + length * step, u, k, n) - before
            if gain <= _CLOSE or risen >= 1e-4 * length * gain:
                break
            length *= 0.5
        point = point + length * step
    return float(point[0]), float(point[1]), 0.5 * gain, n_iterations
