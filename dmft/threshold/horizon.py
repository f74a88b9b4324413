r"""Search for delta_NN against the horizon: the whole curve from one set of solves.

One solve at a delta gives the gap at every step, so a grid of delta gives the gap as a function of
delta at each of them, and its roots are delta_NN(t). The grid is refined where a root is located
worse than its standard error. The left edge of the bulk at the threshold comes with it; it
approaches zero: gradient descent ends in states that are marginally stable (Montanari & Wang,
arXiv:2602.01434, for the setting).
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.accuracy import requested
from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_integer
from dmft.hessian.gap_samples import WhichOutlier, standard_error
from dmft.threshold.curve import ThresholdCurve
from dmft.threshold.doubts import first_after_jump
from dmft.threshold.explanations import (
    explain_doubt,
    explain_jump,
    explain_outside,
    explain_search,
)
from dmft.threshold.extrapolation import extrapolate
from dmft.threshold.finite_size import FiniteSize, FiniteSizeMemo, gap_memo
from dmft.threshold.gap_limit import agreed, gap_limit, gap_samples, joined
from dmft.threshold.gap_memo import merged_tables
from dmft.threshold.levels import Levels
from dmft.threshold.question import POINTS, check_question, checked_counts, expected_solves
from dmft.threshold.roots_of_steps import find_roots, roots_to_accuracy
from dmft.threshold.step_roots import roots_at_start
from rmt.status import Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dmft.model.problem import Problem
    from dmft.threshold.gap_limit import GapLimit
    from dmft.threshold.gap_memo import GapMemo
    from dmft.threshold.roots_of_steps import LocatedStep
    from dmft.training.methods import Method
    from rmt.hard import Criterion
    from rmt.real_branch import Kind

    FloatArray = NDArray[np.float64]

__all__ = ["checked_steps", "curves_of_features", "default_steps", "delta_nn_curve"]

_N_STEPS = 30


def default_steps(times: FloatArray) -> list[int]:
    """Choose about 30 steps with times even in log(1 + t/t_1), the first and the last included.

    Parameters
    ----------
    times : ndarray, shape (n_steps + 1,)
        Time of each step, from 0; t_1 is that of step 1, so that gradient descent has steps even
        in log(1 + step).

    Returns
    -------
    list of int

    Examples
    --------
    >>> import dmft
    >>> default_steps(dmft.GradientDescent(0.2, 12).times)
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    >>> default_steps(dmft.GradientDescent(0.2, 1000).times)[-4:]
    [523, 649, 806, 1000]
    """
    n_steps = len(times) - 1
    n_chosen = min(_N_STEPS, n_steps + 1)
    if n_chosen == n_steps + 1:
        return list(range(n_chosen))
    length = np.log1p(times / times[1])
    steps = np.empty(0, dtype=np.intp)
    count = n_chosen
    while len(steps) < n_chosen and count <= 8 * n_chosen:
        # The first steps are further apart than such a grid is fine; more points make up for it.
        even = np.linspace(0.0, length[-1], count)
        after = np.clip(np.searchsorted(length, even), 1, n_steps)
        nearer = even - length[after - 1] < length[after] - even
        steps = np.unique(np.where(nearer, after - 1, after))
        count += 1
    if len(steps) < n_chosen:  # times far from zero and close together: fill up evenly
        steps = np.union1d(steps, np.linspace(0, n_steps, n_chosen).round().astype(np.intp))
    return [int(step) for step in steps]


def delta_nn_curve(
    problem: Problem,
    method: Method,
    bracket: Sequence[float],
    steps: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    *,
    points: int = POINTS,
    max_solves: int = 32,
    rtol: float | None = None,
    max_paths: int | None = None,
    max_seconds: float | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_memory: float | None = None,
    criterion: Criterion = "negative",
    index: int = 1,
    d: int | None = None,
    draws: int | None = None,
    throw: bool = False,
) -> ThresholdCurve:
    r"""Find the threshold delta_NN(t) at many horizons t, from one set of solves, and its limit.

    The process is solved once for each delta of a grid even in log delta; a solve gives the gap
    at all steps. Roots are those of the cubic in log delta through the four nearest values, by
    the convention of :func:`dmft.find_delta_nn`: the last sign change through which the gap turns
    negative. The grid is refined until cubic and parabolas agree on every root to within 0.2 of
    its standard error (beyond the noise of their difference), or 1e-4 of it.

    Parameters
    ----------
    problem : Problem
        With at least one hard direction.
    method : GradientDescent or GradientFlow
    bracket : pair of float
        ``(lower, upper)`` with 0 < lower < upper. It must hold delta_NN at all steps.
    steps : sequence of int, optional
        Ascending, in 0, ..., ``method.n_steps``; by default about 30, as in `default_steps`.
    sampling : Sampling, optional
    points : int
        Points of the first grid, ends included; at least 4.
    max_solves : int
        The most solves to make; at least ``points``. With `rtol`, on each number of paths.
    rtol : float, optional
        Relative error to be reached at every step, by sampling, finitely many paths and
        interpolation together: paths are added until it is. ``n_paths`` of ``sampling`` are then
        not used. Few paths serve the scan of the bracket; more of them, around the roots, the steps
        that need more. A delta is solved no longer than delta_NN may be there or below, so sign
        changes at smaller delta and later times are not looked for.
    max_paths, max_seconds : optional
        With `rtol`, as in :func:`dmft.find_delta_nn`.
    threads : int, optional
        As in :func:`dmft.solve`.
    progress : callable or True, optional
        Called with 1 after each solve; True for a progress bar.
    checkpoint : path-like, optional
        A folder in which the curve survives being killed: the same call goes on from there. It
        holds a checkpoint of :func:`dmft.solve` for each delta.
    max_memory : float, optional
        Of each solve, as in :func:`dmft.solve`.
    criterion, index : optional
        Which hard outlier the thresholds are about, as in :func:`dmft.find_delta_nn`.
    d, draws : int, optional
        Find delta_NN(t; d), the thresholds of runs of this dimension, as in
        :func:`dmft.find_delta_nn`.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.

    Returns
    -------
    ThresholdCurve

    Raises
    ------
    ValueError
        If an argument is out of range, or the problem has no hard direction or starts with an
        overlap with one; as in :func:`dmft.solve` for ``checkpoint`` and ``max_memory``.
    OSError
        If ``checkpoint`` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
    >>> method = dmft.GradientDescent(step_size=0.2, n_steps=4)
    >>> sampling = dmft.Sampling(n_paths=256, replicates=4)
    >>> curve = dmft.delta_nn_curve(problem, method, (1, 4), sampling=sampling)
    >>> curve.steps, bool(curve.value[-1] > curve.value[0])
    (array([0, 1, 2, 3, 4]), True)
    """
    sampling = Sampling() if sampling is None else sampling
    ends = check_question(problem, method, bracket, sampling)
    which = WhichOutlier.checked(problem, criterion, index)
    chosen = checked_steps(steps, method)
    points, max_solves = checked_counts(points, max_solves)
    size = FiniteSize.checked(d, draws, problem, method, ends, rtol=rtol)
    accuracy = requested(rtol, max_paths, max_seconds)
    asked = Execution(threads, progress, checkpoint, max_memory=max_memory, throw=throw)
    with asked.shown(expected_solves(points), "values of delta") as execution:
        if accuracy is None:
            memo = gap_memo(
                size, problem, method, sampling, execution, which=which, edge_sensitivity=True
            )
            curve, memos = find_roots(memo, chosen, ends, points, max_solves), [memo]
        else:
            levels = Levels(
                accuracy, problem, method, sampling, execution, which=which, edge_sensitivity=True
            )
            curve, memos = roots_to_accuracy(levels, chosen, ends, points, max_solves)
    _refine_start(curve, points)
    return _curve(execution, curve, memos, ends, rtol)


def _refine_start(curve: list[LocatedStep], points: int) -> None:
    """Find the roots at step 0, if it is the first, by evaluations that need no solve; in place."""
    first = curve[0]
    if first.step == 0 and first.roots.status is not Status.UNBOUNDED_EDGE:
        curve[0] = replace(first, roots=roots_at_start(first.memo, first.roots, points))


def curves_of_features(
    shared: GapMemo | Levels,
    count: int,
    steps: Sequence[int],
    bracket: tuple[float, float],
    points: int,
    max_solves: int,
) -> list[ThresholdCurve]:
    """Find the curves of the first outlier, the second and so on, from shared solves.

    Parameters
    ----------
    shared : GapMemo or Levels
        Of the first outlier; levels to reach an accuracy.
    count : int
        Number of outliers.
    steps : sequence of int
    bracket : pair of float
    points, max_solves : int
        As for `delta_nn_curve`; each feature may add as many solves to those before.

    Returns
    -------
    list of ThresholdCurve
    """
    found = []
    for index in range(1, count + 1):
        if isinstance(shared, Levels):
            of_feature, rtol = shared.of_index(index), shared.accuracy.rtol
            curve, memos = roots_to_accuracy(of_feature, steps, bracket, points, max_solves)
        else:
            memos, rtol = [shared.sharing(index)], None
            most = max(max_solves, shared.n_solves + max_solves - points)
            curve = find_roots(memos[0], steps, bracket, points, most)
        _refine_start(curve, points)
        silent = replace(memos[0].execution, throw=False)
        found.append(_curve(silent, curve, memos, bracket, rtol))
    return found


def checked_steps(steps: Sequence[int] | None, method: Method) -> list[int]:
    """Return the steps of a curve, by default those of `default_steps`.

    Raises
    ------
    ValueError
        Unless they are ascending steps of the method.
    """
    n_steps = method.n_steps
    if steps is None:
        return default_steps(method.times)
    try:
        chosen = [check_integer("steps", step, minimum=0) for step in steps]
    except TypeError:
        raise ValueError(f"steps must be a list of steps, got {steps!r}") from None
    if not chosen or any(a >= b for a, b in itertools.pairwise(chosen)):
        raise ValueError(f"steps must be one or more different steps, ascending, got {chosen}")
    if chosen[-1] > n_steps:
        raise ValueError(f"steps must be in 0..n_steps = 0..{n_steps}, got {chosen[-1]}")
    return chosen


def _curve(
    execution: Execution,
    found: list[LocatedStep],
    memos: list[GapMemo],
    bracket: tuple[float, float],
    rtol: float | None,
) -> ThresholdCurve:
    """Put the result together, and raise its failure if that is asked for."""
    steps = [entry.step for entry in found]
    finest = max((entry.memo for entry in found), key=lambda memo: memo.sampling.n_paths)
    n_steps, n_replicates = len(steps), finest.sampling.replicates
    value, stderr, error, edge, edge_stderr, bias, jump, jump_stderr = np.full((8, n_steps), np.nan)
    kinds: list[Kind] = ["none"] * n_steps
    multiplicity = np.ones(n_steps, dtype=np.intp)
    replicates = np.full((n_replicates, n_steps), np.nan)
    for index, root in enumerate(entry.roots.threshold for entry in found):
        if root is not None:
            value[index], stderr[index], error[index] = root.crossing.value, root.stderr, root.error
            bias[index] = root.bias
            edge[index], edge_stderr[index] = root.edge, root.edge_stderr
            replicates[:, index] = root.replicates
            kinds[index], multiplicity[index] = root.transition.kind, root.multiplicity
            jump[index], *others = root.transition.jump.tolist()
            jump_stderr[index] = standard_error(np.array(others), 0) if others else 0.0
    statuses = tuple(entry.status for entry in found)
    times = np.asarray(finest.method.times, dtype=np.float64)[steps]
    fixed = _gap_limit(memos, found[-1].memo, steps, times)
    first = first_after_jump(found, memos)
    late = slice(first, None)
    in_time = extrapolate(times[late], value[late], replicates[:, late], error[late], bias[late])
    limit = agreed(in_time, fixed)
    if first:
        words = explain_jump(times[first - 1 : first + 1], value[first - 1 : first + 1])
        limit = replace(limit, detail=f"{words} {limit.detail}".rstrip())
    if np.isfinite(limit.lower):
        limit = replace(limit, lower=max(limit.lower, 0.0))
    if np.isnan(value[-1]):  # the curve leaves the bracket, or the runs end: it is not known late
        limit = replace(limit, status=Status.NOT_SETTLED)
    failed = next((entry for entry in found if not entry.status.ok), None)
    tables: dict[str, Any] = dict(merged_tables(memos, steps))
    curve = ThresholdCurve(
        steps=np.array(steps, dtype=np.intp),
        times=times,
        value=value,
        stderr=stderr,
        interpolation_error=error,
        statuses=statuses,
        replicates=replicates,
        estimated_bias=bias,
        crossings=tuple(entry.roots.crossings for entry in found),
        bracket=bracket,
        edge_at_threshold=edge,
        edge_at_threshold_stderr=edge_stderr,
        unstable_share=np.array([entry.roots.unstable_share for entry in found]),
        limit=limit,
        gap_limit=fixed,
        config=finest.config,
        detail="" if failed is None else _detail(failed, bracket),
        rtol=rtol,
        n_paths=np.array([entry.memo.sampling.n_paths for entry in found], dtype=np.intp),
        criterion=finest.which.criterion,
        index=finest.which.index,
        jump=jump,
        jump_stderr=jump_stderr,
        edge_kinds=tuple(kinds),
        multiplicity=multiplicity,
        **tables,
    )
    if isinstance(finest, FiniteSizeMemo):
        bands = np.array([finest.band(step) for step in steps]).T
        bands[:, np.isnan(value)] = np.nan
        curve = replace(curve, d=finest.size.d, draws=finest.draws(steps[-1]), band=bands)
    if failed is not None:
        words = f"First at step {failed.step}. {curve.detail}".rstrip()
        execution.settle(curve.status, words)
    return curve


def _gap_limit(
    memos: Sequence[GapMemo], memo: GapMemo, steps: Sequence[int], times: FloatArray
) -> GapLimit:
    """Find the limit from the gap at fixed delta, on the paths of the last step.

    Where these were spent on too few deltas to tell it, with what fewer paths say of others.
    """

    def on_paths_of(one: GapMemo) -> GapLimit:
        known = [index for index, step in enumerate(steps) if one.at(step)]
        return gap_limit(times[known], *gap_samples(one, [steps[index] for index in known]))

    limit = on_paths_of(memo)
    for coarser in reversed(memos):
        if not limit.is_known and coarser.sampling.n_paths < memo.sampling.n_paths:
            limit = joined(limit, on_paths_of(coarser))
    return limit


def _detail(entry: LocatedStep, bracket: tuple[float, float]) -> str:
    """Explain the status of a step."""
    roots = entry.roots
    if entry.status is Status.NO_BRACKET and roots.roots and roots.crossings[-1].opens:
        root = roots.roots[-1]  # outside
        words = explain_outside(root.crossing.value, root.total_error, np.array(bracket))
        return f"At step {entry.step}: {words}"
    hidden = np.nan if roots.hidden is None else roots.hidden[2]
    if entry.is_undecided:
        words = explain_doubt(hidden, entry.roots.roots[-1].crossing.value)
        return f"At step {entry.step}: {words}"
    values, _, _ = entry.memo.samples(entry.step)
    words = explain_search(entry.memo.problem, entry.status, values, roots.crossings, hidden)
    return f"At step {entry.step}: {words}" if words else ""
