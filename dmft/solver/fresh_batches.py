r"""Gradient descent on new samples in each step: the process without memory.

The gradient at step t is that of n samples which no earlier step has seen. In the limit they know
of the weights only that :math:`h^t = \Theta^{tT} x` and the latent coordinates are Gaussian,

.. math:: h^t = M(t) z + L_t \xi, \qquad L_t L_t^T = C(t,t) - M(t) M(t)^T,

and the component of the gradient outside the span of weights and latent directions is a Gaussian
vector, new in each step, of covariance :math:`E[g^t g^{tT}] / \delta`:

.. math:: \mathrm{grad}^t = \big(E[g^t q^T],\; -\Gamma(t,t)/\sqrt\delta\big), \qquad
          \Gamma \Gamma^T = E[g^t g^{tT}].

It is the coordinate form of ``dmft.solver.process`` with ``q^t = zeta^t``, without the term
``-ghat^t / sqrt(delta)`` of samples that are used again. Everything is an average over the same
paths (z, xi) in every step, and no basis grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft.model.drawn_inputs import labels_and_scales, scaled
from dmft.model.gradients import pre_activation_gradient, second_layer_gradient
from dmft.solver.coefficients import widened
from dmft.solver.evaluation import LARGEST_NUMBER, Evaluation, initial_symmetry, symmetrised
from dmft.solver.paths import Paths
from dmft.solver.process import Process
from dmft.solver.state import DeclaredState
from rmt.status import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.model.problem import Problem
    from dmft.solver.streams import GaussianStream

    FloatArray = NDArray[np.float64]

__all__ = ["AnyProcess", "FreshProcess", "neuron_factor"]


def neuron_factor(weights: FloatArray, k: int) -> tuple[FloatArray, FloatArray]:
    r"""Factor the weights outside the latent space.

    Parameters
    ----------
    weights : ndarray, shape (m, k + c), c >= m
    k : int

    Returns
    -------
    L : ndarray, shape (m, m)
        Lower triangular with a diagonal >= 0, ``L @ L.T = C - M @ M.T``.
    rows : ndarray, shape (m, c)
        Orthonormal, ``weights[:, k:] = L @ rows``.

    Examples
    --------
    >>> L, rows = neuron_factor(np.array([[0.3, 0.6, 0.8]]), 1)
    >>> L.round(12), rows.round(12)
    (array([[1.]]), array([[0.6, 0.8]]))
    """
    q, r = np.linalg.qr(weights[:, k:].T)
    signs = np.where(np.diag(r) < 0.0, -1.0, 1.0)
    return (r * signs[:, np.newaxis]).T, (q * signs).T


class FreshProcess(DeclaredState):
    """`dmft.solver.process.Process` for samples that are new in each step.

    Parameters
    ----------
    problem : Problem
    delta : float
        n/d.
    streams : list of GaussianStream
        The random numbers.
    trains : pair of bool
        Whether evaluations give the gradient in the second layer, in the biases.

    Attributes
    ----------
    paths : Paths
        Those of z and xi; they do not grow.
    initial_weights : ndarray, shape (m, k + m)
    labels, latent, scales, r : list of ndarray
        As there, with one block.
    n_full_passes : int
        Evaluations so far.
    time : float
        Of no effect.
    limit : float
        Of no effect: a sample that is seen once cannot become linearly unstable.
    """

    _STATE = ("n_full_passes", "_n_blocks")

    def __init__(
        self,
        problem: Problem,
        delta: float,
        streams: list[GaussianStream],
        *,
        trains: tuple[bool, bool] = (False, False),
    ) -> None:
        m, k = problem.m, problem.k
        self.problem = problem
        self.delta = delta
        self.limit = np.inf
        self.time = 1.0
        self.n_full_passes = 0
        self._n_blocks = 0  # of coordinates added
        self.initial_weights = problem.initial_weights()
        self._symmetry = initial_symmetry(problem, self.initial_weights)
        self._trains_second_layer, self._trains_biases = trains
        leading = np.concatenate([stream.leading() for stream in streams], axis=1)
        labels, scales = labels_and_scales(problem, leading)
        self.labels, self.scales = [labels], [scales]
        self.latent = [np.ascontiguousarray(leading[:k])]
        self.paths = Paths([np.ascontiguousarray(leading[: k + m])])
        self._xi = leading[k : k + m]
        self.r = [np.empty((m, leading.shape[1]))]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Coordinates, directions and rows of the basis that the paths hold."""
        return self.paths.n_coordinates, self.paths.n_directions, self.paths.basis.n_rows

    def close(self) -> None:
        """Do nothing: there is no pool to release."""

    def truncate(
        self, vectors: list[FloatArray], step: float, tolerance: float
    ) -> tuple[list[FloatArray], float]:
        """Discard nothing: no direction of samples that are not seen again is held."""
        return vectors, 0.0

    def evaluate(
        self,
        weights: FloatArray,
        step: float,
        tolerance: float,
        block: int | None,
        *,
        second_layer: FloatArray | None = None,
        biases: FloatArray | None = None,
        batch: int = 0,
    ) -> Evaluation:
        """Evaluate the gradient on new samples; parameters are those of `Process.evaluate`."""
        problem, k, m = self.problem, self.problem.k, self.problem.m
        at = problem.with_layers(second_layer, biases)
        weights = widened(weights, k + m * (1 + self._n_blocks))
        first = m * self._n_blocks
        self.n_full_passes += 1
        M, (L, rows) = weights[:, :k], neuron_factor(weights, k)
        z, y, r, n = self.latent[0], self.labels[0], self.r[0], self.paths.basis.n_paths
        np.matmul(M, z, out=r)
        r += L @ self._xi
        with np.errstate(over="ignore", invalid="ignore"):
            pre_activations = scaled(r, self.scales[0])
            g, losses = pre_activation_gradient(at, pre_activations, y)
            of_biases = g.sum(axis=1) / n if self._trains_biases else np.empty(0)
            g = scaled(g, self.scales[0])
            second_moment = g @ g.T / n
            on_latent, on_neurons = g @ z.T / n, g @ self._xi.T / n
            loss = float(np.mean(losses))
            of_layer = np.empty(0)
            if self._trains_second_layer:
                of_layer = second_layer_gradient(at, pre_activations, y) / n
        nothing = np.empty(0, dtype=np.intp)
        averages = np.concatenate(
            [
                second_moment.ravel(),
                on_latent.ravel(),
                on_neurons.ravel(),
                of_layer,
                of_biases,
                [loss],
            ]
        )
        if not (np.abs(averages) < LARGEST_NUMBER).all():
            return Evaluation(
                weights, 0.0, weights, nothing, 0.0, second_moment, 0.0, np.zeros(4), of_layer,
                of_biases, Status.DIVERGED,
            )  # fmt: skip
        hard = problem.target.hard_basis
        on_latent -= (on_latent @ hard) @ hard.T
        known = np.concatenate([on_latent, on_neurons @ rows], axis=1)
        root = _root(second_moment)
        gamma = np.zeros((m, first + m))
        gamma[:, first:] = root
        square = float(np.sum(known**2) + np.trace(second_moment) / self.delta)
        kept = nothing
        if block is None:
            gamma = gamma[:, :first]
        else:
            known = np.concatenate([known, -root / np.sqrt(self.delta)], axis=1)
            kept = np.arange(m)
            self._n_blocks += 1
        found = Evaluation(
            known, square, gamma, kept, loss, second_moment, 0.0, np.zeros(4), of_layer, of_biases
        )
        return symmetrised(found, self._symmetry, at, weights, self.r, [g])


AnyProcess = Process | FreshProcess
"""Processes that the drivers take."""


def _root(covariance: FloatArray) -> FloatArray:
    """Return a lower triangular root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(covariance)
    half = vectors * np.sqrt(np.maximum(values, 0.0))
    r = np.linalg.qr(half.T)[1]
    return np.asarray((r * np.where(np.diag(r) < 0.0, -1.0, 1.0)[:, np.newaxis]).T)
