r"""Deterministic averages over a few standard Gaussians.

The one-dimensional rule is Gauss-Legendre on panels that break at zero, weighted by the normal
density: it converges spectrally for smooth integrands and, unlike Gauss-Hermite, keeps doing so
when the integrand has a kink or a jump at zero (|z|, sign z), where label functions have theirs.
Kinks and jumps at other values of one Gaussian are found by bisection
(`dmft._numerics.kinks.axis_breaks`), and panels end there. Up to ``MAX_TENSOR_DIMENSION`` Gaussians
the rule is a tensor product; beyond it, and where two rules with panels at different places do not
agree on the averages in question, callers use scrambled Sobol points with one scramble per
replicate, so that the cubature error shows in the standard error.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = [
    "MAX_TENSOR_DIMENSION",
    "RULES",
    "gaussian_nodes",
    "normal_rule",
]

MAX_TENSOR_DIMENSION = 3

# (panel ends on the half line, Gauss-Legendre nodes per panel), coarse to fine. The normal
# density at the last end is below 1e-16 for the rules used in one and two dimensions. The shifted
# ones, with panels at other places, are for comparison with the rule named here; a panel that both
# have, between two breaks, has fewer nodes then, or the comparison would say nothing of it.
RULES: dict[str, tuple[tuple[float, ...], int]] = {
    "fine": ((0.0, 1.0, 2.5, 4.5, 9.0), 24),
    "fine-shifted": ((0.0, 0.7, 2.1, 4.2, 9.3), 24),
    "medium": ((0.0, 1.75, 4.0, 8.5), 16),
    "medium-shifted": ((0.0, 1.45, 3.5, 8.7), 16),
    "coarse": ((0.0, 1.25, 3.0, 7.5), 9),
    "shifted": ((0.0, 1.6, 3.5, 7.5), 9),
}
_COMPARED_WITH = {"fine-shifted": "fine", "medium-shifted": "medium", "shifted": "coarse"}
_RULE_OF_DIMENSION = {1: "fine", 2: "fine", 3: "coarse"}
_MAX_NODES = 3_000_000


@lru_cache(maxsize=8)
def normal_rule(
    name: str = "fine", breaks: tuple[float, ...] = ()
) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights for the standard normal law, broken at zero.

    Parameters
    ----------
    name : {'fine', 'fine-shifted', 'medium', 'medium-shifted', 'coarse', 'shifted'}
    breaks : tuple of float
        Where else panels end.

    Returns
    -------
    nodes, weights : ndarray, shape (n,)
        Nodes increasing, symmetric without breaks; weights sum to one and give unit variance.
    """
    if any(breaks):
        return _broken_rule(name, breaks)
    ends, n = RULES[name]
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
    n = RULES[name][1]
    common = {*_panels(_COMPARED_WITH[name], breaks)} if name in _COMPARED_WITH else set()
    parts = []
    for left, right in _panels(name, breaks):
        x, w = np.polynomial.legendre.leggauss(n - n // 6 if (left, right) in common else n)
        inside = 0.5 * (left + right) + 0.5 * (right - left) * x
        parts.append((inside, 0.5 * (right - left) * w))
    nodes = np.concatenate([inside for inside, _ in parts])
    weights = np.concatenate([w for _, w in parts]) * np.exp(-0.5 * nodes**2)
    weights /= weights.sum()
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


def _panels(name: str, breaks: tuple[float, ...]) -> list[tuple[float, float]]:
    """Return the ends of the panels of a rule that is broken there too, increasing."""
    ends = RULES[name][0]
    inside = [b for b in breaks if abs(b) < ends[-1]]
    return list(pairwise(sorted({*ends, *(-end for end in ends), *inside})))


@lru_cache(maxsize=4)
def gaussian_nodes(
    dimension: int,
    name: str | None = None,
    breaks: tuple[tuple[float, ...], ...] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the tensor rule for ``dimension`` independent standard normals.

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

    Raises
    ------
    ValueError
        If the dimension is another, or breaks make too many nodes.
    """
    if not 1 <= dimension <= MAX_TENSOR_DIMENSION:
        raise ValueError(f"dimension must be in 1..{MAX_TENSOR_DIMENSION}, got {dimension}")
    name = _RULE_OF_DIMENSION[dimension] if name is None else name
    rules = [normal_rule(name, ends) for ends in breaks or ((),) * dimension]
    if (size := math.prod(len(x) for x, _ in rules)) > _MAX_NODES:
        raise ValueError(f"breaks must leave at most {_MAX_NODES} nodes, got {size}")
    grids = np.meshgrid(*[x for x, _ in rules], indexing="ij")
    weights = rules[0][1]
    for _, w in rules[1:]:
        weights = np.multiply.outer(weights, w)
    nodes = np.stack([grid.ravel() for grid in grids])
    weights = weights.ravel()
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights
