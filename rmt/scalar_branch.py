"""The real branch for scalar weights (m = 1), where z(B) is explicit.

    z = B (E[D / (B + D)] - 1 / ratio)

is concave in B > max(0, -D), and its maximum is the left edge: nothing is iterated but one scalar
equation. Further critical points of z(B) are the inner edges of a spectrum of several intervals.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from rmt import real_branch
from rmt._packing import LANES, Array, Atoms, kernels
from rmt.real_branch import EdgePoint, Kind
from rmt.status import Status

__all__ = ["ScalarBranch", "continuous_intervals"]


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
        for _ in range(real_branch.MAX_STEPS):
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
        """Find where the branch ends."""
        if self._empty:
            b = self._floor
            kind: Kind = "support" if b > 0.0 else "zero"
            return EdgePoint(-b / self._ratio, np.array([[b]]), 0.0, Status.SUCCESS, kind)
        tau, status = self._edge_tau
        b = tau + self._pole
        value = 0.0 if b == 0.0 else self._value(tau)
        kind = "square-root"
        if tau == self._floor - self._pole:
            kind = "support" if self._floor > 0.0 else "zero"
        return EdgePoint(value, np.array([[b]]), 0.0, status, kind)

    def descend(self, t: float) -> tuple[float, Array]:
        """Return (z, B) away from the edge, as `RealBranch.descend`."""
        b = float(self.edge.b[0, 0])
        if t <= 0.0:
            return self.edge.value, self.edge.b
        if self._empty:
            return -(b + t) / self._ratio, np.array([[b + t]])
        tau = self._edge_tau[0] + t
        return self._value(tau), np.array([[tau + self._pole]])

    def solve(self, z: float) -> Array:
        """Solve F(B) = z I."""
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
        for _ in range(real_branch.MAX_STEPS):
            first, second, _ = self._sums(tau)
            b = tau + self._pole
            slope = second - 1.0 / self._ratio
            step = (b * (first - 1.0 / self._ratio) - z) / slope
            tau = max(tau - step, start)
            if step <= 4e-16 * (tau + abs(self._pole)):
                break
        return np.array([[tau + self._pole]])

    def tangent(self, b: Array) -> Array:
        """Return dB/dz."""
        if self._empty:
            return np.array([[-self._ratio]])
        second = self._sums(float(b[0, 0]) - self._pole)[1]
        return np.array([[1.0 / (second - 1.0 / self._ratio)]])


def continuous_intervals(atoms: Atoms) -> list[tuple[float, float]]:
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
