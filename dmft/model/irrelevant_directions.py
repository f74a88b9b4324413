"""Latent directions that labels do not depend on: hard for want of anything to be told of them.

Gradients pick up no overlap with such a direction, so it is hard (docs/theory.md, easy and hard
directions); but there is nothing in it to be learned. Given y and the other coordinates it is a
standard normal still: no outlier of a Hessian has it, and no algorithm recovers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft.model.features import labels_are_unchanged
from dmft.model.simple_bases import simple_complement

if TYPE_CHECKING:
    from dmft.model.target import Target

__all__ = ["is_outside", "split_irrelevant"]

Array = NDArray[np.float64]

_POINTS = 1024
_STEP = 1e-4  # of differences
_ROUNDING = 1e-3  # of the largest difference
_FLAT = 1e-6  # share of the mean square of the gradient along directions that may be irrelevant
_SIMPLE = 1e-4  # how far they may be from directions in simple ratios, which are tried instead


def is_outside(target: Target, direction: Array) -> bool:
    """Whether labels are the same, to rounding, whatever the coordinate along a direction (k,) is.

    By trying, with the same noise and cluster.

    Examples
    --------
    >>> from dmft import Target
    >>> label = Target(lambda z, eps: z[:, 0] ** 2, k=2)
    >>> is_outside(label, np.array([0.0, 1.0])), is_outside(label, np.array([1.0, 0.0]))
    (True, False)
    """
    another = np.random.default_rng(1).standard_normal(_POINTS)
    return labels_are_unchanged(
        target, lambda z: z + np.outer(another - z @ direction, direction), _POINTS
    )


def split_irrelevant(target: Target, basis: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Find which directions of a subspace labels do not depend on.

    Columns of the basis, and combinations of others in simple ratios; of labels without derivatives
    columns alone.

    Parameters
    ----------
    target : Target
    basis : ndarray, shape (k, q)
        Orthonormal columns.

    Returns
    -------
    basis : ndarray, shape (k, q)
        Of the same span: the one given where all that are found are columns of it.
    irrelevant : ndarray of bool, shape (q,)
        Which of its columns.

    Examples
    --------
    >>> from dmft import Target
    >>> label = Target(lambda z, eps: (z[:, 0] + z[:, 1]) ** 2, k=2)
    >>> split_irrelevant(label, label.hard_basis)[1]
    array([False,  True])
    """
    outside = np.array([is_outside(target, column) for column in basis.T], dtype=bool)
    rest = basis[:, ~outside]
    if rest.shape[1] < 2:
        return basis, outside
    candidates = _flat(target, rest)
    found = [column for column in candidates.T if is_outside(target, column)]
    if not found:
        return basis, outside
    others = np.stack([*found, *basis[:, outside].T], axis=1)
    # What is left of the span, exact where it is simple.
    left = np.linalg.svd(basis @ basis.T - others @ others.T)[0]
    relevant = left[:, : basis.shape[1] - others.shape[1]]
    relevant = simple_complement(np.linalg.svd(relevant)[0][:, relevant.shape[1] :], _SIMPLE)
    ordered = np.hstack([relevant, others])
    return ordered, np.arange(basis.shape[1]) >= relevant.shape[1]


def _flat(target: Target, basis: Array) -> Array:
    """Return directions of a subspace along which labels hardly change on average, (k, r)."""
    z, eps, component = target.trial(_POINTS)
    slopes = np.array(
        [
            target.sample_labels(z + _STEP * column, eps, component)
            - target.sample_labels(z - _STEP * column, eps, component)
            for column in basis.T
        ]
    )
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = np.linalg.norm(slopes, axis=0)
        sizes = np.where(np.isfinite(sizes), sizes, 0.0)
        some = sizes > _ROUNDING * sizes.max()  # smaller ones may be rounding errors
    unit = slopes[:, some] / sizes[some]
    if not unit.size:
        return np.empty((len(basis), 0))
    values, vectors = np.linalg.eigh(unit @ unit.T / unit.shape[1])
    steep = basis @ vectors[:, values > _FLAT]
    # Within the subspace: what is steep, and what is outside of it, complemented.
    outside = np.linalg.svd(basis)[0][:, basis.shape[1] :]
    return simple_complement(np.hstack([outside, steep]), _SIMPLE)
