r"""The gap at dimension d: that of the law of n = delta d curvature weights, a median over draws.

The gap of the limit is that of all values that D can have. A run of dimension d has n of them, and
its Hessian the gap of their law (`dmft.hessian.finite_law`); the root of its median over draws is
delta_NN(t; d). It drifts with log d where D is unbounded below, and goes to delta_NN(t) where it is
not (setting of Montanari & Wang, arXiv:2602.01434).

All deltas of a search share their random numbers: a draw keeps its place among the paths (at step
0 its Gaussians), and takes the first n of them. One more sample would move the gap by a jump, so it
is interpolated linearly in log n between neighbours of a geometric grid: it varies with log d, and
so with log n, slowly. The gap of each draw, and their median, are continuous in delta.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.workers import Threads, single_threaded_blas, worker_count
from dmft.hessian.finite_law import BAND, DRAWS, DrawnMedian, check_dimension, check_draws
from dmft.hessian.gap_samples import GapSample
from dmft.hessian.hessian import nested_draw
from dmft.threshold.gap_memo import Evaluation, GapMemo
from dmft.trajectory.finite_law import check_same_samples, law_of_part, sampling_again
from dmft.trajectory.solving import solve_with
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dmft._numerics.execution import Execution
    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.training.methods import Method
    from dmft.trajectory.trajectory import Trajectory
    from rmt import HessianLaw

    FloatArray = NDArray[np.float64]

__all__ = ["FiniteSize", "FiniteSizeMemo", "gap_memo"]

_SEED_FAMILY: Final = 772  # apart from the streams that paths are made of, and from other draws
_GRID: Final = 2.0**0.25  # ratio of neighbouring n between which gaps are interpolated
# At step 0 draws are cheap: so many weights of all draws together, within so many draws.
_AT_START: Final = 2**22
_DRAWS_AT_START: Final = (32, 256)
_LARGEST_POOL: Final = 2**20  # paths of all replicates that are solved for draws, unless n is more


@dataclass(frozen=True)
class FiniteSize:
    """Dimension of the runs that a threshold is about.

    Attributes
    ----------
    d : int
    draws : int or None
        None for the default number.
    highest : float
        The largest delta of the search.
    """

    d: int
    draws: int | None
    highest: float

    @classmethod
    def checked(
        cls,
        d: int | None,
        draws: int | None,
        problem: Problem,
        method: Method,
        bracket: tuple[float, float],
        **others: object,
    ) -> FiniteSize | None:
        """Check the dimension of a search, and that nothing else is asked for that is the limit's.

        Raises
        ------
        ValueError
            If d or draws is out of range, steps take fresh samples, or one of the `others` (rtol,
            digits) is given, which are about the limit.
        """
        if d is None:
            if draws is not None:
                raise ValueError(f"draws must come with a dimension d, got draws = {draws} alone")
            return None
        for name, value in others.items():
            if value is not None:
                raise ValueError(
                    f"{name} must not come with d: the error at dimension d is that of a median "
                    "over draws, give draws instead"
                )
        check_same_samples(method)
        size = check_dimension(d, bracket[0], problem.m)
        rows = problem.k + 2 * problem.m**2 + 1
        check_fits("d", size, lambda d: 8.0 * rows * bracket[1] * d, available_memory())
        return cls(size, None if draws is None else check_draws(draws), bracket[1])


class FiniteSizeMemo(GapMemo):
    """Memo of the gap at dimension d.

    Parameters
    ----------
    size : FiniteSize
    problem, method, sampling, execution
        As for `GapMemo`; the errors are those of draws, and make up so many replicates as the
        sampling has.
    **more
        Likewise.
    """

    shows_bias = False  # replicates are those of a median

    def __init__(
        self,
        size: FiniteSize,
        problem: Problem,
        method: Method,
        sampling: Sampling,
        execution: Execution,
        **more: Any,
    ) -> None:
        super().__init__(problem, method, sampling, execution, **more)
        self.size = size
        self._place = _neighbours(size.highest * size.d)[1]
        self._drawn: dict[float, dict[int, FloatArray]] = {}

    def draws(self, step: int) -> int:
        """Return the number of draws at a step: a multiple of the replicates."""
        asked = self.size.draws
        if asked is None:
            paths = self.sampling.n_paths * self.sampling.replicates
            most = DRAWS if step else _DRAWS_AT_START
            asked = int(np.clip((paths if step else _AT_START) // self._place, *most))
        groups = self.sampling.replicates
        return -(-asked // groups) * groups

    def band(self, step: int) -> tuple[float, float]:
        """Return the ends of the band in which 68 % of the draws have their own threshold."""
        deltas = [delta for delta in sorted(self._drawn) if step in self._drawn[delta]]
        if not deltas:  # runs ended before
            return np.nan, np.nan
        gaps = np.array([self._drawn[delta][step][:, self.which.index - 1] for delta in deltas])
        roots = [_own_root(np.log(deltas), gap) for gap in gaps.T]
        lower, upper = np.exp(np.quantile(roots, BAND, method="nearest")).tolist()
        return lower, upper

    def _initial(self, delta: float) -> Evaluation:
        """Compute the gap at step 0, of fresh samples."""
        seeds = [self.sampling.seed, _SEED_FAMILY]

        def laws(draw: int, counts: Sequence[int]) -> list[HessianLaw]:
            rng = np.random.default_rng([*seeds, draw])
            return nested_draw(self.problem, delta, counts, rng, self.method.constraint)

        return Evaluation(self._median(delta, 0, laws), 0.0)

    def _reader(
        self, trajectory: Trajectory, steps: Sequence[int], part: Execution
    ) -> Callable[[int], GapSample]:
        """Return the function that computes the gap at a step, with paths for all draws."""
        pools = self._pools(trajectory, steps, part)
        delta = trajectory.delta

        def read(step: int) -> GapSample:
            failed = [pool for pool in pools if pool.n_steps < step]
            if failed:
                return self._missing(failed[0].status)
            limits = [pool.hessian(step, keep=False) for pool in pools]
            places = self._places(pools)

            def laws(draw: int, counts: Sequence[int]) -> list[HessianLaw]:
                index, chosen = places[draw]
                return [law_of_part(limits[index], delta, chosen[:n]) for n in counts]

            return self._median(delta, step, laws)

        return read

    def _pools(
        self, trajectory: Trajectory, steps: Sequence[int], part: Execution
    ) -> list[Trajectory]:
        """Solve again from other seeds until there are paths for all draws."""
        pools, missing = [trajectory], self.draws(steps[-1])
        missing -= _n_paths(trajectory) // self._place
        while missing > 0:
            at_once = min(missing, max(_LARGEST_POOL // self._place, 1))
            wanted = at_once * self._place
            sampling = sampling_again(self.sampling, _SEED_FAMILY, len(pools), wanted)
            pools.append(
                solve_with(
                    replace(part.part(f"draws-{len(pools)}"), progress=None),
                    self.problem,
                    trajectory.delta,
                    self.method.until(steps[-1]),
                    sampling,
                    hessian_steps=steps,
                )
            )
            missing -= _n_paths(pools[-1]) // self._place
        return pools

    def _places(self, pools: Sequence[Trajectory]) -> list[tuple[int, NDArray[np.intp]]]:
        """Return pool and paths of each draw, the same at all delta."""
        places = []
        for index, pool in enumerate(pools):
            rng = np.random.default_rng([self.sampling.seed, _SEED_FAMILY, index])
            order = rng.permutation(_n_paths(pool))
            for start in range(0, len(order) - self._place + 1, self._place):
                places.append((index, order[start : start + self._place]))
        return places

    def _median(
        self, delta: float, step: int, laws: Callable[[int, Sequence[int]], list[HessianLaw]]
    ) -> GapSample:
        """Compute medians of levels and edge over draws, and pseudo-replicates with their errors.

        Medians of ordered levels: in single draws even those of symmetric features are apart.
        """
        lower, upper, weight = _neighbours(delta * self.size.d)
        counts = [lower] if weight == 0.0 else [lower, upper]

        def read(draw: int) -> list[GapSample]:
            return [self._sample(law) for law in laws(draw, counts)]

        n_draws = self.draws(step)
        n_workers = worker_count(self.execution.threads, n_draws)
        try:
            with single_threaded_blas(), Threads(n_workers) as pool:
                found = list(pool.map(read, range(n_draws)))
        except NumericalFailure as failure:
            return self._missing(failure.status)
        failed = [one.status for pair in found for one in pair if not one.status.ok]
        if failed:
            return self._missing(failed[0])
        levels = np.array([_between([one.levels[0] for one in pair], weight) for pair in found])
        edge = np.array([_between([one.edge[0] for one in pair], weight) for pair in found])
        self._drawn.setdefault(delta, {})[step] = levels
        groups, index = self.sampling.replicates, self.which.index
        rows = np.stack([_pseudo_replicates(level, groups) for level in levels.T], axis=1)
        return GapSample(
            gap=rows[:, index - 1],
            edge=_pseudo_replicates(edge, groups),
            edge_sensitivity=0.0,
            status=Status.SUCCESS,
            levels=rows,
            noise=np.zeros((rows.shape[1], rows.shape[1])),
            index=index,
        )


def gap_memo(
    size: FiniteSize | None,
    problem: Problem,
    method: Method,
    sampling: Sampling,
    execution: Execution,
    **more: Any,
) -> GapMemo:
    """Return the memo of a gap: of runs of dimension d, or of the limit."""
    if size is None:
        return GapMemo(problem, method, sampling, execution, **more)
    return FiniteSizeMemo(size, problem, method, sampling, execution, **more)


def _neighbours(n: float) -> tuple[int, int, float]:
    """Return neighbours of n on a geometric grid of integers, and the weight of the upper one."""
    power = int(np.log(n) / np.log(_GRID))
    grid = sorted({int(np.rint(_GRID**near)) for near in range(power - 1, power + 3)})
    below = max(count for count in grid if count <= n)
    above = min(count for count in grid if count > n)
    return below, above, float(np.log(n / below) / np.log(above / below))


def _between(values: Sequence[Any], weight: float) -> Any:
    """Interpolate between two values, or arrays of them; one alone is the value."""
    return values[0] if len(values) == 1 else (1 - weight) * values[0] + weight * values[1]


def _n_paths(trajectory: Trajectory) -> int:
    return trajectory.sampling.n_paths * trajectory.sampling.replicates


def _pseudo_replicates(values: FloatArray, groups: int) -> FloatArray:
    """Return the median, and numbers around it whose standard error of the mean is the median's.

    Medians of groups of draws, about their mean, scaled: searches take all errors from replicates.
    """
    median = DrawnMedian.of(values)
    rows = np.array([np.median(values[index::groups]) for index in range(groups)])
    scatter = float(rows.std(ddof=1)) / np.sqrt(groups)
    scale = median.stderr / scatter if scatter > 0.0 else 0.0
    return np.concatenate([[median.value], median.value + scale * (rows - rows.mean())])


def _own_root(x: FloatArray, gap: FloatArray) -> float:
    """Find the last zero through which a draw's gap turns negative; infinite outside the grid."""
    if gap[-1] >= 0.0:
        return np.inf
    positive = np.flatnonzero(gap >= 0.0)
    if not len(positive):
        return -np.inf
    i = positive[-1]
    return float(x[i] + gap[i] / (gap[i] - gap[i + 1]) * (x[i + 1] - x[i]))
