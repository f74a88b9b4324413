r"""Compiled element-wise kernels: gradient, curvature and loss of one sample per column.

With :math:`f = \sum_j a_j \sigma(r_j)`,

.. math::

    g_j &= L'(f, y)\, a_j \sigma'(r_j) \\
    D_{jl} &= L''(f, y)\, a_j a_l \sigma'(r_j) \sigma'(r_l)
            + 1[j = l]\, L'(f, y)\, a_j \sigma''(r_j).

Everything is serial and sums in a fixed order: same input, same bits. The codes of activations and
losses are those of the catalogues. One exponential serves a value and both its derivatives.
"""

import math
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Triple = tuple[float, float, float]

JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": False, "error_model": "numpy"}

# Activation codes (dmft.activations).
QUADRATIC, GELU, TANH, ERF, SOFTPLUS, SILU, LINEAR = 0, 1, 2, 3, 4, 5, 6
# Loss codes (dmft.losses).
SQUARE, PSEUDO_HUBER, LOGISTIC = 0, 1, 2

_INV_SQRT_2 = 1.0 / math.sqrt(2.0)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


@nb.njit(**JIT)
def _log1p(e: float) -> float:
    """Return log(1 + e) for e in [0, 1] to a few ulp, in half the time of the library's log1p."""
    u = 1.0 + e
    # The rounding error of u cancels between log(u) and u - 1 (Kahan).
    return e if u == 1.0 else math.log(u) * (e / (u - 1.0))


@nb.njit(**JIT)
def _activation(code: int, r: float) -> Triple:
    """Value and first two derivatives of activation `code` at the number `r`."""
    if code == QUADRATIC:
        return r * r, 2.0 * r, 2.0
    if code == LINEAR:
        return r, 1.0, 0.0
    if code == GELU:
        cdf = 0.5 * math.erfc(-r * _INV_SQRT_2)
        density = _INV_SQRT_2PI * math.exp(-0.5 * r * r)
        return r * cdf, cdf + r * density, density * (2.0 - r * r)
    if code == ERF:
        slope = _TWO_OVER_SQRT_PI * math.exp(-r * r)
        return math.erf(r), slope, -2.0 * r * slope
    if code == TANH:
        if abs(r) < 0.35:
            t = math.tanh(r)
            slope = 1.0 - t * t
        else:
            # sech^2 from e^{-2|r|}: 1 - tanh^2 would lose all digits in the tails.
            e = math.exp(-2.0 * abs(r))
            w = 1.0 / (1.0 + e)
            t = math.copysign((1.0 - e) * w, r)
            slope = 4.0 * e * w * w
        return t, slope, -2.0 * t * slope
    # softplus and silu share the logistic function and its slope.
    e = math.exp(-abs(r))
    w = 1.0 / (1.0 + e)
    sigmoid = w if r >= 0.0 else e * w
    slope = e * w * w
    if code == SOFTPLUS:
        return max(r, 0.0) + _log1p(e), sigmoid, slope
    if code == SILU:
        # abs(r) * tanh(|r|/2) = r * tanh(r/2)
        return r * sigmoid, sigmoid + r * slope, slope * (2.0 - abs(r) * (1.0 - e) * w)
    return math.nan, math.nan, math.nan


@nb.njit(**JIT)
def _loss(code: int, f: float, y: float) -> Triple:
    """Value and first two derivatives (in `f`) of loss `code` at the numbers `f` and `y`."""
    if code == SQUARE:
        u = f - y
        return 0.5 * u * u, u, 1.0
    if code == PSEUDO_HUBER:
        u = f - y
        # Beyond 1e100 the 1 under the root is invisible, and u^2 would overflow.
        s = math.sqrt(1.0 + u * u) if abs(u) < 1e100 else abs(u)
        w = 1.0 / s
        return abs(u) * (abs(u) / (1.0 + s)), u * w, w * w * w
    if code == LOGISTIC:
        t = y * f
        e = math.exp(-abs(t))
        w = 1.0 / (1.0 + e)
        return (
            max(-t, 0.0) + _log1p(e),
            -y * (e * w if t >= 0.0 else w),
            y * y * e * w * w,
        )
    return math.nan, math.nan, math.nan


@nb.njit(**JIT)
def gradient_kernel(
    r: Array, y: Array, a: Array, activation: int, loss: int, g: Array, loss_values: Array
) -> None:
    """Fill `g` (m, N) with dl/dr and `loss_values` (N,) with l; `g` may be `r` itself."""
    m, n = r.shape
    for i in range(n):
        f = 0.0
        for j in range(m):
            s, s1, _ = _activation(activation, r[j, i])
            f += a[j] * s
            g[j, i] = a[j] * s1
        value, slope, _ = _loss(loss, f, y[i])
        loss_values[i] = value
        for j in range(m):
            g[j, i] *= slope


@nb.njit(**JIT)
def curvature_kernel(r: Array, y: Array, a: Array, activation: int, loss: int, D: Array) -> None:
    """Fill `D` (N, m, m) with d2l/dr dr."""
    m, n = r.shape
    s1 = np.empty(m)
    s2 = np.empty(m)
    for i in range(n):
        f = 0.0
        for j in range(m):
            s, d1, d2 = _activation(activation, r[j, i])
            f += a[j] * s
            s1[j] = a[j] * d1
            s2[j] = a[j] * d2
        _, slope, bend = _loss(loss, f, y[i])
        for j in range(m):
            for p in range(j):
                entry = bend * (s1[j] * s1[p])
                D[i, j, p] = entry
                D[i, p, j] = entry
            D[i, j, j] = bend * (s1[j] * s1[j]) + slope * s2[j]


@nb.njit(**JIT)
def loss_kernel(h: Array, y: Array, weights: Array, a: Array, activation: int, loss: int) -> float:
    """Return sum_i weights_i l(h_i, y_i), summed in order of i with compensation (Neumaier)."""
    m, n = h.shape
    total = 0.0
    lost = 0.0
    for i in range(n):
        f = 0.0
        for j in range(m):
            f += a[j] * _activation(activation, h[j, i])[0]
        term = weights[i] * _loss(loss, f, y[i])[0]
        new = total + term
        if abs(total) >= abs(term):
            lost += (total - new) + term
        else:
            lost += (term - new) + total
        total = new
    # An overflow leaves inf - inf in the compensation; the plain sum is then the answer.
    return total + lost if math.isfinite(lost) else total
