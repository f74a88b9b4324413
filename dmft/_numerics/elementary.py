r"""Exponential, normal distribution, erf, tanh and log1p for compiled loops.

Each is a polynomial and a few operations without branches, so that a loop over an array runs on
vector registers, which calls of the library's functions would not. All operations are rounded one
by one (no fused multiply-add, no reordering): the bits are those of the number, wherever it stands
in its array, on every machine.

=================== ============================================ =================================
function            is                                           largest error found
=================== ============================================ =================================
`exponential`       :math:`e^x`                                  1 ulp
`gaussian`          :math:`e^{-r^2/2}` or :math:`e^{-r^2}`        1 ulp
                    the normal tail :math:`\Phi(-|r|)`           3 ulp; :math:`\Phi(|r|)` 2 ulp
`erf_of`            :math:`\mathrm{erf}(r)`                     2 ulp
`tanh_of`           :math:`\tanh r`                              2 ulp
`log1p`             :math:`\log(1 + e)`, e in [0, 1]             1.2 ulp
=================== ============================================ =================================

Numbers below the normal ones, infinities and nan are right as well.

The exponential is reduced to :math:`|x| \le \log(2)/2` (Cody & Waite, *Software Manual for the
Elementary Functions*, 1980). The normal tail is one function of :math:`t = x/(x + 3.5)` for all x
up to where it underflows (after Shepherd & Laframboise, Math. Comp. 36, 249, 1981),

.. math::

    \Phi(-x) = \frac{e^{-x^2/2}}{x + 3.5}
               \Bigl(\frac{1}{\sqrt{2\pi}} + \frac{h(t)}{x + 3.5}\Bigr),

with what rounding takes from the larger terms put back.
Coefficients are those of Chebyshev interpolation in 60 digits
(``tests/_numerics/test_elementary.py`` computes them).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmt._compiled import compiled

Array = NDArray[np.float64]

JIT: dict[str, Any] = {"nogil": True, "fastmath": False, "error_model": "numpy"}
# A call would keep a loop from vector registers. Nobody calls these from Python.
_INLINE: dict[str, Any] = {**JIT, "forceinline": True, "no_cpython_wrapper": True}
BLOCK = 128
"""Numbers in a block. As it is a constant, a loop is nothing but vector operations."""

_INV_LN2 = float.fromhex("0x1.71547652b82fep+0")
# log 2 in two parts, the first with so few digits that its multiples are exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_ROUND = 6755399441055744.0  # 1.5 * 2^52: what is added to it is rounded to an integer
_ROUND_BITS = 0x4338000000000000
_SPLIT = 134217729.0  # 2^27 + 1 (Dekker)
_FAR = 40.0  # where the normal density is zero in double precision
_SHIFT = 3.5
_INV_SQRT_2PI = 0.3989422804014327
_INV_SQRT_2PI_REST = -2.49232720227773e-17
_MILLS_0, _MILLS_0_REST = 4.728702018594985, 2.9844217221129385e-16
_TWO_OVER_SQRT_PI = 1.1283791670955126
_SQRT_2 = math.sqrt(2.0)
ERF_JOIN, TANH_JOIN = 1.0, 0.55
"""Where the polynomials of `erf_of` and `tanh_of` end."""


@compiled(**_INLINE)
def _exp_minus_one(x: float, rest: float) -> tuple[float, float, float]:
    """Return w and two powers of two whose product with ``1 + w`` is ``exp(x + rest)``."""
    x = 710.0 if x > 710.0 else x
    x = -746.0 if x < -746.0 else x
    shifted = x * _INV_LN2 + _ROUND
    n = shifted - _ROUND
    high = x - n * _LN2_HIGH
    low = n * _LN2_LOW - rest
    u = high - low
    # (e^u - 1 - u)/u^2 for |u| <= log(2)/2
    p = (
        (2.0914679376583935e-09 * u + 2.510520637395701e-08) * u + 2.7557273661348637e-07
    ) * u + 2.7557255425746435e-06
    p = ((p * u + 2.4801587325533363e-05) * u + 0.00019841269874800493) * u + 0.0013888888888883752
    p = ((p * u + 0.008333333333326141) * u + 0.04166666666666667) * u + 0.1666666666666667
    p = p * u + 0.5
    w = u + (u * u * p + ((high - u) - low))
    i = np.float64(shifted).view(np.int64) - _ROUND_BITS
    half = i >> 1
    first = np.int64((half + 1023) << 52).view(np.float64)
    second = np.int64((i - half + 1023) << 52).view(np.float64)
    return w, first, second


@compiled(**JIT)
def exponential(block: Array) -> None:
    """Replace a block (BLOCK,) by its exponential."""
    for i in range(BLOCK):
        w, first, second = _exp_minus_one(block[i], 0.0)
        block[i] = (1.0 + w) * first * second


@compiled(**JIT)
def gaussian(block: Array, c: float) -> None:
    """Fill the second third of a block (3 BLOCK,) with exp(-c r^2), r the first; and the last.

    The last receives ``Phi(-sqrt(2 c) |r|)``. c is 1/2 or 1.
    """
    scale = 1.0 if c == 0.5 else _SQRT_2
    for i in range(BLOCK):
        x = abs(block[i])
        x = _FAR if x > _FAR else x
        # x^2 = head^2 + (x - head)(x + head), the first term without rounding.
        shifted = _SPLIT * x
        head = shifted - (shifted - x)
        w, first, second = _exp_minus_one(-c * head * head, -c * (x - head) * (x + head))
        block[BLOCK + i] = (1.0 + w) * first * second
        x *= scale
        x = _FAR if x > _FAR else x
        s = x + _SHIFT
        more = s - x
        lost = (x - (s - more)) + (_SHIFT - more)
        inverse = 1.0 / s
        t = x * inverse
        p = (
            (0.021972046894545127 * t - 0.2664594219168465) * t + 1.4422267919019551
        ) * t - 4.660571621398709
        p = ((p * t + 10.142503398422399) * t - 15.90460282592942) * t + 18.76802771542813
        p = ((p * t - 17.13041686518804) * t + 12.289438837350877) * t - 7.020312243803778
        p = ((p * t + 3.219593462673562) * t - 1.1496767060987014) * t + 0.3487567497800807
        p = ((p * t - 0.12426526309771957) * t - 0.06889009432397392) * t - 0.008220149584274066
        p = ((p * t + 0.2083037338659242) * t + 0.2578839238761482) * t - 0.33154299423137396
        p = ((p * t - 0.989892234800469) * t + 0.6943117746240001) * t + 3.18037620195067
        p = p * t - 6.250948253616392
        p *= t
        h = _MILLS_0 + p
        put_back = (p - (h - _MILLS_0)) + _MILLS_0_REST - lost * _INV_SQRT_2PI
        z = h / s
        z += w * (_INV_SQRT_2PI + z) + (put_back * inverse + _INV_SQRT_2PI_REST)
        mills = z + _INV_SQRT_2PI
        part = mills - z
        lost = (z - (mills - part)) + (_INV_SQRT_2PI - part)
        block[2 * BLOCK + i] = (mills / s + lost * inverse) * first * second


@compiled(**_INLINE)
def erf_of(r: float, tail: float) -> float:
    """Return erf(r), given the tail of `gaussian` with c = 1."""
    square = r * r
    # erf(r)/r - _TWO_OVER_SQRT_PI for |r| <= ERF_JOIN
    p = (
        (5.957176147748911e-11 * square - 1.1372848856791674e-09) * square + 1.4659775274047436e-08
    ) * square - 1.6350312701054695e-07
    p = (
        (p * square + 1.6461000484121368e-06) * square - 1.4925595266831182e-05
    ) * square + 0.0001205533111164271
    p = (
        (p * square - 0.000854832698083379) * square + 0.0052239776248180145
    ) * square - 0.026866170645076792
    p = (
        (p * square + 0.11283791670954879) * square - 0.3761263890318375
    ) * square + 1.533545961316588e-17
    near = r * (_TWO_OVER_SQRT_PI + p)
    far = 1.0 - 2.0 * tail
    far = far if r > 0.0 else -far
    return near if square < ERF_JOIN * ERF_JOIN else far


@compiled(**_INLINE)
def tanh_of(r: float, e: float) -> float:
    """Return tanh(r), given ``e = exp(-2 |r|)``."""
    square = r * r
    # (tanh(r) - r)/r^3 for |r| <= TANH_JOIN
    p = (
        (-2.060276537636634e-05 * square + 8.511313685577672e-05) * square - 0.0002346347410887237
    ) * square + 0.0005889360520074057
    p = (
        (p * square - 0.001455661830100716) * square + 0.003592110378689024
    ) * square - 0.008863234397814355
    p = (
        (p * square + 0.021869488493666944) * square - 0.053968253967434016
    ) * square + 0.13333333333332714
    p = p * square - 0.3333333333333333
    near = r + r * square * p
    far = 1.0 - 2.0 * e / (1.0 + e)
    far = far if r > 0.0 else -far
    return near if square < TANH_JOIN * TANH_JOIN else far


@compiled(**_INLINE)
def log1p(e: float) -> float:
    """Return log(1 + e) for e in [0, 1]."""
    s = e / (2.0 + e)
    square = s * s
    # log(1 + e) = 2 artanh(s), of which this is (2 artanh(s) - 2 s)/s^3; and 2 s = e - e s.
    p = (
        (0.1563057780092285 * square + 0.07492143795550767) * square + 0.10845178394880015
    ) * square + 0.11734279061303197
    p = (
        (p * square + 0.13335178631449257) * square + 0.1538454396486055
    ) * square + 0.18181819897962714
    p = (
        (p * square + 0.2222222219823677) * square + 0.285714285716001
    ) * square + 0.39999999999999525
    p = p * square + 0.6666666666666666
    return e - s * (e - square * p)
