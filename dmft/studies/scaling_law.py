r"""Scaling laws: features of decreasing strength, recovered one after the other as delta grows.

If a label is unchanged when any one of its hard coordinates changes sign, as in
sum_j j^-gamma (z_j^2 - 1), A_h is block diagonal: each feature j has a block (m, m) of its own, and
a threshold delta_j where the smallest eigenvalue of that block becomes negative (Montanari & Wang,
arXiv:2602.01434). Sharp transitions at delta_j add up to a smooth power law (Wortsman and Zurich;
Tabanelli, Dandi, Krzakala and Loureiro).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_integer
from dmft.hessian.gap_samples import GapSample, WhichOutlier
from dmft.hessian.hessian import sampled_law
from dmft.model.features import reflected, same_labels
from dmft.model.network import Network
from dmft.recovery.label_points import label_law
from dmft.studies.scaling_law_result import ScalingLaw
from dmft.threshold.gap_memo import GapMemo
from dmft.threshold.horizon import curves_of_features
from dmft.threshold.question import check_question, checked_counts, checked_step, expected_solves
from dmft.training.gradient_flow import GradientFlow
from dmft.trajectory.rerun import runs_again
from rmt.hard import Criterion
from rmt.label_law import LabelLaw
from rmt.preprocessing import DirectionThresholds, direction_thresholds
from rmt.status import Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from dmft.model.problem import Problem
    from dmft.threshold.curve import ThresholdCurve
    from dmft.training.methods import Method
    from dmft.trajectory.trajectory import Trajectory
    from rmt import HessianLaw

__all__ = ["WIDTHS", "scaling_law", "widened"]

WIDTHS: Final = (1, 2, 4)
_SPECTRAL: Final = ("spectral method", "spectral, in sequence")
_CONSTANT: Final = 1e-12  # of its size: what a label differs by rounding

FloatArray = NDArray[np.float64]


class _FeatureMemo(GapMemo):
    """Memo of the smallest eigenvalue of each feature's block of A_h.

    D depends on a hard coordinate through the label only, so z_j^2 on the paths of a solve may be
    replaced by E[z_j^2 | y]: the noise of weak features is smaller by an order of magnitude. The
    average is that of a bin of labels, and `cost_of_bins` what half as many bins change.
    """

    def __init__(self, law: LabelLaw, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        conditional = law.conditional()
        self._ends = conditional.ends
        self._deviations = [
            self._deviation(one) for one in (conditional.pooled()[1], *conditional.moment)
        ]
        self._wider: tuple[FloatArray, FloatArray] | None = None
        if conditional.binned:
            wider = law.conditional(joined=2)
            self._wider = wider.ends, self._deviation(wider.pooled()[1])
        self._shifts: dict[tuple[float, int], FloatArray] = {}

    def _deviation(self, moments: FloatArray) -> FloatArray:
        """Return coordinates (k, bins) whose squares along the features are their moments."""
        u = self.problem.target.hard_basis
        squares = np.maximum(np.einsum("bij,iq,jq->qb", moments, u, u), 0.0)
        return np.asarray(u @ np.sqrt(squares))

    def _reader(
        self, trajectory: Trajectory, steps: Sequence[int], part: Execution
    ) -> Callable[[int], GapSample]:
        def sample(step: int) -> GapSample:
            runs = trajectory._runs
            if any(step not in run.pre_activations for run in runs):
                runs = runs_again(trajectory, step)
            smooth = [
                replace(run, latent=deviations[:, np.searchsorted(self._ends, run.labels, "right")])
                for run, deviations in zip(runs, self._deviations, strict=False)
            ]
            at = self.problem, trajectory.delta
            constraint = self.method.constraint
            found = self._sample(sampled_law(*at, smooth, step, constraint=constraint))
            if self._wider is not None and found.status.ok:
                ends, deviations = self._wider
                bins = np.searchsorted(ends, runs[0].labels, "right")
                rough = [replace(runs[0], latent=deviations[:, bins])]
                wide = self._sample(sampled_law(*at, rough, step, constraint=constraint))
                if wide.status.ok:
                    self._shifts[trajectory.delta, step] = wide.levels[0] - found.levels[0]
            return found

        return sample

    def cost_of_bins(self, curve: ThresholdCurve) -> float:
        """Return by how much half as many bins of labels move the threshold at a curve's only step.

        That is no less than what bins cost where their error falls like their width, or faster.
        """
        value, [step] = float(curve.value[0]), curve.steps.tolist()
        shifts = {delta: one for (delta, at), one in self._shifts.items() if at == step}
        known = np.isfinite(curve.gap[:, 0])
        deltas, gaps = curve.delta[known], curve.gap[known, 0]
        if not shifts or not np.isfinite(value) or len(deltas) < 2:
            return 0.0
        nearest = min(shifts, key=lambda delta: abs(delta - value))
        above = int(np.clip(np.searchsorted(deltas, value), 1, len(deltas) - 1))
        slope = (gaps[above] - gaps[above - 1]) / (deltas[above] - deltas[above - 1])
        shift = float(shifts[nearest][curve.index - 1])
        return abs(shift / float(slope)) if slope else 0.0

    def _sample(self, law: HessianLaw) -> GapSample:
        sample = super()._sample(law)
        if not sample.status.ok:
            return sample
        levels = np.array(
            [_levels_by_feature(one, self.which.criterion) for one in (law, *law.replicates)]
        )
        nothing = np.zeros((levels.shape[1],) * 2)
        return replace(
            sample, gap=levels[:, self.which.index - 1], levels=levels, edges=(), noise=nothing,
            index=self.which.index,
        )  # fmt: skip


def _levels_by_feature(law: HessianLaw, criterion: Criterion) -> FloatArray:
    """Return the smallest eigenvalue of the block of each feature, shape (k_h,)."""
    m, k = law.m, law.k_hard
    blocks = law.hard_levels(criterion).matrix.reshape(m, k, m, k)
    return np.array([np.linalg.eigvalsh(blocks[:, j, :, j])[0] for j in range(k)])


def scaling_law(
    problem: Problem,
    method: Method,
    bracket: Sequence[float],
    widths: Sequence[int] = WIDTHS,
    step: int | None = None,
    sampling: Sampling | None = None,
    *,
    criterion: Criterion = "negative",
    points: int = 9,
    max_solves: int = 11,
    n_points: int = 2**18,
    threads: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_memory: float | None = None,
    throw: bool = False,
) -> ScalingLaw:
    r"""Find the thresholds of the features of a label for networks of several widths.

    Beside them stand those of the spectral method with the best real preprocessing of labels for
    each feature (`rmt.direction_thresholds`), as it is and with the stronger features subtracted
    first. A network of width m has the neuron of `problem` m
    times, with a/m in its second layer, and m times the step size: gradients of a neuron are
    proportional to 1/m. Its Hessian has up to m outliers for each feature; the threshold is that of
    the first.

    Parameters
    ----------
    problem : Problem
        With one neuron, Gaussian inputs, and a label that is unchanged when any one of its hard
        coordinates (columns of ``problem.target.hard_basis``) changes sign.
    method : GradientDescent or GradientFlow
        Of one neuron.
    bracket : pair of float
        It must hold the thresholds of the networks for the status SUCCESS.
    widths : sequence of int
        Numbers of neurons, ascending.
    step : int, optional
        Of the Hessian, the horizon t; default: the last.
    sampling : Sampling, optional
    criterion : {"negative", "left"}
        Which outliers count, as in :func:`dmft.find_delta_nn`.
    points, max_solves : int
        As in :func:`dmft.cascade`: each feature may add ``max_solves - points`` solves.
    n_points : int
        Of the law of the label (`dmft.label_law`).
    threads, progress, checkpoint, max_memory, throw
        As in :func:`dmft.delta_nn_curve`.

    Returns
    -------
    ScalingLaw

    Raises
    ------
    ValueError
        If an argument is not allowed; for labels of many values, with fewer than 16384 points.
    OSError
        If ``checkpoint`` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> label = dmft.Target({"name": "power-law", "gamma": 1.0, "features": 3}, noise=0.5)
    >>> problem = dmft.Problem(label, dmft.Network("quadratic"), "pseudo-huber")
    >>> law = dmft.scaling_law(
    ...     problem, dmft.GradientDescent(0.2, 2), (0.5, 20), (1, 2), 2,
    ...     sampling=dmft.Sampling(256, 4), n_points=2**14,
    ... )
    >>> law.widths, bool((law.threshold[2:, :2] > law.threshold[0, :2]).all())
    ((0, 0, 1, 2), True)
    """
    sampling = Sampling() if sampling is None else sampling
    ends = check_question(problem, method, bracket, sampling)
    _check_features(problem)
    if method.trains_second_layer or method.trains_biases:
        raise ValueError("method must keep second layer and biases fixed for a scaling law")
    WhichOutlier.checked(problem, criterion)
    if criterion == "any":
        raise ValueError("criterion must be 'negative' or 'left' here, got 'any'")
    counts = _checked_widths(widths)
    step = checked_step(step, method)
    points, max_solves = checked_counts(points, max_solves)
    # As many replicates as the solves have, so that their spread shows the noise of both.
    replicates = max(2, sampling.replicates)
    law = label_law(problem.target, n_points=n_points, replicates=replicates, seed=sampling.seed)
    basis = problem.target.hard_basis
    assert law.latents is not None
    squares = (law.latents @ basis) ** 2 - 1.0
    weights = 0.5 * (law.probabilities * law.labels) @ squares  # of the best sum of squares
    mean = law.probabilities @ law.labels
    if np.ptp(law.labels) <= _CONSTANT * np.abs(law.labels).max():
        raise ValueError(f"problem must have a label that varies, got {law.labels[0]:g} throughout")
    spectral = [direction_thresholds(law, basis), _in_sequence(law, squares, weights, basis)]
    threshold = [found.value for found in spectral]
    unstable = [np.full(basis.shape[1], np.nan) for _ in spectral]
    error = [np.where(np.isfinite(found.value), found.stderr, np.nan) for found in spectral]
    statuses = [
        Status.SUCCESS if known else Status.NO_OUTLIER
        for known in np.isfinite(np.ravel(threshold)).tolist()
    ]
    details = [
        f"{name}, feature {j}: the label tells no more of it than noise does."
        for name, found in zip(_SPECTRAL, spectral, strict=True)
        for j, known in enumerate(np.isfinite(found.value).tolist(), start=1)
        if not known
    ]
    asked = Execution(threads, progress, checkpoint, max_memory=max_memory, throw=throw)
    with asked.shown(len(counts) * expected_solves(points), "values of delta") as execution:
        for m in counts:
            memo = _FeatureMemo(
                law, widened(problem, m), _faster(method, m), sampling,
                execution.part(f"width-{m}", silent=False), which=WhichOutlier(criterion),
                edge_sensitivity=True,
            )  # fmt: skip
            curves = curves_of_features(memo, basis.shape[1], [step], ends, points, max_solves)
            threshold.append(np.array([curve.value[0] for curve in curves]))
            error.append(
                np.array([np.hypot(curve.error[0], memo.cost_of_bins(curve)) for curve in curves])
            )
            unstable.append(np.array([curve.unstable_share[0] for curve in curves]))
            statuses += [curve.statuses[0] for curve in curves]
            details += [
                f"{m} neuron{'s' if m > 1 else ''}, feature {j}: {_explained(curve, max_solves)}"
                for j, curve in enumerate(curves, start=1)
                if not curve.status.ok
            ]
        found = ScalingLaw(
            widths=(0, 0, *counts),
            step=step,
            threshold=np.array(threshold),
            error=np.array(error),
            statuses=tuple(statuses),
            unstable_share=np.array(unstable),
            share=2.0 * weights**2,
            variance=float(law.probabilities @ (law.labels - mean) ** 2),
            bracket=ends,
            criterion=criterion,
            config={
                "problem": problem.to_config(),
                "method": method.to_config(),
                "sampling": sampling.to_config(),
            },
            detail=details[0] if details else "",
        )
        execution.settle(found.status, found.detail)
    return found


def _explained(curve: ThresholdCurve, max_solves: int) -> str:
    """Say why the threshold of a feature is not known, and what to change."""
    if curve.status is not Status.MAX_STEPS:
        return curve.detail or curve.status.value
    limit = f"max_solves = {max_solves} values of delta do not locate the threshold; raise it."
    return f"{limit} {curve.detail}".rstrip()


def _in_sequence(
    law: LabelLaw, squares: FloatArray, weights: FloatArray, basis: FloatArray
) -> DirectionThresholds:
    """Compute the threshold of each feature with all stronger ones subtracted from the label."""
    found: list[DirectionThresholds | None] = [None] * len(weights)
    labels = law.labels
    for j in np.argsort(-(weights**2), kind="stable"):
        left = LabelLaw(labels, law.latents, law.probabilities, groups=law.groups)
        found[j] = direction_thresholds(left, basis[:, [j]])
        labels = labels - weights[j] * squares[:, j]
    parts = [one for one in found if one is not None]
    names = ("value", "stderr", "inverse", "inverse_stderr")
    return DirectionThresholds(*(np.ravel([getattr(one, n) for one in parts]) for n in names))


def widened(problem: Problem, m: int) -> Problem:
    """Return the problem with the neuron m times, and a/m in the second layer.

    Neurons of a stated Gram matrix [[g]] start independently, with g each.
    """
    one = problem.network
    biases = one.biases[0] if one.biases else None
    network = Network(one.activation, np.full(m, one.second_layer[0] / m), biases=biases)
    return replace(
        problem, network=network, weight_decay=problem.weight_decay / m, init_gram=None,
        init_radius=problem.largest_radius,
    )  # fmt: skip


def _faster(method: Method, m: int) -> Method:
    """Return the method with m times the step size, or the time."""
    if isinstance(method, GradientFlow):
        return replace(method, t_max=m * method.t_max, times=m * method.times)
    size = method.step_size
    many = m * size if isinstance(size, float) else m * method.step_sizes
    return replace(method, step_size=many)


def _checked_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return the widths.

    Raises
    ------
    ValueError
        Unless they are ascending positive integers.
    """
    try:
        found = tuple(check_integer("widths", m, minimum=1) for m in widths)
    except TypeError:
        found = ()
    if not found:
        raise ValueError(f"widths must be one or more numbers of neurons, got {widths!r}")
    if list(found) != sorted(set(found)):
        raise ValueError(f"widths must be different and ascending, got {list(found)}")
    return found


def _check_features(problem: Problem) -> None:
    """Raise unless every hard coordinate is a feature of its own, for a single neuron."""
    if problem.m != 1:
        raise ValueError(f"problem must have one neuron, of which widths are made, got {problem.m}")
    if problem.inputs is not None:
        raise ValueError("problem must have Gaussian inputs for a scaling law")
    if problem.initial_overlap is not None:
        raise ValueError("problem must start without overlap for a scaling law")
    target = problem.target
    rng = np.random.default_rng(0)
    z, eps = rng.standard_normal((1024, target.k)), rng.standard_normal(1024)
    y = target.sample_labels(z, eps)
    if np.array_equal(y, target.sample_labels(z[::-1], eps)):
        raise ValueError("problem must have a label that depends on its latent coordinates")
    for j, v in enumerate(target.hard_basis.T, start=1):
        mirrored = reflected(z.T, v[:, np.newaxis]).T
        if not same_labels(y, target.sample_labels(mirrored, eps)):
            raise ValueError(
                "problem must have a label that is unchanged when any one of its hard coordinates "
                f"changes sign, so that each is a feature of its own; coordinate {j} is not one"
            )
