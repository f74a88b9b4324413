r"""Derivatives of functions of one's own: checked against each other, or found numerically.

The check
    The slope of a function at a point is that of its Chebyshev interpolants on intervals of many
    widths around the point, of which the best is taken. Its error is known from the last
    coefficients, which measure kinks, steepness and rounding alike (functions in single precision
    too), and from the next width. A derivative is refused where it differs by more than ten such
    errors and 1e-5 of its size; where no width gives a slope, as on a kink, nothing is refused.

Derivatives left out
    :math:`f'(x) = \mathrm{Im} f(x + ih)/h` with h = 1e-20 where the callable takes complex
    arguments and this agrees with real slopes: right to rounding. Otherwise from Chebyshev
    interpolants, whose width is the one that serves best and which never reach across a declared
    kink. Second derivatives are slopes of the first, by the same two ways, or second derivatives of
    the interpolants of f.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

__all__ = [
    "NumericalDerivative",
    "check_function",
    "check_slope",
    "complete_derivatives",
    "differentiate",
]

Array = NDArray[np.float64]
Function = Callable[..., Any]

_DEGREE = 12
_NODES = chebyshev.chebpts1(_DEGREE + 1)
_TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_NODES, _DEGREE))  # (degree, node)
_CHECKED_WIDTHS = 2.0 ** -np.arange(1.0, 22.0, 2.0)
_WIDTH, _ANOTHER = 0.25, 0.17
_NARROWEST = 2.0**-15
_REFINE = {1: 1e-12, 2: 1e-10}  # relative error, by order, above which an interpolant is narrowed
_SEEN = (45, 38, 31, 24, 17)  # relative changes 2^-p of the argument that a function may see
_IMAGINARY = 1e-20
_ERRORS = 10.0
_TOLERANCE = 1e-5  # published approximations, as of erf, are consistent to this
_WORST = 1e-6  # relative error above which a numerical derivative is refused
_CENTRE = 6.0  # a derivative has to be finite up to here where the function is
_HALVINGS = 11
_JUMP = 1e-3  # last coefficient at a jump of 1 %, of a kink in proportion to the width


def complete_derivatives(
    what: str,
    functions: Sequence[Function | None],
    points: Array,
    *rest: Array,
    dense: Array,
    dense_rest: tuple[Array, ...] = (),
    kinks: tuple[float, ...] = (),
    argument: str,
    advice: str,
) -> dict[str, Any]:
    """Find derivatives that are left out, and check all of them.

    Parameters
    ----------
    what : str
        How to call their owner.
    functions : (value, first derivative or None, second derivative or None)
    points, *rest : ndarray, shape (n,)
        Where they are checked.
    dense, dense_rest : ndarray, shape (p,), and tuple of them
        Where numerical derivatives are tried and kinks looked for, 1/4 apart.
    kinks : tuple of float
        Where the first derivative jumps.
    argument : str
        As in `check_slope`.
    advice : str
        What to do where it jumps elsewhere, and a derivative is left out.

    Returns
    -------
    dict
        ``derivative`` and ``second_derivative`` where they were left out, and ``derivatives``:
        where they come from.

    Raises
    ------
    ValueError
        As `check_function`, `check_slope` and `differentiate`; if a derivative is left out of a
        function with kinks that are not stated.

    Examples
    --------
    >>> x = np.arange(-3.0, 3.0, 0.25)
    >>> found = complete_derivatives(
    ...     "f", (np.sin, np.cos, None), x, dense=x, argument="r", advice="state it"
    ... )
    >>> found["derivatives"], found["second_derivative"](np.array([0.5])).round(12)
    ('given, second by complex-step', array([-0.47942554]))
    """
    names = ("value", "derivative", "second_derivative")
    value, first, second = functions
    assert value is not None
    for name, function in zip(names, functions, strict=True):
        if function is not None and not isinstance(function, NumericalDerivative):
            check_function(f"{what}: {name}", function, [points, *rest])
    found: dict[str, Any] = {}
    if first is None:
        first = differentiate(f"{what}: value", value, 1, dense, *dense_rest, kinks=kinks)
        found |= {"derivative": first, "derivatives": first.method}
    if first in found.values() or second is None:
        _refuse_jumps(what, value, first, dense, dense_rest, kinks, advice)
    if second is None:
        if found:
            second = differentiate(f"{what}: value", value, 2, dense, *dense_rest, kinks=kinks)
        else:
            label = f"{what}: derivative"
            second = differentiate(label, first, 1, dense, *dense_rest, kinks=kinks)
            found["derivatives"] = f"given, second by {second.method}"
        found["second_derivative"] = second
    for pair, function, slope in ((names[:2], value, first), (names[1:], first, second)):
        check_slope(what, pair, function, slope, points, *rest, kinks=kinks, argument=argument)
    return found


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
    values = _evaluate(what, function, given)
    if not all(np.array_equal(x, y) for x, y in zip(given, points, strict=True)):
        raise ValueError(f"{what} must not change its argument in place")
    half = (len(points[0]) + 1) // 2
    again = _evaluate(what, function, [x[:half].copy() for x in points])
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
    away = _distance(points, kinks) > 1e-6
    points, rest = points[away], tuple(x[away] for x in rest)
    given = _evaluate(f"{what}: {names[1]}", derivative, [points, *rest])
    slope, error = _slopes(lambda *x: _evaluate(f"{what}: {names[0]}", function, x), points, *rest)
    finite = np.isfinite(given)
    size = np.maximum(np.abs(slope), np.where(finite, np.abs(given), 0.0))
    centre = np.abs(points) <= _CENTRE
    typical = _typical(size[centre])
    # Rounding of the function is no error of its derivative, where that should vanish.
    level = _evaluate(f"{what}: {names[0]}", function, [points, *rest])
    rounding = _WORST * _typical(level[centre])
    with np.errstate(all="ignore"):
        allowed = _ERRORS * error + _TOLERANCE * (size + typical) + rounding + 1e-300
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


def _typical(values: Array) -> float:
    """Return the median size of what is finite and not zero, 0 if nothing is."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0.0)])
    return float(np.median(sizes)) if sizes.size else 0.0


def _distance(points: Array, kinks: tuple[float, ...]) -> Array:
    """Return the distance (n,) of points from the nearest kink, infinite if there is none."""
    return np.asarray(np.abs(points[:, None] - np.array([*kinks, np.inf])).min(axis=1))


def _slopes(function: Callable[..., Array], x: Array, *rest: Array) -> tuple[Array, Array]:
    """Return slopes (n,) and their errors, infinite where there is none."""
    nodes = x[:, None, None] + _CHECKED_WIDTHS[:, None] * _NODES
    others = (np.broadcast_to(y[:, None, None], nodes.shape) for y in rest)
    with np.errstate(all="ignore"):
        values = function(nodes.ravel(), *(np.ascontiguousarray(y).ravel() for y in others))
    with np.errstate(all="ignore"):
        coefficients = values.reshape(nodes.shape) @ _TO_COEFFICIENTS.T
        slopes = coefficients @ _at_zero(1) / _CHECKED_WIDTHS
        tails = np.abs(coefficients[..., -2:]).max(axis=-1)
        sizes = np.abs(coefficients).max(axis=-1) + np.abs(x[:, None] * slopes)
        errors = _DEGREE**2 * (tails + _precision(function, x, *rest) * sizes) / _CHECKED_WIDTHS
        errors = np.maximum(errors[:, :-1], np.abs(np.diff(slopes, axis=1)))
    errors[~np.isfinite(errors)] = np.inf
    best = np.argmin(errors, axis=1)[:, None]
    return np.take_along_axis(slopes, best, 1)[:, 0], np.take_along_axis(errors, best, 1)[:, 0]


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


def _at_zero(order: int) -> Array:
    """Return the derivatives at 0 of the Chebyshev polynomials."""
    return np.array(
        [chebyshev.chebval(0.0, chebyshev.chebder(row, order)) for row in np.eye(_DEGREE + 1)]
    )


def _evaluate(what: str, function: Function, arguments: Sequence[Array]) -> Array:
    """Return the values (n,) as float64; overflow is left to the caller."""
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(function(*arguments))
    except Exception as error:
        raise ValueError(
            f"{what} failed on arrays of shape {arguments[0].shape}: "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    try:
        if result.dtype.kind not in "fiubO":
            raise TypeError
        values = result.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must return real numbers, got dtype {result.dtype}") from None
    if values.shape != arguments[0].shape:
        raise ValueError(
            f"{what} must return shape {arguments[0].shape} for such input, got {values.shape}"
        )
    return values


@dataclass(frozen=True)
class NumericalDerivative:
    """A derivative of a function of one's own in its first argument, found numerically.

    Parameters
    ----------
    function : callable
        ``(x, *rest)``, arrays of equal shape.
    order : {1, 2}
    kinks : tuple of float
        Places that no interpolant reaches across.
    complex_step : bool
        Whether the first derivative is by a complex step, the second then a slope of it.
    width : float
        Half the width of the interpolants, narrowed where the last coefficients ask for it.
    error : float
        Found on the points tried with another width: relative to the derivative there, its median
        and that of what is differentiated.
    """

    function: Function = field(repr=False)
    order: int
    kinks: tuple[float, ...] = ()
    complex_step: bool = False
    width: float = _WIDTH
    error: float = field(default=0.0, compare=False)

    @property
    def method(self) -> str:
        """Name of the method, as configurations have it."""
        return "complex-step" if self.complex_step else "interpolation"

    def __call__(self, x: Array, *rest: Array) -> Array:
        """Return the derivative, of the shape of `x`."""
        shape = np.shape(x)
        x, *others = (np.ravel(np.asarray(y, dtype=np.float64)) for y in (x, *rest))
        with np.errstate(all="ignore"):
            found = self._sided(x, others)
            # On a kink the slope of the flatter side, as in the catalogue.
            on = np.isin(x, self.kinks)
            if on.any():
                beside = [y[on] for y in others]
                left = self._sided(np.nextafter(x[on], -np.inf), beside)
                right = self._sided(np.nextafter(x[on], np.inf), beside)
                flatter = np.where(np.abs(left) < np.abs(right), left, right)
                found[on] = np.where(left * right > 0.0, flatter, 0.0)
        return found.reshape(shape)

    def _sided(self, x: Array, rest: list[Array]) -> Array:
        if not self.complex_step:
            return self._interpolated(self.function, self.order, x, rest)
        if self.order == 2:
            return self._interpolated(self._by_complex_step, 1, x, rest)
        return self._by_complex_step(x, *rest)

    def _by_complex_step(self, x: Array, *rest: Array) -> Array:
        found = np.array(np.imag(self.function(x + 1j * _IMAGINARY, *rest)) / _IMAGINARY)
        # Complex functions overflow earlier, as exp(z) / (1 + exp(z)).
        bad = ~np.isfinite(found)
        if bad.any():
            found[bad] = self._interpolated(self.function, 1, x[bad], [y[bad] for y in rest])
        # And they have values where real ones have none, as log(-1).
        found[~np.isfinite(np.asarray(self.function(x, *rest), dtype=np.float64))] = np.nan
        return found

    def _interpolated(self, function: Function, order: int, x: Array, rest: list[Array]) -> Array:
        """Return the derivative of interpolants around x, which stay between kinks."""
        ends = np.array([-np.inf, *self.kinks, np.inf])
        above = np.searchsorted(ends, x, side="right").clip(1, len(ends) - 1)
        low, high = ends[above - 1], ends[above]
        width = self.width
        found, error = _interpolate(function, order, x, rest, low, high, width)
        while width > _NARROWEST:
            width /= 4.0
            rough = np.flatnonzero(error > _REFINE[order])
            if not rough.size:
                break
            some = [y[rough] for y in rest]
            value, new = _interpolate(
                function, order, x[rough], some, low[rough], high[rough], width
            )
            better = new < error[rough]
            found[rough[better]], error[rough[better]] = value[better], new[better]
        return found


def _interpolate(
    function: Function,
    order: int,
    x: Array,
    rest: list[Array],
    low: Array,
    high: Array,
    width: float,
) -> tuple[Array, Array]:
    """Return the derivative (n,) of interpolants of half a width within bounds, and its error.

    The error is relative to derivative and function, from the last coefficients.
    """
    # Far out, numbers themselves are coarse.
    half = np.minimum(np.maximum(width, 1e-8 * np.abs(x)), 0.5 * (high - low))
    centre = np.clip(x, low + half, high - half)
    place = (x - centre) / half
    shifted = np.flatnonzero(place)
    plain = _at_zero(order) @ _TO_COEFFICIENTS
    rows = _derivative_rows(place[shifted], order) @ _TO_COEFFICIENTS
    found, size = np.zeros(len(x)), np.zeros(len(x))
    tails = np.zeros((2, len(x)))
    for j, node in enumerate(_NODES):
        value = np.asarray(function(centre + half * node, *rest), dtype=np.float64)
        weight = np.full(len(x), plain[j])
        weight[shifted] = rows[:, j]
        found += weight * value
        tails += _TO_COEFFICIENTS[-2:, j, None] * value
        np.maximum(size, np.abs(value), out=size)
    found /= half**order
    # Rounding makes a last coefficient, which by chance is less.
    tail = np.abs(tails).max(axis=0) + np.finfo(np.float64).eps * size
    tail *= _DEGREE ** (2 * order) / half**order
    error = tail / (np.abs(found) + size + 1e-300)
    return found, np.where(np.isfinite(error), error, np.inf)


def _derivative_rows(t: Array, order: int) -> Array:
    """Return the derivatives (n, degree + 1) of the Chebyshev polynomials at points t (n,)."""
    rows = [chebyshev.chebval(t, chebyshev.chebder(row, order)) for row in np.eye(_DEGREE + 1)]
    return np.stack([np.broadcast_to(row, t.shape) for row in rows], axis=1)


def differentiate(
    what: str,
    function: Function,
    order: int,
    points: Array,
    *rest: Array,
    kinks: tuple[float, ...] = (),
) -> NumericalDerivative:
    """Return the derivative of a function in its first argument, by the best way there is.

    Parameters
    ----------
    what : str
        How to call the function.
    function : callable
        Element by element, ``(x (n,), *rest (n,)) -> (n,)``.
    order : {1, 2}
    points, *rest : ndarray, shape (n,)
        Where it is tried.
    kinks : tuple of float
        Where the first derivative jumps.

    Returns
    -------
    NumericalDerivative

    Raises
    ------
    ValueError
        If the error exceeds 1e-6.

    Examples
    --------
    >>> found = differentiate("f", np.tanh, 2, np.linspace(-3, 3, 25))
    >>> found.method, bool(found.error < 1e-12)
    ('complex-step', True)
    """
    first = NumericalDerivative(function, 1, kinks)
    first = replace(first, complex_step=_takes_complex(first, points, *rest))
    if first.complex_step and order == 1:
        return replace(first, error=float(np.finfo(np.float64).eps))
    asked = replace(first, order=order)
    found, other = (replace(asked, width=width)(points, *rest) for width in (_WIDTH, _ANOTHER))
    with np.errstate(all="ignore"):
        below = first(points, *rest) if order == 2 else _evaluate(what, function, [points, *rest])
        error = np.abs(found - other) / (np.abs(found) + _typical(found) + _typical(below) + 1e-300)
    # Without the few points next to kinks of higher derivatives.
    error = error[np.isfinite(error)]
    asked = replace(asked, error=float(np.quantile(error, 0.95)) if error.size else np.inf)
    if not asked.error < _WORST:
        raise ValueError(
            f"{what} can be differentiated numerically to {asked.error:.0e} only; "
            "give the derivatives"
        )
    return asked


def _takes_complex(found: NumericalDerivative, points: Array, *rest: Array) -> bool:
    """Whether a complex step gives real slopes, without a warning."""
    away = _distance(points, found.kinks) > 1e-6
    points, rest = points[away], tuple(x[away] for x in rest)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error")
            result = np.asarray(found.function(points + 1j * _IMAGINARY, *rest))
    except Exception:
        return False
    if result.dtype != np.complex128 or result.shape != points.shape:
        return False
    slope, error = _slopes(found.function, points, *rest)
    step = result.imag / _IMAGINARY
    size = np.abs(slope)
    size = size + np.median(size[np.isfinite(size)]) if np.isfinite(size).any() else size
    known = np.isfinite(error) & np.isfinite(step)
    wrong = np.abs(step - slope) > _ERRORS * error + 1e-9 * size
    return bool(known.any() and not wrong[known].any())


def _refuse_jumps(
    what: str,
    value: Function,
    first: Function,
    points: Array,
    rest: tuple[Array, ...],
    kinks: tuple[float, ...],
    advice: str,
) -> None:
    """Raise if the first derivative jumps where no kink is stated.

    Intervals in which an interpolant of the first derivative (of the value, if that is by
    interpolation itself) has not converged are halved, down to a width at which only jumps are
    left.
    """
    of_value = isinstance(first, NumericalDerivative) and not first.complex_step
    function = value if of_value else first
    typical = _typical(first(points, *rest))
    width, spacing = 0.15, 0.25  # they overlap, so that no kink is hidden between two
    centres, others = points, list(rest)
    for halving in range(_HALVINGS + 1):
        nodes = centres[:, None] + width * _NODES
        spread = (np.repeat(y, len(_NODES)) for y in others)
        with np.errstate(all="ignore"):
            values = np.asarray(function(nodes.ravel(), *spread), dtype=np.float64)
            tails = np.abs(values.reshape(nodes.shape) @ _TO_COEFFICIENTS[-2:].T).max(axis=1)
            size = np.abs(values.reshape(nodes.shape)).max(axis=1)
        least = _JUMP * (0.1 * width * typical if of_value else np.maximum(typical, size))
        rough = tails > np.maximum(least, 1e-12 * size)  # NaN is not
        crossed = _distance(centres, kinks) <= width
        if halving == _HALVINGS:
            rough &= ~crossed
            if rough.any():
                place = round(float(centres[rough][0]), 3) + 0.0
                raise ValueError(f"{what}: the derivative jumps near {place:g}; {advice}")
            return
        if np.count_nonzero(rough) > 20 * len(points):  # too steep to be resolved
            return
        spacing *= 0.5
        width *= 0.5
        centres, *others = (y[rough] for y in (centres, *others))
        centres = np.concatenate([centres - 0.5 * spacing, centres + 0.5 * spacing])
        others = [np.concatenate([y, y]) for y in others]
        if not len(centres):
            return
