r"""Deterministic averages over a few standard Gaussians.

The one-dimensional rule is Gauss-Legendre on panels that break at zero, weighted by the normal
density: it converges spectrally for smooth integrands and, unlike Gauss-Hermite, keeps doing so
when the integrand has a kink or a jump at zero (|z|, sign z), where label functions have theirs.
Up to ``MAX_TENSOR_DIMENSION`` Gaussians the rule is a tensor product; beyond it, callers use
scrambled Sobol points with one scramble per replicate, so that the cubature error shows in the
standard error.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["MAX_TENSOR_DIMENSION", "gaussian_nodes", "normal_rule", "rules_agree"]

_AGREEMENT = 2e-5

MAX_TENSOR_DIMENSION = 3

# (panel ends on the half line, Gauss-Legendre nodes per panel), coarse to fine. The normal
# density at the last end is below 1e-16 for the rules used in one and two dimensions.
_RULES: dict[str, tuple[tuple[float, ...], int]] = {
    "fine": ((0.0, 1.0, 2.5, 4.5, 9.0), 24),
    "medium": ((0.0, 1.75, 4.0, 8.5), 16),
    "coarse": ((0.0, 1.25, 3.0, 7.5), 9),
    "shifted": ((0.0, 1.6, 3.5, 7.5), 9),
}
_RULE_OF_DIMENSION = {1: "fine", 2: "fine", 3: "coarse"}


@lru_cache(maxsize=8)
def normal_rule(
    name: str = "fine", breaks: tuple[float, ...] = ()
) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for the standard normal law, broken at zero.

    Parameters
    ----------
    name : {'fine', 'medium', 'coarse', 'shifted'}
    breaks : tuple of float
        Where else panels end.

    Returns
    -------
    nodes, weights : ndarray, shape (n,)
        Nodes increasing, symmetric without breaks; weights sum to one and give unit variance.
    """
    if any(breaks):
        return _broken_rule(name, breaks)
    ends, n = _RULES[name]
    x, w = np.polynomial.legendre.leggauss(n)
    half_nodes = []
    half_weights = []
    for left, right in pairwise(ends):
        scale = 0.5 * (right - left)
        nodes = 0.5 * (left + right) + scale * x
        half_nodes.append(nodes)
        half_weights.append(scale * w * np.exp(-0.5 * nodes**2))
    positive = np.concatenate(half_nodes)
    weight = np.concatenate(half_weights)
    nodes = np.concatenate([-positive[::-1], positive])
    weights = np.concatenate([weight[::-1], weight])
    weights /= weights.sum()
    nodes = nodes / np.sqrt(np.sum(weights * nodes**2))
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


def _broken_rule(name: str, breaks: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    ends, n = _RULES[name]
    inside = [b for b in breaks if abs(b) < ends[-1]]
    points = sorted({*ends, *(-end for end in ends), *inside})
    x, w = np.polynomial.legendre.leggauss(n)
    left, right = np.array(points[:-1])[:, None], np.array(points[1:])[:, None]
    nodes = (0.5 * (left + right) + 0.5 * (right - left) * x).ravel()
    weights = (0.5 * (right - left) * w).ravel() * np.exp(-0.5 * nodes**2)
    weights /= weights.sum()
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


@lru_cache(maxsize=4)
def gaussian_nodes(
    dimension: int,
    name: str | None = None,
    breaks: tuple[tuple[float, ...], ...] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Tensor rule for ``dimension`` independent standard normals.

    Parameters
    ----------
    dimension : int
        1 to ``MAX_TENSOR_DIMENSION``.
    name : str, optional
        One-dimensional rule; by default the finest that keeps the product below 2e5 nodes.
    breaks : tuple of tuple of float, optional
        For each Gaussian, where its panels end besides; the product then has more nodes.

    Returns
    -------
    nodes : ndarray, shape (dimension, n)
    weights : ndarray, shape (n,), summing to one
    """
    if not 1 <= dimension <= MAX_TENSOR_DIMENSION:
        raise ValueError(f"dimension must be in 1..{MAX_TENSOR_DIMENSION}, got {dimension}")
    name = _RULE_OF_DIMENSION[dimension] if name is None else name
    rules = [normal_rule(name, ends) for ends in breaks or ((),) * dimension]
    grids = np.meshgrid(*[x for x, _ in rules], indexing="ij")
    weights = rules[0][1]
    for _, w in rules[1:]:
        weights = np.multiply.outer(weights, w)
    nodes = np.stack([grid.ravel() for grid in grids])
    weights = weights.ravel()
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


def rules_agree(function: Callable[[FloatArray], FloatArray], dimension: int) -> bool:
    """Whether two rules with panels at different places give the same averages of a function.

    They do for functions that are smooth away from zero; a kink or jump elsewhere, which the rules
    would integrate with an error nobody sees, makes them differ.

    Parameters
    ----------
    function : callable
        Bounded, (dimension, n) -> (j, n).
    dimension : int
        1 to ``MAX_TENSOR_DIMENSION``.
    """
    averages = []
    for name in ("coarse", "shifted"):
        nodes, weights = gaussian_nodes(dimension, name)
        averages.append(function(nodes) @ weights)
    return bool(np.abs(averages[0] - averages[1]).max() < _AGREEMENT)
