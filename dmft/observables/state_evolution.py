"""Fixed point of the minimiser of an empirical risk: proximal points, equations, their solution.

The equations are those of `dmft.observables.risk_minimization`, their coordinates overlap M, square
root of S and logarithm of V. A step of state evolution of the proximal algorithm moves these by
what is left of the equations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.quadrature import gaussian_nodes
from dmft._numerics.sampling import cubature_normals
from dmft.model.drawn_inputs import scaled
from dmft.model.gradients import curvature, pre_activation_gradient
from dmft.observables.labelled_points import further_coordinates, labelled_points
from dmft.observables.verified_rules import RULES_OF_LOSSES, label_breaks
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem

    FloatArray = NDArray[np.float64]
    Values = dict[str, Any]

__all__ = ["bias_of", "first_points", "loss_derivatives", "minimizer", "missing"]

#: Quantities with a standard error, beside the overlap.
SCALARS = ("norm", "train_loss", "test_loss", "test_error")

# Between solutions on two rules; a residual that moves a solution by less.
_AGREEMENT, _SURE = 1e-7, 1e-11
_SOBOL_POINTS = 2**13
# Steps of state evolution, and below which a root finder takes over; its largest residual.
_ITERATIONS, _NEAR, _RESIDUAL = 1000, 1e-2, 1e-10
_SMALLEST_RIDGE = 1e-7
# Newton's step squares the error: after one as small as this the next is rounding.
_MOST_NEWTON, _QUADRATIC, _WIDE = 60, 1e-9, 1e3
# Of what the steps leave of r + V l'(r) = omega, more than this is a jump of l'.
_ON_A_JUMP, _HALVINGS = 1e-6, 30
# A norm beyond which the minimiser is taken to have run off.
_LARGEST = 1e8


@dataclass(frozen=True)
class WeightedSample:
    """Weighted points: latent coordinates (k, N), noise of omega (N,), labels (N,), masses (N,)."""

    z: FloatArray
    xi: FloatArray
    y: FloatArray
    mass: FloatArray
    scales: FloatArray  # of the inputs, (N,), or (0,) where all are one
    easy: FloatArray  # projector on the easy directions, (k, k): others have no overlap
    by_parts: bool = False  # whether the mean curvature is found from l' alone

    @property
    def reduced(self) -> FloatArray:
        """Latent coordinates over scales, z / s."""
        return self.z / self.scales if len(self.scales) else self.z

    def spread(self, width: float) -> FloatArray:
        """Return the standard deviation of a pre-activation, given z: s S^(1/2)."""
        return scaled(np.full(len(self.y), width), self.scales)

    def squared(self, values: FloatArray) -> FloatArray:
        """Return s^2 times values (N,)."""
        return scaled(scaled(values, self.scales), self.scales)

    def pre_activations(self, overlap: FloatArray, width: float) -> FloatArray:
        """Return omega = M z + s S^(1/2) xi."""
        return overlap @ self.z + width * scaled(self.xi, self.scales)

    @classmethod
    def of(cls, problem: Problem, nodes: FloatArray, masses: FloatArray) -> WeightedSample:
        """Label the nodes (k + 1 + noise and scale, N) of a rule with its masses (N,)."""
        found = labelled_points(problem, nodes, masses)
        k, points, s = problem.k, found.points, found.scales
        mass = masses if found.weights is None else found.weights
        easy = problem.target.easy_projector
        return cls(scaled(points[:k], s), points[k], found.labels, mass, s, easy)


def first_points(problem: Problem, sampling: Sampling) -> WeightedSample:
    """Return the coarsest tensor rule, or Sobol points where there is none."""
    return next(_rules(problem), None) or _sobol(problem, sampling, range(sampling.replicates))


def _dimension(problem: Problem) -> int:
    return problem.k + 1 + further_coordinates(problem)


def _rules(problem: Problem) -> Iterator[WeightedSample]:
    """Yield tensor rules, coarse to fine, each with panels at other places than the one before."""
    dimension = _dimension(problem)
    if dimension not in RULES_OF_LOSSES or not problem.loss.smooth:
        return
    breaks = label_breaks(problem)
    if breaks is None:
        return
    for name in dict.fromkeys(name for pair in RULES_OF_LOSSES[dimension] for name in pair):
        try:
            yield WeightedSample.of(problem, *gaussian_nodes(dimension, name, breaks))
        except ValueError:  # a class boundary through a node, too many nodes
            return


def _sobol(
    problem: Problem, sampling: Sampling, replicates: range, by_parts: bool | None = None
) -> WeightedSample:
    """Return the Sobol points of some replicates; by parts unless the loss is smooth."""
    dimension = _dimension(problem)
    draws = [cubature_normals(sampling, index, dimension, _SOBOL_POINTS) for index in replicates]
    nodes = np.concatenate(draws, axis=1)
    drawn = WeightedSample.of(problem, nodes, np.full(nodes.shape[1], 1.0 / nodes.shape[1]))
    by_parts = not problem.loss.smooth if by_parts is None else by_parts
    return replace(drawn, xi=_orthogonal(drawn), by_parts=by_parts)


def _orthogonal(points: WeightedSample) -> FloatArray:
    """Return xi made orthogonal to labels and latent coordinates, of mean 0 and variance 1.

    Close to interpolation, where the loss is quadratic at what data leave of it, the equations
    hang on the difference of these averages: sampled ones would do as another delta does.
    """
    rows = [np.ones_like(points.y), points.y, *points.z]
    if len(points.scales):
        rows += [points.y / points.scales, *points.reduced]
    root = np.sqrt(points.mass)
    with np.errstate(all="ignore"):
        basis = np.array([row / math.sqrt(points.mass @ row**2) for row in rows]) * root
    basis = basis[np.isfinite(basis).all(axis=1)]
    xi = points.xi * root
    for _ in range(2):  # the second time what rounding left
        xi = xi - np.linalg.lstsq(basis.T, xi, rcond=1e-10)[0] @ basis
    xi /= math.sqrt(xi @ xi)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(root > 0.0, xi / root, points.xi)


def minimizer(
    problem: Problem,
    delta: float,
    sampling: Sampling,
    progress: Callable[[int], None] | None = None,
) -> tuple[Values, Status]:
    """Solve the equations on tensor rules until one confirms another, or on Sobol points.

    Losses said to be smooth that are not have equations that jump: where these are not solved, the
    mean curvature is found by parts.

    Parameters
    ----------
    problem : Problem
    delta : float
    sampling : Sampling
    progress : callable, optional
        Called with numbers of solutions that are done, of replicates + 2 in all.

    Returns
    -------
    values : dict
        The fields of a `RiskMinimizer` that are numbers, with standard errors.
    status : Status
    """
    done = 0

    def advance(to: int) -> None:
        nonlocal done
        if progress is not None and to > done:
            progress(to - done)
        done = max(done, to)

    smooth = problem.loss.smooth
    values, status = _solved(problem, delta, sampling, advance, by_parts=not smooth)
    if status is Status.MAX_STEPS and smooth:
        values, status = _solved(problem, delta, sampling, advance, by_parts=True)
    return values, status


def _solved(
    problem: Problem,
    delta: float,
    sampling: Sampling,
    advance: Callable[[int], None],
    *,
    by_parts: bool,
) -> tuple[Values, Status]:
    """Solve the equations with the mean curvature by parts, or not: MAX_STEPS where l' jumps."""
    n = sampling.replicates

    def sampled(replicates: range) -> WeightedSample:
        return _sobol(problem, sampling, replicates, by_parts)

    # A few points say where to begin on many.
    few = sampled(range(n - 1, n))
    values, status = _fixed_point(problem, delta, few)
    advance(1)
    if status.ok and not by_parts and _jumps(problem, few, values):
        status = Status.MAX_STEPS  # a mean of l'' would lack the jumps
    if not status.ok:
        return missing(problem.k), status
    start: FloatArray | None = _coordinates(values)
    for number, points in enumerate(() if by_parts else _rules(problem)):
        # Does it solve the equations here? What is left of them may move it by far more.
        before, agrees = (start, False) if number else (None, False)
        if before is not None:
            values, status = _at(problem, delta, points, before), Status.SUCCESS
            agrees = values["residual"] < _SURE
        if not agrees:
            values, status = _fixed_point(problem, delta, points, start)
            start = _coordinates(values) if status.ok else None
            if before is not None and start is not None:
                agrees = bool(np.abs((start - before) / _scale(start)).max() < _AGREEMENT)
        if agrees:
            advance(n + 2)
            return values | _errors(problem.k, []), Status.SUCCESS
    pooled, status = _fixed_point(problem, delta, sampled(range(n)), start)
    start = _coordinates(pooled) if status.ok else None
    advance(2)
    others = []
    for i in range(n):
        points = sampled(range(i, i + 1))
        others.append(_fixed_point(problem, delta, points, start))
        advance(i + 3)
    status = first_failure([status, *(other for _, other in others)])
    if not status.ok:  # of numbers without an error none can be cited
        return missing(problem.k), status
    return pooled | _errors(problem.k, [values for values, _ in others], pooled), status


def _coordinates(values: Values) -> FloatArray:
    """Return a solution as the root finder takes it."""
    V = values["susceptibility"]
    return np.concatenate([values["overlap"], [math.sqrt(values["noise"]), math.log(V)]])


def _errors(k: int, replicates: list[Values], pooled: Values | None = None) -> Values:
    """Return standard errors over replicates, with the bias of the pooled; zeros without any.

    The bias of few points falls like their number: of R replicates together it is 1/(R - 1) of
    what they differ from their mean by.
    """
    errors: Values = {"overlap_stderr": np.zeros(k)} | {f"{name}_stderr": 0.0 for name in SCALARS}
    for name in ("overlap", *SCALARS) if pooled is not None else ():
        assert pooled is not None
        values, n = [found[name] for found in replicates], len(replicates)
        bias = (np.mean(values, axis=0) - pooled[name]) / (n - 1)
        error = np.hypot(np.std(values, axis=0, ddof=1) / math.sqrt(n), bias)
        errors[f"{name}_stderr"] = error if name == "overlap" else float(error)
    return errors


def _fixed_point(
    problem: Problem, delta: float, points: WeightedSample, start: FloatArray | None = None
) -> tuple[Values, Status]:
    """Solve the equations on points.

    Damped state evolution of the proximal algorithm finds the solution at a ridge of one, and a
    root finder follows it to the ridge asked for: without a ridge, where the norm may be large, the
    iteration would be slow.

    Parameters
    ----------
    start : ndarray, shape (k + 2,), optional
        Overlap, square root of S and logarithm of V on other points, from which the root finder
        starts at once.
    """
    k, asked = problem.k, problem.weight_decay

    def moments(x: FloatArray, lam: float) -> FloatArray:
        return _moments(problem, delta, points, x, lam)[2]

    def root(x: FloatArray, lam: float) -> FloatArray | None:
        return _root(lambda at: moments(at, lam), x)

    x = None if start is None else root(start, asked)
    if x is None:
        x, lam = np.concatenate([np.zeros(k), [1.0, 0.0]]), max(asked, 1.0)
        for _ in range(_ITERATIONS):
            try:
                step = moments(x, lam)
            except (ArithmeticError, ValueError):  # no float can hold V, or it is zero
                return missing(k), Status.NONFINITE
            if not np.all(np.isfinite(step)):
                return missing(k), Status.NONFINITE
            x = x + 0.5 * step
            if np.abs(step).max() < _NEAR:
                break
        found = root(x, lam)
        factor = 0.25
        while found is not None and lam > asked:
            x = found
            if np.abs(x[: k + 1]).max() > _LARGEST:
                return missing(k), Status.DIVERGED
            # The last step is to the ridge itself, which may be none.
            new = asked if factor * lam < max(asked, _SMALLEST_RIDGE) else factor * lam
            if (further := root(x, new)) is not None:
                found, lam = further, new
            elif factor > 0.95:
                return missing(k), Status.MAX_STEPS
            else:
                factor = math.sqrt(factor)
        if found is None:
            return missing(k), Status.MAX_STEPS
        x = found
    return _at(problem, delta, points, x), Status.SUCCESS


@np.errstate(all="ignore")  # what overflows is found by those that call
def _moments(
    problem: Problem, delta: float, points: WeightedSample, x: FloatArray, lam: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return r, omega, and the step of state evolution, which is zero at the solution."""
    k, V = problem.k, math.exp(x[-1])
    omega = points.pre_activations(x[:k], x[k])
    step = points.squared(np.full(len(omega), V))
    r, first, second = _proximal_point(problem, omega, points.y, step)
    if not points.by_parts:
        h = float(lam + points.mass @ points.squared(second / (1.0 + step * second)))
    else:  # by Gaussian integration by parts: a jump of l'' would be one of the equations
        h = float(lam + points.mass @ scaled(points.xi * first, points.scales) / x[k])
    drift = points.easy @ (lam * x[:k] + points.z @ (points.mass * first))
    hard = x[:k] - points.easy @ x[:k]
    spread = math.sqrt(delta * (points.mass @ points.squared(first**2))) * V
    last = [spread - x[k], -math.log(delta * h) - x[k + 1]]
    return r, omega, np.concatenate([-drift / h - hard, last])


def _at(problem: Problem, delta: float, points: WeightedSample, x: FloatArray) -> Values:
    """Return the values at a solution, and what it leaves of the equations."""
    k = problem.k
    r, omega, steps = _moments(problem, delta, points, x, problem.weight_decay)
    overlap, spread = x[:k], abs(float(x[k]))
    V = math.exp(x[k + 1])
    return {
        "overlap": overlap,
        "norm": float(spread**2 + overlap @ overlap),
        "train_loss": float(points.mass @ loss_derivatives(problem, r, points.y)[0]),
        "test_loss": float(points.mass @ loss_derivatives(problem, omega, points.y)[0]),
        "test_error": _test_error(problem, points, overlap, spread),
        "noise": spread**2,
        "susceptibility": V,
        "residual": float(np.abs(steps / _scale(x)).max()),
    }


def _scale(x: FloatArray) -> FloatArray:
    """Return the size of coordinates: of overlap and spread the larger, of the logarithm one."""
    size = max(float(np.abs(x[:-1]).max()), 1e-150)
    return np.append(np.full(len(x) - 1, size), 1.0)


def _root(equations: Callable[[FloatArray], FloatArray], start: FloatArray) -> FloatArray | None:
    """Return the root next to a point, if the root finder gets there.

    Twice, in units of the point and of the root: overlaps may be tiny.
    """
    from scipy.optimize import root

    x = start
    with np.errstate(all="ignore"):
        for _ in range(2):
            unit = _scale(x)

            def scaled(u: FloatArray, unit: FloatArray = unit) -> FloatArray:
                return equations(u * unit) / unit

            try:
                x = np.asarray(root(scaled, x / unit, method="hybr", tol=1e-14).x) * unit
                residual = np.abs(equations(x) / _scale(x)).max()
            except (ArithmeticError, ValueError):  # it tried numbers that no float can hold
                return None
        return x if residual < _RESIDUAL else None


def _test_error(
    problem: Problem, points: WeightedSample, overlap: FloatArray, spread: float
) -> float:
    """Return P(y omega < 0), the Gaussian of omega integrated in closed form."""
    from scipy.special import ndtr

    if not problem.target.has_sign_labels:
        return math.nan
    slope = np.sign(float(problem.network.second_layer[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = overlap @ points.z + bias_of(problem)
        margin = np.nan_to_num(slope * points.y * mean / points.spread(spread))
    return float(points.mass @ ndtr(-margin))


def bias_of(problem: Problem) -> float:
    """Return the bias of the neuron, which is not trained."""
    biases = problem.network.biases
    return float(biases[0]) if biases else 0.0


def missing(k: int) -> Values:
    """Return the fields where there is no minimiser: NaN."""
    nan = math.nan
    values: Values = dict.fromkeys(
        (*SCALARS, "noise", "susceptibility", "residual", *(f"{name}_stderr" for name in SCALARS)),
        nan,
    )
    return values | {"overlap": np.full(k, nan), "overlap_stderr": np.full(k, nan)}


# -- the loss ------------------------------------------------------------------------------------


def loss_derivatives(
    problem: Problem, r: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the loss at pre-activations (N,) of one neuron, and its first two derivatives."""
    with np.errstate(all="ignore"):
        first, value = pre_activation_gradient(problem, r[np.newaxis], y)
        return value, first[0], curvature(problem, r[np.newaxis], y)[:, 0, 0]


def _proximal_point(
    problem: Problem, omega: FloatArray, y: FloatArray, V: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Solve r + V l'(r, y) = omega, V (N,); return r and the derivatives of the loss there.

    The left side grows at least as fast as r, so the root is within |V l'(omega)| of omega.
    Newton's steps that leave the bracket, or are not half of those before, are halvings.
    """
    first = loss_derivatives(problem, omega, y)[1]
    step = V * first
    low, high = np.minimum(omega, omega - step), np.maximum(omega, omega - step)
    wide = ~(np.abs(step) < _WIDE)
    if np.any(wide):  # found by doubling, or halvings would be many
        for sign, end in ((1.0, low), (-1.0, high)):
            left, reach = wide & (sign * first > 0.0), 1.0
            while np.any(left) and reach < _LARGEST:
                end[left] = omega[left] - sign * reach
                slope = loss_derivatives(problem, end, y)[1]
                left &= sign * (end + V * slope - omega) > 0.0
                reach *= 2.0
    with np.errstate(all="ignore"):
        r = omega - step / (1.0 + V * loss_derivatives(problem, omega, y)[2])
    r = np.where(np.isfinite(r), np.clip(r, low, high), 0.5 * (low + high))
    before = np.full_like(r, np.inf)
    for _ in range(_MOST_NEWTON):
        _, first, second = loss_derivatives(problem, r, y)
        excess = r + V * first - omega
        low, high = np.where(excess < 0.0, r, low), np.where(excess > 0.0, r, high)
        new = r - excess / (1.0 + V * second)
        slow = np.abs(new - r) > 0.5 * before
        new = np.where((new < low) | (new > high) | slow, 0.5 * (low + high), new)
        before = np.abs(new - r)
        moved = np.max(np.abs(new - r) / (1.0 + np.abs(r)), initial=0.0)
        r = new
        if moved < _QUADRATIC:
            break
    _, first, second = loss_derivatives(problem, r, y)
    r = r - (r + V * first - omega) / (1.0 + V * second)
    _, first, second = loss_derivatives(problem, r, y)
    jump = _is_on_a_jump(r + V * first - omega, omega)
    if np.any(jump):
        ends = np.where(jump, low, r), np.where(jump, high, r)
        r = _between(problem, omega, y, V, ends)
        return r, np.where(jump | (V * second > 1.0), (omega - r) / V, first), second
    # Next to its minimum the derivative is what rounding of r leaves; the other way round far off.
    return r, np.where(V * second > 1.0, (omega - r) / V, first), second


def _is_on_a_jump(excess: FloatArray, omega: FloatArray) -> NDArray[np.bool_]:
    """Say which r (N,) leave of r + V l'(r) = omega what cannot be rounding."""
    return ~(np.abs(excess) <= _ON_A_JUMP * (1.0 + np.abs(omega)))


def _jumps(problem: Problem, points: WeightedSample, values: Values) -> bool:
    """Whether at a solution samples sit where l' jumps."""
    omega = points.pre_activations(values["overlap"], math.sqrt(values["noise"]))
    V = points.squared(np.full(len(omega), values["susceptibility"]))
    r = _proximal_point(problem, omega, points.y, V)[0]
    slope = loss_derivatives(problem, r, points.y)[1]
    return bool(np.any(_is_on_a_jump(r + V * slope - omega, omega)))


def _between(
    problem: Problem, omega: FloatArray, y: FloatArray, V: FloatArray, ends: Sequence[FloatArray]
) -> FloatArray:
    """Halve brackets of r (N,) until nothing is left: where l' jumps r stays at the jump."""
    low, high = ends
    for _ in range(_HALVINGS):
        r = 0.5 * (low + high)
        above = r + V * loss_derivatives(problem, r, y)[1] > omega
        low, high = np.where(above, low, r), np.where(above, r, high)
    return 0.5 * (low + high)
