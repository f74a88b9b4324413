r"""Where a success probability crosses one half: a logistic fit in log delta, with its uncertainty.

.. math:: P(\delta) = \frac{1}{1 + e^{-(\log\delta - \log\delta_c)/w}}

The fit maximises the binomial likelihood times a weak prior on the steepness, 1/w ~ Gamma(shape
3/2, scale 20): nine times in ten between 3.5 and 78, that is from P = 0.1 to 0.9 within a factor
of 3.5 to 1.06 in delta. The prior decides only what the data leave open: without it, outcomes that
a delta separates perfectly would have w = 0. The logarithm of likelihood and prior is concave in
intercept and steepness, so the maximum is unique and Newton's method finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from dmft._numerics.validation import check_finite_array, check_integer, check_real
from rmt.status import Status

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["LogisticCrossing", "fit_crossing"]

_SHAPE, _SCALE = 1.5, 20.0
_MAX_ITERATIONS = 100
_MAX_HALVINGS = 50
# Newton stops where the maximum is at most this much (in log likelihood) above the point.
_TOLERANCE = 1e-16
# Where less than this is left to gain, Newton's full step is right, and the gain too small to be
# seen in the objective.
_CLOSE = 1e-6
# A resample of a delta at which all runs agree would never disagree, however few runs there are.
# So each delta is resampled as if this many more runs had come out as the fitted curve says.
_PSEUDO_RUNS = 2.0


@dataclass(frozen=True)
class LogisticCrossing:
    """Where the probability crosses one half, and how fast.

    Attributes
    ----------
    value : float
        delta_c; NaN unless ``status`` is SUCCESS.
    lower, upper : float
        Ends of the bootstrap interval of `level`. 0 or infinity for an end beyond the grid of
        delta, which the data do not locate; NaN without a value.
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

    def __float__(self) -> float:
        return self.value

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


def fit_crossing(
    delta: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> LogisticCrossing:
    """Fit where the success probability crosses one half as delta grows.

    Parameters
    ----------
    delta : array_like, shape (n_delta,)
        Positive, strictly increasing.
    successes, trials : array_like of int, shape (n_delta,)
        How many of how many independent runs succeeded at each delta.
    level : float
        Of the bootstrap interval, between 0 and 1.
    resamples : int
        Number of bootstrap resamples. In each, the runs at every delta are drawn again: from the
        runs that there are and two more that come out as the fitted curve, taken no steeper than
        the grid resolves, says they would. Without the two, a crossing narrower than the grid
        would seem located exactly.
    seed : int
        Of the resampling: same data and seed, same interval.

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
    level = check_real("level", level, minimum=0.0, exclusive=True)
    if not level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level:g}")
    resamples = check_integer("resamples", resamples, minimum=1)
    rng = np.random.default_rng(check_integer("seed", seed, minimum=0, maximum=None))

    if not _grows(x, k, n):
        return _no_crossing(Status.NO_BRACKET, level, np.nan, 0)
    intercept, slope, residual, n_iterations = _maximise(x, k[np.newaxis], n)
    center, width = _crossing(x, intercept, slope)[0], 1.0 / slope[0]
    if residual[0] > _TOLERANCE:
        return _no_crossing(Status.MAX_STEPS, level, float(residual[0]), n_iterations)
    if not x[0] <= center <= x[-1]:
        return _no_crossing(Status.NO_BRACKET, level, float(residual[0]), n_iterations)

    above = int(np.clip(np.searchsorted(x, center), 1, len(x) - 1))
    resolved = max(width, x[above] - x[above - 1])
    rates = (k + _PSEUDO_RUNS * expit((x - center) / resolved)) / (n + _PSEUDO_RUNS)
    counts = rng.binomial(n.astype(np.int64), rates, size=(resamples, len(x)))
    draws = _bootstrap(x, np.asarray(counts, dtype=np.float64), n)
    tail = (1.0 - level) / 2.0
    # Quantiles that are draws: between an infinite and a finite one nothing can be interpolated.
    lower = np.quantile(draws, tail, method="lower")
    upper = np.quantile(draws, 1.0 - tail, method="higher")
    return LogisticCrossing(
        value=float(np.exp(center)),
        lower=float(np.exp(lower)),
        upper=float(np.exp(upper)),
        level=level,
        width=float(width),
        status=Status.SUCCESS,
        residual=float(residual[0]),
        n_iterations=n_iterations,
    )


def _checked_data(
    delta: ArrayLike, successes: ArrayLike, trials: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Logarithm of delta, successes and trials, without the deltas at which nothing was tried."""
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


def _bootstrap(x: FloatArray, counts: FloatArray, n: FloatArray) -> FloatArray:
    """Logarithm of delta_c for each resample; infinite on the side where it is off the grid."""
    different, which = np.unique(counts, axis=0, return_inverse=True)
    total = different.sum(axis=1)
    values = np.where(total == 0, np.inf, -np.inf)
    mixed = (total > 0) & (total < n.sum())
    if mixed.any():
        intercept, slope, _, _ = _maximise(x, different[mixed], n)
        values[mixed] = _crossing(x, intercept, slope)
        values[values < x[0]] = -np.inf
        values[values > x[-1]] = np.inf
    draws: FloatArray = values[np.ravel(which)]
    return draws


def _crossing(x: FloatArray, intercept: FloatArray, slope: FloatArray) -> FloatArray:
    return np.asarray(x.mean() - intercept / slope, dtype=np.float64)


def _maximise(
    x: FloatArray, successes: FloatArray, n: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Damped Newton's method for many data sets at once.

    Parameters
    ----------
    x, n : ndarray, shape (n_delta,)
    successes : ndarray, shape (R, n_delta)

    Returns
    -------
    intercept, slope : ndarray, shape (R,)
        P = expit(intercept + slope (x - mean of x)).
    residual : ndarray, shape (R,)
        Half the squared Newton decrement.
    n_iterations : int
    """
    u = x - x.mean()

    def objective(rows: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
        eta = a[:, np.newaxis] + b[:, np.newaxis] * u
        likelihood = (rows * eta - n * np.logaddexp(0.0, eta)).sum(axis=1)
        return np.asarray(likelihood + (_SHAPE - 1.0) * np.log(b) - b / _SCALE)

    share = (successes.sum(axis=1) + 0.5) / (n.sum() + 1.0)
    intercept = np.log(share / (1.0 - share))
    slope = np.full(len(successes), (_SHAPE - 1.0) * _SCALE)
    residual = np.full(len(successes), np.inf)
    active = np.arange(len(successes))
    for n_iterations in range(_MAX_ITERATIONS + 1):
        k, a, b = successes[active], intercept[active], slope[active]
        p = expit(a[:, np.newaxis] + b[:, np.newaxis] * u)
        curvature = n * p * (1.0 - p)
        ga = (k - n * p).sum(axis=1)
        gb = (k - n * p) @ u + (_SHAPE - 1.0) / b - 1.0 / _SCALE
        haa = curvature.sum(axis=1) + 1e-300
        hab = curvature @ u
        hbb = curvature @ u**2 + (_SHAPE - 1.0) / b**2
        determinant = haa * hbb - hab**2
        da = (hbb * ga - hab * gb) / determinant
        db = (haa * gb - hab * ga) / determinant
        gain = ga * da + gb * db
        residual[active] = 0.5 * gain
        going = residual[active] > _TOLERANCE
        if not going.any() or n_iterations == _MAX_ITERATIONS:
            break
        active, k, a, b = active[going], k[going], a[going], b[going]
        da, db, gain = da[going], db[going], gain[going]
        # The steepness stays positive; the objective never falls.
        length = np.where(b + db > 0.0, 1.0, -0.9 * b / np.where(db < 0.0, db, -1.0))
        before = objective(k, a, b)
        for _ in range(_MAX_HALVINGS):
            after = objective(k, a + length * da, b + length * db)
            short = (after < before + 1e-4 * length * gain) & (gain > _CLOSE)
            if not short.any():
                break
            length = np.where(short, 0.5 * length, length)
        intercept[active] = a + length * da
        slope[active] = b + length * db
    return intercept, slope, residual, n_iterations
