r"""Search for the threshold delta_NN(t), above which the Hessian at step t has a hard outlier.

``gap(delta; t) = lambda_min(A_h(min(left edge, 0)))`` is negative exactly when the Hessian at step
t has a negative eigenvalue outside the bulk pointing at a hard direction, and continuous in delta.
delta_NN(t) is the smallest delta above which it stays negative (Montanari & Wang,
arXiv:2602.01434).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_integer
from dmft.threshold.explanations import explain_search
from dmft.threshold.gap_memo import GapFunction, GapMemo
from dmft.threshold.question import MOST_POINTS, check_question, even_in_log
from dmft.threshold.refinement import locate_crossings
from dmft.threshold.scan import look_closer
from dmft.threshold.threshold import Threshold

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from dmft.model.problem import Problem
    from dmft.training.methods import Method

__all__ = ["find_delta_nn"]


def find_delta_nn(
    problem: Problem,
    method: Method,
    bracket: Sequence[float],
    step: int | None = None,
    sampling: Sampling | None = None,
    *,
    scan_points: int = 9,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_memory: float | None = None,
    digits: int | None = None,
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
    threads : int, optional
        As in :func:`dmft.solve`.
    progress : callable, optional
        Called with 1 after each evaluation of the gap.
    checkpoint : path-like, optional
        A folder in which the search survives being killed: the same call goes on from there. It
        holds a checkpoint of :func:`dmft.solve` for each delta.
    max_memory : float, optional
        Of each solve, as in :func:`dmft.solve`.
    digits : int, optional
        At step 0, for one neuron and one latent direction without additive noise: compute the root
        that was found again to this many digits, at most 40, with mpmath
        (`dmft.threshold.reference`). Your own functions must work on numpy arrays of mpmath numbers
        then, as most of those do that consist of arithmetic and functions of numpy. MAX_STEPS if
        two rules do not agree.
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
    Montanari and Wang, arXiv:2602.01434.

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
    step = method.n_steps if step is None else check_integer("step", step, minimum=0)
    if step > method.n_steps:
        raise ValueError(f"step must be in 0..n_steps = 0..{method.n_steps}, got {step}")
    scan_points = check_integer("scan_points", scan_points, minimum=2, maximum=MOST_POINTS)
    if digits is not None:
        from dmft.threshold.reference import check_digits

        digits = check_digits(problem, step, digits)
    execution = Execution(threads, progress, checkpoint, max_memory=max_memory, throw=throw)
    memo = GapMemo(problem, method, sampling, execution)
    gap = GapFunction(memo, step)
    for delta in even_in_log(lower, upper, scan_points)[1:-1]:
        gap(delta)
        if memo.is_unbounded:
            break
    gap(lower)
    gap(upper)
    hidden = look_closer(gap, scan_points)
    status, crossings = locate_crossings(gap, hidden)
    value, stderr = (crossings[-1].value, crossings[-1].stderr) if status.ok else (np.nan, np.nan)
    values = gap.values()
    evaluations = values.evaluations
    result = Threshold(
        value=value,
        stderr=stderr,
        status=status,
        crossings=crossings,
        step=step,
        bracket=(lower, upper),
        delta=values.delta,
        gap=values.gap,
        gap_stderr=values.stderr,
        residual=abs(gap(value)) if status.ok else np.nan,
        config=memo.config,
        unstable_share=evaluations[value].unstable_share if status.ok else np.nan,
        statuses=tuple(entry.sample.status for entry in evaluations.values()),
        detail=explain_search(problem, status, values, crossings, hidden),
    )
    if digits is not None:
        from dmft.threshold.reference import with_digits

        result = with_digits(problem, result, digits)
    ends = f"Gap at the ends of the bracket: {result.gap_at_bracket}."
    execution.settle(result.status, f"{result.detail} {ends}".lstrip())
    return result
