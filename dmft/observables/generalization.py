"""Test loss from the order parameters: an integral over (z, h, eps), no paths needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.quadrature import gaussian_nodes
from dmft._numerics.sampling import cubature_normals
from dmft.model.drawn_inputs import scaled
from dmft.model.gradients import mean_loss
from dmft.model.layer_states import at_time
from dmft.observables.integrability import undefined_losses
from dmft.observables.labelled_points import further_coordinates, labelled_points
from dmft.observables.verified_rules import RULES_OF_LOSSES, confirmed_rule, label_breaks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dmft._numerics.sampling import Sampling
    from dmft.model.layer_states import LayerStates
    from dmft.model.problem import Problem
    from dmft.observables.verified_rules import Rule

    FloatArray = NDArray[np.float64]

__all__ = ["LossAverage", "expected_test_loss", "pre_activation_weights"]

_SOBOL_POINTS = 2**14
_AGREEMENT = 1e-6


def expected_test_loss(
    problem: Problem,
    overlap: FloatArray,
    norm: FloatArray,
    sampling: Sampling,
    replicates: Iterable[int],
    layers: LayerStates | None = None,
    average: LossAverage | None = None,
) -> FloatArray:
    r"""Compute the test loss ``E[l(h, phi(z, eps))]`` with (z, h) ~ N(0, [[I, M^T], [M, C(t, t)]]).

    Under other laws of the inputs, h given (z, s) is ``M z + s (C - M M^T)^(1/2) N(0, I)``.

    A tensor rule where another one confirms it (see `dmft.observables.verified_rules`), otherwise
    scrambled Sobol points, one scramble for each replicate so that the cubature error is part of
    the standard error.

    Parameters
    ----------
    problem : Problem
    overlap : ndarray, shape (n_times, m, k)
        M(t).
    norm : ndarray, shape (n_times, m, m)
        C(t, t).
    sampling : Sampling
    replicates : iterable of int
        The replicates whose cubature points to use where the tensor rule does not suffice.
    layers : LayerStates, optional
        Second layer and biases at each time; those of the problem if they are not given.
    average : LossAverage, optional
        Of another run of the same problem, whose rule serves this one too.

    Returns
    -------
    ndarray, shape (n_times,)
        Infinite, or NaN, where the average is infinite or does not exist.
    """
    dimension = problem.k + problem.m + further_coordinates(problem)
    weights = pre_activation_weights(overlap, norm)
    if average is None:
        average = LossAverage.of(problem, weights, layers)
    undefined = average.undefined
    if len(weights) and np.all(undefined):
        return undefined
    if average.rule is not None:
        nodes, masses = gaussian_nodes(dimension, *average.rule)
    else:
        nodes = np.concatenate(
            [cubature_normals(sampling, i, dimension, _SOBOL_POINTS) for i in replicates], axis=1
        )
        masses = np.full(nodes.shape[1], 1.0 / nodes.shape[1])
    losses = _averages(problem, weights, layers, nodes, masses)
    return np.where(undefined == 0.0, losses, undefined)


@dataclass(frozen=True, eq=False)
class LossAverage:
    """Rule for the average losses of a run.

    Attributes
    ----------
    undefined : ndarray, shape (n_times,)
        As `dmft.observables.integrability.undefined_losses` returns.
    rule : (str, tuple of tuple of float), optional
        Name and breaks of a tensor rule that another one confirms; None where none is.
    """

    undefined: FloatArray
    rule: Rule | None

    @classmethod
    def of(
        cls,
        problem: Problem,
        weights: FloatArray,
        layers: LayerStates | None = None,
        undefined: FloatArray | None = None,
    ) -> LossAverage:
        """Choose for the weights (n_times, m, k + m) of `pre_activation_weights`."""
        if undefined is None:
            undefined = undefined_losses(problem, weights, layers)
        if np.all(undefined):
            return cls(undefined, None)
        return cls(undefined, _confirmed(problem, weights, layers))


def pre_activation_weights(overlap: FloatArray, norm: FloatArray) -> FloatArray:
    """Return the weights of pre-activations of fresh data in independent normals (z, xi).

    Parameters
    ----------
    overlap : ndarray, shape (n_times, m, k)
    norm : ndarray, shape (n_times, m, m)

    Returns
    -------
    ndarray, shape (n_times, m, k + m)
    """
    factors = _square_root(norm - overlap @ np.swapaxes(overlap, 1, 2))
    return np.concatenate([overlap, factors], axis=2)


def _confirmed(
    problem: Problem,
    weights: FloatArray,
    layers: LayerStates | None,
) -> Rule | None:
    """Return a tensor rule that is confirmed at the first, middle and last weights.

    None for more than three Gaussians, and where the kinks of activation or loss lie across the
    axes of the rule.
    """
    k, m = problem.k, problem.m
    dimension = k + m + further_coordinates(problem)
    if (
        dimension not in RULES_OF_LOSSES
        or not problem.loss.smooth
        or problem.network.activation.kinks
    ):
        return None
    times = sorted({0, len(weights) // 2, len(weights) - 1})
    layers = None if layers is None else layers[times]
    breaks = label_breaks(problem)

    def averages(nodes: FloatArray, masses: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return _averages(problem, weights[times], layers, nodes, masses)[:, np.newaxis]

    if breaks is None or not len(weights):
        return None
    return confirmed_rule(averages, RULES_OF_LOSSES[dimension], breaks, _AGREEMENT)


def _averages(
    problem: Problem,
    weights: FloatArray,
    layers: LayerStates | None,
    nodes: FloatArray,
    masses: FloatArray,
) -> FloatArray:
    """Average loss at each of the weights, over weighted nodes."""
    samples = labelled_points(problem, nodes, masses)
    masses = masses if samples.weights is None else samples.weights
    k, m = problem.k, problem.m
    z, xi = samples.points[:k], samples.points[k : k + m]
    losses = np.empty(len(weights))
    for t, at in enumerate(weights):
        net = at_time(problem, layers, t)
        r = scaled(at[:, :k] @ z + at[:, k:] @ xi, samples.scales)
        losses[t] = mean_loss(net, r, samples.labels, masses)
    return losses


def _square_root(matrices: FloatArray) -> FloatArray:
    """Return symmetric square roots of semidefinite matrices, negative rounding clipped."""
    values, vectors = np.linalg.eigh(matrices)
    roots = np.sqrt(np.maximum(values, 0.0))
    product: FloatArray = (vectors * roots[:, np.newaxis, :]) @ np.swapaxes(vectors, 1, 2)
    return product
