r"""Beyond O(1) steps: when a run of finite dimension leaves the limit and learns a hard direction.

At finite d the overlap with a hard direction is not zero but O(d^-1/2): that of the random start,
and what n samples add to it at every step. A negative outlier of the Hessian amplifies both until,
after some log d steps, the hard direction is learned and the test loss falls: grokking.

While the overlap is small its law is known. With the paths of `dmft.solve` mirrored in the hard
coordinates, let Rh(t, u) be the response of M(t) to a small push of M(u). To leading order in
1/d, sqrt(d) M(t) is Gaussian with

    mean        gain(t) sqrt(d) M(0),                           gain(t) = Rh(t, 0),
    covariance  (1/delta) sum_{s, s' < t} eta^2 Rh(t, s+1) E[g^s g^s'^T (x) z_h z_h^T] Rh(t, s'+1)^T

in the setting of Montanari & Wang, arXiv:2602.01434. So the noise of the data acts as if the start
had been drawn from N(M(0), S/d), S = gain^-1 covariance gain^-T at the end of the linear stage. The
mirrored solve from such a start then follows the run through the nonlinear stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import Sampling, cubature_normals
from dmft._numerics.validation import (
    check_array,
    check_instance,
    check_integer,
    check_progress,
    check_real,
)
from dmft.io.records import read_record, write_record
from dmft.io.stored_settings import check_settings
from dmft.model.gradients import pre_activation_gradient
from dmft.model.problem import Problem
from dmft.observables.alignment import hard_cosine
from dmft.observables.generalization import expected_test_loss
from dmft.solver.replicates import solve_antithetic
from dmft.training.gradient_descent import GradientDescent
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

    from dmft.solver.runs import Run

__all__ = ["Grokking", "StartLaw", "effective_start", "fall_step", "predict_grokking"]

FloatArray = NDArray[np.float64]

_KIND = "grokking"
# Size of the pushes that responses are measured with, in units of the radius: large enough for the
# mirrored paths to stay mirrored to rounding, small enough to be linear.
_PUSH = 1e-3
# The linear stage ends where a push has grown to this, in the same units.
_END_OF_LINEAR_STAGE = 0.03
# Each start drawn is a solve: nobody waits for more.
_MOST_DRAWS = 10**6
# Modes of the data noise below this share of its trace are left out.
_SMALLEST_MODE = 1e-4
# The response to a mode is measured with a push of the size above, unless steps are so short that
# the force would overflow.
_LARGEST_FORCING = 1e150
# Directions of the overlap that grow less than this, relative to the fastest, carry no start.
_SMALLEST_GAIN = 1e-2
# A start larger than this, in units of the radius, has no linear stage.
_LARGEST_START = 0.9
# Squared cosine with a hard direction from which it counts as learned.
_LEARNED = 0.5
_PROBABILITIES = (0.1, 0.5, 0.9)
# Points that stand for the law of the start, and starts that fell that a parabola is fitted to.
_POINTS_OF_LAW = 2**11
_FEWEST_TO_FIT = 6


@dataclass(frozen=True, eq=False)
class StartLaw:
    """Law of the effective start, N(M(0), covariance / d) on the hard directions.

    Attributes
    ----------
    gain : ndarray, shape (n_times, m, k_h, m, k_h)
        ``gain[t, i, a, j, b]``: response of M(t)[i, a] to M(0)[j, b], over the linear stage.
    noise : ndarray, shape (n_times, m, k_h, m, k_h)
        Covariance of sqrt(d) M(t) that the data cause from M(0) = 0, over the linear stage.
    covariance : ndarray, shape (m k_h, m k_h)
        S, at the time of the largest gain; rows in the order (neuron, hard direction). Zero where
        the overlap only shrinks.
    n_modes : int
        Number of modes of the noise that were propagated.
    """

    gain: FloatArray
    noise: FloatArray
    covariance: FloatArray
    n_modes: int

    @property
    def last_step(self) -> int:
        """Last step of the linear stage."""
        return len(self.gain) - 1

    @property
    def largest_gain(self) -> FloatArray:
        """Largest singular value of the gain, shape (n_times,)."""
        size = self.gain.shape[1] * self.gain.shape[2]
        matrices = self.gain.reshape(len(self.gain), size, size)
        largest: FloatArray = np.linalg.norm(matrices, ord=2, axis=(1, 2))
        return largest

    def amplitudes(self, starts: FloatArray) -> FloatArray:
        """Logarithm of |gain M(0)| where the gain is largest, for starts (N, m, k_h)."""
        size = self.covariance.shape[0]
        gain = self.gain.reshape(len(self.gain), size, size)[int(np.argmax(self.largest_gain))]
        grown = np.linalg.norm(starts.reshape(len(starts), size) @ gain.T, axis=1)
        return np.asarray(np.log(np.maximum(grown, np.finfo(float).tiny)))


@dataclass(frozen=True, eq=False)
class Grokking:
    """Predicted runs of finite dimension, from small overlap to the fall of the test loss.

    Attributes
    ----------
    d : tuple of int, length n_d
        Dimensions.
    probabilities : tuple of float, length n_q
        Levels of the band: the run with probability p falls later than a fraction p of all runs.
    start : ndarray, shape (n_d, n_q, m, k_h)
        Effective starts followed.
    hard_cosine : ndarray, shape (n_d, n_q, T + 1)
        Largest squared cosine between a hard direction and the span of the neurons.
    train_loss, test_loss : ndarray, shape (n_d, n_q, T + 1)
    fall_level : ndarray, shape (n_d,)
        Test loss halfway between the lowest it gets in T steps without the hard directions, and the
        median end of the runs that have learned one (squared cosine 1/2); NaN if none has.
    fall_time : ndarray, shape (n_d, n_q)
        When the test loss falls through ``fall_level`` (in steps, interpolated); NaN if not in T.
    fall_time_stderr : ndarray, shape (n_d, n_q)
        What the number of starts leaves of error in ``fall_time`` (jackknife); NaN where that is.
        Zero for one neuron and one hard direction, where the quantiles of the start are exact. The
        error of finitely many paths is not in it.
    n_starts : ndarray of int, shape (n_d,)
        Starts followed.
    start_covariance : ndarray, shape (m k_h, m k_h)
        S of the effective start N(M(0), S/d).
    gain : ndarray, shape (last_step + 1,)
        Largest singular value of the response of M(t) to M(0), over the linear stage.
    status : Status
        SUCCESS; NO_OUTLIER if a small overlap does not grow within T; MAX_STEPS if a run did not
        fall within T, or ``max_draws`` starts left an error above ``rtol``; that of a solve that
        ended early.
    config : dict
    """

    d: Annotated[tuple[int, ...], "n_d"]
    probabilities: Annotated[tuple[float, ...], "n_q"]
    start: Annotated[FloatArray, "n_d n_q m k_h"]
    hard_cosine: Annotated[FloatArray, "n_d n_q T+1"]
    train_loss: Annotated[FloatArray, "n_d n_q T+1"]
    test_loss: Annotated[FloatArray, "n_d n_q T+1"]
    fall_level: Annotated[FloatArray, "n_d"]
    fall_time: Annotated[FloatArray, "n_d n_q"]
    fall_time_stderr: Annotated[FloatArray, "n_d n_q"]
    n_starts: Annotated[NDArray[np.intp], "n_d"]
    start_covariance: Annotated[FloatArray, "mk mk"]
    gain: Annotated[FloatArray, "last+1"]
    status: Status
    config: dict[str, Any] = field(repr=False)

    @property
    def steps(self) -> NDArray[np.intp]:
        """Steps 0, ..., T."""
        return np.arange(self.test_loss.shape[-1])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write data, configuration, version and seed to one ``.npz`` file (atomically)."""
        write_record(path, _KIND, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Grokking:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ValueError
            If the file is not one of these, is damaged, or was written by a newer version.
        """
        return read_record(path, _KIND, cls, _check)


def _check(grokking: Grokking) -> None:
    check_settings(grokking.config, "problem", "delta", "method", "sampling", "hard_overlap")


def predict_grokking(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    d: int | Sequence[int],
    *,
    hard_overlap: ArrayLike | Sequence[ArrayLike] | None = None,
    probabilities: Sequence[float] = _PROBABILITIES,
    n_draws: int = 16,
    max_draws: int = 64,
    rtol: float = 0.03,
    sampling: Sampling | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    throw: bool = False,
) -> Grokking:
    r"""Predict how runs of finite dimension escape along a hard direction, and when.

    With one neuron and one hard direction the size of the effective start decides the run, and its
    quantiles give those of the runs. Otherwise starts are drawn and followed for each d. Their
    times of the fall T are fitted by a parabola in ``log |gain(t) M(0)|``, t the end of the
    linear stage; quantiles over runs are those of the fit over the law of the start, with the
    residuals added, and starts are drawn until the jackknife error of the fit is small. The runs
    shown are those that fall nearest to the quantiles.

    Parameters
    ----------
    problem : Problem
        With at least one hard direction, labels that do not change when all hard coordinates
        change sign, and no overlap with hard directions of its own.
    delta : float
        Samples per dimension n/d > 0.
    method : GradientDescent
        With one step size, full batches, no momentum, and a second layer that is fixed.
    d : int or sequence of int
        Dimensions to predict for.
    hard_overlap : optional
        The imposed initial overlap with the hard directions, a number or an array (m, k_h) as in
        `dmft.simulate`, or a sequence of those, one for each d. Default None: that of a random
        start, each entry N(0, init_radius^2 / d), of neurons correlated as ``init_gram`` says.
    probabilities : sequence of float
        Levels of the band over runs, strictly between 0 and 1, increasing, with 0.5 among them.
    n_draws, max_draws : int
        Starts drawn for each d at first, at least 4, and at most, where there is more than one
        neuron or hard direction. Their number is doubled in between.
    rtol : float
        Standard error of the median time, relative to it, that ends the drawing; for other levels
        twice as much.
    sampling : Sampling, optional
        Paths, each with its mirror image; no standard errors are computed.
    threads : int, optional
        As in `dmft.solve`.
    progress : callable, optional
        Called with 1 after each solve that follows a start.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.

    Returns
    -------
    Grokking

    Raises
    ------
    ValueError
        If an argument is out of range, or the problem is not of the kind described.
    NumericalFailure
        If gradient descent diverges, or runs out of paths, before the overlap has grown.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.
    """
    sampling = Sampling() if sampling is None else sampling
    check_instance("problem", problem, Problem)
    check_instance("method", method, GradientDescent)
    check_instance("sampling", sampling, Sampling)
    delta = check_real("delta", delta, minimum=0.0, exclusive=True)
    dimensions = _checked_dimensions(d, problem)
    _check_method(method)
    levels = _checked_probabilities(probabilities)
    n_draws = check_integer("n_draws", n_draws, minimum=4, maximum=_MOST_DRAWS)
    max_draws = check_integer("max_draws", max_draws, minimum=n_draws, maximum=_MOST_DRAWS)
    check_progress(progress)
    rtol = check_real("rtol", rtol, minimum=0.0, exclusive=True)
    means = _checked_overlaps(hard_overlap, problem, len(dimensions))
    law = effective_start(problem, delta, method, sampling, threads=threads)

    random = np.zeros_like(law.covariance)
    if hard_overlap is None:
        random = _random_start(problem)
    plateau = _follow(problem, delta, method, sampling, np.zeros_like(means[0]), threads)
    status = plateau.status
    chosen: list[list[_Followed]] = []
    fall_level = np.full(len(dimensions), np.nan)
    fall_time = np.full((len(dimensions), len(levels)), np.nan)
    fall_time_stderr = np.full_like(fall_time, np.nan)
    n_starts = np.zeros(len(dimensions), dtype=np.intp)
    is_rough = False
    for i, dimension in enumerate(dimensions):
        covariance = (law.covariance + random) / dimension
        is_number = means[i].size == 1
        starts = (
            _quantiles(means[i], covariance, levels)
            if is_number
            else _drawn(means[i], covariance, sampling, 0, max_draws)
        )
        if not is_number:
            points = _drawn(means[i], covariance, sampling, 1, _POINTS_OF_LAW)
            everything = law.amplitudes(np.array(points))
        runs: list[_Followed] = []
        wanted = len(levels) if is_number else n_draws
        while True:
            _check_starts(starts[len(runs) : wanted], dimension, problem)
            for start in starts[len(runs) : wanted]:
                runs.append(_follow(problem, delta, method, sampling, start, threads))
                if not runs[-1].status.ok:
                    status = runs[-1].status
                if progress is not None:
                    progress(1)
            fall_level[i] = _fall_level(plateau, runs)
            times = np.array([fall_step(run.test_loss, fall_level[i]) for run in runs])
            if is_number:
                fall_time[i], fall_time_stderr[i] = times, np.where(np.isnan(times), np.nan, 0.0)
                break
            amplitudes = law.amplitudes(np.array([run.start for run in runs]))
            fall_time[i], fall_time_stderr[i] = _times_of_law(
                times, amplitudes, everything, levels, float(method.n_steps)
            )
            allowed = np.where(np.array(levels) == 0.5, rtol, 2.0 * rtol)
            rough = fall_time_stderr[i] > allowed * fall_time[i][levels.index(0.5)]
            if not rough.any() or wanted >= max_draws:
                is_rough |= bool(rough.any())
                runs = _nearest(runs, times, fall_time[i], levels)
                break
            wanted = min(2 * wanted, max_draws)
        n_starts[i] = wanted
        chosen.append(runs)
    if status.ok and np.max(law.largest_gain) <= 1.0:
        status = Status.NO_OUTLIER
    elif status.ok and (is_rough or np.isnan(fall_time).any()):
        status = Status.MAX_STEPS
    result = Grokking(
        d=dimensions,
        probabilities=levels,
        start=np.array([[run.start for run in runs] for runs in chosen]),
        hard_cosine=np.array([[run.hard_cosine for run in runs] for runs in chosen]),
        train_loss=np.array([[run.train_loss for run in runs] for runs in chosen]),
        test_loss=np.array([[run.test_loss for run in runs] for runs in chosen]),
        fall_level=fall_level,
        fall_time=fall_time,
        fall_time_stderr=fall_time_stderr,
        n_starts=n_starts,
        start_covariance=law.covariance,
        gain=law.largest_gain,
        status=status,
        config={
            "problem": problem.to_config(),
            "delta": delta,
            "method": method.to_config(),
            "sampling": sampling.to_config(),
            "hard_overlap": None if hard_overlap is None else means.tolist(),
        },
    )
    if throw and not status.ok:
        raise NumericalFailure(status, f"Times of the fall: {fall_time.tolist()}.")
    return result


def _random_start(problem: Problem) -> FloatArray:
    """Covariance of the overlaps (m, k_h), flattened, of a random start, times d."""
    return np.asarray(np.kron(_rest(problem), np.eye(problem.target.hard_basis.shape[1])))


def _rest(problem: Problem) -> FloatArray:
    """Gram matrix (m, m) of what the overlap with easy directions leaves of the neurons."""
    overlap = problem.initial_overlap
    return problem.gram if overlap is None else problem.gram - overlap @ overlap.T


def free_radii(problem: Problem) -> FloatArray:
    """Radii (m,) that the overlap with easy directions leaves of the neurons."""
    if problem.initial_overlap is None:
        return np.full(problem.m, problem.init_radius)
    return np.sqrt(np.maximum(np.diag(_rest(problem)), 0.0))


def _fall_level(plateau: _Followed, runs: list[_Followed]) -> float:
    """Halfway from the lowest test loss without hard directions to the end of runs with one."""
    ends = [run.test_loss[-1] for run in runs if run.hard_cosine[-1] >= _LEARNED]
    if not ends:
        return float("nan")
    lowest, end = float(np.nanmin(plateau.test_loss)), float(np.median(ends))
    return 0.5 * (lowest + end) if end < lowest else float("nan")


def fall_step(loss: ArrayLike, level: float) -> float:
    """When a curve falls below a level for the first time after its maximum, in steps.

    Parameters
    ----------
    loss : array_like, shape (T + 1,)
        NaN where unknown.
    level : float

    Returns
    -------
    float
        Interpolated linearly between steps; NaN if it never does.

    Examples
    --------
    >>> fall_step([1.0, 2.0, 1.8, 0.8, 0.5], level=1.3)
    2.5
    """
    loss = np.asarray(loss, dtype=np.float64)
    if not np.isfinite(loss).any():
        return float("nan")
    peak = int(np.nanargmax(loss))
    below = np.flatnonzero(loss[peak:] < level)
    if not len(below):
        return float("nan")
    t = peak + int(below[0])
    if t == peak:
        return float(t)
    return t - 1 + float((loss[t - 1] - level) / (loss[t - 1] - loss[t]))


def effective_start(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    sampling: Sampling | None = None,
    *,
    threads: int | None = None,
) -> StartLaw:
    """Law of the effective start: what the noise of the data adds to the initial overlap.

    Parameters
    ----------
    problem : Problem
        As in :func:`predict_grokking`.
    delta : float
    method : GradientDescent
        The linear stage ends at the latest with its last step.
    sampling : Sampling, optional
    threads : int, optional

    Returns
    -------
    StartLaw

    Raises
    ------
    ValueError
        If the problem has no hard direction, labels that are not even in them, an initial radius
        of zero, or an overlap with them of its own; if ``method`` has no step, or options beside
        its one step size.
    NumericalFailure
        If gradient descent diverges within the linear stage.
    """
    sampling = Sampling() if sampling is None else sampling
    _check_problem(problem)
    _check_method(method)
    if method.n_steps < 1:
        raise ValueError(f"method must have n_steps >= 1, got {method.n_steps}")
    m, k_h = problem.m, problem.target.hard_basis.shape[1]
    size, radii = m * k_h, free_radii(problem)
    pushes = np.repeat(_PUSH * radii, k_h)

    gain = np.zeros((method.n_steps + 1, size, size))
    for index in range(size):
        start = np.zeros(size)
        start[index] = pushes[index]
        run = solve_antithetic(
            problem.with_hard_overlap(start.reshape(m, k_h)),
            delta,
            method,
            sampling,
            threads=threads,
        )
        gain = gain[: run.n_times]
        moved = _hard_overlap(run, problem)[: len(gain)]
        gain[:, :, index] = moved.reshape(len(gain), size) / pushes[index]
        grown = np.abs(moved) > _END_OF_LINEAR_STAGE * radii[:, np.newaxis]
        left = np.flatnonzero(grown.any(axis=(1, 2)))
        if len(left):
            gain = gain[: max(int(left[0]), 2)]
        elif not run.status.ok:
            raise NumericalFailure(run.status, f"Steps computed: {run.n_times - 1}.")
    last = len(gain) - 1

    method = method.until(last)
    modes, weights = _noise_modes(problem, delta, method, sampling, threads)
    noise = np.zeros_like(gain)
    for mode, weight in zip(modes, weights, strict=True):
        scale = float(pushes.min()) / (float(method.step_sizes[0]) * float(np.sum(np.abs(mode))))
        scale = min(scale, _LARGEST_FORCING)
        forcing = scale * mode @ problem.target.hard_basis.T
        run = solve_antithetic(problem, delta, method, sampling, forcing, threads=threads)
        if not run.status.ok:
            raise NumericalFailure(run.status, f"Steps computed: {run.n_times - 1}.")
        response = _hard_overlap(run, problem).reshape(last + 1, size) / scale
        noise += weight / delta * response[:, :, np.newaxis] * response[:, np.newaxis, :]
    # Where the overlap has grown most, the data have had their say: at the end, unless it shrinks.
    at = int(np.argmax(np.linalg.norm(gain, ord=2, axis=(1, 2))))
    back = np.linalg.pinv(gain[at], rcond=_SMALLEST_GAIN)
    return StartLaw(
        gain=gain.reshape(last + 1, m, k_h, m, k_h),
        noise=noise.reshape(last + 1, m, k_h, m, k_h),
        covariance=back @ noise[at] @ back.T,
        n_modes=len(modes),
    )


def _noise_modes(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    sampling: Sampling,
    threads: int | None,
) -> tuple[FloatArray, FloatArray]:
    """Modes (n, T, m, k_h) and weights (n,) of E[g^s g^s'^T (x) z_h z_h^T] without overlap."""
    m, n_steps = problem.m, method.n_steps
    hard_basis = problem.target.hard_basis
    run = solve_antithetic(problem, delta, method, sampling, keep=range(n_steps), threads=threads)
    if not run.status.ok:
        raise NumericalFailure(run.status, f"Steps computed: {run.n_times - 1}.")
    hard = hard_basis.T @ run.latent
    rows = np.empty((n_steps, m, len(hard), hard.shape[1]))
    for t in range(n_steps):
        g, _ = pre_activation_gradient(problem, run.pre_activations.pop(t), run.labels)
        np.multiply(g[:, np.newaxis], hard, out=rows[t])
    flat = rows.reshape(-1, hard.shape[1])
    weights, vectors = np.linalg.eigh(flat @ flat.T / hard.shape[1])
    kept = weights > _SMALLEST_MODE * weights.sum()
    modes = vectors[:, kept].T.reshape(-1, n_steps, m, len(hard))
    return modes, weights[kept]


def _check_method(method: GradientDescent) -> None:
    """Raise unless the noise of the data adds up as the law of the effective start has it."""
    if not method.is_plain:
        raise ValueError(
            "method must be full-batch gradient descent of the first layer with one step size and "
            f"no momentum to predict grokking, got {method!r}"
        )


@dataclass(frozen=True, eq=False)
class _Followed:
    """A run from one start."""

    start: FloatArray
    hard_cosine: FloatArray
    train_loss: FloatArray
    test_loss: FloatArray
    status: Status


def _follow(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    sampling: Sampling,
    start: FloatArray,
    threads: int | None,
) -> _Followed:
    """Run from an overlap with the hard directions; NaN after a run that ended early."""
    started = problem.with_hard_overlap(start)
    run = solve_antithetic(started, delta, method, sampling, threads=threads)
    overlap, norm = run.weights[:, :, : problem.k], run.weights @ np.swapaxes(run.weights, 1, 2)
    curves = {
        "hard_cosine": hard_cosine(overlap, norm, problem.target.hard_basis),
        "train_loss": run.train_loss,
        "test_loss": expected_test_loss(
            started, overlap, norm, sampling, range(sampling.replicates)
        ),
    }
    missing = method.n_steps + 1 - run.n_times
    padded = {
        name: np.pad(curve, (0, missing), constant_values=np.nan) for name, curve in curves.items()
    }
    return _Followed(start=start, status=run.status, **padded)


def _quantiles(
    mean: FloatArray, covariance: FloatArray, levels: tuple[float, ...]
) -> list[FloatArray]:
    """Return starts (1, 1) of one neuron along one direction, at quantiles of their size."""
    spread = float(np.sqrt(covariance[0, 0]))
    # Runs that start lower fall later.
    sizes = [_folded_quantile(1.0 - level, float(mean[0, 0]), spread) for level in levels]
    return [np.full((1, 1), size) for size in sizes]


def _drawn(
    mean: FloatArray, covariance: FloatArray, sampling: Sampling, replicate: int, count: int
) -> list[FloatArray]:
    """Draw starts (m, k_h) from their law: the leading points of a Sobol sequence."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    n_points = 1 << (count - 1).bit_length()
    normals = cubature_normals(sampling, replicate, mean.size, n_points)[:, :count]
    draws = mean.reshape(-1, 1) + root @ normals
    return [draw.reshape(mean.shape) for draw in draws.T]


def _times_of_law(
    times: FloatArray,
    amplitudes: FloatArray,
    everything: FloatArray,
    levels: tuple[float, ...],
    last: float,
) -> tuple[FloatArray, FloatArray]:
    """Quantiles of the time of the fall over the law of the start, and their jackknife errors.

    Parameters
    ----------
    times : ndarray, shape (R,)
        Of the starts followed; NaN for those that did not fall.
    amplitudes : ndarray, shape (R,)
        Logarithms, see `StartLaw.amplitudes`.
    everything : ndarray, shape (P,)
        Those of the whole law.
    levels : tuple of float
    last : float
        Later quantiles are NaN.
    """
    fell = np.flatnonzero(np.isfinite(times))
    if len(fell) < _FEWEST_TO_FIT:
        return np.full(len(levels), np.nan), np.full(len(levels), np.nan)

    def quantiles(chosen: NDArray[np.intp]) -> FloatArray:
        x, t = amplitudes[chosen], times[chosen]
        centre, width = float(x.mean()), float(np.ptp(x)) or 1.0
        u, v = (x - centre) / width, (everything - centre) / width
        fit = np.polynomial.polynomial.polyfit(u, t, 2)
        residuals = t - np.polynomial.polynomial.polyval(u, fit)
        residuals *= np.sqrt(len(t) / (len(t) - 3.0))
        # Beyond the starts that were followed the parabola goes on as its tangent.
        end = np.clip(v, u.min(), u.max())
        slope = fit[1] + 2.0 * fit[2] * end
        law = np.polynomial.polynomial.polyval(end, fit) + slope * (v - end)
        law = law[:, np.newaxis] + residuals
        return np.asarray(np.quantile(law, levels))

    value = quantiles(fell)
    without = np.array([quantiles(np.delete(fell, i)) for i in range(len(fell))])
    error = np.sqrt((len(fell) - 1.0) * without.var(axis=0))
    never = (value > last) | (np.array(levels) > len(fell) / len(times))
    return np.where(never, np.nan, value), np.where(never, np.nan, error)


def _nearest(
    runs: list[_Followed], times: FloatArray, wanted: FloatArray, levels: tuple[float, ...]
) -> list[_Followed]:
    """Choose the runs that fall nearest to the times wanted; where those are NaN, by rank."""
    late = np.where(np.isnan(times), np.inf, times)
    order = np.argsort(late, kind="stable")
    picked = [
        order[round(level * (len(runs) - 1))] if np.isnan(time) else np.argmin(np.abs(late - time))
        for time, level in zip(wanted, levels, strict=True)
    ]
    return [runs[int(index)] for index in picked]


def _folded_quantile(probability: float, mean: float, spread: float) -> float:
    """Quantile of |X|, X ~ N(mean, spread^2)."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    mean = abs(mean)
    if spread <= 0.0:
        return mean

    def excess(x: float) -> float:
        return float(norm.cdf((x - mean) / spread) - norm.cdf((-x - mean) / spread) - probability)

    return float(brentq(excess, 0.0, mean + 40.0 * spread, xtol=1e-12 * (mean + spread)))


def _hard_overlap(run: Run, problem: Problem) -> FloatArray:
    """M(t) on the hard directions, (n_times, m, k_h)."""
    if not run.n_times:
        raise NumericalFailure(run.status, "No step was computed.")
    overlap: FloatArray = run.weights[:, :, : problem.k] @ problem.target.hard_basis
    return overlap


# -- checks ------------------------------------------------------------------------------------


def _check_problem(problem: Problem) -> None:
    target = problem.target
    if not target.hard_basis.shape[1]:
        raise ValueError(
            f"problem must have a hard direction to escape along; all {problem.k} latent "
            f"directions of label {target.name!r} are easy"
        )
    if not target.is_even:
        raise ValueError(
            "problem must have labels that stay the same when all hard coordinates change sign; "
            f"those of {target.name!r} do not"
        )
    if problem.starts_on_hard:
        raise ValueError(
            "problem must start without overlap with the hard directions; give it as hard_overlap, "
            f"got initial_overlap = {problem.to_config()['initial_overlap']}"
        )
    if problem.init_radius == 0.0:
        raise ValueError("problem must have init_radius > 0, got 0")
    smallest = float(np.linalg.eigvalsh(_rest(problem))[0])
    if smallest <= 1e-9 * problem.largest_radius**2:  # no neuron could move by itself
        raise ValueError(
            "problem must start with linearly independent neurons, got a Gram matrix (less what "
            f"initial_overlap takes) of smallest eigenvalue {smallest:.3g}"
        )


def _check_starts(starts: list[FloatArray], dimension: int, problem: Problem) -> None:
    room = _LARGEST_START**2 * _rest(problem)
    if any(np.linalg.eigvalsh(room - start @ start.T)[0] < 0.0 for start in starts):
        largest = max(float(np.linalg.norm(start, 2)) for start in starts)
        raise ValueError(
            "d must be large enough for a small start: with the noise of the data the overlap at "
            f"d = {dimension} starts at {largest:.2g}, and init_radius is "
            f"{np.array(problem.init_radius).tolist()}"
        )


def _checked_dimensions(d: int | Sequence[int], problem: Problem) -> tuple[int, ...]:
    values = list(d) if isinstance(d, Iterable) else [d]
    if not values:
        raise ValueError("d must name at least one dimension, got none")
    least = problem.k + problem.m + 1
    dimensions = tuple(check_integer("d", value, minimum=least) for value in values)
    if len(set(dimensions)) < len(dimensions):
        raise ValueError(f"d must name distinct dimensions, got {values}")
    return dimensions


def _checked_probabilities(probabilities: Sequence[float]) -> tuple[float, ...]:
    levels = [check_real("probabilities", level) for level in probabilities]
    increasing = all(a < b for a, b in pairwise(levels))
    if not (increasing and 0.5 in levels and levels[0] > 0.0 and levels[-1] < 1.0):
        raise ValueError(
            "probabilities must increase strictly between 0 and 1 with 0.5 among them, "
            f"got {levels}"
        )
    return tuple(levels)


def _checked_overlaps(hard_overlap: Any, problem: Problem, count: int) -> FloatArray:
    """Means of the effective start, (count, m, k_h)."""
    _check_problem(problem)
    shape = problem.m, problem.target.hard_basis.shape[1]
    if hard_overlap is None:
        return np.zeros((count, *shape))
    expected = f"a number, an array of shape (m, k_h) = {shape}, or one of those for each d"
    try:
        given = check_array("hard_overlap", hard_overlap, expected=expected)
    except ValueError:
        raise ValueError(f"hard_overlap must be {expected}, got {hard_overlap!r}") from None
    if given.ndim == 1:
        given = given[:, np.newaxis, np.newaxis]
    if given.ndim not in (0, 2, 3):
        raise ValueError(f"hard_overlap must be {expected}, got {hard_overlap!r}")
    try:
        means = np.broadcast_to(given, (count, *shape)).copy()
    except ValueError:
        raise ValueError(
            f"hard_overlap must be {expected} ({count} of them), got shape {given.shape}"
        ) from None
    for mean in means:
        problem.with_hard_overlap(mean)  # checks the size against the radius
    return means
