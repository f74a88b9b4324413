r"""Stabilised Runge-Kutta-Legendre steps, for flows whose fast modes have long decayed.

A Runge-Kutta step of s stages is stable for :math:`h \lambda \le (s^2 + s - 2) / 2`: the number of
evaluations grows with the square root of the stiffness, and no linear system is solved (C. D.
Meyer, D. S. Balsara and T. D. Aslam, *A stabilized Runge-Kutta-Legendre method for explicit
super-time-stepping of parabolic and mixed equations*, J. Comput. Phys. 257, 2014). It is of second
order. With an odd number of stages a step leaves 0.77 of a fast mode at most; stages from
Chebyshev polynomials, which are stable for a quarter more, leave 0.95 of it in places, and a mode
that is hit again and again, as by samples that change sides, then keeps the steps short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["Stage", "error_factor", "legendre_stages", "n_legendre_stages"]


@dataclass(frozen=True)
class Stage:
    """One stage: ``Y_j = of_start Y_0 + of_last Y_{j-1} + of_second_last Y_{j-2} + h (...)``.

    Attributes
    ----------
    of_start, of_last, of_second_last : float
    slope, slope_of_start : float
        The bracket is ``slope F(Y_{j-1}) + slope_of_start F(Y_0)``.
    """

    of_start: float
    of_last: float
    of_second_last: float
    slope: float
    slope_of_start: float


def n_legendre_stages(h_times_largest: float) -> int:
    """Return the fewest stages, odd and >= 3, stable for a step times the largest rate of decay."""
    fewest = math.ceil(0.5 * (math.sqrt(9.0 + 8.0 * max(h_times_largest, 0.0)) - 1.0))
    return max(3, fewest + 1 - fewest % 2)


@lru_cache(maxsize=512)
def legendre_stages(s: int) -> tuple[Stage, ...]:
    """Return the coefficients of the s >= 2 stages of a step."""
    j = np.arange(s + 1, dtype=np.float64)
    b = np.full(s + 1, 1.0 / 3.0)
    b[2:] = (j[2:] ** 2 + j[2:] - 2.0) / (2.0 * j[2:] * (j[2:] + 1.0))
    w1 = 4.0 / (s**2 + s - 2.0)
    stages = [Stage(1.0, 0.0, 0.0, b[1] * w1, 0.0)]
    for i in range(2, s + 1):
        last = (2.0 * i - 1.0) / i * b[i] / b[i - 1]
        second_last = -(i - 1.0) / i * b[i] / b[i - 2]
        slope = last * w1
        stages.append(
            Stage(1.0 - last - second_last, last, second_last, slope, -(1.0 - b[i - 1]) * slope)
        )
    return tuple(stages)


def error_factor(s: int) -> float:
    r"""Return the error of a step of s stages over ``y_0 - y_1 + h (F_0 + F_1) / 2``.

    Both are multiples of the third derivative to leading order, in a linear problem by 1/6 - c and
    1/4 - c, with c the third coefficient of the stability polynomial.
    """
    size = s**2 + s
    c = (size - 6.0) / (size - 2.0) / 9.0
    return (1.0 / 6.0 - c) / (0.25 - c)
