"""Edges of the bulk, and their dependence on the most extreme weights.

The edges are the ends of the two real branches (`rmt.real_branch`). Where the law
of the curvature weights D is sampled, they rest on its extreme samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rmt._validation import check_integer, check_real
from rmt.scalar_branch import continuous_intervals
from rmt.status import Status

if TYPE_CHECKING:
    from rmt._packing import Array
    from rmt.law import HessianLaw
    from rmt.real_branch import Kind

__all__ = [
    "Edges",
    "converged_edges",
    "edge_sensitivity",
    "edge_trouble",
    "edges",
    "find_edges",
    "support_intervals",
    "tail_sensitivity",
]


class Edges(tuple[float, float]):
    """Left and right edge of the bulk, as a pair that also carries how it was obtained.

    Attributes
    ----------
    left, right : float
        The edges; -inf and +inf where D is unbounded.
    sides : (Status, Status)
        Of each edge: ``SUCCESS``; ``UNBOUNDED_EDGE`` if the left edge is -inf (a right edge at
        +inf is a ``SUCCESS``); otherwise what went wrong.
    residual : float
        The certificate: the largest distance of F(B) from a multiple of the identity at either
        edge, in units of eigenvalues.
    kind : (str, str)
        What holds each edge: "square-root" (a fold of the real branch; the density vanishes like a
        square root), "support" (B = -inf D: the support of D, where outliers set in
        discontinuously), "zero" (B = 0: the edge is the eigenvalue 0 of a matrix short of rank), or
        "none" (an infinite edge). See `rmt.edge_kinds` for its uncertainty.

    Examples
    --------
    >>> import rmt
    >>> left, right = rmt.HessianLaw([1.0], ratio=4.0).edges()
    >>> round(left, 12), round(right, 12)
    (0.25, 2.25)
    """

    sides: tuple[Status, Status]
    residual: float
    kind: tuple[Kind, Kind]

    def __new__(
        cls,
        left: float,
        right: float,
        sides: tuple[Status, Status] = (Status.SUCCESS, Status.SUCCESS),
        residual: float = 0.0,
        kind: tuple[Kind, Kind] = ("square-root", "square-root"),
    ) -> Edges:
        """Make the pair (left, right) and attach statuses, residual and kinds."""
        self = super().__new__(cls, (left, right))
        self.sides = sides
        self.residual = residual
        self.kind = kind
        return self

    def __getnewargs__(
        self,
    ) -> tuple[float, float, tuple[Status, Status], float, tuple[Kind, Kind]]:
        return (self[0], self[1], self.sides, self.residual, self.kind)

    @property
    def status(self) -> Status:
        """``SUCCESS`` if both edges are, otherwise the status of the first that is not."""
        return self.sides[1] if self.sides[0].ok else self.sides[0]

    @property
    def left(self) -> float:
        """Left edge."""
        return self[0]

    @property
    def right(self) -> float:
        """Right edge."""
        return self[1]

    def __repr__(self) -> str:
        return (
            f"Edges(left={self.left!r}, right={self.right!r}, status={self.status}, "
            f"residual={self.residual:.1e})"
        )


def find_edges(law: HessianLaw) -> Edges:
    """Find both edges from the ends of the real branches."""
    ends, sides, residual = [-np.inf, np.inf], [Status.UNBOUNDED_EDGE, Status.SUCCESS], 0.0
    kinds: list[Kind] = ["none", "none"]
    for i, bounded in enumerate((law._bounded_below, law._bounded_above)):
        if bounded:
            side = law._scaled.right if i else law._scaled.left
            end = side.branch.edge
            ends[i] = law.centre + side.eigenvalue(end.value)
            sides[i], kinds[i] = end.status, end.kind
            residual = max(residual, side.unit * end.residual)
    return Edges(ends[0], ends[1], (sides[0], sides[1]), residual, (kinds[0], kinds[1]))


def edges(law: HessianLaw) -> Edges:
    """Compute the left and right edge of the bulk, an atom at zero included.

    The left edge is the maximum over symmetric B > 0, B + D > 0 of lambda_min(F(B)),
    F(B) = E[D - D (B + D)^{-1} D] - B/ratio + shift; the right edge is the reflection of that
    (Montanari & Wang, arXiv:2602.01434). F is a multiple of I at the optimum.

    Returns
    -------
    Edges
        ``left, right = law.edges()``, with ``.status``, ``.sides`` (the status of each edge)
        and ``.residual``. The status is ``UNBOUNDED_EDGE`` for a left edge at -inf; a right
        edge at +inf is a success. An edge with any other status is a bound from outside: the
        spectrum ends there or further in.
    """
    return law._edges


def converged_edges(law: HessianLaw) -> tuple[float, float]:
    """Edges, infinite ones included; NaN in place of one that did not converge."""
    known = (Status.SUCCESS, Status.UNBOUNDED_EDGE)
    edges = law.edges()
    left, right = (
        edge if status in known else np.nan for edge, status in zip(edges, edges.sides, strict=True)
    )
    return left, right


def edge_trouble(law: HessianLaw) -> tuple[Status, str]:
    """Status of the first edge that has one but did not converge."""
    for name, status in zip(("left", "right"), law.edges().sides, strict=True):
        if not (status.ok or status is Status.UNBOUNDED_EDGE):
            return status, f"({name} edge)"
    return Status.SUCCESS, ""


def support_intervals(law: HessianLaw) -> list[tuple[float, float]]:
    """Compute the intervals that carry the continuous spectrum, for m = 1.

    The outer ends are the `edges`, unless an atom at zero lies outside the continuous
    part. ``support`` points do not act on interior edges.

    Returns
    -------
    list of (float, float)
        Ascending; empty if D = 0.

    Raises
    ------
    ValueError
        For m > 1.

    Examples
    --------
    >>> import rmt
    >>> law = rmt.HessianLaw([1.0, 10.0], ratio=0.05)
    >>> [(round(a, 2), round(b, 2)) for a, b in law.support_intervals()]
    [(13.72, 26.17), (142.32, 268.79)]
    """
    if law.m != 1:
        raise ValueError(f"support_intervals needs scalar weights (m = 1), got m = {law.m}")
    intervals = continuous_intervals(law._scaled.atoms)
    if not intervals:
        return []
    left, right = (edge - law.centre for edge in law.edges())
    if left < min(0.0, intervals[0][0]) or left > intervals[0][0]:
        intervals[0] = (left, intervals[0][1])
    if right > max(0.0, intervals[-1][1]) or right < intervals[-1][1]:
        intervals[-1] = (intervals[-1][0], right)
    return [(a + law.centre, b + law.centre) for a, b in intervals]


def edge_sensitivity(law: HessianLaw, count: int = 1) -> tuple[float, float]:
    """Compute the movement of the edges without the most extreme atoms of D.

    Where the law of D is sampled, the edges are biased by the extreme samples, which `stderr` does
    not show: a movement that is not small compared with the accuracy required asks for more
    samples, a quadrature, or ``support`` points.

    Parameters
    ----------
    count : int, optional
        How many atoms to leave out: on the left those whose smallest eigenvalue is lowest, on
        the right those whose largest eigenvalue is highest.

    Returns
    -------
    (float, float)
        Left and right edge without those atoms (masses renormalised) minus the edges with
        them; 0 where D is unbounded on that side, infinite where one of the two edges did not
        converge.

    Raises
    ------
    ValueError
        If count is not at least 1 and below the number of atoms of positive mass.
    """
    mass = law.probabilities > 0
    available = int(np.count_nonzero(mass))
    count = check_integer("count", count)
    if not 1 <= count < available:
        raise ValueError(f"count must be from 1 to {available - 1}, got {count}")
    return _edges_without(law, lambda order: order[:count], law.support)


def tail_sensitivity(law: HessianLaw, mass: float = 0.0) -> tuple[float, float]:
    """Compute the movement of the edges without the tails of D: how thinly they are held.

    A matrix of finite size draws n weights. It does not feel ``support`` points, nor atoms
    that lie so far out that none of n draws is likely to meet them; where these hold an edge,
    the spectrum of the matrix ends short of the edge of the limit, by about the movement at
    ``mass = 1 / n``.

    Parameters
    ----------
    mass : float, optional
        Mass of D to leave out in addition to the support: on the left the atoms whose
        smallest eigenvalue is lowest, on the right those whose largest eigenvalue is highest,
        as many as have this much mass together at most. None of them by default.

    Returns
    -------
    (float, float)
        Left and right edge for the remaining atoms (masses renormalised) minus the
        edges with all; 0 where D is unbounded on that side, infinite where one of the two
        edges did not converge.

    Raises
    ------
    ValueError
        If mass is not at least 0 and below 1.

    Examples
    --------
    The left edge of spectral phase retrieval rests on weights -1, reached only as z grows:

    >>> from rmt.closed_forms import SpectralPhaseRetrieval
    >>> law = SpectralPhaseRetrieval(0.25).law()
    >>> [round(law.tail_sensitivity(mass)[0], 3) for mass in (0.0, 1e-3, 1e-1)]
    [0.005, 0.078, 1.198]
    """
    tail = check_real("mass", mass)
    if not 0 <= tail < 1:
        raise ValueError(f"mass must be at least 0 and below 1, got {mass!r}")

    def thin(order: NDArray[np.intp]) -> NDArray[np.intp]:
        return order[np.cumsum(law.probabilities[order]) <= tail]

    return _edges_without(law, thin, law.support[:0])


def _edges_without(
    law: HessianLaw, choose: Callable[[NDArray[np.intp]], NDArray[np.intp]], support: Array
) -> tuple[float, float]:
    """Compute the edges without some atoms of D, minus the edges.

    ``choose`` is given the atoms of positive mass, the most extreme one first.
    """
    mass = law.probabilities > 0
    values = np.linalg.eigvalsh(law.weights)
    moved = []
    for bounded, key, side in (
        (law._bounded_below, values[:, 0], 0),
        (law._bounded_above, -values[:, -1], 1),
    ):
        if not bounded:
            moved.append(0.0)
            continue
        order = np.argsort(np.where(mass, key, np.inf), kind="stable")
        keep = mass.copy()
        keep[choose(order[: np.count_nonzero(mass)])] = False
        move = 0.0
        if not (np.array_equal(keep, mass) and len(support) == len(law.support)):
            rest = law._restricted(keep, support)
            move = converged_edges(rest)[side] - converged_edges(law)[side]
        moved.append(np.inf if np.isnan(move) else move)
    return moved[0], moved[1]
