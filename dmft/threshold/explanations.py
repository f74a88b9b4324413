"""Explanation of the outcome of a search for a threshold, in words and with its numbers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from dmft.model.curvature_support import describe_unbounded
from dmft.model.held_directions import held_directions
from dmft.model.irrelevant_directions import split_irrelevant
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dmft.model.problem import Problem
    from dmft.threshold.gap_memo import GapValues
    from dmft.threshold.threshold import Crossing

__all__ = [
    "explain_doubt",
    "explain_jump",
    "explain_outside",
    "explain_search",
    "explain_transition",
]

_LISTED = 4
_FINITE_SIZE = (
    "Runs of dimension d see the spectral law of n = delta d weights D, which has an edge and a "
    "threshold: ask for that with find_delta_nn(..., d=1000) (delta-nn threshold --d 1000)."
)


def explain_search(
    problem: Problem,
    status: Status,
    values: GapValues,
    crossings: Sequence[Crossing],
    hidden: float = np.nan,
) -> str:
    """Explain the outcome of a search for a threshold, and what to change.

    Parameters
    ----------
    problem : Problem
    status : Status
        Of the search.
    values : GapValues
        All evaluations.
    crossings : sequence of Crossing
    hidden : float
        Location of a suspected further sign change; NaN if there is none.

    Returns
    -------
    str
        Sentences; empty if there is nothing to say.
    """
    if status is Status.UNBOUNDED_EDGE:
        return _irrelevant(problem) or f"{describe_unbounded(problem)} {_FINITE_SIZE}"
    sentences = []
    if status is Status.NO_BRACKET:
        sentences.append(_irrelevant(problem) or _end_to_move(values, crossings))
    if np.isfinite(hidden):
        sentences.append(
            f"Near delta = {hidden:.4g} the gap may change sign and change back, closer than it "
            "was looked at: raise the number of points of the scan, or narrow the bracket."
        )
    sentences += _failures(values)
    touching = _within_error(values)
    if touching:
        places = ", ".join(f"{delta:.4g}" for delta in touching)
        sentences.append(
            f"At delta = {places} the gap is zero within two standard errors without a change of "
            "sign: more paths would tell whether there is one."
        )
    return " ".join(sentences)


def _irrelevant(problem: Problem) -> str:
    """Say that labels of Gaussian latents depend on no hard direction; empty if they do."""
    target = problem.target
    if target.inputs is not None or not split_irrelevant(target, held_directions(problem))[1].all():
        return ""
    return (
        f"Label {target.name!r} does not depend on the hard directions at all: no outlier in them "
        "leaves the bulk at any delta, and there is no threshold."
    )


def explain_doubt(place: float, value: float) -> str:
    """Explain that a sign above a root is not known.

    Parameters
    ----------
    place : float
        Delta at which the gap may be positive.
    value : float
        The root.

    Returns
    -------
    str
    """
    return (
        f"Near delta = {place:.4g} the gap is zero within its error. If it is positive there, "
        f"delta_NN is larger than that, and not {value:.4g}: more paths would tell."
    )


def explain_transition(jump: float, stderr: float) -> str:
    """Explain a transition at which the overlap jumps.

    Parameters
    ----------
    jump, stderr : float
        Squared overlap just above it.

    Returns
    -------
    str
    """
    from dmft.io.report_text import with_error

    return (
        "The edge is held by the support of D, and the transition is discontinuous: the squared "
        f"overlap jumps from 0 to {with_error(jump, stderr)}. At finite d the jump is rounded, and "
        "sets in below the threshold."
    )


def explain_jump(times: NDArray[np.float64], values: NDArray[np.float64]) -> str:
    """Explain what the limit of a curve that jumps rests on.

    Parameters
    ----------
    times, values : ndarray, shape (2,)
        Before and after the jump.

    Returns
    -------
    str
    """
    return (
        f"Between times {times[0]:.4g} and {times[1]:.4g} delta_NN jumps from {values[0]:.4g} to "
        f"{values[1]:.4g}, where a window of positive gap opens above it: the curve's own estimate "
        "rests on the times after that."
    )


def explain_outside(value: float, error: float, deltas: NDArray[np.float64]) -> str:
    """Explain that more paths lead from a root in the bracket to one outside it.

    Parameters
    ----------
    value, error : float
        Location of that root, and its error.
    deltas : ndarray
        All evaluations, increasing.

    Returns
    -------
    str
    """
    lower, upper = f"lower the lower end {deltas[0]:.4g}", f"raise the upper end {deltas[-1]:.4g}"
    move = lower if value < deltas[0] else upper
    return f"On more paths the root is near delta = {value:.4g} +- {error:.2g}: {move}."


def _end_to_move(values: GapValues, crossings: Sequence[Crossing]) -> str:
    """Say which end of the bracket to move, and which way."""
    known = np.isfinite(values.gap)
    where = "at both ends" if known[0] else "wherever it has a value"
    deltas, gaps = values.delta[known], values.gap[known]
    lower, upper = f"{deltas[0]:.4g}", f"{deltas[-1]:.4g}"
    if crossings:
        return (
            f"The outlier disappears at delta = {crossings[-1].value:.4g}, and the gap is positive "
            f"at the upper end: raise it above {upper}, where the outlier may come back to stay."
        )
    if gaps[-1] < 0:
        return (
            f"The gap is negative {where}, the outlier is there throughout: lower the lower end "
            f"below {lower}."
        )
    smallest = int(np.argmin(gaps))
    if smallest == len(gaps) - 1:
        return (
            f"The gap is positive {where} and falls towards the upper end: raise it above {upper}."
        )
    if smallest == 0:
        return (
            f"The gap is positive {where} and falls towards the lower end: lower it below {lower}, "
            f"or raise the upper end if the gap falls again beyond {upper}."
        )
    return (
        f"The gap is positive {where}, and smallest ({gaps[smallest]:.3g}) at delta = "
        f"{deltas[smallest]:.4g}: raise the upper end if it falls again beyond {upper}."
    )


def _failures(values: GapValues) -> list[str]:
    """Write one sentence for each kind of failure, with its deltas."""
    sentences = []
    by_status = sorted(values.failures.items(), key=lambda item: (item[1].name, item[0]))
    for status, group in itertools.groupby(by_status, key=lambda item: item[1]):
        at = [delta for delta, _ in group]
        places = ", ".join(f"{delta:.4g}" for delta in at[:_LISTED])
        more = f" and {len(at) - _LISTED} more" if len(at) > _LISTED else ""
        last_steps = {values.evaluations[delta].last_step for delta in at}
        steps = sorted(step for step in last_steps if step is not None)
        after = ""
        if steps:
            last = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
            after = f", after step {last}"
        advice = ": a smaller step_size may reach there" if status is Status.DIVERGED else ""
        sentences.append(f"{status.name} at delta = {places}{more}{after}{advice}.")
    return sentences


def _within_error(values: GapValues) -> list[float]:
    """Find the minima of the gap's size, without a sign change, within two errors of zero."""
    known = np.isfinite(values.gap)
    deltas, gaps, errors = values.delta[known], values.gap[known], values.stderr[known]
    size = np.abs(gaps)
    same = (gaps[:-2] < 0) == (gaps[1:-1] < 0)
    same &= (gaps[1:-1] < 0) == (gaps[2:] < 0)
    closest = (size[1:-1] < size[:-2]) & (size[1:-1] < size[2:])
    inside = same & closest & (size[1:-1] < 2 * errors[1:-1])
    return [float(delta) for delta in deltas[1:-1][inside]]
