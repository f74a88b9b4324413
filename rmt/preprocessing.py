"""The best real preprocessing of labels for spectral methods, and its thresholds by direction.

For a direction u of the latent space it is T = 1 - 1/(u^T Gamma u), Gamma(y) = E[z z^T | y], with
the threshold 1/delta = E[(u^T (Gamma - I) u)^2] (references in `rmt.spectral`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from rmt._packing import Array
from rmt._validation import check_array
from rmt.label_law import Conditional, LabelLaw

__all__ = [
    "JOIN",
    "SINGULAR",
    "DirectionThresholds",
    "StepFunction",
    "best_direction",
    "direction_thresholds",
    "optimal_preprocessing",
    "wider_bins",
]

#: Conditional second moments below this have no inverse.
SINGULAR: Final = 1e-10
#: Bins joined to see what binning costs.
JOIN: Final = 4
#: Points, and bins, that errors of bins of labels take.
_FEWEST, _FEWEST_BINS = 2**14, 8
_POWER_STEPS, _POWER_STARTS = 500, 32


@dataclass(frozen=True, eq=False)
class StepFunction:
    """A preprocessing function that is constant between labels.

    Attributes
    ----------
    ends : (bins - 1,) array
        Where it jumps, ascending.
    values : (bins,) array
    direction : (k,) array
        Unit vector in latent space that it is made for.

    Examples
    --------
    >>> StepFunction(np.zeros(1), np.array([-1.0, 1.0]), np.ones(1))(np.array([-2.0, 3.0]))
    array([-1.,  1.])
    """

    ends: Array
    values: Array
    direction: Array

    def __call__(self, y: Array) -> Array:
        """Return the weights (N,) of labels (N,)."""
        return np.asarray(self.values[np.searchsorted(self.ends, y, side="right")])


def optimal_preprocessing(target: LabelLaw, direction: ArrayLike | None = None) -> StepFunction:
    """Return the best real preprocessing, 1 - 1/(u^T Gamma(y) u), as a function of the label.

    Parameters
    ----------
    target : LabelLaw
        With points, over the bins that they are sorted into.
    direction : (k,) array, optional
        The u that it is the best for, made a unit vector; by default the one with the lowest
        threshold.

    Returns
    -------
    StepFunction

    Raises
    ------
    ValueError
        If E[<u, z>^2 | y] is zero at some label, the inputs have scales, or the direction is zero
        or has another number of coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> import rmt
    >>> law = rmt.LabelLaw([1.0, -1.0], second_moments=[[[2.0]], [[0.5]]])
    >>> rmt.optimal_preprocessing(law)(np.array([-1.0, 1.0]))
    array([-1. ,  0.5])
    """
    if target.scales is not None:
        raise ValueError("target must have inputs without scales for an optimal preprocessing")
    conditional = target.conditional()
    p, moments = conditional.pooled()
    if direction is None:
        u = best_direction(p, moments)
    else:
        u = check_array("direction", direction)
        if u.shape != (target.k,) or not u.any():
            raise ValueError(
                f"direction must be {target.k} numbers, not all zero, got {u.tolist()}"
            )
        u = u / np.linalg.norm(u)
    along = moments @ u @ u
    used = p > 0.0
    if np.any(along[used] < SINGULAR):
        raise ValueError(
            "target must have E[<u, z>^2 | y] > 0 at every label for an optimal preprocessing; "
            "give groups of points to average over, or second_moments"
        )
    values = np.where(used, 1.0 - 1.0 / np.where(used, along, 1.0), 0.0)
    return StepFunction(conditional.ends, values, u)


@dataclass(frozen=True, eq=False)
class DirectionThresholds:
    """Thresholds of the best real preprocessing for each of several directions.

    Attributes
    ----------
    value, stderr : (q,) arrays
        Infinite where the label does not tell of the direction, within twice its error.
    inverse, inverse_stderr : (q,) arrays
        1/delta = E[(E[<u, z>^2 | y] - 1)^2], as estimated.

    Examples
    --------
    >>> import rmt
    >>> law = rmt.LabelLaw([1.0, -1.0], second_moments=[[[1.5]], [[0.5]]])
    >>> rmt.direction_thresholds(law).value
    array([4.])
    """

    value: Array
    stderr: Array
    inverse: Array
    inverse_stderr: Array


def direction_thresholds(
    target: LabelLaw, directions: ArrayLike | None = None
) -> DirectionThresholds:
    """Compute the lowest threshold at which real weights T(y) recover each of several directions.

    With a T of its own for each direction u, 1 - 1/E[<u, z>^2 | y]. Where points have groups, the
    two factors of the square come from different ones, so that noise averages to zero.

    Parameters
    ----------
    target : LabelLaw
    directions : (k, q) array, optional
        As columns, made unit vectors; by default the coordinate axes.

    Returns
    -------
    DirectionThresholds

    Raises
    ------
    ValueError
        If a direction has another number of coordinates, or is zero, the inputs have scales, or
        the points of labels of many values are fewer than 16384.

    Examples
    --------
    >>> import numpy as np
    >>> import rmt
    >>> law = rmt.LabelLaw.from_function(
    ...     lambda z, eps: z[:, 0] ** 2 + 0.5 * z[:, 1] ** 2, 2, n_points=2**15
    ... )
    >>> first, second = rmt.direction_thresholds(law).value
    >>> bool(first < second)
    True
    """
    if target.scales is not None:
        raise ValueError("target must have inputs without scales for the best preprocessing")
    u = np.eye(target.k) if directions is None else check_array("directions", directions)
    if u.ndim != 2 or len(u) != target.k or not u.size:
        raise ValueError(f"directions must have shape ({target.k}, q), got {u.shape}")
    norms = np.linalg.norm(u, axis=0)
    if np.any(norms == 0.0):
        raise ValueError("directions must not be zero")
    conditional = target.conditional()
    value, error = _explained(conditional, u / norms)
    joined = wider_bins(target, conditional)
    if joined is not None:
        wide, _ = _explained(joined, u / norms)
        error = np.hypot(error, 0.5 * (value - wide))
    known = value > 2.0 * error
    safe = np.where(known, value, 1.0)
    return DirectionThresholds(
        np.where(known, 1.0 / safe, np.inf),
        np.where(known, error / safe**2, np.nan),
        value,
        error,
    )


def _explained(conditional: Conditional, u: Array) -> tuple[Array, Array]:
    """Return E[(E[<u, z>^2 | y] - 1)^2] for columns u (k, q), and standard errors over groups."""
    p = conditional.probability
    g = np.einsum("rbij,iq,jq->rbq", conditional.moment, u, u) - 1.0
    if len(p) == 1:
        return np.einsum("rb,rbq->q", p, g**2), np.zeros(u.shape[1])
    others = np.einsum("rbij,iq,jq->rbq", conditional.of_others(), u, u) - 1.0
    each = np.einsum("rb,rbq->rq", p, g * others) / p.sum(axis=1)[:, None]
    return each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(len(p))


def wider_bins(target: LabelLaw, conditional: Conditional) -> Conditional | None:
    """Return the moments over wider bins of labels, None where every bin holds a single label.

    Raises
    ------
    ValueError
        If points are too few for what binning costs to be seen.
    """
    if not conditional.binned:
        return None
    n, bins = len(target.labels), conditional.probability.shape[1]
    if n < _FEWEST:
        raise ValueError(
            f"n_points must be at least {_FEWEST} for what is learned from bins of labels, got {n}"
        )
    joined = target.conditional(joined=JOIN)
    if bins < _FEWEST_BINS or joined.probability.shape[1] < 2:
        raise ValueError(
            f"n_points must be larger: {n} points lie in {bins} bins of labels, too few for what "
            "is learned from bins"
        )
    return joined


def best_direction(p: Array, moments: Array) -> Array:
    """Return the unit vector u that maximises E[(u^T (Gamma - I) u)^2].

    By the power method for symmetric tensors, shifted to be monotone (Kolda and Mayo,
    arXiv:1007.1267), from the eigenvectors of the best matrix and from fixed random directions.
    """
    k = moments.shape[-1]
    g = moments - np.eye(k)
    if k == 1:
        return np.ones(1)
    square = np.einsum("b,bij,bkl->ikjl", p, g, g).reshape(k * k, k * k)
    best = np.linalg.eigh(0.5 * (square + square.T))[1][:, -1].reshape(k, k)
    starts = [*np.linalg.eigh(0.5 * (best + best.T))[1].T, *np.eye(k)]
    starts += [*np.random.default_rng(0).standard_normal((_POWER_STARTS, k))]
    shift = 3.0 * float(p @ np.sum(g**2, axis=(1, 2)))
    found = []
    for start in starts:
        u = start / np.linalg.norm(start)
        for _ in range(_POWER_STEPS):
            gu = g @ u
            new = np.einsum("b,b,bi->i", p, gu @ u, gu) + 0.25 * shift * u
            new /= np.linalg.norm(new)
            moved = float(np.abs(new - u).max())
            u = new
            if moved < 1e-13:
                break
        found.append((float(p @ (g @ u @ u) ** 2), u))
    return np.asarray(max(found, key=lambda pair: pair[0])[1])
