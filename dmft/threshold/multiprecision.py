"""Numbers of many digits: mpmath for numpy's functions, laws of the catalogue, quadrature."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.model.activations import LEAK

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dmft.model.problem import Problem

    FloatArray = NDArray[np.float64]
    Objects = NDArray[np.object_]

__all__ = [
    "activation_of",
    "fixed_point",
    "gauss_legendre",
    "loss_derivatives",
    "new_context",
    "objects",
]

_METHODS = (
    "sqrt exp expm1 log log1p sin cos tan sinh cosh tanh arcsin:asin arccos:acos arctan:atan "
    "arcsinh:asinh arctanh:atanh arccosh:acosh hypot cbrt floor ceil"
)


def new_context(digits: int) -> Any:
    """Return mpmath with a number of digits, whose numbers have the methods numpy asks for."""
    from mpmath import MPContext

    context = MPContext()
    context.dps = digits
    for pair in _METHODS.split():
        name, _, function = pair.partition(":")
        setattr(context.mpf, name, _method(getattr(context, function or name)))
    context.mpf.rint = lambda x: context.nint(x)
    context.mpf.log10 = lambda x: context.log10(x)
    context.mpf.log2 = lambda x: context.log(x, 2)
    context.mpf.exp2 = lambda x: context.mpf(2) ** x
    return context


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments)


def objects(context: Any, x: FloatArray) -> Objects:
    """Return floats as mpmath numbers."""
    return np.array([context.mpf(value) for value in x.tolist()], dtype=object)


def activation_of(problem: Problem, context: Any) -> tuple[Callable[..., Any], ...]:
    """Return value and derivatives of the activation on mpmath numbers."""
    activation = problem.network.activation
    if activation.in_catalogue and activation.name in _TWINS:
        return tuple(
            np.frompyfunc(lambda r, f=function: f(context, r), 1, 1)
            for function in _TWINS[activation.name]
        )
    return activation.value, activation.derivative, activation.second_derivative


def loss_derivatives(problem: Problem) -> tuple[Callable[..., Any], ...]:
    """Return the derivatives of the loss on mpmath numbers."""
    loss = problem.loss
    if loss.in_catalogue and loss.name == "pseudo-huber":  # numpy's hypot takes no mix
        return (
            lambda f, y: (f - y) / np.sqrt(1 + (f - y) ** 2),
            lambda f, y: 1 / np.sqrt(1 + (f - y) ** 2) ** 3,
        )
    return loss.derivative, loss.second_derivative


def _zero(mp: Any, r: Any) -> Any:
    return mp.mpf(0)


# Those of the catalogue that call scipy or have no counterpart for objects in numpy.
_TWINS: dict[str, tuple[Callable[[Any, Any], Any], ...]] = {
    "gelu": (
        lambda mp, r: r * mp.ncdf(r),
        lambda mp, r: mp.ncdf(r) + r * mp.npdf(r),
        lambda mp, r: mp.npdf(r) * (2 - r * r),
    ),
    "erf": (
        lambda mp, r: mp.erf(r),
        lambda mp, r: 2 / mp.sqrt(mp.pi) * mp.exp(-r * r),
        lambda mp, r: -4 * r / mp.sqrt(mp.pi) * mp.exp(-r * r),
    ),
    "linear": (lambda mp, r: r, lambda mp, r: mp.mpf(1), _zero),
    "relu": (lambda mp, r: max(r, mp.mpf(0)), lambda mp, r: mp.mpf(int(r > 0)), _zero),
    "leaky-relu": (
        lambda mp, r: max(r, LEAK * r),
        lambda mp, r: mp.mpf(1) if r > 0 else mp.mpf(LEAK),
        _zero,
    ),
    "clipped-linear": (
        lambda mp, r: max(min(r, mp.mpf(1)), mp.mpf(-1)),
        lambda mp, r: mp.mpf(int(abs(r) < 1)),
        _zero,
    ),
}


def gauss_legendre(context: Any, ends: list[Any], nodes: int) -> tuple[Objects, Objects]:
    """Compute nodes and weights for the standard normal law on panels with given ends.

    Fewer nodes where the density is small. Symmetric panels have symmetric nodes to the last digit.
    """
    points, masses = [], []
    for left, right in itertools.pairwise(ends):
        nearest = 0.0 if left < 0 < right else float(min(abs(left), abs(right)))
        share = 1.0 - nearest**2 / (2.0 * math.log(10.0) * context.dps)
        x, w = _legendre(context, max(8, math.ceil(nodes * share)))
        points.append((left + right) / 2 + (right - left) / 2 * x)
        masses.append((right - left) / 2 * w)
    z = np.concatenate(points)
    density: Objects = np.frompyfunc(context.npdf, 1, 1)(z)
    return z, np.concatenate(masses) * density


@functools.lru_cache(maxsize=256)
def _legendre(context: Any, n: int) -> tuple[Objects, Objects]:
    """Compute the Gauss-Legendre rule to all digits, by Newton from floats."""
    start, _ = np.polynomial.legendre.leggauss(n)
    x = objects(context, start[n // 2 :])
    if n % 2:
        x[0] = context.mpf(0)
    slope = x
    for _ in range(math.ceil(math.log2(context.dps / 14.0)) + 1):
        before, value = x * 0 + 1, x
        for i in range(2, n + 1):
            before, value = value, ((2 * i - 1) * x * value - (i - 1) * before) / i
        slope = n * (x * value - before) / (x * x - 1)
        x = x - value / slope
    w = 2 / ((1 - x * x) * slope * slope)
    odd = n % 2
    return np.concatenate([-x[odd:][::-1], x]), np.concatenate([w[odd:][::-1], w])


def fixed_point(context: Any, numbers: Objects, bits: int) -> Objects:
    """Return numbers as integers, in units of 2^-bits."""
    one = context.mpf(2) ** bits
    return np.array([int(context.floor(x * one)) for x in numbers], dtype=object)
