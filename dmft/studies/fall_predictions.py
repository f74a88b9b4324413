"""Predicted runs of one dimension: starts drawn from their law, and the times of their falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import cubature_normals, power_of_two
from dmft.studies.fall_times import (
    FEWEST_TO_FIT,
    fall_step,
    fall_time_quantiles,
    folded_normal_quantile,
)
from dmft.studies.followed_runs import follow, follow_features
from dmft.studies.initial_overlap import free_gram
from rmt.status import Status

if TYPE_CHECKING:
    from dmft._numerics.execution import Execution
    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.studies.followed_runs import Followed
    from dmft.studies.initial_overlap import InitialOverlapLaw
    from dmft.training.gradient_descent import GradientDescent

__all__ = ["PredictedFalls", "Prediction", "explained"]

FloatArray = NDArray[np.float64]

# An initial overlap larger than this, in units of the radius, has no linear stage.
_LARGEST_START = 0.9
# Squared cosine with a hard direction from which it counts as learned.
_LEARNED = 0.5
# Points that stand for the law of the initial overlap.
_POINTS_OF_LAW = 2**11
# Share of drawn starts that may not have fallen by the last step.
_FEW_LATE = 0.1
_SEED_FAMILY = 773  # of the noise along later features, apart from other draws


@dataclass(frozen=True, eq=False)
class PredictedFalls:
    """Falls of the test loss of runs of one dimension; F of them, at n_q levels.

    Attributes
    ----------
    runs : list of Followed, length n_q
        Those that have their last fall nearest to its quantiles.
    level : ndarray, shape (F,)
    time, stderr : ndarray, shape (F, n_q)
    n_starts : int
    status : Status
        SUCCESS, or the last other one of a run.
    detail : str
        Why the times are not all known as well as asked for; empty if they are.
    """

    runs: list[Followed]
    level: FloatArray
    time: FloatArray
    stderr: FloatArray
    n_starts: int
    status: Status
    detail: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """What predictions at all dimensions share.

    Attributes
    ----------
    problem : Problem
    delta : float
    method : GradientDescent
    sampling : Sampling
    law : InitialOverlapLaw
    random : ndarray, shape (m k_h, m k_h), or float
        d times the covariance of the initial overlaps of the weights.
    features : sequence of ndarray, shape (k, r)
        Whose falls are predicted, in their order; empty for one fall, of all hard directions.
    plateau : Followed
        Run without any overlap.
    levels : tuple of float
        Probabilities of the quantiles.
    """

    problem: Problem
    delta: float
    method: GradientDescent
    sampling: Sampling
    law: InitialOverlapLaw
    random: FloatArray | float
    features: Sequence[FloatArray]
    plateau: Followed
    levels: tuple[float, ...]

    def at(
        self,
        dimension: int,
        mean: FloatArray,
        counts: tuple[int, int],
        rtol: float,
        execution: Execution,
    ) -> PredictedFalls:
        """Predict runs of a dimension.

        Parameters
        ----------
        dimension : int
        mean : ndarray, shape (m, k_h)
            Of the initial overlap.
        counts : pair of int
            Starts to follow at first, and at most.
        rtol : float
            Standard error of median times, relative to them, that ends the drawing.
        execution : Execution

        Raises
        ------
        ValueError
            If a start is so large that it has no linear stage.
        """
        levels, n_steps = self.levels, self.method.n_steps
        covariance = (self._of_first(self.law.covariance) + self.random) / dimension
        is_scalar = mean.size == 1
        count, most = (len(levels), len(levels)) if is_scalar else counts
        if is_scalar:
            starts, everything = _quantiles(mean, covariance, levels), np.empty(0)
        else:
            starts = _drawn(mean, covariance, self.sampling, 0, most)
            points = _drawn(mean, covariance, self.sampling, 1, _POINTS_OF_LAW)
            everything = self._amplitudes(points)
        chains: list[list[Followed]] = []
        status = Status.SUCCESS
        while True:
            self._check_starts(starts[len(chains) : count], dimension)
            for start in starts[len(chains) : count]:
                chains.append(self._followed(start, dimension, len(chains), execution))
                failed = [run.status for run in chains[-1] if not run.status.ok]
                status = failed[-1] if failed else status
                execution.advance()
            fall_level = self._fall_levels(chains)
            runs = [chain[-1] for chain in chains]
            times = np.array([[fall_step(run.test_loss, at) for run in runs] for at in fall_level])
            if is_scalar:
                error = np.where(np.isnan(times), np.nan, 0.0)
                detail = explained(dimension, levels, times, times, n_steps, is_drawn=False)
                return PredictedFalls(runs, fall_level, times, error, count, status, detail)
            amplitudes = self._amplitudes([run.start for run in runs])
            value, error = np.array(
                [
                    fall_time_quantiles(of_fall, amplitudes, everything, levels, float(n_steps))
                    for of_fall in times
                ]
            ).swapaxes(0, 1)
            allowed = np.where(np.array(levels) == 0.5, rtol, 2.0 * rtol)
            rough = bool((error > allowed * value[:, [levels.index(0.5)]]).any())
            fell = np.isfinite(times).sum(axis=1)
            too_few = bool(((fell < FEWEST_TO_FIT) & (count - fell <= _FEW_LATE * count)).any())
            if not (rough or too_few) or count >= most:
                shown = _nearest(runs, times[-1], value[-1], levels)
                detail = explained(dimension, levels, value, times, n_steps)
                if rough:
                    words = (
                        f"d = {dimension}: errors from {count} starts are above rtol = {rtol:g} of "
                        "a median: raise max_draws, or rtol."
                    )
                    detail = f"{detail} {words}".lstrip()
                return PredictedFalls(shown, fall_level, value, error, count, status, detail)
            count = min(2 * count, most)

    def _followed(
        self, start: FloatArray, dimension: int, index: int, execution: Execution
    ) -> list[Followed]:
        """Follow the run from a start; with several falls, one with each of its features more."""
        settings = self.problem, self.delta, self.method, self.sampling
        if not self.features:
            return [follow(*settings, start, execution)]
        rng = np.random.default_rng([self.sampling.seed, _SEED_FAMILY, index])
        n = max(1, round(self.delta * dimension))
        return follow_features(*settings, start, self.features, n, rng, execution)

    def _of_first(self, covariance: FloatArray) -> FloatArray:
        """Return the part of a covariance (m k_h, m k_h) of overlaps with the first feature."""
        if not self.features:
            return covariance
        part = np.kron(np.eye(self.problem.m), self._projector)
        return np.asarray(part @ covariance @ part)

    @property
    def _projector(self) -> FloatArray:
        inner = self.problem.target.hard_basis.T @ self.features[0]
        return np.asarray(inner @ inner.T)

    def _amplitudes(self, starts: Sequence[FloatArray]) -> FloatArray:
        """Return the logarithms of how far starts grow along the first feature."""
        overlaps = np.array(starts)
        return self.law.amplitudes(overlaps @ self._projector if self.features else overlaps)

    def _fall_levels(self, chains: list[list[Followed]]) -> FloatArray:
        """Return the means of the test loss before and after each fall: lowest, and at the end.

        The end is that of runs which have learned the feature; NaN where there are none.
        """
        found = np.full(len(chains[0]), np.nan)
        lowest = float(np.nanmin(self.plateau.test_loss))
        for j in range(len(found)):
            runs = [chain[j] for chain in chains]
            cosines = [run.feature_cosines[j] if self.features else run.hard_cosine for run in runs]
            learned = [
                run for run, cosine in zip(runs, cosines, strict=True) if cosine[-1] >= _LEARNED
            ]
            if not learned:
                break
            end = float(np.median([run.test_loss[-1] for run in learned]))
            if end < lowest:
                found[j] = 0.5 * (lowest + end)
            lowest = float(np.median([np.nanmin(run.test_loss) for run in learned]))
        return found

    def _check_starts(self, starts: list[FloatArray], dimension: int) -> None:
        room = _LARGEST_START**2 * free_gram(self.problem)
        if any(np.linalg.eigvalsh(room - start @ start.T)[0] < 0.0 for start in starts):
            largest = max(float(np.linalg.norm(start, 2)) for start in starts)
            raise ValueError(
                "d must be large enough for a small start: with the noise of the data the overlap "
                f"at d = {dimension} starts at {largest:.2g}, and init_radius is "
                f"{np.array(self.problem.init_radius).tolist()}"
            )


def explained(
    dimension: int,
    levels: tuple[float, ...],
    value: FloatArray,
    times: FloatArray,
    n_steps: int,
    *,
    is_drawn: bool = True,
) -> str:
    """Say what is missing in fall times (F, n_q) from those of the runs (F, R); may be empty.

    Drawn starts that have not fallen are left out of the fit, so that its quantiles are early.
    """
    words = []
    for j, (of_fall, of_runs) in enumerate(zip(value, times, strict=True), start=1):
        fall = f"d = {dimension}, fall {j}" if len(value) > 1 else f"d = {dimension}"
        late, missing = int(np.isnan(of_runs).sum()), np.isnan(of_fall)
        few, fell = late <= _FEW_LATE * len(of_runs), len(of_runs) - late
        if is_drawn and missing.any() and fell < FEWEST_TO_FIT:
            mended = f"n_draws to {FEWEST_TO_FIT} at least" if few else "n_steps"
            words.append(
                f"{fall}: {fell} of {len(of_runs)} starts have fallen by step {n_steps}, too few "
                f"for a fit: raise {mended}."
            )
        elif is_drawn and not few:
            words.append(
                f"{fall}: {late} of {len(of_runs)} starts have not fallen by step {n_steps} and "
                "are left out of the fit, so that its times are early: raise n_steps."
            )
        elif missing.any():
            which = ", ".join(f"{level:g}" for level in np.array(levels)[missing])
            words.append(
                f"{fall}: the time of probability {which} is later than step {n_steps}: "
                "raise n_steps."
            )
    return " ".join(words)


def _quantiles(
    mean: FloatArray, covariance: FloatArray, levels: tuple[float, ...]
) -> list[FloatArray]:
    """Return starts (1, 1) of one neuron along one direction, at quantiles of their size."""
    spread = float(np.sqrt(covariance[0, 0]))
    # Runs that start lower fall later.
    sizes = [folded_normal_quantile(1.0 - level, float(mean[0, 0]), spread) for level in levels]
    return [np.full((1, 1), size) for size in sizes]


def _drawn(
    mean: FloatArray, covariance: FloatArray, sampling: Sampling, replicate: int, count: int
) -> list[FloatArray]:
    """Draw starts (m, k_h) from their law: the leading points of a Sobol sequence."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normals = cubature_normals(sampling, replicate, mean.size, power_of_two(count))[:, :count]
    draws = mean.reshape(-1, 1) + root @ normals
    return [draw.reshape(mean.shape) for draw in draws.T]


def _nearest(
    runs: list[Followed], times: FloatArray, chosen: FloatArray, levels: tuple[float, ...]
) -> list[Followed]:
    """Choose the runs that fall nearest to given times; where those are NaN, by rank."""
    late = np.where(np.isnan(times), np.inf, times)
    order = np.argsort(late, kind="stable")
    picked = [
        order[round(level * (len(runs) - 1))] if np.isnan(time) else np.argmin(np.abs(late - time))
        for time, level in zip(chosen, levels, strict=True)
    ]
    return [runs[int(index)] for index in picked]
