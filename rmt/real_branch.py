"""The real branch: B(z) for real z below the spectrum, and the edge where it ends.

With B = c^{-1}, outside the bulk on the left,

    F(B) = z I,    F(B) = E[ D - D (B + D)^{-1} D ] - B / ratio,    B > 0,  B + D > 0,

and the left edge is the maximum of lambda_min(F(B)) over such B (Montanari & Wang,
arXiv:2602.01434; a Lehner-type formula). F is operator-concave. The solutions form a curve along
which z grows as tr B falls, up to the edge: there the positive map

    Phi_B[X] = E[ D (B + D)^{-1} X (B + D)^{-1} D ]

reaches spectral radius 1 / ratio (the derivative dF = Phi_B - 1/ratio becomes singular: a
fold), or B meets the boundary of the domain first. The right edge is the left edge of -D.

`rmt.scalar_branch` and `rmt.matrix_branch` compute the curve for m = 1 and m > 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np

from rmt._packing import Array, Atoms
from rmt.status import Status

__all__ = ["MAX_STEPS", "EdgePoint", "Kind", "RealBranch", "Zero", "zeros_below"]

Kind = Literal["square-root", "support", "zero", "none"]

MAX_STEPS = 200  # of every iteration along the branch
_ROUNDING: Final = 1e-12


@dataclass(frozen=True, eq=False)
class EdgePoint:
    """The end of the real branch: edge, the (m, m) matrix B there, its certificate, and why.

    The branch ends at a fold ("square-root"), where B + D or B becomes singular ("support",
    "zero").
    """

    value: float
    b: Array
    residual: float
    status: Status
    kind: Kind = "square-root"


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


class Zero(NamedTuple):
    """A zero of det A(z) on the branch, with the unit null vector of A(z)."""

    z: float
    b: Array
    vector: Array


def zeros_below(
    branch: RealBranch,
    matrix: Callable[[Array, float], Array],
    xtol: float,
    rtol: float,
    *,
    narrow: bool = False,
) -> list[Zero]:
    """Find the zeros of det A(z) left of the edge, by index of the eigenvalue that vanishes.

    Every eigenvalue of A falls with z and tends to +infinity at -infinity, so those that are
    negative at the edge have exactly one root each below it, and no others have any.

    Parameters
    ----------
    branch : RealBranch
    matrix : callable
        A(z), symmetric, from B(z) and z.
    xtol, rtol : float
        Accuracy in the parameter of `RealBranch.descend`, relative to the bracket and the root.
    narrow : bool, optional
        Whether to begin with the narrowest bracket among all points evaluated before, instead of
        the edge and the first distance from it on the other side of the root.
    """
    from scipy.optimize import brentq

    known: dict[float, Array] = {}

    def level(t: float, position: int) -> float:
        if t not in known:
            z, b = branch.descend(t)
            known[t] = np.asarray(np.linalg.eigvalsh(matrix(b, z)))
        return float(known[t][position])

    edge = branch.edge
    size = abs(edge.value) + float(np.abs(edge.b).max())
    known[0.0] = np.asarray(np.linalg.eigvalsh(matrix(edge.b, edge.value)))
    start = size if branch.atoms.m == 1 else float(np.sqrt(size))
    found = []
    for position in range(int(np.count_nonzero(known[0.0] < -_ROUNDING * size))):
        low, high = 0.0, start
        while level(high, position) <= 0.0:
            high *= 2.0
        if narrow:
            low = max(t for t, values in known.items() if values[position] < 0.0)
            high = min(t for t, values in known.items() if values[position] > 0.0)
        t = float(brentq(level, low, high, (position,), xtol * high, rtol, maxiter=200))
        z, b = branch.descend(t)
        found.append(Zero(z, b, np.linalg.eigh(matrix(b, z))[1][:, position]))
    return found
