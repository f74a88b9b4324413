r"""Easy and hard latent directions of a label law, found numerically.

A direction :math:`v` of the latent space is *hard* if no number of O(1) gradient steps can pick it
up, whatever the network. With :math:`E` the easy subspace and :math:`z_E` the coordinates in it,
a sufficient condition is

.. math:: E[\langle v, z\rangle \mid y, z_E] = 0 .

The easy subspace is built up from :math:`E = \{0\}`: add the range of
:math:`A = E[\mu\mu^T],\ \mu = E[z_\perp \mid y, z_E]`, until nothing is added. (In
:math:`y = z_1 + z_1 z_2` the first direction, once found, reveals the second: a staircase. In
:math:`y = z_1 z_2` both are hard.) Setting of Montanari & Wang, arXiv:2602.01434.

How :math:`A` is estimated
    :math:`\mu` is projected on a dictionary :math:`\varphi_j(y, z_E)`: Hermite polynomials of
    the normal score of y (of its rank; equal labels share one) times Hermite polynomials of
    :math:`z_E`, made orthonormal. Then :math:`A = b b^T` with :math:`b = E[z_\perp \varphi^T]`,
    and only products of *independent* estimates of `b` are averaged, so that noise averages to
    zero instead of looking like an easy direction. An eigenvalue of `A` is the fraction of the
    variance of :math:`\langle v, z\rangle` that `y` and :math:`z_E` explain.

Why the zeros are zeros
    Points come with all sign patterns of z (along orthonormal axes) and eps, so a symmetry such
    as :math:`z_2 \to -z_2` cancels to rounding. They start as the coordinate axes and are
    turned onto the directions found; the sampling error of their angle shrinks with the angle
    itself, so a few turns find directions of a rotated label law to many digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.hermite import hermite_product, hermite_values, multi_indices
from dmft._numerics.validation import check_integer, check_real
from dmft._numerics.weighted_points import sign_patterns
from dmft._numerics.workers import single_threaded_blas
from dmft.model.label_scores import label_scores
from dmft.model.simple_bases import simple_complement

__all__ = ["MAX_K", "RANK_TOLERANCE", "DirectionSearch", "RankTest", "find_hard", "hard_subspace"]

Array = NDArray[np.float64]

MAX_K = 4  # all 2^k sign patterns are used
MOST_DIRECTIONS = 16  # found numerically, with two sign patterns
RANK_TOLERANCE = 1e-3  # fraction of the variance of a direction above which it is easy

_REPLICATES = 16  # independent randomisations; errors over fewer are unreliable
_LOG2_POINTS = {1: 16, 2: 17, 3: 17, 4: 18}  # of all points together; twice that with noise
_DEGREE = {0: 8, 1: 6, 2: 5, 3: 4}  # of the dictionary, by number of easy directions so far
_GRAM_CUTOFF = 1e-4  # dictionary functions of smaller variance, given the others, are truncated
_ROUNDING = 1e-9  # explained variances below this are zero to rounding
_SIGNIFICANT = 5.0  # standard errors
_CLEAR = 3.0  # an eigenvalue within this factor of the tolerance decides nothing
_MAX_TURNS = 8


@dataclass(frozen=True, eq=False)
class RankTest:
    r"""One round of the iteration: how much of each remaining direction the labels explain.

    Attributes
    ----------
    explained : ndarray, shape (p,)
        Eigenvalues of :math:`A = E[\mu\mu^T]` for the p directions not easy so far, decreasing:
        fractions of their variance. An unbiased estimate of a zero may be negative.
    stderr : ndarray, shape (p,)
        Jackknife standard errors.
    directions : ndarray, shape (k, p)
        The eigenvectors, in latent coordinates.
    n_easy : int
        How many of them, the first ones, are found easy in this round.
    """

    explained: Annotated[Array, "p"]
    stderr: Annotated[Array, "p"]
    directions: Annotated[Array, "k p"]
    n_easy: int


@dataclass(frozen=True, eq=False)
class DirectionSearch:
    """Result of `find_hard`.

    Attributes
    ----------
    hard : ndarray, shape (k, k_h)
        Orthonormal basis of the directions not found easy.
    rounds : tuple of RankTest
        The tests of the iteration, in order; the last finds nothing, or everything is easy.
    doubtful : tuple of float, or None
        Explained variance and its standard error of a direction that is neither clearly easy nor
        clearly hard.
    tolerance : float
        Of the tests.
    """

    hard: Array
    rounds: tuple[RankTest, ...]
    doubtful: tuple[float, float] | None
    tolerance: float


@dataclass(frozen=True, eq=False)
class _Finding:
    """Easy directions (k, e), their complement (k, k - e) and the error of the angle."""

    easy: Array
    rest: Array
    angle_error: float
    rounds: tuple[RankTest, ...]
    doubtful: tuple[float, float] | None


def hard_subspace(
    label: Callable[[Array, Array], ArrayLike],
    k: int,
    *,
    tolerance: float = RANK_TOLERANCE,
    seed: int = 0,
    uses_noise: bool = True,
) -> Array:
    r"""Find an orthonormal basis of the hard latent directions of a label function.

    Parameters
    ----------
    label : callable
        ``(z (N, k), eps (N,)) -> y (N,)`` of independent standard normal `z` and `eps`.
    k : int
        Number of latent directions, at most 16. Of more than four, symmetries under a change of
        some signs are exact in the limit of many points only.
    tolerance : float
        A direction counts as easy if the labels (with the easy coordinates found before) explain
        more than this fraction of its variance, significantly. Within a factor 3 of it the
        answer is refused. Labels that reveal a direction by less, though above the sampling
        error (some 1e-4), are refused too: it is easy in the limit d -> infinity, but not in any
        practical sense.
    seed : int
        Seed of the sample points; the result is reproducible.
    uses_noise : bool
        Whether `label` depends on `eps`; if not, one sampling dimension is saved.

    Returns
    -------
    ndarray, shape (k, k_h)
        Orthonormal columns. Coordinate axes, and directions whose components are in ratios of
        small integers, come out exactly; a direction that does not enter the label at all is hard.

    Raises
    ------
    ValueError
        If k > 16, or the answer is not clear: state it in ``Target(..., hard_directions=...)``.
        If `label` returns another shape or non-finite numbers.

    Examples
    --------
    >>> hard_subspace(lambda z, eps: z[:, 0] + z[:, 0] * z[:, 1], k=2).shape
    (2, 0)
    >>> hard_subspace(lambda z, eps: z[:, 0] + z[:, 1] ** 2, k=2)
    array([[0.],
           [1.]])
    """
    return decided(find_hard(label, k, tolerance=tolerance, seed=seed, uses_noise=uses_noise))


def decided(found: DirectionSearch) -> Array:
    """Return the hard directions of a search.

    Raises
    ------
    ValueError
        If it does not decide about some direction.
    """
    if found.doubtful is not None:
        value, error = found.doubtful
        raise ValueError(
            "hard_directions must be stated for this label: numerically it is not clear whether a "
            f"direction is hard (labels explain {value:.1e} +- {error:.0e} of its variance, "
            f"tolerance {found.tolerance:g})"
        )
    return found.hard


def find_hard(
    label: Callable[[Array, Array], ArrayLike],
    k: int,
    *,
    tolerance: float = RANK_TOLERANCE,
    seed: int = 0,
    uses_noise: bool = True,
) -> DirectionSearch:
    r"""Search for the easy directions of a label function and say how each was decided.

    Parameters
    ----------
    label, k, tolerance, seed, uses_noise
        As in `hard_subspace`.

    Returns
    -------
    DirectionSearch

    Raises
    ------
    ValueError
        If k > 16, or `label` returns another shape or non-finite numbers.

    Examples
    --------
    >>> found = find_hard(lambda z, eps: z[:, 0] + z[:, 1] ** 2, k=2)
    >>> [test.n_easy for test in found.rounds]
    [1, 0]
    """
    k = check_integer("k", k, minimum=1)
    tolerance = check_real("tolerance", tolerance, minimum=0.0, exclusive=True)
    if k > MOST_DIRECTIONS:
        raise ValueError(
            f"k must be at most {MOST_DIRECTIONS} for the hard directions to be found numerically, "
            f"got {k}; state hard_directions"
        )
    return _search(label, k, tolerance, seed, uses_noise)


def hard_given(
    label: Callable[[Array, Array], ArrayLike], known: Array, *, uses_noise: bool = True
) -> Array:
    r"""Find the directions that stay hard once some others are known.

    The easy subspace is built up from the known directions in place of nothing: what they make easy
    (a staircase) is not among the result.

    Parameters
    ----------
    label : callable
        ``(z (N, k), eps (N,)) -> y (N,)``.
    known : ndarray, shape (k, e)
        Orthonormal columns.
    uses_noise : bool

    Returns
    -------
    ndarray, shape (k, k_r)

    Raises
    ------
    ValueError
        As `hard_subspace`.

    Examples
    --------
    In z1 z2 both are hard, until one of them is known:

    >>> hard_given(lambda z, eps: z[:, 0] * z[:, 1], np.eye(2)[:, :1]).shape
    (2, 0)
    >>> hard_given(lambda z, eps: z[:, 0] ** 2 + z[:, 1] ** 2, np.eye(2)[:, :1])
    array([[0.],
           [1.]])
    """
    k, n_known = known.shape
    rest = np.linalg.qr(known, mode="complete")[0][:, n_known:]
    axes = np.hstack([known, simple_complement(known, 1e-7) if k > n_known else rest])
    points, eps = _points(k, uses_noise, 0)
    finding = _find_easy(points, label_scores(label, points, eps, axes), RANK_TOLERANCE, n_known)
    easy = axes @ finding.easy
    hard = simple_complement(easy, max(1e-7, 4.0 * finding.angle_error))
    return decided(DirectionSearch(hard, finding.rounds, finding.doubtful, RANK_TOLERANCE))


def refuse_easy(
    label: Callable[[Array, Array], ArrayLike], hard: Array, *, uses_noise: bool, seed: int = 0
) -> None:
    """Raise if one of the directions said to be hard is clearly easy.

    What is not clear is not refused; nor is a direction that is hard and not said to be: gradients
    do not pick it up, which costs accuracy only.

    Parameters
    ----------
    label : callable
        ``(z (N, k), eps (N,)) -> y (N,)``, of any k.
    hard : ndarray, shape (k, k_h)
        Orthonormal basis of the directions said to be hard.
    uses_noise, seed
        As in `hard_subspace`.

    Raises
    ------
    ValueError
        With the direction and the variance that labels explain.

    Examples
    --------
    >>> refuse_easy(lambda z, eps: z[:, 0] + z[:, 1] ** 2, np.eye(2)[:, :1], uses_noise=False)
    Traceback (most recent call last):
    ...
    ValueError: hard_directions must be hard, yet labels explain 0.546 +- 0.0006 of the variance of
    [1, 0] (950 standard errors); leave hard_directions out to have them found
    """
    refuse_easy_of(_search(label, len(hard), RANK_TOLERANCE, seed, uses_noise), hard)


def refuse_easy_of(found: DirectionSearch, hard: Array) -> None:
    """Raise if a search has found one of the directions said to be hard (k, k_h) clearly easy.

    Raises
    ------
    ValueError
        As `refuse_easy`.
    """
    given = 0
    for test in found.rounds:
        for j in range(test.n_easy):
            inside = hard @ (hard.T @ test.directions[:, j])
            share = float(inside @ inside)
            value, error = share * test.explained[j], share * test.stderr[j]
            if value > _CLEAR * RANK_TOLERANCE and value > _SIGNIFICANT * error:
                direction = inside / np.sqrt(share)
                direction *= np.sign(direction[np.argmax(np.abs(direction))])
                shown = ", ".join(f"{x:.3g}" for x in np.round(direction, 3) + 0.0)
                known = f", with the {given} easy directions before it" if given else ""
                raise ValueError(
                    f"hard_directions must be hard, yet labels{known} explain {value:.3g} +- "
                    f"{error:.1g} of the variance of [{shown}] "
                    f"({min(value / max(error, 1e-300), 1e6):.0f} standard errors); leave "
                    "hard_directions out to have them found"
                )
        given += test.n_easy


@single_threaded_blas()
def _search(
    label: Callable[[Array, Array], ArrayLike],
    k: int,
    tolerance: float,
    seed: int,
    uses_noise: bool,
) -> DirectionSearch:
    """Search as `find_hard`, of any k; bits do not depend on the number of threads."""
    points, eps = _points(k, uses_noise, seed)

    def scored(axes: Array) -> tuple[Array, Array]:
        return points, label_scores(label, points, eps, axes)

    return turned_search(scored, np.eye(k), tolerance)


def turned_search(
    scored: Callable[[Array], tuple[Array, Array]],
    axes: Array,
    tolerance: float,
    turns: int = _MAX_TURNS,
) -> DirectionSearch:
    """Search along axes, and again along those found, until they do not change.

    Parameters
    ----------
    scored : callable
        Axes (k, k) to points (R, n, s, k) in coordinates along them, and what they are conditioned
        on: scores (R, N) of labels, or (R, v, N) of several variables.
    axes : ndarray, shape (k, k)
        The first ones.
    tolerance : float
    turns : int
        1 where the law of the points is not the same along all axes.
    """
    for _ in range(turns):
        points, scores = scored(axes)
        finding = _find_easy(points, scores, tolerance)
        rounds = tuple(
            replace(test, directions=axes @ test.directions + 0.0) for test in finding.rounds
        )
        # Off-diagonal entries of the projector: how far the axes are from its eigenvectors.
        projector = finding.easy @ finding.easy.T
        misfit = float(np.max(np.abs(projector - np.diag(np.round(np.diag(projector))))))
        easy, rest = axes @ finding.easy, axes @ finding.rest
        if misfit < 1e-10:
            break
        axes = np.hstack([easy, rest])
    hard = simple_complement(easy, max(1e-7, 4.0 * finding.angle_error))
    return DirectionSearch(hard, rounds, finding.doubtful, tolerance)


def _points(k: int, uses_noise: bool, seed: int) -> tuple[Array, Array]:
    """Return points (R, n, s, k) and noise (R, n, s), closed under all s changes of sign."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    dimension = k + int(uses_noise)
    # Of more directions than MAX_K there are too many patterns; the errors say what that costs.
    one = np.ones((1, dimension))
    patterns = sign_patterns(dimension) if k <= MAX_K else np.concatenate([one, -one])
    n = 2 ** (_LOG2_POINTS.get(k, 17) + int(uses_noise)) // (_REPLICATES * len(patterns))
    draws = np.empty((_REPLICATES, n, dimension))
    for replicate, rng in enumerate(np.random.default_rng(seed).spawn(_REPLICATES)):
        uniform = qmc.Sobol(dimension, rng=rng).random(n)
        draws[replicate] = ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12))
    points = draws[:, :, None, :] * patterns
    eps = points[..., k] if uses_noise else np.zeros(points.shape[:3])
    return np.ascontiguousarray(points[..., :k]), eps


def _find_easy(points: Array, scores: Array, tolerance: float, n_known: int = 0) -> _Finding:
    """Build up the easy subspace, in coordinates of the points, from the first `n_known` on."""
    k = points.shape[-1]
    flat = points.reshape(points.shape[0], -1, k)
    easy, rest = np.eye(k)[:, :n_known], np.eye(k)[:, n_known:]
    angle_error = 0.0
    rounds: list[RankTest] = []
    while rest.shape[1]:
        moments = _moments(flat @ easy, flat @ rest, scores)
        values, vectors, errors = _explained(moments)
        clear = (values > _CLEAR * tolerance) & (values > _SIGNIFICANT * errors)
        rounds.append(RankTest(values, errors, rest @ vectors, int(clear.sum())))
        if not clear.any():
            nothing = values < _ROUNDING
            nothing |= (values < _SIGNIFICANT * errors) & (
                values + _CLEAR * errors < _CLEAR * tolerance
            )
            worst = int(np.argmax(np.where(nothing, -np.inf, values)))
            doubtful = None if nothing.all() else (float(values[worst]), float(errors[worst]))
            return _Finding(easy, rest @ vectors, angle_error, tuple(rounds), doubtful)
        angle_error = math.hypot(angle_error, _angle_error(moments, int(clear.sum())))
        easy = np.hstack([easy, rest @ vectors[:, clear]])
        rest = rest @ vectors[:, ~clear]
    return _Finding(easy, rest, angle_error, tuple(rounds), None)


def _moments(z_easy: Array, z_rest: Array, scores: Array) -> Array:
    """Return E[z_perp phi^T] (R, k_perp, p), one estimate per replicate, phi orthonormal."""
    more = 0 if scores.ndim == 2 else scores.shape[1] - 1
    degree = _DEGREE.get(z_easy.shape[-1] + more, 3)
    n = scores.shape[-1]
    gram: Array | float = 0.0
    raw = []
    for replicate in range(scores.shape[0]):
        phi = _dictionary(np.vstack([scores[replicate], z_easy[replicate].T]), degree)
        gram = gram + phi @ phi.T / n
        raw.append(z_rest[replicate].T @ phi.T / n)
    gram = np.asarray(gram) / scores.shape[0]
    scale = 1.0 / np.sqrt(np.maximum(np.diag(gram), 1e-30))
    values, vectors = np.linalg.eigh(scale[:, None] * gram * scale)
    keep = values > _GRAM_CUTOFF
    whiten = scale[:, None] * vectors[:, keep] / np.sqrt(values[keep])
    return np.asarray(np.stack(raw) @ whiten)


def _dictionary(variables: Array, degree: int) -> Array:
    """Return products (p, N) of normalised Hermite polynomials of (q, N), by total degree."""
    values = hermite_values(variables, degree)
    return np.stack(
        [hermite_product(values, powers) for powers in multi_indices(len(variables), 0, degree)]
    )


def _pair_average(moments: Array) -> Array:
    """Return the mean of b_r b_s^T over r != s: unbiased for E[b] E[b]^T."""
    count = len(moments)
    total = moments.sum(axis=0)
    same = np.einsum("rap,rbp->ab", moments, moments)
    return np.asarray((total @ total.T - same) / (count * (count - 1)))


def _explained(moments: Array) -> tuple[Array, Array, Array]:
    """Return eigenvalues (decreasing) and eigenvectors of A, with jackknife standard errors."""
    values, vectors = np.linalg.eigh(_pair_average(moments))
    values, vectors = values[::-1], vectors[:, ::-1]
    count = len(moments)
    left_out = np.array(
        [
            np.diag(vectors.T @ _pair_average(np.delete(moments, r, axis=0)) @ vectors)
            for r in range(count)
        ]
    )
    errors = np.sqrt((count - 1) * np.var(left_out, axis=0))
    return values, vectors, errors


def _angle_error(moments: Array, n_easy: int) -> float:
    """Return the jackknife standard error of the projector on the leading eigenvectors."""
    count = len(moments)
    projectors = []
    for r in range(count):
        leading = np.linalg.eigh(_pair_average(np.delete(moments, r, axis=0)))[1][:, -n_easy:]
        projectors.append(leading @ leading.T)
    return math.sqrt((count - 1) * float(np.sum(np.var(projectors, axis=0))))
