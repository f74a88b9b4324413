r"""Law of the effective initial overlap with hard directions at finite dimension.

At finite d the overlap with a hard direction is not zero but O(d^-1/2): that of the random initial
weights, and what n samples add to it at every step. While it is small its law is known. With
antithetic paths of `dmft.solve` in the hard coordinates, let Rh(t, u) be the response of M(t) to a
small perturbation of M(u). To leading order in 1/d, sqrt(d) M(t) is Gaussian with

    mean        gain(t) sqrt(d) M(0),                           gain(t) = Rh(t, 0),
    covariance  (1/delta) sum_{s, s' < t} eta^2 Rh(t, s+1) E[g^s g^s'^T (x) z_h z_h^T] Rh(t, s'+1)^T

in the setting of Montanari & Wang, arXiv:2602.01434. So the noise of the data acts as if the
initial overlap had been drawn from N(M(0), S/d), S = gain^-1 covariance gain^-T at the end of the
linear stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import Sampling
from dmft.model.features import inputs_are_even
from dmft.model.gradients import pre_activation_gradient
from dmft.model.spectral_start import stated_overlap
from dmft.solver.replicates import solve_antithetic
from rmt.status import NumericalFailure

if TYPE_CHECKING:
    from dmft._numerics.execution import Execution
    from dmft.model.problem import Problem
    from dmft.solver.runs import Run
    from dmft.training.gradient_descent import GradientDescent

__all__ = [
    "InitialOverlapLaw",
    "check_method",
    "check_problem",
    "effective_initial_overlap",
    "free_gram",
    "free_radii",
    "random_covariance",
]

FloatArray = NDArray[np.float64]

# Size of the perturbations that responses are measured with, in units of the radius: large enough
# for pairs of paths to stay antithetic to rounding, small enough to be linear.
_PERTURBATION = 1e-3
# The linear stage ends where a perturbation has grown to this, in the same units.
_END_OF_LINEAR_STAGE = 0.03
# Modes of the data noise below this share of its trace are neglected.
_SMALLEST_MODE = 1e-4
# The response to a mode is measured with a perturbation of the size above, unless steps are so
# short that the force would overflow.
_LARGEST_FORCING = 1e150
# Directions of the overlap that grow less than this, relative to the fastest, carry no initial one.
_SMALLEST_GAIN = 1e-2


@dataclass(frozen=True, eq=False)
class InitialOverlapLaw:
    """Law of the effective initial overlap with the hard directions, N(M(0), covariance / d).

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
        return np.asarray(np.linalg.norm(matrices, ord=2, axis=(1, 2)))

    def amplitudes(self, overlaps: FloatArray) -> FloatArray:
        """Return log |gain M(0)| where the gain is largest, for overlaps M(0) (N, m, k_h)."""
        size = self.covariance.shape[0]
        gain = self.gain.reshape(len(self.gain), size, size)[int(np.argmax(self.largest_gain))]
        grown = np.linalg.norm(overlaps.reshape(len(overlaps), size) @ gain.T, axis=1)
        return np.asarray(np.log(np.maximum(grown, np.finfo(float).tiny)))


def effective_initial_overlap(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    sampling: Sampling | None = None,
    execution: Execution | None = None,
) -> InitialOverlapLaw:
    """Compute the law of the effective initial overlap, to which the noise of the data adds.

    Parameters
    ----------
    problem : Problem
        As in :func:`dmft.predict_grokking`.
    delta : float
    method : GradientDescent
        The linear stage ends at the latest with its last step.
    sampling : Sampling, optional
    execution : Execution, optional
        Its threads.

    Returns
    -------
    InitialOverlapLaw

    Raises
    ------
    ValueError
        If the problem has no hard direction, labels that are not even in them, an initial radius
        of zero, or an overlap with them of its own; if ``method`` has no step, or other options
        than its one step size.
    NumericalFailure
        If gradient descent diverges within the linear stage.
    """
    check_problem(problem)
    check_method(method)
    if method.n_steps < 1:
        raise ValueError(f"method must have n_steps >= 1, got {method.n_steps}")
    m, k_h = problem.m, problem.target.hard_basis.shape[1]
    size, radii = m * k_h, free_radii(problem)
    sizes = np.repeat(_PERTURBATION * radii, k_h)

    solve = partial(
        solve_antithetic,
        delta=delta,
        method=method,
        sampling=Sampling() if sampling is None else sampling,
        execution=execution,
    )
    gain = np.zeros((method.n_steps + 1, size, size))
    for index in range(size):
        perturbed = np.zeros(size)
        perturbed[index] = sizes[index]
        run = solve(problem.with_hard_overlap(perturbed.reshape(m, k_h)))
        if run.n_times < len(gain):  # unless others have ended the linear stage before
            reaches = np.abs(_hard_overlap(run, problem)) > _END_OF_LINEAR_STAGE * radii[:, None]
            if not reaches.any():
                _check_run(run)
        gain = gain[: run.n_times]
        overlap = _hard_overlap(run, problem)[: len(gain)]
        gain[:, :, index] = overlap.reshape(len(gain), size) / sizes[index]
        grown = np.abs(overlap) > _END_OF_LINEAR_STAGE * radii[:, np.newaxis]
        left = np.flatnonzero(grown.any(axis=(1, 2)))
        if len(left):
            gain = gain[: max(int(left[0]), 2)]
    last = len(gain) - 1

    solve = partial(solve, method=method.until(last))
    modes, weights = _noise_modes(problem, solve(problem, keep=range(last)))
    noise = np.zeros_like(gain)
    for mode, weight in zip(modes, weights, strict=True):
        scale = float(sizes.min()) / (float(method.step_sizes[0]) * float(np.sum(np.abs(mode))))
        scale = min(scale, _LARGEST_FORCING)
        forcing = scale * mode @ problem.target.hard_basis.T
        run = solve(problem, forcing=forcing)
        _check_run(run)
        response = _hard_overlap(run, problem).reshape(last + 1, size) / scale
        noise += weight / delta * response[:, :, np.newaxis] * response[:, np.newaxis, :]
    # Where the overlap is largest, most of the noise has entered: at the end, unless it shrinks.
    at = int(np.argmax(np.linalg.norm(gain, ord=2, axis=(1, 2))))
    back = np.linalg.pinv(gain[at], rcond=_SMALLEST_GAIN)
    return InitialOverlapLaw(
        gain=gain.reshape(last + 1, m, k_h, m, k_h),
        noise=noise.reshape(last + 1, m, k_h, m, k_h),
        covariance=back @ noise[at] @ back.T,
        n_modes=len(modes),
    )


def _noise_modes(problem: Problem, run: Run) -> tuple[FloatArray, FloatArray]:
    """Return modes (n, T, m, k_h) and weights (n,) of E[g^s g^s'^T (x) z_h z_h^T] at M = 0."""
    _check_run(run)
    n_steps = run.n_times - 1
    hard = problem.target.hard_basis.T @ run.latent
    rows = np.empty((n_steps, problem.m, *hard.shape))
    for t in range(n_steps):
        g, _ = pre_activation_gradient(problem, run.pre_activations.pop(t), run.labels)
        if run.scales is not None:
            g *= run.scales
        np.multiply(g[:, np.newaxis], hard, out=rows[t])
    flat = rows.reshape(-1, hard.shape[1])
    weights, vectors = np.linalg.eigh(flat @ flat.T / hard.shape[1])
    kept = weights > _SMALLEST_MODE * weights.sum()
    return vectors[:, kept].T.reshape(-1, *rows.shape[:3]), weights[kept]


def _check_run(run: Run) -> None:
    if not run.status.ok:
        raise NumericalFailure(run.status, f"Steps computed: {run.n_times - 1}.")


def _hard_overlap(run: Run, problem: Problem) -> FloatArray:
    """Return M(t) on the hard directions, (n_times, m, k_h)."""
    if not run.n_times:
        raise NumericalFailure(run.status, "No step was computed.")
    return np.asarray(run.weights[:, :, : problem.k] @ problem.target.hard_basis)


def random_covariance(problem: Problem) -> FloatArray:
    """Return d times the covariance of random initial overlaps (m, k_h), flattened."""
    return np.asarray(np.kron(free_gram(problem), np.eye(problem.target.hard_basis.shape[1])))


def free_gram(problem: Problem) -> FloatArray:
    """Return the Gram matrix (m, m) of the neurons less their overlap with easy directions."""
    overlap = problem.initial_overlap
    return problem.gram if overlap is None else problem.gram - overlap @ overlap.T


def free_radii(problem: Problem) -> FloatArray:
    """Return the radii (m,) of the neurons less their overlap with easy directions."""
    if problem.initial_overlap is None:
        return np.full(problem.m, problem.init_radius)
    return np.sqrt(np.maximum(np.diag(free_gram(problem)), 0.0))


def check_method(method: GradientDescent) -> None:
    """Raise unless the noise of the data adds up as the law of the initial overlap has it."""
    if not method.is_plain:
        raise ValueError(
            "method must be full-batch gradient descent of the first layer with one step size, "
            f"no momentum and no constraint to predict grokking, got {method!r}"
        )


def check_problem(problem: Problem) -> None:
    """Raise unless labels are even in hard directions and free neurons start without them."""
    target = problem.target
    if not target.hard_basis.shape[1]:
        raise ValueError(
            f"problem must have a hard direction to escape along; all {problem.k} latent "
            f"directions of label {target.name!r} are easy"
        )
    if not inputs_are_even(target, target.hard_basis):
        raise ValueError(
            "problem must have inputs whose law stays the same when all hard coordinates change "
            f"sign; that of {target.inputs!r} does not"
        )
    if not target.is_even:
        raise ValueError(
            "problem must have labels that stay the same when all hard coordinates change sign; "
            f"those of {target.name!r} do not"
        )
    if problem.starts_on_hard:
        raise ValueError(
            "problem must start without overlap with the hard directions; give it as hard_overlap, "
            f"got {stated_overlap(problem)}"
        )
    if problem.init_radius == 0.0:
        raise ValueError("problem must have init_radius > 0, got 0")
    smallest = float(np.linalg.eigvalsh(free_gram(problem))[0])
    if smallest <= 1e-9 * problem.largest_radius**2:  # no neuron could move by itself
        raise ValueError(
            "problem must start with linearly independent neurons, got a Gram matrix (less what "
            f"initial_overlap takes) of smallest eigenvalue {smallest:.3g}"
        )
