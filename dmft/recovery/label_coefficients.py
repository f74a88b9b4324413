r"""Hermite coefficients of a label law, :math:`E[y\, h_a(z)]`, and normalised Hermite energies.

Quadrature serves where two rules agree (smooth labels, or kinks at zero, of up to three Gaussians):
then zeros are zero to rounding. Otherwise weighted Sobol points with every sign pattern do, and
only products of independent estimates are averaged, so that noise averages to zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.hermite import hermite_product, hermite_values, multi_indices
from dmft._numerics.quadrature import MAX_TENSOR_DIMENSION, gaussian_nodes
from dmft._numerics.weighted_points import draw_points

__all__ = ["HermiteEnergies", "hermite_energies"]

Array = NDArray[np.float64]
LabelFunction = Callable[[Array, Array], Array]

_REPLICATES = 16
_AGREEMENT = 1e-6  # of coefficients of the standardised label between two quadrature rules
_LARGEST_SPREAD = 0.1  # relative error of E[y^2] above which it is not taken to exist
_RULES = {1: ("fine", "medium"), 2: ("fine", "medium"), 3: ("coarse", "shifted")}


@dataclass(frozen=True, eq=False)
class HermiteEnergies:
    """Normalised Hermite energies of a label: fractions of its variance by degree and direction.

    Attributes
    ----------
    value : ndarray, shape (L, k)
        For degree l and direction j the sum of :math:`(a_j / l) E[y h_a]^2 / Var(y)` over
        :math:`|a| = l`: the square of the coefficient tensor of degree l contracted with the
        direction. Sums over j are the energy of the degree. NaN if y has no variance.
    stderr : ndarray, shape (L, k)
        Of sampling, or the difference of two quadrature rules.
    finite : bool
        Whether the label has a second moment, as far as can be seen.
    exact : bool
        Whether quadrature was used.
    """

    value: Array
    stderr: Array
    finite: bool
    exact: bool


def hermite_energies(
    label: LabelFunction,
    directions: Array,
    max_degree: int,
    *,
    uses_noise: bool,
    n_points: int,
    seed: int,
) -> HermiteEnergies:
    """Compute the normalised Hermite energies of a label function up to a degree.

    Parameters
    ----------
    label : callable
        ``(z (N, k), eps (N,)) -> y (N,)``.
    directions : ndarray, shape (k, k)
        Orthonormal columns.
    max_degree : int
    uses_noise : bool
        Whether labels depend on `eps`.
    n_points : int
        Number of labels evaluated where quadrature will not do.
    seed : int

    Examples
    --------
    >>> energies = hermite_energies(
    ...     lambda z, eps: z[:, 0] ** 2, np.eye(1), 4, uses_noise=False, n_points=1024, seed=0
    ... )
    >>> energies.exact, (energies.value[:, 0].round(12) + 0.0).tolist()
    (True, [0.0, 1.0, 0.0, 0.0])
    """
    k = directions.shape[1]
    dimension = k + int(uses_noise)
    powers = multi_indices(k, 1, max_degree)
    degree = np.array([sum(power) for power in powers])
    # (L k, p): how much of each coefficient counts for a degree and a direction.
    by_degree = np.zeros((max_degree, k, len(powers)))
    for p, power in enumerate(powers):
        by_degree[degree[p] - 1, :, p] = np.array(power) / degree[p]
    parts = by_degree.reshape(-1, len(powers))
    shape = (max_degree, k)

    if dimension <= MAX_TENSOR_DIMENSION:
        found = []
        for rule in _RULES[dimension]:
            nodes, weights = gaussian_nodes(dimension, rule)
            eps = nodes[k] if uses_noise else np.zeros(nodes.shape[1])
            u = np.ascontiguousarray(nodes[:k])
            y = label(np.ascontiguousarray((directions @ u).T), eps)
            found.append((*_coefficients(y, u, weights, powers), float(weights @ np.square(y))))
        (one, spread, square), (other, other_spread, _) = found
        if spread <= 1e-14 * math.sqrt(square):  # a constant
            return HermiteEnergies(np.full(shape, np.nan), np.full(shape, np.nan), True, True)
        one, other = one / spread, other / other_spread if other_spread else other
        if abs(other_spread / spread - 1.0) < _AGREEMENT and np.abs(one - other).max() < _AGREEMENT:
            value = parts @ np.square(one)
            error = np.abs(value - parts @ np.square(other))
            return HermiteEnergies(value.reshape(shape), error.reshape(shape), True, True)

    drawn = draw_points(k, uses_noise, _REPLICATES, n_points, np.random.default_rng([seed, 0]))
    y = label(drawn.u @ directions.T, drawn.eps)
    y = (y - np.median(y)).reshape(_REPLICATES, -1)
    u = drawn.u.reshape(_REPLICATES, -1, k)
    squares = np.sum(drawn.weights * np.square(y), axis=1)
    mean = float(np.sum(drawn.weights * y) / _REPLICATES)
    variance = float(squares.mean()) - mean**2
    if variance <= 1e-28 * float(squares.mean()):
        return HermiteEnergies(np.full(shape, np.nan), np.full(shape, np.nan), True, False)
    if squares.std(ddof=1) > _LARGEST_SPREAD * math.sqrt(_REPLICATES) * squares.mean():
        return HermiteEnergies(np.full(shape, np.nan), np.full(shape, np.nan), False, False)
    estimates = np.stack(
        [
            _coefficients(y[r] - mean, np.ascontiguousarray(u[r].T), drawn.weights[r], powers)[0]
            for r in range(_REPLICATES)
        ]
    ) / math.sqrt(variance)
    value = parts @ _pair_average(estimates)
    left_out = np.stack(
        [parts @ _pair_average(np.delete(estimates, r, axis=0)) for r in range(_REPLICATES)]
    )
    error = np.sqrt((_REPLICATES - 1) * left_out.var(axis=0))
    return HermiteEnergies(value.reshape(shape), error.reshape(shape), True, False)


def _coefficients(
    y: Array, u: Array, weights: Array, powers: list[tuple[int, ...]]
) -> tuple[Array, float]:
    """Return E[y h_a(u)] (p,) and the standard deviation of y; u is (k, N)."""
    mean = float(weights @ y)
    weighted = weights * (y - mean)
    values = hermite_values(u, max(map(sum, powers)))
    found = np.array([weighted @ hermite_product(values, power) for power in powers])
    return found, math.sqrt(max(float(weighted @ (y - mean)), 0.0))


def _pair_average(estimates: Array) -> Array:
    """Return the mean of c_r c_s over r != s, (p,): unbiased for the square of the mean."""
    count = len(estimates)
    total = np.square(estimates.sum(axis=0)) - np.square(estimates).sum(axis=0)
    return np.asarray(total / (count * (count - 1)))
