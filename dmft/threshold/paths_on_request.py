r"""delta_NN(t) to an accuracy asked for: few paths for the scan, more of them for the root.

The scan of a bracket needs the signs of the gap only, and few paths give them. Where it has its
root, runs with more paths begin: Newton's iteration, with the slope known from before, takes two or
three solves, on so many paths that the errors of sampling, of finitely many paths and of the
location together are within the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmft.threshold.gap_memo import GapFunction, merged_values
from dmft.threshold.onset import step_of_onset
from dmft.threshold.question import even_in_log
from dmft.threshold.refinement import (
    OF_LOCATION,
    NewtonRoot,
    Slope,
    locate_crossings,
    newton_step,
    root_from,
    slope_at,
)
from dmft.threshold.scan import (
    doubtful_signs,
    few_paths_failed,
    is_open_for_certain,
    look_closer,
)
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.threshold.gap_memo import GapMemo, GapValues
    from dmft.threshold.levels import Levels
    from dmft.threshold.threshold import Crossing

__all__ = ["Scan", "Search", "scan_bracket", "search_to_accuracy"]

# Next to a sign change, within so many of its standard errors, gaps are small on any paths.
_NEXT_TO = 3.0
# Solves that finding the root on more paths usually takes.
_USUAL = 2


@dataclass(frozen=True)
class Scan:
    """Sign changes of the gap in a bracket, the last of them refined.

    Attributes
    ----------
    gap : GapFunction
    hidden : float
        Location of a sign change still suspected; NaN if there is none.
    status : Status
        SUCCESS if the last sign change is delta_NN.
    crossings : tuple of Crossing
        Increasing in delta.
    """

    gap: GapFunction
    hidden: float
    status: Status
    crossings: tuple[Crossing, ...]

    @property
    def root(self) -> NewtonRoot:
        """The last sign change with its errors; of a scan that has succeeded."""
        return newton_step(self.gap, self.crossings[-1].value, self.slope)

    @property
    def slope(self) -> Slope:
        """Slope of the gap there."""
        return slope_at(self.gap, self.crossings[-1])

    def is_doubtful(self, rtol: float) -> bool:
        """Return whether more paths may show other sign changes, or some instead of a failure."""
        values = self.gap.values()
        if is_open_for_certain(self.status, values):
            return False
        if few_paths_failed(self.status, values):
            return True
        small = doubtful_signs(values, rtol)
        for crossing in self.crossings:
            if crossing.refined:
                width = _NEXT_TO * crossing.stderr
                ends = crossing.lower - width, crossing.upper + width
                small &= (values.delta < ends[0]) | (values.delta > ends[1])
        return bool(small.any())


@dataclass(frozen=True)
class Search:
    """Outcome of a search to an accuracy.

    Attributes
    ----------
    scan : Scan
    gaps : tuple of GapFunction
        Of the scans, and on more and more paths.
    root : NewtonRoot or None
        On the most paths on which it was found; None where the scan has none.
    status : Status
        That of the scan; MAX_PATHS or OUT_OF_MEMORY if the root is known less well than asked for,
        or a sign of the scan is still in doubt; FINITE_PATHS; NO_BRACKET if the root lies outside
        the bracket; or the status of an evaluation that has no gap.
    """

    scan: Scan
    gaps: tuple[GapFunction, ...]
    root: NewtonRoot | None
    status: Status

    @property
    def values(self) -> GapValues:
        """All evaluations, each delta on the most paths."""
        return merged_values([gap.values() for gap in self.gaps])

    @property
    def n_paths(self) -> NDArray[np.intp]:
        """Paths per replicate of each evaluation."""
        of = {
            delta: gap.memo.sampling.n_paths
            for gap in self.gaps
            for delta in gap.values().delta.tolist()
        }
        return np.array([of[delta] for delta in sorted(of)], dtype=np.intp)


def scan_bracket(memo: GapMemo, step: int, bracket: tuple[float, float], scan_points: int) -> Scan:
    """Scan a bracket on a grid even in log delta, and refine the sign changes of the gap."""
    gap = GapFunction(memo, step)
    lower, upper = bracket
    for delta in even_in_log(lower, upper, scan_points)[1:-1]:
        gap(delta)
        if memo.is_unbounded:
            break
    gap(lower)
    gap(upper)
    hidden = look_closer(gap, scan_points)
    return Scan(gap, hidden, *locate_crossings(gap, hidden))


def search_to_accuracy(
    levels: Levels, step: int, bracket: tuple[float, float], scan_points: int
) -> Search:
    """Search for delta_NN(t) until its error is within the tolerance, or a budget ends.

    Parameters
    ----------
    levels : Levels
    step : int
    bracket : tuple of float
    scan_points : int

    Returns
    -------
    Search
    """
    memo = levels.first(step)
    scan, rtol = scan_bracket(memo, step, bracket, scan_points), levels.accuracy.rtol
    gaps, of_scan = [scan.gap], Status.SUCCESS
    while step and scan.is_doubtful(rtol):
        more = levels.again(memo, step)
        if isinstance(more, Status):
            of_scan = more
            break
        memo = more
        scan = scan_bracket(memo, step, bracket, scan_points)
        gaps.append(scan.gap)
    if not scan.status.ok:
        return Search(scan, tuple(gaps), None, scan.status)
    root, slope = scan.root, scan.slope
    while not root.is_within(rtol) or root.is_biased:
        n_paths = levels.accuracy.more_paths(
            memo.sampling.n_paths, root.stderr / root.value, root.bias / root.value
        )
        more = levels.more(memo, n_paths, _USUAL, step)
        if isinstance(more, Status):
            return Search(
                scan, tuple(gaps), root, Status.FINITE_PATHS if root.is_within(rtol) else more
            )
        memo = more
        early = step_of_onset(memo.method.times, step, memo.sampling.replicates)
        gaps.append(GapFunction(memo, step, early=early))
        try:
            root, slope = root_from(
                gaps[-1], root.value, slope, OF_LOCATION * rtol * root.value, bracket
            )
        except NumericalFailure as failure:
            return Search(scan, tuple(gaps), root, failure.status)
        if not bracket[0] <= root.value <= bracket[1]:
            return Search(scan, tuple(gaps), root, Status.NO_BRACKET)
    return Search(scan, tuple(gaps), root, of_scan)
