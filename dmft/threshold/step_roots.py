"""Roots of the gap at one step of a curve, by interpolation in log delta, with their errors."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.sampling import bias_of_paths, is_biased
from dmft.hessian.gap_samples import standard_error
from dmft.threshold.gap_memo import GapFunction
from dmft.threshold.interpolation import (
    disagreement,
    local_polynomial,
    nearest_opening,
    root_between,
)
from dmft.threshold.onset import bias_by_onset
from dmft.threshold.refinement import OF_LOCATION, locate_crossings
from dmft.threshold.scan import (
    hidden_change,
    in_range,
    look_closer,
    sign_changes,
    status_of_scan,
)
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dmft.hessian.gap_samples import EdgeAtGap, GapSample
    from dmft.threshold.gap_memo import Evaluation, GapMemo
    from dmft.threshold.threshold import Crossing

    FloatArray = NDArray[np.float64]

__all__ = ["StepRoots", "roots_at_start", "roots_at_step", "with_bias"]

# A root is located when interpolation moves it by no more than this fraction of its standard
# error ...
_FRACTION_OF_ERROR = 0.2
# ... or of delta: finer differences are not seen in any figure.
_FINEST = 1e-4
# An interval narrower than this many standard errors is not divided.
_NARROWEST = 0.5
# An interval of log delta narrower than this is not searched for hidden sign changes.
_NARROWEST_SEARCHED = 1e-2


@dataclass(frozen=True)
class Root:
    """A sign change of the gap at one step, located by interpolation.

    Attributes
    ----------
    crossing : Crossing
    replicates : ndarray, shape (R,)
        Root of each replicate's own gap.
    error : float
        Error of the interpolation.
    edge, edge_stderr : float
        Left edge at the root.
    transition : EdgeAtGap
        What holds that edge, at the evaluation next to the root.
    multiplicity : int
        `GapSample.multiplicity` there.
    rtol : float
        Accuracy asked for; zero where none is.
    bias : float
        By finitely many paths; zero until `with_bias` has set it.
    """

    crossing: Crossing
    replicates: FloatArray
    error: float
    edge: float
    edge_stderr: float
    transition: EdgeAtGap
    rtol: float = 0.0
    bias: float = 0.0
    multiplicity: int = 1

    @property
    def interval(self) -> tuple[float, float]:
        """The deltas on either side."""
        return self.crossing.lower, self.crossing.upper

    @property
    def stderr(self) -> float:
        """Standard error over replicates."""
        return float(standard_error(self.replicates, axis=0))

    @property
    def excess(self) -> float:
        """Error of the interpolation relative to what is allowed; zero where nothing is gained."""
        lower, upper = self.interval
        if upper - lower <= _NARROWEST * self.stderr:
            return 0.0
        finest = max(_FINEST, OF_LOCATION * self.rtol) * self.crossing.value
        return self.error / max(_FRACTION_OF_ERROR * self.stderr, finest)

    @property
    def difference(self) -> float:
        """Mean over the replicates less the root of all paths."""
        return float(self.replicates.mean()) - self.crossing.value

    @property
    def total_error(self) -> float:
        """Root of the sum of squares of standard error, bias and error of the interpolation."""
        return float(np.linalg.norm([self.stderr, self.bias, self.error]))


@dataclass(frozen=True)
class StepRoots:
    """All roots of the gap at one step, as far as the deltas solved so far show them.

    Attributes
    ----------
    scan_status : Status
        SUCCESS if the last root is delta_NN.
    roots : tuple of Root
        Increasing in delta.
    hidden : tuple of float or None
        Ends of an interval with a suspected further sign change, and its place.
    unstable_share : float
        `UnstablePaths.share_until` the step at delta_NN.
    """

    scan_status: Status
    roots: tuple[Root, ...] = ()
    hidden: tuple[float, float, float] | None = None
    unstable_share: float = np.nan

    @property
    def threshold(self) -> Root | None:
        """The root that is delta_NN."""
        return self.roots[-1] if self.scan_status.ok else None

    @property
    def status(self) -> Status:
        """Status at the end of the search.

        MAX_STEPS if delta_NN is not located well enough, FINITE_PATHS if its bias is larger than
        its standard error.
        """
        root = self.threshold
        if root is None:
            return self.scan_status
        if root.excess > 1.0 or self.is_open_above:
            return Status.MAX_STEPS
        biased = is_biased(root.bias, root.stderr, root.crossing.value)
        return Status.FINITE_PATHS if biased else self.scan_status

    @property
    def is_open_above(self) -> bool:
        """Whether a further sign change is suspected above the root that is delta_NN."""
        root = self.threshold
        return root is not None and self.hidden is not None and self.hidden[2] > root.crossing.lower

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        """All sign changes."""
        return tuple(root.crossing for root in self.roots)


def with_bias(found: Sequence[StepRoots], times: FloatArray) -> list[StepRoots]:
    """Return the roots at ascending steps, those that are delta_NN with their bias.

    Parameters
    ----------
    found : sequence of StepRoots
    times : ndarray
        Of these steps.

    Returns
    -------
    list of StepRoots
    """
    roots = [step.threshold for step in found]
    known = next((root for root in roots if root is not None), None)
    if known is None:
        return list(found)
    differences = np.array([np.nan if root is None else root.difference for root in roots])
    bias = bias_by_onset(times, differences, len(known.replicates))
    return [
        step
        if root is None
        else dataclasses.replace(
            step, roots=(*step.roots[:-1], dataclasses.replace(root, bias=float(value)))
        )
        for step, root, value in zip(found, roots, bias, strict=True)
    ]


def roots_at_step(memo: GapMemo, step: int, rtol: float = 0.0) -> StepRoots:
    """Find the roots of the gap at a step by interpolation.

    Parameters
    ----------
    memo : GapMemo
    step : int
    rtol : float
        Accuracy asked for; zero where none is.

    Returns
    -------
    StepRoots
    """
    values, gaps, edges = memo.samples(step)
    crossings = sign_changes(values.delta, values.gap)
    status = status_of_scan(values, crossings)
    known = np.flatnonzero(np.isfinite(values.gap))
    deltas, gaps, edges = values.delta[known], in_range(gaps[:, known]), edges[:, known]
    roots = tuple(_root(memo, step, crossing, deltas, gaps, edges, rtol) for crossing in crossings)
    hidden = None
    if step:  # step 0 is searched in the end, without a solve
        hidden = hidden_change(values.delta, values.gap, values.stderr, _NARROWEST_SEARCHED)
    share = np.nan
    if status.ok:
        share = _between(
            memo.at(step), roots[-1].crossing.value, lambda entry: entry.unstable_share
        )
    return StepRoots(status, roots, hidden, share)


def _between(
    evaluations: dict[float, Evaluation], delta: float, number: Callable[[Evaluation], float]
) -> float:
    """Interpolate a number linearly between evaluations."""
    deltas = np.array(list(evaluations))
    values = np.array([number(entry) for entry in evaluations.values()])
    finite = np.isfinite(values)
    return float(np.interp(delta, deltas[finite], values[finite]))


def _spread(sample: GapSample, stderr: float, replicates: int) -> FloatArray:
    """Share the error of a root out to replicates, as their gaps are shared out; zero if exact."""
    own = np.broadcast_to(sample.gap, replicates + 1)[1:]
    size = float(standard_error(own, axis=0))
    if not (size > 0.0 and np.isfinite(stderr)):
        return np.zeros(replicates)
    return np.asarray(stderr / size * (own - own.mean()))


def _nearest(evaluations: dict[float, Evaluation], delta: float) -> Evaluation:
    """Return the evaluation with a gap that is next to a delta."""
    known = [other for other, entry in evaluations.items() if np.isfinite(entry.sample.gap[0])]
    return evaluations[min(known, key=lambda other: abs(other - delta))]


def _root(
    memo: GapMemo,
    step: int,
    crossing: Crossing,
    deltas: FloatArray,
    gaps: FloatArray,
    edges: FloatArray,
    rtol: float,
) -> Root:
    """Locate one sign change, for all paths and for each replicate, and the left edge there."""
    x, interval = np.log(deltas), int(np.flatnonzero(deltas == crossing.lower)[0])
    root = root_between(x, gaps[0], interval, 1, 1)
    cubics = local_polynomial(x, gaps, interval)
    slope = float(cubics.derivative(root)[0])
    roots = []
    for gap, at_root in zip(gaps[1:], cubics(root)[1:].tolist(), strict=True):
        own = nearest_opening(x, gap if crossing.opens else -gap, root)
        # Beyond the deltas solved, where a replicate's gap has no root, by the common slope.
        shift = at_root / slope if slope else np.inf
        roots.append(root - shift if np.isnan(own) else own)
    # No replicate is that far off: a slope near zero is no reason to say so.
    replicates = np.exp(np.clip(roots, x[0] - 1.0, x[-1] + 1.0))
    value = float(np.exp(root))
    difference, noise = disagreement(x, gaps[0], gaps[1:], interval)
    # At step 0 the root is refined in the end, without a solve.
    error = value * max(difference - 2.0 * noise, 0.0) if step else 0.0
    cubics = local_polynomial(x, edges, interval)
    edge = float(cubics(root)[0])
    at_roots = cubics(np.clip(np.log(replicates), x[0], x[-1]))[1:]
    own_edges = np.array(at_roots.diagonal(), dtype=np.float64)
    edge_error = np.hypot(
        float(standard_error(own_edges, axis=0)),
        bias_of_paths(edge, own_edges.mean(axis=0), len(own_edges)),
    )
    sensitivity = _between(memo.at(step), value, lambda entry: entry.sample.edge_sensitivity)
    nearest = _nearest(memo.at(step), value).sample
    found = Root(
        dataclasses.replace(crossing, value=value),
        replicates,
        error,
        edge,
        float(np.hypot(edge_error, sensitivity)),
        nearest.at_gap,
        rtol,
        multiplicity=nearest.multiplicity,
    )
    if found.excess > 1.0:
        return found
    refined = dataclasses.replace(found.crossing, refined=True, stderr=found.stderr)
    return dataclasses.replace(found, crossing=refined)


def roots_at_start(memo: GapMemo, interpolated: StepRoots, points: int) -> StepRoots:
    """Find the roots of the gap at step 0, where further evaluations need no solve.

    Parameters
    ----------
    memo : GapMemo
        Left as it is.
    interpolated : StepRoots
        Of step 0.
    points : int
        Number of further evaluations in the search for hidden sign changes.

    Returns
    -------
    StepRoots
    """
    gap = GapFunction(memo.copy(), 0, memo.samples(0)[0])
    hidden = look_closer(gap, points)
    status, crossings = locate_crossings(gap, hidden)
    known = {root.interval: root for root in interpolated.roots}
    roots = []
    for crossing in crossings:
        root = known.get((crossing.lower, crossing.upper))
        if root is None:  # it was hidden
            alone = memo.copy(edge_sensitivity=True)
            sample = alone.evaluate(crossing.value, [0])[0].sample
            each = crossing.value + _spread(sample, crossing.stderr, memo.sampling.replicates)
            root = Root(
                crossing,
                each,
                0.0,
                float(sample.edge[0]),
                sample.edge_sensitivity,
                sample.at_gap,
            )
        shifted = root.replicates + (crossing.value - root.crossing.value)
        nearest = _nearest(gap.memo.at(0), crossing.value).sample
        roots.append(
            dataclasses.replace(
                root,
                crossing=crossing,
                replicates=shifted,
                transition=nearest.at_gap,
                multiplicity=nearest.multiplicity,
            )
        )
    suspected = None if np.isnan(hidden) else (hidden, hidden, hidden)
    return StepRoots(status, tuple(roots), suspected, 0.0 if status.ok else np.nan)
