"""Samples of the gap lambda_min A_h and of the left edge: the limit, and each replicate.

Which outliers count (negative ones, those left of the bulk, or on either side) and which of them a
threshold is about, the first or a later one, are said by a `WhichOutlier`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.validation import check_integer
from dmft.model.held_directions import held_directions
from rmt.hard import Criterion, check_criterion
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dmft.model.problem import Problem
    from rmt import HardLevels, HessianLaw
    from rmt.real_branch import Kind

    FloatArray = NDArray[np.float64]

__all__ = [
    "FIRST_NEGATIVE",
    "EdgeAtGap",
    "GapSample",
    "WhichOutlier",
    "sample_gap",
    "standard_error",
]


@dataclass(frozen=True)
class WhichOutlier:
    """The hard outlier that a threshold is about.

    Attributes
    ----------
    criterion : {"negative", "left", "any"}
        Which outliers count: negative eigenvalues of the Hessian; those that leave the bulk on the
        left, negative or not; those that leave it on either side.
    index : int
        j for the j-th of them, counted with multiplicity.

    Examples
    --------
    >>> WhichOutlier("left", 2).words
    'second hard outlier left of the bulk'
    """

    criterion: Criterion = "negative"
    index: int = 1

    @classmethod
    def checked(
        cls, problem: Problem, criterion: str = "negative", index: int = 1, name: str = "index"
    ) -> WhichOutlier:
        """Check both for a problem, the index by the name that the caller knows it by.

        Raises
        ------
        ValueError
            For an unknown criterion, or an index that is not in 1..m k_h.
        """
        check_criterion(criterion)
        place = check_integer(name, index, minimum=1)
        m, k_hard = problem.m, held_directions(problem).shape[1]
        if place > max(1, m * k_hard):
            raise ValueError(
                f"{name} must be in 1..m k_h = 1..{m * k_hard} ({m} neurons times {k_hard} hard "
                f"directions), got {place}"
            )
        return cls(criterion, place)  # type: ignore[arg-type]

    @property
    def words(self) -> str:
        """A few words."""
        places = {1: "", 2: "second ", 3: "third "}
        where = {
            "negative": "negative hard outlier",
            "left": "hard outlier left of the bulk",
            "any": "hard outlier on either side of the bulk",
        }
        return places.get(self.index, f"{self.index}th ") + where[self.criterion]


FIRST_NEGATIVE = WhichOutlier()


@dataclass(frozen=True)
class EdgeAtGap:
    """What holds the edge that a gap is read at, and what that says of the transition.

    Attributes
    ----------
    kind : Kind
        `rmt.Edges.kind`, of the law over all paths; "none" where it is not known.
    is_certain : bool
        `rmt.EdgeKind.is_certain`.
    jump : ndarray, shape (R + 1,)
        Squared overlap with which the outlier would leave the bulk, of the law over all paths, then
        of each replicate: zero at a square-root edge.
    """

    kind: Kind
    is_certain: bool
    jump: FloatArray


@dataclass(frozen=True)
class GapSample:
    """Gap and left edge of a spectral law and of its R replicates.

    Attributes
    ----------
    gap, edge : ndarray, shape (R + 1,)
        Of the law over all paths, then of each replicate. NaN unless `status` is SUCCESS; for
        UNBOUNDED_EDGE the gap is +infinity and the edge -infinity.
    edge_sensitivity : float
        Dependence of the left edge on the most extreme curvature weight; NaN if not asked for.
    status : Status
        The first status of law and replicates that is no success.
    levels : ndarray, shape (R + 1, n)
        All eigenvalues of A_h that the gap is one of (`rmt.HessianLaw.hard_levels`), ascending.
    edges : tuple of EdgeAtGap, length n
        At each of them.
    noise : ndarray, shape (n, n)
        Standard error of the distance of each two of them, were they equal; zero without
        replicates.
    index : int
        Which of them the gap is, from 1.
    """

    gap: FloatArray
    edge: FloatArray
    edge_sensitivity: float
    status: Status
    levels: FloatArray = field(default_factory=lambda: np.empty((1, 0)))
    edges: tuple[EdgeAtGap, ...] = ()
    noise: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    index: int = 1

    @classmethod
    def missing(cls, status: Status, n_laws: int = 1) -> GapSample:
        """Return a sample without numbers."""
        nothing = np.full(n_laws, np.nan)
        return cls(nothing, nothing, np.nan, status)

    @property
    def stderr(self) -> float:
        """Standard error of the gap over the replicates; zero without any or where all agree."""
        return 0.0 if len(self.gap) == 1 else float(standard_error(self.gap[1:], axis=0))

    @property
    def at_gap(self) -> EdgeAtGap:
        """The edge that the gap is read at."""
        if len(self.edges) < self.index:
            return EdgeAtGap("none", False, np.full(len(self.gap), np.nan))
        return self.edges[self.index - 1]

    @property
    def multiplicity(self) -> int:
        """Number of eigenvalues of A_h that equal the gap within three standard errors."""
        if self.levels.shape[1] < self.index:
            return 1
        levels, place = self.levels[0], self.index - 1
        size = float(np.abs(levels[np.isfinite(levels)]).max(initial=0.0))
        apart = np.abs(levels - levels[place])
        equal = apart <= _WITHIN * self.noise[place] + _ROUNDING * size
        return int(np.count_nonzero(equal))

    def of(self, index: int) -> GapSample:
        """Return the sample of the gap of another index, from the same eigenvalues."""
        if self.levels.shape[1] < index:  # a failure, which is that of all
            return replace(self, index=index)
        return replace(self, gap=self.levels[:, index - 1], index=index)


def standard_error(replicates: FloatArray, axis: int) -> FloatArray:
    """Compute the standard error of a mean over replicates; exactly zero where all agree."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = replicates.std(axis=axis, ddof=1) / np.sqrt(replicates.shape[axis])
    return np.where(replicates.max(axis=axis) == replicates.min(axis=axis), 0.0, error)


# Eigenvalues are equal within so many standard errors of their difference, or rounding.
_WITHIN = 3.0
_ROUNDING = 1e-10


def sample_gap(
    law: HessianLaw, which: WhichOutlier = FIRST_NEGATIVE, *, edge_sensitivity: bool = False
) -> GapSample:
    """Compute gap and left edge of a spectral law and its replicates; failures are a status.

    A replicate whose edge was not found would make the standard error wrong, so it counts as much
    as the law itself. What would be a numpy warning (ratios near the ends of what a float holds)
    is NONFINITE.

    Parameters
    ----------
    law : rmt.HessianLaw
        With hard directions.
    which : WhichOutlier
    edge_sensitivity : bool
        Whether to compute that too.

    Returns
    -------
    GapSample

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import numpy as np
    >>> import rmt
    >>> y = np.random.default_rng(0).standard_normal(200) ** 2
    >>> law = rmt.HessianLaw(1 / (0.1 + y) - 1, 2.0, hard=np.sqrt(y))
    >>> sample_gap(law).status.name, sample_gap(law).gap.shape
    ('SUCCESS', (1,))
    """
    laws = [law, *law.replicates]
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            # Without an edge on the left there may still be outliers on the right.
            on_the_right = which.criterion == "any" and not np.isinf(law.edges().right)
            known = (Status.SUCCESS, Status.UNBOUNDED_EDGE) if on_the_right else (Status.SUCCESS,)
            statuses = [one.edges().status for one in laws]
            status = next((one for one in statuses if one not in known), Status.SUCCESS)
            if status is Status.UNBOUNDED_EDGE:
                infinite = np.full(len(laws), np.inf)
                return GapSample(infinite, -infinite, 0.0, status)
            if status.ok:
                found = _found(law, laws, which, edge_sensitivity=edge_sensitivity)
                numbers = [*found.gap, found.stderr]
                if law.edges().sides[0].ok:
                    numbers += [
                        *found.edge,
                        *([found.edge_sensitivity] if edge_sensitivity else []),
                    ]
                if np.isfinite(numbers).all():
                    return found
                status = Status.NONFINITE
    except NumericalFailure as failure:
        status = failure.status
    except FloatingPointError:
        status = Status.NONFINITE
    except (ArithmeticError, np.linalg.LinAlgError):
        status = Status.UNPHYSICAL_BRANCH
    return GapSample.missing(status, len(laws))


def _found(
    law: HessianLaw, laws: list[HessianLaw], which: WhichOutlier, *, edge_sensitivity: bool
) -> GapSample:
    """Read the gap, whose edges are known."""
    gap = np.array([one.hard_gap(which.criterion, which.index) for one in laws])
    edge = np.array([one.edges().left for one in laws])
    edge[np.isinf(edge)] = np.nan  # where the other side of the bulk is the only one
    sensitivity = abs(law.edge_sensitivity()[0]) if edge_sensitivity else np.nan
    each = [one.hard_levels(which.criterion) for one in laws]
    kinds = law.edge_kinds()
    ends = each[0].ends or (0,) * len(each[0].kinds)
    edges = tuple(
        EdgeAtGap(name, kinds[end].is_certain, np.array([one.overlaps[i] for one in each]))
        for i, (name, end) in enumerate(zip(each[0].kinds, ends, strict=True))
    )
    levels = np.stack([one.levels for one in each])
    noise = _noise(each)
    return GapSample(gap, edge, sensitivity, Status.SUCCESS, levels, edges, noise, which.index)


def _noise(each: Sequence[HardLevels]) -> FloatArray:
    """Estimate by how much sampling splits levels that are equal, for every two of them.

    In the eigenvectors u of all paths, replicates say how well diagonal and other elements of A_h
    are known; (a, c; c, b) splits by sqrt((a - b)^2 + 4 c^2).
    """
    u = each[0].vectors
    if len(each) == 1:
        return np.zeros(u.shape)
    matrices = np.stack([u.T @ one.matrix @ u for one in each[1:]])
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    differences = diagonal[:, :, np.newaxis] - diagonal[:, np.newaxis, :]
    noise: FloatArray = np.hypot(
        standard_error(differences, axis=0), 2.0 * standard_error(matrices, axis=0)
    )
    return noise
