"""Sobol points with nested scrambles: independent randomisations of one point set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["nested_scrambles", "sobol_digits"]

Array = NDArray[np.float64]
Digits = NDArray[np.uint32]


def sobol_digits(dimension: int, n: int) -> Digits:
    """Return the first points (n, dimension) of the Sobol sequence as 32 binary digits."""
    from scipy.stats import qmc

    points = qmc.Sobol(dimension, scramble=False, bits=32).random(n)
    return np.asarray(points * 2.0**32).astype(np.uint32)


def nested_scrambles(digits: Digits, replicates: int, rng: np.random.Generator) -> Array:
    """Return independent nested scrambles (replicates, n, dimension) in (0, 1).

    Scrambles by random matrices, which is what scipy has, are few in their leading digits: among
    16 replicates two are alike now and then, and what they have in common looks like signal.
    Nested scrambling flips every digit depending on those before it; here the dependence is a
    hash of integers (Laine and Karras, doi:10.1111/j.1467-8659.2011.01982.x; multipliers of
    Vegdahl), in which a digit is changed by lower ones only: hence the reversed order. A random
    flip of each digit makes every point uniform, whatever the hash.

    Examples
    --------
    >>> u = nested_scrambles(sobol_digits(2, 8), 1, np.random.default_rng(0))
    >>> np.sort((8 * u[0]).astype(int), axis=0).T  # one point in each eighth, on both axes
    array([[0, 1, 2, 3, 4, 5, 6, 7],
           [0, 1, 2, 3, 4, 5, 6, 7]])
    """
    shape = (replicates, 1, digits.shape[1])
    seed, flip = rng.integers(0, 2**32, (2, *shape), dtype=np.uint32)
    x = np.broadcast_to(_reversed_bits(digits), (replicates, *digits.shape)).copy()
    x ^= x * np.uint32(0x3D20ADEA)
    x += seed
    x *= (seed >> np.uint32(16)) | np.uint32(1)
    x ^= x * np.uint32(0x05526C56)
    x ^= x * np.uint32(0x53A22864)
    return np.asarray(((_reversed_bits(x) ^ flip) + 0.5) / 2.0**32)


def _reversed_bits(x: Digits) -> Digits:
    """Return the 32 digits of each entry in reversed order."""
    for width, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        kept = np.uint32(mask)
        x = ((x >> np.uint32(width)) & kept) | ((x & kept) << np.uint32(width))
    return (x >> np.uint32(16)) | (x << np.uint32(16))
