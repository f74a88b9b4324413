r"""The threshold delta_NN(t): where the Hessian at step t grows an outlier in a hard direction.

``gap(delta; t) = lambda_min(A_h(min(left edge, 0)))`` is negative exactly when the Hessian at step
t has a negative eigenvalue outside the bulk pointing at a hard direction, and continuous in delta.
delta_NN(t) is the smallest delta above which it stays negative (Montanari & Wang,
arXiv:2602.01434).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from dmft._validation import check_instance, check_integer, check_real
from dmft.folders import check_folder
from dmft.methods import METHODS, Method
from dmft.problem import Problem
from dmft.records import read_record, write_record
from dmft.sampling import Sampling
from dmft.solver import solve
from dmft.stored_settings import check_settings
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence


__all__ = ["Crossing", "Threshold", "find_delta_nn"]

FloatArray = NDArray[np.float64]

_KIND = "threshold"
# The root is located this much more finely than its sampling error: refining further is noise.
_FRACTION_OF_ERROR = 0.1
# ... but never more finely than this, relative to delta, where there is no sampling error.
_FINEST = 1e-7
_MAX_REFINEMENTS = 40


@dataclass(frozen=True)
class Crossing:
    """A sign change of the gap.

    Attributes
    ----------
    value : float
        Location; interpolated linearly between neighbours of the scan unless ``refined``.
    lower, upper : float
        The deltas known to lie on either side.
    opens : bool
        True if the outlier appears as delta grows through it (gap from + to -).
    refined : bool
        Whether the location was refined by the bracketing solver.
    """

    value: float
    lower: float
    upper: float
    opens: bool
    refined: bool = False

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
        edge is -infinity (no hard outlier in the limit, whatever delta); DIVERGED if gradient
        descent diverges where the crossing would have to be.
    crossings : tuple of Crossing
        Every sign change of the gap in the bracket, increasing in delta.
    step : int
        The horizon t of delta_NN(t).
    bracket : tuple of float
    delta, gap, gap_stderr : ndarray, shape (n_evaluations,)
        All evaluations, increasing in delta; gap NaN where gradient descent diverged.
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
        self.unstable_share: dict[float, float] = {}

    def __call__(self, delta: float) -> float:
        delta = float(delta)
        if delta not in self.values:
            self.values[delta] = self._evaluate(delta)
            if self._progress is not None:
                self._progress(1)
        return self.values[delta][0]

    def _evaluate(self, delta: float) -> tuple[float, float]:
        from dmft.hessian import initial_law

        if self._step == 0:
            law = initial_law(self._problem, delta, self._sampling)
            self.unstable_share[delta] = 0.0
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
                return np.nan, np.nan
            law = trajectory.hessian(self._step)
            self.unstable_share[delta] = trajectory.unstable_paths.largest[0]
        if law.edges().status is Status.UNBOUNDED_EDGE:
            self.failure[delta] = Status.UNBOUNDED_EDGE
            return np.inf, 0.0
        return law.hard_gap(), law.stderr("hard_gap") if law.replicates else 0.0

    def arrays(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """All evaluations: delta (increasing), gap, standard error."""
        deltas = np.array(sorted(self.values))
        pairs = np.array([self.values[delta] for delta in deltas]).reshape(-1, 2)
        return deltas, pairs[:, 0], pairs[:, 1]


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

    The bracket is scanned first, on a grid even in log delta, and every sign change of the gap
    reported; the last one through which the gap turns negative for good is refined by scipy's
    ``brentq`` until it is located ten times more finely than its sampling error. All evaluations
    share their random numbers, so the gap is a smooth function of delta.

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
        that was found again to this many digits, at most 40, with mpmath (`dmft.reference`). Your
        own functions must work on numpy arrays of mpmath numbers then, as most of those do that
        consist of arithmetic and functions of numpy. MAX_STEPS if two rules do not agree.
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
    scan_points = check_integer("scan_points", scan_points, minimum=2)
    if digits is not None:
        from dmft.reference import check_digits

        digits = check_digits(problem, step, digits)
    gap = _Gap(problem, method, sampling, step, threads, progress, checkpoint, max_memory)
    for delta in np.geomspace(lower, upper, scan_points)[1:-1]:
        gap(delta)
        if Status.UNBOUNDED_EDGE in gap.failure.values():
            break  # a property of activation, loss and label: the same at every delta
    gap(lower)
    gap(upper)

    deltas, gaps, _ = gap.arrays()
    crossings = sign_changes(deltas, gaps)
    value = stderr = residual = np.nan
    status = status_of_scan(deltas, gaps, crossings, gap.failure)
    if status is Status.SUCCESS:
        try:
            value, stderr, crossings[-1] = refine(gap, crossings[-1])
            residual = abs(gap.values[value][0])
        except NumericalFailure as failure:
            status = failure.status
    deltas, gaps, errors = gap.arrays()
    result = Threshold(
        value=value,
        stderr=stderr,
        status=status,
        crossings=tuple(crossings),
        step=step,
        bracket=(lower, upper),
        delta=deltas,
        gap=gaps,
        gap_stderr=errors,
        residual=residual,
        config={
            "problem": problem.to_config(),
            "method": method.to_config(),
            "sampling": sampling.to_config(),
        },
        unstable_share=gap.unstable_share.get(value, np.nan),
    )
    if digits is not None:
        from dmft.reference import with_digits

        result = with_digits(problem, result, digits)
    if throw and not result.status.ok:
        raise NumericalFailure(
            result.status, f"Gap at the ends of the bracket: {result.gap_at_bracket}."
        )
    return result


def folder_of_delta(checkpoint: str | os.PathLike[str] | None, delta: float) -> Path | None:
    """Return where a search with this checkpoint keeps the solve at a delta."""
    if checkpoint is None:
        return None
    return check_folder(checkpoint, "checkpoint") / f"delta-{delta!r}"


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

    Returns
    -------
    Status
    """
    if Status.UNBOUNDED_EDGE in failures.values():
        return Status.UNBOUNDED_EDGE
    if np.isnan(gaps[-1]):
        return failures[float(deltas[-1])]
    if crossings and crossings[-1].opens:
        # A failed solve inside the crossing's interval leaves its location open; one below it
        # leaves open only what happens there.
        inside = (deltas > crossings[-1].lower) & (deltas < crossings[-1].upper)
        if np.isnan(gaps[inside]).any():
            return failures[float(deltas[inside][np.isnan(gaps[inside])][0])]
        return Status.SUCCESS
    if not crossings and np.isnan(gaps[0]) and gaps[-1] < 0:
        return failures[float(deltas[0])]
    return Status.NO_BRACKET


def refine(gap: _Gap, crossing: Crossing) -> tuple[float, float, Crossing]:
    """Root of the gap in the interval of the crossing, and its standard error."""
    from scipy.optimize import brentq

    lower, upper = crossing.lower, crossing.upper
    slope = (gap(upper) - gap(lower)) / (upper - lower)
    error = max(gap.values[lower][1], gap.values[upper][1]) / abs(slope)
    tolerance = max(_FRACTION_OF_ERROR * error, _FINEST * lower)

    def finite_gap(delta: float) -> float:
        value = gap(delta)
        if not np.isfinite(value):
            raise NumericalFailure(gap.failure.get(float(delta), Status.NONFINITE))
        return value

    root = float(
        brentq(finite_gap, lower, upper, xtol=tolerance, rtol=1e-12, maxiter=_MAX_REFINEMENTS)
    )
    finite_gap(root)
    slope = _slope(gap, root, 2 * tolerance, slope)
    stderr = gap.values[root][1] / abs(slope)
    refined = Crossing(root, crossing.lower, crossing.upper, crossing.opens, refined=True)
    return root, float(stderr), refined


def _slope(gap: _Gap, root: float, distance: float, otherwise: float) -> float:
    """Slope at the root, from the nearest evaluation on each side that is far enough from it.

    Far enough means that the difference is more than the residual. Both sides: the slope of the
    parabola through the three points; one side: the difference quotient.
    """
    deltas, gaps, _ = gap.arrays()
    far = np.isfinite(gaps) & (np.abs(deltas - root) >= distance)
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
