r"""Extrapolation of a curve in time: its limit, and the interval of limits its late part allows.

The family of relaxation laws is ``a + b (t + t0)^(-p)`` with p from 0.1 to 4 and shifts t0 up to a
tenth of the last time, and ``a + b exp(-t/tau)``. A relaxation law is *admissible* if its residual
on the late curve is no more than sampling error. The growth ``a + b log(t + t0)``, which has no
limit, is put to the same test: where it passes, the data set no bound on that side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Extrapolation", "extrapolate"]

LEVEL: Final = 0.95
"""Confidence level of the interval."""

SETTLED: Final = 0.1
"""A curve has settled if no admissible limit, and not its last point, is further than this
fraction from the value given."""

# Late means the last 90 or 80 % of the time: the longer of these that some relaxation law
# describes. Over the last 97 % one of the family fits real curves by accident only, and predicts
# them badly.
_WINDOWS: Final = (10.0, 5.0)
_ENOUGH: Final = 3  # admissible laws; fewer of the grid pass by accident
_POWERS: Final = np.geomspace(0.1, 4.0, 42)
_SHIFTS: Final = np.array([0.0, 0.003, 0.006, 0.01, 0.02, 0.03, 0.045, 0.07, 0.1])  # of t_last
_DECAY_TIMES: Final = np.geomspace(0.03, 0.3, 14)  # of t_last
# Value and slope are fitted; two more directions tell a relaxation law from the wrong one.
_FITTED, _CHECKED = 2, 2
_FEWEST: Final = _FITTED + _CHECKED + 2
_ROUNDING: Final = 1e-7  # relative error of any point, where the sampling error is zero
# The relaxation laws form a grid: the nearest one is off by up to this fraction of the
# curve's late rise.
_RESOLUTION: Final = 3e-3


@dataclass(frozen=True)
class Extrapolation:
    """Limit of a curve as t grows.

    Attributes
    ----------
    value : float
        Median of the limits of all admissible relaxation laws; NaN where the interval is unbounded.
    lower, upper : float
        Interval that holds every limit of an admissible relaxation law with its sampling
        error, at ``level``, and the last point with its own. ``upper`` is infinite where growth
        like log t is admissible, and ``lower`` where decay like it is; both where nothing can be
        said.
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

    Everything is a linear function of the points: the limit of a relaxation law fitted by weighted
    least squares, and its residual on the curve in the two next directions (its basis function
    squared and cubed, made orthogonal). Each is computed for every replicate too, so its
    standard error contains the correlation of the points in time, which is strong, without a
    model of it. With R replicates the quantiles are those of Student's t with R - 1 degrees.

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
        if late.sum() < _FEWEST:
            break
        points = _Points(times[late], values[late], replicates[:, late], errors[late], bias[late])
        found = _allowed(points)
        if found is not None:
            limits, lower, upper, powers = found
            # A curve may stop sooner than all these relaxation laws say, as after a crossover.
            lower, upper = min(lower, points.last[0]), max(upper, points.last[1])
            bounded = np.isfinite(lower) and np.isfinite(upper)
            value = float(np.median(limits)) if bounded else np.nan
            far = np.abs(np.array([lower, upper, last]) - value)
            settled = bounded and bool(np.all(far <= SETTLED * abs(value)))
            return Extrapolation(
                value=value,
                lower=lower,
                upper=upper,
                status=Status.SUCCESS if settled else Status.NOT_SETTLED,
                level=LEVEL,
                last=last,
                window=(float(points.times[0]), float(points.times[-1])),
                n_points=len(points.times),
                powers=powers,
            )
    nothing = (np.nan, np.nan)
    return Extrapolation(
        np.nan, -np.inf, np.inf, Status.NOT_SETTLED, LEVEL, last, nothing, 0, nothing
    )


class _Points:
    """The late part of a curve, with least-squares weights and the quantile of its errors."""

    def __init__(
        self,
        times: FloatArray,
        values: FloatArray,
        replicates: FloatArray,
        errors: FloatArray,
        bias: FloatArray,
    ) -> None:
        from scipy.stats import t as student

        self.times, self.values, self.replicates, self.bias = times, values, replicates, bias
        self.errors = np.hypot(errors, _RESOLUTION * np.ptp(values))
        count = len(replicates)
        self.quantile = float(student.ppf(0.5 + LEVEL / 2, count - 1))
        # Standard deviations over a few replicates scatter; neighbours in time share them.
        variance = replicates.var(axis=0, ddof=1) / count + self.errors**2 + bias**2
        padded = np.pad(np.log(variance), 2, mode="edge")
        self.weights = np.exp(-0.5 * np.convolve(padded, np.full(5, 0.2), "valid"))
        margin = self.quantile * float(np.sqrt(variance[-1]))
        self.last = float(values[-1]) - margin, float(values[-1]) + margin

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


def _relaxation_laws(
    times: FloatArray,
) -> Iterator[tuple[FloatArray, FloatArray | None, FloatArray]]:
    """Generate families of relaxation laws a + b x(t), with x(t_last) = 0 and x increasing.

    Yields x of shape (..., n); its limit as t grows (None: it has none); the power of each.
    """
    last = times[-1]
    shifted = (times + _SHIFTS[:, np.newaxis] * last) / (last + _SHIFTS[:, np.newaxis] * last)
    yield np.log(shifted), None, np.zeros(len(_SHIFTS))
    powers = _POWERS[:, np.newaxis]
    power_laws = (1 - shifted ** -powers[..., np.newaxis]) / powers[..., np.newaxis]
    shape = len(_POWERS), len(_SHIFTS)
    yield power_laws, np.broadcast_to(1 / powers, shape), np.broadcast_to(powers, shape)
    decays = 1 - np.exp((1 - times / last) / _DECAY_TIMES[:, np.newaxis])
    yield decays, np.ones(len(_DECAY_TIMES)), np.full(len(_DECAY_TIMES), np.inf)


def _allowed(points: _Points) -> tuple[FloatArray, float, float, tuple[float, float]] | None:
    """Return limits, interval and powers of the admissible laws; None if they are too few."""
    limits: list[FloatArray] = []
    all_powers: list[FloatArray] = []
    lower, upper = np.inf, -np.inf
    for x, limit_of_x, powers in _relaxation_laws(points.times):
        functionals, triangle = _orthogonal(x, points.weights)
        value, error = points.evaluate(functionals)
        passed = np.abs(value) <= points.quantile * error
        admissible = np.asarray(passed[..., _FITTED:].all(axis=-1))
        if not admissible.any():
            continue
        all_powers.append(powers[admissible])
        limit = np.zeros_like(powers) if limit_of_x is None else limit_of_x
        # a + b x at the limit of x, through the triangular factor of the fit; of a logarithm, at
        # the last point, x = 0.
        factors = np.stack([np.ones_like(limit), limit], axis=-1)
        inverse = np.linalg.inv(triangle[..., :_FITTED, :_FITTED])
        combination = np.einsum("...k,...kl->...l", factors, inverse)
        functional = functionals[..., :_FITTED] @ combination[..., np.newaxis]
        rising = value[..., 1] * np.sign(triangle[..., 1, 1]) > 0
        moving = ~passed[..., 1]
        value, error = (array[..., 0] for array in points.evaluate(functional))
        margin = points.quantile * error
        if limit_of_x is None:
            up, down = admissible & moving & rising, admissible & moving & ~rising
            if up.any():
                lower, upper = min(lower, float((value - margin)[up].min())), np.inf
            if down.any():
                lower, upper = -np.inf, max(upper, float((value + margin)[down].max()))
            continue
        limits.append(value[admissible])
        # Relaxation laws between those of the grid are admissible too: neighbours bound them.
        near = _with_neighbours(admissible)
        lower = min(lower, float((value - margin)[near].min()))
        upper = max(upper, float((value + margin)[near].max()))
    if sum(map(len, all_powers)) < _ENOUGH:
        return None
    if lower > upper:  # a logarithm that stands still, and nothing else
        lower, upper = -np.inf, np.inf
    found = np.concatenate(all_powers)
    spanned = float(found.min()), float(found.max())
    return np.concatenate([np.empty(0), *limits]), lower, upper, spanned


def _orthogonal(x: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute functionals of the powers 1, x, x^2, x^3, each orthogonal to those before.

    Returns functionals of shape (..., n, 4), and the triangular factors (..., 4, 4) that belong to
    them.
    """
    columns = np.stack([x**k for k in range(_FITTED + _CHECKED)], axis=-1)
    columns = columns * weights[:, np.newaxis]
    scale = np.linalg.norm(columns, axis=-2, keepdims=True)
    q, triangle = np.linalg.qr(columns / scale)
    return q * weights[:, np.newaxis], triangle * scale


def _with_neighbours(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the neighbours of marked entries too, along each axis."""
    marked = mask.copy()
    for axis in range(mask.ndim):
        there = np.moveaxis(marked, axis, 0)
        source = np.moveaxis(mask, axis, 0)
        there[1:] |= source[:-1]
        there[:-1] |= source[1:]
    return marked
