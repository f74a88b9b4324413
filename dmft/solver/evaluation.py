"""Evaluations of the gradient: the result, and the averages over paths that it is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from dmft.model.symmetry import NeuronSymmetry
from rmt.status import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.model.problem import Problem

    FloatArray = NDArray[np.float64]

__all__ = [
    "LARGEST_NUMBER",
    "Averages",
    "Evaluation",
    "divergence_bound",
    "initial_symmetry",
    "packed_sums",
    "symmetrised",
]

LARGEST_NUMBER = 1e150
"""Averages from here on count as overflowed: their squares, which errors are made of, would."""

# The squared norm of the weights may grow by this factor before the run counts as diverged.
_DIVERGENCE_FACTOR = 1e12


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The gradient of the risk at a point, and the averages that belong to it.

    Attributes
    ----------
    gradient : ndarray, shape (m, n_coordinates after the evaluation)
        Of the risk, without weight decay, in the coordinates q; of a batch of it, where there are
        batches.
    square : float
        Squared norm of the gradient of the risk over all samples.
    gamma : ndarray, shape (m, n_directions after the evaluation)
        ``g = gamma @ ghat``, or ``(b/p) g``.
    kept : ndarray of int
        Neurons whose new direction was kept, increasing.
    loss : float
        E[l].
    second_moment : ndarray, shape (m, m)
        E[g g^T].
    truncation_residual : float
        Norm of the component of the gradients outside the directions kept.
    above : ndarray, shape (4,)
        Of the paths with a curvature above the limit: their fraction, and their shares of loss,
        squared gradients and squared pre-activations.
    second_layer_gradient : ndarray, shape (m,), or (0,)
        E[dl/da]; empty where it was not asked for.
    bias_gradient : ndarray, shape (m,), or (0,)
        E[g]; likewise.
    status : Status
        DIVERGED if something is not finite or beyond `LARGEST_NUMBER`, TOO_FEW_PATHS,
        OUT_OF_MEMORY; the rest is then meaningless.
    """

    gradient: FloatArray
    square: float
    gamma: FloatArray
    kept: NDArray[np.intp]
    loss: float
    second_moment: FloatArray
    truncation_residual: float
    above: FloatArray
    second_layer_gradient: FloatArray
    bias_gradient: FloatArray
    status: Status = Status.SUCCESS


def divergence_bound(weights: FloatArray) -> float:
    """Return the squared norm beyond which a run that starts from weights counts as diverged."""
    return min(_DIVERGENCE_FACTOR * (1.0 + float(np.sum(weights**2))), LARGEST_NUMBER)


def initial_symmetry(problem: Problem, weights: FloatArray) -> NeuronSymmetry:
    """Return the neurons that start equal or opposite, at weights (m, ...), and so remain."""
    network = problem.network
    layer = np.array(network.second_layer)
    return NeuronSymmetry.of(weights, layer, network.activation, network.biases)


def symmetrised(
    found: Evaluation,
    symmetry: NeuronSymmetry,
    problem: Problem,
    weights: FloatArray,
    r: list[FloatArray],
    g: list[FloatArray],
) -> Evaluation:
    """Remove rounding errors from the differences of neurons that are equal.

    Also those of gradients that are zero on every path: of neurons without output, or at the origin
    of an even activation. The pre-activations ``r`` are changed in place.
    """
    squares = np.diagonal(found.second_moment)
    if not found.status.ok or (not symmetry.pairs and squares.all()):
        return found
    pairs = symmetry.holding(weights, problem.network) if symmetry.pairs else symmetry
    still = [j for j in np.flatnonzero(squares == 0.0) if not any(rows[j].any() for rows in g)]
    if not (pairs.pairs or still):
        return found
    gradient, gamma = found.gradient.copy(), found.gamma.copy()
    second_moment = found.second_moment.copy()
    of_layer, of_biases = found.second_layer_gradient.copy(), found.bias_gradient.copy()
    gradient[still] = gamma[still] = 0.0
    pairs.impose(gradient, gamma, second_moment, second_moment.T, *r)
    pairs.impose_on_layer(of_layer)
    pairs.impose_on_biases(of_biases)
    return replace(
        found,
        gradient=gradient,
        gamma=gamma,
        second_moment=second_moment,
        second_layer_gradient=of_layer,
        bias_gradient=of_biases,
    )


def packed_sums(
    r: FloatArray,
    losses: FloatArray,
    g: FloatArray,
    gram: FloatArray,
    above: FloatArray,
    innovation_squares: FloatArray,
    layers: FloatArray,
    with_gradients: FloatArray,
    products: FloatArray,
) -> FloatArray:
    """Put all sums over a block in one array; `Averages` takes them apart.

    `layers` are the gradients in the second layer, then in the biases, of those that are trained.
    """
    return np.concatenate(
        [
            [np.sum(losses), np.vdot(r, r)],
            above,
            (g @ g.T).ravel(),
            gram.ravel(),
            innovation_squares,
            layers,
            with_gradients.ravel(),
            products.ravel(),
        ]
    )


class Averages:
    """The averages over all paths of one evaluation.

    Parameters
    ----------
    averages : ndarray
        Of `packed_sums`.
    m, n_gradients, n_rhs : int
        Neurons, gradients in the history that were compared with, rows of the Gram matrix.
    has_layers : pair of bool
        Whether there is a gradient in the second layer, in the biases.

    Attributes
    ----------
    finite : bool
    gram : ndarray, shape (n_rhs, n_rhs)
    innovation_squares : ndarray, shape (m,)
    with_gradients : ndarray, shape (m, n_gradients)
    """

    def __init__(
        self,
        averages: FloatArray,
        m: int,
        n_gradients: int,
        n_rhs: int,
        has_layers: tuple[bool, bool],
    ) -> None:
        self.finite = bool((np.abs(averages) < LARGEST_NUMBER).all())
        self._loss, self._square, self._above = (
            float(averages[0]),
            float(averages[1]),
            averages[2:6],
        )
        of_layers = (m * has for has in has_layers)
        sizes = [m * m, n_rhs * n_rhs, m, *of_layers, m * n_gradients]
        ends = [*accumulate(sizes, initial=6), len(averages)]
        second_moment, gram, squares, of_layer, of_biases, with_gradients, products = (
            averages[start:stop] for start, stop in pairwise(ends)
        )
        self._second_moment = second_moment.reshape(m, m)
        self.gram = gram.reshape(n_rhs, n_rhs)
        self.innovation_squares = squares
        self._second_layer, self._biases = of_layer, of_biases
        self.with_gradients = with_gradients.reshape(m, n_gradients)
        self._products = products

    @property
    def mean_square(self) -> float:
        """E|g|^2, of all samples."""
        return float(np.trace(self._second_moment))

    def products(self, n_columns: int) -> FloatArray:
        """Return averages of rows with rows, (j, n_columns)."""
        return self._products.reshape(-1, n_columns)

    def failure(self, weights: FloatArray, status: Status) -> Evaluation:
        """Return the evaluation of a gradient that could not be found."""
        nothing = np.empty(0, dtype=np.intp)
        return self.evaluation(weights, 0.0, weights, nothing, 0.0, status)

    def evaluation(
        self,
        gradient: FloatArray,
        square: float,
        gamma: FloatArray,
        kept: NDArray[np.intp],
        truncation_residual: float,
        status: Status = Status.SUCCESS,
    ) -> Evaluation:
        """Return the evaluation with a gradient."""
        above = np.zeros(4)
        if self._above.any():
            totals = np.array([1.0, self._loss, np.trace(self._second_moment), self._square])
            known = np.isfinite(totals) & (totals > 0)
            np.divide(self._above, totals, out=above, where=known)
        return Evaluation(
            gradient,
            square,
            gamma,
            kept,
            self._loss,
            self._second_moment,
            truncation_residual,
            above,
            self._second_layer,
            self._biases,
            status,
        )
