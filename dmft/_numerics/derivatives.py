r"""Derivatives of functions of one's own, found numerically where they are not given.

:math:`f'(x) = \mathrm{Im} f(x + ih)/h` with h = 1e-20 where the callable takes complex arguments
and this agrees with real slopes: right to rounding. Otherwise from Chebyshev interpolants, whose
width is the one that serves best and which never reach across a declared kink. Second derivatives
are slopes of the first, by the same two ways, or second derivatives of the interpolants of f.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.derivative_checks import (
    ERRORS,
    check_function,
    check_slope,
    distance,
    evaluate,
    slopes,
    typical_size,
)
from dmft._numerics.interpolants import NODES, TO_COEFFICIENTS, interpolated_derivative
from dmft._numerics.kinks import bisected

__all__ = ["NumericalDerivative", "complete_derivatives", "differentiate"]

Array = NDArray[np.float64]
Function = Callable[..., Any]

_WIDTH, _ANOTHER = 0.25, 0.17
_NARROWEST = 2.0**-15
_REFINE = {1: 1e-12, 2: 1e-10}  # relative error, by order, above which an interpolant is narrowed
_IMAGINARY = 1e-20
_WORST = 1e-6  # relative error above which a numerical derivative is refused
_JUMP = 1e-3  # last coefficient at a jump of 1 %, of a kink in proportion to the width
_JUMP_WIDTH = 4e-5  # of panels on which only jumps are left


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
                there = [y[on] for y in others]
                left = self._sided(np.nextafter(x[on], -np.inf), there)
                right = self._sided(np.nextafter(x[on], np.inf), there)
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
        found, error = interpolated_derivative(function, order, x, rest, low, high, width)
        while width > _NARROWEST:
            width /= 4.0
            rough = np.flatnonzero(error > _REFINE[order])
            if not rough.size:
                break
            some = [y[rough] for y in rest]
            value, new = interpolated_derivative(
                function, order, x[rough], some, low[rough], high[rough], width
            )
            better = new < error[rough]
            found[rough[better]], error[rough[better]] = value[better], new[better]
        return found


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
        below = first(points, *rest) if order == 2 else evaluate(what, function, [points, *rest])
        error = np.abs(found - other) / (
            np.abs(found) + typical_size(found) + typical_size(below) + 1e-300
        )
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
    away = distance(points, found.kinks) > 1e-6
    points, rest = points[away], tuple(x[away] for x in rest)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error")
            result = np.asarray(found.function(points + 1j * _IMAGINARY, *rest))
    except Exception:
        return False
    if result.dtype != np.complex128 or result.shape != points.shape:
        return False
    slope, error = slopes(found.function, points, *rest)
    step = result.imag / _IMAGINARY
    size = np.abs(slope)
    size = size + np.median(size[np.isfinite(size)]) if np.isfinite(size).any() else size
    known = np.isfinite(error) & np.isfinite(step)
    wrong = np.abs(step - slope) > ERRORS * error + 1e-9 * size
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

    A panel is rough where an interpolant of the first derivative (of the value, if that is by
    interpolation itself) has not converged; of the narrowest ones only those with a jump are.
    """
    of_value = isinstance(first, NumericalDerivative) and not first.complex_step
    function = value if of_value else first
    typical = typical_size(first(points, *rest))
    others = np.unique(np.stack(rest), axis=1).T if rest else np.empty((1, 0))

    def is_rough(left: Array, right: Array) -> NDArray[np.bool_]:
        half = 0.6 * (right - left)  # they overlap, so that no kink is hidden between two
        nodes = 0.5 * (left + right)[:, None] + half[:, None] * NODES
        rough = np.zeros(len(left), dtype=bool)
        for other in others:
            fixed = (np.full(nodes.size, y) for y in other)
            with np.errstate(all="ignore"):
                values = np.asarray(function(nodes.ravel(), *fixed), dtype=np.float64)
                values = values.reshape(nodes.shape)
                tails = np.abs(values @ TO_COEFFICIENTS[-2:].T).max(axis=1)
                size = np.abs(values).max(axis=1)
            least = _JUMP * (0.1 * half * typical if of_value else np.maximum(typical, size))
            rough |= tails > np.maximum(least, 1e-12 * size)  # NaN is not
        return rough

    centres = np.unique(points)
    step = 0.5 * float(np.diff(centres).min())
    panels = bisected(is_rough, np.append(centres[0] - step, centres + step), _JUMP_WIDTH)
    if panels is None:  # too steep to be resolved
        return
    middle, width = 0.5 * (panels[0] + panels[1]), panels[1] - panels[0]
    narrow = (width < _JUMP_WIDTH * (1.0 + np.abs(middle))) & (distance(middle, kinks) > width)
    if narrow.any() and (jumps := is_rough(*(side[narrow] for side in panels))).any():
        place = round(float(middle[narrow][jumps][0]), 3) + 0.0
        raise ValueError(f"{what}: the derivative jumps near {place:g}; {advice}")
