r"""The algorithmic threshold of weak recovery, from conditional moments of degree 2.

With :math:`G = E[z_H z_H^T - I \mid y, z_E]` the map :math:`M \mapsto E[GMG]` is self-adjoint and
keeps matrices :math:`\ge 0`, so :math:`1/\delta_{alg} = \max_{M \ge 0,\, |M|_F = 1} |E[G M G]|_F`
is its largest eigenvalue (references in `dmft.recovery.exponents`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dmft.recovery.conditional_moments import ConditionalMoments

__all__ = ["inverse_threshold"]

Array = NDArray[np.float64]

_NEAR = 3.0  # errors within which eigenvalues are taken for one multiple eigenvalue


def inverse_threshold(moments: ConditionalMoments, hard: Array) -> tuple[float, float, Array]:
    """Return 1/delta_alg, its error, and the maximising matrix (k, k)."""
    q = hard.shape[1]
    place = {pair: p for p, pair in enumerate(moments.pairs)}
    # E[G_ik G_lj] as linear combinations of the moments, (q^2, q^2, P).
    linear = np.zeros((q, q, q, q, len(moments.pairs)))
    for i, j, m, n in np.ndindex(q, q, q, q):
        first, scale = _entry(q, i, m)
        second, other = _entry(q, n, j)
        pair = (first, second) if (first, second) in place else (second, first)
        linear[i, j, m, n, place[pair]] += scale * other
    swap = 0.5 * (linear + linear.transpose(1, 0, 2, 3, 4))
    matrix = 0.5 * (swap + swap.transpose(0, 1, 3, 2, 4)).reshape(q * q, q * q, -1)
    values, vectors = np.linalg.eigh(matrix @ moments.value)
    top = vectors[:, -1]
    highest, spread, loss = moments.combine(np.einsum("a,abp,b->p", top, matrix, top))
    near = max(_NEAR * math.hypot(spread, loss), 1e-9 * abs(values[-1]))
    # The identity projected on the leading eigenspace: the limit of powers of the map, hence >= 0.
    # It averages over a multiple eigenvalue, of whose noise a single eigenvector is the largest.
    leading = vectors[:, values > values[-1] - near]
    best = leading @ (leading.T @ np.eye(q).ravel())
    norm = float(np.linalg.norm(best))
    best = best / norm if norm > 1e-6 else top
    value, spread, loss = moments.combine(np.einsum("a,abp,b->p", best, matrix, best))
    error = math.hypot(spread, loss, 0.5 * (highest - value))
    return value, error, hard @ best.reshape(q, q) @ hard.T


def _entry(q: int, i: int, j: int) -> tuple[tuple[int, ...], float]:
    """Return multi-index and factor of z_i z_j - [i = j] in normalised Hermite products."""
    powers = [0] * q
    powers[i] += 1
    powers[j] += 1
    return tuple(powers), math.sqrt(2.0) if i == j else 1.0
