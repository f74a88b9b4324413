r"""Runs from small overlaps with hard directions, with one feature of the label after the other.

Where labels are even in the coordinates of each feature by themselves, paths in antithetic pairs of
each keep the overlap with a later feature small while the earlier ones are learned. The n = delta d
samples of a run add noise to the gradient along it, (1/n) sum_i g_i^s z_i, of covariance
E[g^s g^s'^T (x) z z^T] / n over steps and neurons: a draw of it, along the run that has learned the
features before, is a force on the overlap (setting of Montanari & Wang, arXiv:2602.01434).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft.model.gradients import pre_activation_gradient
from dmft.observables.alignment import hard_cosine
from dmft.observables.generalization import expected_test_loss
from dmft.solver.replicates import solve_antithetic

if TYPE_CHECKING:
    from dmft._numerics.execution import Execution
    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.solver.runs import Run
    from dmft.studies.initial_overlap import InitialOverlapLaw
    from dmft.training.gradient_descent import GradientDescent
    from rmt.status import Status

__all__ = ["Followed", "follow", "follow_features", "ordered_features"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Followed:
    """Run from one initial overlap.

    Attributes
    ----------
    start : ndarray, shape (m, k_h)
    hard_cosine : ndarray, shape (T + 1,)
        As in `dmft.Grokking`.
    feature_cosines : ndarray, shape (F, T + 1)
        The same of each feature; of no feature, F = 0.
    train_loss, test_loss : ndarray, shape (T + 1,)
        NaN after a run that ended early.
    status : Status
    """

    start: FloatArray
    hard_cosine: FloatArray
    feature_cosines: FloatArray
    train_loss: FloatArray
    test_loss: FloatArray
    status: Status


def follow(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    sampling: Sampling,
    start: FloatArray,
    execution: Execution,
) -> Followed:
    """Run from an overlap with the hard directions."""
    started = problem.with_hard_overlap(start)
    run = solve_antithetic(started, delta, method, sampling, execution)
    return _read(run, started, start, method, sampling, ())


def follow_features(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    sampling: Sampling,
    start: FloatArray,
    features: Sequence[FloatArray],
    n: int,
    rng: np.random.Generator,
    execution: Execution,
) -> list[Followed]:
    """Run with the first feature, with the first two, and so on, from an overlap with all of them.

    Parameters
    ----------
    problem, delta, method, sampling, execution
    start : ndarray, shape (m, k_h)
        Of the first feature the effective overlap, which the noise of the data is part of; of later
        ones that of the weights.
    features : sequence of ndarray, shape (k, r)
        In the order in which they are learned.
    n : int
        Samples of a run, whose noise is drawn along each later feature.
    rng : numpy.random.Generator

    Returns
    -------
    list of Followed
        For each feature the run that has those up to it, the others at zero.
    """
    hard = problem.target.hard_basis
    forcing = np.zeros((method.n_steps, problem.m, problem.k))
    found = []
    for index in range(len(features)):
        learned, later = np.hstack(features[: index + 1]), features[index + 1 :]
        part = start @ hard.T @ learned @ learned.T @ hard
        started = problem.with_hard_overlap(part)
        run = solve_antithetic(
            started,
            delta,
            method,
            sampling,
            execution,
            forcing=forcing,
            keep=range(method.n_steps) if later else (),
            features=features,
            held=_complement(hard, learned),
        )
        found.append(_read(run, started, part, method, sampling, features))
        if not run.status.ok:
            return found + [found[-1]] * len(later)
        if later:
            forcing += _noise_force(started, run, later[0], n, rng)
    return found


def ordered_features(
    problem: Problem, law: InitialOverlapLaw, features: Sequence[FloatArray]
) -> list[FloatArray]:
    """Return features (k, r) in the order of their gains at the end of the linear stage."""
    gain = law.gain[int(np.argmax(law.largest_gain))]  # (m, k_h, m, k_h)
    hard = problem.target.hard_basis

    def growth(feature: FloatArray) -> float:
        inner = hard.T @ feature
        block = np.einsum("iajb,ar,bs->irjs", gain, inner, inner)
        return float(np.linalg.norm(block.reshape(problem.m * inner.shape[1], -1), 2))

    return sorted(features, key=growth, reverse=True)


def _read(
    run: Run,
    started: Problem,
    start: FloatArray,
    method: GradientDescent,
    sampling: Sampling,
    features: Sequence[FloatArray],
) -> Followed:
    """Return losses and cosines of a run."""
    overlap, norm = run.weights[:, :, : started.k], run.weights @ np.swapaxes(run.weights, 1, 2)
    missing = method.n_steps + 1 - run.n_times

    def padded(curve: FloatArray) -> FloatArray:
        return np.pad(curve, (0, missing), constant_values=np.nan)

    cosines = [padded(hard_cosine(overlap, norm, feature)) for feature in features]
    return Followed(
        start=start,
        hard_cosine=padded(hard_cosine(overlap, norm, started.target.hard_basis)),
        feature_cosines=np.array(cosines).reshape(len(cosines), method.n_steps + 1),
        train_loss=padded(run.train_loss),
        test_loss=padded(
            expected_test_loss(started, overlap, norm, sampling, range(sampling.replicates))
        ),
        status=run.status,
    )


def _complement(hard: FloatArray, learned: FloatArray) -> FloatArray | None:
    """Return the hard directions (k, r) that are not among those learned; None if there are none.

    Columns of `learned` are columns of `hard`.
    """
    others = np.abs(hard.T @ learned).max(axis=1) < 0.5
    return hard[:, others] if others.any() else None


def _noise_force(
    problem: Problem, run: Run, feature: FloatArray, n: int, rng: np.random.Generator
) -> FloatArray:
    """Draw the noise of n samples in E[g^t z^T] along a feature, (T, m, k).

    Paths with independent random weights have its covariance, at all steps together.
    """
    z = feature.T @ run.latent
    z *= rng.standard_normal(z.shape[1]) / np.sqrt(n * z.shape[1])
    force = np.empty((run.n_times - 1, problem.m, problem.k))
    for t in range(len(force)):
        g, _ = pre_activation_gradient(problem, run.pre_activations.pop(t), run.labels)
        if run.scales is not None:
            g *= run.scales
        force[t] = g @ z.T @ feature.T
    return force
