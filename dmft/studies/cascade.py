r"""Cascades: thresholds of one hard feature after the other, and after some have been learned.

The number of negative eigenvalues of A_h(z0) is that of hard outliers, so its j-th smallest one has
a threshold delta_NN^(j)(t) for the j-th feature. What has been learned changes the rest: where the
neurons overlap with some hard directions (paths in antithetic pairs), the others have thresholds of
their own, and a direction that is no longer hard given these, a staircase, has none: it is easy
(Montanari & Wang, arXiv:2602.01434, for the setting).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.accuracy import requested
from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_array, check_integer, check_real
from dmft.hessian.gap_samples import WhichOutlier
from dmft.io.marks import DELTA, STEPS, TIME, ErrorOf
from dmft.io.saved_result import SavedResult
from dmft.model.held_directions import held_directions, made_easy_by
from dmft.threshold.curve import ThresholdCurve
from dmft.threshold.finite_size import FiniteSize, gap_memo
from dmft.threshold.horizon import checked_steps, curves_of_features
from dmft.threshold.levels import Levels
from dmft.threshold.question import check_question, checked_counts, expected_solves
from rmt.hard import Criterion
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from dmft._numerics.accuracy import Accuracy
    from dmft.io.report_text import Lines
    from dmft.model.problem import Problem
    from dmft.threshold.gap_memo import GapMemo
    from dmft.training.methods import Method

__all__ = ["Cascade", "CascadeStage", "cascade", "features_of", "problems_of"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CascadeStage:
    """Thresholds of the features that are left, with some of them learned.

    Attributes
    ----------
    overlap : ndarray, shape (m, k)
        Of the neurons with the latent directions at the start.
    hard : ndarray, shape (k, k_r)
        Orthonormal basis of the directions that stay hard given those of the overlap.
    made_easy : int
        Number of hard directions that those learned make easy.
    curves : tuple of ThresholdCurve
        delta_NN^(j)(t), j = 1, 2, ...

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("product", dmft.Network("gelu"), "pseudo-huber")
    >>> [stage] = dmft.cascade(
    ...     problem, dmft.GradientDescent(0.2, 1), (1, 9), [1], dmft.Sampling(256, 4), points=4,
    ...     features=1,
    ... ).stages
    >>> stage.hard.shape, stage.made_easy, len(stage.curves)
    ((2, 2), 0, 1)
    """

    _axes: ClassVar = {"m": "neuron", "k": "direction", "r": ".feature"}

    overlap: Annotated[FloatArray, "m k"]
    hard: Annotated[FloatArray, "k r"]
    made_easy: int
    curves: tuple[ThresholdCurve, ...]

    @property
    def status(self) -> Status:
        """SUCCESS if every curve is one, otherwise the first failure."""
        return first_failure(c.status for c in self.curves)


@dataclass(frozen=True, eq=False, repr=False)
class Cascade(SavedResult, kind="cascade", settings=("problem", "method", "sampling")):
    """Thresholds of all features of a label, before and after some are learned.

    Attributes
    ----------
    stages : tuple of CascadeStage
        Of the problem itself, then with each of the overlaps asked for.
    criterion : str
        Which hard outliers count, as in :func:`dmft.find_delta_nn`.
    bracket : tuple of float
    config : dict
        Problem, method, sampling as plain types; with `rtol` the most paths of a threshold.
    rtol : float or None
        The relative error asked for.
    d : int or None
        Of the thresholds of runs of dimension d; `ThresholdCurve.band` of each has their scatter.
    makes_easy : ndarray, shape (k_h, k_h), or None
        Staircases: once column i of ``problem.target.hard_basis`` is learned, the share of each
        column that is easy, 0 to 1. None in older files, and with inputs of a law of their own.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> label = dmft.Target(lambda z, eps: z[:, 0] ** 2 + 0.5 * z[:, 1] ** 2, k=2)
    >>> problem = dmft.Problem(label, dmft.Network("quadratic"), "pseudo-huber")
    >>> found = dmft.cascade(
    ...     problem, dmft.GradientDescent(0.2, 1), (1, 40), [1], dmft.Sampling(256, 4), points=5
    ... )
    >>> bool(found.stages[0].curves[1].value[0] > found.stages[0].curves[0].value[0])
    True
    """

    _axes: ClassVar = {"G": "stage", "J": "feature", "S": "step", "h": "learned", "i": "hard"}
    _rows: ClassVar = ("stage", "feature", "step")
    _shown: ClassVar = ("bracket",)

    stages: tuple[CascadeStage, ...]
    criterion: Criterion
    bracket: Annotated[tuple[float, float], DELTA]
    config: dict[str, Any] = field(repr=False)
    rtol: float | None = None
    d: int | None = None
    makes_easy: Annotated[FloatArray | None, "h i"] = None

    @property
    def status(self) -> Status:
        """SUCCESS if all stages are, otherwise the first failure."""
        return first_failure(s.status for s in self.stages)

    @property
    def detail(self) -> str:
        """Explanation of the first failure; may be empty."""
        curves = [curve for stage in self.stages for curve in stage.curves]
        return next((c.detail for c in curves if not c.status.ok), "")

    @property
    def unstable_share(self) -> Annotated[FloatArray, "G J S"]:
        """`ThresholdCurve.unstable_share` of each, shape (stages, features, S)."""
        return self._table("unstable_share")

    @property
    def steps(self) -> Annotated[NDArray[np.intp], "S", STEPS]:
        """Steps of all curves, shape (S,)."""
        return self.stages[0].curves[0].steps

    @property
    def times(self) -> Annotated[FloatArray, "S", TIME]:
        """Their times, shape (S,)."""
        return self.stages[0].curves[0].times

    @property
    def value(self) -> Annotated[FloatArray, "G J S", DELTA]:
        """delta_NN^(j)(t), shape (stages, features, S); NaN where there is none."""
        return self._table("value")

    @property
    def error(self) -> Annotated[FloatArray, "G J S", DELTA, ErrorOf("value")]:
        """`ThresholdCurve.error` of each, shape (stages, features, S)."""
        return self._table("error")

    @property
    def multiplicity(self) -> Annotated[FloatArray, "G J S"]:
        """Number of outliers that appear with each at once, shape (stages, features, S)."""
        return np.where(np.isfinite(self.value), self._table("multiplicity"), np.nan)

    def _table(self, name: str) -> FloatArray:
        most = max(len(stage.curves) for stage in self.stages)
        table = np.full((len(self.stages), most, len(self.steps)), np.nan)
        for i, stage in enumerate(self.stages):
            for j, curve in enumerate(stage.curves):
                table[i, j] = getattr(curve, name)
        return table

    def n_outliers(self, delta: float, step: int | None = None, stage: int = 0) -> int:
        """Return the number of features whose threshold at a step is below a delta.

        Parameters
        ----------
        delta : float
            Positive.
        step : int, optional
            One of the curves' steps; default: the last.
        stage : int
            Its place in ``stages``, from 0.

        Raises
        ------
        ValueError
            If delta is not positive, there is no such step or stage, or the bracket does not tell
            on which side of its threshold a feature is.

        Examples
        --------
        See `dmft.cascade`.
        """
        delta = check_real("delta", delta, minimum=0.0, exclusive=True)
        stage = check_integer("stage", stage, minimum=0, maximum=len(self.stages) - 1)
        steps = self.steps.tolist()
        if step is not None and step not in steps:
            raise ValueError(f"step must be one of {steps}, got {step}")
        place = len(steps) - 1 if step is None else steps.index(step)
        count = 0
        for j, curve in enumerate(self.stages[stage].curves):
            value, gap = float(curve.value[place]), curve.gap[:, place]
            if np.isfinite(value):
                count += value < delta
                continue
            known = gap[~np.isnan(gap)]
            never = known.size and known.min() > 0.0 and delta <= self.bracket[1]
            if not never and curve.statuses[place] is not Status.UNBOUNDED_EDGE:
                raise ValueError(
                    f"the threshold of feature {j + 1} is not known at this step "
                    f"({curve.statuses[place].name}): widen the bracket"
                )
        return count

    def _report(self) -> tuple[Lines, str]:
        from dmft.studies.cascade_report import cascade_lines, cascade_table

        return cascade_lines(self), cascade_table(self)


def cascade(
    problem: Problem,
    method: Method,
    bracket: Sequence[float],
    steps: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    *,
    learned: Sequence[Any] = (),
    features: int | None = None,
    criterion: Criterion = "negative",
    points: int = 9,
    max_solves: int = 32,
    rtol: float | None = None,
    max_paths: int | None = None,
    max_seconds: float | None = None,
    d: int | None = None,
    draws: int | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_memory: float | None = None,
    throw: bool = False,
) -> Cascade:
    r"""Find the thresholds of all features of a label, from one set of solves for each stage.

    The j-th threshold is :func:`dmft.delta_nn_curve` with ``index=j``. After a feature is learned
    the rest is another problem: each overlap of `learned` is a further stage, a run that starts
    with it and follows the learned directions, through their delayed drop if there is one, with the
    others at zero; early steps give the thresholds of the remaining features before it, late steps
    after it.

    Parameters
    ----------
    problem : Problem
        With hard directions, 16 at most unless they are stated.
    method : GradientDescent or GradientFlow
    bracket : pair of float
        It must hold all thresholds for the status SUCCESS.
    steps : sequence of int, optional
        As in :func:`dmft.delta_nn_curve`.
    sampling : Sampling, optional
    learned : sequence of array_like, each broadcast to (m, k_h)
        Overlaps with the hard directions, columns of ``problem.target.hard_basis``, zero on those
        not learned yet; each is added to the overlap that the problem starts with, if it has one.
        The label must be unchanged when all hard coordinates change sign.
    features : int, optional
        How many thresholds in each stage at most; default: all m k_h.
    criterion : {"negative", "left", "any"}
    points, max_solves : int
        As in :func:`dmft.delta_nn_curve`.
    rtol, max_paths, max_seconds : optional
        As in :func:`dmft.delta_nn_curve`, for each threshold; the budget is that of all together.
    d, draws : int, optional
        Find the thresholds delta_NN^(j)(t; d) of runs of this dimension, as in
        :func:`dmft.delta_nn_curve`: medians of the j-th smallest eigenvalue over draws, so that
        symmetric features are apart.
    threads, progress, checkpoint, max_memory, throw
        As in :func:`dmft.delta_nn_curve`.

    Returns
    -------
    Cascade

    Raises
    ------
    ValueError
        If an argument is not allowed.
    OSError
        If ``checkpoint`` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> label = dmft.Target(lambda z, eps: z[:, 0] ** 2 + 0.5 * z[:, 1] ** 2, k=2)
    >>> problem = dmft.Problem(label, dmft.Network("quadratic"), "pseudo-huber")
    >>> found = dmft.cascade(
    ...     problem, dmft.GradientDescent(0.2, 1), (1, 40), [1], dmft.Sampling(256, 4), points=5,
    ...     learned=[[0.5, 0.0]],
    ... )
    >>> [len(stage.curves) for stage in found.stages], found.n_outliers(30.0)
    ([2, 1], 2)
    """
    sampling = Sampling() if sampling is None else sampling
    ends = check_question(problem, method, bracket, sampling)
    WhichOutlier.checked(problem, criterion)
    chosen = checked_steps(steps, method)
    points, max_solves = checked_counts(points, max_solves)
    if features is not None:
        features = check_integer("features", features, minimum=1)
        WhichOutlier.checked(problem, criterion, features, "features")
    size = FiniteSize.checked(d, draws, problem, method, ends, rtol=rtol)
    accuracy = requested(rtol, max_paths, max_seconds)
    if isinstance(learned, str) or not isinstance(learned, Sequence | np.ndarray):
        raise ValueError(f"learned must be a sequence of overlaps, got {learned!r}")
    if len(learned) and problem.inputs is not None:
        raise ValueError(
            "learned must be empty with inputs of a law of their own: which directions stay hard "
            "after others are learned is known for Gaussian inputs only"
        )
    problems = problems_of(problem, learned)
    asked = Execution(threads, progress, checkpoint, max_memory=max_memory, throw=throw)
    stages = []
    with asked.shown(len(problems) * expected_solves(points), "values of delta") as execution:
        for index, one in enumerate(problems):
            hard = held_directions(one)
            count = features_of(one, features)
            part = execution.part(f"stage-{index}", silent=False)
            shared = _shared_solves(accuracy, size, one, method, sampling, part, criterion)
            stages.append(
                CascadeStage(
                    overlap=_start(one),
                    hard=np.array(hard),
                    made_easy=_made_easy(one, hard.shape[1]),
                    curves=tuple(
                        curves_of_features(shared, count, chosen, ends, points, max_solves)
                        if count
                        else ()
                    ),
                )
            )
        found = Cascade(
            stages=tuple(stages),
            criterion=criterion,
            bracket=ends,
            config={
                "problem": problem.to_config(),
                "method": method.to_config(),
                "sampling": _most_paths(stages, sampling),
            },
            rtol=rtol,
            d=None if size is None else size.d,
            makes_easy=made_easy_by(problem.target) if problem.inputs is None else None,
        )
        execution.settle(found.status, found.detail)
    return found


def _shared_solves(
    accuracy: Accuracy | None,
    size: FiniteSize | None,
    problem: Problem,
    method: Method,
    sampling: Sampling,
    execution: Execution,
    criterion: Criterion,
) -> GapMemo | Levels:
    """Return what the curves of a stage share: solves on given paths, or on more and more."""
    which = WhichOutlier(criterion)
    if accuracy is None:
        return gap_memo(
            size, problem, method, sampling, execution, which=which, edge_sensitivity=True
        )
    return Levels(
        accuracy, problem, method, sampling, execution, which=which, edge_sensitivity=True
    )


def problems_of(problem: Problem, learned: Sequence[Any]) -> list[Problem]:
    """Return the problem of each stage.

    Raises
    ------
    ValueError
        If an overlap is zero or of another shape.
    """
    return [problem, *(_with_learned(problem, overlap) for overlap in learned)]


def features_of(problem: Problem, most: int | None = None) -> int:
    """Return the number of thresholds of a stage."""
    count = problem.m * int(held_directions(problem).shape[1])
    return count if most is None else min(count, most)


def _most_paths(stages: Sequence[CascadeStage], sampling: Sampling) -> dict[str, Any]:
    """Return the sampling of the curve with the most paths; as asked for if there is none."""
    used = [curve.config["sampling"] for stage in stages for curve in stage.curves]
    return dict(max(used, key=lambda one: int(one["n_paths"]), default=sampling.to_config()))


def _with_learned(problem: Problem, overlap: Any) -> Problem:
    """Return the problem with an overlap with its hard directions.

    Raises
    ------
    ValueError
        If it is zero or of another shape.
    """
    shape = (problem.m, problem.target.hard_basis.shape[1])
    given = check_array("learned", overlap, expected=f"overlaps that broadcast to {shape}")
    try:
        given = np.broadcast_to(given, shape)
    except ValueError:
        raise ValueError(
            f"learned must hold overlaps that broadcast to (m, k_h) = {shape}, got shape "
            f"{given.shape}"
        ) from None
    if not given.any():
        raise ValueError("learned must not be zero: the first stage is without any overlap")
    return problem.with_hard_overlap(given)


def _start(problem: Problem) -> FloatArray:
    if problem.initial_overlap is None:
        return np.zeros((problem.m, problem.k))
    return np.array(problem.initial_overlap)


def _made_easy(problem: Problem, n_held: int) -> int:
    """Return the number of hard directions neither learned nor hard any longer."""
    inner = _start(problem) @ problem.target.hard_basis
    n_learned = int(np.linalg.matrix_rank(inner)) if inner.any() else 0
    return int(problem.target.hard_basis.shape[1]) - n_learned - n_held
