r"""Gradient descent at finite dimension, on data that are given.

The step of Montanari & Wang, arXiv:2602.01434,

.. math:: \Theta \leftarrow \Theta - \eta\Big[\frac1n \sum_i x_i\, g_i^T + \lambda\Theta\Big],
          \qquad g_i = \partial\ell/\partial r_i, \quad r_i = \Theta^T x_i,

read literally, or with the mini-batches, momentum, step sizes, second layer, biases and spheres of
its method, see `dmft.GradientDescent`. A step is one pass over the inputs, in blocks of rows that
stay in cache: while a block is there it gives the pre-activations and takes part in the gradient.
The size of a block depends on d alone, and the order of summation is fixed: same data, same bits.

Weights are (m, d) arrays, one row per neuron.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft.model.gradients import pre_activation_gradient, second_layer_gradient
from dmft.model.symmetry import NeuronSymmetry
from dmft.training.constraints import onto_spheres, radii_of
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dmft.model.problem import Problem
    from dmft.training.gradient_descent import GradientDescent

__all__ = ["Descent", "descend", "project", "row_blocks"]

Array = NDArray[np.float64]

# A block of inputs takes this much: small enough to stay in the second-level cache or near it,
# large enough that calling the element-wise kernels costs little next to the products.
_BLOCK_BYTES = 2**20
# The squared norm of the weights may grow by this factor before the run counts as diverged, and no
# average reach this size, whose square would overflow; the solver of the limit draws the lines in
# the same places.
_DIVERGENCE_FACTOR = 1e12
_LARGEST_NUMBER = 1e150


@dataclass(frozen=True, eq=False)
class Descent:
    """Order parameters of one run for times 0, ..., T; NaN from where it diverged.

    Attributes
    ----------
    correlation : ndarray, shape (T+1, m, m)
        Theta^T Theta.
    overlap : ndarray, shape (T+1, m, k)
        Theta^T Theta_*.
    gradient_covariance : ndarray, shape (T+1, m, m)
        (1/n) sum_i g_i g_i^T; of s_i g_i where inputs have scales s_i.
    train_loss : ndarray, shape (T+1,)
        Mean loss over the samples.
    gradient_norm : ndarray, shape (T+1,)
        Frobenius norm of the gradient of the risk over all samples, without weight decay.
    second_layer : ndarray, shape (T+1, m)
        The second layer a.
    biases : ndarray, shape (T+1, m)
        The biases b; zero where there are none.
    status : Status
        SUCCESS, DIVERGED, or NONFINITE where not even the start is made of numbers.
    """

    correlation: Array
    overlap: Array
    gradient_covariance: Array
    train_loss: Array
    gradient_norm: Array
    second_layer: Array
    biases: Array
    status: Status


def descend(
    problem: Problem,
    X: Array,
    y: Array,
    weights: Array,
    latent_directions: Array,
    method: GradientDescent,
    *,
    hold_hard: bool = False,
    scales: Array | None = None,
    masks: Callable[[int], NDArray[np.bool_]] | None = None,
    fresh: Callable[[int], tuple[Array, Array, Array]] | None = None,
    observe: Callable[..., None] | None = None,
    evaluate: Callable[..., tuple[Array, Array, Array, Array, float]] | None = None,
) -> Descent:
    """Run gradient descent on given data from given weights.

    Parameters
    ----------
    problem : Problem
        Supplies network, loss, weight decay and hard directions.
    X : ndarray, shape (n, d), float64, C-contiguous
        Inputs, one a row.
    y : ndarray, shape (n,)
        Labels.
    weights : ndarray, shape (m, d)
        Initial weights, one neuron a row; left as they are. With a constraint they are scaled to
        the radii of the problem first, whatever law they are drawn from.
    latent_directions : ndarray, shape (k, d)
        Latent directions, orthonormal rows.
    method : GradientDescent
    hold_hard : bool
        Set the hard components of the weights to zero at the start and after every step.
    scales : ndarray, shape (n,), or (0,), optional
        Scales of the inputs, for the covariance of the gradients.
    masks : callable, optional
        Step to the samples (n,) of its batch; needed where ``method.batch_fraction`` is below 1.
    fresh : callable, optional
        Step >= 1 to the samples (X, y, scales) it uses in place of the first; needed where
        ``method.fresh_batches``.
    observe : callable, optional
        Called as ``observe(step, weights (m, d), r (m, n), problem)`` at every step before it is
        taken, with the problem whose network has the second layer and biases of the step.
    evaluate : callable, optional
        In place of a pass over X, which then only has the right length:
        ``evaluate(problem, weights (m, d), r (m, n), batch (n,) or None)`` fills in r and returns
        the gradients of all samples and of the batch, that in the biases, (1/n) sum g g^T and loss.

    Returns
    -------
    Descent

    Raises
    ------
    ValueError
        If the method uses batches and there are no ``masks``, or fresh ones and no ``fresh``.
    """
    p, beta = method.batch_fraction, method.momentum
    if p < 1.0 and masks is None:
        raise ValueError(f"masks must be given for batch_fraction = {p:g}, got None")
    if method.fresh_batches and fresh is None:
        raise ValueError("fresh must be given for fresh_batches, got None")
    etas, layer_etas = method.step_sizes, method.second_layer_step_sizes
    bias_etas = method.bias_step_sizes
    trains, trains_biases = method.trains_second_layer, method.trains_biases
    radii = None if method.constraint is None else radii_of(problem)
    layer = np.array(problem.network.second_layer)
    biases = np.array(problem.network.biases or np.zeros(problem.m))
    velocity, layer_velocity = np.zeros(np.shape(weights)), np.zeros_like(layer)
    bias_velocity = np.zeros_like(biases)
    m, k, n, n_times = problem.m, problem.k, len(X), method.n_steps + 1
    hard = problem.target.hard_basis
    hard_rows = hard.T @ latent_directions if hold_hard else None
    theta = np.array(weights, dtype=np.float64, order="C")
    r = np.empty((m, n))
    correlation = np.full((n_times, m, m), np.nan)
    overlap = np.full((n_times, m, k), np.nan)
    covariance = np.full((n_times, m, m), np.nan)
    train_loss = np.full(n_times, np.nan)
    gradient_norm = np.full(n_times, np.nan)
    second_layer = np.full((n_times, m), np.nan)
    all_biases = np.full((n_times, m), np.nan)
    status = Status.SUCCESS
    symmetry = NeuronSymmetry.of(theta, layer, problem.network.activation, biases)
    if hard_rows is not None:
        _remove(theta, hard_rows)
        symmetry.impose(theta)
    if radii is not None:
        theta[...] = onto_spheres(theta, radii)[0]
    with np.errstate(all="ignore"):
        largest = _DIVERGENCE_FACTOR * (1.0 + float(np.sum(theta**2)))
        largest = min(largest, _LARGEST_NUMBER)
        for t in range(n_times):
            bounded = _in_range(layer**2) and _in_range(biases**2)
            if not (float(np.sum(theta**2)) < largest and bounded):
                status = Status.DIVERGED if t else Status.NONFINITE
                break
            at = problem
            if trains or trains_biases:
                at = problem.with_layers(layer, biases)
            last = t + 1 == n_times
            if method.fresh_batches and fresh is not None and t:
                X, y, scales = fresh(t)
            batch = None
            if p < 1.0 and masks is not None and not last:
                batch = np.where(masks(t), 1.0 / p, 0.0)
            passed = (
                _pass(at, X, y, theta, r, scales, batch)
                if evaluate is None
                else evaluate(at, theta, r, batch)
            )
            gradient, of_batch, bias_gradient, second_moment, loss = passed
            symmetry.impose(gradient, of_batch, second_moment, second_moment.T, r)
            if not (_in_range(loss) and _in_range(gradient) and _in_range(second_moment)):
                status = Status.DIVERGED if t else Status.NONFINITE
                break
            correlation[t] = theta @ theta.T
            overlap[t] = theta @ latent_directions.T
            if hard_rows is not None:  # rounding
                overlap[t] -= (overlap[t] @ hard) @ hard.T
            covariance[t] = second_moment
            train_loss[t] = loss
            gradient_norm[t] = np.linalg.norm(gradient)
            second_layer[t] = layer
            all_biases[t] = biases
            if observe is not None:
                observe(t, theta, r, at)
            if last:
                break
            if trains:
                layer_gradient = second_layer_gradient(at, r, y, batch) / n
                symmetry.impose_on_layer(layer_gradient)
                layer_gradient += problem.second_layer_weight_decay * layer
                layer_velocity, direction = _momentum(method, layer_velocity, layer_gradient)
                layer = layer - layer_etas[t] * direction
            if trains_biases:
                symmetry.impose_on_biases(bias_gradient)
                bias_gradient += problem.bias_weight_decay * biases
                bias_velocity, direction = _momentum(method, bias_velocity, bias_gradient)
                biases = biases - bias_etas[t] * direction
            of_batch += problem.weight_decay * theta
            if beta:
                velocity *= beta
                velocity += of_batch
                of_batch = of_batch + beta * velocity if method.nesterov else velocity
            theta -= etas[t] * of_batch
            if hard_rows is not None:
                _remove(theta, hard_rows)
                symmetry.impose(theta)
            if radii is not None:
                theta[...] = onto_spheres(theta, radii)[0]
    return Descent(
        correlation,
        overlap,
        covariance,
        train_loss,
        gradient_norm,
        second_layer,
        all_biases,
        status,
    )


def _momentum(method: GradientDescent, velocity: Array, gradient: Array) -> tuple[Array, Array]:
    """Return the next velocity, and the direction of the step."""
    velocity = method.momentum * velocity + gradient
    return velocity, gradient + method.momentum * velocity if method.nesterov else velocity


def _pass(
    problem: Problem,
    X: Array,
    y: Array,
    theta: Array,
    r: Array,
    scales: Array | None = None,
    batch: Array | None = None,
) -> tuple[Array, Array, Array, Array, float]:
    """Compute gradients, (1/n) sum g g^T and mean loss in one pass; fill `r` (m, n).

    The gradients are those in the weights (m, d), of all samples, then of a batch with factors
    ``batch`` (n,), and that in the biases (m,) of the batch. With scales (n,) of the inputs,
    (1/n) sum s^2 g g^T.
    """
    # Here, so that numba is loaded by those who simulate only.
    from dmft._numerics.passes import accumulate_kernel, project_kernel

    m, (n, d) = problem.m, X.shape
    gradient = np.zeros((m if batch is None else 2 * m, d))
    second_moment = np.zeros((m, m))
    of_biases = np.zeros(m)
    total = 0.0
    for rows in row_blocks(n, d):
        block = X[rows]
        g = np.empty((m, len(block)))
        project_kernel(block, theta, g)
        r[:, rows] = g
        _, loss = pre_activation_gradient(problem, g, y[rows], out=g)
        both = g if batch is None else np.concatenate([g, g * batch[rows]])
        accumulate_kernel(block, both, gradient)
        of_biases += both[-m:].sum(axis=1)
        if scales is not None and len(scales):
            g *= scales[rows]
        second_moment += g @ g.T
        total += float(np.sum(loss))
    gradient /= n
    return gradient[:m], gradient[-m:], of_biases / n, second_moment / n, total / n


def _in_range(numbers: float | Array) -> bool:
    """Whether all are numbers with squares that are."""
    return bool((np.abs(numbers) < _LARGEST_NUMBER).all())


def project(X: Array, theta: Array) -> Array:
    """Compute pre-activations, shape (m, n), of inputs (n, d) at weights (m, d).

    Examples
    --------
    >>> project(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 1.0]]))
    array([[3., 1.]])
    """
    from dmft._numerics.passes import project_kernel

    r = np.empty((len(theta), len(X)))
    project_kernel(X, np.ascontiguousarray(theta), r)
    return r


def row_blocks(n: int, d: int) -> Iterator[slice]:
    """Yield slices of rows of an (n, d) array that stay in cache; their size depends on d alone."""
    rows = max(1, _BLOCK_BYTES // (8 * max(d, 1)))
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))


def _remove(theta: Array, rows: Array) -> None:
    """Project the orthonormal `rows` out of every neuron, in place."""
    theta -= (theta @ rows.T) @ rows
