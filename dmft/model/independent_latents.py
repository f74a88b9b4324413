"""Inputs with independent latent coordinates, of one law or of one law each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.frozen import set_fields
from dmft.model.base_input_law import Latents
from dmft.model.quantile_laws import ByQuantile, Quantile
from rmt._validation import shown

__all__ = ["IndependentLatents"]

Array = NDArray[np.float64]

_FAR = 8.0  # standard deviations, from which own laws count as known
_NORMAL = "normal"
_STUDENT = "student-t"

#: Laws of a latent coordinate, as functions of a standard normal; with a parameter.
_LATENTS: dict[str, str | None] = {
    "rademacher": None, "uniform": None, "laplace": None, _STUDENT: "degrees_of_freedom",
    _NORMAL: None,
}  # fmt: skip

_END = {
    "rademacher": (-1.0, 1.0),
    "uniform": (-float(np.sqrt(3.0)), float(np.sqrt(3.0))),
    "laplace": (-np.inf, np.inf),
    _STUDENT: (-np.inf, np.inf),
    _NORMAL: (-np.inf, np.inf),
}


def _latent(name: str, freedom: float, x: Array) -> Array:
    """Return coordinates of mean 0 and variance 1, odd in the normals x."""
    from scipy.special import erf, log_ndtr, ndtr, stdtrit

    if name == _NORMAL:
        return x.copy()
    if name == "rademacher":
        return np.where(x < 0.0, -1.0, 1.0)
    if name == "uniform":
        return np.asarray(np.sqrt(3.0) * erf(x / np.sqrt(2.0)))
    if name == "laplace":
        size = -(np.log(2.0) + log_ndtr(-np.abs(x))) / np.sqrt(2.0)
    else:
        size = -stdtrit(freedom, ndtr(-np.abs(x))) * np.sqrt((freedom - 2.0) / freedom)
    return np.asarray(np.copysign(np.maximum(size, 0.0), x))


@dataclass(frozen=True, init=False)
class IndependentLatents(ByQuantile):
    r"""Law of inputs with independent latent coordinates, all others Gaussian.

    Parameters
    ----------
    latents : {"rademacher", "uniform", "laplace", "student-t", "normal"} or callable, or a sequence
        Law of each latent coordinate, of mean zero and variance one; a sequence has a law for each
        of the k coordinates. A function of your own is the quantile function, of probabilities u
        (N,) in (0, 1), and is taken as it is.
    degrees_of_freedom : float or sequence of float, optional
        Of ``"student-t"``, above 2; default 5. With a sequence of laws one number for all of these,
        or one for each coordinate that has this law, in order.

    Attributes
    ----------
    coordinates : tuple of IndependentLatents
        The law of each coordinate, if they are stated one by one.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> signs = IndependentLatents("rademacher")
    >>> signs.draw(np.array([[0.3, -2.0]]), np.empty((0, 2))).z
    array([[ 1., -1.]])
    >>> mixed = IndependentLatents(["rademacher", "normal"])
    >>> mixed.draw(np.array([[0.3, -2.0], [0.7, -0.1]]), np.empty((0, 2))).z
    array([[ 1. , -1. ],
           [ 0.7, -0.1]])
    """

    law: ClassVar[str] = "independent-latents"
    argument: ClassVar[str] = "latents"
    catalogue: ClassVar[Mapping[str, str | None]] = _LATENTS

    degrees_of_freedom: Any  # a tuple where there are several laws
    latents: str | Quantile | tuple[str | Quantile, ...]
    coordinates: tuple[IndependentLatents, ...] = field(init=False, compare=False, repr=False)

    def __init__(
        self,
        latents: str | Quantile | Sequence[str | Quantile] | NDArray[np.str_] = "rademacher",
        degrees_of_freedom: float | Sequence[float] | None = None,
    ) -> None:
        if isinstance(latents, np.ndarray):
            latents = latents.tolist()
        if isinstance(latents, list | tuple):
            parts = _parts(latents, degrees_of_freedom)
            own = tuple(part.degrees_of_freedom for part in parts)
            freedoms = tuple(freedom for freedom in own if freedom is not None)
            laws = tuple(part.distribution for part in parts)
            set_fields(self, latents=laws, degrees_of_freedom=freedoms or None, coordinates=parts)
        else:
            set_fields(self, coordinates=())
            self._fill(latents, degrees_of_freedom)  # type: ignore[arg-type]

    def _each(self, k: int) -> tuple[IndependentLatents, ...]:
        return self.coordinates or (self,) * k

    @property
    def n_latent(self) -> int | None:
        """Number of coordinates whose laws are stated; None for one law of any number."""
        return len(self.coordinates) or None

    @property
    def has_all_moments(self) -> bool:
        """Whether tails fall at least exponentially, as far as known."""
        if self.coordinates:
            return all(part.has_all_moments for part in self.coordinates)
        return super().has_all_moments

    @property
    def name(self) -> str:
        """Name of the distribution, or of those of all coordinates."""
        return ", ".join(part.name for part in self.coordinates) or super().name

    def quantiles(self, x: Array) -> Array:
        """Return coordinates at standard normals x, of shape (k, N) where each has a law."""
        if self.coordinates:
            rows = zip(self.coordinates, x, strict=True)
            return np.stack([part.quantiles(row) for part, row in rows])
        if callable(self.distribution):
            return self.of_own(x)
        return _latent(self.distribution, self.degrees_of_freedom or 0.0, x)

    def of_component(self, index: int, x: Array, extra: Array) -> Latents:
        """Return samples, all scales one."""
        return Latents(self.quantiles(x), np.empty(0), np.empty(0, dtype=np.intp))

    def far(self, index: int, x: Array) -> Array:
        """Return quantiles, and beyond eight standard deviations what they would grow to."""
        if self.coordinates:
            rows = zip(self.coordinates, x, strict=True)
            return np.stack([part.far(index, row) for part, row in rows])
        z = self.quantiles(np.clip(x, -_FAR, _FAR))
        own = callable(self.distribution)
        low, high = self.ends_of_own() if own else _END[str(self.distribution)]
        grows = np.where(x > 0.0, np.isinf(high), np.isinf(low))
        return np.asarray(np.where(grows, z * np.maximum(np.abs(x) / _FAR, 1.0), z))

    @property
    def is_odd(self) -> bool:
        """Whether coordinates are as often negative as positive, value by value."""
        if self.coordinates:
            return all(part.is_odd for part in self.coordinates)
        if isinstance(self.distribution, str):
            return True
        u = np.linspace(1e-6, 0.5, 257)
        values, mirrored = self.own_quantiles(u), self.own_quantiles(1.0 - u)
        return bool(np.allclose(values[:-1], -mirrored[:-1], rtol=1e-7, atol=1e-9))

    def is_symmetric(self, basis: Array) -> bool:
        """Whether coordinates that change sign are axes, of symmetric laws, or of normal ones."""
        parts = self._each(len(basis))
        moved = basis.any(axis=1)
        normal = np.array([part.distribution == _NORMAL for part in parts])
        axes = np.flatnonzero(moved & ~normal)
        reflector = basis @ basis.T
        alone = np.abs(reflector[axes] - np.eye(len(basis))[axes]).max(initial=0.0) < 1e-12
        return bool(alone) and all(parts[axis].is_odd for axis in axes)

    def axes(self, k: int) -> tuple[Array, int]:
        """Return the coordinate axes, none with symmetry unless all laws have it."""
        return np.eye(k), 0 if self.is_odd else k

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types; functions become ``{"custom": name}``."""
        if not self.coordinates:
            return super().to_config()
        entries = [part.to_config()["latents"] for part in self.coordinates]
        freedoms = self.degrees_of_freedom
        more = {"degrees_of_freedom": list(freedoms)} if freedoms else {}
        return {"law": self.law, "latents": entries, **more}

    @property
    def description(self) -> str:
        """Name of the distribution, or of those of all coordinates, with its parameter.

        Examples
        --------
        >>> IndependentLatents(["rademacher", "student-t"], 3).describe()
        'independent latents, rademacher, student-t(3)'
        """
        return ", ".join(part.description for part in self.coordinates) or super().description


def _parts(
    latents: Sequence[str | Quantile], freedom: float | Sequence[float] | None
) -> tuple[IndependentLatents, ...]:
    """Return the law of each coordinate, with its degrees of freedom."""
    if not latents:
        raise ValueError("latents must have a law for each latent coordinate, got none")
    places = [i for i, law in enumerate(latents) if isinstance(law, str) and law == _STUDENT]
    freedoms: list[Any] = [None] * len(latents)
    if isinstance(freedom, list | tuple | np.ndarray):
        stated = [i for i, number in enumerate(freedom) if number is not None]
        if len(freedom) == len(latents) and stated == places:  # None for the other laws
            freedom = [freedom[i] for i in places]
        if len(freedom) != len(places):
            raise ValueError(
                f"degrees_of_freedom must be a number, or one for each of the {len(places)} latent "
                f"coordinates of law 'student-t', got {shown(list(freedom))}"
            )
        for place, number in zip(places, freedom, strict=True):
            freedoms[place] = number
    elif freedom is not None:
        if not places:
            raise ValueError(
                "degrees_of_freedom must be left out without a latent coordinate of law "
                f"'student-t', got {shown(freedom)}"
            )
        for place in places:
            freedoms[place] = freedom
    for law in latents:
        if isinstance(law, list | tuple):
            raise ValueError(f"latents must be one law for each coordinate, got {shown(law)}")
    return tuple(map(IndependentLatents, latents, freedoms))
