"""Roots of an interpolated function, with the difference of two orders of interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.interpolate import KroghInterpolator

    FloatArray = NDArray[np.float64]

__all__ = [
    "disagreement",
    "local_polynomial",
    "nearest_opening",
    "root_between",
    "suspected_change",
]

# Fractions of an interval between two nodes at which it is examined, and the least distance of a
# new node from its ends.
_FRACTIONS = np.linspace(0.0, 1.0, 33)[1:-1]
_MARGIN = 0.1
# Values this many times those at the ends of an interval are far from it.
_FAR = 20.0
# Relative to the values at the ends of an interval, a value below this is rounding.
_ROUNDING = 1e-11


def local_polynomial(
    x: FloatArray, y: FloatArray, interval: int, before: int = 1, after: int = 1
) -> KroghInterpolator:
    """Return the polynomial through the nodes around one interval of a grid.

    Parameters
    ----------
    x : ndarray, shape (n,)
        Increasing.
    y : ndarray, shape (..., n)
    interval : int
        Between nodes ``interval`` and ``interval + 1``.
    before, after : int
        How many further nodes to take on either side; fewer at the ends of the grid, more on the
        other side in their place.

    Returns
    -------
    scipy.interpolate.KroghInterpolator

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.0, 1.0, 2.0, 4.0])
    >>> float(local_polynomial(x, x**3, 1)(1.5).round(12))
    3.375
    """
    from scipy.interpolate import KroghInterpolator

    count = min(2 + before + after, len(x))
    first = int(np.clip(interval - before, 0, len(x) - count))
    nodes = slice(first, first + count)
    return KroghInterpolator(x[nodes], y[..., nodes], axis=-1)


def root_between(x: FloatArray, y: FloatArray, interval: int, before: int, after: int) -> float:
    """Find the root between two nodes of opposite sign, of the polynomial through those around.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    interval, before, after : int
        As in `local_polynomial`.

    Returns
    -------
    float
    """
    from scipy.optimize import brentq

    polynomial = local_polynomial(x, y, interval, before, after)
    left, right = x[interval], x[interval + 1]
    if y[interval] == 0.0:
        return float(left)
    if y[interval + 1] == 0.0:
        return float(right)
    # Through its nodes the polynomial is exact up to rounding, and there y has two signs.
    inner = 1e-12 * (right - left)
    ends = left + inner, right - inner
    values = [float(polynomial(end)) for end in ends]
    if (values[0] < 0) == (values[1] < 0):
        return float(left if abs(values[0]) < abs(values[1]) else right)
    return float(brentq(lambda at: float(polynomial(at)), *ends, xtol=1e-14, rtol=1e-13))


def disagreement(
    x: FloatArray, y: FloatArray, replicates: FloatArray, interval: int
) -> tuple[float, float]:
    """Compare the cubic's root with that of parabolas; difference, and its noise.

    The parabolas are less accurate than the cubic, so this is a careful estimate of the cubic's
    error. Its noise, from the replicates, is what is left of it when y is known exactly at too
    many points: where y carries independent errors, no further point makes it smaller.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    replicates : ndarray, shape (R, n)
        y in each replicate.
    interval : int
        The signs of y at nodes ``interval`` and ``interval + 1`` differ.

    Returns
    -------
    difference, noise : float
        In units of x; the full interval where there are only two nodes.
    """
    if len(x) == 2:
        return float(x[1] - x[0]), 0.0
    root = root_between(x, y, interval, 1, 1)
    slope = abs(float(local_polynomial(x, y, interval).derivative(root)))
    cubics = local_polynomial(x, replicates, interval)(root)
    # With three nodes the parabola is the best there is, to be compared with straight lines.
    lower_orders = [(1, 0), (0, 1)] if len(x) > 3 else [(0, 0)]
    worst, noise = 0.0, 0.0
    for before, after in lower_orders:
        difference = abs(root_between(x, y, interval, before, after) - root)
        each = cubics - local_polynomial(x, replicates, interval, before, after)(root)
        spread = float(each.std(ddof=1) / np.sqrt(len(each)) / slope) if slope > 0 else np.inf
        if difference - 2 * spread >= worst - 2 * noise:
            worst, noise = difference, spread
    return worst, noise


def nearest_opening(x: FloatArray, y: FloatArray, root: float) -> float:
    """Find the root of y from + to - nearest to a given one; NaN if y has none.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    root : float

    Returns
    -------
    float
    """
    intervals = np.flatnonzero((y[:-1] >= 0) & (y[1:] < 0))
    roots = [root_between(x, y, int(interval), 1, 1) for interval in intervals]
    return min(roots, key=lambda other: abs(other - root), default=np.nan)


def suspected_change(
    x: FloatArray, y: FloatArray, noise: FloatArray, interval: int
) -> tuple[float, float]:
    """Judge whether y may change sign, and back, between two nodes where it has the same sign.

    Between the nodes y is taken to be within the cubic through the four nearest nodes and as far
    from it as parabolas through three of them are (with three nodes: the parabola, and its distance
    from straight lines). Of two nodes nothing is known but their values.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    noise : ndarray, shape (n,)
        Standard errors of y: a change of sign by less than that is none.
    interval : int
        Between nodes ``interval`` and ``interval + 1``.

    Returns
    -------
    depth, place : float
        How far beyond zero y may be, positive if there is reason to look, about in units of y; and
        x where that is largest. Zero and NaN without a reason.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(6.0)
    >>> dip, line = (x - 2.4) ** 2 - 0.01, 6 - x
    >>> [suspected_change(x, y, 0 * x, 2)[0] > 0 for y in (dip, line)]
    [True, False]
    """
    ends = y[interval : interval + 2]
    if len(x) < 3 or (ends[0] < 0) != (ends[1] < 0):
        return 0.0, np.nan
    places = x[interval] + _FRACTIONS * (x[interval + 1] - x[interval])
    scale = float(np.abs(ends).max())
    if not ends.all():  # zero to all digits, which has no sign
        return 0.0, np.nan
    sign = -1.0 if ends[0] < 0 else 1.0
    # Values far beyond those of the interval say little about it: only their logarithm counts.
    y = sign * y / scale
    far = np.abs(y) > _FAR
    y[far] = np.sign(y[far]) * _FAR * (1.0 + np.log(np.abs(y[far]) / _FAR))

    def through(before: int, after: int) -> FloatArray:
        return np.asarray(local_polynomial(x, y, interval, before, after)(places))

    cubic = through(1, 1)
    lower_orders = [(1, 0), (0, 1)] if len(x) > 3 else [(0, 0)]
    apart = np.max([np.abs(cubic - through(*nodes)) for nodes in lower_orders], axis=0)
    beyond = apart - cubic - max(float(noise[interval : interval + 2].max() / scale), _ROUNDING)
    worst = int(np.argmax(beyond))
    if not beyond[worst] > 0.0:
        return 0.0, np.nan
    fraction = float(np.clip(_FRACTIONS[worst], _MARGIN, 1.0 - _MARGIN))
    return float(scale * beyond[worst]), float(
        x[interval] + fraction * (x[interval + 1] - x[interval])
    )
