"""A catalogue of spectral laws with exact answers, a frozen dataclass each.

Every entry has ``name``, ``ratio``, ``edges()`` and ``law()``, the `rmt.HessianLaw` it describes;
those with an algebraic bulk add ``stieltjes(z)``, ``density(x)`` and ``atom_at_zero()``; those with
a hard direction add ``threshold``, ``outlier()`` and, where it is explicit, ``hard_gap()``.

Examples
--------
>>> from rmt.closed_forms import SpikedCovariance
>>> spiked = SpikedCovariance(ratio=4.0, spike=1.0)
>>> spiked.threshold
0.5
>>> spiked.outlier()
(2.5, 0.6)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike

from rmt._packing import Array, CArray
from rmt._validation import check_array, check_complex, check_real
from rmt.law import HessianLaw

__all__ = [
    "ClosedForm",
    "MarchenkoPastur",
    "SpectralPhaseRetrieval",
    "SpikedCovariance",
    "TwoAtoms",
]


class ClosedForm(Protocol):
    """What every entry of the catalogue has.

    Examples
    --------
    >>> form: ClosedForm = MarchenkoPastur(ratio=4.0)
    >>> form.edges(), form.law().edges().status.name
    ((0.25, 2.25), 'SUCCESS')
    """

    @property
    def name(self) -> str:
        """Name of the law."""

    @property
    def ratio(self) -> float:
        """Ratio n / d."""

    def edges(self) -> tuple[float, float]:
        """Left and right edge of the bulk."""

    def law(self) -> HessianLaw:
        """Build the general solver's version of this law."""


def _set_real(law: object, name: str, **limits: Any) -> None:
    """Replace a field of a frozen dataclass by its checked value, a float."""
    object.__setattr__(law, name, check_real(name, getattr(law, name), **limits))


_POSITIVE: Final[dict[str, Any]] = {"minimum": 0.0, "exclusive": True}


@dataclass(frozen=True)
class MarchenkoPastur:
    """Weights all equal to ``scale > 0``: the sample covariance of white data.

    Parameters
    ----------
    ratio : float
        n / d.
    scale : float, optional
        The common weight.

    Examples
    --------
    >>> MarchenkoPastur(ratio=4.0).edges(), MarchenkoPastur(ratio=0.5).atom_at_zero()
    ((0.25, 2.25), 0.5)
    """

    ratio: float
    scale: float = 1.0
    name: ClassVar[str] = "marchenko-pastur"

    def __post_init__(self) -> None:
        _set_real(self, "ratio", **_POSITIVE)
        _set_real(self, "scale", **_POSITIVE)

    def _bulk(self) -> tuple[float, float]:
        root = 1.0 / math.sqrt(self.ratio)
        return self.scale * (1.0 - root) ** 2, self.scale * (1.0 + root) ** 2

    def edges(self) -> tuple[float, float]:
        """Left and right edge; 0 on the left where the atom is."""
        left, right = self._bulk()
        return (0.0 if self.ratio < 1 else left), right

    def atom_at_zero(self) -> float:
        """Mass at zero, max(0, 1 - ratio)."""
        return max(0.0, 1.0 - self.ratio)

    def stieltjes(self, z: ArrayLike) -> CArray:
        """Stieltjes transform E[1/(lambda - z)], from above on the real axis."""
        x = check_complex("z", z)
        left, right = self._bulk()
        root = np.sqrt(x - left) * np.sqrt(x - right)
        c = (self.scale * (self.ratio - 1.0) - self.ratio * x + self.ratio * root) / (
            2.0 * self.ratio * self.scale * x
        )
        return np.asarray(self.ratio * c)

    def density(self, x: ArrayLike) -> Array:
        """Density of the continuous part."""
        x = check_array("x", x)
        left, right = self._bulk()
        inside = (x > left) & (x < right)
        safe = np.where(inside, x, 0.5 * (left + right))
        root = np.sqrt((safe - left) * (right - safe))
        return np.where(inside, self.ratio * root / (2 * np.pi * self.scale * safe), 0.0)

    def law(self) -> HessianLaw:
        """Build the general solver's version of this law."""
        return HessianLaw([self.scale], self.ratio)


@dataclass(frozen=True)
class TwoAtoms:
    """Weights d1 with probability p1 and d2 otherwise, of any sign: a cubic in c.

    Parameters
    ----------
    d1, d2 : float
        The two weights.
    p1 : float
        Probability of d1, in (0, 1).
    ratio : float
        n / d.

    Examples
    --------
    >>> form = TwoAtoms(1.0, -1.0, 0.5, ratio=2.0)
    >>> [round(edge, 4) for edge in form.edges()]
    [-1.6651, 1.6651]
    """

    d1: float
    d2: float
    p1: float
    ratio: float
    name: ClassVar[str] = "two-atoms"

    def __post_init__(self) -> None:
        _set_real(self, "ratio", **_POSITIVE)
        _set_real(self, "p1", minimum=0.0, maximum=1.0, exclusive=True)
        for name in ("d1", "d2"):
            _set_real(self, name)
            if getattr(self, name) == 0:
                raise ValueError(f"{name} must be finite and not 0, got {getattr(self, name)!r}")

    def _slope(self, c: CArray | Array) -> CArray:
        """Return dz/dc."""
        one = self.d1 / (1 + c * self.d1)
        two = self.d2 / (1 + c * self.d2)
        return np.asarray(1 / (self.ratio * c**2) - self.p1 * one**2 - (1 - self.p1) * two**2)

    def _critical(self) -> list[float]:
        """Edges of all intervals of the support: the critical values of z(c), c real."""
        first = np.polynomial.Polynomial([1.0, self.d1]) ** 2
        second = np.polynomial.Polynomial([1.0, self.d2]) ** 2
        weights = self.p1 * self.d1**2 * second + (1 - self.p1) * self.d2**2 * first
        square = np.polynomial.Polynomial([0.0, 0.0, self.ratio])
        roots = (first * second - square * weights).roots()
        real = np.real(roots[np.abs(np.imag(roots)) <= 1e-7 * np.abs(roots)])
        values = (
            self.p1 * self.d1 / (1 + real * self.d1)
            + (1 - self.p1) * self.d2 / (1 + real * self.d2)
            - 1 / (self.ratio * real)
        )
        return sorted(float(v) for v in values)

    def edges(self) -> tuple[float, float]:
        """Left and right edge of the support, an atom at zero included."""
        values = self._critical() + ([0.0] if self.ratio < 1 else [])
        return min(values), max(values)

    def atom_at_zero(self) -> float:
        """Mass at zero, max(0, 1 - ratio)."""
        return max(0.0, 1.0 - self.ratio)

    def stieltjes(self, z: ArrayLike) -> CArray:
        """Stieltjes transform by the root of the cubic with Im c > 0.

        On the real axis outside the support all roots are real and the one with dz/dc > 0 counts.
        """
        points = check_complex("z", z)
        mean = self.p1 * self.d1 + (1 - self.p1) * self.d2
        both, product = self.d1 + self.d2, self.d1 * self.d2
        out = np.empty(points.shape, dtype=np.complex128)
        for where, value in np.ndenumerate(points):
            upper = complex(value.real, abs(value.imag))
            roots = np.roots(
                [
                    upper * self.ratio * product,
                    upper * self.ratio * both + (1 - self.ratio) * product,
                    (upper - mean) * self.ratio + both,
                    1.0,
                ]
            ).astype(np.complex128)
            if roots.imag.max() > 1e-9 * np.abs(roots).max() or upper.imag > 0:
                c = roots[roots.imag.argmax()]
            else:
                c = roots[self._slope(roots).real.argmax()]
            out[where] = self.ratio * (c if value.imag >= 0 else c.conjugate())
        return out

    def density(self, x: ArrayLike) -> Array:
        """Density of the continuous part."""
        return np.maximum(self.stieltjes(check_array("x", x)).imag / np.pi, 0.0)

    def law(self) -> HessianLaw:
        """Build the general solver's version of this law."""
        return HessianLaw([self.d1, self.d2], self.ratio, probabilities=[self.p1, 1 - self.p1])


@dataclass(frozen=True)
class SpikedCovariance:
    """Weights 1 and one direction of variance 1 + spike: Baik, Ben Arous and Peche.

    Parameters
    ----------
    ratio : float
        n / d.
    spike : float
        Excess variance of the special direction, above -1.

    Examples
    --------
    >>> form = SpikedCovariance(ratio=4.0, spike=1.0)
    >>> form.threshold, form.outlier()[0]
    (0.5, 2.5)
    """

    ratio: float
    spike: float
    name: ClassVar[str] = "spiked-covariance"

    def __post_init__(self) -> None:
        _set_real(self, "ratio", **_POSITIVE)
        _set_real(self, "spike", minimum=-1.0, exclusive=True)

    def edges(self) -> tuple[float, float]:
        """Edges of the Marchenko-Pastur bulk."""
        return MarchenkoPastur(self.ratio).edges()

    @property
    def threshold(self) -> float:
        """The right outlier exists for spikes above this, 1 / sqrt(ratio)."""
        return 1.0 / math.sqrt(self.ratio)

    def outlier(self) -> tuple[float, float] | None:
        """Location and squared overlap of the right outlier, or None."""
        if self.spike <= self.threshold:
            return None
        s, delta = self.spike, self.ratio
        value = (1.0 + s) * (1.0 + 1.0 / (delta * s))
        return value, (1.0 - 1.0 / (delta * s * s)) / (1.0 + 1.0 / (delta * s))

    def law(self) -> HessianLaw:
        """Build the general solver's version of this law."""
        spread = math.sqrt(1.0 + self.spike)
        return HessianLaw([1.0, 1.0], self.ratio, hard=[[-spread], [spread]])


@dataclass(frozen=True)
class SpectralPhaseRetrieval:
    """Weights 1/y - 1 with y = z^2: the spectral method whose threshold is optimal.

    D is unbounded above and reaches -1 only in the limit of large z. For ratio <= 1/2 the left edge
    is attained on that boundary of the support, at -1/ratio, and the gap is 1/ratio - 2. Above 1/2
    the outlier sits at -1/ratio.

    Parameters
    ----------
    ratio : float
        n / d.

    Examples
    --------
    >>> form = SpectralPhaseRetrieval(ratio=0.25)
    >>> form.edges()[0], form.hard_gap(), form.outlier()
    (-4.0, 2.0, None)
    """

    ratio: float
    name: ClassVar[str] = "spectral-phase-retrieval"
    threshold: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        _set_real(self, "ratio", **_POSITIVE)

    def edges(self) -> tuple[float, float]:
        """Edges; the left one is in closed form up to the threshold only."""
        if self.ratio > self.threshold:
            raise ValueError(f"ratio must be at most 1/2 for the edge, got {self.ratio!r}")
        return -1.0 / self.ratio, math.inf

    def hard_gap(self) -> float:
        """1/ratio - 2, up to the threshold."""
        if self.ratio > self.threshold:
            raise ValueError(f"ratio must be at most 1/2 for the gap, got {self.ratio!r}")
        return 1.0 / self.ratio - 2.0

    def outlier(self) -> float | None:
        """Location of the left outlier, or None."""
        return -1.0 / self.ratio if self.ratio > self.threshold else None

    def law(self, nodes: int = 120) -> HessianLaw:
        """Build the general solver's version on Gauss-Hermite nodes in z."""
        z, p = np.polynomial.hermite_e.hermegauss(nodes)
        return HessianLaw(
            1.0 / z**2 - 1.0,
            self.ratio,
            hard=z[:, None],
            probabilities=p / p.sum(),
            support=[-1.0],
            bounded_above=False,
        )
