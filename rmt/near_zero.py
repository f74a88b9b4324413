"""Resolution of the density close to the eigenvalues zero in double precision.

(With an offset: to each of its eigenvalues.)

Next to an atom at zero, B(z) is nearly singular, and B + D loses the digits of the small directions
of B. How much is lost depends on the weights: nothing where all directions are equivalent or
aligned with the axes, half of the digits at a distance of 1e-8 where a common kernel of the weights
lies across them. So it is measured: weights changed in their last digits must give the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from rmt._packing import Array, Atoms
from rmt.stieltjes import Zero, distribution, typical_size

__all__ = ["Core", "core", "moved_out", "outermost"]

_LAST_DIGITS: Final = 2.0**-50
_NOTHING: Final = 1e-9  # mass that need not be resolved any further
_SMALLEST: Final = 1e-20  # in units of the smallest entry of a weight


@dataclass(frozen=True)
class Core:
    """Neighbourhood of zero where the density is not resolved.

    Attributes
    ----------
    radius : float
        The density is resolved at this distance from zero and further out.
    mass : float
        Mass within, atom at zero excluded; infinite if the density is resolved nowhere near.
    smooth : bool
        Whether that agrees with the densities at the two ends.
    """

    radius: float
    mass: float
    smooth: bool

    @property
    def allowed(self) -> float:
        """Mass that may lie within if the distribution function is to be exact to 1e-6."""
        return 5e-5 if self.smooth else 1e-6


def outermost(atoms: Atoms, atom: float) -> float:
    """Return the distance from zero from which on the density is resolved as a rule."""
    size = typical_size(atoms)
    if atoms.m > 1:
        return 1e-6 * size
    return (1e-10 if atom > 0 else 1e-13) * size


def core(atoms: Atoms, zero: Zero, quantity: Literal["cdf", "density"]) -> Core:
    """Measure the core for the distribution function or the density."""
    atom = zero.mass
    size = typical_size(atoms)
    entries = np.abs(atoms.d[:, atoms.p > 0])
    floor = _SMALLEST * min(size, float(entries[entries > 0].min(initial=size)))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], atoms.d.shape)
    changed = replace(atoms, d=atoms.d * (1.0 + _LAST_DIGITS * signs))

    def at(radius: float) -> Core | None:
        ends = zero.value + radius * np.array([-1.0, 1.0])
        (cdf, density, ok), other = distribution(atoms, ends), distribution(changed, ends)
        if not (ok.all() and other[2].all()):
            return None
        if np.abs(cdf - other[0]).max() > 1e-6:
            return None
        moved = np.abs(density - other[1])
        if quantity == "density" and np.any(moved > 1e-3 * np.abs(density) + 1e-4 / size):
            return None
        mass = max(float(cdf[1] - cdf[0]) - atom, 0.0)
        even = abs(mass - radius * density.sum()) <= max(0.02 * mass, _NOTHING)
        return Core(radius, mass, bool(even))

    radius = outermost(atoms, atom)
    found = at(radius)
    while found is None and radius < 1e-2 * size:
        radius *= 10.0
        found = at(radius)
    if found is None:
        return Core(radius, np.inf, False)
    while found.mass > _NOTHING and found.radius > floor:
        closer = at(0.1 * found.radius)
        if closer is None:
            break
        found = closer
    return found


def moved_out(x: Array, radius: float) -> Array:
    """Points closer to zero than the radius, at the radius; zero itself goes to the right."""
    return np.where(np.abs(x) < radius, np.where(x < 0, -radius, radius), x)
