r"""Compiled passes over the inputs: products of few vectors with a long matrix, row block by block.

With as few vectors as there are neurons such products take as long as the memory needs to deliver
the inputs, if each block is read from it once. BLAS reads a block once a vector (`gemv`), or copies
it into a layout of its own first (`gemm`).

Everything is serial and the order of summation is fixed by the shapes: same input, same bits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmt._compiled import compiled

Array = NDArray[np.float64]

# Sums may be split over vector registers, which no order of summation in the source could ask for.
# Infinities and NaN keep their meaning.
JIT: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"reassoc", "contract"},
    "error_model": "numpy",
}
# Rows that the Hessian's product takes at a time: they stay in the second-level cache.
_ROWS = 8


@compiled(**JIT)
def project_kernel(X: Array, vectors: Array, out: Array) -> None:
    """Fill the leading columns of `out` (m, >= n) with the products of `vectors` and rows of X."""
    n, d = X.shape
    m = vectors.shape[0]
    j = 0
    while j + 2 <= m:  # two vectors and two rows at a time: each number loaded is used twice
        v0, v1 = vectors[j], vectors[j + 1]
        i = 0
        while i + 2 <= n:
            x0, x1 = X[i], X[i + 1]
            s00 = s01 = s10 = s11 = 0.0
            for c in range(d):
                s00 += x0[c] * v0[c]
                s01 += x1[c] * v0[c]
                s10 += x0[c] * v1[c]
                s11 += x1[c] * v1[c]
            out[j, i] = s00
            out[j, i + 1] = s01
            out[j + 1, i] = s10
            out[j + 1, i + 1] = s11
            i += 2
        if i < n:
            x0 = X[i]
            s00 = s10 = 0.0
            for c in range(d):
                s00 += x0[c] * v0[c]
                s10 += x0[c] * v1[c]
            out[j, i] = s00
            out[j + 1, i] = s10
        j += 2
    if j < m:
        v0 = vectors[j]
        for i in range(n):
            x0 = X[i]
            s00 = 0.0
            for c in range(d):
                s00 += x0[c] * v0[c]
            out[j, i] = s00


@compiled(**JIT)
def accumulate_kernel(X: Array, weights: Array, out: Array) -> None:
    """Add to `out` (m, d) the sum over rows of X, each times its weight (m, >= n)."""
    n, d = X.shape
    m = out.shape[0]
    j = 0
    while j + 2 <= m:
        o0, o1 = out[j], out[j + 1]
        i = 0
        while i + 4 <= n:  # four rows at a time: the sums are loaded and stored once for all four
            x0, x1, x2, x3 = X[i], X[i + 1], X[i + 2], X[i + 3]
            a0, a1, a2, a3 = weights[j, i], weights[j, i + 1], weights[j, i + 2], weights[j, i + 3]
            b0, b1, b2, b3 = (
                weights[j + 1, i],
                weights[j + 1, i + 1],
                weights[j + 1, i + 2],
                weights[j + 1, i + 3],
            )
            for c in range(d):
                o0[c] += a0 * x0[c] + a1 * x1[c] + a2 * x2[c] + a3 * x3[c]
                o1[c] += b0 * x0[c] + b1 * x1[c] + b2 * x2[c] + b3 * x3[c]
            i += 4
        while i < n:
            x0 = X[i]
            a0, b0 = weights[j, i], weights[j + 1, i]
            for c in range(d):
                o0[c] += a0 * x0[c]
                o1[c] += b0 * x0[c]
            i += 1
        j += 2
    if j < m:
        o0 = out[j]
        i = 0
        while i + 4 <= n:
            x0, x1, x2, x3 = X[i], X[i + 1], X[i + 2], X[i + 3]
            a0, a1, a2, a3 = weights[j, i], weights[j, i + 1], weights[j, i + 2], weights[j, i + 3]
            for c in range(d):
                o0[c] += a0 * x0[c] + a1 * x1[c] + a2 * x2[c] + a3 * x3[c]
            i += 4
        while i < n:
            x0 = X[i]
            a0 = weights[j, i]
            for c in range(d):
                o0[c] += a0 * x0[c]
            i += 1


@compiled(**JIT)
def hessian_kernel(X: Array, D: Array, vectors: Array, out: Array) -> None:
    """Add to `out` (m, d) the sum over i of x_i times D_i (m, m) times the products with x_i."""
    n = X.shape[0]
    m = vectors.shape[0]
    s = np.empty((m, _ROWS))
    weights = np.empty((m, _ROWS))
    for start in range(0, n, _ROWS):
        stop = min(n, start + _ROWS)
        project_kernel(X[start:stop], vectors, s)
        for i in range(stop - start):
            for j in range(m):
                total = 0.0
                for p in range(m):
                    total += D[start + i, j, p] * s[p, i]
                weights[j, i] = total
        accumulate_kernel(X[start:stop], weights, out)
