"""Spectral methods: the leading eigenvectors of (1/n) sum_i T(y_i) (x) x_i x_i^T.

T is a preprocessing function of the label, real or symmetric (m, m). The input of a sample is
x = Theta_* z + (standard normal on the orthogonal complement), which T(y) does not depend on; so
every eigenvalue outside the bulk is a zero of det A_h(z) (`rmt.hard`) with all latent coordinates
in place of the hard ones, and nothing else enters. With Gamma(y) = E[z z^T | y],

    A_h(z) = E[ (I + T c)^{-1} T (x) Gamma ] - z I.

The preprocessing

    T(y) = I - Gamma(y)^{-1},        (k, k),

recovers a direction from the smallest delta possible on: on its right edge B = I and z = 1/delta,
where -A_h = 1/delta - E[(Gamma - I) (x) (Gamma - I)], so that 1/delta_alg is the largest eigenvalue
of M -> E[(Gamma - I) M (Gamma - I)] (Mondelli and Montanari, arXiv:1708.05932; Luo, Alghamdi and
Lu, arXiv:1811.04420; several directions: Defilippis, Dandi, Mergny, Krzakala and Loureiro,
arXiv:2502.02545; Kovacevic, Zhang and Mondelli, arXiv:2502.01583). Among real ones,
T = 1 - 1/(u^T Gamma u) is the best for a direction u, with 1/delta = E[(u^T (Gamma - I) u)^2].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rmt._packing import Array
from rmt._validation import check_array, check_integer, check_real
from rmt.label_law import Conditional, LabelLaw, atoms_of
from rmt.law import HessianLaw
from rmt.outliers import Outlier, by_rank
from rmt.preprocessing import SINGULAR, best_direction, wider_bins
from rmt.status import NumericalFailure, Status

__all__ = [
    "SpectralMethod",
    "SpectralThreshold",
    "spectral_method",
    "spectral_threshold",
]

Preprocessing = Callable[[Array], ArrayLike] | ArrayLike | str
SideName = Literal["left", "right"]

_OPTIMAL: Final = ("optimal", "optimal-scalar")
_SCAN_POINTS = 41
_BRACKET = (0.01, 1000.0)


@dataclass(frozen=True, eq=False)
class SpectralThreshold:
    """Smallest n/d from which on a spectral method has an outlier.

    Attributes
    ----------
    value : float
        NaN where there is none in the bracket.
    stderr : float
        Of sampling, and of bins of labels; 0 for an exact law.
    crossings : tuple of float
        All delta in the bracket at which an outlier comes or goes, ascending.
    side, index
        Of which side, and which outlier from the outside in.
    residual : float
        Size of the gap at `value`.
    status : Status
        NO_BRACKET where there is no outlier at the upper end, or one at the lower;
        UNBOUNDED_EDGE where T is unbounded on that side: no outlier exists in the limit.

    Examples
    --------
    >>> import rmt
    >>> law = rmt.LabelLaw([1.0, -1.0], second_moments=[[[2.0]], [[0.0]]])
    >>> found = rmt.spectral_threshold([1.0, -1.0], law)
    >>> print(f"{found.value:.6f}, outlier {found.index} on the {found.side}")
    1.295598, outlier 1 on the right
    """

    value: float
    stderr: float
    crossings: tuple[float, ...]
    side: SideName
    index: int
    residual: float
    status: Status


@dataclass(frozen=True, eq=False)
class SpectralMethod:
    """Spectrum of a spectral method in the limit of large n and d.

    Attributes
    ----------
    delta : float
        n / d.
    side : "left" or "right"
        The side of the bulk looked at.
    edge, edge_stderr : float
    gap, gap_stderr : float
        Smallest eigenvalue of A_h at a left edge, of -A_h at a right one: negative exactly where
        an outlier has left the bulk.
    outliers : tuple of Outlier
        From the outside in. ``hard_overlap`` is the squared overlap of the eigenvector with the
        latent directions, ``latent_overlap`` that with each of them.
    value_stderr, overlap_stderr : (number of outliers,) arrays
    law : HessianLaw
        The law behind: bulk density, edges, the other side.
    status : Status
        Of the computation; UNBOUNDED_EDGE where T is unbounded on that side.
    threshold : SpectralThreshold
        Computed when asked for, in the default bracket of `spectral_threshold`.

    Examples
    --------
    >>> import rmt
    >>> law = rmt.LabelLaw([1.0, -1.0], second_moments=[[[2.0]], [[0.0]]])
    >>> found = rmt.spectral_method([1.0, -1.0], law, delta=4.0)
    >>> print(f"{found.outliers[0].hard_overlap:.4f} at {found.outliers[0].value:.4f}")
    0.6584 at 1.3090
    """

    delta: float
    side: SideName
    edge: float
    edge_stderr: float
    gap: float
    gap_stderr: float
    outliers: tuple[Outlier, ...]
    value_stderr: Array
    overlap_stderr: Array
    law: HessianLaw
    status: Status
    _family: _Family

    @cached_property
    def threshold(self) -> SpectralThreshold:
        """Smallest n/d from which on there is an outlier on this side."""
        return _find_threshold(self._family, self.side, 1, _BRACKET)

    def __repr__(self) -> str:
        values = ", ".join(f"{o.value:.6g} (overlap {o.hard_overlap:.4g})" for o in self.outliers)
        return (
            f"SpectralMethod(delta={self.delta:g}, {self.side} edge {self.edge:.6g}, "
            f"outliers: {values or 'none'})"
        )


def spectral_method(
    preprocessing: Preprocessing,
    target: LabelLaw,
    delta: float,
    *,
    side: SideName = "right",
    bounded_below: bool = True,
    bounded_above: bool = True,
    support: ArrayLike | None = None,
) -> SpectralMethod:
    """Compute outliers and overlaps of the matrix (1/n) sum_i T(y_i) (x) x_i x_i^T.

    Parameters
    ----------
    preprocessing : callable, array, "optimal" or "optimal-scalar"
        T: labels (N,) to weights (N,) or symmetric (N, m, m), or these for the labels of the law.
        "optimal" is I - E[z z^T | y]^{-1}, of order k, with the lowest threshold there is;
        "optimal-scalar" the best real one, for the direction with the lowest threshold.
    target : LabelLaw
        Joint law of label and latent coordinates.
    delta : float
        n / d > 0.
    side : {"right", "left"}, optional
        Whether the leading eigenvalues are the largest or the smallest.
    bounded_below, bounded_above : bool, optional
        Say False where T is unbounded.
    support : array, optional
        Points of the closed support of T that no point of the law attains, as for `HessianLaw`.

    Returns
    -------
    SpectralMethod

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range, or an optimal preprocessing is asked for where
        E[z z^T | y] has no inverse, the inputs have scales, or the points of labels of many values
        are fewer than 16384: the errors of bins of labels could not be given.

    Examples
    --------
    Noiseless phase retrieval: an overlap from delta = 1/2 on.

    >>> import numpy as np
    >>> import rmt
    >>> z, p = np.polynomial.hermite_e.hermegauss(160)
    >>> law = rmt.LabelLaw(z**2, z[:, None], p / p.sum())
    >>> found = rmt.spectral_method("optimal", law, delta=1.0)
    >>> found
    SpectralMethod(delta=1, right edge 0.95808, outliers: 1 (overlap 0.2307))
    >>> round(found.threshold.value, 6)
    0.5
    """
    delta = check_real("delta", delta, minimum=0.0, exclusive=True)
    _check_side(side)
    family = _family(preprocessing, target, bounded_below, bounded_above, support)
    law = family.law(delta)
    (edge, gap, found), status = _read(law, side)
    error = np.zeros(len(found))
    values, overlaps, edge_error, gap_error = error, error.copy(), 0.0, 0.0
    if family.has_errors and status.ok:
        others = [_read(each, side)[0] for each in law.replicates]
        values, overlaps = _spread(found, [(each[0], each[2]) for each in others])
        edge_error = _deviation([each[0] for each in others])
        gap_error = _deviation([each[1] for each in others])
        if family.coarse is not None:
            coarse, status = _read(family.coarse.law(delta), side)
            edge_error = float(np.hypot(edge_error, 0.5 * abs(coarse[0] - edge)))
            gap_error = float(np.hypot(gap_error, 0.5 * abs(coarse[1] - gap)))
            pairs = _matched(found, coarse[0], coarse[2])
            values = np.hypot(values, [0.5 * abs(b.value - a.value) for a, b in pairs])
            moved = [0.5 * abs(b.hard_overlap - a.hard_overlap) for a, b in pairs]
            overlaps = np.hypot(overlaps, moved)
    return SpectralMethod(
        delta, side, edge, edge_error, gap, gap_error, found, values, overlaps, law, status, family
    )


def spectral_threshold(
    preprocessing: Preprocessing,
    target: LabelLaw,
    *,
    side: SideName = "right",
    index: int = 1,
    bracket: tuple[float, float] = _BRACKET,
    bounded_below: bool = True,
    bounded_above: bool = True,
    support: ArrayLike | None = None,
) -> SpectralThreshold:
    """Find the smallest n/d from which on a spectral method has an outlier.

    Parameters
    ----------
    preprocessing, target, side, bounded_below, bounded_above, support
        As for `spectral_method`.
    index : int, optional
        Which outlier, counted from the outside in: 1 for the first to leave the bulk.
    bracket : pair of float, optional
        Between which n/d to look.

    Returns
    -------
    SpectralThreshold

    Raises
    ------
    ValueError
        As for `spectral_method`, and for a bracket that is none.

    Examples
    --------
    >>> import numpy as np
    >>> import rmt
    >>> labels, moments = [1.0, -1.0], np.array([[[1, 2 / np.pi], [2 / np.pi, 1]]] * 2)
    >>> moments[1, 0, 1] = moments[1, 1, 0] = -2 / np.pi
    >>> law = rmt.LabelLaw(labels, second_moments=moments)  # of sign(z_1 z_2)
    >>> found = rmt.spectral_threshold("optimal", law)
    >>> print(f"{found.value / (np.pi**2 / 4):.8f}")
    1.00000000
    """
    _check_side(side)
    family = _family(preprocessing, target, bounded_below, bounded_above, support)
    index = check_integer("index", index, minimum=1, maximum=family.order)
    ends = check_array("bracket", bracket)
    if ends.shape != (2,) or not 0.0 < ends[0] < ends[1]:
        raise ValueError(f"bracket must be two increasing positive numbers, got {bracket!r}")
    return _find_threshold(family, side, index, (float(ends[0]), float(ends[1])))


# -- the law at any delta --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Family:
    """Laws of one spectral method at any delta, and those of wider bins."""

    make: Callable[[float], HessianLaw]
    order: int  # m k
    has_errors: bool
    coarse: _Family | None

    def law(self, delta: float) -> HessianLaw:
        return self.make(delta)


def _family(
    preprocessing: Preprocessing,
    target: LabelLaw,
    bounded_below: bool,
    bounded_above: bool,
    support: ArrayLike | None,
) -> _Family:
    if not isinstance(target, LabelLaw):
        raise ValueError(
            f"target must be a LabelLaw (see dmft.label_law for those of the catalogue), "
            f"got {type(target).__name__}"
        )
    sides: dict[str, Any] = {
        "bounded_below": bounded_below,
        "bounded_above": bounded_above,
        "support": support,
    }
    if isinstance(preprocessing, str):
        if preprocessing not in _OPTIMAL:
            raise ValueError(
                f"preprocessing must be a function, an array or one of {', '.join(_OPTIMAL)}, "
                f"got {preprocessing!r}"
            )
        if target.scales is not None:
            raise ValueError("preprocessing must be given where the inputs have scales")
        conditional = target.conditional()
        joined = wider_bins(target, conditional)
        coarse = None if joined is None else _optimal(preprocessing, joined, sides, None)
        return _optimal(preprocessing, conditional, sides, coarse)
    return _stated(preprocessing, target, sides)


def _stated(preprocessing: Any, target: LabelLaw, sides: dict[str, Any]) -> _Family:
    """Family of a given preprocessing, at the points of the law."""
    n, k = len(target.labels), target.k
    given = preprocessing(target.labels.copy()) if callable(preprocessing) else preprocessing
    weights = check_array("preprocessing", given)
    if weights.shape[:1] != (n,) or weights.ndim not in (1, 3):
        raise ValueError(
            f"preprocessing must give one weight, or symmetric matrix, for each of the {n} labels, "
            f"got shape {weights.shape}"
        )
    weights = weights.reshape(n, *(weights.shape[1:] or (1, 1)))
    if target.latents is not None:
        z = target.latents
        if target.scales is not None:
            weights = weights * target.scales[:, None, None] ** 2
        p, groups = target.probabilities, target.groups
    else:
        assert target.second_moments is not None
        z, p = atoms_of(target.second_moments, target.probabilities)
        weights = np.repeat(weights, k, axis=0)
        groups = None if target.groups is None else np.repeat(target.groups, k)
    make = partial(_made, weights, z, p, groups, sides)
    return _Family(make, weights.shape[1] * k, groups is not None, None)


def _optimal(
    name: str, conditional: Conditional, sides: dict[str, Any], coarse: _Family | None
) -> _Family:
    """Family of an optimal preprocessing: T of a bin from all other groups of points."""
    probability, moment = conditional.probability, conditional.moment
    count, bins, k = probability.shape[0], probability.shape[1], moment.shape[-1]
    learned = conditional.of_others()
    if name == "optimal-scalar":
        u = best_direction(*conditional.pooled())
        learned = np.einsum("i,rbij,j->rb", u, learned, u)[..., None, None]
    smallest = np.linalg.eigvalsh(learned)[..., 0]
    used = probability > 0.0
    if np.any(smallest[used] < SINGULAR):
        raise ValueError(
            "preprocessing cannot be optimal: E[z z^T | y] has no inverse at some label; give "
            "groups of points to average over, or second_moments"
        )
    learned = np.where(used[..., None, None], learned, np.eye(learned.shape[-1]))
    m = learned.shape[-1]
    weights = np.eye(m) - np.linalg.inv(learned)
    z, p = atoms_of(moment.reshape(-1, k, k), probability.ravel())
    groups = None
    if not conditional.exact:
        groups = np.repeat(np.arange(count, dtype=np.int64), bins * k)
    repeated = np.repeat(weights.reshape(-1, m, m), k, axis=0)
    make = partial(_made, repeated, z, p, groups, sides)
    return _Family(make, m * k, groups is not None, coarse)


def _made(
    weights: Array,
    z: Array,
    p: Array,
    groups: NDArray[np.int64] | None,
    sides: dict[str, Any],
    delta: float,
) -> HessianLaw:
    return HessianLaw(weights, delta, z, p, groups=groups, **sides)


# -- reading a law ---------------------------------------------------------------------------------


def _check_side(side: str) -> None:
    if side not in ("left", "right"):
        raise ValueError(f"side must be 'left' or 'right', got {side!r}")


def _levels(law: HessianLaw, side: SideName) -> tuple[float, Array]:
    """Return the edge, and the eigenvalues of A_h there (of -A_h on the right), ascending."""
    left, right = law.edges()
    edge = left if side == "left" else right
    if not np.isfinite(edge):
        return edge, np.full(law.m * law.k_hard, np.inf)
    status = law.edges().sides[side == "right"]
    if not status.ok:
        raise NumericalFailure(status, f"({side} edge)")
    a = law.hard_matrix(edge)
    return edge, np.asarray(np.linalg.eigvalsh(a if side == "left" else -a))


def _read(
    law: HessianLaw, side: SideName
) -> tuple[tuple[float, float, tuple[Outlier, ...]], Status]:
    """Return edge, gap and outliers of a side, from the outside in, and a status."""
    try:
        edge, levels = _levels(law, side)
    except NumericalFailure as failure:
        return (np.nan, np.nan, ()), failure.status
    if not np.isfinite(edge):
        return (edge, np.inf, ()), Status.UNBOUNDED_EDGE
    found = [o for o in law.outliers("hard", throw=False) if o.side == side]
    if side == "right":
        found.reverse()
    return (edge, float(levels[0]), tuple(found)), law.outlier_status


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def _matched(
    found: tuple[Outlier, ...], edge: float, others: tuple[Outlier, ...]
) -> list[tuple[Outlier, Outlier]]:
    """Pair outliers by rank; one that is missing is at the edge, without overlap."""
    known = by_rank(sorted(others, key=lambda o: o.value))
    own = by_rank(sorted(found, key=lambda o: o.value))
    keys = {id(outlier): key for key, outlier in own.items()}
    return [(o, known.get(keys[id(o)], replace(o, value=edge, hard_overlap=0.0))) for o in found]


def _spread(
    found: tuple[Outlier, ...], others: list[tuple[float, tuple[Outlier, ...]]]
) -> tuple[Array, Array]:
    """Return standard errors of values and overlaps over replicates, each edge and outliers."""
    if not found:
        return np.zeros(0), np.zeros(0)
    pairs = [[b for _, b in _matched(found, *each)] for each in others]
    numbers = np.array([[(o.value, o.hard_overlap) for o in each] for each in pairs])
    values, overlaps = (numbers.std(axis=0, ddof=1) / np.sqrt(len(others))).T
    return values, overlaps


def _find_threshold(
    family: _Family, side: SideName, index: int, bracket: tuple[float, float]
) -> SpectralThreshold:
    from scipy.optimize import brentq

    def level(log_delta: float, of: Callable[[float], HessianLaw] = family.law) -> float:
        return float(_levels(of(float(np.exp(log_delta))), side)[1][index - 1])

    nothing = partial(SpectralThreshold, np.nan, np.nan, (), side, index, np.nan)
    points: list[float] = []
    values: list[float] = []
    failed = Status.NO_BRACKET
    low, high = np.log(bracket)
    for at in np.linspace(low, high, _SCAN_POINTS).tolist():
        try:
            values.append(level(at))
            points.append(at)
        except NumericalFailure as failure:  # far from the threshold, an edge may be out of reach
            failed = failure.status
    grid, levels = np.array(points), np.array(values)
    if len(grid) < 2:
        return nothing(failed)
    if np.isinf(levels[0]):
        return nothing(Status.UNBOUNDED_EDGE)
    try:
        changes = np.flatnonzero((levels[:-1] < 0.0) != (levels[1:] < 0.0))
        roots = [brentq(level, grid[i], grid[i + 1], xtol=1e-13, rtol=1e-14) for i in changes]
        crossings = tuple(float(np.exp(root)) for root in roots)
        if levels[-1] >= 0.0 or not crossings:
            return replace(nothing(failed), crossings=crossings)
        root, error = roots[-1], 0.0
        if family.has_errors:
            step = 1e-3
            slope = (level(root + step) - level(root - step)) / (2.0 * step)
            laws = family.law(crossings[-1]).replicates
            spread = _deviation([float(_levels(law, side)[1][index - 1]) for law in laws])
            if family.coarse is not None:
                spread = float(np.hypot(spread, 0.5 * level(root, family.coarse.law)))
            error = crossings[-1] * spread / abs(slope)
        size = abs(level(root))
        return SpectralThreshold(crossings[-1], error, crossings, side, index, size, Status.SUCCESS)
    except NumericalFailure as failure:
        return nothing(failure.status)
