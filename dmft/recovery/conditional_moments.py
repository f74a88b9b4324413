r"""Conditional moments of Hermite polynomials of the hard coordinates, given the label.

With :math:`u \in R^q` the coordinates asked about, :math:`z_E` those already known, and
:math:`h_a` normalised Hermite products, this module estimates

.. math:: E\big[\, m_a m_b \,\big], \qquad m_a = E[ h_a(u) \mid y, z_E ] .

For a = b that is the fraction of the variance of :math:`h_a` which y and :math:`z_E` explain.

How
    At fixed :math:`z_E`, labels are sorted into narrow bins, bins as narrow as points allow where
    :math:`m` varies, so wide that no two roundings of one label part. Inside a bin :math:`m` is a
    mean. Points come in replicates, and :math:`E_r[h_a \bar m_b]` takes the bin means
    :math:`\bar m_b` from all replicates but r: errors of the two factors are independent, so noise
    averages to zero, and what is zero does not look positive.

    Each replicate is a scrambled Sobol set with every sign pattern, so a symmetry of the label
    makes its zeros zero to rounding. Points are drawn wider than the Gaussian and weighted: the
    tails, where high degrees live, are well covered.

    :math:`z_E` is averaged over independent Sobol sets.

What limits it
    Within a bin :math:`m` is taken for constant, which loses some explained variance. The loss
    goes down as 1/bins at a jump of :math:`m` and as 1/bins^2 elsewhere; it is estimated by
    joining bins four by four, and reported apart from the sampling error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.hermite import hermite_product, hermite_values, multi_indices
from dmft._numerics.weighted_points import WeightedPoints, draw_points, sign_patterns

__all__ = ["ConditionalMoments", "Profile", "conditional_moments", "evaluations"]

Array = NDArray[np.float64]
LabelFunction = Callable[[Array, Array], Array]
Pair = tuple[tuple[int, ...], tuple[int, ...]]

_REPLICATES = 16
_NODE_REPLICATES = 4  # at one z_E, where 16 sets of z_E are the replicates
_NODES = 32  # values of z_E in a set, for each easy direction
_POINTS_PER_BIN = 256  # before bins are split where m varies
_SPLITS = 3  # rounds of splitting in four
_SPLIT_ABOVE = 3e-7  # explained variance at stake in a bin
_TAIL = 1e-10  # probability of the outermost bins, where there are points enough
_JOIN = 4
_MIXED = 0.1  # effective number of points of a bin, over their number, that shows a mixture
_NEAR_MIXED = 4  # bins as near as this to such a one belong to it
_TIE = 1e-12  # labels closer than this (relative) are one label computed in two ways
_PROFILE_POINTS = 160


@dataclass(frozen=True, eq=False)
class Profile:
    r"""Conditional means against the label, for one coordinate and no easy direction.

    Attributes
    ----------
    y : ndarray, shape (n,)
        Mean labels of groups of bins, increasing.
    probability : ndarray, shape (n,)
        Of each group.
    mean : ndarray, shape (L, n)
        :math:`E[He_l(z)/\sqrt{l!} \mid y]` for the degrees 1 to L.
    """

    y: Annotated[Array, "n"]
    probability: Annotated[Array, "n"]
    mean: Annotated[Array, "L n"]


@dataclass(frozen=True, eq=False)
class ConditionalMoments:
    """Estimates of E[m_a m_b] for pairs of multi-indices.

    Attributes
    ----------
    pairs : tuple of pairs of tuple of int
        The multi-indices (a, b).
    value : ndarray, shape (P,)
    samples : ndarray, shape (16, P)
        Independent contributions (jackknife pseudo-values, or one for each set of z_E): the
        standard error of a linear combination of values is the standard deviation of the same
        combination of samples, divided by 4.
    loss : ndarray, shape (P,)
        Estimate of what is lost inside bins.
    profile : Profile or None
        For one coordinate and no easy direction.
    """

    pairs: tuple[Pair, ...]
    value: Array
    samples: Array
    loss: Array
    profile: Profile | None

    def combine(self, weights: Array) -> tuple[float, float, float]:
        """Return value, standard error and loss of a linear combination (P,) of the moments."""
        spread = (self.samples @ weights).std(ddof=1) / math.sqrt(len(self.samples))
        return float(self.value @ weights), float(spread), float(self.loss @ weights)


def conditional_moments(
    label: LabelFunction,
    easy: Array,
    asked: Array,
    degrees: Sequence[int],
    *,
    uses_noise: bool,
    n_points: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> ConditionalMoments:
    """Estimate E[m_a m_b] for a = b of the given degrees, and for all pairs of degree 2.

    Parameters
    ----------
    label : callable
        ``(z (N, k), eps (N,)) -> y (N,)``.
    easy : ndarray, shape (k, k_e)
        Orthonormal basis of the directions known.
    asked : ndarray, shape (k, q)
        Orthonormal basis of the directions asked about: all those that are not easy.
    degrees : sequence of int
    uses_noise : bool
        Whether labels depend on `eps`.
    n_points : int
        Number of labels evaluated, a power of two of at least 2^14.
    seed : int
    progress : callable, optional
        Called with 1 as often as `evaluations` says.

    Returns
    -------
    ConditionalMoments

    Examples
    --------
    z^2 tells all of He_2(z), and nothing of z:

    >>> moments = conditional_moments(
    ...     lambda z, eps: z[:, 0] ** 2, np.zeros((1, 0)), np.eye(1), (1, 2),
    ...     uses_noise=False, n_points=2**16, seed=0,
    ... )
    >>> moments.value.round(2)
    array([0., 1.])
    """
    q, k_e = asked.shape[1], easy.shape[1]
    pairs: list[Pair] = []
    for degree in degrees:
        powers = multi_indices(q, degree, degree)
        if degree == 2:
            pairs += itertools.combinations_with_replacement(powers, 2)
        else:
            pairs += zip(powers, powers, strict=True)
    if k_e == 0:
        drawn = draw_points(q, uses_noise, _REPLICATES, n_points, np.random.default_rng([seed, 1]))
        labels = label(drawn.u @ asked.T, drawn.eps)
        bins = _Bins.of(drawn, labels)
        value, samples, loss = _products(drawn, bins, pairs, spread=True)
        profile = _profile(drawn, bins, labels, max(degrees)) if q == 1 else None
        if progress is not None:
            progress(1)
        return ConditionalMoments(tuple(pairs), value, samples, loss, profile)

    count = n_points // (_REPLICATES * _node_count(k_e))
    sets = np.zeros((2, _REPLICATES, len(pairs)))
    nodes = _node_count(k_e)
    for index, rng in enumerate(np.random.default_rng([seed, 2]).spawn(_REPLICATES)):
        for node in _signed_normal(k_e, nodes, rng):
            drawn = draw_points(q, uses_noise, _NODE_REPLICATES, count, rng)
            labels = label(drawn.u @ asked.T + easy @ node, drawn.eps)
            bins = _Bins.of(drawn, labels)
            value, _, loss = _products(drawn, bins, pairs, spread=False)
            sets[:, index] += np.stack([value, loss]) / nodes
            if progress is not None:
                progress(1)
    return ConditionalMoments(
        tuple(pairs), sets[0].mean(axis=0), sets[0], sets[1].mean(axis=0), None
    )


def evaluations(k_e: int) -> int:
    """Return how often `conditional_moments` reports progress.

    Examples
    --------
    >>> evaluations(0), evaluations(1)
    (1, 512)
    """
    return _REPLICATES * _node_count(k_e) if k_e else 1


def _node_count(k_e: int) -> int:
    """Return the number of values of z_E in a set: a power of two, and all sign patterns."""
    return int(_NODES * 2 ** (k_e - 1))


def _signed_normal(dimension: int, count: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield `count` standard normal points (dimension,), every sign pattern of each."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    patterns = sign_patterns(dimension)
    uniform = qmc.Sobol(dimension, rng=rng).random(count // len(patterns))
    points = ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12))
    yield from (points[:, None, :] * patterns).reshape(-1, dimension)


@dataclass(frozen=True, eq=False)
class _Bins:
    """Bins of the labels, numbered in increasing order, and their probabilities."""

    index: NDArray[np.intp]  # (R, n)
    weights: Array  # (R, bins)
    joins: NDArray[np.intp]  # first bins of the groups that are joined to estimate the loss

    @classmethod
    def of(cls, drawn: WeightedPoints, labels: Array) -> _Bins:
        """Sort the labels into bins, and split the bins where conditional means vary."""
        order = np.argsort(labels, kind="stable")
        ordered, weights = labels[order], drawn.weights.ravel()[order]
        cumulative = np.cumsum(weights) / weights.sum()
        n = len(ordered)
        low, high = ordered[np.searchsorted(cumulative, [0.25, 0.75])]
        new = np.diff(ordered) > _TIE * (np.abs(ordered[1:]) + (high - low))
        allowed = np.concatenate([[0], np.flatnonzero(new) + 1, [n]])

        count = max(n // _POINTS_PER_BIN, 64)
        tail = 2.0 ** (-0.25 * np.arange(1.0, 4.0 * math.log2(1.0 / (count * _TAIL)))) / count
        levels = np.concatenate([np.linspace(0.0, 1.0, count + 1)[1:-1], tail, 1.0 - tail])
        # On average one draw of each replicate in a bin; sign patterns are no draws of their own.
        fewest = drawn.patterns * len(drawn.weights)
        starts = _admit(np.searchsorted(cumulative, np.sort(levels)), allowed, fewest)
        features = _features(drawn.u, order, weights)
        for _ in range(_SPLITS):
            split = _split(starts, weights, features, fewest, drawn.patterns)
            if split.size == 0:
                break
            starts = _admit(np.sort(np.concatenate([starts, split])), allowed, fewest)

        kept = _merge_mixed(starts, weights)
        merged = np.diff(np.searchsorted(starts, np.append(kept, n))) > 1
        starts = kept
        ends = np.append(starts[1:], n)
        flat = np.empty(n, dtype=np.intp)
        flat[order] = np.repeat(np.arange(len(starts)), ends - starts)
        index = flat.reshape(drawn.weights.shape)
        single = np.searchsorted(allowed, ends) - np.searchsorted(allowed, starts) == 1
        joins = _joins(single)
        if merged.any():
            joins = _widen(joins, merged, np.add.reduceat(weights, starts))
        return cls(index, _weigh(index, drawn.weights, len(starts)), joins)


def _merge_mixed(starts: NDArray[np.intp], weights: Array) -> NDArray[np.intp]:
    """Return starts of bins without those where a few heavy points meet many light ones.

    There one label comes from the middle of the Gaussian and from its tails, as in z^2 exp(-z^2)
    near zero. Levels of the cumulative weight fall next to the heavy points, and bins between
    would hold light ones only, as if the label told them apart.
    """
    sizes = np.diff(np.append(starts, len(weights)))
    squares = np.add.reduceat(np.square(weights), starts)
    mixed = np.square(np.add.reduceat(weights, starts)) < _MIXED * sizes * squares
    if not mixed.any():
        return starts
    near = np.convolve(mixed, np.ones(2 * _NEAR_MIXED + 1), mode="same") > 0.5
    return np.asarray(starts[~(near & np.append(False, near[:-1]))])


def _weigh(index: NDArray[np.intp], weights: Array, bins: int) -> Array:
    rows = zip(index, weights, strict=True)
    return np.stack([np.bincount(i, weights=w, minlength=bins) for i, w in rows])


def _joins(single: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Group bins by four; a bin of a single label loses nothing and stays alone."""
    alone = single | np.append(False, single[:-1])
    alone[0] = True
    place = np.arange(len(single))
    since = place - np.maximum.accumulate(np.where(alone, place, 0))
    return np.flatnonzero(since % _JOIN == 0)


def _widen(joins: NDArray[np.intp], merged: NDArray[np.bool_], mass: Array) -> NDArray[np.intp]:
    """Join merged bins with neighbours of three times their mass: four smaller ones show little."""
    for i in np.flatnonzero(merged).tolist():
        low, high = i, i + 1
        while mass[low:high].sum() < _JOIN * mass[i] and high - low < len(mass):
            low, high = max(low - 1, 0), min(high + 1, len(mass))
        joins = joins[(joins <= low) | (joins >= high)]
    return joins


def _admit(proposed: NDArray[np.intp], allowed: NDArray[np.intp], fewest: int) -> NDArray[np.intp]:
    """Return starts of bins, first 0: where labels differ, and enough points in each bin."""
    n = int(allowed[-1])
    snapped = np.unique(allowed[np.searchsorted(allowed, np.minimum(proposed, n))])
    starts, last = [0], 0
    for start in snapped.tolist():
        if start - last >= fewest and n - start >= fewest:
            starts.append(start)
            last = start
    # A distinct label of few points, if it is the least or the largest, shares a bin.
    return np.array(starts, dtype=np.intp)


def _features(u: Array, order: NDArray[np.intp], weights: Array) -> list[NDArray[np.float32]]:
    """Return the weighted Hermite products of degree 1 and 2, in the order of the labels."""
    # In single precision: there are 14 of them for k = 4, and they only say where to split.
    values = hermite_values(np.ascontiguousarray(u[order].T), 2)
    return [
        (weights * hermite_product(values, powers)).astype(np.float32)
        for powers in multi_indices(u.shape[1], 1, 2)
    ]


def _split(
    starts: NDArray[np.intp],
    weights: Array,
    features: Sequence[NDArray[np.float32]],
    fewest: int,
    patterns: int,
) -> NDArray[np.intp]:
    """Return new starts inside the bins over which some conditional mean changes."""
    mass = np.add.reduceat(weights, starts)
    sizes = np.diff(np.append(starts, len(weights)))
    change = np.zeros(len(starts))
    for feature in features:
        mean = np.add.reduceat(feature, starts) / mass
        step = np.square(np.diff(mean))
        change += np.maximum(np.append(step, 0.0), np.append(0.0, step))
    # Changes that noise alone would make do not count: 16 variances of a difference of two means.
    real = change > 32.0 * len(features) * patterns / sizes
    flagged = real & (mass * change > _SPLIT_ABOVE * weights.sum()) & (sizes >= 2 * fewest)
    parts = np.arange(1, 4) / 4.0
    inside = starts[flagged, None] + np.rint(sizes[flagged, None] * parts).astype(np.intp)
    return np.asarray(inside.ravel(), dtype=np.intp)


def _products(
    drawn: WeightedPoints, bins: _Bins, pairs: Sequence[Pair], *, spread: bool
) -> tuple[Array, Array, Array]:
    """Return values (P,), jackknife pseudo-values (R, P), zero if no `spread`, and losses (P,)."""
    replicates, n = drawn.weights.shape
    highest = max(sum(a) for a, _ in pairs)
    u = drawn.u.reshape(replicates, n, -1)
    joined = np.add.reduceat(bins.weights, bins.joins, axis=1)
    value, loss = np.empty(len(pairs)), np.empty(len(pairs))
    samples = np.zeros((replicates, len(pairs)))
    # One degree at a time: sums over bins of all replicates are large.
    for degree in sorted({sum(a) for a, _ in pairs}):
        powers = multi_indices(u.shape[2], degree, degree)
        sums = np.empty((len(powers), replicates, bins.weights.shape[1]))
        for r in range(replicates):
            values = hermite_values(np.ascontiguousarray(u[r].T), highest)
            for row, power in zip(sums, powers, strict=True):
                weighted = drawn.weights[r] * hermite_product(values, power)
                row[r] = np.bincount(bins.index[r], weights=weighted, minlength=row.shape[1])
        coarse = np.add.reduceat(sums, bins.joins, axis=2)
        mean, joined_mean = _other_means(sums, bins.weights), _other_means(coarse, joined)
        place = {power: row for row, power in enumerate(powers)}
        for p, (a, b) in enumerate(pairs):
            if sum(a) != degree:
                continue
            i, j = place[a], place[b]
            value[p] = _pair(sums, mean, i, j)
            # Halved: a loss that goes as 1/bins would be a third of this difference.
            loss[p] = 0.5 * (value[p] - _pair(coarse, joined_mean, i, j))
        if not spread:
            continue
        # Each without one replicate. First-order influences would not do: where light points of the
        # tails meet rare heavy ones, what a replicate changes is far from linear.
        for r in range(replicates):
            others = np.delete(np.arange(replicates), r)
            rest = sums[:, others]
            mean = _other_means(rest, bins.weights[others])
            for p, (a, b) in enumerate(pairs):
                if sum(a) == degree:
                    left_out = _pair(rest, mean, place[a], place[b])
                    samples[r, p] = replicates * value[p] - (replicates - 1) * left_out
    return value, samples, loss


def _other_means(sums: Array, weights: Array) -> Array:
    """Return the bin means (p, R, bins) of all replicates but one, for each."""
    others = sums.sum(axis=1, keepdims=True) - sums
    mass = weights.sum(axis=0) - weights
    # Where no other replicate has a point, nothing is known; rounding may leave a remainder.
    known = mass > 1e-9 * weights.sum(axis=0)
    mass = np.where(known, mass, 1.0)
    mean = np.where(known, others / mass, 0.0)
    # A ratio of sums is biased by as much as the sums vary together, which the replicates show.
    count = len(weights) - 1
    if count > 1:
        products = sums * weights
        products = products.sum(axis=1, keepdims=True) - products
        squares = np.square(weights)
        squares = squares.sum(axis=0) - squares
        mean += np.where(known, (products - mean * squares) / mass**2, 0.0) * count / (count - 1)
    return np.asarray(mean)


def _pair(sums: Array, mean: Array, i: int, j: int) -> float:
    """Return E[m_i m_j]: each factor from other replicates."""
    crossed = 0.5 * (np.sum(sums[i] * mean[j], axis=1) + np.sum(sums[j] * mean[i], axis=1))
    return float(crossed.mean())


def _profile(drawn: WeightedPoints, bins: _Bins, labels: Array, highest: int) -> Profile:
    """Return conditional means over groups of bins, even in the normal score of the label."""
    from scipy.special import ndtr

    mass = bins.weights.sum(axis=0)
    cumulative = np.cumsum(mass) / mass.sum()
    levels = ndtr(np.linspace(-4.0, 4.0, _PROFILE_POINTS + 1))
    starts = np.unique(np.append(0, np.searchsorted(cumulative, levels)))
    starts = starts[starts < len(mass)]
    flat, weights = bins.index.ravel(), drawn.weights.ravel()
    values = hermite_values(drawn.u[:, 0], highest)
    values[0] = labels
    sums = np.stack([np.bincount(flat, weights=weights * row) for row in values])
    probability = np.add.reduceat(mass, starts)
    mean = np.add.reduceat(sums, starts, axis=1) / probability
    return Profile(mean[0], probability / probability.sum(), mean[1:])
