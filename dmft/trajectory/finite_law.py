r"""Law of n weights along a trajectory: where the draws of its curvature weights come from.

Draws come at step 0 from fresh Gaussians, for D is explicit there; later from the paths of the
trajectory, all replicates together, shuffled and cut into samples of n that share no path. Where
the paths are too few for that, the trajectory is solved again from other seeds. (A trajectory that
starts on hard directions has antithetic pairs of paths, with z_h and -z_h; a sample then may hold
both of a pair, of eight draws or more at most one path in eight.) The law itself is
`dmft.hessian.finite_law` (setting of Montanari & Wang, arXiv:2602.01434).
"""

from __future__ import annotations

import dataclasses
from itertools import count
from typing import TYPE_CHECKING, Final

import numpy as np

from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.sampling import power_of_two
from dmft._numerics.validation import check_integer
from dmft.hessian.finite_law import (
    DRAWS,
    FiniteLaw,
    check_dimension,
    check_draws,
    law_of_draws,
)
from dmft.hessian.hessian import initial_draws

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dmft._numerics.sampling import Sampling
    from dmft.training.methods import Method
    from dmft.trajectory.trajectory import Trajectory
    from rmt import HessianLaw

__all__ = [
    "check_same_samples",
    "draws_of_paths",
    "finite_law",
    "law_at_dimension",
    "law_of_part",
    "sampling_again",
]

_SEED_FAMILY: Final = 771  # apart from the streams that paths are made of


def finite_law(
    trajectory: Trajectory,
    step: int,
    d: int,
    *,
    draws: int | None = None,
    quantile: bool = False,
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
    quantile : bool
        Whether `FiniteLaw.quantile` is computed too.

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
        draws = DRAWS[1] if step == 0 else int(np.clip(len(limit.weights) // n, *DRAWS))
    assert trajectory.problem is not None  # hessian() asks for it
    if step or trajectory.problem.spectral_start is not None:
        laws = draws_of_paths(trajectory, step, n)
    else:
        seed, constraint = trajectory.sampling.seed, trajectory.method.constraint
        laws = initial_draws(trajectory.problem, trajectory.delta, n, seed, constraint)
    return law_of_draws(
        laws,
        limit,
        check_draws(draws),
        trajectory.config,
        step=step,
        d=d,
        n=n,
        quantile=quantile,
        unstable_share=trajectory.unstable_paths.share_until(step) if step else 0.0,
    )


def law_at_dimension(
    trajectory: Trajectory, step: int, d: int | None, draws: int | None
) -> FiniteLaw:
    """Draw the spectral law of runs of dimension d, if there is one: `Trajectory.hessian`.

    Raises
    ------
    ValueError
        If n = delta d is less than 10 m, there are draws without d, or every step takes fresh
        samples.
    """
    if d is None:
        raise ValueError(f"draws must come with a dimension d, got draws = {draws} alone")
    check_same_samples(trajectory.method)
    d = check_dimension(d, trajectory.delta, trajectory.m)
    return finite_law(trajectory, step, d, draws=draws, quantile=True)


def check_same_samples(method: Method) -> None:
    """Raise ValueError for a method whose steps take fresh samples: d has no n = delta d then."""
    if method.fresh_batches:
        raise ValueError(
            "d must not come with fresh_batches: the Hessian is that of the n = delta d samples of "
            "a run, and every step has samples of its own"
        )


def draws_of_paths(trajectory: Trajectory, step: int, n: int) -> Iterator[HessianLaw]:
    """Generate spectral laws of samples of the paths at a later step, then of further solves."""
    rng = np.random.default_rng([trajectory.sampling.seed, _SEED_FAMILY])
    for pool in _pools(trajectory, step, n):
        order = rng.permutation(len(pool.weights))
        for start in range(0, len(order) - n + 1, n):
            yield law_of_part(pool, trajectory.delta, order[start : start + n])


def law_of_part(law: HessianLaw, delta: float, chosen: NDArray[np.intp]) -> HessianLaw:
    """Return the spectral law of some of the weights of another."""
    from rmt import HessianLaw

    hard = None if law.hard is None else law.hard[chosen]
    return HessianLaw(law.weights[chosen], delta, hard=hard, shift=law.shift)


def sampling_again(sampling: Sampling, family: int, index: int, n: int) -> Sampling:
    """Return the sampling of a further solve: another seed, and n paths in all replicates."""
    seeds = np.random.SeedSequence([sampling.seed, family, index])
    return dataclasses.replace(
        sampling,
        n_paths=max(sampling.n_paths, power_of_two(n / sampling.replicates)),
        seed=int(seeds.generate_state(1)[0]),
    )


def _pools(trajectory: Trajectory, step: int, n: int) -> Iterator[HessianLaw]:
    """Generate the spectral law of all paths, then of those of other seeds, without end."""
    from dmft.trajectory.solving import solve

    yield trajectory.hessian(step)
    assert trajectory.problem is not None
    for again in count(1):
        other = solve(
            trajectory.problem,
            trajectory.delta,
            trajectory.method.until(step),
            sampling_again(trajectory.sampling, _SEED_FAMILY, again, n),
            hessian_steps=[step],
            keep_paths=False,
            throw=True,
        )
        yield other.hessian(step)
