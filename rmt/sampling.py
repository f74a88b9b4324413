"""Matrices of finite size drawn from a law."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rmt._validation import check_integer

if TYPE_CHECKING:
    from rmt._packing import Array
    from rmt.law import HessianLaw

__all__ = ["sample_matrix"]


def sample_matrix(law: HessianLaw, d: int, seed: int | np.random.Generator) -> Array:
    """Draw H at finite dimension, to look at or to compare with.

    Parameters
    ----------
    d : int
        Dimension of the inputs, at least ``max(k_hard, 1)``; n = round(ratio d) samples,
        at least one.
    seed : int or numpy.random.Generator
        Source of randomness.

    Returns
    -------
    (m d, m d) array
        ``(1/n) sum_i D_i (x) x_i x_i^T + shift (x) I``, row a d + j for neuron a and input j. Every
        atom appears n p_i times up to rounding (systematic sampling). With ``hard`` given, the
        first k_h inputs of a sample are its hard coordinates, the others standard normal.

    Examples
    --------
    >>> import rmt
    >>> law = rmt.HessianLaw([1.0, -1.0], ratio=2.0)
    >>> law.sample_matrix(5, seed=0).shape
    (5, 5)
    """
    d = check_integer("d", d, minimum=max(1, law.k_hard))
    if not isinstance(seed, np.random.Generator):
        seed = check_integer("seed", seed, minimum=0, maximum=None)
    rng = np.random.default_rng(seed)
    n = max(1, round(law.ratio * d))
    levels = (rng.permutation(n) + rng.random()) / n
    drawn = np.searchsorted(np.cumsum(law.probabilities), levels, side="right")
    drawn = np.minimum(drawn, np.flatnonzero(law.probabilities)[-1])
    x = rng.standard_normal((n, d))
    if law.hard is not None:
        x[:, : law.k_hard] = law.hard[drawn]
    m = law.m
    h = np.empty((m, d, m, d))
    for a in range(m):
        for b in range(a + 1):
            block = (x.T * law.weights[drawn, a, b]) @ x / n
            h[a, :, b, :] = block
            h[b, :, a, :] = block.T
    matrix = h.reshape(m * d, m * d)
    matrix = 0.5 * (matrix + matrix.T)
    if isinstance(law.shift, float):
        matrix[np.diag_indices(m * d)] += law.shift
        return matrix
    return np.asarray(matrix + np.kron(law.shift, np.eye(d)))
