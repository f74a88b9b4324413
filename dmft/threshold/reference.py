r"""Threshold at step 0 to many digits, by mpmath: a check of the floating-point computation.

For one neuron and one hard latent direction without additive noise, D = D(r, y) depends on two
independent Gaussians at most, and edge, gap and root are one-dimensional equations in
B = c^{-1} (Silverstein & Choi; theory of `rmt` at m = 1): with u = D / (B + D),

.. math::
    z(B) = B (E[u] - 1/\delta), \qquad
    \mathrm{gap} = B\,E[u z_h^2] - z_0, \qquad z_0 = \min(z_{edge}, -\lambda),

and B is where :math:`E[u^2] = 1/\delta` (a square-root edge), where :math:`z(B) = -\lambda`, or
-inf D. In each case delta follows from B, and the gap vanishes at a root in B alone.

Averages are Gauss-Legendre on panels that end at every kink, located to all digits. Functions are
called with object arrays of mpmath numbers (`dmft.threshold.multiprecision`): numpy hands
``np.tanh`` and its like on to methods of these, so that most functions written for numpy work to
any precision.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.kinks import resolving_panels
from dmft._numerics.user_functions import result_of
from dmft._numerics.validation import check_integer
from dmft.hessian.hessian import axis_kinks
from dmft.model.curvature_support import curvature_support
from dmft.observables.verified_rules import curvature_kinks, curvatures
from dmft.threshold.multiprecision import (
    activation_of,
    fixed_point,
    gauss_legendre,
    loss_derivatives,
    new_context,
    objects,
)
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dmft.model.problem import Problem
    from dmft.threshold.threshold import Threshold
    from dmft.training.methods import Method
    from rmt.hard import Criterion

    Objects = NDArray[np.object_]
    FloatArray = NDArray[np.float64]

__all__ = ["MAX_DIGITS", "check_digits", "with_digits"]

MAX_DIGITS = 40
_GUARD = 8  # digits computed beyond those asked for
_FLOAT_NODES = 24  # on each panel these resolve the weights to the digits of floating point,
_FLOAT_DIGITS = 11.0  # about this many
_BETWEEN_LINES, _OFF_CENTRE = 0.5, 0.1  # of lines along which weights have to be resolved
_MAX_STEPS = 60  # of Newton
_NEAR = 1e-2  # a root further from that in floating point is another one
_ROUNDS = 3  # of more nodes per panel, should two rules not agree


def check_digits(
    problem: Problem,
    method: Method,
    step: int,
    digits: object,
    criterion: Criterion = "negative",
) -> int:
    """Check the number of digits to which a threshold is to be computed.

    Raises
    ------
    ValueError
        If `digits` is out of range, or the problem has more than one neuron or latent direction,
        or additive noise, or functions of floating point only, or the method a constraint, or both
        sides of the bulk count.
    """
    digits = check_integer("digits", digits, minimum=1)
    if digits > MAX_DIGITS:
        raise ValueError(f"digits must be at most {MAX_DIGITS}, got {digits}")
    target = problem.target
    for wrong, must, got in (
        (step != 0, "step must be 0", step),
        (method.constraint is not None, "method must have no constraint", method.constraint),
        (problem.m != 1, "network must have one neuron", f"{problem.m} neurons"),
        (problem.k != 1, "target must have one latent direction", problem.k),
        (problem.inputs is not None, "inputs must be Gaussian", "others"),
        (target.uses_noise and target.classes is None, "labels must have no noise", "noise"),
        (criterion == "any", "criterion must be negative or left", "any"),
    ):
        if wrong:
            raise ValueError(f"{must} for a threshold to digits = {digits}, got {got}")
    _Weights(problem, digits)  # raises if a function works in floating point only
    return digits


def with_digits(problem: Problem, found: Threshold, digits: int) -> Threshold:
    """Compute a threshold found in floating point again, to a number of digits.

    Its status is MAX_STEPS, with the value of floating point, if two rules do not agree to these
    digits.

    Parameters
    ----------
    problem : Problem
        As `check_digits` allows.
    found : Threshold
        Of step 0; returned as it is if there is none.
    digits : int
    """
    if not found.status.ok:
        return found
    weights = _Weights(problem, digits)
    at_edge = found.criterion == "left"
    crossing = found.crossings[-1]
    root, previous = None, None
    for nodes in weights.node_counts():
        previous, root = root, _root(weights, nodes, found.value, at_edge)
        if root is None:
            break
        if previous is not None and abs(root - previous) < abs(root) * weights.tolerance:
            value, text = float(root), weights.context.nstr(root, digits, strip_zeros=False)
            last = replace(crossing, value=value, refined=True)
            return replace(
                found,
                value=value,
                stderr=0.0,
                digits=text,
                residual=0.0,
                crossings=(*found.crossings[:-1], last),
                unstable_share=0.0,
            )
    words = f"No two rules agree on {digits} digits: the value is that of floating point."
    return replace(found, status=Status.MAX_STEPS, detail=words)


class _Weights:
    """Curvature weights D of one neuron at step 0 as functions of two Gaussians, to many digits."""

    def __init__(self, problem: Problem, digits: int) -> None:
        self.problem = problem
        self.digits = digits
        self.context = new_context(digits + _GUARD)
        self.tolerance = self.context.mpf(10) ** -digits / 2
        radius = problem.initial_weights()[0]
        self.radius = self.context.mpf(float(radius[1]))
        self._a = self.context.mpf(problem.network.second_layer[0])
        self._bias = self.context.mpf((*problem.network.biases, 0.0)[0])
        self._activation = activation_of(problem, self.context)
        self._loss = loss_derivatives(problem)
        self._check()
        # Beyond this the normal density is below the last digit.
        self._end = math.sqrt(2.0 * math.log(10.0) * (digits + _GUARD))

    # -- functions of the Gaussians --------------------------------------------------------------

    def labels(self, z: Objects) -> list[tuple[Objects, Objects | None]]:
        """Return labels at latent coordinates, with probabilities where they are random."""
        target = self.problem.target
        entry = target._entry
        function = target.label if entry is None else entry.function
        zero = np.array([self.context.mpf(0)] * len(z), dtype=object)
        values = self._called("label", function, z[:, np.newaxis].copy(), zero)  # type: ignore[arg-type]
        law = target.classes
        if law is None:
            return [(values, None)]
        u = values - self.context.mpf(law.threshold)
        one = np.array([self.context.mpf(1)] * len(z), dtype=object)
        if law.law == "logistic":
            up = one / (one + np.exp(-self.context.mpf(law.slope) * u))
        else:
            flip = self.context.mpf(law.flip)
            up = np.where(u >= 0, 1 - flip, flip)
            if not law.flip:
                return [(np.where(u >= 0, one, -one), None)]
        return [(one, up), (-one, 1 - up)]

    def neuron(self, xi: Objects) -> tuple[Objects, Objects, Objects]:
        """Return the neuron's output and its first two derivatives, at a standard normal."""
        r = self.radius * xi + self._bias
        value, slope, bend = (
            self._called(f"activation: {name}", function, r)
            for name, function in zip(_MEMBERS, self._activation, strict=True)
        )
        return self._a * value, self._a * slope, self._a * bend

    def curvature(self, neuron: tuple[Objects, Objects, Objects], y: Objects) -> Objects:
        """Return D of samples with a neuron's output and derivatives, and labels."""
        f, slope, bend = neuron
        first, second = (
            self._called(f"loss: {name}", function, f, y)
            for name, function in zip(_OF_LOSS, self._loss, strict=True)
        )
        found: Objects = second * slope * slope + first * bend
        return found

    def _called(self, what: str, function: Callable[..., Any], *arguments: Objects) -> Objects:
        failed = f"{what} must work on arrays of mpmath numbers for digits, got "
        with np.errstate(all="ignore"):
            result = np.asarray(result_of(function, *arguments, failed=failed))
        constant = result.dtype != object and np.all(result == result.ravel()[0])
        if result.dtype != object and not constant and np.any(result != np.rint(result)):
            raise ValueError(
                f"{what} must return mpmath numbers for digits, got {result.dtype} "
                "(floating point has 16 digits)"
            )
        mpf = self.context.mpf
        return np.array([mpf(value) for value in result.ravel()], dtype=object)

    def _check(self) -> None:
        """Raise unless functions tell apart numbers that floating point does not."""
        mpf = self.context.mpf
        places = np.array([mpf(x) / 7 for x in (-9, -4, -1, 2, 5, 11)], dtype=object)
        near = places * (1 + mpf(10) ** -22)
        far = places * (1 + mpf(10) ** -9)

        def rows(x: Objects) -> dict[str, Objects]:
            labels, probabilities = self.labels(x)[0]
            neuron = self.neuron(x)
            found = {"label": labels if probabilities is None else probabilities}
            found |= {
                f"activation: {name}": row for name, row in zip(_MEMBERS, neuron, strict=True)
            }
            fixed = self.labels(places)[0][0]
            for name, function in zip(_OF_LOSS, self._loss, strict=True):
                found[f"loss: {name}"] = self._called(f"loss: {name}", function, x, fixed)
            return found

        at, at_near, at_far = rows(places), rows(near), rows(far)
        for what, row in at.items():
            differs = row != at_far[what]
            if self.digits > 12 and np.any(differs & (row == at_near[what])):
                raise ValueError(
                    f"{what} must be exact on mpmath numbers for digits = {self.digits}; "
                    "it rounds them to floating point"
                )

    # -- panels ----------------------------------------------------------------------------------

    def _lines(self, axis: int) -> Callable[[Objects], Objects]:
        """Return D, and probabilities, along some lines parallel to an axis, (j, n)."""
        mpf = self.context.mpf
        others = [mpf(x) / 16 for x in (-19, -5, 3, 23)]

        def rows(x: Objects) -> Objects:
            found = []
            for other in others:
                fixed = np.array([other] * len(x), dtype=object)
                z, xi = (x, fixed) if axis == 0 else (fixed, x)
                for y, up in self.labels(z):
                    found.append(self.curvature(self.neuron(xi), y))
                    if up is not None:
                        found.append(up)
            return np.array(found, dtype=object)

        return rows

    @cached_property
    def panels(self) -> list[list[Any]]:
        """Ends of the panels for z and for the neuron, kinks among them to all digits."""
        problem = self.problem
        weights = problem.initial_weights()
        known = axis_kinks(problem, weights, 2)
        found_kinks = None if known is None else curvature_kinks(problem, weights, known, self._end)
        if found_kinks is None:
            raise ValueError("label, activation and loss must have few kinks for digits")
        mpf, found = self.context.mpf, []
        for axis, ends in enumerate(found_kinks):
            lines = self._lines(axis)
            kinks = [mpf(0), *(self._located(lines, end) for end in ends if abs(end) > 1e-6)]
            kinks = sorted(x for x in kinks if abs(x) < self._end)
            floats = [-self._end, *map(float, kinks), self._end]

            exact = dict(zip(floats[1:-1], kinks, strict=True))
            ends_of = resolving_panels(self._bounded(axis), np.unique(floats), _FLOAT_NODES)
            found.append([exact.get(x, mpf(x)) for x in ends_of.tolist()])
        return found

    def _bounded(self, axis: int) -> Callable[[FloatArray], FloatArray]:
        """Return D in floating point along lines parallel to an axis, between -1 and 1.

        Lines where the other Gaussian is unlikely need fewer digits, by as many as its density has.
        """
        weights = self.problem.initial_weights()
        of_gaussians = curvatures(self.problem, weights)
        others = np.arange(-self._end, self._end, _BETWEEN_LINES) + _OFF_CENTRE
        density = np.exp(-0.5 * others**2)[:, np.newaxis] ** (_FLOAT_DIGITS / (self.digits + 3))

        def values(x: FloatArray) -> FloatArray:
            nodes = np.empty((2, len(others), len(x)))
            nodes[axis], nodes[1 - axis] = x, others[:, np.newaxis]
            return of_gaussians(nodes.reshape(2, -1)).reshape(-1, len(others), len(x))

        units = np.median(np.abs(values(np.linspace(-3.01, 3.0, 61))), axis=2, keepdims=True)
        units[units == 0.0] = 1.0

        def bounded(x: FloatArray) -> FloatArray:
            u = values(x) / units
            return np.asarray(density * u / np.hypot(1.0, u)).reshape(-1, len(x))

        return bounded

    def _located(self, lines: Callable[[Objects], Objects], near: float) -> Any:
        """Locate a kink or jump near a float to all digits."""
        context = self.context
        digits = context.dps
        context.dps = 2 * digits + 5  # what a kink bends is of the size of the interval
        try:
            left, right = (context.mpf(near) + sign * context.mpf(10) ** -9 for sign in (-1, 1))
            while right - left > context.mpf(10) ** -(digits + 2):
                x = np.array([left + (right - left) * i / 4 for i in range(5)], dtype=object)
                f = lines(x)
                bends = abs(f[:, 1:-1] - (f[:, :-2] + f[:, 2:]) / 2).sum(axis=0)
                place = max(range(3), key=lambda i: bends[i])
                left, right = x[place], x[place + 2]
            middle = (left + right) / 2
        finally:
            context.dps = digits
        return +middle

    def node_counts(self) -> list[int]:
        """Return numbers of nodes on a panel at zero, in the rules to be compared."""
        enough = _FLOAT_NODES * (self.digits + 3) / _FLOAT_DIGITS
        return [max(8, round(enough * 1.25**i)) for i in range(-2, _ROUNDS)]

    # -- averages --------------------------------------------------------------------------------

    def atoms(self, nodes: int) -> tuple[Objects, Objects, Objects]:
        """Return D, masses and masses times z^2 at the points of a tensor rule."""
        context = self.context
        z, of_z = gauss_legendre(context, self.panels[0], nodes)
        xi, of_xi = gauss_legendre(context, self.panels[1], nodes)
        f = self.neuron(xi)
        smallest = context.mpf(10) ** -context.dps
        # Samples of equal label, or equal neuron, are one.
        classes: dict[Any, list[Any]] = {}
        for y, up in self.labels(z):
            for i, label in enumerate(y):
                mass = of_z[i] if up is None else of_z[i] * up[i]
                entry = classes.setdefault(label, [0, 0])
                entry[0] += mass
                entry[1] += mass * z[i] ** 2
        neurons: dict[Any, Any] = {}
        for value, slope, bend, mass in zip(*f, of_xi, strict=True):
            key = (value, abs(slope), bend)
            neurons[key] = neurons.get(key, 0) + mass
        rows = np.array([*neurons.keys()], dtype=object).T
        masses = np.array([*neurons.values()], dtype=object)
        D, p, q = [], [], []
        for label, (mass, second) in classes.items():
            keep = masses * max(mass, second) > smallest
            if not keep.any():
                continue
            columns = rows[:, keep]
            y = np.array([label] * columns.shape[1], dtype=object)
            D.append(self.curvature((columns[0], columns[1], columns[2]), y))
            p.append(masses[keep] * mass)
            q.append(masses[keep] * second)
        return np.concatenate(D), np.concatenate(p), np.concatenate(q)

    def infimum(self, D: Objects, lowest: float) -> Any:
        """Find the infimum of D, in floating point about `lowest`; None if it is not found.

        Attained at a point of the rule, or approached as the label grows.
        """
        mpf = self.context.mpf
        least = min(D)
        z = np.array([sign * mpf(10) ** self.digits for sign in (-1, 1)], dtype=object)
        xi = objects(self.context, np.array([0.5, -1.0]))
        for y, _ in self.labels(z):
            least = min(least, *self.curvature(self.neuron(xi), y))
        return least if abs(float(least) - lowest) <= 1e-6 * (1.0 + abs(lowest)) else None


_MEMBERS = ("value", "derivative", "second_derivative")
_OF_LOSS = _MEMBERS[1:]


def _root(weights: _Weights, nodes: int, delta: float, at_edge: bool) -> Any:
    """Find the delta where the gap vanishes, as an mpmath number; None if there is none nearby.

    The gap at the left edge, whatever its sign, or at zero where the edge is positive. In
    fixed-point integers: sums of many terms, each far from overflow.
    """
    context = weights.context
    D, p, q = weights.atoms(nodes)
    lam = context.mpf(weights.problem.weight_decay)
    kind, B = _start(weights, D, p, delta, at_edge)
    if B is None:
        return None
    bits = context.prec + 16
    one = 1 << bits
    d, p, q = (fixed_point(context, numbers, bits) for numbers in (D, p, q))
    difference = q - p

    def averages(B: Any) -> list[Any]:
        """E[u], E[u^2], E[u (z^2 - 1)], and their derivatives in B."""
        below = d + int(context.floor(B * one))
        u = (d << bits) // below
        v = (u << bits) // below
        square, steep = (u * u) >> bits, (u * v) >> bits
        products = (p * u, p * square, difference * u, -p * v, -2 * p * steep, -difference * v)
        return [context.mpf(int(terms.sum())) / one / one for terms in products]

    tolerance = context.mpf(10) ** -(weights.digits + _GUARD // 2)
    for _ in range(_MAX_STEPS):
        mean, second, excess, of_mean, of_second, of_excess = averages(B)
        if kind == "support":
            return -1 / excess if excess < 0 else None
        if kind == "fold":
            inverse = second
            step = (excess + second) / (of_excess + of_second)
        else:
            inverse = mean + lam / B
            step = (excess + mean + lam / B) / (of_excess + of_mean - lam / B**2)
        B -= step
        if abs(step) < abs(B) * tolerance:
            return 1 / inverse if abs(1 / inverse - delta) < _NEAR * delta else None
    return None


def _start(
    weights: _Weights, D: Objects, p: Objects, delta: float, at_edge: bool
) -> tuple[str, Any]:
    """Choose the equation that decides, and bracket its root B in floating point."""
    from scipy.optimize import brentq

    problem = weights.problem
    d, mass = D.astype(np.float64), p.astype(np.float64)
    support = curvature_support(problem, problem.initial_weights()).points
    lowest = float(min(d.min(), support.min(initial=np.inf)))
    lam = problem.weight_decay
    floor = max(0.0, -lowest)

    def square(B: float) -> float:
        return float(mass @ (d / (B + d)) ** 2) - 1.0 / delta

    def edge(B: float) -> float:
        return B * (float(mass @ (d / (B + d))) - 1.0 / delta)

    scale = floor or float(np.abs(d).max())
    low = floor + 1e-12 * scale
    if square(low) <= 0.0:
        if floor and (at_edge or edge(floor) < -lam):
            exact = weights.infimum(D, lowest)
            return "support", None if exact is None else -exact
        fold = low
    else:
        high = 2.0 * low
        while square(high) > 0.0:
            high *= 2.0
        fold = brentq(square, low, high, xtol=1e-14 * scale, rtol=1e-14)
    if at_edge or edge(fold) < -lam:
        return "fold", weights.context.mpf(fold)
    high = 2.0 * fold
    while edge(high) > -lam:
        high *= 2.0
    if edge(high) == edge(fold):
        return "decay", None
    root = brentq(lambda B: edge(B) + lam, fold, high, xtol=1e-14 * scale, rtol=1e-14)
    return "decay", weights.context.mpf(root)
