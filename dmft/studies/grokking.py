r"""Predict grokking: when runs of finite dimension leave the limit and learn a hard direction.

A negative outlier of the Hessian amplifies the small overlap with a hard direction that a run of
finite dimension has (`dmft.studies.initial_overlap`) until, after some log d steps, the hard
direction is learned and the test loss falls (Montanari & Wang, arXiv:2602.01434). The antithetic
solve from the effective initial overlap follows the run through that nonlinear stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling, cubature_normals
from dmft._numerics.validation import (
    check_array,
    check_instance,
    check_integer,
    check_real,
)
from dmft.io.marks import STEPS
from dmft.io.saved_result import SavedResult
from dmft.model.problem import Problem
from dmft.observables.alignment import hard_cosine
from dmft.observables.generalization import expected_test_loss
from dmft.solver.replicates import solve_antithetic
from dmft.studies.fall_times import fall_step, fall_time_quantiles, folded_normal_quantile
from dmft.studies.initial_overlap import (
    check_method,
    check_problem,
    effective_initial_overlap,
    free_gram,
    random_covariance,
)
from dmft.training.gradient_descent import GradientDescent
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

    from dmft.io.report_text import Lines


__all__ = ["Grokking", "predict_grokking"]

FloatArray = NDArray[np.float64]

# Each initial overlap drawn is a solve: nobody waits for more.
_MOST_DRAWS = 10**6
# An initial overlap larger than this, in units of the radius, has no linear stage.
_LARGEST_START = 0.9
# Squared cosine with a hard direction from which it counts as learned.
_LEARNED = 0.5
_PROBABILITIES = (0.1, 0.5, 0.9)
# Points that stand for the law of the initial overlap.
_POINTS_OF_LAW = 2**11


@dataclass(frozen=True, eq=False, repr=False)
class Grokking(
    SavedResult,
    kind="grokking",
    settings=("problem", "delta", "method", "sampling", "hard_overlap"),
):
    """Predicted runs of finite dimension, from small overlap to the fall of the test loss.

    Attributes
    ----------
    d : tuple of int, length n_d
        Dimensions.
    probabilities : tuple of float, length n_q
        Levels of the band: the run with probability p falls later than a fraction p of all runs.
    start : ndarray, shape (n_d, n_q, m, k_h)
        Effective initial overlaps followed.
    hard_cosine : ndarray, shape (n_d, n_q, T + 1)
        Largest squared cosine between a hard direction and the span of the neurons.
    train_loss, test_loss : ndarray, shape (n_d, n_q, T + 1)
    fall_level : ndarray, shape (n_d,)
        Test loss halfway between the lowest it gets in T steps without the hard directions, and the
        median end of the runs that have learned one (squared cosine 1/2); NaN if none has.
    fall_time : ndarray, shape (n_d, n_q)
        When the test loss falls through ``fall_level`` (in steps, interpolated); NaN if not in T.
    fall_time_stderr : ndarray, shape (n_d, n_q)
        Error of ``fall_time`` from the number of starts (jackknife); NaN where that is. Zero for
        one neuron and one hard direction, where the quantiles of the overlap are exact. The error
        of finitely many paths is not in it.
    n_starts : ndarray of int, shape (n_d,)
        Starts followed.
    start_covariance : ndarray, shape (m k_h, m k_h)
        S of the effective initial overlap N(M(0), S/d).
    gain : ndarray, shape (last_step + 1,)
        Largest singular value of the response of M(t) to M(0), over the linear stage.
    status : Status
        SUCCESS; NO_OUTLIER if a small overlap does not grow within T; MAX_STEPS if a run did not
        fall within T, or ``max_draws`` starts left an error above ``rtol``; that of a solve that
        ended early.
    config : dict

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(0.2, 20)
    >>> found = dmft.predict_grokking(problem, 8.0, method, d=100, sampling=dmft.Sampling(256, 4))
    >>> found.probabilities, found.fall_time.shape, found.status.name
    ((0.1, 0.5, 0.9), (1, 3), 'MAX_STEPS')
    """

    _axes: ClassVar = {
        "n_d": "d", "n_q": "probability", "m": "neuron", "k_h": "hard_direction", "T": "step",
        "mk": "start_entry", "last": "linear_step",
    }  # fmt: skip
    _rows: ClassVar = ("d", "probability")
    _shown: ClassVar = ("d", "probabilities", "fall_time")

    d: Annotated[tuple[int, ...], "n_d"]
    probabilities: Annotated[tuple[float, ...], "n_q"]
    start: Annotated[FloatArray, "n_d n_q m k_h"]
    hard_cosine: Annotated[FloatArray, "n_d n_q T+1"]
    train_loss: Annotated[FloatArray, "n_d n_q T+1"]
    test_loss: Annotated[FloatArray, "n_d n_q T+1"]
    fall_level: Annotated[FloatArray, "n_d"]
    fall_time: Annotated[FloatArray, "n_d n_q", STEPS]
    fall_time_stderr: Annotated[FloatArray, "n_d n_q", STEPS]
    n_starts: Annotated[NDArray[np.intp], "n_d"]
    start_covariance: Annotated[FloatArray, "mk mk"]
    gain: Annotated[FloatArray, "last+1"]
    status: Status
    config: dict[str, Any] = field(repr=False)

    @property
    def steps(self) -> Annotated[NDArray[np.intp], "T", STEPS]:
        """Steps 0, ..., T."""
        return np.arange(self.test_loss.shape[-1])

    def _report(self) -> tuple[Lines, str]:
        from dmft.studies.report import grokking_lines, grokking_table

        return grokking_lines(self), grokking_table(self)


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
    progress: Callable[[int], None] | bool | None = None,
    throw: bool = False,
) -> Grokking:
    r"""Predict how runs of finite dimension escape along a hard direction, and when.

    With one neuron and one hard direction the effective initial overlap decides the run, and its
    quantiles give those of the runs. Otherwise starts are drawn and followed for each d. Their
    times of the fall T are fitted by a parabola in ``log |gain(t) M(0)|``, t the end of the
    linear stage; quantiles over runs are those of the fit over the law of the initial overlap, with
    the residuals added, and starts are drawn until the jackknife error of the fit is small. The
    runs shown are those that fall nearest to the quantiles.

    Parameters
    ----------
    problem : Problem
        With at least one hard direction, labels that do not change when all hard coordinates
        change sign, and no overlap with hard directions of its own.
    delta : float
        Samples per dimension n/d > 0.
    method : GradientDescent
        With one step size, full batches, no momentum, no constraint, and a second layer that is
        fixed.
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
        Paths, in antithetic pairs; no standard errors are computed.
    threads : int, optional
        As in `dmft.solve`.
    progress : callable or True, optional
        True for a progress bar. A function is called with 1 after each solve that follows a start.
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

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(0.2, 40)
    >>> found = dmft.predict_grokking(problem, 8.0, method, d=1000, sampling=dmft.Sampling(512, 4))
    >>> median = found.fall_time[0, 1]
    >>> bool(25 < median < 40)
    True
    """
    sampling = Sampling() if sampling is None else sampling
    check_instance("problem", problem, Problem)
    check_instance("method", method, GradientDescent)
    check_instance("sampling", sampling, Sampling)
    delta = check_real("delta", delta, minimum=0.0, exclusive=True)
    dimensions = _checked_dimensions(d, problem)
    check_method(method)
    levels = _checked_probabilities(probabilities)
    n_draws = check_integer("n_draws", n_draws, minimum=4, maximum=_MOST_DRAWS)
    max_draws = check_integer("max_draws", max_draws, minimum=n_draws, maximum=_MOST_DRAWS)
    execution = Execution(threads, progress, throw=throw)
    rtol = check_real("rtol", rtol, minimum=0.0, exclusive=True)
    means = _checked_overlaps(hard_overlap, problem, len(dimensions))
    law = effective_initial_overlap(problem, delta, method, sampling, execution)

    random = random_covariance(problem) if hard_overlap is None else 0.0
    plateau = _follow(problem, delta, method, sampling, np.zeros_like(means[0]), execution)
    status = plateau.status
    chosen: list[list[_Followed]] = []
    fall_level = np.full(len(dimensions), np.nan)
    fall_time = np.full((len(dimensions), len(levels)), np.nan)
    fall_time_stderr = np.full_like(fall_time, np.nan)
    n_starts = np.zeros(len(dimensions), dtype=np.intp)
    is_rough = False
    is_scalar = means[0].size == 1
    n_first = len(levels) if is_scalar else n_draws
    with execution.shown(n_first * len(dimensions), "predicted runs") as execution:
        for i, dimension in enumerate(dimensions):
            covariance = (law.covariance + random) / dimension
            if is_scalar:
                starts, count = _quantiles(means[i], covariance, levels), len(levels)
            else:
                starts, count = _drawn(means[i], covariance, sampling, 0, max_draws), n_draws
                points = _drawn(means[i], covariance, sampling, 1, _POINTS_OF_LAW)
                everything = law.amplitudes(np.array(points))
            runs: list[_Followed] = []
            while True:
                _check_starts(starts[len(runs) : count], dimension, problem)
                for start in starts[len(runs) : count]:
                    runs.append(_follow(problem, delta, method, sampling, start, execution))
                    if not runs[-1].status.ok:
                        status = runs[-1].status
                    execution.advance()
                fall_level[i] = _fall_level(plateau, runs)
                times = np.array([fall_step(run.test_loss, fall_level[i]) for run in runs])
                if is_scalar:
                    fall_time[i] = times
                    fall_time_stderr[i] = np.where(np.isnan(times), np.nan, 0.0)
                    break
                amplitudes = law.amplitudes(np.array([run.start for run in runs]))
                fall_time[i], fall_time_stderr[i] = fall_time_quantiles(
                    times, amplitudes, everything, levels, float(method.n_steps)
                )
                allowed = np.where(np.array(levels) == 0.5, rtol, 2.0 * rtol)
                rough = fall_time_stderr[i] > allowed * fall_time[i][levels.index(0.5)]
                if not rough.any() or count >= max_draws:
                    is_rough |= bool(rough.any())
                    runs = _nearest(runs, times, fall_time[i], levels)
                    break
                count = min(2 * count, max_draws)
            n_starts[i] = count
            chosen.append(runs)
    if status.ok and np.max(law.largest_gain) <= 1.0:
        status = Status.NO_OUTLIER
    elif status.ok and (is_rough or np.isnan(fall_time).any()):
        status = Status.MAX_STEPS
    result = Grokking(
        d=dimensions,
        probabilities=levels,
        **{
            name: np.array([[getattr(run, name) for run in runs] for runs in chosen])
            for name in ("start", "hard_cosine", "train_loss", "test_loss")
        },
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
    execution.settle(status, f"Times of the fall: {fall_time.tolist()}.")
    return result


def _fall_level(plateau: _Followed, runs: list[_Followed]) -> float:
    """Return the mean of the lowest test loss at zero overlap and the final one of learned runs."""
    ends = [run.test_loss[-1] for run in runs if run.hard_cosine[-1] >= _LEARNED]
    if not ends:
        return float("nan")
    lowest, end = float(np.nanmin(plateau.test_loss)), float(np.median(ends))
    return 0.5 * (lowest + end) if end < lowest else float("nan")


@dataclass(frozen=True, eq=False)
class _Followed:
    """Run from one initial overlap."""

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
    execution: Execution,
) -> _Followed:
    """Run from an overlap with the hard directions; NaN after a run that ended early."""
    started = problem.with_hard_overlap(start)
    run = solve_antithetic(started, delta, method, sampling, execution)
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
    sizes = [folded_normal_quantile(1.0 - level, float(mean[0, 0]), spread) for level in levels]
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


def _nearest(
    runs: list[_Followed], times: FloatArray, chosen: FloatArray, levels: tuple[float, ...]
) -> list[_Followed]:
    """Choose the runs that fall nearest to given times; where those are NaN, by rank."""
    late = np.where(np.isnan(times), np.inf, times)
    order = np.argsort(late, kind="stable")
    picked = [
        order[round(level * (len(runs) - 1))] if np.isnan(time) else np.argmin(np.abs(late - time))
        for time, level in zip(chosen, levels, strict=True)
    ]
    return [runs[int(index)] for index in picked]


# -- checks ------------------------------------------------------------------------------------


def _check_starts(starts: list[FloatArray], dimension: int, problem: Problem) -> None:
    room = _LARGEST_START**2 * free_gram(problem)
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
    """Return the means of the effective initial overlaps, (count, m, k_h)."""
    check_problem(problem)
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
