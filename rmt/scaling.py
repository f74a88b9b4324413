"""The units of the weights: nothing overflows, however large or small the curvature weights are.

The spectral law of c D is that of D times c. Weights near the ends of double precision are divided
by a power of two, which changes no digit; all others are used as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np

from rmt._packing import Array, Atoms, CArray
from rmt.matrix_branch import MatrixBranch
from rmt.real_branch import RealBranch
from rmt.scalar_branch import ScalarBranch
from rmt.status import NumericalFailure, Status

__all__ = ["Scaled", "Side", "power_of_two", "reciprocal"]

# Outside these bounds squares and cubes of the weights are near the ends of double precision.
_ORDINARY: Final = (1e-60, 1e60)
_FAR: Final = 1e30  # in units of the weights: c = -1 / (ratio z) to all digits
_TINY: Final = 1e-280  # smaller weights, in units of the largest, are set to this size
_LARGEST_HARD: Final = 1e5


@dataclass(frozen=True, eq=False)
class Side:
    """One side of the bulk: the real branch of D (left) or -D (right), in a unit of its own."""

    name: Literal["left", "right"]
    branch: RealBranch
    unit: float

    @property
    def sign(self) -> float:
        """1 on the left, -1 on the right."""
        return 1.0 if self.name == "left" else -1.0

    def eigenvalue(self, z: float) -> float:
        """Return the eigenvalue of H - shift I that a point of the branch stands for."""
        return self.sign * self.unit * z


@dataclass(frozen=True, eq=False)
class Scaled:
    """Curvature weights with the units in which the bulk and its two sides are computed.

    Attributes
    ----------
    weights : (N, m, m) array
    probabilities : (N,) array
    hard : (N, k_h) array or None
    support : (S, m, m) array
    ratio : float
        As given to `rmt.HessianLaw`.
    offset : (m, m) array or None
        What the shift differs by from a multiple of the identity.
    """

    weights: Array
    probabilities: Array
    hard: Array | None
    support: Array
    ratio: float
    offset: Array | None = None

    @cached_property
    def size(self) -> float:
        """Largest entry of a weight that carries mass, and of the offset."""
        size = float(np.abs(self.weights[self.probabilities > 0]).max())
        return size if self.offset is None else max(size, float(np.abs(self.offset).max()))

    @cached_property
    def unit(self) -> float:
        """Power of two in whose units the bulk is computed; 1 unless the weights are extreme."""
        return power_of_two(self.size)

    @cached_property
    def far(self) -> float:
        """Modulus of z - shift beyond which c = -1 / (ratio z) to all digits."""
        size = self.size * (1.0 + 1.0 / self.ratio)
        return _FAR * size if 0.0 < size < 1e270 else np.inf

    @cached_property
    def atoms(self) -> Atoms:
        """The atoms of D in `unit`."""
        return self._atoms_in(self.unit)

    @cached_property
    def left(self) -> Side:
        """The side of the left edge."""
        return self._side("left", self.support)

    @cached_property
    def right(self) -> Side:
        """The side of the right edge."""
        return self._side("right", -self.support)

    @cached_property
    def _largest_hard(self) -> float:
        return 0.0 if self.hard is None else float(np.abs(self.hard).max(initial=0.0))

    def check_hard(self) -> None:
        """Raise NumericalFailure where squares of the hard coordinates, unscaled, lose digits."""
        if self._largest_hard > _LARGEST_HARD:
            raise NumericalFailure(
                Status.UNRESOLVED,
                f"(hard coordinates of a standard normal up to {self._largest_hard:.2g})",
            )

    def _atoms_in(self, unit: float) -> Atoms:
        usable = self.hard is not None and self.hard.shape[1] > 0
        usable = usable and self._largest_hard <= _LARGEST_HARD
        weights = self.weights
        if unit != 1.0:
            weights = weights / unit
            # A weight that would vanish keeps its rank.
            size = np.abs(self.weights).max(axis=(1, 2))
            lost = (size > 0) & (size / unit < _TINY)
            weights[lost] = _TINY * (self.weights[lost] / size[lost, None, None])
        hard = self.hard if usable else None
        offset = self.offset if self.offset is None else self.offset / unit
        return Atoms.build(weights, self.probabilities, hard, self.ratio, offset)

    def _side(self, name: Literal["left", "right"], support: Array) -> Side:
        # B > 0 anyway: only points below zero hold the edge back.
        support = support[np.linalg.eigvalsh(support)[:, 0] < 0.0]
        unit = power_of_two(max(self.size, float(np.abs(support).max(initial=0.0))))
        atoms = self.atoms if unit == self.unit else self._atoms_in(unit)
        if unit != 1.0:
            support = support / unit
        make = ScalarBranch if atoms.m == 1 else MatrixBranch
        return Side(name, make(atoms if name == "left" else atoms.reflected(), support), unit)


def reciprocal(z: CArray) -> CArray:
    """1 / z for complex numbers near the ends of double precision."""
    modulus = np.maximum(np.abs(z.real), np.abs(z.imag))
    return np.asarray(1.0 / (z / modulus) / modulus)


def power_of_two(size: float) -> float:
    """Power of two to divide numbers up to ``size`` by; 1 if they are of ordinary size."""
    if size == 0.0 or _ORDINARY[0] <= size <= _ORDINARY[1]:
        return 1.0
    return float(np.ldexp(1.0, int(np.frexp(size)[1]) - 1))
