"""Tensor rules that average functions of the problem to all digits shown, as another confirms.

An average by quadrature is reported with an error of zero, so it has to be exact to the digits a
result is printed with: two rules with panels at different places must agree on the averages that
are used, not on moments of the label, whose errors the threshold may amplify. Kinks and sharp
features of label, activation and loss along the axes get panel ends of their own
(`dmft._numerics.kinks.axis_breaks`). Where no rule is confirmed, callers use Sobol points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.kinks import axis_breaks, located_kinks
from dmft._numerics.quadrature import MAX_TENSOR_DIMENSION, gaussian_nodes
from dmft.model.gradients import curvature, pre_activation_gradient
from dmft.observables.labelled_points import (
    further_coordinates,
    input_points,
    labelled_points,
    noise_coordinates,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from dmft.model.problem import Problem
    from dmft.observables.labelled_points import LabelledPoints

    FloatArray = NDArray[np.float64]
    Breaks = tuple[tuple[float, ...], ...]
    Rule = tuple[str, Breaks]

__all__ = [
    "RULES_OF_LOSSES",
    "confirmed_rule",
    "curvature_kinks",
    "curvature_rule",
    "curvatures",
    "label_breaks",
]

#: Rules for average losses and what confirms them, for each number of Gaussians.
RULES_OF_LOSSES = {
    2: (("medium", "fine"), ("fine", "fine-shifted")),
    3: (("coarse", "medium"), ("medium", "medium-shifted")),
}

# Rules and what confirms them, cheapest first.
_FOR_CURVATURE = {
    1: (("fine", "fine-shifted"),),
    2: (("fine", "fine-shifted"),),
    3: (("coarse", "medium"), ("medium", "medium-shifted")),
}
# Averages must agree to this, relative to the largest of their kind: averages of the resolvent, and
# of its square, which enter through the place of the edge.
_AGREEMENT = {1: (1e-7, 1e-7), 2: (1e-7, 1e-7), 3: (5e-7, 5e-6)}
# Between these ratios n/d, an octave apart, the averages that decide edge and A_h are compared.
_RATIOS = np.exp2(np.arange(-3.0, 9.0))


def confirmed_rule(
    averages: Callable[[FloatArray, FloatArray], FloatArray],
    rules: Iterable[tuple[str, str]],
    breaks: Breaks,
    agreement: float | FloatArray,
) -> Rule | None:
    """Return the first rule whose averages another one confirms; None if there is none.

    Parameters
    ----------
    averages : callable
        Nodes (dimension, N) and weights (N,) to averages (..., j); those of one row of the last
        axis are of one size. A ValueError says that it cannot be asked there.
    rules : iterable of pair of str
        Names of a rule and of the one that confirms it.
    breaks : tuple of tuple of float
    agreement : float or ndarray, shape (...)
        Largest difference, relative to the largest of its row.
    """
    known: dict[str, FloatArray] = {}
    for name, other in rules:
        try:
            for which in (name, other):
                if which not in known:
                    known[which] = averages(*gaussian_nodes(len(breaks), which, breaks))
        except ValueError:  # overflowing labels, a class boundary through a node, too many nodes
            return None
        one, two = known[name], known[other]
        size = np.abs(one).max(axis=-1, keepdims=True)
        allowed = np.asarray(agreement)[..., np.newaxis] * size
        if np.all(np.isfinite(one)) and np.all(np.abs(one - two) <= allowed):
            return name, breaks
    return None


def curvature_rule(
    problem: Problem,
    weights: FloatArray,
    known: Breaks,
    lowest: float,
    delta: float,
    *,
    highest: float | None = None,
    forces: bool = False,
) -> Rule | None:
    """Return a rule that averages the curvature at step 0 to all digits that are shown.

    Compared are the averages that edge and A_h at a ratio n/d consist of, ``E[(I + c D)^{-1} D]``
    alone and with products of the hard coordinates, and of their derivatives, at the c where
    ``E tr (c D (I + c D)^{-1})^2 / m`` is d/n: that is the left edge for one neuron.

    Parameters
    ----------
    problem : Problem
    weights : ndarray, shape (m, k + m)
        B_0.
    known : tuple of tuple of float
        Breaks for each Gaussian where the activation has declared kinks.
    lowest : float
        Infimum of the eigenvalues of D.
    delta : float
    highest : float, optional
        Supremum of the eigenvalues of D, where the averages have to be right at the right edge too.
    forces : bool
        Whether the normal forces E[g_j r_j] of neurons on spheres must agree too.
    """
    dimension = len(known)
    if dimension > MAX_TENSOR_DIMENSION or not problem.loss.smooth:
        return None
    place = int(np.clip(np.searchsorted(_RATIOS, delta), 1, len(_RATIOS) - 1))
    return problem.remembered(
        ("curvature rule", place, forces, highest is not None),
        lambda: _find_curvature_rule(problem, weights, known, lowest, place, highest, forces),
    )


def _find_curvature_rule(
    problem: Problem,
    weights: FloatArray,
    known: Breaks,
    lowest: float,
    place: int,
    highest: float | None,
    forces: bool,
) -> Rule | None:
    k, hard = problem.k, problem.target.hard_basis
    chosen: list[complex] = []  # the c, from the first rule asked

    def averages(nodes: FloatArray, probabilities: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            samples = labelled_points(problem, nodes, probabilities)
            r, labels = samples.pre_activations(weights), samples.labels
            D = scaled_curvature(problem, r, samples)
        masses = probabilities if samples.weights is None else samples.weights
        if not np.all(np.isfinite(D)):
            return np.full((1, 1), np.nan)
        z = hard.T @ samples.points[:k]
        products = np.stack([np.ones(len(D)), *(a * b for a in z for b in z)]) * masses
        eigenvalues, vectors = np.linalg.eigh(D) if problem.m > 1 else (D[:, :, 0], np.ones_like(D))
        projectors = np.einsum("nia,nja->anij", vectors, vectors).reshape(problem.m, len(D), -1)
        if not chosen:
            ratios = _RATIOS[place - 1 : place + 1]
            chosen.extend(_resolvent_arguments(eigenvalues, masses, lowest, ratios))
            if highest is not None:  # the right edge is the left edge of -D
                reflected = _resolvent_arguments(-eigenvalues, masses, -highest, ratios)
                chosen.extend(-c for c in reflected)
        rows = [
            _averages(power, products, projectors)
            for c in chosen
            for power in _powers(eigenvalues, c)
        ]
        if forces:
            with np.errstate(all="ignore"):
                g = pre_activation_gradient(problem, r, labels)[0]
            rows.append(np.resize((g * r) @ masses, rows[0].shape))
        return np.stack(rows)

    pairs = _FOR_CURVATURE[len(known)]
    agreement = np.tile(_AGREEMENT[len(known)], 2 if highest is None else 4)
    agreement = np.append(agreement, _AGREEMENT[len(known)][0]) if forces else agreement
    # The catalogue has no features but those it declares, for neurons of ordinary size.
    catalogued = problem.is_catalogued and problem.target.classes is None
    catalogued = catalogued and problem.inputs is None
    if catalogued and (rule := confirmed_rule(averages, pairs, known, agreement)):
        return rule
    breaks = problem.remembered(
        "curvature breaks", lambda: _asked(curvatures(problem, weights), len(known), known)
    )
    if breaks is None:
        return None
    tried = catalogued and breaks == known
    if not tried and (rule := confirmed_rule(averages, pairs, breaks, agreement)):
        return rule
    # The resolvent is sharper than D where 1 + c D is small.
    finer = _asked(curvatures(problem, weights, chosen), len(known), breaks)
    return None if finer in (None, breaks) else confirmed_rule(averages, pairs, finer, agreement)


def _powers(eigenvalues: FloatArray, c: complex) -> list[FloatArray]:
    """Return eigenvalues of (I + c D)^{-1} D and its square, real and imaginary parts."""
    once = eigenvalues / (1.0 + c * eigenvalues)
    parts = [once, once * once]
    return [part.real for part in parts] + ([part.imag for part in parts] if c.imag else [])


def _averages(values: FloatArray, products: FloatArray, projectors: FloatArray) -> FloatArray:
    """Average the matrices with given eigenvalues, times each of the products; (j m m,)."""
    found: FloatArray = np.sum(
        [products * value @ each for value, each in zip(values.T, projectors, strict=True)], axis=0
    )
    return found.ravel()


def _resolvent_arguments(
    eigenvalues: FloatArray, masses: FloatArray, lowest: float, ratios: FloatArray
) -> list[complex]:
    """Return arguments c of the resolvent at the left edge for each ratio n/d."""
    from scipy.optimize import brentq

    scale = float(np.median(np.abs(eigenvalues))) or 1.0
    if not np.isfinite(lowest):  # no edge: a point off the real axis
        return [1j / scale]
    lowest = min(lowest, float(eigenvalues.min()))
    most = 1.0 / -lowest if lowest < -1e-12 * scale else 1e6 / scale

    def excess(c: float, ratio: float) -> float:
        share = c * eigenvalues / (1.0 + c * eigenvalues)
        return float(masses @ np.mean(share * share, axis=1)) - 1.0 / ratio

    end = most * (1.0 - 1e-9)
    return [
        complex(brentq(excess, 0.0, end, (ratio,), rtol=1e-6) if excess(end, ratio) > 0.0 else end)
        for ratio in ratios.tolist()
    ]


def label_breaks(problem: Problem) -> Breaks | None:
    """Find breaks that the label needs along the axes of (z, neurons, noise), None if many."""
    k, m = problem.k, problem.m
    further = further_coordinates(problem)
    if problem.inputs is not None:
        return _sample_breaks(problem)
    if isinstance(problem.target.label, str) and problem.target.classes is None:
        return ((),) * (k + m + further)

    def label(nodes: FloatArray) -> FloatArray:
        z = np.ascontiguousarray(nodes[:k].T)
        with np.errstate(all="ignore"):
            if problem.target.classes is not None:
                return problem.target.class_probability(z)[np.newaxis]
            eps = nodes[k] if noise_coordinates(problem) else np.zeros(nodes.shape[1])
            return problem.sample_labels(z, eps)[np.newaxis]

    breaks = problem.remembered("label breaks", lambda: _asked(label, k + further))
    return None if breaks is None else breaks[:k] + ((),) * m + breaks[k:]


def _sample_breaks(problem: Problem) -> Breaks | None:
    """Find breaks that labels and inputs need, where inputs have a law of their own."""
    k, m = problem.k, problem.m

    def samples(nodes: FloatArray) -> FloatArray:
        n = nodes.shape[1]
        with np.errstate(all="ignore"):
            found = input_points(problem, nodes)
            if problem.target.classes is not None:
                labels = found.probability(problem)
            else:
                labels = problem.sample_labels(found.z, found.eps, found.component)
        rows = [labels, *found.points[:k], *([found.scales] if len(found.scales) else [])]
        return np.asarray(np.nan_to_num(np.concatenate([row.reshape(-1, n) for row in rows])))

    breaks = problem.remembered(
        "sample breaks", lambda: _asked(samples, k + further_coordinates(problem))
    )
    return None if breaks is None else breaks[:k] + ((),) * m + breaks[k:]


def scaled_curvature(problem: Problem, r: FloatArray, samples: LabelledPoints) -> FloatArray:
    """Return s^2 D (N, m, m) of samples with scales s, at their pre-activations (m, N)."""
    D = curvature(problem, r, samples.labels)
    if len(samples.scales):
        D *= (samples.scales**2)[:, np.newaxis, np.newaxis]
    return D


def curvature_kinks(
    problem: Problem, weights: FloatArray, known: Breaks, reach: float
) -> Breaks | None:
    """Locate kinks of the curvature at step 0 along the axes of (z, neurons), up to a distance.

    Parameters
    ----------
    problem : Problem
    weights : ndarray, shape (m, k + m)
        B_0.
    known : tuple of tuple of float
        Kinks for each Gaussian that are known beforehand; they are among those returned.
    reach : float

    Returns
    -------
    tuple of tuple of float, or None
        None where there are too many, or functions cannot be asked so far out.
    """
    try:
        found = located_kinks(curvatures(problem, weights), len(known), reach)
    except ValueError:
        return None
    if found is None:
        return None
    # Known ones are found, less exactly.
    new = [
        [kink for kink in kinks if all(abs(kink - other) > 1e-6 for other in ends)]
        for kinks, ends in zip(found, known, strict=True)
    ]
    return tuple(tuple(sorted([*more, *ends])) for more, ends in zip(new, known, strict=True))


def curvatures(
    problem: Problem, weights: FloatArray, arguments: Iterable[complex] = ()
) -> Callable[[FloatArray], FloatArray]:
    """Return D at step 0, with labels or probabilities of classes, as a function of Gaussians.

    And the eigenvalues of (I + c D)^{-1} D for each argument c.

    Parameters
    ----------
    problem : Problem
    weights : ndarray, shape (m, k + m)
        B_0.
    arguments : iterable of complex

    Returns
    -------
    callable
        Gaussians (dimension, n) to rows (j, n), finite.
    """

    def rows(nodes: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            samples = labelled_points(problem, nodes)
            D = scaled_curvature(problem, samples.pre_activations(weights), samples)
            values = D.reshape(len(D), -1).T
            if arguments:
                eigenvalues = np.linalg.eigvalsh(np.nan_to_num(D)).T
                resolved = [eigenvalues / (1.0 + c * eigenvalues) for c in arguments]
                values = np.concatenate([values, *(part.real for part in resolved)])
        n, masses = nodes.shape[1], samples.weights
        if masses is None:  # labels too: what they do to D may be elsewhere
            found = [values, samples.labels[np.newaxis]]
        else:  # either class or every cluster, and the probabilities
            found = [*np.split(values, len(masses) // n, axis=1), n * masses.reshape(-1, n)[:-1]]
            if problem.inputs is not None:
                found.append(samples.labels.reshape(-1, n))
        return np.nan_to_num(np.concatenate(found))

    return rows


def _asked(
    function: Callable[[FloatArray], FloatArray], dimension: int, known: Breaks | None = None
) -> Breaks | None:
    try:
        return axis_breaks(function, dimension, known)
    except ValueError:  # labels that overflow far out, or a class boundary through a point
        return None
