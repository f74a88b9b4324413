r"""Integrability of functions of a few Gaussians: their growth far out and near poles.

A sample mean of |y| for y = z_1/z_2 is a number whatever the sample, and so is a quadrature; the
average is infinite. What decides is the growth of the function where Gaussians are large, against
:math:`e^{-r^2/2}`, and near poles: a function that grows like :math:`1/|x|` across a surface, or
faster, has no average.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from dmft.model.drawn_inputs import scaled
from dmft.model.gradients import pre_activation_gradient
from dmft.model.layer_states import at_time
from dmft.observables.labelled_points import further_coordinates, labelled_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dmft.model.layer_states import LayerStates
    from dmft.model.problem import Problem

    FloatArray = NDArray[np.float64]

__all__ = ["average_of", "gradients_are_undefined", "undefined_losses"]

# Along rays from zero: radii at which growth is compared with the normal density, and near zero.
_RADII = np.concatenate([np.arange(2.5, 6.0, 0.5), np.arange(6.0, 25.0, 2.0)])
_SMALL = 10.0 ** np.arange(-9.0, -2.0)
_N_RAYS = 24
# Along lines: points, and how far and how finely the largest values on each are followed.
_LINES, _POINTS, _REACH = 6, 4001, 6.0
_PEAKS, _ZOOM, _FRAME, _ZOOMS = 8, 4.0, 33, 18
# A pole of an order below this is integrable beyond doubt.
_ORDER = 0.98


def average_of(function: Callable[[FloatArray], FloatArray], dimension: int) -> float:
    """Return 0 if a function of independent normals has an average, otherwise what it is.

    Parameters
    ----------
    function : callable
        (dimension, n) -> (n,); NaN where it is not known.
    dimension : int

    Returns
    -------
    float
        0; or +inf, -inf where one sign only is too large, NaN where both are.

    Examples
    --------
    >>> average_of(lambda q: np.abs(q[0] / q[1]), 2), average_of(lambda q: q[0] / q[1], 2)
    (inf, nan)
    >>> average_of(lambda q: np.abs(q[0]) ** -0.9 * np.exp(0.45 * q[0] ** 2), 1)
    0.0
    """

    def asked(points: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(function(points))

    signs = _far_out(asked, dimension) | _near_zero(asked, dimension) | _at_poles(asked, dimension)
    if not signs:
        return 0.0
    return np.inf * signs.pop() if len(signs) == 1 else np.nan


def undefined_losses(
    problem: Problem, weights: FloatArray, layers: LayerStates | None = None
) -> FloatArray:
    """Return which average losses are infinite or undefined: 0 for others, otherwise +-inf or NaN.

    What is known of the catalogue is not tried: labels and losses grow like powers.

    Parameters
    ----------
    problem : Problem
    weights : ndarray, shape (n_times, m, k + m)
        Pre-activations are these times independent normals (z, xi).
    layers : LayerStates, optional
        Second layer and biases at each time.

    Returns
    -------
    ndarray, shape (n_times,)
    """
    n = len(weights)
    found = np.zeros(n)
    if not n or _has_all_moments(problem):
        return found
    dimension = problem.k + problem.m + further_coordinates(problem)

    def at(t: int) -> float:
        here = at_time(problem, layers, t)

        def losses(r: FloatArray, labels: FloatArray, scales: FloatArray) -> FloatArray:
            f = here.network.output(r)
            return np.asarray(problem.loss.value(f, labels), dtype=np.float64)

        return average_of(_of_gaussians(problem, weights[t], losses), dimension)

    found[:] = at(n - 1)
    if found[-1] != 0.0 and at(0) == 0.0:  # the first time is in between: norms have grown
        low, high = 0, n - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if at(middle) == 0.0 else (low, middle)
        found[:high] = 0.0
    return found


def gradients_are_undefined(problem: Problem) -> bool:
    """Whether E|g|^2 is infinite at the start: no step of gradient descent has a limit then."""
    return problem.remembered("undefined gradients", lambda: _gradients_are_undefined(problem))


def _gradients_are_undefined(problem: Problem) -> bool:
    if _has_all_moments(problem):
        return False
    weights = problem.initial_weights()

    def squares(r: FloatArray, labels: FloatArray, scales: FloatArray) -> FloatArray:
        g, _ = pre_activation_gradient(problem, r, labels)
        return np.asarray(np.sum(np.square(scaled(g, scales)), axis=0))

    dimension = problem.k + problem.m + further_coordinates(problem)
    return average_of(_of_gaussians(problem, weights, squares), dimension) != 0.0


def _has_all_moments(problem: Problem) -> bool:
    """Whether all averages exist: functions of the catalogues, of inputs with light tails."""
    light = problem.inputs is None or problem.inputs.has_all_moments
    return problem.is_catalogued and light


def _of_gaussians(
    problem: Problem,
    weights: FloatArray,
    function: Callable[[FloatArray, FloatArray, FloatArray], FloatArray],
) -> Callable[[FloatArray], FloatArray]:
    """Return a function of pre-activations, labels and scales as one of the Gaussians.

    The largest value of the classes where these are random, and of the clusters; NaN where labels
    overflow.
    """

    def values(nodes: FloatArray) -> FloatArray:
        try:
            samples = labelled_points(problem, nodes)
        except ValueError:
            return np.full(nodes.shape[1], np.nan)
        found = function(samples.pre_activations(weights), samples.labels, samples.scales)
        return np.asarray(found.reshape(-1, nodes.shape[1]).max(axis=0))

    return values


def _rays(dimension: int) -> FloatArray:
    """Return directions (dimension, n): random ones, and close to axes and their bisectors."""
    rng = np.random.default_rng(0)
    unit = np.eye(dimension)
    pairs = list(itertools.combinations(unit, 2))
    axes = np.array([*unit, *(a + b for a, b in pairs), *(a - b for a, b in pairs)])
    axes = np.concatenate([axes, -axes])
    if dimension > 1:
        axes = axes + 1e-3 * rng.standard_normal(axes.shape)
    rays = np.concatenate([axes, rng.standard_normal((_N_RAYS if dimension > 1 else 0, dimension))])
    return np.asarray((rays / np.linalg.norm(rays, axis=1, keepdims=True)).T)


def _far_out(asked: Callable[[FloatArray], FloatArray], dimension: int) -> set[int]:
    """Find signs that grow as fast as the normal density falls, along some ray."""
    rays, signs = _rays(dimension), set()
    values = np.stack([asked(radius * rays) for radius in _RADII])
    for column in values.T:
        usable = np.isfinite(column) & (column != 0.0)
        if np.count_nonzero(usable) < 4:
            continue
        radii, sizes = _RADII[usable][-4:], np.log(np.abs(column[usable][-4:]))
        excess = sizes - 0.5 * radii**2
        # The radial integrand falls more slowly than 1/r.
        if np.all(np.diff(excess) > -1.05 * np.diff(np.log(radii))):
            signs.add(int(np.sign(column[usable][-1])))
    return signs


def _near_zero(asked: Callable[[FloatArray], FloatArray], dimension: int) -> set[int]:
    """Find signs that grow towards zero in all directions, faster than the volume falls."""
    rays, signs = _rays(dimension), set()
    with np.errstate(all="ignore"):
        values = np.stack([asked(radius * rays) for radius in _SMALL])
        slopes = np.diff(np.log(np.abs(values)), axis=0) / np.diff(np.log(_SMALL))[:, np.newaxis]
    steep = np.all(slopes < -_ORDER * dimension, axis=0)
    if np.mean(steep) > 0.5:
        signs |= {int(sign) for sign in np.sign(values[0, steep])}
    return signs


def _at_poles(asked: Callable[[FloatArray], FloatArray], dimension: int) -> set[int]:
    """Find signs that grow like 1/|x| or faster towards a point of a line parallel to an axis."""
    rng = np.random.default_rng(1)
    signs: set[int] = set()
    # No point of a line is a round number, which may be a pole.
    x = np.linspace(-_REACH, _REACH, _POINTS) + 1e-4 * (np.sqrt(2.0) - 1.0)
    for axis in range(dimension):
        for other in rng.standard_normal((_LINES if dimension > 1 else 1, dimension)):

            def on_line(s: FloatArray, axis: int = axis, other: FloatArray = other) -> FloatArray:
                points = np.repeat(other[:, np.newaxis], len(s), axis=1)
                points[axis] = s
                return np.nan_to_num(asked(points), nan=0.0, posinf=1e300, neginf=-1e300)

            size = np.abs(on_line(x))
            peaks = 1 + np.flatnonzero((size[1:-1] >= size[:-2]) & (size[1:-1] >= size[2:]))
            # In front, those that stand out most: not the tails of the function.
            standing = size[peaks] / (np.median(size) + 1e-300)
            for peak in peaks[np.argsort(-standing)][:_PEAKS]:
                signs |= _signs_of_pole(on_line, float(x[peak]), float(x[1] - x[0]))
    return signs


def _signs_of_pole(
    on_line: Callable[[FloatArray], FloatArray], centre: float, width: float
) -> set[int]:
    """Find the signs of a pole of order one or more near a point; none where there is no pole."""
    widths, sizes = [], []
    offsets = np.linspace(-1.0, 1.0, _FRAME) + 0.01 / np.sqrt(2.0)
    for _ in range(_ZOOMS):
        s = centre + width * offsets
        values = on_line(s)
        best = int(np.argmax(np.abs(values)))
        centre = float(s[best])
        widths.append(width)
        sizes.append(float(np.abs(values[best])))
        width /= _ZOOM
        if width < 1e-12 * max(1.0, abs(centre)) or sizes[-1] >= 1e300:
            break
    half = len(sizes) // 2
    if len(sizes) < 8 or min(sizes) <= 0.0:
        return set()
    order = -np.polyfit(np.log(widths[half:]), np.log(sizes[half:]), 1)[0]
    if order < 0.5:
        return set()
    # The order without the chance of how near a point came: at a fixed multiple of a distance.
    distances = 1e3 * widths[-1] * np.exp2(2.0 * np.arange(6.0))
    signs = set()
    for side in (-1.0, 1.0):
        values = on_line(centre + side * distances)
        if np.all(values != 0.0):
            slope = np.polyfit(np.log(distances), np.log(np.abs(values)), 1)[0]
            if -slope > _ORDER:
                signs.add(int(np.sign(values[0])))
    return signs
