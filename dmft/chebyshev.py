r"""Stabilised Runge-Kutta-Chebyshev steps, for flows whose fast modes have long decayed.

A Runge-Kutta step of s stages that is stable for :math:`h \lambda \le 0.65 s^2`: the number of
evaluations grows with the square root of the stiffness, and no linear system is solved (B. P.
Sommeijer, L. F. Shampine and J. G. Verwer, *RKC: an explicit solver for parabolic PDEs*,
J. Comput. Appl. Math. 88, 1998). It is of second order, with an error estimate that costs nothing
as the gradient at its end is the first one of the next step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["Stage", "chebyshev_stages", "n_chebyshev_stages"]

_DAMPING = 2.0 / 13.0


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


def n_chebyshev_stages(h_times_largest: float) -> int:
    """Fewest stages (at least 2) that are stable for a step times the largest rate of decay."""
    return max(2, 1 + int(math.sqrt(1.0 + 1.54 * max(h_times_largest, 0.0))))


@lru_cache(maxsize=512)
def chebyshev_stages(s: int) -> tuple[Stage, ...]:
    """Coefficients of the s >= 2 stages of a step."""
    w0 = 1.0 + _DAMPING / s**2
    value, slope, bend = _chebyshev(s, w0)
    w1 = slope[s] / bend[s]
    b = np.empty(s + 1)
    b[2:] = bend[2:] / slope[2:] ** 2
    b[:2] = b[2]
    a = 1.0 - b * value
    stages = [Stage(1.0, 0.0, 0.0, b[1] * w1, 0.0)]
    for j in range(2, s + 1):
        last, second_last = 2.0 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2]
        slope_j = 2.0 * b[j] * w1 / b[j - 1]
        stages.append(
            Stage(1.0 - last - second_last, last, second_last, slope_j, -a[j - 1] * slope_j)
        )
    return tuple(stages)


def _chebyshev(s: int, x: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chebyshev polynomials T_0..T_s at x, with first and second derivatives."""
    value, slope, bend = np.ones(s + 1), np.zeros(s + 1), np.zeros(s + 1)
    value[1], slope[1] = x, 1.0
    for j in range(2, s + 1):
        value[j] = 2.0 * x * value[j - 1] - value[j - 2]
        slope[j] = 2.0 * value[j - 1] + 2.0 * x * slope[j - 1] - slope[j - 2]
        bend[j] = 4.0 * slope[j - 1] + 2.0 * x * bend[j - 1] - bend[j - 2]
    return value, slope, bend
