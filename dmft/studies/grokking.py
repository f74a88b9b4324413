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
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import (
    check_array,
    check_instance,
    check_integer,
    check_real,
)
from dmft.io.marks import STEPS, ErrorOf
from dmft.io.saved_result import SavedResult
from dmft.model.features import separate_features
from dmft.model.problem import Problem
from dmft.studies.fall_predictions import Prediction
from dmft.studies.followed_runs import follow, ordered_features
from dmft.studies.initial_overlap import (
    check_method,
    check_problem,
    effective_initial_overlap,
    random_covariance,
)
from dmft.training.gradient_descent import GradientDescent
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

    from dmft.io.report_text import Lines


__all__ = ["Grokking", "GrokkingDrop", "predict_grokking"]

FloatArray = NDArray[np.float64]

# Each initial overlap drawn is a solve: nobody waits for more.
_MOST_DRAWS = 10**6
_PROBABILITIES = (0.1, 0.5, 0.9)
# Antithetic pairs of each feature by itself: so many make 2^4 images of each path.
_MOST_DROPS = 4


@dataclass(frozen=True, eq=False)
class GrokkingDrop:
    """Fall of the test loss by one of several features, of n_d dimensions at n_q probabilities.

    Attributes
    ----------
    directions : ndarray, shape (k, r)
        Orthonormal basis of the feature.
    hard_cosine : ndarray, shape (n_d, n_q, T + 1)
        Largest squared cosine between its directions and the span of the neurons, in the runs of
        `Grokking`.
    fall_level : ndarray, shape (n_d,)
        Halfway between the lowest test loss of runs that have learned the features before, and the
        end of those that have learned this one too; NaN if none has.
    fall_time, fall_time_stderr : ndarray, shape (n_d, n_q)
        As in `Grokking`.

    Examples
    --------
    See `dmft.predict_grokking`.
    """

    _axes: ClassVar = {
        "k": "direction", "r": ".direction_of_feature", "n_d": "d", "n_q": "probability",
        "T": "step",
    }  # fmt: skip

    directions: Annotated[FloatArray, "k r"]
    hard_cosine: Annotated[FloatArray, "n_d n_q T+1"]
    fall_level: Annotated[FloatArray, "n_d"]
    fall_time: Annotated[FloatArray, "n_d n_q", STEPS]
    fall_time_stderr: Annotated[FloatArray, "n_d n_q", STEPS]


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
        SUCCESS; NO_OUTLIER if a small overlap does not grow within T; MAX_STEPS if a time is beyond
        T, more than a tenth of the starts drawn did not fall within T, or ``max_draws`` of them
        left an error above ``rtol``; that of a solve that ended early.
    config : dict
    drops : tuple of GrokkingDrop
        Of several features, one fall each, in their order; the first is that of ``fall_time``.
        Empty unless several were asked for.
    detail : str
        With MAX_STEPS: which limit was reached, of the steps or of the draws; may be empty.

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
        "J": "drop",
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
    drops: tuple[GrokkingDrop, ...] = ()
    detail: str = ""

    @property
    def falls(self) -> tuple[tuple[FloatArray, FloatArray, FloatArray], ...]:
        """Level, time and error of each fall, the only one where there are no `drops`."""
        of = self.drops or (self,)
        return tuple((one.fall_level, one.fall_time, one.fall_time_stderr) for one in of)

    @property
    def drop_time(self) -> Annotated[FloatArray, "J n_d n_q", STEPS]:
        """`fall_time` of every fall, shape (F, n_d, n_q); F is 1 where there are no `drops`."""
        return np.array([time for _, time, _ in self.falls])

    @property
    def drop_time_stderr(self) -> Annotated[FloatArray, "J n_d n_q", STEPS, ErrorOf("drop_time")]:
        """Its errors, shape (F, n_d, n_q)."""
        return np.array([error for _, _, error in self.falls])

    @property
    def steps(self) -> Annotated[NDArray[np.intp], "T", STEPS]:
        """Steps 0, ..., T."""
        return np.arange(self.test_loss.shape[-1])

    def check_settings(self) -> None:
        """Raise unless the settings are complete and allowed, and falls are of these runs."""
        super().check_settings()
        for drop in self.drops:
            sizes = (self.fall_time.shape, self.hard_cosine.shape, self.fall_level.shape)
            if (drop.fall_time.shape, drop.hard_cosine.shape, drop.fall_level.shape) != sizes:
                raise ValueError("drops must be of the dimensions, probabilities and steps of d")

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
    drops: int = 1,
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

    With several `drops` features are learned one after the other. From each start a run is followed
    with the first feature alone, through its fall, the others at exactly zero; the noise that the
    data add along the second is drawn along this run, and the run with both starts from the overlap
    of the weights with the second and goes on under that noise; likewise for later ones. The fall
    by a feature is through the level between runs without it and with it. Runs that have not
    fallen by the last step are left out of the fit, so that its times are early: where more than a
    tenth of them have not, the status is MAX_STEPS, and a larger ``n_steps`` mends it.

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
    drops : int
        Number of features whose falls are predicted, 4 at most: groups of hard directions with
        labels that do not change when the coordinates of one group alone change sign, in the order
        in which small overlaps with them grow. By default one fall, of all hard directions.
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
    >>> two = dmft.Target(lambda z, eps: z[:, 0] ** 2 + 0.3 * z[:, 1] ** 2, k=2)
    >>> problem = dmft.Problem(two, dmft.Network("quadratic", [1.0, 1.0]), "pseudo-huber")
    >>> found = dmft.predict_grokking(
    ...     problem, 16.0, dmft.GradientDescent(0.2, 8), d=300, drops=2, n_draws=4, max_draws=4,
    ...     sampling=dmft.Sampling(256, 4),
    ... )
    >>> [int(drop.directions.argmax()) for drop in found.drops], found.drops[1].fall_time.shape
    ([0, 1], (1, 3))
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
    drops = check_integer("drops", drops, minimum=1, maximum=_MOST_DROPS)
    execution = Execution(threads, progress, throw=throw)
    rtol = check_real("rtol", rtol, minimum=0.0, exclusive=True)
    means = _checked_overlaps(hard_overlap, problem, len(dimensions))
    features = _checked_features(problem, drops)
    law = effective_initial_overlap(problem, delta, method, sampling, execution)

    ordered = ordered_features(problem, law, features)[:drops]
    plateau = follow(problem, delta, method, sampling, np.zeros_like(means[0]), execution)
    prediction = Prediction(
        problem,
        delta,
        method,
        sampling,
        law,
        random_covariance(problem) if hard_overlap is None else 0.0,
        ordered,
        plateau,
        levels,
    )
    n_first = len(levels) if means[0].size == 1 else n_draws
    with execution.shown(n_first * len(dimensions), "predicted runs") as execution:
        found = [
            prediction.at(dimension, mean, (n_draws, max_draws), rtol, execution)
            for dimension, mean in zip(dimensions, means, strict=True)
        ]
    fall_level, fall_time, fall_time_stderr = (
        np.array([getattr(one, name) for one in found]) for name in ("level", "time", "stderr")
    )
    status = first_failure([*(one.status for one in reversed(found)), plateau.status])
    if status.ok and np.max(law.largest_gain) <= 1.0:
        status = Status.NO_OUTLIER
    elif status.ok and any(one.detail for one in found):
        status = Status.MAX_STEPS
    detail = ""
    if status is Status.MAX_STEPS:
        detail = " ".join(one.detail for one in found if one.detail)
    chosen = [one.runs for one in found]
    result = Grokking(
        d=dimensions,
        probabilities=levels,
        **{
            name: np.array([[getattr(run, name) for run in runs] for runs in chosen])
            for name in ("start", "hard_cosine", "train_loss", "test_loss")
        },
        fall_level=fall_level[:, 0],
        fall_time=fall_time[:, 0],
        fall_time_stderr=fall_time_stderr[:, 0],
        n_starts=np.array([one.n_starts for one in found], dtype=np.intp),
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
        drops=tuple(
            GrokkingDrop(
                directions=feature,
                hard_cosine=np.array([[run.feature_cosines[j] for run in runs] for runs in chosen]),
                fall_level=fall_level[:, j],
                fall_time=fall_time[:, j],
                fall_time_stderr=fall_time_stderr[:, j],
            )
            for j, feature in enumerate(ordered)
        ),
        detail=detail,
    )
    execution.settle(status, f"{detail} Times of the fall: {fall_time.tolist()}.".lstrip())
    return result


# -- checks ------------------------------------------------------------------------------------


def _checked_dimensions(d: int | Sequence[int], problem: Problem) -> tuple[int, ...]:
    values = list(d) if isinstance(d, Iterable) else [d]
    if not values:
        raise ValueError("d must name at least one dimension, got none")
    least = problem.k + problem.m + 1
    dimensions = tuple(check_integer("d", value, minimum=least) for value in values)
    if len(set(dimensions)) < len(dimensions):
        raise ValueError(f"d must name distinct dimensions, got {values}")
    return dimensions


def _checked_features(problem: Problem, drops: int) -> tuple[FloatArray, ...]:
    """Return the features of the label, if several falls are asked for and it has enough."""
    if drops == 1:
        return ()
    features = separate_features(problem.target)
    if drops > len(features):
        raise ValueError(
            f"drops must be at most {len(features)}, the features of label "
            f"{problem.target.name!r} whose hard coordinates can change sign without the others, "
            f"got {drops}"
        )
    return features


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
