"""The essential support of D, the second derivative of the loss of one sample."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dmft.model.gradients import curvature
from dmft.model.label_functions import TargetFunction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dmft.model.problem import Problem

    FloatArray = NDArray[np.float64]

__all__ = [
    "CurvatureSupport",
    "curvature_support",
    "describe_unbounded",
]

# Where the support of D is probed: labels along random rays out to 10**6 standard deviations,
# pre-activations on a grid dense near zero (activations vary there) and reaching far out.
_RADII = 10.0 ** np.arange(0.0, 6.5, 0.5)
_N_RAYS = 64
_N_PRE_ACTIVATIONS = 4096
_BISECTIONS = 80
_SURELY_UNBOUNDED = 1e5
_PARTS_OF_FITTED = (0.5, 0.9)
_RESIDUALS = (-2.0, 2.0)
_MAX_SUPPORT_POINTS = 32
_ROUNDING = 1e-9  # of D where it is zero

# Factors of the two terms of D, and what would bound each of them.
_BEND, _FIRST = "L''", "(sum_j v_j a_j sigma'(r_j))^2"
_SLOPE, _SECOND = "L'", "a_j sigma''(r_j)"
_CURES = {
    _BEND: "a loss whose second derivative is bounded below",
    _FIRST: "an activation whose first derivative is bounded",
    _SLOPE: "a loss whose first derivative is bounded (such as pseudo-huber)",
    _SECOND: "an activation whose second derivative is bounded",
}
# A factor counts as unbounded if it makes up this much of the growth of the logarithm of its term,
# and an argument as growing if it does by this factor.
_SHARE_OF_GROWTH, _MOVES = 0.1, 10.0


@dataclass(frozen=True)
class CurvatureSupport:
    """Essential support of D, as far as it is known.

    Attributes
    ----------
    points : ndarray, shape (s, m, m)
        Values that D approaches, among them the most negative and most positive ones found.
    bounded_below, bounded_above : bool
        Whether the eigenvalues of D are bounded.
    lowest_at : ndarray, shape (n_radii, m + 1)
        Pre-activations and label at which D has its lowest eigenvalue, for each distance probed;
        biases are in the former, unless they are confined.
    """

    points: FloatArray
    bounded_below: bool
    bounded_above: bool
    lowest_at: FloatArray


def curvature_support(problem: Problem, weights: FloatArray | None = None) -> CurvatureSupport:
    """Probe the support of ``D(r, phi(z, eps))`` over all r, z, eps, out to large arguments.

    Of ``s^2 D`` where inputs have scales, over the z and s that their law allows.

    In general pre-activations and labels of a path have a joint law of full support at every step
    (each step adds an independent Gaussian), so the support of D is the range of this map whatever
    the step. D counts as unbounded below if its smallest eigenvalue keeps falling as the arguments
    grow from 10^3 to 10^6 standard deviations, without its decrements shrinking.

    Parameters
    ----------
    problem : Problem
    weights : ndarray, shape (m, n >= k), optional
        B_t. If the part of r that is independent of z is degenerate (initial radius zero, neurons
        that stay equal), r is confined to its span. No support points are given then if neurons
        overlap with latent directions outside it: not every pair (r, y) occurs.

    Returns
    -------
    CurvatureSupport
    """
    projector, is_free = (None, True) if weights is None else _confinement(weights, problem.k)
    if projector is None:
        bare = problem.without_biases  # all r occur, and with them all r + b
        return bare.remembered("support", lambda: _support(bare, np.eye(bare.m)))
    probed = problem.remembered(
        ("support", projector.round(9).tobytes()), lambda: _support(problem, projector)
    )
    return probed if is_free else replace(probed, points=np.empty((0, problem.m, problem.m)))


def _confinement(weights: FloatArray, k: int) -> tuple[FloatArray | None, bool]:
    """Return the projector on the span of r where r given z is degenerate, otherwise None.

    And whether r given z fills that span, so that every pair with a label occurs.
    """
    covariance = weights @ weights.T
    overlap = weights[:, :k]
    largest = float(np.linalg.eigvalsh(covariance)[-1])
    independent = np.linalg.eigvalsh(covariance - overlap @ overlap.T)
    if independent[0] > 1e-10 * largest:
        return None, True
    values, vectors = np.linalg.eigh(covariance)
    vectors = vectors[:, values > 1e-10 * largest]
    projector: FloatArray = vectors @ vectors.T
    is_free = np.count_nonzero(independent > 1e-10 * largest) == vectors.shape[1]
    return projector, bool(is_free)


def _support(problem: Problem, projector: FloatArray) -> CurvatureSupport:
    """Probe the support over all clusters and scales of the inputs."""
    inputs = problem.inputs
    if inputs is None:
        return _probe(problem, projector)
    parts = [
        _times_scales(_probe(problem, projector, index), *inputs.component_scales(index))
        for index in range(inputs.n_components)
    ]
    below = all(part.bounded_below for part in parts)
    above = all(part.bounded_above for part in parts)
    points = np.concatenate([part.points for part in parts])
    lowest = next((part for part in parts if not part.bounded_below), parts[0])
    if len(points):
        points = _outermost(points, below, above)
    return CurvatureSupport(points, below, above, lowest.lowest_at)


def _times_scales(found: CurvatureSupport, low: float, high: float) -> CurvatureSupport:
    """Return the support of s^2 D, s independent of D and between two bounds."""
    if low == high == 1.0:
        return found
    if np.isfinite(high):
        points = np.concatenate([low**2 * found.points, high**2 * found.points])
        return replace(found, points=np.unique(points, axis=0))
    values = np.linalg.eigvalsh(found.points)
    size = _ROUNDING * float(np.abs(values).max(initial=1.0))
    # Where D has the other sign somewhere, s^2 D grows with s.
    below = found.bounded_below and float(values.min(initial=np.inf)) >= -size
    above = found.bounded_above and float(values.max(initial=-np.inf)) <= size
    nearest = np.unique(low**2 * found.points, axis=0)
    return replace(found, points=nearest, bounded_below=below, bounded_above=above)


def _probe(problem: Problem, projector: FloatArray, component: int = 0) -> CurvatureSupport:
    """Evaluate D at labels along rays and pre-activations in the range of a projector."""
    k = problem.k
    generator = np.random.default_rng(0)
    rays = generator.standard_normal((_N_RAYS, k + 1))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    # Near the axes, not on them: sign(z) = 0 has probability zero and is no label.
    axes = np.concatenate([np.eye(k + 1), -np.eye(k + 1)])
    found = _probe_along(
        problem,
        projector,
        [radius * np.concatenate([rays, axes + 1e-3 * rays[: len(axes)]]) for radius in _RADII],
        generator,
        component,
    )
    if isinstance(problem.target.label, str):
        return found
    # Labels with poles where a coordinate vanishes, as z1 / z2, grow as the others stay away.
    near = [radius * axes + rays[: len(axes)] / radius for radius in _RADII]
    at_poles = _probe_along(problem, projector, near, generator, component)
    return CurvatureSupport(
        found.points,
        found.bounded_below and at_poles.bounded_below,
        found.bounded_above and at_poles.bounded_above,
        at_poles.lowest_at if found.bounded_below else found.lowest_at,
    )


def _probe_along(
    problem: Problem,
    projector: FloatArray,
    samples: Sequence[FloatArray],
    generator: np.random.Generator,
    component: int,
) -> CurvatureSupport:
    """Evaluate D at labels for (z, eps) of growing size, one sample (n, k + 1) for each radius."""
    m = problem.m
    r, far = (projector @ points for points in _probe_pre_activations(m, generator))

    lowest: list[float] = []
    highest: list[float] = []
    extreme: list[FloatArray] = []
    ends: list[tuple[FloatArray, FloatArray]] = []
    lowest_at: list[FloatArray] = []
    seen = _known_bounds(problem)
    for radius, points_of_labels in zip(_RADII, samples, strict=True):
        # All labels found so far: further out they may all overflow, or all be large.
        seen = np.concatenate([seen, _labels_at(problem, points_of_labels, component)])
        if not len(seen):
            continue
        labels = np.unique(np.quantile(seen, np.linspace(0.0, 1.0, 17), method="nearest"))
        points = np.concatenate([r, radius * far], axis=1)
        with np.errstate(all="ignore"):
            fitted, fitted_labels = _where_fitted(problem, far, labels)
            # Short of the label the slope of the loss is that of a large residual, and a curvature
            # of the activation that grows has its full size; just off it a loss that flattens
            # is concave. These say whether D is bounded, the others what it approaches.
            short = [part * fitted for part in _PARTS_OF_FITTED]
            off, labels_off = zip(
                *(_where_fitted(problem, far, labels, residual) for residual in _RESIDUALS),
                strict=True,
            )
            on_grid = np.repeat(points, len(labels), axis=1)
            at = np.concatenate([on_grid, fitted, *short, *off], axis=1)
            labels_at = np.tile(fitted_labels, 1 + len(short))
            labels_at = np.concatenate([np.tile(labels, points.shape[1]), labels_at, *labels_off])
            D = curvature(problem, at, labels_at)
        approached = np.arange(len(D)) < on_grid.shape[1] + fitted.shape[1]
        finite = np.isfinite(D).all(axis=(1, 2))
        if not (finite & approached).any():
            continue
        D, at, labels_at, approached = (
            D[finite],
            at[:, finite],
            labels_at[finite],
            approached[finite],
        )
        values = np.linalg.eigvalsh(D) if m > 1 else D[:, :, 0]
        lowest.append(float(values[:, 0].min()))
        highest.append(float(values[:, -1].max()))
        deepest = int(np.argmin(values[:, 0]))
        lowest_at.append(np.append(at[:, deepest], labels_at[deepest]))
        D, values = D[approached], values[approached]
        outer = [int(np.argmin(values[:, 0])), int(np.argmax(values[:, -1]))]
        ends.append((at[:, approached][:, outer], labels_at[approached][outer]))
        order = np.argsort(values[:, 0], kind="stable")
        extreme.append(D[order[: _MAX_SUPPORT_POINTS // 4]])
        order = np.argsort(values[:, -1], kind="stable")
        extreme.append(D[order[-_MAX_SUPPORT_POINTS // 4 :]])
    if not extreme:
        return CurvatureSupport(np.empty((0, m, m)), True, True, np.empty((0, m + 1)))
    bounded_below = not _keeps_growing(-np.array(lowest))
    bounded_above = not _keeps_growing(np.array(highest))
    if m == 1:
        extreme.append(_between_grid_points(problem, *map(np.hstack, zip(*ends, strict=True))))
    return CurvatureSupport(
        _outermost(np.concatenate(extreme), bounded_below, bounded_above),
        bounded_below,
        bounded_above,
        np.array(lowest_at),
    )


def _between_grid_points(problem: Problem, r: FloatArray, labels: FloatArray) -> FloatArray:
    """Find the smallest and largest D of one neuron near pre-activations (1, n) with labels (n,).

    An edge held by the support is as exact as its end, which is where D is smallest: between the
    points of a grid, or next to a kink. Empty where the grid has it already.
    """
    found = []
    offsets = np.linspace(-1.0, 1.0, 21)
    for sign in (1.0, -1.0):

        def signed(r: FloatArray, labels: FloatArray, sign: float = sign) -> FloatArray:
            with np.errstate(all="ignore"):
                D = sign * curvature(problem, r[np.newaxis], labels)[:, 0, 0]
            return np.where(np.isfinite(D), D, np.inf)

        start = signed(r[0], labels)
        place, label = float(r[0, np.argmin(start)]), labels[np.argmin(start)]
        for width in 0.04 * 0.2 ** np.arange(14.0):
            tried = place + width * offsets
            place = float(tried[np.argmin(signed(tried, np.full(tried.size, label)))])
        end = float(signed(np.array([place]), np.array([label]))[0])
        if end < start.min() - 1e-12 * abs(start.min()):
            found.append(sign * end)
    return np.array(found).reshape(-1, 1, 1)


def describe_unbounded(problem: Problem) -> str:
    """Say which factor of D makes its smallest eigenvalue unbounded below, and in which direction.

    ``D_jl = L'' a_j a_l sigma'(r_j) sigma'(r_l) + [j = l] L' a_j sigma''(r_j)``: of the two terms
    the one that falls, and in it the factors that grow, from 10^3 to 10^6 standard deviations.

    Parameters
    ----------
    problem : Problem
        Whose D is unbounded below.

    Returns
    -------
    str
        One sentence, and another with what would bound it.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "square")
    >>> print(describe_unbounded(problem))  # doctest: +ELLIPSIS
    D is unbounded below: in L' a_j sigma''(r_j), L' falls to -infinity as y grows to +infinity ...
    """
    at = curvature_support(problem, problem.initial_weights()).lowest_at
    if problem.inputs is not None and np.isinf(problem.inputs.scale_range[1]):
        projector = _confinement(problem.initial_weights(), problem.k)[0]
        own = _probe(problem, np.eye(problem.m) if projector is None else projector)
        if own.bounded_below:
            return (
                "s^2 D is unbounded below: the scales s of the inputs are unbounded, and D is "
                "negative somewhere. In the limit there is an edge with bounded scales, or D >= 0."
            )
        return (
            f"{_unbounded(problem, at)} The scales s of the inputs are unbounded, too: the edge is "
            "that of s^2 D, and takes bounded scales or D >= 0 as well."
        )
    return _unbounded(problem, at)


def _unbounded(problem: Problem, at: FloatArray) -> str:
    """Name the factors of D itself that grow, from the points where it is lowest."""
    nothing = "D is unbounded below."
    if len(at) < 2:
        return nothing
    near, far = at[len(at) // 2], at[-1]
    with np.errstate(all="ignore"):
        confined = _confinement(problem.initial_weights(), problem.k)[0] is not None
        at_point = problem if confined else problem.without_biases
        term, before, after = _lowest_term(at_point, near, far)
        growth = {name: _growth(before[name], after[name]) for name in term}
        total = sum(growth.values())
    grown = [name for name, rate in growth.items() if rate > _SHARE_OF_GROWTH * total > 0.0]
    if not grown:
        return nothing
    found = " and ".join(f"{name} {_towards(after[name])}" for name in grown)
    variables = {"y": (near[-1], far[-1])}
    variables |= {"r_j": (before["r_j"], after["r_j"])}
    moving = [
        f"{name} {_towards(end)}"
        for name, (start, end) in variables.items()
        if abs(end) > _MOVES * max(abs(start), 1.0)
    ]
    along = f" as {' and '.join(moving)}" if moving else ""
    values = ", ".join(f"{name} = {after[name]:.3g}" for name in ("r_j", *term))
    cures = " and ".join(_CURES[name] for name in grown)
    return (
        f"D is unbounded below: in {' '.join(term)}, {found}{along} (at y = {far[-1]:.3g}: "
        f"{values}). In the limit there is an edge with {cures}."
    )


def _growth(before: float, after: float) -> float:
    """Return the growth of the logarithm of a factor's size; zero counts as tiny."""
    tiny = float(np.finfo(np.float64).tiny)
    return float(np.log(max(abs(after), tiny)) - np.log(max(abs(before), tiny)))


def _lowest_term(
    problem: Problem, near: FloatArray, far: FloatArray
) -> tuple[tuple[str, ...], dict[str, float], dict[str, float]]:
    """Name the factors of D's more negative term far out, with their values at both points."""
    network, loss = problem.network, problem.loss
    layer = np.asarray(network.second_layer)

    def factors(point: FloatArray) -> tuple[dict[str, float], float, float]:
        r, y = point[:-1], point[-1:]
        f = network.output(r[:, np.newaxis])
        first, second = (
            np.asarray(function(network.shifted(r[:, np.newaxis])[:, 0]), dtype=np.float64)
            for function in (network.activation.derivative, network.activation.second_derivative)
        )
        slope = float(np.asarray(loss.derivative(f, y))[0])
        bend = float(np.asarray(loss.second_derivative(f, y))[0])
        direction = np.linalg.eigh(curvature(problem, r[:, np.newaxis], y)[0])[1][:, 0]
        inner = float(direction @ (layer * first))
        own = direction**2 * layer * second
        j = int(np.argmax(np.abs(own)))
        values = {
            _BEND: bend,
            _FIRST: inner**2,
            _SLOPE: slope,
            _SECOND: float(layer[j] * second[j]),
            "r_j": float(r[j]),
        }
        return values, bend * inner**2, slope * float(own.sum())

    before, _, _ = factors(near)
    after, outer, diagonal = factors(far)
    return (_BEND, _FIRST) if outer < diagonal else (_SLOPE, _SECOND), before, after


def _towards(value: float) -> str:
    return "grows to +infinity" if value > 0 else "falls to -infinity"


def _probe_pre_activations(m: int, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return moderate pre-activations (m, n1), and unit directions (m, n2) to follow outwards."""
    half = np.concatenate([np.linspace(0.0, 6.0, 301), np.geomspace(6.0, 1e3, 60)[1:]])
    if m == 1:
        return np.concatenate([-half[:0:-1], half])[np.newaxis], np.array([[-1.0, 1.0]])
    sizes = generator.choice(half, size=(m, _N_PRE_ACTIVATIONS))
    far = generator.standard_normal((m, _N_RAYS))
    far = np.concatenate([far / np.linalg.norm(far, axis=0), np.eye(m), -np.eye(m)], axis=1)
    return sizes * generator.choice([-1.0, 1.0], size=sizes.shape), far


def _where_fitted(
    problem: Problem, far: FloatArray, labels: FloatArray, residual: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Find pre-activations along the rays ``far`` with a given residual, output minus label.

    A robust loss has its curvature concentrated there, in an interval that no grid would hit.
    """
    rays = np.repeat(far, len(labels), axis=1)
    labels = np.tile(labels, far.shape[1])
    output = labels + residual
    low, high = np.zeros(len(output)), np.full(len(output), 1e7)
    start = problem.network.output(low * rays) < output
    crossed = start != (problem.network.output(high * rays) < output)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        same = (problem.network.output(middle * rays) < output) == start
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return (low * rays)[:, crossed], labels[crossed]


def _known_bounds(problem: Problem) -> FloatArray:
    """Return finite ends of the range of labels that are functions of z, where they are known."""
    target = problem.target
    if not isinstance(target.label, TargetFunction) or target.noise or target.classes is not None:
        return np.empty(0)
    ends = np.array(target.label.bounds or ())
    finite: FloatArray = ends[np.isfinite(ends)]
    return finite


def _labels_at(problem: Problem, points: FloatArray, component: int) -> FloatArray:
    """Return the distinct finite labels at given (z, eps), without labels that overflow.

    Of a cluster, and at the latent coordinates nearby that the law of the inputs allows.
    """
    inputs = problem.inputs

    def labels(rows: FloatArray) -> FloatArray:
        if inputs is None:
            return problem.sample_labels(rows[:, :-1], rows[:, -1])
        z = np.ascontiguousarray(inputs.far(component, rows[:, :-1].T).T)
        return problem.sample_labels(z, rows[:, -1], np.full(len(z), component))

    with np.errstate(all="ignore"):
        try:
            return np.unique(labels(points))
        except ValueError:
            found = []
            for row in points:
                with contextlib.suppress(ValueError):
                    found.append(labels(row[np.newaxis])[0])
            return np.unique(found)


def _keeps_growing(values: FloatArray) -> bool:
    """Whether running maxima over growing radii increase without their increments shrinking."""
    running = np.maximum.accumulate(values)
    if len(running) < 3:
        return False
    scale = 1.0 + abs(float(running[0]))
    if running[-1] > _SURELY_UNBOUNDED * scale:
        return True
    increments = np.diff(running)[-4:]
    return bool(increments.min() > 1e-3 * scale and increments[-1] > 0.5 * increments[0])


def _outermost(points: FloatArray, below: bool, above: bool) -> FloatArray:
    """Pick the points with the smallest and largest eigenvalues, on the bounded sides only."""
    values = np.linalg.eigvalsh(points)
    half = _MAX_SUPPORT_POINTS // 2
    chosen = np.zeros(len(points), dtype=bool)
    if below:
        chosen[np.argsort(values[:, 0], kind="stable")[:half]] = True
    if above:
        chosen[np.argsort(values[:, -1], kind="stable")[-half:]] = True
    selected: FloatArray = np.unique(points[chosen].round(15), axis=0)
    return selected
