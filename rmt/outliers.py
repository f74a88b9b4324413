"""Eigenvalues of H outside the bulk, in hard directions and in all others.

`rmt.hard` and `rmt.span_outliers` find them on one side of the bulk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rmt import hard, span_outliers
from rmt._blas import single_threaded_blas
from rmt._packing import Array
from rmt.edges import converged_edges, edge_trouble
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from rmt.law import HessianLaw
    from rmt.scaling import Side
    from rmt.span import Span

__all__ = [
    "Found",
    "Outlier",
    "by_rank",
    "has_outliers",
    "known_outliers",
    "outlier_status",
    "outliers",
    "smallest_eigenvalue",
]


@dataclass(frozen=True, eq=False)
class Outlier:
    """An eigenvalue outside the bulk, and where its eigenvector v in R^(m d) points.

    Write v = (v_1, ..., v_m) with v_j in R^d the part of neuron j. Squared overlaps are between 0
    and 1; those with different latent directions add up to at most ``span_overlap``.

    Attributes
    ----------
    value : float
        The eigenvalue.
    hard_overlap : float
        Squared norm of the projection of v on the hard space (times R^m). An eigenvector lies
        either in the hard directions or across them: exactly zero, or equal to ``span_overlap``.
    vector : (m, K) array
        Direction of the projection of v on the coordinates, of unit norm: entry (j, a) belongs to
        neuron j and coordinate a. With ``directions="hard"`` the coordinates are the k_h hard
        ones, otherwise all coordinates of the span.
    side : "left" or "right"
        The side of the bulk.
    span_overlap : float
        Squared norm of the projection of v on all coordinates.
    latent_overlap : (k,) array
        For each latent direction l, the sum over neurons of <v_j, direction l>^2. The latent
        directions come from the span; without one, they are the k_h hard coordinates.
    neuron_overlap : (m, m) array or None
        Entry (j, p): squared overlap of v with the weights of neuron p (of unit norm) in block j,
        ``<v_j, theta_p>^2 / |theta_p|^2``. The sum of the diagonal is a change of length of the
        neurons; weights of norm zero give zero. None where the span has no ``neurons``.
    separated : bool
        Whether it is further from the edge of the bulk than the errors of both together, over the
        replicates of its law. Otherwise it is not told from the edge: sampled weights show such an
        outlier where the limit may have none. True without replicates.

    Examples
    --------
    >>> from rmt.closed_forms import SpikedCovariance
    >>> [outlier] = SpikedCovariance(ratio=4.0, spike=1.0).law().outliers()
    >>> outlier.side, round(outlier.value, 6)
    ('right', 2.5)
    """

    value: float
    hard_overlap: float
    vector: Array
    side: Literal["left", "right"]
    span_overlap: float
    latent_overlap: Array
    neuron_overlap: Array | None = None
    separated: bool = True


def by_rank(outliers: Sequence[Outlier]) -> dict[tuple[str, bool, int], Outlier]:
    """Label outliers, given ascending, by side, whether hard, and rank from the outside in.

    The labels match the outliers of one randomisation with those of another.
    """
    kinds = [(outlier.side, outlier.hard_overlap > 0) for outlier in outliers]
    return {
        (*kind, (kinds[:i] if kind[0] == "left" else kinds[i + 1 :]).count(kind)): outlier
        for i, (kind, outlier) in enumerate(zip(kinds, outliers, strict=True))
    }


class Found(NamedTuple):
    """Outliers, ascending, and whether they can be relied on."""

    outliers: tuple[Outlier, ...]
    status: Status
    detail: str


def _sides(law: HessianLaw) -> Iterator[Side]:
    """Sides of the bulk that have an end, and a known one."""
    ends = law.edges().sides
    if law._bounded_below and ends[0] is not Status.UNRESOLVED:
        yield law._scaled.left
    if law._bounded_above and ends[1] is not Status.UNRESOLVED:
        yield law._scaled.right


def _ascending(outliers: list[Outlier]) -> tuple[Outlier, ...]:
    return tuple(sorted(outliers, key=lambda outlier: outlier.value))


def find_hard(law: HessianLaw) -> Found:
    """Find the outliers in hard directions.

    An edge that did not converge is a bound from outside: what lies beyond it is an outlier,
    but others may lie between it and the edge.
    """
    status, detail = edge_trouble(law)
    found: list[Outlier] = []
    if law.k_hard:
        try:
            law._scaled.check_hard()
            for side in _sides(law):
                for z, overlap, vector in hard.outliers_below(side.branch):
                    value = law.centre + side.eigenvalue(z)
                    latent = overlap * np.sum(vector**2, axis=0)
                    found.append(Outlier(value, overlap, vector, side.name, overlap, latent))
        except NumericalFailure as failure:
            status, detail = failure.status, failure.detail
    return Found(_ascending(found), status, detail)


def find_all(law: HessianLaw) -> Found:
    """Find the outliers in all directions; the hard ones alone if the status is not SUCCESS."""
    known = law._hard_outliers
    try:
        span = law.span
    except NumericalFailure as failure:
        return Found(known.outliers, failure.status, failure.detail)
    assert span is not None
    # Hard outliers do not feel the rest; they get the overlaps the span can tell.
    found = [
        _described(span, o.value, o.span_overlap, o.vector @ span.hard.T, o.side, True)
        for o in known.outliers
    ]
    rest: list[Outlier] = []
    status, detail = known.status, known.detail
    if status.ok:
        mass = law.probabilities > 0
        aligned = span if mass.all() else span.restricted(mass)
        try:
            with single_threaded_blas():
                for side in _sides(law):
                    for z, overlap, vector in span_outliers.outliers_below(side.branch, aligned):
                        value = law.centre + side.eigenvalue(z)
                        rest.append(_described(span, value, overlap, vector, side.name, False))
        except NumericalFailure as failure:
            rest, status, detail = [], failure.status, failure.detail
    return Found(_ascending(found + rest), status, detail)


def _described(
    span: Span,
    value: float,
    overlap: float,
    vector: Array,
    side: Literal["left", "right"],
    hard: bool,
) -> Outlier:
    """Make an outlier with overlaps from the coordinates; ``vector`` (m, K) of unit norm."""
    neurons = None
    if span.neurons is not None:
        norms = np.linalg.norm(span.neurons, axis=1, keepdims=True)
        unit = np.divide(span.neurons, norms, out=np.zeros_like(span.neurons), where=norms > 0)
        neurons = overlap * (vector @ unit.T) ** 2
    return Outlier(
        value,
        overlap if hard else 0.0,
        vector,
        side,
        overlap,
        overlap * np.sum(vector[:, : span.latent] ** 2, axis=0),
        neurons,
    )


def chosen_directions(law: HessianLaw, directions: str | None) -> Literal["all", "hard"]:
    """Resolve and check the argument ``directions``."""
    if directions is None:
        directions = "hard" if law._span is None else "all"
    if directions not in ("all", "hard"):
        raise ValueError(f"directions must be 'all' or 'hard', got {directions!r}")
    if directions == "hard":
        hard.require_hard(law)
    elif law._span is None:
        raise ValueError("span must be given to HessianLaw for outliers in all directions")
    return directions  # type: ignore[return-value]


def outliers(
    law: HessianLaw, directions: Literal["all", "hard"] | None = None, *, throw: bool = True
) -> list[Outlier]:
    """Compute the eigenvalues outside the bulk, both sides, ascending.

    Outliers in hard directions are decoupled from all others (an eigenvector lies in the hard
    directions or across them) and need the hard coordinates only. All others are the zeros of
    det A(z),

        A(z) = E[(D - D Y D) (x) q q^T] + U W^{-1} U^T - z I,     Y = (B + D)^{-1},
        W = E[Y (x) ghat ghat^T],    U = E[D Y (x) q ghat^T],

    with the coordinates q and gradients ghat of the span (Montanari & Wang, arXiv:2602.01434).

    Parameters
    ----------
    directions : {"all", "hard"}, optional
        Which ones; by default all if the law has a span, otherwise the hard ones.
    throw : bool, optional
        If False, a computation that is not reliable returns the hard outliers alone, and
        `outlier_status` says why.

    Returns
    -------
    list of Outlier
        Near the edge sampled weights can show an outlier that is noise: where there are
        replicates, `Outlier.separated` says whether it is told from the edge.

    Raises
    ------
    ValueError
        If the law has neither span nor hard coordinates, or not what ``directions`` needs.
    NumericalFailure
        With status ILL_CONDITIONED, if directions of weight above 1e-4 are missing from the
        span (`Span.defect`), or its gradients are linearly dependent to 1e-10; with the status
        of an edge that did not converge, as outliers may hide next to it.
    """
    which = chosen_directions(law, directions)
    found = found_in(law, which)
    if throw and not found.status.ok:
        raise NumericalFailure(found.status, found.detail)
    return _told_from_edges(law, found.outliers, which)


def found_in(law: HessianLaw, which: Literal["all", "hard"]) -> Found:
    """Outliers in hard or all directions, found once."""
    return law._hard_outliers if which == "hard" else law._all_outliers


def _told_from_edges(
    law: HessianLaw, found: Sequence[Outlier], which: Literal["all", "hard"]
) -> list[Outlier]:
    """Set `Outlier.separated` by the spread over the replicates."""
    laws = law.replicates
    if len(laws) < 2 or not found:
        return list(found)
    if all(outlier.hard_overlap > 0 for outlier in found):
        which = "hard"  # the same ones, at a fraction of the cost
    others = [by_rank(found_in(replicate, which).outliers) for replicate in laws]
    ends, errors = law.edges(), law.edge_errors()
    judged = []
    for key, outlier in by_rank(found).items():
        end = 0 if outlier.side == "left" else 1
        # A replicate that lacks it has it at the edge, where outliers emerge.
        values = [
            other[key].value if key in other else replicate.edges()[end]
            for other, replicate in zip(others, laws, strict=True)
        ]
        error = float(np.std(values, ddof=1) / np.sqrt(len(laws))) + errors[end]
        apart = bool(abs(outlier.value - ends[end]) > error)
        judged.append(replace(outlier, separated=apart))
    return judged


def has_outliers(law: HessianLaw) -> bool:
    """Whether the law knows directions in which outliers may lie."""
    return law.k_hard > 0 or law._span is not None


def known_outliers(law: HessianLaw) -> list[Outlier]:
    """Outliers in all directions the law knows of, whether they can be relied on or not."""
    return law.outliers(throw=False) if has_outliers(law) else []


def outlier_status(law: HessianLaw) -> Status:
    """Status of the outliers, which it computes: SUCCESS, or why they cannot be relied on.

    In all directions where the law has a span, otherwise in hard ones.
    """
    if law._span is not None:
        return law._all_outliers.status
    return law._hard_outliers.status if law.hard is not None else Status.SUCCESS


def smallest_eigenvalue(law: HessianLaw, *, throw: bool = True) -> float:
    """Compute the smallest eigenvalue of H: the left edge, or the lowest outlier if there is one.

    Without ``hard`` and ``span`` this is the left edge; -inf where D is unbounded below. With a
    span, outliers in all directions count.

    Parameters
    ----------
    throw : bool, optional
        If False, a value that is not reliable is NaN instead of raising.

    Raises
    ------
    NumericalFailure
        With the status of the left edge if that did not converge, and as for `outliers`.
    """
    left = converged_edges(law)[0]
    if np.isnan(left):
        if throw:
            raise NumericalFailure(law.edges().sides[0], "(left edge)")
        return np.nan
    if not has_outliers(law):
        return left
    found, status, detail = found_in(law, chosen_directions(law, None))
    if not status.ok:
        if throw:
            raise NumericalFailure(status, detail)
        return np.nan
    return min([left, *(o.value for o in found if o.side == "left")])
