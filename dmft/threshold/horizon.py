r"""delta_NN against the horizon: the whole curve from one set of solves, and where it goes.

One solve at a delta gives the gap at every step, so a grid of delta gives the gap as a function of
delta at each of them, and its roots are delta_NN(t). The grid is refined where a root is located
worse than its standard error. Beside the threshold stands the left edge of the bulk, which
approaches zero: gradient descent ends in states that are marginally stable (Montanari & Wang,
arXiv:2602.01434, for the setting).
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import Sampling, bias_of_paths
from dmft._numerics.validation import check_integer, check_progress
from dmft._numerics.workers import Threads, single_threaded_blas, worker_count
from dmft.hessian.gap_reading import read_gap
from dmft.hessian.hessian import initial_law
from dmft.io.records import read_record, write_record
from dmft.io.stored_settings import check_settings
from dmft.threshold.explanations import explain_search
from dmft.threshold.extrapolation import Extrapolation, extrapolate
from dmft.threshold.interpolation import (
    LocalPolynomial,
    disagreement,
    nearest_opening,
    root_between,
    suspected_change,
)
from dmft.threshold.threshold import (
    MOST_POINTS,
    Crossing,
    _Gap,
    check_question,
    even_in_log,
    folder_of_delta,
    is_cheap,
    locate_crossings,
    look_closer,
    sign_changes,
    status_of_scan,
)
from dmft.trajectory.solving import solve
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from dmft.model.problem import Problem
    from dmft.training.methods import Method
    from rmt import HessianLaw

__all__ = ["ThresholdCurve", "default_steps", "delta_nn_curve"]

FloatArray = NDArray[np.float64]

_KIND = "threshold curve"
_N_STEPS = 30
# A root is located when interpolation moves it by no more than this fraction of its standard
# error ...
_FRACTION_OF_ERROR = 0.2
# ... or of delta: finer differences are not seen in any figure.
_FINEST = 1e-4
# An interval narrower than this many standard errors is not divided.
_NARROWEST = 0.5
# An interval of log delta narrower than this is not looked into for hidden changes of sign.
_NARROWEST_LOOK = 1e-2
# Gaps above two to this power are scaled before they are interpolated.
_LARGE_EXPONENT = 200
# A new delta keeps this fraction of the interval's length from its ends: nodes that are close
# together tell little more than one.
_MARGIN = 0.2


@dataclass(frozen=True)
class ThresholdCurve:
    """delta_NN(t) at many steps, its limit, and the left edge of the bulk beside it.

    With S steps, n values of delta and R replicates:

    Attributes
    ----------
    steps : ndarray of int, shape (S,)
    times : ndarray, shape (S,)
        ``method.times`` at these steps.
    value : ndarray, shape (S,)
        delta_NN at each step, as in :class:`dmft.Threshold`; NaN where there is none.
    stderr : ndarray, shape (S,)
        Standard error over replicates: the spread of their own roots divided by sqrt(R). Zero at
        step 0 where that is quadrature.
    interpolation_error : ndarray, shape (S,)
        How much further the root may lie because delta is a grid; 0.2 of ``stderr`` or 1e-4 of
        the value at most where the status is SUCCESS.
    statuses : tuple of Status
        For each step: SUCCESS; MAX_STEPS if the root is located worse than that; else as in
        :class:`dmft.Threshold`.
    replicates : ndarray, shape (R, S)
        Root of each replicate's own gap. Their mean is not ``value``: see :class:`dmft.Sampling`.
    crossings : tuple of tuple of Crossing
        For each step, every sign change of the gap in the bracket, increasing in delta.
    bracket : tuple of float
    delta : ndarray, shape (n,)
        Where the process was solved, increasing.
    gap, gap_stderr : ndarray, shape (n, S)
        NaN where the run ended before, or was not needed up to there: a delta added for the
        early steps is solved for these only.
    left_edge, left_edge_stderr : ndarray, shape (n, S)
        Left edge of the bulk, and its error as in :meth:`rmt.HessianLaw.edge_errors`.
    edge_at_threshold, edge_at_threshold_stderr : ndarray, shape (S,)
        Left edge at delta = delta_NN(t); its error contains that of finitely many paths.
    unstable_share : ndarray, shape (S,)
        What paths that the finite step makes unstable carry of any average up to a step, at
        delta = delta_NN(t), as in :class:`dmft.Threshold`; above 0.01 the threshold is that of the
        step size.
    limit : Extrapolation
        delta_NN as t grows, with an interval; its status NOT_SETTLED if the curve does not say.
    status : Status
        SUCCESS if that of every step is, otherwise the first other one, in order of time.
    config : dict
        Problem, method, sampling as plain types.
    detail : str
        In words, what is behind the status of the first step that is no success; may be empty.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(step_size=0.2, n_steps=2)
    >>> curve = dmft.delta_nn_curve(problem, method, (0.5, 4), sampling=dmft.Sampling(256, 4))
    >>> curve.value.shape, curve.limit.status.name
    ((3,), 'NOT_SETTLED')
    """

    steps: Annotated[NDArray[np.intp], "S"]
    times: Annotated[FloatArray, "S"]
    value: Annotated[FloatArray, "S"]
    stderr: Annotated[FloatArray, "S"]
    interpolation_error: Annotated[FloatArray, "S"]
    statuses: Annotated[tuple[Status, ...], "S"]
    replicates: Annotated[FloatArray, "R S"]
    crossings: Annotated[tuple[tuple[Crossing, ...], ...], "S"]
    bracket: tuple[float, float]
    delta: Annotated[FloatArray, "n"]
    gap: Annotated[FloatArray, "n S"]
    gap_stderr: Annotated[FloatArray, "n S"]
    left_edge: Annotated[FloatArray, "n S"]
    left_edge_stderr: Annotated[FloatArray, "n S"]
    edge_at_threshold: Annotated[FloatArray, "S"]
    edge_at_threshold_stderr: Annotated[FloatArray, "S"]
    unstable_share: Annotated[FloatArray, "S"]
    limit: Extrapolation
    config: dict[str, Any] = field(repr=False)
    detail: str = ""

    @property
    def bias(self) -> FloatArray:
        """Bias of `value` that is left by finitely many paths, as far as replicates tell.

        Shape (S,). Values come from R times as many paths as those of each replicate, and the bias
        is inversely proportional to their number: ``(mean of replicates - value) / (R - 1)``. It is
        small beside ``stderr`` but for late times, when paths overfit the many directions that the
        weights have moved in; where it is larger, it is no more than an order of magnitude.
        """
        return _bias(self.value, self.replicates)

    @property
    def error(self) -> FloatArray:
        """All of it: root of the squares of ``stderr``, ``interpolation_error``, ``bias``, (S,)."""
        squares = self.stderr**2 + self.interpolation_error**2 + self.bias**2
        return np.asarray(np.sqrt(squares))

    @property
    def n_evaluations(self) -> int:
        """Number of solves."""
        return len(self.delta)

    @property
    def status(self) -> Status:
        """SUCCESS if every step has a value located well enough, otherwise the first failure."""
        return next((status for status in self.statuses if not status.ok), Status.SUCCESS)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write data, configuration, version and seed to one ``.npz`` file (atomically)."""
        write_record(path, _KIND, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ThresholdCurve:
        """Read a curve written by :meth:`save`.

        Raises
        ------
        ValueError
            If the file is not a threshold curve, is damaged, or was written by a newer version.
        """
        return read_record(path, _KIND, cls, ThresholdCurve.check_settings)

    def check_settings(self) -> None:
        """Raise unless problem, method and sampling are complete and allowed."""
        check_settings(self.config, "problem", "method", "sampling")


def default_steps(times: FloatArray) -> list[int]:
    """About 30 steps whose times are even in log(1 + t/t_1), the first and the last among them.

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
    wanted = min(_N_STEPS, n_steps + 1)
    if wanted == n_steps + 1:
        return list(range(wanted))
    length = np.log1p(times / times[1])
    steps = np.empty(0, dtype=np.intp)
    count = wanted
    while len(steps) < wanted and count <= 8 * wanted:
        # The first steps are further apart than such a grid is fine; more points make up for it.
        even = np.linspace(0.0, length[-1], count)
        after = np.clip(np.searchsorted(length, even), 1, n_steps)
        nearer = even - length[after - 1] < length[after] - even
        steps = np.unique(np.where(nearer, after - 1, after))
        count += 1
    if len(steps) < wanted:  # times far from zero and close together: fill up evenly
        steps = np.union1d(steps, np.linspace(0, n_steps, wanted).round().astype(np.intp))
    return [int(step) for step in steps]


def delta_nn_curve(
    problem: Problem,
    method: Method,
    bracket: Sequence[float],
    steps: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    *,
    points: int = 9,
    max_solves: int = 32,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_memory: float | None = None,
    throw: bool = False,
) -> ThresholdCurve:
    r"""Threshold delta_NN(t) at many horizons t, from one set of solves, and its limit.

    The process is solved once for each delta of a grid even in log delta; a solve gives the gap
    at all steps. Roots are those of the cubic in log delta through the four nearest values, by
    the convention of :func:`dmft.find_delta_nn`: the last crossing through which the gap turns
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
        The most solves to make; at least ``points``.
    threads : int, optional
        As in :func:`dmft.solve`.
    progress : callable, optional
        Called with 1 after each solve.
    checkpoint : path-like, optional
        A folder in which the curve survives being killed: the same call goes on from there. It
        holds a checkpoint of :func:`dmft.solve` for each delta.
    max_memory : float, optional
        Of each solve, as in :func:`dmft.solve`.
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
    chosen = _checked_steps(steps, method)
    points = check_integer("points", points, minimum=4, maximum=MOST_POINTS)
    max_solves = check_integer("max_solves", max_solves, minimum=points)
    check_progress(progress)
    table = _Table(problem, method, sampling, chosen, threads, progress, checkpoint, max_memory)
    for delta in even_in_log(*ends, points):
        table.solve(float(delta), 0, len(chosen))
        if table.hopeless:
            break  # a property of activation, loss and label: the same at every delta
    found = [_locate(table, index) for index in range(len(chosen))]
    looks = 0
    while table.n_solves < max_solves:
        needed = _next_delta(found, looks < points)
        if needed is None:
            break
        _, delta, last, is_look = needed
        looks += is_look
        table.solve(delta, int(chosen[0] == 0), last + 1)  # step 0 needs no solve
        found = [_locate(table, index) for index in range(len(chosen))]
    if chosen[0] == 0 and found[0].status is not Status.UNBOUNDED_EDGE:
        found[0] = _at_start(table, found[0], threads, points)
    curve = _curve(table, found, ends)
    if throw and not curve.status.ok:
        step = chosen[[status.ok for status in curve.statuses].index(False)]
        raise NumericalFailure(curve.status, f"First at step {step}. {curve.detail}".rstrip())
    return curve


def _checked_steps(steps: Sequence[int] | None, method: Method) -> list[int]:
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


# -- what the solves say --------------------------------------------------------------------------


class _Readings:
    """Gap and left edge at each step, from one solve; NaN where it was not computed.

    Rows of ``gap`` and ``edge``: the law of all paths, then that of each replicate. ``moved``: by
    how much the left edge depends on the most extreme weight.
    """

    def __init__(self, n_replicates: int, n_steps: int, first: int, n_read: int) -> None:
        self.gap = np.full((n_replicates + 1, n_steps), np.nan)
        self.edge = np.full((n_replicates + 1, n_steps), np.nan)
        self.moved = np.full(n_steps, np.nan)
        self.unstable = np.full(n_steps, np.nan)
        self.first, self.n_read = first, n_read  # the steps asked for
        self.failures: dict[int, Status] = {}  # why some of these have no gap
        self.ended: int | None = None  # the last step, where the run ended early

    def read(self, index: int, law: HessianLaw) -> None:
        """Note what the law says at a step. Without replicates it is exact, the same for all."""
        found = read_gap(law, sensitivity=True)
        rows = slice(None) if law.replicates else np.zeros(len(self.gap), dtype=np.intp)
        self.gap[:, index], self.edge[:, index] = found.gap[rows], found.edge[rows]
        self.moved[index] = found.sensitivity
        if not found.status.ok:
            self.failures[index] = found.status


class _Table:
    """Readings for each delta solved so far."""

    def __init__(
        self,
        problem: Problem,
        method: Method,
        sampling: Sampling,
        steps: list[int],
        threads: int | None,
        progress: Callable[[int], None] | None,
        checkpoint: str | os.PathLike[str] | None,
        max_memory: float | None,
    ) -> None:
        self.problem, self.method, self.sampling = problem, method, sampling
        self.steps = steps
        self._threads = threads
        self._progress = progress
        self._checkpoint = checkpoint
        self._max_memory = max_memory
        self._readings: dict[float, _Readings] = {}
        self.start_is_cheap = False  # whether the gap at step 0 takes milliseconds

    @property
    def n_solves(self) -> int:
        return len(self._readings)

    @property
    def hopeless(self) -> bool:
        """Whether a solve has found every edge at minus infinity."""
        return any(bool(np.all(np.isinf(known.gap))) for known in self._readings.values())

    def solve(self, delta: float, first: int, n_read: int) -> None:
        """Solve at a delta for steps number ``first`` to ``n_read - 1``, and keep the numbers."""
        readings = _Readings(self.sampling.replicates, len(self.steps), first, n_read)
        wanted = self.steps[first:n_read]
        if wanted[0] == 0:
            try:
                law = initial_law(self.problem, delta, self.sampling)
            except NumericalFailure as failure:
                readings.failures[0] = failure.status
            else:
                self.start_is_cheap = is_cheap(law)
                readings.read(0, law)
                readings.unstable[0] = 0.0
        later = [step for step in wanted if step > 0]
        if later:
            trajectory = solve(
                self.problem,
                delta,
                self.method.until(later[-1]),
                self.sampling,
                hessian_steps=later,
                threads=self._threads,
                checkpoint=folder_of_delta(self._checkpoint, delta),
                max_memory=self._max_memory,
            )
            if not trajectory.status.ok:
                readings.ended = trajectory.n_steps
                missed = [self.steps.index(s) for s in later if s > trajectory.n_steps]
                readings.failures |= dict.fromkeys(missed, trajectory.status)
            reached = [step for step in later if step <= trajectory.n_steps]
            share = trajectory.unstable_paths.share_until
            for step in reached:
                readings.unstable[self.steps.index(step)] = share(step)

            def read(step: int) -> None:
                readings.read(self.steps.index(step), trajectory.hessian(step, keep=False))

            n_workers = worker_count(self._threads, len(reached))
            with single_threaded_blas(), Threads(n_workers) as pool:
                list(pool.map(read, reached))
        self._readings[delta] = readings
        if self._progress is not None:
            self._progress(1)

    def at(self, index: int) -> tuple[FloatArray, FloatArray, FloatArray, dict[float, Status]]:
        """Return the deltas asked at a step, gaps and edges (R + 1, n), and failures."""
        asked = self._asked(index)
        gaps = np.stack([readings.gap[:, index] for readings in asked.values()], axis=1)
        edges = np.stack([readings.edge[:, index] for readings in asked.values()], axis=1)
        failures = {
            delta: readings.failures[index]
            for delta, readings in asked.items()
            if index in readings.failures
        }
        return np.array(list(asked)), gaps, edges, failures

    def ended(self, index: int) -> dict[float, int]:
        """Last step of the runs that ended before a step."""
        asked = self._asked(index)
        return {
            delta: readings.ended
            for delta, readings in asked.items()
            if readings.ended is not None and readings.ended < self.steps[index]
        }

    def _asked(self, index: int) -> dict[float, _Readings]:
        known = sorted(self._readings.items())
        return {delta: r for delta, r in known if r.first <= index < r.n_read}

    def sensitivity(self, index: int, delta: float) -> float:
        """By how much the left edge depends on the most extreme weight, at any delta."""
        return self._between("moved", index, delta)

    def unstable_share(self, index: int, delta: float) -> float:
        """`UnstablePaths.share_until` the step, at any delta."""
        return self._between("unstable", index, delta)

    def _between(self, name: str, index: int, delta: float) -> float:
        known = {d: getattr(r, name)[index] for d, r in sorted(self._readings.items())}
        deltas, values = np.array(list(known)), np.array(list(known.values()))
        finite = np.isfinite(values)
        return float(np.interp(delta, deltas[finite], values[finite]))

    def arrays(self) -> dict[str, FloatArray]:
        """All readings, increasing in delta."""
        deltas = sorted(self._readings)
        gap = np.stack([self._readings[delta].gap for delta in deltas])
        edge = np.stack([self._readings[delta].edge for delta in deltas])
        moved = np.stack([self._readings[delta].moved for delta in deltas])
        return {
            "delta": np.array(deltas),
            "gap": gap[:, 0],
            "gap_stderr": _stderr(gap[:, 1:]),
            "left_edge": edge[:, 0],
            "left_edge_stderr": np.hypot(_stderr(edge[:, 1:]), moved),
        }


def _stderr(replicates: FloatArray) -> FloatArray:
    """Return the standard error over the second to last axis; exactly zero where all agree."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = replicates.std(axis=-2, ddof=1) / np.sqrt(replicates.shape[-2])
    return np.where(replicates.max(axis=-2) == replicates.min(axis=-2), 0.0, error)


def _bias(value: FloatArray | float, replicates: FloatArray) -> FloatArray:
    """Return `bias_of_paths` for replicates along the first axis."""
    return bias_of_paths(value, replicates.mean(axis=0), len(replicates))


# -- where the gap has its roots ------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A sign change of the gap at one step, located by interpolation."""

    crossing: Crossing
    replicates: FloatArray
    error: float  # of the interpolation
    edge: float
    edge_stderr: float

    @property
    def value(self) -> float:
        return self.crossing.value

    @property
    def interval(self) -> tuple[float, float]:
        return self.crossing.lower, self.crossing.upper

    @property
    def stderr(self) -> float:
        return float(_stderr(self.replicates[:, np.newaxis])[0])

    @property
    def excess(self) -> float:
        """Error of the interpolation in units of what is allowed; zero where there is no more."""
        lower, upper = self.interval
        if upper - lower <= _NARROWEST * self.stderr:
            return 0.0
        return self.error / max(_FRACTION_OF_ERROR * self.stderr, _FINEST * self.value)


@dataclass(frozen=True)
class _Root:
    """delta_NN at one step, as far as the deltas solved so far say."""

    status: Status
    places: tuple[_Place, ...] = ()
    suspected: tuple[float, float, float] | None = None  # ends of an interval, and where in it
    unstable_share: float = np.nan

    @property
    def last(self) -> _Place | None:
        """The sign change that is delta_NN."""
        return self.places[-1] if self.status.ok else None

    @property
    def value(self) -> float:
        return np.nan if self.last is None else self.last.value

    @property
    def excess(self) -> float:
        return 0.0 if self.last is None else self.last.excess

    @property
    def is_open(self) -> bool:
        """Whether a hidden change of sign would make delta_NN another."""
        if self.last is None or self.suspected is None:
            return False
        return self.suspected[2] > self.last.crossing.lower

    @property
    def final_status(self) -> Status:
        """Status at the end of the search."""
        return Status.MAX_STEPS if self.excess > 1.0 or self.is_open else self.status

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        return tuple(place.crossing for place in self.places)


def _locate(table: _Table, index: int) -> _Root:
    """Find the roots of the gap at a step, by interpolation in log delta."""
    deltas, gaps, edges, failures = table.at(index)
    crossings = sign_changes(deltas, gaps[0])
    status = status_of_scan(deltas, gaps[0], crossings, failures)
    known = np.flatnonzero(np.isfinite(gaps[0]))
    deltas, gaps, edges = deltas[known], gaps[:, known], edges[:, known]
    x, gaps = np.log(deltas), _in_range(gaps)
    places = tuple(
        _place(
            table, index, crossing, int(np.flatnonzero(deltas == crossing.lower)[0]), x, gaps, edges
        )
        for crossing in crossings
    )
    suspected = None
    # Intervals in which no solve has failed, and wide enough to be divided.
    open_to_look = (np.diff(known) == 1) & (np.diff(x) > _NARROWEST_LOOK)
    noise = _stderr(gaps[1:])
    found = [
        (*suspected_change(x, gaps[0], noise, i), i) for i in np.flatnonzero(open_to_look).tolist()
    ]
    depth, where, interval = max(found, default=(0.0, np.nan, 0))
    if depth > 0.0 and table.steps[index]:  # step 0 is looked at in the end, without a solve
        suspected = float(deltas[interval]), float(deltas[interval + 1]), float(np.exp(where))
    share = table.unstable_share(index, places[-1].value) if status.ok else np.nan
    return _Root(status, places, suspected, share)


def _in_range(gaps: FloatArray) -> FloatArray:
    """Return gaps times a power of two, where their products would be too large for a float."""
    _, exponent = np.frexp(np.abs(gaps).max(initial=0.0))
    return gaps if exponent < _LARGE_EXPONENT else np.ldexp(gaps, -int(exponent))


def _place(
    table: _Table,
    index: int,
    crossing: Crossing,
    interval: int,
    x: FloatArray,
    gaps: FloatArray,
    edges: FloatArray,
) -> _Place:
    """Locate one sign change, in all paths and in each replicate, and the left edge there."""
    root = root_between(x, gaps[0], interval, 1, 1)
    cubic = LocalPolynomial(x, interval)
    slope = cubic.slope(root, gaps[0])
    roots = []
    for gap in gaps[1:]:
        own = nearest_opening(x, gap if crossing.opens else -gap, root)
        # Beyond the deltas solved, where a replicate's gap has no root, by the common slope.
        shift = float(cubic.at(root, gap)) / slope if slope else np.inf
        roots.append(root - shift if np.isnan(own) else own)
    # No replicate is that far off: a slope near zero is no reason to say so.
    replicates = np.exp(np.clip(roots, x[0] - 1.0, x[-1] + 1.0))
    value = float(np.exp(root))
    difference, noise = disagreement(x, gaps[0], gaps[1:], interval)
    # At step 0 the root is refined in the end, without a solve.
    error = value * max(difference - 2.0 * noise, 0.0) if table.steps[index] else 0.0
    own_edges = [
        cubic.at(float(np.clip(at, x[0], x[-1])), edge)
        for at, edge in zip(np.log(replicates), edges[1:], strict=True)
    ]
    edge = float(cubic.at(root, edges[0]))
    spread = float(_stderr(np.array(own_edges)[:, np.newaxis])[0])
    spread = float(np.hypot(spread, _bias(edge, np.array(own_edges))))
    sensitivity = table.sensitivity(index, value)
    found = _Place(
        dataclasses.replace(crossing, value=value),
        replicates,
        error,
        edge,
        float(np.hypot(spread, sensitivity)),
    )
    if found.excess > 1.0:
        return found
    refined = dataclasses.replace(found.crossing, refined=True, stderr=found.stderr)
    return dataclasses.replace(found, crossing=refined)


def _next_delta(
    found: list[_Root], may_look: bool
) -> tuple[tuple[float, float], float, int, bool] | None:
    """Choose where another delta is needed most: to locate delta_NN, for what may be hidden, else.

    Parameters
    ----------
    found : list of _Root
        For each step.
    may_look : bool
        Whether to look for hidden changes of sign.

    Returns
    -------
    interval : tuple of float
    delta : float
        In this interval.
    last : int
        Index of the last step that needs it.
    looks : bool
        Whether it is for a change that may be hidden.
    None
        If no other delta is needed.
    """
    defining = [(index, root.last) for index, root in enumerate(found) if root.last is not None]
    every = [(index, place) for index, root in enumerate(found) for place in root.places]
    for places in (defining, every):
        _, worst = max(places, key=lambda entry: entry[1].excess, default=(0, None))
        if worst is not None and worst.excess > 1.0:
            lower, upper = interval = worst.interval
            needed = [
                np.log(place.value / lower) / np.log(upper / lower)
                for _, place in places
                if place.excess > 1.0 and place.interval == interval
            ]
            place = float(np.clip(np.median(needed), _MARGIN, 1.0 - _MARGIN))
            # Later steps, with nothing in the interval, would learn nothing.
            last = max(index for index, place in every if place.interval == interval)
            return interval, float(lower * (upper / lower) ** place), last, False
        suspected = [(i, root.suspected) for i, root in enumerate(found) if root.suspected]
        if places is defining and may_look and suspected:
            lower, upper, delta = suspected[0][1]
            last = max(index for index, other in suspected if other[:2] == (lower, upper))
            return (lower, upper), delta, last, True
    return None


def _at_start(table: _Table, root: _Root, threads: int | None, points: int) -> _Root:
    """Find the sign changes at step 0, where the gap can be had without a solve."""
    gap = _Gap(table.problem, table.method, table.sampling, 0, threads, None)
    deltas, gaps, _, failures = table.at(0)
    errors = _stderr(gaps[1:])
    gap.values = {
        float(delta): (float(value), float(error))
        for delta, value, error in zip(deltas, gaps[0], errors, strict=True)
    }
    gap.failure = failures
    gap.is_cheap = table.start_is_cheap
    suspected = look_closer(gap, points)
    status, _, _, crossings = locate_crossings(gap, suspected)
    known = {place.interval: place for place in root.places}
    places = []
    for crossing in crossings:
        place = known.get((crossing.lower, crossing.upper))
        if place is None:  # it was hidden
            law = read_gap(
                initial_law(table.problem, crossing.value, table.sampling), sensitivity=True
            )
            each = np.full(len(gaps) - 1, crossing.value)
            place = _Place(crossing, each, 0.0, float(law.edge[0]), law.sensitivity)
        shifted = place.replicates + (crossing.value - place.value)
        places.append(dataclasses.replace(place, crossing=crossing, replicates=shifted))
    left = None if np.isnan(suspected) else (suspected, suspected, suspected)
    return _Root(status, tuple(places), left, 0.0 if status.ok else np.nan)


def _curve(table: _Table, found: list[_Root], bracket: tuple[float, float]) -> ThresholdCurve:
    """Put the result together."""
    missing = np.full(table.sampling.replicates, np.nan)
    last = [root.last for root in found]
    nowhere = _Place(Crossing(np.nan, np.nan, np.nan, True), missing, *[np.nan] * 3)
    places = [nowhere if place is None else place for place in last]
    value = np.array([place.value for place in places])
    stderr = np.array([np.nan if place is nowhere else place.stderr for place in places])
    error = np.array([place.error for place in places])
    replicates = np.stack([place.replicates for place in places], axis=1)
    statuses = [root.final_status for root in found]
    times = np.asarray(table.method.times, dtype=np.float64)[table.steps]
    limit = extrapolate(times, value, replicates, error, _bias(value, replicates))
    if np.isfinite(limit.lower):
        limit = dataclasses.replace(limit, lower=max(limit.lower, 0.0))
    if np.isnan(value[-1]):  # the curve leaves the bracket, or the runs end: it is not known late
        limit = dataclasses.replace(limit, status=Status.NOT_SETTLED)
    return ThresholdCurve(
        steps=np.array(table.steps, dtype=np.intp),
        times=times,
        value=value,
        stderr=stderr,
        interpolation_error=error,
        statuses=tuple(statuses),
        replicates=replicates,
        crossings=tuple(root.crossings for root in found),
        bracket=bracket,
        edge_at_threshold=np.array([place.edge for place in places]),
        edge_at_threshold_stderr=np.array([place.edge_stderr for place in places]),
        unstable_share=np.array([root.unstable_share for root in found]),
        limit=limit,
        config={
            "problem": table.problem.to_config(),
            "method": table.method.to_config(),
            "sampling": table.sampling.to_config(),
        },
        detail=_detail(table, found, statuses),
        **table.arrays(),
    )


def _detail(table: _Table, found: list[_Root], statuses: Sequence[Status]) -> str:
    """Explain the first step that is no success."""
    index = next((i for i, status in enumerate(statuses) if not status.ok), None)
    if index is None:
        return ""
    root, (deltas, gaps, _, failures) = found[index], table.at(index)
    suspected = np.nan if root.suspected is None else root.suspected[2]
    words = explain_search(
        table.problem,
        statuses[index],
        deltas,
        gaps[0],
        _stderr(gaps[1:]),
        root.crossings,
        failures,
        table.ended(index),
        suspected,
    )
    return f"At step {table.steps[index]}: {words}" if words else ""
