"""Weighted point sets for averages over a label law: tails covered, symmetries exact."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["WeightedPoints", "draw_points", "sign_patterns"]

Array = NDArray[np.float64]
Digits = NDArray[np.uint32]

# Points are drawn wider than the Gaussian by this factor and weighted; it goes down with the
# dimension, because the spread of the weights goes up with it.
_STRETCH = {1: 1.5, 2: 1.5, 3: 1.35, 4: 1.3, 5: 1.25}


@dataclass(frozen=True, eq=False)
class WeightedPoints:
    """Replicates of weighted points, one after the other.

    Attributes
    ----------
    u : ndarray, shape (R n, q)
    eps : ndarray, shape (R n,)
        Noise, or zeros.
    weights : ndarray, shape (R, n)
        Each row sums to one.
    patterns : int
        Points that are one draw with other signs.
    """

    u: Array
    eps: Array
    weights: Array
    patterns: int


def draw_points(
    q: int, uses_noise: bool, replicates: int, n_points: int, rng: np.random.Generator
) -> WeightedPoints:
    """Draw scrambled Sobol points of the normal law, each replicate closed under sign changes.

    Parameters
    ----------
    q : int
        Number of coordinates; with the noise, at most 5.
    uses_noise : bool
        Whether to draw `eps`, too.
    replicates : int
        Independent randomisations, a power of two.
    n_points : int
        Of all replicates together, a power of two.
    rng : numpy.random.Generator

    Examples
    --------
    >>> points = draw_points(2, False, 4, 1024, np.random.default_rng(0))
    >>> points.u.shape, points.weights.shape
    ((1024, 2), (4, 256))
    >>> bool(abs(points.weights.ravel() @ points.u[:, 0]) < 1e-15)
    True
    """
    from scipy.special import ndtri

    dimension = q + int(uses_noise)
    stretch = _STRETCH[dimension]
    patterns = sign_patterns(dimension)
    n = n_points // (replicates * len(patterns))
    uniform = _scrambled(_sobol(dimension, n), replicates, rng)
    draws = stretch * np.asarray(ndtri(uniform))
    weights = np.exp(-0.5 * np.sum(draws**2, axis=2) * (1.0 - stretch**-2))
    weights /= weights.sum(axis=1, keepdims=True) * len(patterns)
    flat = (draws[:, :, None, :] * patterns).reshape(-1, dimension)
    eps = np.ascontiguousarray(flat[:, q]) if uses_noise else np.zeros(len(flat))
    return WeightedPoints(
        np.ascontiguousarray(flat[:, :q]),
        eps,
        np.repeat(weights, len(patterns), axis=1),
        len(patterns),
    )


@lru_cache(maxsize=8)
def _sobol(dimension: int, n: int) -> Digits:
    """Return the first points (n, dimension) of the Sobol sequence as 32 binary digits."""
    from scipy.stats import qmc

    points = qmc.Sobol(dimension, scramble=False, bits=32).random(n)
    digits = (points * 2.0**32).astype(np.uint32)
    digits.setflags(write=False)
    return digits


def _scrambled(digits: Digits, replicates: int, rng: np.random.Generator) -> Array:
    """Return independent nested scrambles (R, n, dimension) in (0, 1).

    Scrambles by random matrices, which is what scipy has, are few in their leading digits: among
    16 replicates two are alike now and then, and what they have in common looks like signal.
    Nested scrambling flips every digit depending on those before it; here the dependence is a
    hash of integers (Laine and Karras, doi:10.1111/j.1467-8659.2011.01982.x; multipliers of
    Vegdahl), in which a digit is changed by lower ones only: hence the reversed order. A random
    flip of each digit makes every point uniform, whatever the hash.
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


def sign_patterns(dimension: int) -> Array:
    """Return all patterns of signs, shape (2^dimension, dimension), the identity first.

    Examples
    --------
    >>> sign_patterns(1)
    array([[ 1.],
           [-1.]])
    """
    return np.array(list(itertools.product((1.0, -1.0), repeat=dimension)))
