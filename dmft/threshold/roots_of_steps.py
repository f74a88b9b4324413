"""Roots of the gap at many steps from one set of solves; on more paths where asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dmft.threshold.doubts import decide_signs, window_above, with_doubt
from dmft.threshold.question import even_in_log
from dmft.threshold.scan import (
    DOUBTFUL,
    doubtful_signs,
    few_paths_failed,
    is_open_for_certain,
)
from dmft.threshold.step_roots import roots_at_step, with_bias
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dmft.threshold.gap_memo import GapMemo
    from dmft.threshold.levels import Levels
    from dmft.threshold.step_roots import StepRoots

__all__ = ["LocatedStep", "find_roots", "roots_to_accuracy"]

# A new delta keeps this fraction of the interval's length from its ends: nodes that are close
# together tell little more than one.
_MARGIN = 0.2
# On more paths: around the roots by so many of their errors, or by this factor at least,
_ERRORS_AROUND, _LEAST_AROUND = 3.0, 1.02
# with a delta for each such factor, three or four at least, and further ones while a root lies
# outside, each this factor away.
_FACTOR, _NARROW, _OUTSIDE, _MOST_OUTSIDE = 1.25, 1.15, 1.1, 6
# The grid reaches beyond the last root by so many times what delta_NN has risen since a fraction of
# the time, where that is little enough of it to say something of the limit.
_RISES, _EARLIER, _SETTLING = 2.0, 4.0, 0.15
# Deltas below a root on which its interpolation rests.
_BELOW = 2
# Windows of positive gap above a root that are gone through, one above the other.
_MOST_WINDOWS = 4
# Statuses of a root that has a value; more paths can only improve it.
_IMPROVABLE = (Status.SUCCESS, Status.MAX_STEPS, Status.FINITE_PATHS)


@dataclass(frozen=True)
class LocatedStep:
    """Roots of the gap at a step, and the paths they were found on.

    Attributes
    ----------
    step : int
    roots : StepRoots
    memo : GapMemo
    budget : Status
        MAX_PATHS or OUT_OF_MEMORY where that is why delta_NN is known less well than asked for.
    is_undecided : bool
        Whether noise hides a sign of the gap above the root, at ``roots.hidden``.
    """

    step: int
    roots: StepRoots
    memo: GapMemo
    budget: Status = Status.SUCCESS
    is_undecided: bool = False

    @property
    def time(self) -> float:
        """Time of the step."""
        return float(self.memo.method.times[self.step])

    @property
    def status(self) -> Status:
        """Status of the root, and of the accuracy asked for."""
        if self.budget.ok or self.roots.status not in _IMPROVABLE:
            return self.roots.status
        return self.budget

    def reaches(self, rtol: float) -> bool:
        """Return whether delta_NN is known to a tolerance, or cannot be known better."""
        root = self.roots.threshold
        if root is None or self.roots.status not in _IMPROVABLE or not self.budget.ok:
            return True
        tolerance = rtol * root.crossing.value
        if self.roots.status is Status.MAX_STEPS:  # more paths do not locate it better
            return bool(np.hypot(root.stderr, root.bias) <= tolerance)
        return self.roots.status.ok and root.total_error <= tolerance

    def is_doubtful(self, rtol: float) -> bool:
        """Return whether more paths may show other sign changes, or some instead of a failure."""
        status = self.roots.scan_status
        if status.ok:
            return False
        values, _, _ = self.memo.samples(self.step)
        if is_open_for_certain(status, values):
            return False
        return few_paths_failed(status, values) or bool(doubtful_signs(values, rtol).any())


def find_roots(
    memo: GapMemo,
    steps: Sequence[int],
    bracket: tuple[float, float],
    points: int,
    max_solves: int,
    rtol: float = 0.0,
) -> list[LocatedStep]:
    """Solve on a grid even in log delta, and refine it until every root is located well enough.

    Parameters
    ----------
    memo : GapMemo
    steps : sequence of int
        Ascending.
    bracket : tuple of float
    points : int
        Of the grid.
    max_solves : int
    rtol : float
        Accuracy asked for; zero where none is. With one the grid is gone through from above, and a
        delta is solved for no longer than delta_NN may be there or below: at small delta long runs
        are the most expensive, and decide nothing.

    Returns
    -------
    list of LocatedStep
        For each step.
    """
    for delta in reversed(even_in_log(*bracket, points)) if rtol else even_in_log(*bracket, points):
        open_steps = steps[: _last_open(memo, steps) + 1] if rtol else steps
        if not open_steps:
            break
        memo.evaluate(float(delta), open_steps)
        if memo.is_unbounded:
            break
    return _refined(memo, steps, points, max_solves, rtol)


def _last_open(memo: GapMemo, steps: Sequence[int]) -> int:
    """Return the index of the last step whose delta_NN may lie below all deltas solved; or -1.

    It does not where the gap is positive, beyond doubt, at the smallest ones: as many as cubics
    through the sign change above them use.
    """
    for index in range(len(steps) - 1, -1, -1):
        found = [entry.sample for entry in memo.at(steps[index]).values()]
        below = [one.gap[0] > DOUBTFUL * one.stderr for one in found[:_BELOW]]
        if len(found) <= _BELOW or not all(below) or not any(one.gap[0] < 0 for one in found):
            return index
    return -1


def _refined(
    memo: GapMemo, steps: Sequence[int], points: int, max_solves: int, rtol: float
) -> list[LocatedStep]:
    """Refine the grid until every root is located well enough."""
    found = [roots_at_step(memo, step, rtol) for step in steps]
    searches = 0
    while memo.n_solves < max_solves:
        needed = _next_delta(found, searches < points)
        if needed is None:
            break
        delta, last, is_search = needed
        searches += is_search
        memo.evaluate(delta, steps[int(steps[0] == 0) : last + 1])  # step 0 needs no solve
        found = [roots_at_step(memo, step, rtol) for step in steps]
    if memo.shows_bias:
        found = with_bias(found, memo.method.times[list(steps)])
    return [LocatedStep(step, roots, memo) for step, roots in zip(steps, found, strict=True)]


def _next_delta(found: list[StepRoots], may_search: bool) -> tuple[float, int, bool] | None:
    """Choose the delta needed most: to locate delta_NN, a hidden sign change, or another root.

    Parameters
    ----------
    found : list of StepRoots
        For each step.
    may_search : bool
        Whether to search for hidden sign changes.

    Returns
    -------
    delta : float
    last : int
        Index of the last step that needs it.
    is_search : bool
        Whether it is for a hidden sign change.
    None
        If no other delta is needed.
    """
    defining = [
        (index, step.threshold) for index, step in enumerate(found) if step.threshold is not None
    ]
    every = [(index, root) for index, step in enumerate(found) for root in step.roots]
    for roots in (defining, every):
        _, worst = max(roots, key=lambda entry: entry[1].excess, default=(0, None))
        if worst is not None and worst.excess > 1.0:
            lower, upper = worst.interval
            places = [
                np.log(root.crossing.value / lower) / np.log(upper / lower)
                for _, root in roots
                if root.excess > 1.0 and root.interval == worst.interval
            ]
            place = float(np.clip(np.median(places), _MARGIN, 1.0 - _MARGIN))
            # Later steps, with nothing in the interval, would learn nothing.
            last = max(index for index, root in every if root.interval == worst.interval)
            return float(lower * (upper / lower) ** place), last, False
        hidden = [(index, step.hidden) for index, step in enumerate(found) if step.hidden]
        if roots is defining and may_search and hidden:
            first = hidden[0][1]
            return first[2], max(i for i, other in hidden if other[:2] == first[:2]), True
    return None


def roots_to_accuracy(
    levels: Levels,
    steps: Sequence[int],
    bracket: tuple[float, float],
    points: int,
    max_solves: int,
) -> tuple[list[LocatedStep], list[GapMemo]]:
    """Find delta_NN at every step until its error is within the tolerance, or a budget ends.

    Parameters
    ----------
    levels : Levels
    steps : sequence of int
        Ascending.
    bracket : tuple of float
    points, max_solves : int
        On each number of paths.

    Returns
    -------
    found : list of LocatedStep
        For each step, on the fewest paths that do.
    memos : list of GapMemo
        All evaluations, on more and more paths.
    """
    rtol = levels.accuracy.rtol
    memo = levels.first(steps[-1])
    memos = [memo]
    found = find_roots(memo, steps, bracket, points, max_solves, rtol)
    while any(entry.is_doubtful(rtol) for entry in found if entry.step):
        more = levels.again(memo, steps[-1], len(steps))
        if isinstance(more, Status):
            break
        memo = more
        memos.append(memo)
        found = find_roots(memo, steps, bracket, points, max_solves, rtol)
    for _ in range(_MOST_WINDOWS):
        _locate(levels, memos, found, steps, bracket, points, max_solves)
        found = decide_signs(levels, memos, found, steps, max_solves)
        if not _above_windows(memos, found, bracket, points, max_solves, rtol):
            return found, memos
    # Windows that no root of their own ends are none for certain.
    windows = [window_above(entry, memos) for entry in found]
    return [
        with_doubt(entry, memos) if window else entry
        for entry, window in zip(found, windows, strict=True)
    ], memos


def _above_windows(
    memos: Sequence[GapMemo],
    found: list[LocatedStep],
    bracket: tuple[float, float],
    points: int,
    max_solves: int,
    rtol: float,
) -> bool:
    """Find the roots above windows of positive gap, in place; return whether there are any."""
    memo = memos[-1]
    windows = {i: window_above(entry, memos) for i, entry in enumerate(found)}
    above = {i: window for i, window in windows.items() if window is not None}
    if not above:
        return False
    lower, upper = (np.array(ends) for ends in zip(*above.values(), strict=True))
    around = float(lower.min()), min(float(upper.max()), bracket[1])
    chosen = [found[i].step for i in above]
    grid = _points(around, points)
    again = _roots_around(memo, chosen, around, grid, max_solves, rtol)
    located = [entry for entry in again if entry.roots.threshold is not None]
    if located:  # near the end of a window the gap bends: from close to the root
        around = _around(located, bracket)
        grid = _points(around, points)
        again = _roots_around(memo, chosen, around, grid, max_solves, rtol)
    for i, entry in zip(above, again, strict=True):
        found[i] = _of_more_paths(found[i], entry, bracket)
    return True


def _locate(
    levels: Levels,
    memos: list[GapMemo],
    found: list[LocatedStep],
    steps: Sequence[int],
    bracket: tuple[float, float],
    points: int,
    max_solves: int,
) -> None:
    """Find delta_NN on more paths where its error is not within the tolerance yet, in place."""
    rtol = levels.accuracy.rtol
    while open_steps := [i for i, entry in enumerate(found) if not entry.reaches(rtol)]:
        memo = memos[-1]
        worst = [_relative_errors(found[i]) for i in open_steps]
        wanted = levels.accuracy.more_paths(
            memo.sampling.n_paths,
            max(error[0] for error in worst),
            max(error[1] for error in worst),
        )
        around = _around([found[i] for i in open_steps], bracket)
        grid = _points(around, points)
        chosen = [found[i].step for i in open_steps]
        more = levels.more(memo, wanted, grid, chosen[-1], len(steps))
        if isinstance(more, Status):
            for i in open_steps:
                found[i] = replace(found[i], budget=more)
            break
        more.also = steps  # the limit as t grows is told by gaps at all times
        memos.append(more)
        again = _roots_around(more, chosen, around, grid, max_solves, rtol)
        for i, entry in zip(open_steps, again, strict=True):
            found[i] = _of_more_paths(found[i], entry, bracket)


def _of_more_paths(
    before: LocatedStep, entry: LocatedStep, bracket: tuple[float, float]
) -> LocatedStep:
    """Return the step as more paths have it, or why there is no better value."""
    root = entry.roots.threshold
    if root is not None and not bracket[0] <= root.crossing.value <= bracket[1]:
        return replace(entry, roots=replace(entry.roots, scan_status=Status.NO_BRACKET))
    if root is not None or entry.roots.status is Status.NO_BRACKET:
        return entry
    return replace(before, budget=entry.roots.status)


def _relative_errors(entry: LocatedStep) -> tuple[float, float]:
    """Return standard error with that of the interpolation, and bias, relative to delta_NN.

    Both zero where replicates overfit: their spread is that of their bias, and on twice as many
    paths far less of it may be left.
    """
    root = entry.roots.threshold
    assert root is not None  # only such steps are open
    statistical, value = float(np.hypot(root.stderr, root.error)), root.crossing.value
    if abs(root.difference) > root.stderr:
        return 0.0, 0.0
    return statistical / value, abs(root.bias) / value


def _around(entries: Sequence[LocatedStep], bracket: tuple[float, float]) -> tuple[float, float]:
    """Return the part of the bracket where roots lie on any number of paths."""
    lower, upper = bracket[1], bracket[0]
    for root in (entry.roots.threshold for entry in entries):
        assert root is not None  # only such steps are open
        value, away = root.crossing.value, _ERRORS_AROUND * root.total_error
        lower = min(lower, value - away, value / _LEAST_AROUND)
        upper = max(upper, value + away, value * _LEAST_AROUND)
    last = entries[-1].roots.threshold
    time = entries[-1].time
    before = [entry for entry in entries if entry.time <= time / _EARLIER]
    if before and last is not None and before[-1].roots.threshold is not None:
        # The limit as t grows is told by gaps on either side of it.
        rise = last.crossing.value - before[-1].roots.threshold.crossing.value
        if rise < _SETTLING * last.crossing.value:
            upper = max(upper, last.crossing.value + _RISES * rise)
    return max(lower, bracket[0]), min(upper, bracket[1])


def _points(around: tuple[float, float], points: int) -> int:
    """Return how many deltas cover a part of the bracket."""
    ratio = around[1] / around[0]
    fewest = 3 if ratio < _NARROW else 4
    return max(fewest, min(points, 2 + math.ceil(math.log(ratio) / math.log(_FACTOR))))


def _roots_around(
    memo: GapMemo,
    steps: Sequence[int],
    around: tuple[float, float],
    points: int,
    max_solves: int,
    rtol: float,
) -> list[LocatedStep]:
    """Find the roots on more paths, in a part of the bracket that is widened where they are not."""
    lower, upper = around
    found = find_roots(memo, steps, around, points, max_solves, rtol)
    for _ in range(_MOST_OUTSIDE):
        outside = [entry for entry in found if entry.roots.scan_status is Status.NO_BRACKET]
        if not outside:
            break
        gaps = [memo.samples(entry.step)[0].gap for entry in outside]
        if any(gap[0] < 0 for gap in gaps):
            lower /= _OUTSIDE
            memo.evaluate(lower, steps)
        if any(gap[-1] >= 0 for gap in gaps):
            upper *= _OUTSIDE
            memo.evaluate(upper, steps)
        found = _refined(memo, steps, points, max_solves, rtol)
    return found
