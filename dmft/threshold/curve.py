"""The threshold delta_NN(t) at many steps as a result, with its limit and the left edge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft.hessian.gap_samples import WhichOutlier
from dmft.io.marks import DELTA, STEPS, TIME, ErrorOf
from dmft.io.saved_result import SavedResult
from dmft.threshold.extrapolation import Extrapolation
from dmft.threshold.gap_limit import GapLimit
from dmft.threshold.onset import bias_by_onset
from dmft.threshold.threshold import Crossing
from rmt.hard import Criterion
from rmt.real_branch import Kind
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    from dmft.io.report_text import Lines

__all__ = ["ThresholdCurve"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class ThresholdCurve(
    SavedResult, kind="threshold curve", settings=("problem", "method", "sampling")
):
    """delta_NN(t) at many steps, its limit, and the left edge of the bulk at the threshold.

    With S steps, n values of delta and R replicates:

    Attributes
    ----------
    steps : ndarray of int, shape (S,)
    times : ndarray, shape (S,)
        ``method.times`` at these steps.
    value : ndarray, shape (S,)
        delta_NN at each step, as in :class:`dmft.Threshold`; NaN where it is undefined.
    stderr : ndarray, shape (S,)
        Standard error over replicates: the spread of their own roots divided by sqrt(R). Zero at
        step 0 where that is quadrature.
    interpolation_error : ndarray, shape (S,)
        How much further the root may lie because delta is a grid; 0.2 of ``stderr`` or 1e-4 of
        the value at most where the status is SUCCESS.
    statuses : tuple of Status
        For each step: SUCCESS; MAX_STEPS if the root is located worse than that; FINITE_PATHS if
        the bias of finitely many paths is larger than ``stderr``; MAX_PATHS or OUT_OF_MEMORY if
        ``error`` is larger than asked for; else as in :class:`dmft.Threshold`.
    replicates : ndarray, shape (R, S)
        Root of each replicate's own gap. Their mean is not ``value``: see :class:`dmft.Sampling`.
    crossings : tuple of tuple of Crossing
        For each step, every sign change of the gap in the bracket, increasing in delta; with `rtol`
        those between the deltas solved on the paths of that step, around delta_NN.
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
        Largest share of an average up to a step that linearly unstable paths carry, at
        delta = delta_NN(t), as in :class:`dmft.Threshold`; above 0.01 the threshold is that of the
        step size.
    limit : Extrapolation
        delta_NN as t grows, with an interval; its status NOT_SETTLED if the curve does not say, or
        the gap at fixed delta says otherwise.
    gap_limit : GapLimit or None
        Limits of the gap at fixed delta, and the limit of delta_NN that follows from them.
    status : Status
        SUCCESS if that of every step is, otherwise the first other one, in order of time.
    config : dict
        Problem, method, sampling as plain types.
    detail : str
        Explanation of the status of the first step that is no success; may be empty.
    rtol : float or None
        The relative error asked for.
    n_paths : ndarray of int, shape (S,), or None
        Paths per replicate that the value at each step was found on; with `rtol` not the same for
        all, and those of ``config["sampling"]`` at the most. None in older files.
    paths_of_solve : ndarray of int, shape (n,), or None
        Paths per replicate at each ``delta``.
    estimated_bias : ndarray, shape (S,), or None
        `bias`, as it was estimated on the paths of each step. None in older files.
    criterion, index : str, int
        Which hard outlier it is about, as in :class:`dmft.Threshold`.
    jump, jump_stderr : ndarray, shape (S,), or None
        Squared overlap just above the transition at each step, as in :class:`dmft.Threshold`, at
        the delta solved next to the threshold. None in older files.
    edge_kinds : tuple of str, length S, or None
        What holds the edge there, as in `rmt.Edges.kind`. None in older files.
    multiplicity : ndarray of int, shape (S,), or None
        Number of outliers that appear there at once, within three standard errors.
    d, draws, band : int, int, ndarray of shape (2, S), or None
        Of the thresholds of runs of dimension d, as in :class:`dmft.Threshold`.

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

    _axes: ClassVar = {"S": "step", "R": "replicate", "n": "delta"}
    _rows: ClassVar = ("step",)
    _shown: ClassVar = ("value", "bracket", "n_evaluations")

    steps: Annotated[NDArray[np.intp], "S", STEPS]
    times: Annotated[FloatArray, "S", TIME]
    value: Annotated[FloatArray, "S", DELTA]
    stderr: Annotated[FloatArray, "S", DELTA, ErrorOf("value")]
    interpolation_error: Annotated[FloatArray, "S", DELTA]
    statuses: Annotated[tuple[Status, ...], "S"]
    replicates: Annotated[FloatArray, "R S", DELTA]
    crossings: Annotated[tuple[tuple[Crossing, ...], ...], "S"]
    bracket: Annotated[tuple[float, float], DELTA]
    delta: Annotated[FloatArray, "n", DELTA]
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
    rtol: float | None = None
    n_paths: Annotated[NDArray[np.intp] | None, "S"] = None
    paths_of_solve: Annotated[NDArray[np.intp] | None, "n"] = None
    gap_limit: GapLimit | None = None
    estimated_bias: Annotated[FloatArray | None, "S"] = None
    d: int | None = None
    draws: int | None = None
    band: Annotated[FloatArray | None, "2 S", DELTA] = None
    criterion: Criterion = "negative"
    index: int = 1
    jump: Annotated[FloatArray | None, "S"] = None
    jump_stderr: Annotated[FloatArray | None, "S", ErrorOf("jump")] = None
    edge_kinds: Annotated[tuple[Kind, ...] | None, "S"] = None
    multiplicity: Annotated[NDArray[np.intp] | None, "S"] = None

    @property
    def which(self) -> WhichOutlier:
        """The hard outlier that the thresholds are about."""
        return WhichOutlier(self.criterion, self.index)

    @property
    def bias(self) -> Annotated[FloatArray, "S", DELTA]:
        """Bias of `value` from finitely many paths, estimated from the replicates, shape (S,).

        It sets in late in a run, when paths overfit the many directions that the neurons have moved
        in, at a time proportional to their number. The bias of the run over all paths at time t is
        therefore what single replicates show at time t/R, or less (`dmft.threshold.onset`). It is
        counted as an error, and not taken off the value.
        """
        if self.estimated_bias is not None:
            return self.estimated_bias
        differences = self.replicates.mean(axis=0) - self.value
        return bias_by_onset(self.times, differences, len(self.replicates))

    @property
    def error(self) -> Annotated[FloatArray, "S", DELTA]:
        """Root of the sum of squares of ``stderr``, ``interpolation_error`` and ``bias``, (S,)."""
        squares = self.stderr**2 + self.interpolation_error**2 + self.bias**2
        return np.asarray(np.sqrt(squares))

    @property
    def n_evaluations(self) -> int:
        """Number of solves."""
        return len(self.delta)

    @property
    def status(self) -> Status:
        """SUCCESS if every step has a value located well enough, otherwise the first failure."""
        return first_failure(self.statuses)

    def _report(self) -> tuple[Lines, str]:
        from dmft.threshold.report import curve_lines, curve_table

        return curve_lines(self), curve_table(self)
