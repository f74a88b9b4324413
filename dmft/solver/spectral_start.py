r"""The leading eigenvector of the data as the start of a run, in the coordinates of its paths.

The eigenvector v of (1/n) sum_i T_i x_i x_i^T is the fixed point of power iteration, whose gradient
is g = T r, r = <v, x>. As one more first-order block, with weights (M, b) along z and along its own
direction,

    r = M z + b q,    q = zeta - ghat / sqrt(delta),    ghat = g / Gamma,    Gamma^2 = E[g^2],

which is solved by r = (M z + b zeta) / (1 + c T), c = b / (Gamma sqrt(delta)). Stationarity,
lambda M = E[g z] and lambda b = E[g q], says that c is the c(z) of the law with weights T at the
outlier z = lambda, and M a null vector of A_h(lambda) with the overlap that belongs to it (`rmt`).
The past gradient ghat stands in the Gram-Schmidt of all later ones: the data remember that v was
made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmft.model.drawn_inputs import scaled
from dmft.recovery.spectral_rule import spectral_rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.model.problem import Problem
    from dmft.recovery.spectral_rule import SpectralRule

    FloatArray = NDArray[np.float64]

__all__ = ["Eigenvector", "Start", "leading_eigenvector", "start_of"]


@dataclass(frozen=True, eq=False)
class Start:
    """Start of a run on its paths.

    Attributes
    ----------
    weights : ndarray, shape (m, n_coordinates)
        B_0: along z, xi and, of an eigenvector, its own direction.
    held : ndarray, shape (k, q)
        Orthonormal basis of the latent directions that stay hard.
    past : list of ndarray, shape (2, paths of the block), or None
        Gaussian and gradient of the eigenvector.
    """

    weights: FloatArray
    held: FloatArray
    past: list[FloatArray] | None = None


@dataclass(frozen=True, eq=False)
class Eigenvector:
    """The leading eigenvector of the data of one run: r = M z + b q.

    Attributes
    ----------
    overlap : ndarray, shape (k,)
        M, with the latent directions.
    weight : float
        b, along its own direction.
    c : float
    """

    overlap: FloatArray
    weight: float
    c: float


def start_of(
    problem: Problem,
    delta: float,
    labels: list[FloatArray],
    scales: list[FloatArray],
    leading: list[FloatArray],
) -> Start:
    """Return the start of a run.

    Parameters
    ----------
    problem : Problem
    delta : float
    labels, scales : list of ndarray, shape (paths of the block,)
        Scales are (0,) where all are one. They make the weights s^2 T.
    leading : list of ndarray, shape (n, paths of the block)
        The leading coordinates begin with the latent ones, and end with the Gaussian of an
        eigenvector if the start is spectral.
    """
    start, m, k = problem.spectral_start, problem.m, problem.k
    if start is None:
        return Start(problem.initial_weights(), problem.target.hard_basis)
    rule = spectral_rule(problem, delta)
    preprocessed = [
        scaled(scaled(rule.preprocessing(y), s), s) for y, s in zip(labels, scales, strict=True)
    ]
    z = np.concatenate([block[:k] for block in leading], axis=1).T
    vector, held = leading_eigenvector(problem, rule, delta, np.concatenate(preprocessed), z)
    along = (np.broadcast_to(problem.init_radius, (m,)) * start.shares(m))[:, np.newaxis]
    weights = np.zeros((m, k + m + 1))
    weights[:, :k], weights[:, k + m :] = along * vector.overlap, along * vector.weight
    others = np.diag(problem.gram) - along[:, 0] ** 2
    weights[:, k : k + m] = np.diag(np.sqrt(np.maximum(others, 0.0)))
    past = []
    for T, block in zip(preprocessed, leading, strict=True):
        omega = vector.overlap @ block[:k] + vector.weight * block[-1]
        past.append(np.stack([block[-1], T * omega / (1.0 + vector.c * T)]))
    return Start(weights, held, past)


def leading_eigenvector(
    problem: Problem, rule: SpectralRule, delta: float, weights: FloatArray, z: FloatArray
) -> tuple[Eigenvector, FloatArray]:
    """Find the eigenvector of the largest eigenvalue for the law of samples.

    Without overlap where no eigenvalue separates from the bulk: it is then that of the edge.

    Parameters
    ----------
    problem : Problem
        With a spectral start.
    rule : SpectralRule
    delta : float
    weights, z : ndarray, shapes (N,) and (N, k)
        T and latent coordinates of the samples.

    Returns
    -------
    eigenvector : Eigenvector
    held : ndarray, shape (k, q)
        The latent directions that stay hard.

    Raises
    ------
    NumericalFailure
        If the right edge cannot be found.
    """
    from rmt.law import HessianLaw

    law = HessianLaw(weights, delta, z)
    outliers = [o for o in law.outliers("hard") if o.side == "right"]
    overlap, value, held = np.zeros(problem.k), law.edges().right, problem.target.hard_basis
    if outliers:
        value, held = outliers[-1].value, rule.held
        vector = outliers[-1].vector[0]
        vector = vector - held @ (held.T @ vector)
        overlap = np.sqrt(outliers[-1].hard_overlap) * vector / np.linalg.norm(vector)
        overlap = overlap if overlap @ rule.direction > 0.0 else -overlap
    c = float(np.real(law.matrix_stieltjes(value)).reshape(-1)[0])
    size = np.sqrt(max(1.0 - float(overlap @ overlap), 0.0))
    return Eigenvector(overlap, float(np.sign(c)) * size, c), held
