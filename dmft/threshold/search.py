r"""Search for the threshold delta_NN(t), above which the Hessian at step t has a hard outlier.

``gap(delta; t) = lambda_min(A_h(min(left edge, 0)))`` is negative exactly when the Hessian at step
t has a negative eigenvalue outside the bulk pointing at a hard direction, and continuous in delta.
delta_NN(t) is the smallest delta above which it stays negative (Montanari & Wang,
arXiv:2602.01434).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.accuracy import requested
from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_integer
from dmft.hessian.gap_samples import WhichOutlier, standard_error
from dmft.threshold.explanations import explain_outside, explain_search, explain_transition
from dmft.threshold.finite_size import FiniteSize, FiniteSizeMemo, gap_memo
from dmft.threshold.levels import Levels
from dmft.threshold.paths_on_request import scan_bracket, search_to_accuracy
from dmft.threshold.question import (
    MOST_POINTS,
    POINTS,
    check_question,
    checked_step,
    expected_solves,
)
from dmft.threshold.threshold import Threshold
from rmt.status import Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from dmft.hessian.gap_samples import GapSample
    from dmft.model.problem import Problem
    from dmft.threshold.gap_memo import GapMemo, GapValues
    from dmft.threshold.paths_on_request import Scan, Search
    from dmft.training.methods import Method
    from rmt.hard import Criterion

__all__ = ["find_delta_nn"]


def find_delta_nn(
    problem: Problem,
    method: Method,
    bracket: Sequence[float],
    step: int | None = None,
    sampling: Sampling | None = None,
    *,
    scan_points: int = POINTS,
    rtol: float | None = None,
    max_paths: int | None = None,
    max_seconds: float | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_memory: float | None = None,
    digits: int | None = None,
    criterion: Criterion = "negative",
    index: int = 1,
    d: int | None = None,
    draws: int | None = None,
    throw: bool = False,
) -> Threshold:
    r"""Find the threshold delta_NN(t) above which the Hessian at step t has a hard outlier.

    The bracket is scanned first, on a grid even in log delta. Where the gap, interpolated between
    deltas at which it has the same sign, comes within the error of the interpolation of zero, it is
    evaluated there too (`scan_points` more times at most): two sign changes may be hidden. At
    step 0, where the gap takes no solve, the whole bracket is looked through on a finer grid. The
    last sign change, through which the gap turns negative for good, is refined by scipy's
    ``brentq`` until it is located ten times more finely than its sampling error, and then all
    others, which takes about five more evaluations for each. All evaluations share their random
    numbers, so the gap is a smooth function of delta.

    Parameters
    ----------
    problem : Problem
        With at least one hard direction.
    method : GradientDescent or GradientFlow
    bracket : pair of float
        ``(lower, upper)`` with 0 < lower < upper.
    step : int, optional
        The horizon t, 0 to ``method.n_steps`` (default).
    sampling : Sampling, optional
    scan_points : int
        Points of the scan, ends included; at least 2.
    rtol : float, optional
        Relative error to be reached, by sampling, finitely many paths and location together: paths
        are added until it is. ``n_paths`` of ``sampling`` are then not used. Few paths serve the
        scan, which needs signs only, and Newton's iteration finds the root on more. Without it, all
        evaluations are on the paths of ``sampling``.
    max_paths : int, optional
        Paths per replicate at most, with `rtol`; default: 2^21. The result has what was reached
        then, with status MAX_PATHS (OUT_OF_MEMORY, where memory is the limit).
    max_seconds : float, optional
        With `rtol`: nothing is begun that is likely to end later than that, counted from the call.
        What an earlier call spent, before it was stopped, does not count.
    threads : int, optional
        As in :func:`dmft.solve`.
    progress : callable or True, optional
        Called with 1 after each evaluation of the gap; True for a progress bar.
    checkpoint : path-like, optional
        A folder in which the search survives being killed: the same call goes on from there. It
        holds a checkpoint of :func:`dmft.solve` for each delta.
    max_memory : float, optional
        Of each solve, as in :func:`dmft.solve`.
    digits : int, optional
        At step 0, for one neuron and one latent direction without additive noise: compute the root
        that was found again to this many digits, at most 40, with mpmath
        (`dmft.threshold.reference`). Your own functions must work on numpy arrays of mpmath numbers
        then, as most of those do that consist of arithmetic and functions of numpy. MAX_STEPS, with
        the value of floating point, if two rules do not agree.
    criterion : {"negative", "left", "any"}
        Which hard outliers count. "negative": negative eigenvalues of the Hessian, which gradient
        descent amplifies. "left": those that leave the bulk on the left, negative or not; the gap
        is then evaluated at the left edge itself. "any": on either side of the bulk, which is what
        is usually called the BBP transition at initialisation.
    index : int
        j for the threshold of the j-th such outlier, 1 to m k_h (neurons times hard directions),
        counted with multiplicity: the j-th smallest eigenvalue of A_h in place of the smallest.
    d : int, optional
        Find delta_NN(t; d), the threshold of runs of this dimension: their Hessian has the gap of
        n = delta d curvatures, and the root is that of its median over draws
        (`dmft.threshold.finite_size`). Runs have one also where the limit has none, because D is
        unbounded below.
    draws : int, optional
        Of these, rounded up to a multiple of the replicates. Default: 32 to 256 at step 0, the
        fewer the larger d; later as many as the paths of a solve suffice for, from 8 to 32.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.

    Returns
    -------
    Threshold

    Raises
    ------
    ValueError
        If an argument is out of range, or the problem has no hard direction or starts with an
        overlap with one; as in :func:`dmft.solve` for ``checkpoint`` and ``max_memory``; if the
        threshold cannot be computed to ``digits``.
    OSError
        If ``checkpoint`` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434; discontinuous transitions: Bocchi, Biroli, Cammarota and
    Ricci-Tersenghi, arXiv:2604.27992.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(
    ...     target="phase-retrieval",
    ...     network=dmft.Network(activation="quadratic"),
    ...     loss="pseudo-huber",
    ... )
    >>> method = dmft.GradientDescent(step_size=0.2, n_steps=10)
    >>> print(f"{dmft.find_delta_nn(problem, method, (0.5, 4), step=0).value:.3f}")
    0.923
    """
    sampling = Sampling() if sampling is None else sampling
    lower, upper = check_question(problem, method, bracket, sampling)
    which = WhichOutlier.checked(problem, criterion, index)
    step = checked_step(step, method)
    scan_points = check_integer("scan_points", scan_points, minimum=2, maximum=MOST_POINTS)
    size = FiniteSize.checked(d, draws, problem, method, (lower, upper), rtol=rtol, digits=digits)
    if digits is not None:
        from dmft.threshold.reference import check_digits

        digits = check_digits(problem, method, step, digits, which.criterion)
    accuracy = requested(rtol, max_paths, max_seconds)
    asked = Execution(threads, progress, checkpoint, max_memory=max_memory, throw=throw)
    with asked.shown(expected_solves(scan_points), "values of delta") as execution:
        if accuracy is None:
            memo = gap_memo(size, problem, method, sampling, execution, which=which)
            result = _of_scan(memo, scan_bracket(memo, step, (lower, upper), scan_points))
            if isinstance(memo, FiniteSizeMemo):
                result = _with_size(result, memo)
        else:
            levels = Levels(accuracy, problem, method, sampling, execution, which=which)
            search = search_to_accuracy(levels, step, (lower, upper), scan_points)
            result = _of_search(search, accuracy.rtol)
    if digits is not None:
        from dmft.threshold.reference import with_digits

        result = with_digits(problem, result, digits)
    ends = f"Gap at the ends of the bracket: {result.gap_at_bracket}."
    execution.settle(result.status, f"{result.detail} {ends}".lstrip())
    return result


def _with_size(result: Threshold, memo: FiniteSizeMemo) -> Threshold:
    """Return a threshold with the dimension that it is about, and the band of single runs."""
    band = memo.band(result.step) if np.isfinite(result.value) else (np.nan, np.nan)
    detail = result.detail.replace("more paths would tell", "more draws would tell")
    draws = memo.draws(result.step)
    return replace(result, d=memo.size.d, draws=draws, band=band, detail=detail)


def _of_scan(memo: GapMemo, scan: Scan) -> Threshold:
    """Return the result of a scan, whose last root is an evaluation."""
    values = scan.gap.values()
    if not scan.status.ok:
        return _threshold(memo, scan, values, scan.status, np.nan)
    at, stderr = scan.crossings[-1].value, scan.crossings[-1].stderr
    sample = values.evaluations[at].sample
    root = replace(scan.root, value=at, stderr=stderr)
    return _threshold(
        memo,
        scan,
        values,
        Status.FINITE_PATHS if root.is_biased else scan.status,
        at,
        stderr=stderr,
        bias=root.bias,
        residual=abs(scan.gap(at)),
        unstable_share=values.evaluations[at].unstable_share,
        sample=sample,
    )


def _of_search(search: Search, rtol: float) -> Threshold:
    """Return the result of a search to an accuracy, whose root is next to an evaluation."""
    scan, values = search.scan, search.values
    more: dict[str, Any] = {"rtol": rtol, "n_paths": search.n_paths}
    memo, root = search.gaps[-1].memo, search.root
    if root is None:
        return _threshold(memo, scan, values, search.status, np.nan, **more)
    if search.status is Status.NO_BRACKET:
        detail = explain_outside(root.value, root.error, values.delta)
        return _threshold(memo, scan, values, search.status, np.nan, detail=detail, **more)
    crossing = scan.crossings[-1]
    lower, upper = min(crossing.lower, root.value), max(crossing.upper, root.value)
    located = replace(crossing, value=root.value, lower=lower, upper=upper, stderr=root.stderr)
    scan = replace(scan, crossings=(*scan.crossings[:-1], located))
    nearest = min(values.delta.tolist(), key=lambda delta: abs(delta - root.value))
    index = int(np.flatnonzero(values.delta == nearest)[0])
    return _threshold(
        memo,
        scan,
        values,
        search.status,
        root.value,
        stderr=root.stderr,
        bias=root.bias,
        interpolation_error=root.interpolation_error,
        residual=abs(float(values.gap[index])),
        unstable_share=values.evaluations[nearest].unstable_share,
        sample=values.evaluations[nearest].sample,
        **more,
    )


def _threshold(
    memo: GapMemo,
    scan: Scan,
    values: GapValues,
    status: Status,
    value: float,
    sample: GapSample | None = None,
    **numbers: Any,
) -> Threshold:
    deltas = values.delta
    transition: dict[str, Any] = {}
    if sample is not None:
        edge = sample.at_gap
        transition = {
            "jump": float(edge.jump[0]),
            "jump_stderr": float(standard_error(edge.jump[1:], 0)) if len(edge.jump) > 1 else 0.0,
            "edge_kind": edge.kind,
            "edge_kind_is_certain": edge.is_certain,
            "multiplicity": sample.multiplicity,
        }
    # Evaluations on more paths lie between those of the scan, and change its signs.
    of_scan = scan.gap.values()
    detail = numbers.pop("detail", None)
    if detail is None:
        detail = explain_search(memo.problem, status, of_scan, scan.crossings, scan.hidden)
    if transition and transition["jump"] > 0.0:
        words = explain_transition(transition["jump"], transition["jump_stderr"])
        detail = f"{words} {detail}".rstrip()
    return Threshold(
        value=value,
        stderr=numbers.pop("stderr", np.nan),
        status=status,
        crossings=scan.crossings,
        step=scan.gap.step,
        bracket=(float(deltas[0]), float(deltas[-1])),
        delta=deltas,
        gap=values.gap,
        gap_stderr=values.stderr,
        residual=numbers.pop("residual", np.nan),
        config=memo.config,
        statuses=tuple(entry.sample.status for entry in values.evaluations.values()),
        detail=detail,
        criterion=memo.which.criterion,
        index=memo.which.index,
        **transition,
        **numbers,
    )
