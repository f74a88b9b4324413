r"""Predict the smallest Hessian eigenvalue of finite-size runs from the law of the Hessian.

The law of the Hessian at a step (Montanari & Wang, arXiv:2602.01434) puts the smallest eigenvalue
at its lowest outlier, or at the left edge of the bulk where there is none. An isolated outlier of a
run is off by a fluctuation of order d^(-1/2) and a bias of order 1/d, as the order parameters are.
Four cases are different:

* *Edge.* The smallest eigenvalue lies inside by the mean of the Tracy-Widom law on the scale
  (m d)^(-2/3), which is taken off. The edge itself moves by n^(-1/2) with the weights D of a run;
  that is part of the spread over seeds. The overlap of its eigenvector with the hard space is
  O(1/d) and is not compared.
* *Outliers that a run cannot tell apart.* The smallest of several eigenvalues that cross is biased
  by d^(-1/2). Their mean, and the mean of their overlaps, are not.
* *An outlier close to the edge.* The limit is approached more slowly than 1/d: within 1.5 standard
  deviations (over seeds, at the smallest size) of the edge nothing is compared.
* *An edge beyond reach.* Where the limit rests on values of D so rare that no run of that size has
  them, and where D is unbounded below, runs are set against the law of n weights
  (`dmft.trajectory.finite_law`). What it predicts depends on the size; the differences from the
  largest one are taken off the values. Predictions are means over draws, as those of runs are over
  seeds, for both scatter by a skew law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from dmft.comparison.agreement import extrapolation_weights, measure_agreement
from dmft.hessian.finite_law import FiniteLaw
from dmft.trajectory.finite_law import finite_law
from rmt.overlay import TRACY_WIDOM_MEAN, airy_scale
from rmt.status import NumericalFailure, Status, first_failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.simulation.simulation import SimulatedHessian, Simulation
    from dmft.trajectory.trajectory import Trajectory
    from rmt import HessianLaw, Outlier

    FloatArray = NDArray[np.float64]

__all__ = ["HessianPrediction", "SmallestEigenvalue", "predict_smallest", "predict_smallest_at"]

# In standard deviations over seeds at the smallest size: outliers closer than this cannot be told
# apart in a run ...
_APART: Final = 4.0
# ... and those this close to the edge are not compared.
_AT_EDGE: Final = 1.5
# In standard errors: the limit and the law of n weights differ if they are further apart.
_DIFFERENT: Final = 3.0
# ... and by more than this many standard deviations of a run: less is not seen in a few seeds.
_UNSEEN: Final = 0.1
_ROUNDING: Final = 1e-8


@dataclass(frozen=True)
class HessianPrediction:
    """Smallest eigenvalue of the Hessian at a step: prediction and mean over runs.

    Attributes
    ----------
    step : int
    kind : str
        What is smallest in the limit: a ``"hard outlier"``, an ``"outlier"`` in other directions,
        the ``"edge"`` of the bulk, or ``"none"`` where the bulk is unbounded below.
    compared : bool
        Whether the step enters the comparison.
    note : str
        How, or why not.
    count : int
        Number of neighbouring outliers that are compared by their mean.
    value, stderr : float
        Theory.
    simulated, simulated_stderr : float
        Mean over seeds, extrapolated to 1/d = 0 where there is more than one size; for an edge
        less the Tracy-Widom shift of each size.
    overlap, overlap_stderr, simulated_overlap, simulated_overlap_stderr : float
        Squared norm of the eigenvector's projection on the hard space; NaN where it vanishes in
        the limit.
    edge, edge_stderr : float
        Left edge of the bulk in the limit.
    law : str
        What was compared with: the ``"limit"``, or that of ``"n weights"``.
    spread : float
        Standard deviation of ``value`` from one draw of n weights to the next, as it is from run to
        run, at the largest size; zero in the limit.
    reach : float
        How far the edge of n weights (median over draws, largest size) lies inside that of the
        limit: infinite where the limit has none, NaN where it is not known.
    status : Status
        SUCCESS, or what ended the computation of an edge that the comparison rests on, of the law,
        a replicate or a draw of n weights; the step is not compared then.
    """

    step: int
    kind: str
    compared: bool
    note: str
    count: int
    value: float
    stderr: float
    simulated: float
    simulated_stderr: float
    overlap: float
    overlap_stderr: float
    simulated_overlap: float
    simulated_overlap_stderr: float
    edge: float
    edge_stderr: float
    law: str = "limit"
    spread: float = 0.0
    reach: float = np.nan
    status: Status = Status.SUCCESS


@dataclass(frozen=True, eq=False)
class SmallestEigenvalue:
    """Prediction with the values of each seed to compare it with.

    Attributes
    ----------
    prediction : HessianPrediction
    values : list of ndarray, shapes (S_j,)
        For each size, shifted or averaged over neighbours as the prediction says.
    overlaps : list of ndarray or None
        Likewise; None where the limit is zero.
    shifts : list of float
        For each size, what was taken off the values: of an edge the Tracy-Widom shift; with the
        law of n weights its difference from the largest size.
    """

    prediction: HessianPrediction
    values: list[FloatArray]
    overlaps: list[FloatArray] | None
    shifts: list[float]


def predict_smallest(
    law: HessianLaw,
    runs: Sequence[Simulation],
    step: int,
    finite: Sequence[FiniteLaw] | None = None,
) -> SmallestEigenvalue:
    """Predict the smallest eigenvalues that runs recorded at a step from the law of the Hessian.

    Parameters
    ----------
    law : rmt.HessianLaw
        Of the Hessian at this step.
    runs : sequence of Simulation
        One for each dimension, ascending; the step was recorded.
    step : int
    finite : sequence of FiniteLaw, optional
        The law of n weights for each of the runs, to be compared with where it differs from the
        limit by more than its errors.

    Returns
    -------
    SmallestEigenvalue
    """
    sizes = [run.d for run in runs]
    records = [run.hessian[step] for run in runs]
    spread = _spread(sizes, records)
    edges = [one.edges().status for one in (law, *law.replicates)]
    # Where the limit has no edge, the law of n weights has one.
    failed = (found for found in edges if not (found.ok or found is Status.UNBOUNDED_EDGE))
    status = next(failed, Status.SUCCESS)
    limit, edge, edge_error = _Expected("none", np.nan, np.nan), np.nan, np.nan
    if status.ok:
        limit = _expect(law, spread)
        edge, edge_error = float(law.edges().left), float(law.edge_errors()[0])
    expected, notes, reach = limit, [], np.nan
    shifts, overlap_shifts = [0.0 for _ in sizes], [0.0 for _ in sizes]
    if finite:
        edge_of_n = float(np.median(finite[-1].edge))
        from_run_to_run = float(finite[-1].edge.std(ddof=1))
        reach = edge_of_n - edge
        statuses = [status, *(one.status for one in finite)]
        status = first_failure(statuses)
        if status.ok and _differs(limit, finite, spread):
            expected, shifts, overlap_shifts = _expect_finite(
                finite, spread, [len(record.smallest) for record in records], limit
            )
            where = f"{edge:.4g} in the limit" if np.isfinite(edge) else "no edge in the limit"
            notes.append(
                f"law of n weights: the edge of d = {sizes[-1]} is at {edge_of_n:.3g}, give or "
                f"take {from_run_to_run:.2g} from run to run; {where}, whose tail of curvatures "
                "samples of these sizes lack"
            )
    values = [record.smallest[:, 0] for record in records]
    overlaps: list[FloatArray] | None = None
    obstacle = expected.obstacle if status.ok else status.name
    if status.ok and expected.kind == "edge" and expected.law == "limit":
        found_shifts = [-TRACY_WIDOM_MEAN * airy_scale(law, law.m * d)[0] for d in sizes]
        if np.all(np.isfinite(found_shifts)):
            shifts = found_shifts
            notes.append("Tracy-Widom shift " + ", ".join(f"{shift:.2g}" for shift in shifts))
        else:
            notes.append("no Tracy-Widom shift: the density has no square-root edge there")
    elif expected.kind not in ("edge", "none"):
        count = expected.count
        available = min(record.smallest.shape[1] for record in records)
        if count > 1:
            notes.append(f"mean of {count}, too close to be told apart in a run")
        if count > available:
            obstacle = obstacle or f"record n_extreme = {count} smallest eigenvalues for it"
        values = [record.smallest[:, :count].mean(axis=1) for record in records]
        if expected.kind == "hard outlier":
            overlaps = [
                record.overlaps[:, :count].mean(axis=1) - shift
                for record, shift in zip(records, overlap_shifts, strict=True)
            ]
    values = [found - shift for found, shift in zip(values, shifts, strict=True)]
    if not all(np.isfinite(found).all() for found in [*values, *(overlaps or [])]):
        obstacle = obstacle or "an eigenvalue of some seed is missing"
    simulated = _mean(sizes, values)
    simulated_overlap = (np.nan, np.nan) if overlaps is None else _mean(sizes, overlaps)
    if obstacle:
        notes.append(f"not compared: {obstacle}")
    prediction = HessianPrediction(
        **{name: value for name, value in vars(expected).items() if name != "obstacle"},
        step=step,
        compared=not obstacle,
        note="; ".join(notes),
        simulated=simulated[0],
        simulated_stderr=simulated[1],
        simulated_overlap=simulated_overlap[0],
        simulated_overlap_stderr=simulated_overlap[1],
        edge=edge,
        edge_stderr=edge_error,
        reach=reach,
        status=status,
    )
    return SmallestEigenvalue(prediction, values, overlaps, shifts)


def predict_smallest_at(
    trajectory: Trajectory, runs: Sequence[Simulation], step: int
) -> SmallestEigenvalue:
    """Predict from the Hessian of a trajectory and the laws of n weights: `predict_smallest`.

    A solve that fails, of a step computed again or of further paths, is its status.
    """
    try:
        law = trajectory.hessian(step)
    except NumericalFailure as failure:
        return _failed(_unknown(runs, step), failure)
    try:
        finite = [finite_law(trajectory, step, run.d) for run in runs]
    except NumericalFailure as failure:
        return _failed(predict_smallest(law, runs, step), failure)
    return predict_smallest(law, runs, step, finite)


def _unknown(runs: Sequence[Simulation], step: int) -> SmallestEigenvalue:
    """Return what runs recorded at a step without a law to compare it with."""
    values = [run.hessian[step].smallest[:, 0] for run in runs]
    mean = _mean([run.d for run in runs], values)
    nothing = _Expected("none", np.nan, np.nan)
    found = {name: value for name, value in vars(nothing).items() if name != "obstacle"}
    prediction = HessianPrediction(
        **found,
        step=step,
        compared=False,
        note="",
        simulated=mean[0],
        simulated_stderr=mean[1],
        simulated_overlap=np.nan,
        simulated_overlap_stderr=np.nan,
        edge=np.nan,
        edge_stderr=np.nan,
    )
    return SmallestEigenvalue(prediction, values, None, [0.0 for _ in runs])


def _failed(found: SmallestEigenvalue, failure: NumericalFailure) -> SmallestEigenvalue:
    """Return a prediction that is not compared, because a solve it rests on failed."""
    notes = [found.prediction.note.partition("not compared:")[0].rstrip("; ")]
    notes.append(f"not compared: {failure.status.name}, in a further solve of the theory")
    prediction = replace(
        found.prediction,
        compared=False,
        note="; ".join(note for note in notes if note),
        status=failure.status,
    )
    return replace(found, prediction=prediction)


def _differs(limit: _Expected, finite: Sequence[FiniteLaw], spread: float) -> bool:
    """Whether the law of n weights puts the smallest eigenvalue elsewhere than the limit does."""
    if not np.isfinite(limit.value):
        return True
    if limit.kind == "outlier" and finite[0].step > 0:
        return False  # the draws know nothing of easy directions
    for law in finite:
        # An edge is compared with edges: the Tracy-Widom shift is the same for both.
        values = law.edge if limit.kind == "edge" else law.lowest(limit.count)[0]
        of_limit = 0.0 if np.isnan(limit.stderr) else limit.stderr
        error = np.hypot(values.std(ddof=1) / np.sqrt(len(values)), of_limit)
        unseen = max(_UNSEEN * spread, _ROUNDING * abs(limit.value))
        if abs(values.mean() - limit.value) > max(_DIFFERENT * error, unseen):
            return True
    return False


def _expect_finite(
    finite: Sequence[FiniteLaw], spread: float, counts: Sequence[int], limit: _Expected
) -> tuple[_Expected, list[float], list[float]]:
    """Predict from draws of n weights; return the differences of the sizes from the last, too."""
    # The draws know nothing of easy directions: what hides outliers there hides them here.
    obstacle = limit.obstacle if limit.kind == "edge" else ""
    largest = finite[-1]
    kind, count = "edge", 1
    if all(law.has_outlier() for law in finite):
        places = np.nanmedian(largest.outliers, axis=0)
        while (
            count < len(places)
            and places[count] - places[count - 1] < _APART * spread
            and all(law.has_outlier(count + 1) for law in finite)
        ):
            count += 1
        hard = float(np.median(largest.lowest(count)[1])) > 0.0
        kind = "hard outlier" if hard else "outlier"
    weights = extrapolation_weights([law.d for law in finite], counts)
    found = []
    for index in (0, 1):  # values, overlaps
        each = [law.lowest(count)[index] for law in finite]
        means = np.array([values.mean() for values in each])
        errors = np.array([values.std(ddof=1) / np.sqrt(len(values)) for values in each])
        error = float(np.linalg.norm(weights * errors))
        found.append((float(means[-1]), error, (means - means[-1]).tolist()))
    (value, stderr, shifts), (overlap, overlap_stderr, overlap_shifts) = found
    if kind != "hard outlier":
        overlap, overlap_stderr = np.nan, np.nan
    expected = _Expected(
        kind,
        value,
        stderr,
        overlap,
        overlap_stderr,
        count,
        obstacle,
        law="n weights",
        spread=float(largest.lowest(count)[0].std(ddof=1)),
    )
    return expected, shifts, overlap_shifts


@dataclass(frozen=True)
class _Expected:
    """Prediction of a law for the smallest eigenvalue of runs with a given spread."""

    kind: str
    value: float
    stderr: float
    overlap: float = np.nan
    overlap_stderr: float = np.nan
    count: int = 1
    obstacle: str = ""
    law: str = "limit"
    spread: float = 0.0


def _expect(law: HessianLaw, spread: float) -> _Expected:
    """Predict the lowest outlier, averaged with all that runs cannot tell from it, or the edge."""
    edge, edge_stderr = float(law.edges().left), float(law.edge_errors()[0])
    if not np.isfinite(edge):
        return _Expected("none", edge, 0.0, obstacle="the bulk is unbounded below")
    outliers = _left_outliers(law)
    if not outliers:
        obstacle = ""
        if not law.outlier_status.ok:
            obstacle = f"outliers in easy directions are not known ({law.outlier_status.name})"
        return _Expected("edge", edge, edge_stderr, obstacle=obstacle)
    group = [outliers[0]]
    for outlier in outliers[1:]:
        if outlier.value - group[-1].value < _APART * spread:
            group.append(outlier)
    value, overlap = _means(group)
    kind = "hard outlier" if overlap > 0.0 else "outlier"
    distance = (edge - group[-1].value) / spread if spread > 0.0 else np.inf
    obstacle = ""
    if distance < _AT_EDGE:
        obstacle = f"only {distance:.1f} standard deviations of a run from the edge, {edge:.4g}"
    errors = np.zeros(2)
    if law.replicates:
        # Hard outliers need less than all: the paths themselves stay out of it.
        only_hard = all(outlier.hard_overlap > 0.0 for outlier in group)
        others = [_left_outliers(other, only_hard)[: len(group)] for other in law.replicates]
        if min(len(other) for other in others) < len(group):
            errors = np.full(2, np.nan)
            obstacle = obstacle or "outlier missing in a replicate of the theory"
        else:
            found = np.array([_means(other) for other in others])
            errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    value_error, overlap_error = (float(error) for error in errors)
    if kind == "outlier":
        overlap, overlap_error = np.nan, np.nan
    return _Expected(kind, value, value_error, overlap, overlap_error, len(group), obstacle)


def _left_outliers(law: HessianLaw, only_hard: bool = False) -> list[Outlier]:
    """Return the outliers left of the bulk that are told from its edge, ascending."""
    if law.k_hard == 0 and law.span is None:
        return []
    found = law.outliers("hard" if only_hard else None, throw=False)
    return [outlier for outlier in found if outlier.side == "left" and outlier.separated]


def _means(outliers: Sequence[Outlier]) -> tuple[float, float]:
    return (
        float(np.mean([outlier.value for outlier in outliers])),
        float(np.mean([outlier.hard_overlap for outlier in outliers])),
    )


def _spread(sizes: Sequence[int], records: Sequence[SimulatedHessian]) -> float:
    """Estimate the deviation over seeds of the smallest eigenvalue at the first size, pooled.

    Zero where no size has two seeds: then everything can be told apart.
    """
    squares, freedom = 0.0, 0
    for d, record in zip(sizes, records, strict=True):
        values = record.smallest[:, 0]
        squares += d * float(np.nansum((values - np.nanmean(values)) ** 2))
        freedom += len(values) - 1
    return float(np.sqrt(squares / max(freedom, 1) / sizes[0]))


def _mean(sizes: Sequence[int], samples: Sequence[FloatArray]) -> tuple[float, float]:
    """Return the mean over seeds and its error, extrapolated to 1/d = 0 from several sizes."""
    if not all(np.isfinite(values).all() for values in samples):
        return np.nan, np.nan
    if max(len(values) for values in samples) < 2:
        weights = extrapolation_weights(sizes, [1] * len(sizes))
        return float(weights @ [values[0] for values in samples]), np.nan
    found = measure_agreement(samples, sizes, 0.0)
    return float(found.simulated), float(found.simulated_stderr)
