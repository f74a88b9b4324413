"""The real branch of the law: B(z) below the spectrum, and the edge where it ends.

With B = c^{-1}, outside the bulk on the left,

    F(B) = z I,    F(B) = E[ D - D (B + D)^{-1} D ] - B / ratio,    B > 0,  B + D > 0,

and the left edge is the maximum of lambda_min(F(B)) over such B (Montanari & Wang,
arXiv:2602.01434; a Lehner-type formula). F is operator-concave. The solutions form a curve along
which z grows as tr B falls, up to the edge: there the positive map

    Phi_B[X] = E[ D (B + D)^{-1} X (B + D)^{-1} D ]

reaches spectral radius 1 / ratio (the derivative dF = Phi_B - 1/ratio becomes singular: a
fold), or B meets the boundary of the domain first. The right edge is the left edge of -D.

For m = 1 nothing is iterated but one scalar equation. For m > 1 the curve is entered at a point
known to be on it and followed down to the fold; a point is on the physical branch if and only if
the spectral radius is below 1 / ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rmt._packing import LANES, Array, Atoms, kernels, pack, packed_index
from rmt.status import NumericalFailure, Status
from rmt.stieltjes import eigenvalue_zero

__all__ = ["Edges", "RealBranch", "real_branch", "scalar_intervals"]

_MAX_STEPS: Final = 200
_TOLERANCE: Final = 1e-13
_SHORT_OF_ZERO: Final = 1e-8
_RESIDUAL: Final = 1e-6  # the certificate, relative to the edge
_LARGE_RATIO: Final = 1e5  # F(B) = B - B E[Y] B - B / ratio then loses the digits of D


class Edges(tuple[float, float]):
    """Left and right edge of the bulk, as a pair that also carries how it was obtained.

    Attributes
    ----------
    left, right : float
        The edges; -inf and +inf where D is unbounded.
    sides : (Status, Status)
        Of each edge: ``SUCCESS``; ``UNBOUNDED_EDGE`` if the left edge is -inf (a right edge at
        +inf is a ``SUCCESS``); otherwise what went wrong.
    residual : float
        The certificate: the largest distance of F(B) from a multiple of the identity at either
        edge, in units of eigenvalues.

    Examples
    --------
    >>> import rmt
    >>> left, right = rmt.HessianLaw([1.0], ratio=4.0).edges()
    >>> round(left, 12), round(right, 12)
    (0.25, 2.25)
    """

    sides: tuple[Status, Status]
    residual: float

    def __new__(
        cls,
        left: float,
        right: float,
        sides: tuple[Status, Status] = (Status.SUCCESS, Status.SUCCESS),
        residual: float = 0.0,
    ) -> Edges:
        """Make the pair (left, right) and attach statuses and residual."""
        self = super().__new__(cls, (left, right))
        self.sides = sides
        self.residual = residual
        return self

    def __getnewargs__(self) -> tuple[float, float, tuple[Status, Status], float]:
        return (self[0], self[1], self.sides, self.residual)

    @property
    def status(self) -> Status:
        """``SUCCESS`` if both edges are, otherwise the status of the first that is not."""
        return self.sides[1] if self.sides[0].ok else self.sides[0]

    @property
    def left(self) -> float:
        """Left edge."""
        return self[0]

    @property
    def right(self) -> float:
        """Right edge."""
        return self[1]

    def __repr__(self) -> str:
        return (
            f"Edges(left={self.left!r}, right={self.right!r}, status={self.status}, "
            f"residual={self.residual:.1e})"
        )


@dataclass(frozen=True, eq=False)
class EdgePoint:
    """The end of the real branch: edge, the (m, m) matrix B there, and its certificate."""

    value: float
    b: Array
    residual: float
    status: Status


class RealBranch(Protocol):
    """B(z) for real z below the left edge."""

    atoms: Atoms

    @property
    def edge(self) -> EdgePoint:
        """Where the branch ends."""

    def solve(self, z: float) -> Array:
        """(m, m) matrix B with F(B) = z I; z not above the edge."""

    def descend(self, t: float) -> tuple[float, Array]:
        """Move away from the edge: (z, B), analytic in t >= 0, z = edge at t = 0."""

    def tangent(self, b: Array) -> Array:
        """Return dB/dz at a point of the branch, negative definite."""


def real_branch(atoms: Atoms, support: Array) -> RealBranch:
    """Choose the implementation for the order of the weights."""
    return ScalarBranch(atoms, support) if atoms.m == 1 else MatrixBranch(atoms, support)


class ScalarBranch:
    """m = 1: z = B (E[D / (B + D)] - 1 / ratio) explicitly, concave in B > max(0, -D).

    ``support`` (S, 1, 1): further points that B + D >= 0 must hold for.
    """

    def __init__(self, atoms: Atoms, support: Array) -> None:
        self.atoms = atoms
        self._ratio = atoms.ratio
        d = atoms.d[0]
        occupied = (d != 0) & (atoms.p > 0)
        d, p = d[occupied], atoms.p[occupied]
        self._empty = d.size == 0
        self._floor = max(0.0, float(-support.min())) if support.size else 0.0
        if self._empty:
            d, p = np.ones(1), np.zeros(1)
        self._pole = float(-d.min())
        # Newton starts from the left, where a single term already exceeds the target 1/ratio.
        self._reach = float((np.abs(d) * np.sqrt(self._ratio * p) - (d + self._pole)).max())
        padding = -d.size % LANES
        self._d = np.append(d, np.full(padding, d[0]))
        self._p = np.append(p, np.zeros(padding))
        self._excess = self._d + self._pole

    def _sums(self, tau: float) -> tuple[float, float, float]:
        out = np.empty(3)
        kernels().scalar_sums(tau, self._excess, self._d, self._p, out)
        return float(out[0]), float(out[1]), float(out[2])

    def _value(self, tau: float) -> float:
        return (tau + self._pole) * (self._sums(tau)[0] - 1.0 / self._ratio)

    @cached_property
    def _edge_tau(self) -> tuple[float, Status]:
        floor = self._floor - self._pole
        tau = max(self._reach, floor)
        if not tau > 0.0:  # no atom comes near the floor
            return floor, Status.SUCCESS
        if self._reach < floor and self._sums(floor)[1] * self._ratio <= 1.0:
            return floor, Status.SUCCESS
        # 1/sqrt(ratio E[t^2]) is concave and increasing in B: Newton climbs monotonically.
        previous = np.inf
        for _ in range(_MAX_STEPS):
            _, second, slope = self._sums(tau)
            if not (second > 0.0 and slope > 0.0):  # the cubes underflow
                return tau, Status.UNRESOLVED
            psi = 1.0 / np.sqrt(self._ratio * second)
            step = float((1.0 - psi) * second / (slope * psi))
            tau += step
            # Small, or small and at the level of rounding.
            if step <= 1e-15 * tau or (step <= 1e-9 * tau and step >= 0.5 * previous):
                return tau, Status.SUCCESS
            previous = step
        return tau, Status.MAX_STEPS

    @cached_property
    def edge(self) -> EdgePoint:
        if self._empty:
            b = self._floor
            return EdgePoint(-b / self._ratio, np.array([[b]]), 0.0, Status.SUCCESS)
        tau, status = self._edge_tau
        b = tau + self._pole
        value = 0.0 if b == 0.0 else self._value(tau)
        return EdgePoint(value, np.array([[b]]), 0.0, status)

    def descend(self, t: float) -> tuple[float, Array]:
        b = float(self.edge.b[0, 0])
        if t <= 0.0:
            return self.edge.value, self.edge.b
        if self._empty:
            return -(b + t) / self._ratio, np.array([[b + t]])
        tau = self._edge_tau[0] + t
        return self._value(tau), np.array([[tau + self._pole]])

    def solve(self, z: float) -> Array:
        if self._empty:
            return np.array([[-self._ratio * z]])
        if z >= self.edge.value:
            return self.edge.b
        start = self._edge_tau[0]
        width = max(abs(float(self.edge.b[0, 0])), self._ratio * abs(z), 1e-300)
        while self._value(start + width) > z:
            width *= 2.0
        tau = start + width
        # Concave and decreasing: Newton comes down monotonically.
        for _ in range(_MAX_STEPS):
            first, second, _ = self._sums(tau)
            b = tau + self._pole
            slope = second - 1.0 / self._ratio
            step = (b * (first - 1.0 / self._ratio) - z) / slope
            tau = max(tau - step, start)
            if step <= 4e-16 * (tau + abs(self._pole)):
                break
        return np.array([[tau + self._pole]])

    def tangent(self, b: Array) -> Array:
        if self._empty:
            return np.array([[-self._ratio]])
        second = self._sums(float(b[0, 0]) - self._pole)[1]
        return np.array([[1.0 / (second - 1.0 / self._ratio)]])


class _Map(NamedTuple):
    """F and its derivative at a point: dF = Phi_B - 1/ratio."""

    value: Array  # F(B), (m, m)
    phi: Array  # Phi_B, (m^2, m^2)
    y: Array  # E[Y], (m, m)
    yxy: Array  # X -> E[Y X Y], (m^2, m^2)


@dataclass(eq=False)
class _Point:
    """A point of the curve F(B) = z I, with what decides whether it is physical."""

    s: float
    z: float
    b: Array
    db: Array  # dB/ds, ds = d tr B / m
    margins: Array  # of B > 0, of the support, of the fold: > 0 before the edge, nearly linear

    @property
    def height(self) -> float:
        return float(self.margins.min())

    def root(self, other: _Point) -> float:
        """Where the secant of the first margin to vanish does."""
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = (self.margins - other.margins) / (self.s - other.s)
            roots = self.s - self.margins / slope
        roots = roots[np.isfinite(roots) & (slope > 0)]
        return float(roots.max()) if roots.size else -np.inf


class MatrixBranch:
    """m > 1: Newton on F(B) = z I with the exact derivative, and a walk to the fold."""

    def __init__(self, atoms: Atoms, support: Array) -> None:
        m = atoms.m
        self.atoms = atoms
        self._ratio = atoms.ratio
        self._m = m
        self._support = support
        self._index = packed_index(m)
        rows, cols = np.tril_indices(m)
        basis = np.zeros((m, m, rows.size))
        norm = np.where(rows == cols, 1.0, np.sqrt(0.5))
        basis[rows, cols, np.arange(rows.size)] = norm
        basis[cols, rows, np.arange(rows.size)] = norm
        self._basis = basis.reshape(m * m, rows.size)
        self._unit = self._basis.T @ np.eye(m).ravel()
        self._size = 1.0  # of B, set where the walk starts
        self._entry: Array | None = None  # B where the walk starts

    # -- the map and its derivative ----------------------------------------------------------

    def _evaluate(self, b: Array) -> _Map | None:
        """Average over the atoms; None where B + D > 0 fails."""
        m, size = self._m, self._basis.shape[1]
        first, second = np.empty(size), np.empty((size, size))
        if not np.all(np.isfinite(b)):
            return None
        if kernels().resolvent_moments(pack(b), self.atoms.d, self.atoms.p, first, second):
            return None
        if self._ratio > _LARGE_RATIO:
            return self._evaluate_far(b)
        index = self._index
        y = first[index]
        yy = second[index[:, :, None, None], index[None, None, :, :]]  # (a, c, d, b)
        yxy = yy.transpose(0, 3, 1, 2).reshape(m * m, m * m)
        by = b @ y
        value = b - by @ b - b / self._ratio
        eye = np.eye(m)
        phi = np.eye(m * m) - np.kron(by, eye) - np.kron(eye, by) + np.kron(b, b) @ yxy
        return _Map(0.5 * (value + value.T), phi, y, yxy)

    def _evaluate_far(self, b: Array) -> _Map:
        """Average without taking the difference of B and B E[Y] B, as B is far larger than D."""
        m, p = self._m, self.atoms.p
        d = np.moveaxis(self.atoms.d[self._index], -1, 0)
        y = np.linalg.inv(b + d)
        t = d @ y
        value = np.einsum("n,nab->ab", p, d - t @ d) - b / self._ratio
        phi = np.einsum("n,nac,nbd->abcd", p, t, t).reshape(m * m, m * m)
        yxy = np.einsum("n,nac,nbd->abcd", p, y, y).reshape(m * m, m * m)
        return _Map(0.5 * (value + value.T), phi, np.einsum("n,nab->ab", p, y), yxy)

    def _jacobian(self, phi: Array) -> Array:
        q = self._basis
        return np.asarray(q.T @ phi @ q) - np.eye(q.shape[1]) / self._ratio

    def _coordinates(self, x: Array) -> Array:
        return np.asarray(self._basis.T @ x.ravel())

    def _matrix(self, x: NDArray[np.floating[Any]]) -> Array:
        return np.asarray(self._basis @ x, dtype=np.float64).reshape(self._m, self._m)

    def _radius(self, b: Array, at: _Map) -> float:
        """Spectral radius of Phi_B.

        With B = L L^T, Phi_B is similar to X -> E[S X S], S = I - L^T Y L: self-adjoint, and
        accurate where B is nearly singular.
        """
        frame = np.linalg.cholesky(b)
        if self._ratio > _LARGE_RATIO:
            back = np.linalg.inv(frame)
            k = np.kron(back, back) @ at.phi @ np.kron(frame, frame)
            k = self._basis.T @ k @ self._basis
            return float(np.linalg.eigvalsh(0.5 * (k + k.T))[-1])
        eye = np.eye(self._m)
        y = frame.T @ at.y @ frame
        k = np.eye(self._m**2) - np.kron(y, eye) - np.kron(eye, y)
        k += np.kron(frame.T, frame.T) @ at.yxy @ np.kron(frame, frame)
        k = self._basis.T @ k @ self._basis
        return float(np.linalg.eigvalsh(0.5 * (k + k.T))[-1])

    def _stable(self, b: Array, at: _Map) -> bool:
        return bool(np.linalg.eigvalsh(b)[0] > 0 and self._ratio * self._radius(b, at) < 1)

    # -- Newton at fixed z -------------------------------------------------------------------

    def _above(self, z: float, floor: Array, width: float) -> Array | None:
        """Find a matrix B with F(B) <= z I, from where Newton descends monotonically."""
        eye = np.eye(self._m)
        for _ in range(2100):
            b = floor + width * eye
            at = self._evaluate(b)
            if at is not None and np.linalg.eigvalsh(at.value)[-1] <= z and self._stable(b, at):
                return b
            width *= 2.0
        return None

    def _newton(self, z: float, b: Array) -> Array | None:
        step = b
        for _ in range(_MAX_STEPS):
            at = self._evaluate(b)
            if at is None:
                return None
            defect = z * np.eye(self._m) - at.value
            try:
                x = np.linalg.solve(self._jacobian(at.phi), self._coordinates(defect))
            except np.linalg.LinAlgError:
                return None
            step = self._matrix(x)
            b = b + step
            if np.abs(step).max() <= 1e-11 * np.abs(b).max():
                return b
        # Steps that no longer shrink are rounding, as long as they are small.
        return b if np.abs(step).max() <= 1e-6 * np.abs(b).max() else None

    def solve(self, z: float) -> Array:
        edge = self.edge
        if z >= edge.value:
            return edge.b
        if self._entry is None:  # D = 0
            return -self._ratio * z * np.eye(self._m)
        # By concavity one Newton step from anywhere on the branch leads to F(B) <= z I, and from
        # there the iteration descends monotonically.
        with np.errstate(all="ignore"):  # what overflows is not accepted
            b = self._newton(z, self._entry)
        if b is None:
            size = abs(edge.value) + self._size / self._ratio
            if edge.value - z <= 1e-12 * size:  # the edge, to rounding
                return edge.b
            raise NumericalFailure(Status.UNRESOLVED, f"(no solution at z = {z:.6g})")
        return b

    def descend(self, t: float) -> tuple[float, Array]:
        if t <= 0.0:
            return self.edge.value, self.edge.b
        z = self.edge.value - t * t
        return z, self.solve(z)

    def tangent(self, b: Array) -> Array:
        at = self._evaluate(b)
        if at is None:  # pragma: no cover - b comes from solve
            raise NumericalFailure(Status.UNRESOLVED, "(B + D > 0 is lost in rounding)")
        return self._matrix(np.linalg.solve(self._jacobian(at.phi), self._unit))

    # -- the walk to the edge ----------------------------------------------------------------

    @cached_property
    def _bound(self) -> EdgePoint:
        """Bound the edge from below.

        D >= d_low I with d_low = tr D / m - sqrt((m - 1) / m) |D - tr D / m|_F, and F(b I) is
        monotone in D, so the left edge of the scalar law of d_low bounds the edge from below; the
        same for the points of the support.
        """
        return ScalarBranch(
            Atoms(
                d=self._lower_bound(self.atoms.d)[0][None, :],
                p=self.atoms.p,
                zz=None,
                ratio=self._ratio,
                m=1,
            ),
            self._lower_bound(pack(self._support).T)[0][:, None, None],
        ).edge

    def _start(self) -> _Point | None:
        """Return a point certainly on the branch; None if rounding leaves none."""
        m, atoms = self._m, self.atoms
        norm = self._lower_bound(atoms.d)[1]
        scalar = self._bound
        b = float(scalar.b[0, 0])
        typical = float(np.median(norm[norm > 0])) if np.any(norm > 0) else 0.0
        size = max(abs(scalar.value) + b / self._ratio, 1e-2 * typical)
        z = scalar.value - 0.05 * size
        above = self._above(z, np.zeros((m, m)), max(b, size * self._ratio))
        start = None if above is None else self._newton(z, above)
        if start is None:
            return None
        self._size = float(np.trace(start)) / m
        self._entry = start
        return self._correct(float(np.trace(start)) / m, start, z)

    def _lower_bound(self, packed: Array) -> tuple[Array, Array]:
        """d_low and the Frobenius norm for packed (size, n) matrices."""
        m = self._m
        diagonal = [int(self._index[i, i]) for i in range(m)]
        mean = packed[diagonal].mean(axis=0)
        weight = np.full(packed.shape[0], 2.0)
        weight[diagonal] = 1.0
        norm2 = weight @ packed**2
        spread = np.sqrt(np.maximum(norm2 - m * mean**2, 0.0))
        return mean - np.sqrt((m - 1) / m) * spread, np.sqrt(norm2)

    def _correct(self, s: float, b: Array, z: float) -> _Point | None:
        """Newton for F(B) = z I, tr B = m s in (B, z) from a nearby guess."""
        m, q = self._m, self._basis.shape[1]
        trace = self._unit / m
        bordered = np.zeros((q + 1, q + 1))
        bordered[:q, q] = -self._unit
        bordered[q, :q] = trace
        rhs = np.zeros((q + 1, 2))
        previous = np.inf
        for _ in range(20):
            at = self._evaluate(b)
            if at is None:
                return None
            bordered[:q, :q] = self._jacobian(at.phi)
            rhs[:q, 0] = z * self._unit - self._coordinates(at.value)
            rhs[q, 0] = s - np.trace(b) / m
            rhs[:q, 1], rhs[q, 1] = 0.0, 1.0
            try:
                x = np.linalg.solve(bordered, rhs)
            except np.linalg.LinAlgError:
                return None
            step = self._matrix(x[:q, 0])
            size = float(np.abs(step).max())
            b = b + step
            z += float(x[q, 0])
            # Small, or small and at the level of rounding: Newton no longer gains anything.
            if size <= 1e-12 * s or (size <= 1e-7 * s and size >= 0.3 * previous):
                return self._point(s, b, z, self._matrix(x[:q, 1]), at)
            previous = size
        return None

    def _point(self, s: float, b: Array, z: float, db: Array, at: _Map) -> _Point:
        smallest = float(np.linalg.eigvalsh(b)[0]) / self._size
        # Where B itself becomes singular the edge is 0 exactly; stop just short of it.
        margins = np.array([smallest - _SHORT_OF_ZERO, np.inf, np.inf])
        if len(self._support):
            margins[1] = np.linalg.eigvalsh(b + self._support)[:, 0].min() / self._size
        if smallest > 0.0:
            radius = self._ratio * self._radius(b, at)
            margins[2] = 1.0 / np.sqrt(radius) - 1.0 if radius > 0 else np.inf
        return _Point(s, z, b, db, margins)

    @cached_property
    def edge(self) -> EdgePoint:
        if not np.any(self.atoms.d[:, self.atoms.p > 0]):
            depth = max([0.0, *(-np.linalg.eigvalsh(self._support)[:, 0]).tolist()])
            return EdgePoint(-depth / self._ratio, depth * np.eye(self._m), 0.0, Status.SUCCESS)
        with np.errstate(all="ignore"):  # what overflows is not accepted
            try:
                found = self._walk()
            except np.linalg.LinAlgError:
                found = None
            if found is not None:
                size = abs(found.value) + float(np.abs(found.b).max()) / self._ratio
                if found.residual <= _RESIDUAL * size:
                    return found
            b = self._bound.b[0, 0] * np.eye(self._m)
            bound = self._bound.value if np.isfinite(self._bound.value) else -np.inf
            return EdgePoint(bound, b, np.inf, Status.UNRESOLVED)

    def _pole_at_zero(self) -> bool:
        """Whether c has a pole at zero: the branch then ends there."""
        if self._ratio < 1.0:  # fewer samples than dimensions
            return True
        zero = eigenvalue_zero(self.atoms)
        return zero.mass > 0.0 or zero.diverges

    def _walk(self) -> EdgePoint | None:
        m = self._m
        inside = self._start()
        if inside is None:
            return None
        outside: _Point | None = None
        other: _Point | None = None
        reach = 0.2 * inside.s
        status = Status.MAX_STEPS
        stalled = 0
        for _ in range(_MAX_STEPS):
            if inside.height <= _TOLERANCE:
                status = Status.SUCCESS
                break
            lowest = outside.s if outside is not None else 0.0
            if other is not None and stalled < 3:
                s = inside.root(other)
                if outside is None:  # a little further, to bracket the root
                    s -= 1e-3 * (inside.s - s)
            else:
                s = 0.5 * (inside.s + lowest)
                stalled = 0
            if not lowest < s < inside.s:
                s = 0.5 * (inside.s + lowest)
            s = max(s, inside.s - reach)
            if inside.s - s <= 2e-15 * inside.s:
                if inside.height > 1e-7 and outside is not None:
                    # Newton had jumped to another branch: forget it and step carefully.
                    outside, other, reach = None, None, 1e-4 * inside.s
                    continue
                status = Status.SUCCESS
                break
            ds = s - inside.s
            trial = self._correct(s, inside.b + ds * inside.db, inside.z)
            if trial is None or np.isnan(trial.margins).any():
                reach = 0.25 * (inside.s - s)
                stalled += 1
                continue
            if trial.height > 0.0:
                gained = (inside.s - s) / max(inside.s - lowest, 1e-300)
                stalled = stalled + 1 if outside is not None and gained < 0.1 else 0
                other, inside = inside, trial
                reach = 3.0 * reach
            else:
                stalled = stalled + 1 if outside is not None else 0
                other = outside = trial
        b = inside.b
        at = self._evaluate(b)
        value = inside.z
        residual = np.inf if at is None else float(np.abs(at.value - value * np.eye(m)).max())
        if np.linalg.eigvalsh(b)[0] <= 10 * _SHORT_OF_ZERO * self._size:
            if self._pole_at_zero():
                value = 0.0
            else:  # only an edge far closer to zero than the size of the weights
                status = Status.UNRESOLVED
        return EdgePoint(value, b, residual, status)


def scalar_intervals(atoms: Atoms) -> list[tuple[float, float]]:
    """Intervals of the continuous spectrum for m = 1, between the critical points of z(B).

    z is real outside the spectrum exactly where some real B has z'(B) < 0, that is
    G(B) = E[D^2 / (B + D)^2] < 1/ratio (Silverstein & Choi). G is convex between neighbouring poles
    B = -D_i, so each pair of them hides at most one gap; most pairs are excluded without a search.
    """
    from scipy.optimize import brentq, minimize_scalar

    occupied = (atoms.p > 0) & (atoms.d[0] != 0)
    if not np.any(occupied):
        return []
    d, inverse = np.unique(atoms.d[0][occupied], return_inverse=True)
    p = np.bincount(inverse, atoms.p[occupied])
    level = 1.0 / atoms.ratio

    def excess(b: float) -> float:
        return float(p @ (d / (b + d)) ** 2) - level

    def z(b: float) -> float:
        return b * (float(p @ (d / (b + d))) - level)

    reach = np.abs(d) * np.sqrt(atoms.ratio * p)  # G > level closer to a pole than this
    far = float(np.abs(d).max()) * (2.0 + np.sqrt(atoms.ratio))
    while max(excess(far), excess(-far)) > 0.0:  # pragma: no cover - far is far enough
        far *= 2.0

    def root(inner: float, outer: float) -> float:
        if excess(inner) <= 0.0:  # one pole outweighs all others: the bound is the root
            return inner
        return float(brentq(excess, inner, outer, xtol=1e-15 * far, rtol=1e-14))

    # Outwards from the last pole on each side, then through the gaps from right to left in B,
    # which is from left to right in z.
    starts = [z(root(float((reach - d).max()), far))]
    ends = []
    viable = np.flatnonzero(np.diff(d) > reach[:-1] + reach[1:])
    for i in viable:
        low, high = float(reach[i + 1] - d[i + 1]), float(-d[i] - reach[i])
        middle = float(
            minimize_scalar(excess, bounds=(low, high), method="bounded", options={"xatol": 0.0}).x
        )
        if excess(middle) < 0.0:
            ends.append(z(root(high, middle)))
            starts.append(z(root(low, middle)))
    ends.append(z(root(float((-d - reach).min()), -far)))
    return list(zip(starts, ends, strict=True))
