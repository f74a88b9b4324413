"""Test loss from the order parameters: an integral over (z, h, eps), no paths needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft.gradients import mean_loss
from dmft.labelled_points import labelled, noise_coordinates
from dmft.quadrature import MAX_TENSOR_DIMENSION, gaussian_nodes, rules_agree
from dmft.sampling import cubature_normals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dmft.problem import Problem
    from dmft.sampling import Sampling

    FloatArray = NDArray[np.float64]

__all__ = ["expected_test_loss", "label_suits_rules", "tensor_rule_suffices"]

_SOBOL_POINTS = 2**14
_TENSOR_RULE = {2: "medium", 3: "coarse"}


def expected_test_loss(
    problem: Problem,
    overlap: FloatArray,
    norm: FloatArray,
    sampling: Sampling,
    replicates: Iterable[int],
    second_layer: FloatArray | None = None,
) -> FloatArray:
    r"""Test loss ``E[l(h, phi(z, eps))]`` with (z, h) ~ N(0, [[I, M^T], [M, C(t, t)]]).

    A tensor rule where it suffices (see `tensor_rule_suffices`), otherwise scrambled Sobol points,
    one scramble for each replicate so that the cubature error is part of the standard error.

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
    second_layer : ndarray, shape (n_times, m), optional
        Of the network at each time; that of the problem if it is not given.

    Returns
    -------
    ndarray, shape (n_times,)
    """
    k, m = problem.k, problem.m
    dimension = k + m + noise_coordinates(problem)
    # The kinks of an activation lie across the axes of the rule.
    if tensor_rule_suffices(problem) and not problem.network.activation.kinks:
        nodes, weights = gaussian_nodes(dimension, _TENSOR_RULE.get(dimension))
    else:
        nodes = np.concatenate(
            [cubature_normals(sampling, i, dimension, _SOBOL_POINTS) for i in replicates], axis=1
        )
        weights = np.full(nodes.shape[1], 1.0 / nodes.shape[1])
    nodes, labels, of_labels = labelled(problem, nodes, weights)
    weights = weights if of_labels is None else of_labels
    z, xi = nodes[:k], nodes[k : k + m]
    factors = _square_root(norm - overlap @ np.swapaxes(overlap, 1, 2))
    losses = np.empty(len(overlap))
    for t, (M, factor) in enumerate(zip(overlap, factors, strict=True)):
        at = problem if second_layer is None else problem.with_second_layer(second_layer[t])
        losses[t] = mean_loss(at, M @ z + factor @ xi, labels, weights)
    return losses


def tensor_rule_suffices(problem: Problem) -> bool:
    """Whether averages over (z, neurons, noise) may use the tensor rule of ``dmft.quadrature``.

    At most three Gaussians, a smooth loss, and a label that is smooth except at z_j = 0: known for
    the catalogue, found for custom labels and the probabilities of classes by comparing two rules.
    The kinks of an activation are another matter, see ``dmft.hessian.initial_law``.
    """
    k, m, uses_noise = problem.k, problem.m, bool(noise_coordinates(problem))
    if k + m + int(uses_noise) > MAX_TENSOR_DIMENSION or not problem.loss.smooth:
        return False
    return label_suits_rules(problem)


def label_suits_rules(problem: Problem) -> bool:
    """Whether the label, or the probability of its classes, is smooth except at z_j = 0.

    Of up to three Gaussians: latent coordinates, and the noise where it is not summed over.
    """
    k, uses_noise, target = problem.k, bool(noise_coordinates(problem)), problem.target
    if isinstance(target.label, str) and target.classes is None:
        return True

    def moments(nodes: FloatArray) -> FloatArray:
        z = nodes[:k]
        eps = nodes[k] if uses_noise else np.zeros(nodes.shape[1])
        if target.classes is None:
            labels = target.sample_labels(np.ascontiguousarray(z.T), eps)
            if problem.loss.labels == "sign" and np.any(np.abs(labels) != 1.0):
                # The rules are symmetric: a class boundary may pass through their nodes. Labels
                # that are no classes elsewhere have been refused (`Problem.check_labels`).
                raise _BoundaryError
            labels = np.tanh(labels)
        else:
            labels = target.class_probability(np.ascontiguousarray(z.T))
        products: FloatArray = np.concatenate([np.ones((1, z.shape[1])), z, z**2, z * z[::-1]])
        return labels * products

    known: dict[str, bool] = problem.__dict__.setdefault("_tensor_rule", {})
    if "suffices" not in known:
        try:
            known["suffices"] = rules_agree(moments, k + int(uses_noise))
        except _BoundaryError:
            known["suffices"] = False
    return known["suffices"]


class _BoundaryError(Exception):
    """A node of a rule lies on the boundary of a class."""


def _square_root(matrices: FloatArray) -> FloatArray:
    """Symmetric square roots of positive semidefinite matrices, negative rounding clipped."""
    values, vectors = np.linalg.eigh(matrices)
    roots = np.sqrt(np.maximum(values, 0.0))
    product: FloatArray = (vectors * roots[:, np.newaxis, :]) @ np.swapaxes(vectors, 1, 2)
    return product
