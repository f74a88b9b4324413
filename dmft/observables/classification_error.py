r"""Probability that the sign of the network is not the label, from the order parameters.

.. math:: P(y\,f(h) < 0), \qquad (z, h) \sim N(0, [[I, M^T], [M, C(t, t)]]).

An output of exactly zero, as of a ReLU network all of whose neurons are off, is no error.

The event has jumps where the output or the label changes sign, which no rule for smooth functions
can integrate. So one of the Gaussians is integrated in closed form: along the direction in which h
varies most given z, the sign changes of the output are located, and what lies between them is a
difference of normal distribution functions. The average over z and the other neurons
is smooth where the noise or that direction smooths it; two rules with panels at different places
say whether it is, and scrambled Sobol points, whose error shows over replicates, take over if not.
The noise of `dmft.model.classification` is summed over.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.quadrature import gaussian_nodes
from dmft._numerics.sampling import cubature_normals
from dmft.model.drawn_inputs import scaled
from dmft.model.layer_states import at_time
from dmft.observables.labelled_points import further_coordinates, input_points
from dmft.observables.verified_rules import label_breaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from dmft._numerics.sampling import Sampling
    from dmft.model.layer_states import LayerStates
    from dmft.model.network import Network
    from dmft.model.problem import Problem

    FloatArray = NDArray[np.float64]
    Signs = NDArray[np.bool_]

__all__ = ["expected_test_error", "mean_test_error"]

_LINES = 2**11  # for each scramble
# Tensor rules for each number of Gaussians, each confirmed by one of those that follow.
_AGREEMENT = 1e-6
_RULES = {1: ("fine", "fine-shifted"), 2: ("coarse", "medium", "medium-shifted")}
# Along a line: panels in which a sign change is looked for, and halvings of one that has it.
_GRID = np.linspace(-6.0, 6.0, 33)
_HALVINGS = 14


def expected_test_error(
    problem: Problem,
    overlap: FloatArray,
    norm: FloatArray,
    sampling: Sampling,
    replicates: Iterable[int],
    layers: LayerStates | None = None,
) -> FloatArray:
    """Compute the test error at given order parameters; NaN where labels are not -1 and +1.

    Parameters
    ----------
    problem : Problem
    overlap : ndarray, shape (n_times, m, k)
        M(t).
    norm : ndarray, shape (n_times, m, m)
        C(t, t).
    sampling : Sampling
    replicates : iterable of int
        The replicates whose cubature points to use where no tensor rule suffices.
    layers : LayerStates, optional
        Second layer and biases at each time, where they are not those of the problem.

    Returns
    -------
    ndarray, shape (n_times,)
    """
    errors = np.full(len(overlap), np.nan)
    if not problem.target.has_sign_labels:
        return errors
    dimension = problem.k + problem.m - 1 + further_coordinates(problem)
    rules = problem.remembered("lines of test errors", lambda: _tensor_rules(problem, dimension))
    sampled: _Lines | None = None
    scrambles = list(replicates)
    for t, (M, C) in enumerate(zip(overlap, norm, strict=True)):
        network = at_time(problem, layers, t).network
        confirmed = _confirmed(rule.error(network, M, C) for rule in rules)
        if confirmed is not None:
            errors[t] = confirmed
            continue
        if sampled is None:
            parts = [cubature_normals(sampling, i, dimension, _LINES) for i in scrambles]
            points = np.concatenate(parts, axis=1)
            sampled = _Lines(problem, points, np.full(points.shape[1], 1.0 / points.shape[1]))
        errors[t] = sampled.error(network, M, C)
    return errors


def _tensor_rules(problem: Problem, dimension: int) -> list[_Lines]:
    """Return lines at the nodes of each tensor rule; none where the label suits none."""
    names, breaks = _RULES.get(dimension, ()), label_breaks(problem)
    if not names or breaks is None:
        return []
    k = problem.k
    breaks = breaks[:k] + breaks[k + 1 :]  # one Gaussian of the neurons is integrated along lines
    try:
        return [_Lines(problem, *gaussian_nodes(dimension, name, breaks)) for name in names]
    except ValueError:  # a class boundary through a node
        return []


def _confirmed(errors: Iterable[float]) -> float | None:
    """Return the first error that the next rule confirms, asking no more rules than needed."""
    for one, two in pairwise(errors):
        if abs(one - two) < _AGREEMENT:
            return one
    return None


def mean_test_error(problem: Problem, h: FloatArray, y: FloatArray) -> float:
    """Return the fraction of samples, of pre-activations (m, N) and labels (N,), with y f < 0.

    NaN where labels are not -1 and +1.

    Examples
    --------
    >>> from dmft.model.problem import Problem
    >>> problem = Problem({"label": "linear", "classes": "sign"}, {"activation": "linear"})
    >>> mean_test_error(problem, np.array([[0.3, -2.0]]), np.array([1.0, 1.0]))
    0.5
    """
    if not problem.target.has_sign_labels:
        return float("nan")
    return float(np.mean(y * problem.network.output(h) < 0.0))


class _Lines:
    """Weighted lines in the space of z and h, whose points stand for all Gaussians but one.

    Parameters
    ----------
    problem : Problem
    points : ndarray, shape (k + m - 1 + noise coordinates, N)
    weights : ndarray, shape (N,)
    """

    def __init__(self, problem: Problem, points: FloatArray, weights: FloatArray) -> None:
        k, m = problem.k, problem.m
        found = input_points(problem, points, weights)
        assert found.weights is not None  # given
        self._z, self._others = found.points[:k], found.points[k : k + m - 1]
        self._weights, self._scales = found.weights, found.scales
        self._up = found.probability(problem)

    def error(self, network: Network, M: FloatArray, C: FloatArray) -> float:
        """Return the average over the lines, at overlaps (m, k) and norms (m, m)."""
        values, vectors = np.linalg.eigh(C - M @ M.T)
        roots = vectors * np.sqrt(np.maximum(values, 0.0))
        start = scaled(M @ self._z + roots[:, :-1] @ self._others, self._scales)
        start = network.shifted(start)  # kinks are at one place for all entries then
        if network.biases:
            network = network.with_layers(biases=np.zeros(network.m))
        direction = roots[:, -1]
        if len(self._scales):
            direction = direction[:, np.newaxis] * self._scales
        positive, negative = sign_masses(network.output, start, direction, network.activation.kinks)
        return float(self._weights @ (self._up * negative + (1.0 - self._up) * positive))


def sign_masses(
    output: Callable[[FloatArray], FloatArray],
    start: FloatArray,
    direction: FloatArray,
    kinks: Sequence[float] = (),
) -> tuple[FloatArray, FloatArray]:
    """Compute the probabilities of a positive and negative output at ``start + s * direction``.

    Parameters
    ----------
    output : callable
        (m, N) -> (N,).
    start : ndarray, shape (m, N)
    direction : ndarray, shape (m,) or (m, N)
        Of all lines or of each, multiplied with a standard normal s.
    kinks : sequence of float
        Values of any entry at which the output is not smooth.

    Returns
    -------
    positive, negative : ndarray, shape (N,)

    Examples
    --------
    >>> positive, _ = sign_masses(lambda h: h[0], np.array([[0.0, 40.0]]), np.array([2.0]))
    >>> positive.round(6).tolist()
    [0.5, 1.0]
    """
    if direction.ndim == 1:
        direction = direction[:, np.newaxis]
    grid = _grid(start, direction, kinks)

    def on(lines: NDArray[np.intp], sign: float = 1.0) -> Callable[[FloatArray], FloatArray]:
        """Return the output along some of the lines, times a sign."""
        here = start[:, lines]
        along = direction if direction.shape[1] == 1 else direction[:, lines]
        return lambda s: sign * output(here + along * s)

    f = np.stack([output(start + direction * row) for row in grid])
    # Two sign changes within a panel leave no trace on the grid but a dip of |f|.
    dips, rows = _dips(f)
    vertex = _vertex(grid, np.abs(f), dips, rows)
    at_vertex = on(dips)(vertex)
    masses = []
    for sign in (1.0, -1.0):
        on_grid = sign * f > 0.0
        mass = on_grid[-1].astype(np.float64)
        i, lines = np.nonzero(on_grid[:-1] != on_grid[1:])
        before = on_grid[i, lines]
        _add_change(mass, lines, grid[i, lines], grid[i + 1, lines], before, on(lines, sign))
        before = on_grid[rows, dips]
        new = (sign * at_vertex > 0.0) != before
        lines, i, s, before = dips[new], rows[new], vertex[new], before[new]
        signed = on(lines, sign)
        _add_change(mass, lines, grid[i - 1, lines], s, before, signed)
        _add_change(mass, lines, s, grid[i + 1, lines], ~before, signed)
        if not len(kinks) and np.all(f):  # smooth, so that it vanishes nowhere for long
            return mass, 1.0 - mass
        masses.append(mass)
    return masses[0], masses[1]


def _grid(start: FloatArray, direction: FloatArray, kinks: Sequence[float]) -> FloatArray:
    """Return points (n, N) along each line, increasing, with the kinks of all entries.

    Between kinks a piecewise linear output is linear: it changes sign once at most.
    """
    grid = np.broadcast_to(_GRID[:, None], (len(_GRID), start.shape[1]))
    moving = np.flatnonzero(direction.any(axis=1))
    if not len(kinks) or not len(moving):
        return grid
    crossings = [(kink - start[moving]) / direction[moving] for kink in kinks]
    inside = np.clip(np.concatenate(crossings), _GRID[0], _GRID[-1])
    return np.sort(np.concatenate([grid, inside]), axis=0)


def _dips(f: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find lines and inner rows of the grid at which |f| dips without a change of sign."""
    sign, size = np.sign(f), np.abs(f)
    same = (sign[1:-1] == sign[:-2]) & (sign[1:-1] == sign[2:]) & (sign[1:-1] != 0.0)
    found = same & (size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:])
    rows, lines = np.nonzero(found)
    return lines, rows + 1


def _vertex(
    grid: FloatArray, size: FloatArray, lines: NDArray[np.intp], rows: NDArray[np.intp]
) -> FloatArray:
    """Minimise the parabola through a point of each line and its two neighbours."""
    (s0, f0), (s1, f1), (s2, f2) = (
        (grid[rows + i, lines], size[rows + i, lines]) for i in (-1, 0, 1)
    )
    bend = (f2 - f1) * (s1 - s0) - (f1 - f0) * (s2 - s1)  # times positive factors
    slope = (f1 - f0) * (s2 - s1) * (s2 - s0)
    shift = np.divide(0.5 * slope, bend, out=np.zeros_like(bend), where=bend > 0.0)
    return np.clip(np.where(bend > 0.0, 0.5 * (s0 + s1) - shift, s1), s0, s2)


def _add_change(
    mass: FloatArray,
    lines: NDArray[np.intp],
    left: FloatArray,
    right: FloatArray,
    before: Signs,
    signed: Callable[[FloatArray], FloatArray],
) -> None:
    """Add to the `mass` of lines what changes between two points of each.

    By bisection, and a secant in the last interval.
    """
    from scipy.special import ndtr

    for _ in range(_HALVINGS):
        middle = 0.5 * (left + right)
        same = (signed(middle) > 0.0) == before
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    low, high = np.abs(signed(left)), np.abs(signed(right))
    share = np.divide(low, low + high, out=np.full_like(low, 0.5), where=low + high > 0.0)
    # What was inside before the change is Phi(s) of it, what comes inside is 1 - Phi(s): the 1 is
    # counted where the line ends.
    np.add.at(mass, lines, np.where(before, 1.0, -1.0) * ndtr(left + share * (right - left)))
