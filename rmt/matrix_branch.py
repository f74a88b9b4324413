"""The real branch for weights of order m > 1: Newton's method and a walk to the fold.

The curve F(B) = z I is entered at a point known to be on it and followed down to the fold; a point
is on the physical branch if and only if the spectral radius of Phi_B is below 1 / ratio (see
`rmt.real_branch`).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmt import real_branch
from rmt._packing import Array, Atoms, kernels, pack, packed_index, tensor_product
from rmt.real_branch import EdgePoint, Kind
from rmt.scalar_branch import ScalarBranch
from rmt.status import NumericalFailure, Status
from rmt.stieltjes import eigenvalue_zeros

__all__ = ["MatrixBranch"]

_TOLERANCE: Final = 1e-13
_SHORT_OF_ZERO: Final = 1e-8
_RESIDUAL: Final = 1e-6  # the certificate, relative to the edge
_LARGE_RATIO: Final = 1e5  # F(B) = B - B E[Y] B - B / ratio then loses the digits of D


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
        if self.atoms.offset is not None:
            value = value + self.atoms.offset
        eye = np.eye(m)
        phi = (
            np.eye(m * m)
            - tensor_product(by, eye)
            - tensor_product(eye, by)
            + tensor_product(b, b) @ yxy
        )
        return _Map(0.5 * (value + value.T), phi, y, yxy)

    def _evaluate_far(self, b: Array) -> _Map:
        """Average without taking the difference of B and B E[Y] B, as B is far larger than D."""
        m, p = self._m, self.atoms.p
        d = np.moveaxis(self.atoms.d[self._index], -1, 0)
        y = np.linalg.inv(b + d)
        t = d @ y
        value = np.einsum("n,nab->ab", p, d - t @ d) - b / self._ratio
        if self.atoms.offset is not None:
            value = value + self.atoms.offset
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
        root: Array = np.asarray(np.linalg.cholesky(b), dtype=np.float64)
        if self._ratio > _LARGE_RATIO:
            back: Array = np.asarray(np.linalg.inv(root), dtype=np.float64)
            k = tensor_product(back, back) @ at.phi @ tensor_product(root, root)
        else:
            eye = np.eye(self._m)
            y = root.T @ at.y @ root
            k = np.eye(self._m**2) - tensor_product(y, eye) - tensor_product(eye, y)
            k += tensor_product(root.T, root.T) @ at.yxy @ tensor_product(root, root)
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
        for _ in range(real_branch.MAX_STEPS):
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
        """Solve F(B) = z I."""
        edge = self.edge
        if z >= edge.value:
            return edge.b
        if self._entry is None:  # D = 0
            return -self._ratio * z * np.eye(self._m) + self._ratio * self.atoms.offset_on(1)
        with np.errstate(all="ignore"):  # overflow is not accepted
            b = self._newton(z, self._entry[1])
        if b is None:
            size = abs(edge.value) + self._size / self._ratio
            if edge.value - z <= 1e-12 * size:  # the edge, to rounding
                return edge.b
            raise NumericalFailure(Status.UNRESOLVED, f"(no solution at z = {z:.6g})")
        return b

    def descend(self, t: float) -> tuple[float, Array]:
        """Return (z, B) away from the edge, as `RealBranch.descend`."""
        if t <= 0.0:
            return self.edge.value, self.edge.b
        z = self.edge.value - t * t
        return z, self.solve(z)

    def tangent(self, b: Array) -> Array:
        """Return dB/dz."""
        at = self._evaluate(b)
        if at is None:  # pragma: no cover - b comes from solve
            raise NumericalFailure(Status.UNRESOLVED, "(B + D > 0 is lost in rounding)")
        return self._matrix(np.linalg.solve(self._jacobian(at.phi), self._unit))

    # -- the walk to the edge ----------------------------------------------------------------

    @cached_property
    def _bound(self) -> EdgePoint:
        """Bound the edge from below.

        D >= d_low I with d_low = tr D / m - sqrt((m - 1) / m) |D - tr D / m|_F, and F(b I) is
        monotone in D, so the left edge for the scalar weights d_low bounds the edge from below; the
        same for the points of the support. The offset adds at least its smallest eigenvalue.
        """
        d = self._lower_bound(self.atoms.d)[0][None, :]
        edge = ScalarBranch(
            replace(self.atoms, d=d, zz=None, z=None, m=1, offset=None),
            self._lower_bound(pack(self._support).T)[0][:, None, None],
        ).edge
        if self.atoms.offset is None:
            return edge
        return replace(edge, value=edge.value + float(np.linalg.eigvalsh(self.atoms.offset)[0]))

    @cached_property
    def _entry(self) -> tuple[float, Array] | None:
        """(z, B) of a point certainly on the branch; None for D = 0 or where rounding leaves none.

        By concavity one Newton step from here leads to F(B) <= z I for any other z.
        """
        m = self._m
        norm = self._lower_bound(self.atoms.d)[1]
        if not np.any(self.atoms.d[:, self.atoms.p > 0]):
            return None
        with np.errstate(all="ignore"), contextlib.suppress(np.linalg.LinAlgError):
            scalar = self._bound
            b = float(scalar.b[0, 0])
            typical = float(np.median(norm[norm > 0])) if np.any(norm > 0) else 0.0
            size = max(abs(scalar.value) + b / self._ratio, 1e-2 * typical)
            size += self.atoms.offset_size
            z = scalar.value - 0.05 * size
            above = self._above(z, np.zeros((m, m)), max(b, size * self._ratio))
            start = None if above is None else self._newton(z, above)
            return None if start is None else (z, start)
        return None

    @cached_property
    def _size(self) -> float:
        """Size of B where the walk to the edge starts."""
        return 1.0 if self._entry is None else float(np.trace(self._entry[1])) / self._m

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
        """Find where the branch ends."""
        if not np.any(self.atoms.d[:, self.atoms.p > 0]):
            return self._edge_without_weights()
        with np.errstate(all="ignore"):  # overflow is not accepted
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

    def _edge_without_weights(self) -> EdgePoint:
        """Find the edge for D = 0, where B = ratio (Lambda - z I): held by the support alone."""
        if self.atoms.offset is None:
            depth = max([0.0, *(-np.linalg.eigvalsh(self._support)[:, 0]).tolist()])
            b = depth * np.eye(self._m)
            kind: Kind = "support" if depth > 0.0 else "zero"
            return EdgePoint(-depth / self._ratio, b, 0.0, Status.SUCCESS, kind)
        held = np.concatenate([np.zeros((1, self._m, self._m)), self._support])
        ends = np.linalg.eigvalsh(self.atoms.offset + held / self._ratio)[:, 0]
        value = float(ends.min())
        b = self._ratio * (self.atoms.offset - value * np.eye(self._m))
        return EdgePoint(value, b, 0.0, Status.SUCCESS, "support" if ends.argmin() else "zero")

    def _pole(self, b: Array) -> float | None:
        """Return the pole of c at which the branch ends where B is singular, None without one.

        If B u = 0, then F(B) u = Lambda u: the pole is an eigenvalue of the offset, zero without.
        """
        place = 0.0
        if self.atoms.offset is not None:
            u = np.linalg.eigh(b)[1][:, 0]
            values = np.linalg.eigvalsh(self.atoms.offset)
            place = float(values[np.argmin(np.abs(values - u @ self.atoms.offset @ u))])
        if self._ratio < 1.0:  # fewer samples than dimensions
            return place
        zero = min(eigenvalue_zeros(self.atoms), key=lambda zero: abs(zero.value - place))
        return zero.value if zero.mass > 0.0 or zero.diverges else None

    def _walk(self) -> EdgePoint | None:
        m = self._m
        if self._entry is None:
            return None
        z, b = self._entry
        inside = self._correct(self._size, b, z)
        if inside is None:
            return None
        outside: _Point | None = None
        other: _Point | None = None
        reach = 0.2 * inside.s
        status = Status.MAX_STEPS
        stalled = 0
        for _ in range(real_branch.MAX_STEPS):
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
            pole = self._pole(b)
            if pole is not None:
                value = pole
            else:  # only an edge far closer to zero than the size of the weights
                status = Status.UNRESOLVED
        kinds: tuple[Kind, ...] = ("zero", "support", "square-root")  # in the order of the margins
        kind = kinds[int(inside.margins.argmin())]
        return EdgePoint(value, b, residual, status, kind)
