r"""The threshold delta_NN(t): where the Hessian at step t grows an outlier in a hard direction.

``gap(delta; t) = lambda_min(A_h(min(left edge, 0)))`` is negative exactly when the Hessian at step
t has a negative eigenvalue outside the bulk pointing at a hard direction, and continuous in delta.
delta_NN(t) is the smallest delta above which it stays negative (Montanari & Wang,
arXiv:2602.01434).
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_instance, check_integer, check_progress, check_real
from dmft.hessian.gap_reading import read_gap
from dmft.io.folders import check_folder
from dmft.io.records import read_record, write_record
from dmft.io.stored_settings import check_settings
from dmft.model.problem import Problem
from dmft.solver.stability import SHARE_TOLERANCE
from dmft.threshold.explanations import explain_search
from dmft.threshold.interpolation import suspected_change
from dmft.training.methods import METHODS, Method
from dmft.trajectory.solving import solve
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from rmt import HessianLaw

__all__ = ["Crossing", "Threshold", "find_delta_nn"]

FloatArray = NDArray[np.float64]

_KIND = "threshold"
# The root is located this much more finely than its sampling error: refining further is noise; but
# never more finely than the next, relative to delta, where there is no sampling error. It is
# located worse if the gap there is more than this fraction of the gap's error.
_FRACTION_OF_ERROR = 0.1
_FINEST = 1e-7
_LARGEST_RESIDUAL = 0.25
# Its slope is not taken from gaps this many times those at the ends of the crossing's interval.
_FAR_GAP = 10.0
_MAX_REFINEMENTS = 40
# Nobody waits for more deltas; far more cannot even be listed.
MOST_POINTS = 10**6
# An interval wider than this is halved on the logarithmic scale first, where a gap varies evenly.
_WIDEST = 1e3
# Ends of a bracket: beyond these, delta and 1/delta are no normal numbers.
_SMALLEST, _LARGEST = 1e-300, 1e300
# Where no solve is needed the scan is made this much finer, if the law is as small as this ...
_FINER = 8
_MOST_ATOMS = 2**18
# ... and looked at more closely this often, to differences in log delta as small as this.
_CLOSER_LOOKS_AT_START = 64
_NARROWEST_AT_START, _NARROWEST = 1e-6, 1e-3


@dataclass(frozen=True)
class Crossing:
    """A sign change of the gap.

    Attributes
    ----------
    value : float
        Location; unless ``refined`` no more than a guess, by interpolation between ``lower`` and
        ``upper``.
    lower, upper : float
        The deltas known to lie on either side.
    opens : bool
        True if the outlier appears as delta grows through it (gap from + to -).
    refined : bool
        Whether it is located more finely than its sampling error.
    stderr : float
        Standard error of the location over replicates, NaN unless ``refined``; zero where the gap
        is computed by quadrature.
    """

    value: float
    lower: float
    upper: float
    opens: bool
    refined: bool = False
    stderr: float = np.nan

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class Threshold:
    """delta_NN at a stated step, with its standard error and the curve it comes from.

    Attributes
    ----------
    value : float
        Smallest delta of the bracket above which the hard outlier stays; NaN unless ``status`` is
        SUCCESS.
    stderr : float
        Standard error over replicates: that of the gap at the root divided by the slope. Zero
        where the gap is computed by quadrature that a second rule confirms (step 0, up to three
        Gaussians).
    status : Status
        SUCCESS; NO_BRACKET if no crossing in the bracket defines it; UNBOUNDED_EDGE if the left
        edge is -infinity (no hard outlier in the limit, whatever delta); MAX_STEPS if a sign change
        may be hidden that would define another; otherwise what ended the run, or the computation of
        the gap or of its error, at a delta where the crossing could be or above it.
    crossings : tuple of Crossing
        Every sign change of the gap in the bracket that was found, increasing in delta.
    step : int
        The horizon t of delta_NN(t).
    bracket : tuple of float
    delta, gap, gap_stderr : ndarray, shape (n_evaluations,)
        All evaluations, increasing in delta; gap NaN where there is none, see `statuses`.
    gap_at_bracket : tuple of float
        The gap at both ends of the bracket.
    residual : float
        ``|gap|`` at ``value`` (NaN without one).
    n_evaluations : int
        Number of solves.
    config : dict
        Problem, method, sampling as plain types.
    unstable_share : float
        Largest fraction of paths that a step makes unstable, or share of an average that they
        carry, along the trajectory to ``step`` at ``value`` (see :class:`dmft.UnstablePaths`); 0
        at step 0, where no step is taken, NaN without a value. Above 0.01
        the step size matters more than it should; gradient flow is the cure.
    digits : str
        The value to as many digits as were asked for, empty where none were.
    statuses : tuple of Status
        How each evaluation ended.
    detail : str
        In words, what is behind the status and what else is to be known of the result; may be
        empty.
    """

    value: float
    stderr: float
    status: Status
    crossings: tuple[Crossing, ...]
    step: int
    bracket: tuple[float, float]
    delta: Annotated[FloatArray, "n"]
    gap: Annotated[FloatArray, "n"]
    gap_stderr: Annotated[FloatArray, "n"]
    residual: float
    config: dict[str, Any] = field(repr=False)
    unstable_share: float = np.nan
    digits: str = ""
    statuses: tuple[Status, ...] = ()
    detail: str = ""

    @property
    def stability_status(self) -> Status:
        """UNSTABLE_PATHS if these carry more than 1 % of an average at `value`."""
        too_many = self.unstable_share > SHARE_TOLERANCE
        return Status.UNSTABLE_PATHS if too_many else Status.SUCCESS

    @property
    def n_evaluations(self) -> int:
        """Number of deltas at which the gap was computed."""
        return len(self.delta)

    @property
    def gap_at_bracket(self) -> tuple[float, float]:
        """The gap at both ends of the bracket."""
        return float(self.gap[0]), float(self.gap[-1])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write data, configuration, version and seed to one ``.npz`` file (atomically)."""
        write_record(path, _KIND, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Threshold:
        """Read a threshold written by :meth:`save`.

        Raises
        ------
        ValueError
            If the file is not a threshold, is damaged, or was written by a newer version.
        """
        return read_record(path, _KIND, cls, _check)


def _check(threshold: Threshold) -> None:
    check_settings(threshold.config, "problem", "method", "sampling")
    if not threshold.n_evaluations:
        raise ValueError("it has no evaluation of the gap")


class _Gap:
    """The gap as a function of delta, at one step, remembering every evaluation."""

    def __init__(
        self,
        problem: Problem,
        method: Method,
        sampling: Sampling,
        step: int,
        threads: int | None,
        progress: Callable[[int], None] | None,
        checkpoint: str | os.PathLike[str] | None = None,
        max_memory: float | None = None,
    ) -> None:
        self._problem = problem
        self._method = method.until(step)
        self._sampling = sampling
        self._step = step
        self._threads = threads
        self._progress = progress
        self._checkpoint = checkpoint
        self._max_memory = max_memory
        self.values: dict[float, tuple[float, float]] = {}
        self.failure: dict[float, Status] = {}
        self.ended: dict[float, int] = {}  # the last step of runs that ended before the one asked
        self.unstable_share: dict[float, float] = {}
        self.is_cheap = False  # whether another evaluation takes milliseconds

    def __call__(self, delta: float) -> float:
        delta = float(delta)
        if delta not in self.values:
            self.values[delta] = self._evaluate(delta)
            if self._progress is not None:
                self._progress(1)
        return self.values[delta][0]

    def _evaluate(self, delta: float) -> tuple[float, float]:
        from dmft.hessian.hessian import initial_law

        if self._step == 0:
            try:
                law = initial_law(self._problem, delta, self._sampling)
            except NumericalFailure as failure:
                self.failure[delta] = failure.status
                return np.nan, np.nan
            self.unstable_share[delta] = 0.0
            self.is_cheap = is_cheap(law)
        else:
            trajectory = solve(
                self._problem,
                delta,
                self._method,
                self._sampling,
                hessian_steps=[self._step],
                threads=self._threads,
                checkpoint=folder_of_delta(self._checkpoint, delta),
                max_memory=self._max_memory,
            )
            if not trajectory.status.ok:
                self.failure[delta] = trajectory.status
                self.ended[delta] = trajectory.n_steps
                return np.nan, np.nan
            law = trajectory.hessian(self._step)
            self.unstable_share[delta] = trajectory.unstable_paths.largest[0]
        reading = read_gap(law)
        if not reading.status.ok:
            self.failure[delta] = reading.status
        return float(reading.gap[0]), reading.stderr

    def copy(self) -> _Gap:
        """Another one that knows the same evaluations, and keeps further ones to itself."""
        other = copy.copy(self)
        other._progress = None
        for name in ("values", "failure", "ended", "unstable_share"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    def arrays(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """All evaluations: delta (increasing), gap, standard error."""
        deltas = np.array(sorted(self.values))
        pairs = np.array([self.values[delta] for delta in deltas]).reshape(-1, 2)
        return deltas, pairs[:, 0], pairs[:, 1]


def is_cheap(law: HessianLaw) -> bool:
    """Whether the gap of such a law at step 0 takes milliseconds."""
    return law.m == 1 and not law.replicates and len(law.weights) <= _MOST_ATOMS


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
    r"""Threshold delta_NN(t) above which the Hessian at step t has a hard negative outlier.

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
    check_progress(progress)
    gap = _Gap(problem, method, sampling, step, threads, progress, checkpoint, max_memory)
    for delta in even_in_log(lower, upper, scan_points)[1:-1]:
        gap(delta)
        if Status.UNBOUNDED_EDGE in gap.failure.values():
            break  # a property of activation, loss and label: the same at every delta
    gap(lower)
    gap(upper)
    suspected = look_closer(gap, scan_points)
    status, value, stderr, crossings = locate_crossings(gap, suspected)
    deltas, gaps, errors = gap.arrays()
    result = Threshold(
        value=value,
        stderr=stderr,
        status=status,
        crossings=crossings,
        step=step,
        bracket=(lower, upper),
        delta=deltas,
        gap=gaps,
        gap_stderr=errors,
        residual=abs(gap.values[value][0]) if status.ok else np.nan,
        config={
            "problem": problem.to_config(),
            "method": method.to_config(),
            "sampling": sampling.to_config(),
        },
        unstable_share=gap.unstable_share.get(value, np.nan),
        statuses=tuple(gap.failure.get(float(delta), Status.SUCCESS) for delta in deltas),
        detail=explain_search(
            problem, status, deltas, gaps, errors, crossings, gap.failure, gap.ended, suspected
        ),
    )
    if digits is not None:
        from dmft.threshold.reference import with_digits

        result = with_digits(problem, result, digits)
    if throw and not result.status.ok:
        ends = f"Gap at the ends of the bracket: {result.gap_at_bracket}."
        raise NumericalFailure(result.status, f"{result.detail} {ends}".lstrip())
    return result


def locate_crossings(
    gap: _Gap, suspected: float
) -> tuple[Status, float, float, tuple[Crossing, ...]]:
    """Refine all sign changes of the evaluations, that which defines delta_NN first.

    Returns
    -------
    status : Status
    value, stderr : float
        delta_NN and its standard error; NaN unless the status is SUCCESS.
    crossings : tuple of Crossing
        Increasing in delta.
    """
    deltas, gaps, _ = gap.arrays()
    crossings = sign_changes(deltas, gaps)
    value = stderr = np.nan
    status = status_of_scan(deltas, gaps, crossings, gap.failure, suspected)
    if status is Status.SUCCESS:
        try:
            value, stderr, crossings[-1] = refine(gap, crossings[-1])
        except NumericalFailure as failure:
            status = failure.status
    for index, crossing in enumerate(crossings):
        inside = (deltas > crossing.lower) & (deltas < crossing.upper)
        # A location that cannot be had is still known to be between its ends.
        if not crossing.refined and not np.isnan(gaps[inside]).any():
            with contextlib.suppress(NumericalFailure):
                _, _, crossings[index] = refine(gap, crossing)
    return status, value, stderr, tuple(crossings)


def even_in_log(lower: float, upper: float, count: int) -> FloatArray:
    """Return `count` deltas from one to the other, ends included, even in log delta."""
    return np.clip(np.geomspace(lower, upper, count), lower, upper)


def look_closer(gap: _Gap, most: int) -> float:
    """Add evaluations where the gap may change sign and back between two that are there.

    Parameters
    ----------
    gap : _Gap
    most : int
        How many to add, where each takes more than milliseconds.

    Returns
    -------
    float
        Where there is still reason to look; NaN if nowhere.
    """
    if Status.UNBOUNDED_EDGE in gap.failure.values():
        return np.nan
    return _look_everywhere(gap) if gap.is_cheap else _divide(gap, most, _NARROWEST)


def _divide(gap: _Gap, most: int, narrowest: float) -> float:
    """Evaluate the gap where it is most suspected to change sign, until it is nowhere."""
    for _ in range(most):
        place = _suspected(*gap.arrays(), narrowest)
        if np.isnan(place):
            return place
        gap(place)
    return _suspected(*gap.arrays(), narrowest)


def _suspected(deltas: FloatArray, gaps: FloatArray, errors: FloatArray, narrowest: float) -> float:
    """Where an interpolated gap most likely changes sign unseen; NaN if nowhere."""
    places = np.flatnonzero(np.isfinite(gaps))
    x, y, noise = np.log(deltas[places]), gaps[places], errors[places]
    found = [
        suspected_change(x, y, noise, i)
        for i in range(len(x) - 1)
        if places[i + 1] == places[i] + 1 and x[i + 1] - x[i] > narrowest
    ]
    depth, place = max(found, default=(0.0, np.nan))
    return float(np.exp(place)) if depth > 0.0 else np.nan


def _look_everywhere(gap: _Gap) -> float:
    """Look between all evaluations, where another takes no solve, and add what is found there.

    The finer scan is kept to itself unless it shows sign changes that the gap's evaluations do not.
    Returns where there is reason to look further, as `look_closer`.
    """
    finer = gap.copy()
    scan = gap.arrays()[0]
    for lower, upper in itertools.pairwise(scan):
        for delta in even_in_log(lower, upper, _FINER + 1)[1:-1]:
            finer(delta)
    suspected = _divide(finer, _CLOSER_LOOKS_AT_START, _NARROWEST_AT_START)
    deltas, gaps, _ = finer.arrays()
    for lower, upper in itertools.pairwise(scan):
        inside = (deltas >= lower) & (deltas <= upper)
        found = sign_changes(deltas[inside], gaps[inside])
        ends = np.isin(deltas[inside], (lower, upper))
        if len(found) > len(sign_changes(deltas[inside][ends], gaps[inside][ends])):
            for crossing in found:
                gap(crossing.lower)
                gap(crossing.upper)
    return suspected


def folder_of_delta(checkpoint: str | os.PathLike[str] | None, delta: float) -> Path | None:
    """Return where a search with this checkpoint keeps the solve at a delta."""
    if checkpoint is None:
        return None
    return check_folder(checkpoint) / f"delta-{delta!r}"


def check_question(
    problem: Problem, method: Method, bracket: Sequence[float], sampling: Sampling
) -> tuple[float, float]:
    """Check what every search for a threshold is given, and return the ends of the bracket.

    Raises
    ------
    ValueError
        If an argument is of another class or the bracket none, or the problem has no hard
        direction or starts with an overlap with one.
    """
    check_instance("problem", problem, Problem)
    check_instance("method", method, METHODS)
    check_instance("sampling", sampling, Sampling)
    problem.check_labels()  # at step 0 nothing is solved
    ends = _checked_bracket(bracket)
    if not problem.target.hard_basis.shape[1]:
        raise ValueError(
            f"problem must have a hard direction for a threshold to exist; all {problem.k} latent "
            f"directions of label {problem.target.name!r} are easy"
        )
    if problem.starts_on_hard:
        raise ValueError(
            "problem must start without overlap with the hard directions for a threshold to exist, "
            f"got initial_overlap = {problem.to_config()['initial_overlap']}"
        )
    return ends


def _checked_bracket(bracket: Sequence[float]) -> tuple[float, float]:
    try:
        lower, upper = bracket
    except (TypeError, ValueError):
        raise ValueError(f"bracket must be a pair (lower, upper), got {bracket!r}") from None
    lower = check_real("bracket[0]", lower, minimum=0.0, exclusive=True)
    upper = check_real("bracket[1]", upper, minimum=0.0, exclusive=True)
    for index, end in enumerate((lower, upper)):
        if not _SMALLEST <= end <= _LARGEST:
            raise ValueError(
                f"bracket[{index}] must be from {_SMALLEST:g} to {_LARGEST:g}, got {end:g}"
            )
    if not lower < upper:
        raise ValueError(f"bracket must have lower < upper, got ({lower:g}, {upper:g})")
    return lower, upper


def sign_changes(deltas: FloatArray, gaps: FloatArray) -> list[Crossing]:
    """Sign changes between neighbouring evaluations with a finite gap.

    Parameters
    ----------
    deltas, gaps : ndarray, shape (n,)
        Increasing in delta.

    Returns
    -------
    list of Crossing
        Increasing in delta, located by linear interpolation.
    """
    finite = np.isfinite(gaps)
    deltas, gaps = deltas[finite], gaps[finite]
    found = []
    for i in np.flatnonzero((gaps[:-1] < 0) != (gaps[1:] < 0)):
        weight = gaps[i] / (gaps[i] - gaps[i + 1])
        location = float(deltas[i] + weight * (deltas[i + 1] - deltas[i]))
        opens = bool(gaps[i + 1] < 0)
        found.append(Crossing(location, float(deltas[i]), float(deltas[i + 1]), opens))
    return found


def status_of_scan(
    deltas: FloatArray,
    gaps: FloatArray,
    crossings: Sequence[Crossing],
    failures: Mapping[float, Status],
    suspected: float = np.nan,
) -> Status:
    """SUCCESS if the last crossing defines delta_NN, otherwise why there is none.

    Parameters
    ----------
    deltas, gaps : ndarray, shape (n,)
        Increasing in delta.
    crossings : sequence of Crossing
        Of these gaps.
    failures : mapping of float to Status
        Why the gap is missing or infinite, for each delta where it is.
    suspected : float
        Where a change of sign may be hidden; NaN if nowhere.

    Returns
    -------
    Status
    """
    if Status.UNBOUNDED_EDGE in failures.values():
        return Status.UNBOUNDED_EDGE
    if np.isnan(gaps[-1]):
        return failures[float(deltas[-1])]
    if crossings and crossings[-1].opens:
        # Without a gap inside the crossing's interval its location is open, and above it whether
        # the outlier stays; below it, only what happens there.
        failed = np.isnan(gaps) & (deltas > crossings[-1].lower)
        if failed.any():
            return failures[float(deltas[failed][0])]
        return Status.MAX_STEPS if suspected > crossings[-1].lower else Status.SUCCESS
    if not crossings and np.isnan(gaps[0]) and gaps[-1] < 0:
        return failures[float(deltas[0])]
    return Status.NO_BRACKET


def refine(gap: _Gap, crossing: Crossing) -> tuple[float, float, Crossing]:
    """Root of the gap in the interval of the crossing, and its standard error.

    Raises
    ------
    NumericalFailure
        With the status of an evaluation that has no gap, or MAX_STEPS.
    """
    from scipy.optimize import brentq

    def finite_gap(delta: float) -> float:
        value = gap(delta)
        if not np.isfinite(value):
            raise NumericalFailure(gap.failure.get(float(delta), Status.NONFINITE))
        return value

    lower, upper = crossing.lower, crossing.upper
    while upper / _WIDEST > lower:
        middle = float(np.sqrt(lower) * np.sqrt(upper))
        if (finite_gap(middle) < 0) == (gap(lower) < 0):
            lower = middle
        else:
            upper = middle
    for _ in range(_MAX_REFINEMENTS):
        slope = (gap(upper) - gap(lower)) / (upper - lower)
        error = max(gap.values[lower][1], gap.values[upper][1])
        tolerance = max(_FRACTION_OF_ERROR * _ratio(error, slope), _FINEST * lower)
        root, outcome = brentq(
            finite_gap,
            lower,
            upper,
            xtol=tolerance,
            rtol=1e-12,
            maxiter=_MAX_REFINEMENTS,
            full_output=True,
            disp=False,
        )
        residual = finite_gap(root)
        if not outcome.converged:
            raise NumericalFailure(Status.MAX_STEPS)
        error = gap.values[root][1]
        if error == 0.0 or abs(residual) <= _LARGEST_RESIDUAL * error:
            break
        # The gap is much steeper here than between the ends: again, closer to the root.
        if (residual < 0) == (gap(lower) < 0):
            lower = float(root)
        else:
            upper = float(root)
        known, *_ = gap.arrays()
        between = known[(known > lower) & (known < upper)]
        for delta in between.tolist():
            if (finite_gap(delta) < 0) == (gap(lower) < 0):
                lower = delta
            else:
                upper = delta
                break
    else:
        raise NumericalFailure(Status.MAX_STEPS)
    most = _FAR_GAP * max(abs(gap(crossing.lower)), abs(gap(crossing.upper)))
    stderr = _ratio(error, _slope(gap, root, 2 * tolerance, most, slope))
    refined = replace(crossing, value=float(root), refined=True, stderr=stderr)
    return float(root), stderr, refined


def _ratio(error: float, slope: float) -> float:
    """Error of a root from that of the gap; infinite where the gap is flat, zero without one."""
    if error == 0.0:
        return 0.0
    return float(error / abs(slope)) if slope != 0.0 else np.inf


def _slope(gap: _Gap, root: float, distance: float, most: float, otherwise: float) -> float:
    """Slope at the root, from the nearest evaluation on each side that is far enough from it.

    Far enough means that the difference is more than the residual; a gap above ``most`` (next to
    where runs diverge) says nothing of the slope here. Both sides: the slope of the parabola
    through the three points; one side: the difference quotient.
    """
    deltas, gaps, _ = gap.arrays()
    far = np.isfinite(gaps) & (np.abs(deltas - root) >= distance) & (np.abs(gaps) <= most)
    below, above = deltas[far & (deltas < root)], deltas[far & (deltas > root)]
    quotients = []
    for other in (*below[-1:], *above[:1]):
        quotients.append((abs(other - root), (gap(other) - gap(root)) / (other - root)))
    if not quotients:
        return otherwise
    if len(quotients) == 1:
        return float(quotients[0][1])
    (before, slope_before), (after, slope_after) = quotients
    return float((slope_before * after + slope_after * before) / (before + after))
