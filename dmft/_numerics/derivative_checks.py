r"""Checks of functions of one's own: element by element, and derivatives against slopes.

The slope of a function at a point is that of its Chebyshev interpolants on intervals of many widths
around the point, of which the best is taken. Its error is known from the last coefficients, which
measure kinks, steepness and rounding alike (functions in single precision too), and from the next
width. A derivative is refused where it differs by more than ten such errors and 1e-5 of its size;
where no width gives a slope, as on a kink, nothing is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.interpolants import DEGREE, NODES, TO_COEFFICIENTS, derivative_rows
from dmft._numerics.user_functions import real_array, result_of

__all__ = ["check_function", "check_slope", "distance", "evaluate", "slopes", "typical_size"]

Array = NDArray[np.float64]
Function = Callable[..., Any]

_WIDTHS = 2.0 ** -np.arange(1.0, 22.0, 2.0)
_SEEN = (45, 38, 31, 24, 17)  # relative changes 2^-p of the argument that a function may see
ERRORS = 10.0
"""A slope may differ by this many of its errors."""
_TOLERANCE = 1e-5  # published approximations, as of erf, are consistent to this
_ROUNDING = 1e-6  # of a function, relative to its size, seen in its derivative
_CENTRE = 6.0  # a derivative has to be finite up to here where the function is


def check_function(what: str, function: Function, points: Sequence[Array]) -> None:
    """Raise unless a function acts element by element, and the same way twice.

    Parameters
    ----------
    what : str
        How to call it.
    function : callable
    points : sequence of ndarray, shape (n,)
        Its arguments.

    Raises
    ------
    ValueError
        If it fails, returns another shape or no real numbers, changes its arguments, or if its
        values depend on other elements or on chance.

    Examples
    --------
    >>> check_function("f", np.tanh, [np.linspace(0, 1, 9)])
    >>> check_function("f", lambda r: r / r.max(), [np.linspace(0.1, 1, 9)])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: f must act element by element: at the same 0.1 it gives 0.1 and 0.181818, ...
    """
    given = [x.copy() for x in points]
    values = evaluate(what, function, given)
    if not all(np.array_equal(x, y) for x, y in zip(given, points, strict=True)):
        raise ValueError(f"{what} must not change its argument in place")
    half = (len(points[0]) + 1) // 2
    again = evaluate(what, function, [x[:half].copy() for x in points])
    with np.errstate(all="ignore"):
        same = np.isclose(again, values[:half], rtol=1e-5, atol=1e-12, equal_nan=True)
    if not same.all():
        at = int(np.argmin(same))
        raise ValueError(
            f"{what} must act element by element: at the same {points[0][at]:g} it gives "
            f"{values[at]:g} and {again[at]:g}, with other elements beside it"
        )


def check_slope(
    what: str,
    names: tuple[str, str],
    function: Function,
    derivative: Function,
    points: Array,
    *rest: Array,
    kinks: tuple[float, ...] = (),
    argument: str = "r",
) -> None:
    """Raise unless one function is the derivative of another in its first argument.

    Parameters
    ----------
    what : str
        How to call the owner of both.
    names : pair of str
        How to call function and derivative.
    function, derivative : callable
        Element by element, ``(x (n,), *rest (n,)) -> (n,)``.
    points : ndarray, shape (n,)
    *rest : ndarray, shape (n,)
        Further arguments, at which the derivative is partial.
    kinks : tuple of float
        Points on which nothing is checked.
    argument : str
        Name of the first argument.

    Raises
    ------
    ValueError
        With the first point at which they differ most, and both numbers.

    Examples
    --------
    >>> check_slope("sin", ("value", "derivative"), np.sin, np.cos, np.linspace(-3, 3, 9))
    >>> check_slope("sin", ("value", "derivative"), np.sin, np.sin, np.array([0.5]))
    Traceback (most recent call last):
    ...
    ValueError: sin: derivative must be the derivative of value, got 0.479426 at r = 0.5, where it
    is 0.877583
    """
    away = distance(points, kinks) > 1e-6
    points, rest = points[away], tuple(x[away] for x in rest)
    given = evaluate(f"{what}: {names[1]}", derivative, [points, *rest])
    slope, error = slopes(lambda *x: evaluate(f"{what}: {names[0]}", function, x), points, *rest)
    finite = np.isfinite(given)
    size = np.maximum(np.abs(slope), np.where(finite, np.abs(given), 0.0))
    centre = np.abs(points) <= _CENTRE
    typical = typical_size(size[centre])
    # Rounding of the function is no error of its derivative, where that should vanish.
    level = evaluate(f"{what}: {names[0]}", function, [points, *rest])
    rounding = _ROUNDING * typical_size(level[centre])
    with np.errstate(all="ignore"):
        allowed = ERRORS * error + _TOLERANCE * (size + typical) + rounding + 1e-300
        excess = np.abs(slope - given) / allowed
    excess[~np.isfinite(error)] = 0.0
    known = np.isfinite(error) & (error < _TOLERANCE * (size + typical))
    excess[~finite] = np.where(known & centre, np.inf, 0.0)[~finite]
    if not np.any(excess > 1.0):
        return
    at = int(np.argmax(excess))
    place = ", ".join(
        f"{name} = {x[at]:g}" for name, x in zip((argument, "y"), (points, *rest), strict=False)
    )
    raise ValueError(
        f"{what}: {names[1]} must be the derivative of {names[0]}, got {given[at]:g} at {place}, "
        f"where it is {slope[at]:.6g}"
    )


def typical_size(values: Array) -> float:
    """Return the median size of what is finite and not zero, 0 if nothing is."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0.0)])
    return float(np.median(sizes)) if sizes.size else 0.0


def distance(points: Array, kinks: tuple[float, ...]) -> Array:
    """Return the distance (n,) of points from the nearest kink, infinite if there is none."""
    return np.asarray(np.abs(points[:, None] - np.array([*kinks, np.inf])).min(axis=1))


def slopes(function: Callable[..., Array], x: Array, *rest: Array) -> tuple[Array, Array]:
    """Return found (n,) and their errors, infinite where there is none."""
    nodes = x[:, None, None] + _WIDTHS[:, None] * NODES
    others = (np.broadcast_to(y[:, None, None], nodes.shape) for y in rest)
    with np.errstate(all="ignore"):
        values = function(nodes.ravel(), *(np.ascontiguousarray(y).ravel() for y in others))
    with np.errstate(all="ignore"):
        coefficients = values.reshape(nodes.shape) @ TO_COEFFICIENTS.T
        found = coefficients @ derivative_rows(np.zeros(1), 1)[0] / _WIDTHS
        tails = np.abs(coefficients[..., -2:]).max(axis=-1)
        sizes = np.abs(coefficients).max(axis=-1) + np.abs(x[:, None] * found)
        errors = DEGREE**2 * (tails + _precision(function, x, *rest) * sizes) / _WIDTHS
        errors = np.maximum(errors[:, :-1], np.abs(np.diff(found, axis=1)))
    errors[~np.isfinite(errors)] = np.inf
    best = np.argmin(errors, axis=1)[:, None]
    return np.take_along_axis(found, best, 1)[:, 0], np.take_along_axis(errors, best, 1)[:, 0]


def _precision(function: Callable[..., Array], x: Array, *rest: Array) -> float:
    """Return the relative change of the argument that a function sees: 2^-24 in float32."""
    with np.errstate(all="ignore"):
        here = function(x, *rest)
        varies = (function(x * (1.0 + 2.0**-10), *rest) != here) & np.isfinite(here)
        for power in _SEEN:
            seen = function(x * (1.0 + 2.0**-power), *rest) != here
            if np.count_nonzero(seen & varies) >= 0.25 * np.count_nonzero(varies):
                return 2.0**-52 if power == _SEEN[0] else 2.0**-power
    return 2.0**-10


def evaluate(what: str, function: Function, arguments: Sequence[Array]) -> Array:
    """Return the values (n,) of a function as float64; overflow is left to the caller.

    Raises
    ------
    ValueError
        If it fails, or returns another shape or no real numbers.
    """
    shape = arguments[0].shape
    with np.errstate(all="ignore"):
        failed = f"{what} failed on arrays of shape {shape}: "
        result = np.asarray(result_of(function, *arguments, failed=failed))
    try:
        values = real_array(result)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must return real numbers, got dtype {result.dtype}") from None
    if values.shape != shape:
        raise ValueError(f"{what} must return shape {shape} for such input, got {values.shape}")
    return values
