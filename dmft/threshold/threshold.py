"""The threshold delta_NN(t) at one step as a result: its value, errors and sign changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft.hessian.gap_samples import WhichOutlier
from dmft.io.marks import DELTA, Axes, ErrorOf
from dmft.io.saved_result import SavedResult
from dmft.solver.stability import SHARE_TOLERANCE
from rmt.hard import Criterion
from rmt.real_branch import Kind
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.io.report_text import Lines

__all__ = ["Crossing", "Threshold"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Crossing:
    """A sign change of the gap lambda_min A_h as a function of delta.

    Attributes
    ----------
    value : float
        Location; unless ``refined`` a linear interpolation between ``lower`` and ``upper``.
    lower, upper : float
        The deltas known to lie on either side.
    opens : bool
        True if the outlier appears as delta grows through it (gap from + to -).
    refined : bool
        Whether it is located more finely than its sampling error.
    stderr : float
        Standard error of the location over replicates, NaN unless ``refined``; zero where the gap
        is computed by quadrature.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(step_size=0.2, n_steps=10)
    >>> [crossing] = dmft.find_delta_nn(problem, method, (0.5, 4), step=0).crossings
    >>> round(float(crossing), 3), crossing.opens, crossing.lower < 0.923 < crossing.upper
    (0.923, True, True)
    """

    value: float
    lower: float
    upper: float
    opens: bool
    refined: bool = False
    stderr: float = np.nan

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True, eq=False, repr=False)
class Threshold(SavedResult, kind="threshold", settings=("problem", "method", "sampling")):
    """delta_NN at a stated step, with its standard error and the curve it comes from.

    Attributes
    ----------
    value : float
        Smallest delta of the bracket above which the hard outlier stays; NaN if there is none, see
        ``status``.
    stderr : float
        Standard error over replicates: that of the gap at the root divided by the slope. Zero
        where the gap is computed by quadrature that a second rule confirms (step 0, up to three
        Gaussians).
    bias : float
        Bias of `value` from finitely many paths, estimated from the replicates (`Sampling`).
    interpolation_error : float
        How much further the root may lie, with `rtol`: it is then found by Newton's iteration, and
        `value` is where the next evaluation would be.
    rtol : float or None
        The relative error asked for.
    status : Status
        SUCCESS; FINITE_PATHS if the bias is larger than the standard error, or MAX_PATHS or
        OUT_OF_MEMORY if `error` is larger than asked for, with the value reached; NO_BRACKET if no
        sign change in the bracket defines it; UNBOUNDED_EDGE if the left edge is -infinity (no hard
        outlier in the limit, whatever delta); MAX_STEPS if a sign change may be hidden that would
        define another; otherwise the status of the run, or of the gap or its error, at a delta
        where the sign change could be or above it.
    crossings : tuple of Crossing
        Every sign change of the gap in the bracket that was found, increasing in delta.
    step : int
        The horizon t of delta_NN(t).
    bracket : tuple of float
    delta, gap, gap_stderr : ndarray, shape (n_evaluations,)
        All evaluations, increasing in delta; gap NaN where there is none, see `statuses`.
    n_paths : ndarray of int, shape (n_evaluations,), or None
        Paths per replicate of each, with `rtol`; elsewhere all have those of the sampling.
    gap_at_bracket : tuple of float
        The gap at both ends of the bracket.
    residual : float
        ``|gap|`` at ``value``, or at the evaluation next to it (NaN without one).
    n_evaluations : int
        Number of solves.
    config : dict
        Problem, method, sampling as plain types.
    unstable_share : float
        Largest fraction of linearly unstable paths, or share of an average that they carry, along
        the trajectory to ``step`` at ``value`` (see :class:`dmft.UnstablePaths`); 0 at step 0,
        where no step is taken, NaN without a value. Above 0.01 the step size matters
        more than it should; gradient flow is the cure.
    digits : str
        The value to as many digits as were asked for, empty where none were.
    d : int or None
        Dimension of the runs that the threshold is about; None for the limit.
    draws : int or None
        Number of draws of n weights that the gap is the median over.
    band : tuple of float
        Ends of the band in which 68 % of single runs of this dimension have their own threshold;
        infinite or zero beyond the bracket, NaN in the limit.
    statuses : tuple of Status
        How each evaluation ended.
    detail : str
        Explanation of the status, and warnings; may be empty.
    criterion : str
        Which hard outliers count: "negative", "left" or "any", as in :func:`dmft.find_delta_nn`.
    index : int
        j, for the threshold of the j-th of them.
    jump, jump_stderr : float
        Squared overlap with the hard directions of that outlier just above the transition, with its
        standard error: zero where it grows continuously, as it does at a square-root edge. Where
        the edge is held by the support of D the transition is discontinuous; at finite d it is
        rounded, and sets in below the threshold. NaN without a value, and of runs of dimension d.
    edge_kind : str
        What holds the edge there, as in `rmt.Edges.kind`; "none" where there is no `jump`.
    edge_kind_is_certain : bool
        Whether all replicates agree on it, and no single path makes it: `rmt.EdgeKind.is_certain`.
    multiplicity : int
        Number of hard outliers that appear at this delta, within three standard errors.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434; discontinuous transitions: Bocchi, Biroli, Cammarota and
    Ricci-Tersenghi, arXiv:2604.27992.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(step_size=0.2, n_steps=10)
    >>> found = dmft.find_delta_nn(problem, method, (0.5, 4), step=0)
    >>> round(found.value, 3), found.status.name, len(found.crossings)
    (0.923, 'SUCCESS', 1)
    """

    _axes: ClassVar = {"n": "delta"}
    _rows: ClassVar = ("delta",)
    _shown: ClassVar = ("value", "step", "bracket", "n_evaluations")

    value: Annotated[float, DELTA]
    stderr: Annotated[float, DELTA, ErrorOf("value")]
    status: Status
    crossings: tuple[Crossing, ...]
    step: int
    bracket: Annotated[tuple[float, float], DELTA]
    delta: Annotated[FloatArray, "n", DELTA]
    gap: Annotated[FloatArray, "n"]
    gap_stderr: Annotated[FloatArray, "n"]
    residual: float
    config: dict[str, Any] = field(repr=False)
    unstable_share: float = np.nan
    digits: str = ""
    statuses: Annotated[tuple[Status, ...], Axes("n")] = ()
    detail: str = ""
    bias: Annotated[float, DELTA] = 0.0
    interpolation_error: Annotated[float, DELTA] = 0.0
    rtol: float | None = None
    n_paths: Annotated[NDArray[np.intp] | None, "n"] = None
    d: int | None = None
    draws: int | None = None
    band: Annotated[tuple[float, float], DELTA] = (np.nan, np.nan)
    criterion: Criterion = "negative"
    index: int = 1
    jump: float = np.nan
    jump_stderr: Annotated[float, ErrorOf("jump")] = np.nan
    edge_kind: Kind = "none"
    edge_kind_is_certain: bool = False
    multiplicity: int = 1

    @property
    def which(self) -> WhichOutlier:
        """The hard outlier that the threshold is about."""
        return WhichOutlier(self.criterion, self.index)

    @property
    def is_discontinuous(self) -> bool:
        """Whether the overlap jumps at the transition."""
        return self.jump > 0.0

    @property
    def stability_status(self) -> Status:
        """UNSTABLE_PATHS if these carry more than 1 % of an average at `value`."""
        too_many = self.unstable_share > SHARE_TOLERANCE
        return Status.UNSTABLE_PATHS if too_many else Status.SUCCESS

    @property
    def error(self) -> float:
        """Root of the sum of squares of ``stderr``, ``bias`` and ``interpolation_error``."""
        return float(np.linalg.norm([self.stderr, self.bias, self.interpolation_error]))

    @property
    def n_evaluations(self) -> int:
        """Number of deltas at which the gap was computed."""
        return len(self.delta)

    @property
    def gap_at_bracket(self) -> tuple[float, float]:
        """The gap at both ends of the bracket."""
        return float(self.gap[0]), float(self.gap[-1])

    def _report(self) -> tuple[Lines, str]:
        from dmft.threshold.report import threshold_lines

        return threshold_lines(self), ""

    def check_settings(self) -> None:
        """Raise unless the settings are complete and allowed, and the gap was evaluated."""
        super().check_settings()
        if not self.n_evaluations:
            raise ValueError("it has no evaluation of the gap")
