"""Signs of the gap above a root that fewer paths leave in doubt, decided on more of them.

More paths are spent around a root. What lies above it is known from fewer, and they may not see
that the gap is positive again there, in a window: delta_NN is then the root above that window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from dmft.threshold.scan import DOUBTFUL
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dmft.hessian.gap_samples import GapSample
    from dmft.threshold.gap_memo import GapMemo
    from dmft.threshold.levels import Levels
    from dmft.threshold.roots_of_steps import LocatedStep

__all__ = ["decide_signs", "first_after_jump", "window_above", "with_doubt"]


@dataclass(frozen=True)
class _Above:
    """An evaluation above a root, on the most paths on which there is one."""

    delta: float
    sample: GapSample
    n_paths: int

    @property
    def error(self) -> float:
        """What noise may be, at most."""
        return DOUBTFUL * self.sample.stderr

    @property
    def is_positive(self) -> bool:
        """Whether the gap is positive beyond doubt, and not by the bias that replicates show."""
        gap = self.sample.gap
        return bool(gap[0] - max(float(gap[1:].mean() - gap[0]), 0.0) > self.error)


def decide_signs(
    levels: Levels,
    memos: list[GapMemo],
    found: Sequence[LocatedStep],
    steps: Sequence[int],
    max_solves: int,
) -> list[LocatedStep]:
    """Evaluate the gap above roots on more paths, until its signs are known or a budget ends.

    Parameters
    ----------
    levels : Levels
    memos : list of GapMemo
        Each on more paths than the one before; evaluations are added, and memos.
    found : sequence of LocatedStep
        For each step.
    steps : sequence of int
    max_solves : int
        On each number of paths.

    Returns
    -------
    list of LocatedStep
        The same roots. Where a sign stays in doubt, its place is `StepRoots.hidden`, and the status
        MAX_PATHS or OUT_OF_MEMORY; or MAX_STEPS, where the gap is zero to the accuracy asked for.
    """
    found = list(found)
    while True:
        doubts: dict[int, list[_Above]] = {}
        for index, entry in enumerate(found):
            if not entry.budget.ok or entry.roots.is_open_above or window_above(entry, memos):
                continue
            above = _in_doubt(entry, memos)
            zero = [one for one in above if one.error <= _allowed(entry, levels.accuracy.rtol)]
            if zero:
                found[index] = _marked(entry, zero[0])
            elif above:
                doubts[index] = above
        if not doubts:
            break
        fewest = min(one.n_paths for above in doubts.values() for one in above)
        again = {i: [one for one in above if one.n_paths == fewest] for i, above in doubts.items()}
        again = {index: above for index, above in again.items() if above}
        memo = _on_more_paths(levels, memos, {found[i].step: again[i] for i in again}, max_solves)
        if isinstance(memo, Status):
            for index, above in again.items():
                found[index] = replace(_marked(found[index], above[0]), budget=memo)
            continue
        memo.also = steps
        for delta in sorted({one.delta for above in again.values() for one in above}):
            there = [i for i, above in again.items() if delta in [one.delta for one in above]]
            new = memo.evaluate(delta, [found[i].step for i in there])
            for i in there:
                status = new[found[i].step].sample.status
                if not status.ok:  # why the sign is not known better
                    found[i] = replace(_marked(found[i], again[i][0]), budget=status)
    # The budget of some had ended before.
    return [entry if entry.budget.ok else with_doubt(entry, memos) for entry in found]


def with_doubt(entry: LocatedStep, memos: Sequence[GapMemo]) -> LocatedStep:
    """Return the step, marked where its gap may be positive again above delta_NN."""
    doubts = _in_doubt(entry, memos)
    return _marked(entry, doubts[0]) if doubts else entry


def _on_more_paths(
    levels: Levels, memos: list[GapMemo], doubts: dict[int, list[_Above]], max_solves: int
) -> GapMemo | Status:
    """Return the memo on more paths to decide signs at some steps, or why there is none."""
    every = [one for above in doubts.values() for one in above]
    n_paths, deltas = every[0].n_paths, {one.delta for one in every}
    last = next(memo for memo in reversed(memos) if memo.sampling.n_paths <= n_paths)
    following = [memo for memo in memos if memo.sampling.n_paths > n_paths]
    if following:
        if following[0].n_solves + len(deltas) > max_solves:
            return Status.MAX_STEPS
        wanted: int | None = following[0].sampling.n_paths
    else:
        # Until the error is that of a sign which is certain.
        ratio = max(one.error / max(abs(one.sample.gap[0]), 0.5 * one.error) for one in every)
        wanted = levels.accuracy.more_paths(n_paths, ratio * levels.accuracy.rtol, 0.0)
    more = levels.more(last, wanted, len(deltas), max(doubts), len(doubts))
    if isinstance(more, Status):
        return more
    if following:
        return following[0]
    memos.append(more)
    return more


def _above(entry: LocatedStep, memos: Sequence[GapMemo]) -> list[_Above]:
    """Return the evaluations above the root that is delta_NN, increasing in delta."""
    root = entry.roots.threshold
    if root is None or not entry.step or not root.stderr:
        return []
    found = {
        delta: _Above(delta, one.sample, memo.sampling.n_paths)
        for memo in memos
        for delta, one in memo.at(entry.step).items()
        if delta > root.crossing.upper and one.sample.status.ok
    }
    return [found[delta] for delta in sorted(found)]


def _in_doubt(entry: LocatedStep, memos: Sequence[GapMemo]) -> list[_Above]:
    """Return those whose gap is not negative beyond doubt, nor on the tangent within its error."""
    root = entry.roots.threshold
    above = _above(entry, memos)
    if root is None or not above:
        return []
    value, slope = root.crossing.value, _slope(entry)
    return [
        one
        for one in above
        if one.sample.gap[0] > max(-one.error, slope * (one.delta - value) + one.error)
    ]


def _slope(entry: LocatedStep) -> float:
    """Return the slope of the gap above the root, up to the next evaluation."""
    root = entry.roots.threshold
    assert root is not None  # only such steps have evaluations above
    values, _, _ = entry.memo.samples(entry.step)
    above = values.delta >= root.crossing.upper
    rise = float(values.delta[above][0]) - root.crossing.value
    return float(values.gap[above][0]) / rise if rise > 0.0 else 0.0


def _allowed(entry: LocatedStep, rtol: float) -> float:
    """Return the gap as far from the root as this may be off."""
    root = entry.roots.threshold
    assert root is not None  # only such steps have evaluations in doubt
    return rtol * root.crossing.value * abs(_slope(entry))


def _marked(entry: LocatedStep, doubt: _Above) -> LocatedStep:
    """Return the step with the place where its gap may be positive again."""
    marked = replace(entry.roots, hidden=(doubt.delta, doubt.delta, doubt.delta))
    return replace(entry, roots=marked, is_undecided=True)


def window_above(entry: LocatedStep, memos: Sequence[GapMemo]) -> tuple[float, float] | None:
    """Return where delta_NN is above a window of positive gap; None if there is no such window.

    On as many paths as the root was found on, at least.

    Parameters
    ----------
    entry : LocatedStep
    memos : sequence of GapMemo
        Each on more paths than the one before.

    Returns
    -------
    lower, upper : float
        The last delta at which the gap is positive beyond doubt, and the next one at which it is
        negative; infinity without any.
    None
        If there is no such window.
    """
    above = _above(entry, memos)
    fewest = entry.memo.sampling.n_paths
    positive = [one.delta for one in above if one.n_paths >= fewest and one.is_positive]
    if not positive:
        return None
    after = [one.delta for one in above if one.delta > positive[-1] and one.sample.gap[0] < 0.0]
    return positive[-1], min(after, default=np.inf)


def first_after_jump(found: Sequence[LocatedStep], memos: Sequence[GapMemo]) -> int:
    """Return the index of the first step after the last jump of delta_NN to another root.

    It jumps where a window of positive gap opens above it. Just before, the gap has a maximum
    there: between one value and the next it rises in delta.

    Parameters
    ----------
    found : sequence of LocatedStep
    memos : sequence of GapMemo

    Returns
    -------
    int
        0 without a jump.
    """
    for index in range(len(found) - 1, 0, -1):
        before, after = found[index - 1].roots.threshold, found[index].roots.threshold
        if before is None or after is None:
            continue
        ends = before.crossing.value, after.crossing.value
        for memo in memos:
            samples = [
                one.sample
                for delta, one in memo.at(found[index - 1].step).items()
                if ends[0] < delta < ends[1] and one.sample.status.ok
            ]
            if any(_rises(*pair) for pair in combinations(samples, 2)):
                return index
    return 0


def _rises(first: GapSample, second: GapSample) -> bool:
    """Return whether one gap is above another beyond doubt."""
    difference = second.gap - first.gap
    n_replicates = len(difference) - 1
    if n_replicates == 1:  # its error is not known
        return False
    # Without replicates both are exact.
    error = float(difference[1:].std(ddof=1)) / np.sqrt(n_replicates) if n_replicates else 0.0
    return bool(difference[0] > DOUBTFUL * error)
