r"""Easy and hard latent directions where inputs are not standard Gaussian.

A direction v is hard if :math:`E[\langle v, z\rangle \mid y, z_E, s] = 0`, s the scale of a sample
and E the easy subspace. The search is that of `dmft.model.hard_directions`, with the scale among
the variables conditioned on, and z/s in place of z: given s it makes no difference, and heavy tails
of s go out of the sampling error. Points come with all signs of the normals that they are functions
of, along axes in which the law has its symmetries, so that a symmetry of labels and inputs makes an
exact zero.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.validation import check_integer
from dmft._numerics.weighted_points import sign_patterns
from dmft.model.gaussian_mixture import GaussianMixture
from dmft.model.hard_directions import (
    MAX_K,
    RANK_TOLERANCE,
    DirectionSearch,
    decided,
    turned_search,
)
from dmft.model.label_scores import normal_scores
from dmft.model.quantile_laws import Elliptical

if TYPE_CHECKING:
    from collections.abc import Callable

    from dmft.model.input_laws import InputLaw

__all__ = ["hard_subspace_under", "search_under"]

Array = NDArray[np.float64]

_REPLICATES = 16
_LOG2_POINTS = 17
_MAX_TURNS = 8
_ALONG = 0.05  # directions found this close to axes of the law are these axes
_EXACT = 1e-7  # rounding of simple ratios


def hard_subspace_under(
    label: Callable[..., ArrayLike], k: int, inputs: InputLaw, *, uses_noise: bool
) -> Array:
    """Find an orthonormal basis of the hard directions of labels under a law of the inputs.

    Parameters
    ----------
    label : callable
        Of z (N, k), noise (N,) and clusters (N,), or (0,), to labels (N,).
    k : int
    inputs : GaussianMixture, Elliptical or IndependentLatents
    uses_noise : bool
        Whether labels depend on the noise.

    Returns
    -------
    ndarray, shape (k, k_h)

    Raises
    ------
    ValueError
        If k > 4, or the answer is not clear; if the directions found are neither axes of the law
        nor in simple ratios, so that sampling does not tell them exactly.

    Examples
    --------
    >>> clusters = GaussianMixture([0.5, 0.5], [[1.0, 2.0], [-1.0, -2.0]])
    >>> basis = hard_subspace_under(
    ...     lambda z, eps, component: 2.0 * component - 1.0, 2, clusters, uses_noise=False
    ... )
    >>> basis[:, 0] / basis[0, 0]
    array([ 1. , -0.5])
    """
    found = search_under(label, k, inputs, uses_noise=uses_noise)
    decided(found)
    if isinstance(inputs, Elliptical):
        return found.hard
    axes, n_first = inputs.axes(k)
    return _exact(found.hard, axes, n_first if isinstance(inputs, GaussianMixture) else 0)


def search_under(
    label: Callable[..., ArrayLike],
    k: int,
    inputs: InputLaw,
    *,
    uses_noise: bool,
    tolerance: float = RANK_TOLERANCE,
    seed: int = 0,
) -> DirectionSearch:
    """Search for the easy directions of labels, and say how each was decided.

    Parameters are those of `hard_subspace_under`, and of `dmft.model.hard_directions.find_hard`.

    Raises
    ------
    ValueError
        If k > 4.
    """
    k = check_integer("k", k, minimum=1)
    if k > MAX_K:
        raise ValueError(
            f"k must be at most {MAX_K} for the hard directions to be found numerically, got {k}; "
            "state hard_directions"
        )
    axes, _ = inputs.axes(k)
    points, eps, extra = _points(k, uses_noise, inputs, seed)
    rows = points.reshape(-1, k)

    def scored(along: Array) -> tuple[Array, Array]:
        law = inputs
        if isinstance(inputs, GaussianMixture):
            law = _in_axes(inputs, along)
        drawn = law.draw(np.ascontiguousarray(rows.T), extra)
        # Independent latents have no other axes than their own.
        z = along @ drawn.z if not np.array_equal(along, np.eye(k)) else drawn.z
        y = np.asarray(label(np.ascontiguousarray(z.T), eps, drawn.component), dtype=np.float64)
        variables = [normal_scores(y)]
        if inputs.has_scales:
            variables.append(normal_scores(drawn.scales))
        scores = np.stack(variables).reshape(len(variables), _REPLICATES, -1)
        reduced = drawn.reduced / math.sqrt(max(float(np.mean(drawn.reduced**2)), 1e-300))
        return reduced.T.reshape(points.shape), np.ascontiguousarray(np.swapaxes(scores, 0, 1))

    turns = _MAX_TURNS if isinstance(inputs, Elliptical) else 1
    return turned_search(scored, axes, tolerance, turns)


def _exact(hard: Array, axes: Array, all_or_none: int) -> Array:
    """Return hard directions that are known exactly: along axes, or in simple ratios.

    The first axes, so many of them, span a space without further axes: all of it or nothing.
    """
    along = np.flatnonzero(np.sum((axes.T @ hard) ** 2, axis=1) > 0.5)
    exact = axes[:, along]
    splits = 0 < np.count_nonzero(along < all_or_none) < all_or_none
    if len(along) == hard.shape[1] and not splits and _distance(exact, hard) < _ALONG:
        return exact
    ratios = hard / np.abs(hard).max(axis=0)
    if np.abs(6.0 * ratios - np.round(6.0 * ratios)).max(initial=0.0) < _EXACT:
        return hard
    shown = ", ".join(str(np.round(column, 3).tolist()) for column in hard.T)
    raise ValueError(
        "hard_directions must be stated for these inputs: they are neither axes of their law "
        f"nor in simple ratios, and known from sampling only as about {shown}"
    )


def _distance(one: Array, two: Array) -> float:
    return float(np.linalg.norm(one @ one.T - two @ two.T))


def _in_axes(inputs: GaussianMixture, axes: Array) -> GaussianMixture:
    """Return a mixture in coordinates along axes."""
    covariances = axes.T @ np.array(inputs.covariances) @ axes
    size = np.abs(covariances).max()
    covariances[np.abs(covariances) < 1e-13 * size] = 0.0
    means = np.array(inputs.means) @ axes
    means[np.abs(means) < 1e-13 * (1.0 + np.abs(means).max())] = 0.0
    return GaussianMixture(inputs.weights, means, covariances, inputs.scales)


def _points(k: int, uses_noise: bool, inputs: InputLaw, seed: int) -> tuple[Array, Array, Array]:
    """Return normals (R, n, s, k) closed under changes of sign, noise (N,) and extra (e, N)."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    e = inputs.n_normals
    signed = k + int(uses_noise)
    patterns = sign_patterns(signed)
    n = 2**_LOG2_POINTS // (_REPLICATES * len(patterns))
    draws = np.empty((_REPLICATES, n, signed + e))
    for replicate, rng in enumerate(np.random.default_rng(seed).spawn(_REPLICATES)):
        uniform = qmc.Sobol(signed + e, rng=rng).random(n)
        draws[replicate] = ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12))
    points = draws[:, :, None, :signed] * patterns
    eps = points[..., k].ravel() if uses_noise else np.zeros(points[..., 0].size)
    extra = np.repeat(draws[:, :, None, signed:], len(patterns), axis=2).reshape(len(eps), e).T
    return np.ascontiguousarray(points[..., :k]), eps, np.ascontiguousarray(extra)
