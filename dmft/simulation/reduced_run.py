r"""Draw runs of dimension d in the few coordinates that gradient descent sees.

Gradient descent meets its n inputs only as products X u with the directions u that span its
weights, and X^T e with its gradients. Given the products so far, the rest of a Gaussian X is a
fresh Gaussian matrix between the orthogonal complements (Lu, arXiv:2101.07464). So a run of
dimension d can be drawn without an n x d matrix: by the coordinates q that the limit has, too
(Montanari & Wang, arXiv:2602.01434; theory, section 2), one path for each of the n samples,
averages over these n alone, and the length of a Gaussian in the remaining dimensions in place of
sqrt(d). With e the innovation of a gradient, of norm one in R^n, the p-th coordinate is

.. math:: q = \chi_{d-p}\, e + \Big(I - \sum_{e'} e' e'^T\Big) \zeta, \qquad \zeta \sim N(0, I_n),

the sum over all innovations up to e. In law this is a run at that d, not to leading order in 1/d:
overlap of the start, noise of the data, and the growth that its own n samples give. Innovations
that would receive too small a weight are left out, as in the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.machine_memory import available_memory, check_fits
from dmft.model.drawn_inputs import scaled
from dmft.model.gradients import pre_activation_gradient
from dmft.observables.alignment import hard_cosine
from dmft.simulation.descent import descend
from dmft.simulation.finite_data import initial_weights
from rmt._blas import single_threaded_blas
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.model.problem import Problem
    from dmft.simulation.simulation_plan import SimulationPlan

__all__ = ["ReducedRun", "check_reducible", "reduced_run"]

Array = NDArray[np.float64]

_FAMILY: Final = 19  # apart from the streams of `dmft.simulation.finite_data`
# Innovations are left out whose weight after a step is less than this, in units of the radius. What
# is left out grows where the bulk has negative eigenvalues: 1e-5 is seen after sixty steps.
_TOLERANCE: Final = 1e-8
# An innovation below this share of its gradient is rounding.
_ROUNDING: Final = 1e-11


@dataclass(frozen=True, eq=False)
class ReducedRun:
    """One run, drawn in reduced coordinates.

    Attributes
    ----------
    overlap : ndarray, shape (T+1, m, k)
        M(t); NaN from where the run diverged.
    correlation : ndarray, shape (T+1, m, m)
        Theta^T Theta.
    train_loss, hard_cosine : ndarray, shape (T+1,)
    rank : int
        Number of coordinates at the end.
    status : Status
        SUCCESS, DIVERGED or NONFINITE.
    """

    overlap: Array
    correlation: Array
    train_loss: Array
    hard_cosine: Array
    rank: int
    status: Status


def check_reducible(plan: SimulationPlan, n_runs: int = 1) -> None:
    """Raise unless runs have reduced coordinates, and so many at a time fit in memory.

    Raises
    ------
    ValueError
        If every step has samples of its own, the start depends on the data, or d is too large.
    """
    if plan.method.fresh_batches:
        raise ValueError(
            "method must not have fresh_batches for runs in reduced coordinates, whose steps use "
            "the same n samples"
        )
    if plan.problem.spectral_start is not None:
        raise ValueError(
            "problem must not have a spectral_start for runs in reduced coordinates, which have no "
            "matrix of the data to take an eigenvector of"
        )

    def needed(d: int) -> float:
        return 16.0 * n_runs * plan.delta * d * _most_coordinates(plan, d)

    least = plan.problem.k + plan.problem.m
    check_fits("d", plan.d, needed, available_memory(), least=least)


def reduced_run(plan: SimulationPlan, seed: int, draw: int = 0) -> ReducedRun:
    """Draw one run of the plan, with one BLAS thread.

    Parameters
    ----------
    plan : SimulationPlan
        With Gaussian inputs, or those of its problem. Steps of Hessians are not looked at.
    seed, draw : int
        Numbers are those of (seed, draw, d, n).

    Returns
    -------
    ReducedRun

    Examples
    --------
    >>> import dmft
    >>> from dmft.simulation.simulation_plan import SimulationPlan
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> plan = SimulationPlan.of(problem, 8.0, dmft.GradientDescent(0.2, 20), 10_000)
    >>> run = reduced_run(plan, seed=0)
    >>> run.status.name, run.rank, run.hard_cosine.shape
    ('SUCCESS', 22, (21,))
    """
    with np.errstate(all="ignore"), single_threaded_blas():
        return _reduced_run(plan, seed, draw)


def _reduced_run(plan: SimulationPlan, seed: int, draw: int) -> ReducedRun:
    problem, method, n, d = plan.problem, plan.method, plan.n, plan.d
    sequence = np.random.SeedSequence(seed, spawn_key=(_FAMILY, d, n, draw))
    rng = np.random.default_rng(sequence)
    m, k, width = problem.m, problem.k, _most_coordinates(plan, d)
    weights, _ = initial_weights(problem, np.eye(k, d), plan.imposed, rng)
    theta = np.zeros((m, width))
    theta[:, :k] = weights[:, :k]
    theta[:, k : k + m] = np.linalg.qr(weights[:, k:].T)[1].T
    x, eps = rng.standard_normal((k + m, n)), rng.standard_normal(n)
    scales, component = np.empty(0), None
    if problem.inputs is not None:
        drawn = problem.inputs.draw(x[:k], rng.standard_normal((problem.inputs.n_normals, n)))
        z, scales, component = drawn.z, drawn.scales, drawn.component
    else:
        z = x[:k]
    y = problem.sample_labels(np.ascontiguousarray(z.T), eps, component)
    x[:k] = scaled(z, 1.0 / scales)
    # What a gradient is multiplied with until its direction is forgotten.
    step = float(np.max(method.step_sizes, initial=0.0)) / (1.0 - method.momentum)
    smallest = _TOLERANCE * (problem.largest_radius or 1.0) / step if step else np.inf
    samples = _Samples(x, y, scales, d, rng, smallest)
    run = descend(
        problem,
        np.empty((n, 0)),
        y,
        theta,
        np.eye(k, width),
        method,
        hold_hard=plan.hold_hard,
        masks=lambda _: rng.random(n) < method.batch_fraction,
        evaluate=samples.evaluate,
    )
    cosine = hard_cosine(run.overlap, run.correlation, problem.target.hard_basis)
    return ReducedRun(run.overlap, run.correlation, run.train_loss, cosine, samples.p, run.status)


def _most_coordinates(plan: SimulationPlan, d: int) -> int:
    m = plan.problem.m
    return int(min(plan.problem.k + m * (plan.method.n_steps + 1), d))


class _Samples:
    """The n samples in the coordinates seen so far, which gradients extend."""

    def __init__(
        self,
        coordinates: Array,
        y: Array,
        scales: Array,
        d: int,
        rng: np.random.Generator,
        smallest: float,
    ) -> None:
        self.p, self.n = coordinates.shape
        self._q = coordinates
        self._innovations = np.empty((0, self.n))
        self._n_innovations = 0
        self._y, self._scales, self._d, self._rng = y, scales, d, rng
        self._smallest = smallest

    def evaluate(
        self, problem: Problem, theta: Array, r: Array, batch: Array | None
    ) -> tuple[Array, Array, Array, Array, float]:
        """Compute what a pass over the inputs does; all gradients are those of the batch."""
        r[...] = scaled(theta[:, : self.p] @ self._q[: self.p], self._scales)
        g, loss = pre_activation_gradient(problem, r, self._y)
        g_scaled = scaled(g, self._scales)
        used = g_scaled if batch is None else g_scaled * batch
        of_biases = (g if batch is None else g * batch).mean(axis=1)
        for row in used:
            if self.p < theta.shape[1]:
                self._extend(row)
        gradient = np.zeros(theta.shape)
        gradient[:, : self.p] = used @ self._q[: self.p].T / self.n
        moment = g_scaled @ g_scaled.T / self.n
        return gradient, gradient.copy(), of_biases, moment, float(np.mean(loss))

    def _extend(self, row: Array) -> None:
        """Add the coordinate that the innovation of a gradient (n,) opens, if it is large."""
        count = self._n_innovations
        before = self._innovations[:count]
        innovation = row - (before @ row) @ before
        innovation -= (before @ innovation) @ before  # once is not enough: errors would grow
        whole, size = float(np.linalg.norm(row)), float(np.linalg.norm(innovation))
        weight = size * np.sqrt(self._d - self.p) / self.n
        if not (weight > self._smallest and size > _ROUNDING * whole):
            return
        self._innovations = _with_room(self._innovations, count)
        self._q = _with_room(self._q, self.p)
        self._innovations[count] = innovation / size
        self._n_innovations = count + 1
        seen = self._innovations[: count + 1]
        fresh = self._q[self.p]
        self._rng.standard_normal(out=fresh)
        fresh -= (seen @ fresh) @ seen
        fresh += np.sqrt(self._rng.chisquare(self._d - self.p)) * seen[count]
        self.p += 1


def _with_room(rows: Array, count: int) -> Array:
    """Return rows with room for one more after the first `count`: twice as many when needed."""
    if count < len(rows):
        return rows
    wider = np.empty((max(2 * count, 16), rows.shape[1]))
    wider[:count] = rows[:count]
    return wider
