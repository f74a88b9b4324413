r"""Spectral law of the Hessian for the n curvature weights of a run of dimension d.

The left edge of the limit can lie where no run of ordinary size sees it: at -infinity where D is
unbounded below, or held by values of D that occur in its far tails only. A run of dimension d has
n = delta d values of D, and its spectrum is that of *their* spectral law: n independent copies of D
in place of D, without support points. It has an edge, outliers in hard directions with their
overlaps, and a gap; over draws they scatter, as runs do (setting of Montanari & Wang,
arXiv:2602.01434).

Draws come at step 0 from fresh Gaussians, for D is explicit there; later from the paths of the
trajectory, all replicates together, shuffled and cut into samples of n that share no path. Where
the paths are too few for that, the trajectory is solved again from other seeds. (A trajectory that
starts on hard directions has antithetic pairs of paths, with z_h and -z_h; a sample then may hold
both of a pair, of eight draws or more at most one path in eight.)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Final

import numpy as np

from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.validation import check_integer
from dmft.hessian.hessian import drawn_law
from rmt.overlay import TRACY_WIDOM_MEAN, airy_scale
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dmft.trajectory.trajectory import Trajectory
    from rmt import HessianLaw, Outlier

    FloatArray = NDArray[np.float64]

__all__ = ["FiniteLaw", "finite_law"]

_FEWEST, _MOST = 8, 32  # draws, unless their number is given
_MOST_ASKED = 10**6  # nobody waits for more
# Standard error of the median of normal numbers, in that of their mean.
_OF_MEDIAN: Final = float(np.sqrt(np.pi / 2.0))
_SEED_FAMILY: Final = 771  # apart from the streams that paths are made of


@dataclass(frozen=True, eq=False)
class FiniteLaw:
    """Draws of the spectral law of n curvature weights.

    Shapes: ``draws`` of them, with at most q outliers.

    Attributes
    ----------
    step, d, n : int
    edge : ndarray, shape (draws,)
        Left edge of the bulk in each draw.
    edge_shift : ndarray, shape (draws,)
        How far inside the edge the smallest of m d eigenvalues is on average (Tracy and Widom);
        zero where the density does not vanish as a square root.
    outliers : ndarray, shape (draws, q)
        Outliers left of the bulk, ascending; NaN beyond the last. In all directions at step 0, in
        the hard ones later: n samples do not tell the gradients of many steps apart.
    hard_overlaps : ndarray, shape (draws, q)
        Of each the squared norm of its projection on the hard space; 0 beyond the last.
    hard_gap : ndarray, shape (draws,)
        `rmt.HessianLaw.hard_gap`; NaN without hard directions, or where the edge did not converge.
    status : Status
        SUCCESS, or that of the first draw with an unreliable edge.
    """

    step: int
    d: int
    n: int
    edge: FloatArray
    edge_shift: FloatArray
    outliers: FloatArray
    hard_overlaps: FloatArray
    hard_gap: FloatArray
    status: Status

    def lowest(self, count: int = 1) -> tuple[FloatArray, FloatArray]:
        """Average the smallest eigenvalues expected in a run, and their hard overlaps.

        Parameters
        ----------
        count : int
            How many are averaged over.

        Returns
        -------
        value, hard_overlap : ndarray, shape (draws,)
            For each draw. The place of an outlier that is missing has the edge, with its shift,
            and no overlap.
        """
        missing = max(count - self.outliers.shape[1], 0)
        values = np.pad(self.outliers, ((0, 0), (0, missing)), constant_values=np.nan)[:, :count]
        overlaps = np.pad(self.hard_overlaps, ((0, 0), (0, missing)))[:, :count]
        at_edge = (self.edge + self.edge_shift)[:, np.newaxis]
        values = np.where(np.isnan(values), at_edge, values)
        return values.mean(axis=1), overlaps.mean(axis=1)

    def has_outlier(self, count: int = 1) -> bool:
        """Whether more than half of the draws have as many outliers left of the bulk."""
        if self.outliers.shape[1] < count:
            return False
        return bool(np.mean(np.isfinite(self.outliers[:, count - 1])) > 0.5)

    @staticmethod
    def median(values: FloatArray) -> tuple[float, float, float]:
        """Compute the median over draws, its standard error, and the spread between runs.

        Parameters
        ----------
        values : ndarray, shape (draws,)
            ``edge``, ``hard_gap``, or a result of ``lowest``.
        """
        spread = float(values.std(ddof=1))
        return float(np.median(values)), _OF_MEDIAN * spread / np.sqrt(len(values)), spread


def finite_law(
    trajectory: Trajectory,
    step: int,
    d: int,
    *,
    draws: int | None = None,
) -> FiniteLaw:
    """Draw the spectral law of runs of dimension d at a step.

    Parameters
    ----------
    trajectory : Trajectory
    step : int
        0 to ``trajectory.n_steps``.
    d : int
        Dimension of the runs; they have n = round(delta d) samples.
    draws : int, optional
        Number of independent draws, 2 at least. Beyond step 0 each takes n of the paths; where
        there are fewer than ``draws`` n, the trajectory is solved again, with another seed, as
        often as needed. Default: as many as there are paths for, at least 8, at most 32 (which it
        is at step 0).

    Returns
    -------
    FiniteLaw

    Raises
    ------
    ValueError
        If d or draws is too small, or as `Trajectory.hessian`.
    """
    d = check_integer("d", d, minimum=1)
    limit = trajectory.hessian(step)
    # Curvatures, and coordinates of the samples.
    rows = limit.m**2 + (0 if limit.hard is None else limit.hard.shape[1])
    check_fits("d", d, lambda d: 8.0 * rows * trajectory.delta * d, available_memory())
    n = max(1, round(trajectory.delta * d))
    if draws is None:
        draws = _MOST if step == 0 else int(np.clip(len(limit.weights) // n, _FEWEST, _MOST))
    draws = check_integer("draws", draws, minimum=2, maximum=_MOST_ASKED)
    made = _initial(trajectory, n) if step == 0 else _sampled(trajectory, step, n)
    found = [_draw(law, law.m * d) for law in islice(made, draws)]
    most = max(len(one.outliers) for one in found)
    outliers, overlaps = np.full((draws, most), np.nan), np.zeros((draws, most))
    for i, one in enumerate(found):
        outliers[i, : len(one.outliers)] = [outlier.value for outlier in one.outliers]
        overlaps[i, : len(one.outliers)] = [outlier.hard_overlap for outlier in one.outliers]
    return FiniteLaw(
        step=step,
        d=d,
        n=n,
        edge=np.array([one.edge for one in found]),
        edge_shift=np.array([one.shift for one in found]),
        outliers=outliers,
        hard_overlaps=overlaps,
        hard_gap=np.array([one.gap for one in found]),
        status=next((one.status for one in found if not one.status.ok), Status.SUCCESS),
    )


@dataclass(frozen=True, eq=False)
class _Draw:
    edge: float
    shift: float
    gap: float
    outliers: list[Outlier]
    status: Status


def _draw(law: HessianLaw, size: int) -> _Draw:
    edges = law.edges()
    try:
        shift = float(-TRACY_WIDOM_MEAN * airy_scale(law, size)[0])
    except NumericalFailure:
        shift = np.nan
    outliers: list[Outlier] = []
    if law.span is not None or law.k_hard:
        outliers = law.outliers(throw=False)
    return _Draw(
        edge=float(edges.left),
        shift=shift if np.isfinite(shift) else 0.0,
        gap=law.hard_gap(throw=False) if law.k_hard else np.nan,
        outliers=[outlier for outlier in outliers if outlier.side == "left"],
        status=edges.status,
    )


def _initial(trajectory: Trajectory, n: int) -> Iterator[HessianLaw]:
    """Generate spectral laws of fresh samples at step 0, without end."""
    assert trajectory.problem is not None  # hessian() asks for it
    rng = np.random.default_rng([trajectory.sampling.seed, _SEED_FAMILY])
    while True:
        yield drawn_law(trajectory.problem, trajectory.delta, n, rng)


def _sampled(trajectory: Trajectory, step: int, n: int) -> Iterator[HessianLaw]:
    """Generate spectral laws of samples of the paths at a later step, then of further solves."""
    from rmt import HessianLaw

    rng = np.random.default_rng([trajectory.sampling.seed, _SEED_FAMILY])
    for pool in _pools(trajectory, step, n):
        order = rng.permutation(len(pool.weights))
        for start in range(0, len(order) - n + 1, n):
            chosen = order[start : start + n]
            yield HessianLaw(
                pool.weights[chosen],
                trajectory.delta,
                hard=None if pool.hard is None else pool.hard[chosen],
                shift=pool.shift,
            )


def _pools(trajectory: Trajectory, step: int, n: int) -> Iterator[HessianLaw]:
    """Generate the spectral law of all paths, then of those of other seeds, without end."""
    from dmft.trajectory.solving import solve

    yield trajectory.hessian(step)
    assert trajectory.problem is not None
    sampling = trajectory.sampling
    enough = 1 << (-(-n // sampling.replicates) - 1).bit_length()
    for again in count(1):
        seeds = np.random.SeedSequence([sampling.seed, _SEED_FAMILY, again])
        other = solve(
            trajectory.problem,
            trajectory.delta,
            trajectory.method.until(step),
            dataclasses.replace(
                sampling,
                n_paths=max(sampling.n_paths, enough),
                seed=int(seeds.generate_state(1)[0]),
            ),
            hessian_steps=[step],
            keep_paths=False,
            throw=True,
        )
        yield other.hessian(step)
