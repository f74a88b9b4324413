r"""The threshold delta_NN(t; d) against the dimension d, beside that of the limit.

Runs of dimension d have n = delta d curvature weights, and the threshold of *their* law. Where D is
unbounded below, it drifts with log d for ever; where D is bounded it settles at delta_NN(t), for
edges held by far tails at dimensions that no run reaches (setting of Montanari & Wang,
arXiv:2602.01434).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_integer
from dmft.io.marks import DELTA, ErrorOf
from dmft.io.saved_result import SavedResult
from dmft.threshold.finite_size import FiniteSize
from dmft.threshold.question import check_question, expected_solves
from dmft.threshold.search import find_delta_nn
from dmft.threshold.threshold import Threshold
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from dmft.io.report_text import Lines
    from dmft.model.problem import Problem
    from dmft.training.methods import Method
    from rmt.hard import Criterion

__all__ = ["ThresholdsAtSizes", "delta_nn_at_sizes"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class ThresholdsAtSizes(
    SavedResult, kind="thresholds at sizes", settings=("problem", "method", "sampling")
):
    """delta_NN(t; d) at several dimensions d, and in the limit.

    Attributes
    ----------
    thresholds : tuple of Threshold
        One for each dimension, ascending.
    limit : Threshold
        Of the limit; its status is UNBOUNDED_EDGE where that has no threshold.
    config : dict
        Problem, method, sampling as plain types.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "square")
    >>> method = dmft.GradientDescent(step_size=0.05, n_steps=0)
    >>> found = dmft.delta_nn_at_sizes(problem, method, (0.5, 16), [500, 2000], draws=32)
    >>> found.limit.status.name, bool(1.8 < found.value[0] < found.value[1] < 4.5)
    ('UNBOUNDED_EDGE', True)
    """

    _axes: ClassVar = {"J": "d"}
    _rows: ClassVar = ("d",)
    _shown: ClassVar = ("value",)

    thresholds: tuple[Threshold, ...]
    limit: Threshold
    config: dict[str, Any] = field(repr=False)

    @property
    def d(self) -> Annotated[tuple[int, ...], "J"]:
        """Dimensions, ascending."""
        return tuple(one.d or 0 for one in self.thresholds)

    @property
    def value(self) -> Annotated[FloatArray, "J", DELTA]:
        """delta_NN(t; d), NaN where there is none."""
        return np.array([one.value for one in self.thresholds])

    @property
    def stderr(self) -> Annotated[FloatArray, "J", DELTA, ErrorOf("value")]:
        """Standard error of each."""
        return np.array([one.stderr for one in self.thresholds])

    @property
    def lower(self) -> Annotated[FloatArray, "J", DELTA]:
        """Lower end of the band in which 68 % of single runs have their threshold."""
        return np.array([one.band[0] for one in self.thresholds])

    @property
    def upper(self) -> Annotated[FloatArray, "J", DELTA]:
        """Upper end of that band."""
        return np.array([one.band[1] for one in self.thresholds])

    @property
    def step(self) -> int:
        """The horizon t."""
        return self.limit.step

    @property
    def drifts(self) -> bool:
        """Whether the threshold grows with log d without end: D is unbounded below."""
        return self.limit.status is Status.UNBOUNDED_EDGE

    @property
    def status(self) -> Status:
        """SUCCESS, or the first other status: of a dimension, then of the limit.

        That of a limit where D is unbounded below is a result, and no failure of the whole.
        """
        every = [*self.thresholds, *([] if self.drifts else [self.limit])]
        return first_failure(one.status for one in every)

    def _report(self) -> tuple[Lines, str]:
        from dmft.threshold.report import sizes_lines, sizes_table

        return sizes_lines(self), sizes_table(self)

    def check_settings(self) -> None:
        """Raise unless the settings are complete and allowed, and dimensions ascend."""
        super().check_settings()
        if not self.d or min(self.d) < 1 or list(self.d) != sorted(set(self.d)):
            raise ValueError(f"d must be ascending dimensions, got {self.d}")
        for one in (*self.thresholds, self.limit):
            one.check_settings()


def delta_nn_at_sizes(
    problem: Problem,
    method: Method,
    bracket: Sequence[float],
    d: Iterable[int],
    step: int | None = None,
    sampling: Sampling | None = None,
    *,
    draws: int | None = None,
    scan_points: int = 9,
    threads: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_memory: float | None = None,
    criterion: Criterion = "negative",
    index: int = 1,
    throw: bool = False,
) -> ThresholdsAtSizes:
    """Find the threshold delta_NN(t; d) at several dimensions, and that of the limit.

    Parameters
    ----------
    problem, method, bracket, step, sampling
        As in :func:`dmft.find_delta_nn`; the bracket must hold the thresholds at all dimensions.
    d : iterable of int
        Dimensions, at least one.
    draws, scan_points, threads, progress, checkpoint, max_memory, criterion, index : optional
        Likewise.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.

    Returns
    -------
    ThresholdsAtSizes

    Raises
    ------
    ValueError
        As :func:`dmft.find_delta_nn`, or if there is no dimension.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    GELU under the pseudo-Huber loss has a limit, near which runs of d = 1000 are:

    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(step_size=0.2, n_steps=10)
    >>> found = dmft.delta_nn_at_sizes(problem, method, (0.5, 4), [1000], 0, draws=32)
    >>> print(f"{found.limit.value:.3f}", bool(abs(found.value[0] - 0.923) < 0.1))
    0.923 True
    """
    sampling = Sampling() if sampling is None else sampling
    ends = check_question(problem, method, bracket, sampling)
    sizes = _checked_sizes(d)
    for size in sizes:
        FiniteSize.checked(size, draws, problem, method, ends)
    asked = Execution(threads, progress, checkpoint, max_memory=max_memory, throw=throw)
    total = (len(sizes) + 1) * expected_solves(scan_points)
    with asked.shown(total, "values of delta") as execution:

        def found(name: str, **more: Any) -> Threshold:
            part = execution.part(name)
            return find_delta_nn(
                problem,
                method,
                ends,
                step,
                sampling,
                scan_points=scan_points,
                criterion=criterion,
                index=index,
                **part.options("threads", "checkpoint", "max_memory"),
                # A function of its own, which announces no total of a part.
                progress=None if execution.counting is None else execution.advance,
                **more,
            )

        limit = found("limit")
        at_sizes = tuple(found(f"d-{size}", d=size, draws=draws) for size in sizes)
    result = ThresholdsAtSizes(at_sizes, limit, limit.config)
    every = (*result.thresholds, result.limit)
    detail = next((one.detail for one in every if one.status is result.status), "")
    execution.settle(result.status, detail)
    return result


def _checked_sizes(d: Iterable[int]) -> list[int]:
    if not isinstance(d, Iterable) or isinstance(d, str | bytes):
        raise ValueError(f"d must be a list of dimensions, got {d!r}")
    sizes = sorted({check_integer("d", size, minimum=1) for size in d})
    if not sizes:
        raise ValueError("d must hold at least one dimension, got none")
    return sizes
