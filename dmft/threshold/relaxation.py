r"""Relaxation laws fitted to a curve with correlated errors: the admissible ones, and their limits.

Laws are :math:`a + b\,x(t)` with x of one family: powers of t with a shift or a bounded correction,
exponentials, and the logarithm, which has no limit. Everything is a linear function of the points:
the limit of a law fitted by weighted least squares, and its residual in the next directions (its
basis function squared, cubed and to the fourth, made orthogonal). Each is computed for every
replicate too, so its standard error contains the correlation of the points in time, which is
strong, without a model of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["LEVEL", "Fits", "Laws", "Points", "exponentials", "fit", "logarithms", "power_laws"]

LEVEL: Final = 0.95
"""Confidence level of intervals, and of the test whether a law is admissible."""

# Value and slope are fitted; three more directions tell a relaxation law from the wrong one, two
# where there are few points.
_FITTED: Final = 2
_CHECKED: Final = (3, 2)
_FEW: Final = 8
FEWEST: Final = _FITTED + _CHECKED[1] + 2
# The laws form a grid: the nearest one is off by up to this fraction of the curve's rise.
_RESOLUTION: Final = 3e-3


@dataclass(frozen=True)
class Laws:
    """K basis functions x(t) with x(t_last) = 0 and slope one there in log t.

    Attributes
    ----------
    x : ndarray, shape (K, n)
    limit : ndarray, shape (K,)
        Of x as t grows; NaN where there is none.
    power : ndarray, shape (K,)
        0 stands for a logarithm, infinity for an exponential.
    """

    x: FloatArray
    limit: FloatArray
    power: FloatArray

    @classmethod
    def of(cls, families: Sequence[Laws]) -> Laws:
        """Join families."""
        names = ("x", "limit", "power")
        return cls(*(np.concatenate([getattr(one, name) for one in families]) for name in names))


def power_laws(
    times: FloatArray,
    powers: FloatArray,
    shifts: FloatArray,
    corrections: Sequence[tuple[float, float]] = (),
    crossovers: FloatArray | None = None,
) -> Laws:
    r"""Return power laws with shifts, crossovers and corrections.

    Parameters
    ----------
    times : ndarray, shape (n,)
        Increasing and positive.
    powers : ndarray, shape (P,)
    shifts : ndarray
        Times t0 of :math:`(t + t_0)^{-p}`.
    corrections : sequence of pair of float
        (m, kappa) of :math:`t^{-p} (1 + \kappa\, (t/t_1)^{-(m - 1) p})`, t_1 the first time.
    crossovers : ndarray, optional
        Times t0 of :math:`(t^2 + t_0^2)^{-p/2}`.

    Returns
    -------
    Laws
    """
    last, p = times[-1], powers[:, np.newaxis, np.newaxis]
    ratios = (times + shifts[:, np.newaxis]) / (last + shifts[:, np.newaxis])
    if crossovers is not None:
        squares = crossovers[:, np.newaxis] ** 2
        ratios = np.concatenate([ratios, np.sqrt((times**2 + squares) / (last**2 + squares))])
    x, limit = (1 - ratios**-p) / p, np.broadcast_to(1 / p[..., 0], (len(powers), len(ratios)))
    if corrections:
        m, kappa = (np.array(column)[:, np.newaxis] for column in zip(*corrections, strict=True))
        at_last = kappa * (last / times[0]) ** (-(m - 1) * p)
        terms = (times / last) ** -p * (1 + kappa * (times / times[0]) ** (-(m - 1) * p))
        scale = p * (1 + m * at_last)
        x = np.concatenate([x, (1 + at_last - terms) / scale], axis=1)
        limit = np.concatenate([limit, ((1 + at_last) / scale)[..., 0]], axis=1)
    power = np.broadcast_to(powers[:, np.newaxis], limit.shape)
    return Laws(x.reshape(-1, len(times)), limit.ravel(), power.ravel())


def exponentials(times: FloatArray, decay_times: FloatArray) -> Laws:
    """Return exponential decays."""
    x = 1 - np.exp((times[-1] - times) / decay_times[:, np.newaxis])
    return Laws(x, np.ones(len(x)), np.full(len(x), np.inf))


def logarithms(times: FloatArray, shifts: FloatArray) -> Laws:
    """Return log(t + t0), which has no limit."""
    x = np.log((times + shifts[:, np.newaxis]) / (times[-1] + shifts[:, np.newaxis]))
    return Laws(x, np.full(len(x), np.nan), np.zeros(len(x)))


class Points:
    """The points of a curve, with weights for least squares and the quantile of their errors.

    Parameters
    ----------
    values : ndarray, shape (n,)
    replicates : ndarray, shape (R, n)
        Only their differences count.
    errors : ndarray, shape (n,)
        Further errors, independent of each other.
    bias : ndarray, shape (n,)
        Bias that all points may have in common; counts as a standard error of that size.
    """

    def __init__(
        self, values: FloatArray, replicates: FloatArray, errors: FloatArray, bias: FloatArray
    ) -> None:
        from scipy.stats import f as fisher
        from scipy.stats import t as student

        self.values, self.replicates, self.bias = values, replicates, bias
        self.errors = np.hypot(errors, _RESOLUTION * np.ptp(values))
        count = len(replicates)
        self.quantile = float(student.ppf(0.5 + LEVEL / 2, count - 1))
        self.checked = _CHECKED[int(len(values) < _FEW)]
        # Sum of squares of the residuals in units of their errors, as of Student's t.
        self.largest_residual = self.checked * float(fisher.ppf(LEVEL, self.checked, count - 1))
        # Standard deviations over a few replicates scatter; neighbours in time share them.
        variance = replicates.var(axis=0, ddof=1) / count + self.errors**2 + bias**2
        padded = np.pad(np.log(variance), 2, mode="edge")
        self.weights = np.exp(-0.5 * np.convolve(padded, np.full(5, 0.2), "valid"))

    def evaluate(self, functionals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Compute value and standard error of linear functions of the points.

        Parameters
        ----------
        functionals : ndarray, shape (..., n, q)

        Returns
        -------
        value, error : ndarray, shape (..., q)
        """
        value = np.einsum("...jq,j->...q", functionals, self.values)
        each = np.einsum("...jq,ij->...iq", functionals, self.replicates)
        variance = each.var(axis=-2, ddof=1) / len(self.replicates)
        variance += np.einsum("...jq,j->...q", functionals**2, self.errors**2)
        variance += np.einsum("...jq,j->...q", functionals, self.bias) ** 2
        return value, np.sqrt(variance)


@dataclass(frozen=True)
class Fits:
    """Laws fitted to points, shape (K,) each.

    Attributes
    ----------
    power, limit, limit_margin : ndarray
        Limit and half width of its interval for each law.
    last, last_margin : ndarray
        The same of the law at the last point.
    trend : ndarray
        Sign of the rate of change; 0 where that may be zero.
    residual : ndarray
        Sum of squares in units of the errors, in the directions checked.
    admissible : ndarray of bool
        Whether the residual is no more than sampling error.
    """

    power: FloatArray
    limit: FloatArray
    limit_margin: FloatArray
    last: FloatArray
    last_margin: FloatArray
    trend: FloatArray
    residual: FloatArray
    admissible: NDArray[np.bool_]

    def interval(
        self, among: NDArray[np.bool_], *, stops: bool = True
    ) -> tuple[float, float, float]:
        """Return value and interval of the limit, from the admissible laws among some.

        The interval holds the limit of each with its own interval. A logarithm that moves sets no
        bound on its side. The value is the median of the limits, weighted by likelihood; all are
        NaN where no law is admissible.

        Parameters
        ----------
        among : ndarray of bool, shape (K,)
        stops : bool
            Whether the interval is to hold the law's last point too: a curve may stop sooner than
            the laws say.

        Returns
        -------
        value, lower, upper : float
        """
        some = self.admissible & among
        bounded, unbounded = some & np.isfinite(self.limit), some & np.isnan(self.limit)
        if not some.any():
            return np.nan, np.nan, np.nan
        lower, upper = np.inf, -np.inf
        if stops or not bounded.any():
            lower = float((self.last - self.last_margin)[some].min())
            upper = float((self.last + self.last_margin)[some].max())
        if bounded.any():
            lower = min(lower, float((self.limit - self.limit_margin)[bounded].min()))
            upper = max(upper, float((self.limit + self.limit_margin)[bounded].max()))
        upper = np.inf if (unbounded & (self.trend > 0)).any() else upper
        lower = -np.inf if (unbounded & (self.trend < 0)).any() else lower
        if not bounded.any() or not np.isfinite([lower, upper]).all():
            return np.nan, lower, upper
        likelihood = np.exp(-0.5 * (self.residual - self.residual[bounded].min())[bounded])
        order = np.argsort(self.limit[bounded])
        below = np.cumsum(likelihood[order])
        middle = int(np.searchsorted(below, 0.5 * below[-1]))
        return float(self.limit[bounded][order][middle]), lower, upper


def fit(points: Points, laws: Laws) -> Fits:
    """Fit all laws to the points.

    Parameters
    ----------
    points : Points
    laws : Laws

    Returns
    -------
    Fits
    """
    scale = np.abs(laws.x).max(axis=-1)  # its powers are not to overflow
    x, limit_of_x = laws.x / scale[:, np.newaxis], laws.limit / scale
    functionals, triangle = _orthogonal(x, points.weights, _FITTED + points.checked)
    value, error = points.evaluate(functionals)
    residual = np.sum((value / error)[:, _FITTED:] ** 2, axis=-1)
    moving = np.abs(value[:, 1]) > points.quantile * error[:, 1]
    trend = np.where(moving, np.sign(value[:, 1]) * np.sign(triangle[:, 1, 1]), 0.0)
    # a + b x at the last point (x = 0) and at the limit of x, through the triangular factor.
    limit = np.nan_to_num(limit_of_x)
    factors = np.zeros((len(limit), 2, _FITTED))
    factors[:, :, 0], factors[:, 1, 1] = 1.0, limit
    inverse = np.linalg.inv(triangle[:, :_FITTED, :_FITTED])
    ends = functionals[..., :_FITTED] @ np.swapaxes(factors @ inverse, -1, -2)
    value, error = points.evaluate(ends)
    margin = points.quantile * error
    return Fits(
        power=laws.power,
        limit=np.where(np.isnan(laws.limit), np.nan, value[:, 1]),
        limit_margin=margin[:, 1],
        last=value[:, 0],
        last_margin=margin[:, 0],
        trend=trend,
        residual=residual,
        admissible=residual <= points.largest_residual,
    )


def _orthogonal(x: FloatArray, weights: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Compute functionals of the powers 1, x, x^2, ..., each orthogonal to those before.

    Returns functionals of shape (K, n, count), and the triangular factors (K, count, count) that
    belong to them.
    """
    columns = np.repeat(weights[:, np.newaxis], count, axis=-1) * np.ones((*x.shape, 1))
    columns[..., 1:] *= np.cumprod(np.repeat(x[..., np.newaxis], count - 1, axis=-1), axis=-1)
    scale = np.linalg.norm(columns, axis=-2, keepdims=True)
    q, triangle = np.linalg.qr(columns / scale)
    return q * weights[:, np.newaxis], triangle * scale
