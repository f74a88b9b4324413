"""Weighted point sets for averages over a label law: tails covered, symmetries exact."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.digital_nets import nested_scrambles, sobol_digits

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
    uniform = nested_scrambles(_sobol(dimension, n), replicates, rng)
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
    """Return the first points (n, dimension) of the Sobol sequence; read-only."""
    digits = sobol_digits(dimension, n)
    digits.setflags(write=False)
    return digits


def sign_patterns(dimension: int) -> Array:
    """Return all patterns of signs, shape (2^dimension, dimension), the identity first.

    Examples
    --------
    >>> sign_patterns(1)
    array([[ 1.],
           [-1.]])
    """
    return np.array(list(itertools.product((1.0, -1.0), repeat=dimension)))
