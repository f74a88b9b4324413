"""Inputs with a law of one number, given by its quantiles: their base, and `Elliptical`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.user_functions import real_array, result_of
from dmft._numerics.validation import check_choice, check_real
from dmft.model.base_input_law import BaseInputLaw, Latents
from dmft.model.law_sources import custom_entry

__all__ = ["ByQuantile", "Elliptical", "Quantile", "unit_interval"]

Array = NDArray[np.float64]
Quantile = Callable[[Array], ArrayLike]

# Own quantile functions are asked between these.
_LOWEST, _HIGHEST = 2.0**-200, 1.0 - 2.0**-53
_DEFAULT_FREEDOM = 5.0
_LIGHT = ("exponential", "laplace", "normal", "rademacher", "uniform")
_STEEPEST = 0.499  # power by which a quantile may grow towards the end of the unit interval

#: Laws of a scale, as functions of a standard normal; with a parameter.
_SCALES: dict[str, str | None] = {
    "student-t": "degrees_of_freedom", "exponential": None, "laplace": None,
}  # fmt: skip


def _scale(name: str, freedom: float, x: Array) -> Array:
    """Return scales of mean square one, increasing in the normals x."""
    from scipy.special import gammainccinv, gammaincinv, log_ndtr, ndtr

    if name == "student-t":
        # nu / chi^2 of nu degrees of freedom, from the tail that x lies in.
        half = 0.5 * freedom
        lower = gammaincinv(half, ndtr(-np.maximum(x, 0.0)))
        upper = gammainccinv(half, ndtr(np.minimum(x, 0.0)))
        return np.asarray(np.sqrt((half - 1.0) / np.where(x > 0.0, lower, upper)))
    exponential = -log_ndtr(-x)
    return np.asarray(np.sqrt(exponential) if name == "laplace" else exponential / np.sqrt(2.0))


@dataclass(frozen=True, init=False)
class ByQuantile(BaseInputLaw):
    """Base of laws of one number, of a catalogue or given by a quantile function."""

    argument: ClassVar[str]  # name of the field that holds the distribution
    catalogue: ClassVar[Mapping[str, str | None]]

    degrees_of_freedom: float | None = field(default=None, kw_only=True)

    @property
    def distribution(self) -> str | Quantile:
        """The law of the number: a name, or a quantile function."""
        found: str | Quantile = getattr(self, self.argument)
        return found

    @property
    def has_all_moments(self) -> bool:
        """Whether tails fall at least exponentially, as far as known."""
        return self.distribution in _LIGHT

    def _fill(self, distribution: str | Quantile, freedom: float | None) -> None:
        name = self.argument
        if not callable(distribution):
            distribution = check_choice(
                name, distribution, self.catalogue, also=" or a quantile function"
            )
            own = self.catalogue[distribution]
        else:
            own = None
        if own is None and freedom is not None:
            shown = self.name_of(distribution)
            raise ValueError(
                f"degrees_of_freedom must be left out for {name} {shown!r} (it belongs to "
                f"'student-t'), got {freedom!r}"
            )
        if own is not None:
            given = _DEFAULT_FREEDOM if freedom is None else freedom
            freedom = check_real("degrees_of_freedom", given, minimum=2.0, exclusive=True)
        set_fields(self, **{name: distribution}, degrees_of_freedom=freedom)
        if callable(distribution):
            self._check_quantile()

    @staticmethod
    def name_of(distribution: object) -> str:
        """Return the name of a distribution."""
        if isinstance(distribution, str):
            return distribution
        name = getattr(distribution, "__name__", None)
        return name if isinstance(name, str) else type(distribution).__name__

    @property
    def name(self) -> str:
        """Name of the distribution."""
        return self.name_of(self.distribution)

    @property
    def _called(self) -> str:
        return f"{self.argument} {self.name!r}"

    def _check_quantile(self) -> None:
        """Raise unless an own quantile function is one."""
        u = np.concatenate([[_LOWEST], 10.0 ** np.arange(-12.0, -2.0), np.linspace(0.01, 0.99, 99)])
        u = np.concatenate([u, 1.0 - 10.0 ** np.arange(-3.0, -13.0, -1.0), [_HIGHEST]])
        values = self.own_quantiles(u)
        if np.any(np.diff(values) < 0.0):
            at = int(np.argmin(np.diff(values)))
            raise ValueError(
                f"{self._called} must be a quantile function, which does not decrease, got "
                f"{values[at]:.6g} at {u[at]:.6g} and {values[at + 1]:.6g} at {u[at + 1]:.6g}"
            )
        tails = self.own_quantiles(np.array([2.0**-50, 2.0**-30, 1.0 - 2.0**-30, 1.0 - 2.0**-50]))
        with np.errstate(all="ignore"):
            powers = np.log2(np.abs(tails[[0, 3]] / tails[[1, 2]])) / 20.0
        if np.nanmax(powers, initial=0.0) > _STEEPEST:
            raise ValueError(
                f"{self._called} must have a finite mean square; values near 0 or 1 grow like the "
                f"power {-np.nanmax(powers):.3g} of the distance"
            )
        if not np.array_equal(self.own_quantiles(u[::-1])[::-1], values):
            raise ValueError(f"{self._called} must give the same values every time, one for each u")

    def own_quantiles(self, u: Array) -> Array:
        """Return the values of an own quantile function, checked."""
        assert callable(self.distribution)
        result = result_of(self.distribution, u.copy(), failed=f"{self._called} failed: ")
        try:
            values = real_array(result)
        except (TypeError, ValueError):
            raise ValueError(f"{self._called} must return real numbers") from None
        if values.shape != u.shape:
            raise ValueError(
                f"{self._called} must return an array of shape {u.shape} from u {u.shape}, got "
                f"shape {values.shape}"
            )
        if not np.isfinite(values).all():
            at = float(u[np.argmin(np.isfinite(values))])
            raise ValueError(f"{self._called} must be finite between 0 and 1, is not at {at:.6g}")
        return values

    def quantiles(self, x: Array) -> Array:
        """Return the quantiles at the probabilities that standard normals x have."""
        raise NotImplementedError

    def of_own(self, x: Array) -> Array:
        """Return the values of an own quantile function at standard normals."""
        from scipy.special import ndtr

        return self.own_quantiles(np.clip(ndtr(x), _LOWEST, _HIGHEST).ravel()).reshape(x.shape)

    def ends_of_own(self) -> tuple[float, float]:
        """Return infimum and supremum of the values of an own quantile function, as far as seen."""
        low, inner_low, inner_high, high = self.own_quantiles(
            np.array([_LOWEST, 1e-12, 1 - 1e-12, _HIGHEST])
        )
        size = 1e-6 * (1.0 + max(abs(inner_low), abs(inner_high)))
        return (
            -np.inf if inner_low - low > size else float(low),
            np.inf if high - inner_high > size else float(high),
        )

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types; a function becomes ``{"custom": name}``."""
        entry: Any = self.distribution
        if callable(entry):
            entry = custom_entry(entry, self.name)
        freedom = self.degrees_of_freedom
        more = {} if freedom is None else {"degrees_of_freedom": freedom}
        return {"law": self.law, self.argument: entry, **more}

    @property
    def description(self) -> str:
        """Name of the distribution, with its parameter."""
        freedom = self.degrees_of_freedom
        return self.name if freedom is None else f"{self.name}({freedom:g})"

    def describe(self) -> str:
        """Name the law in a few words."""
        return f"{self.law.replace('-', ' ')}, {self.description}"


@dataclass(frozen=True, init=False)
class Elliptical(ByQuantile):
    r"""Law of inputs with a random scale: x = s times a standard Gaussian vector.

    Parameters
    ----------
    scales : {"student-t", "exponential", "laplace"} or callable
        Law of s, of mean square one: that of the multivariate Student t, s exponential, or
        :math:`s^2` exponential (the multivariate Laplace law). A function of your own is the
        quantile function of s, of probabilities u (N,) in (0, 1), and is taken as it is.
    degrees_of_freedom : float, optional
        Of ``"student-t"``, above 2; default 5.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> Elliptical("student-t", degrees_of_freedom=3).describe()
    'elliptical, student-t(3)'
    >>> Elliptical(lambda u: 0.5 + u).scale_range
    (0.5, 1.5)
    """

    law: ClassVar[str] = "elliptical"
    argument: ClassVar[str] = "scales"
    catalogue: ClassVar[Mapping[str, str | None]] = _SCALES

    scales: str | Quantile

    def __init__(
        self, scales: str | Quantile = "student-t", degrees_of_freedom: float | None = None
    ) -> None:
        self._fill(scales, degrees_of_freedom)

    def _check_quantile(self) -> None:
        super()._check_quantile()
        lowest = float(self.own_quantiles(np.array([_LOWEST]))[0])
        if lowest <= 0.0:
            raise ValueError(f"{self._called} must be positive, got {lowest:g} as u goes to 0")

    @property
    def n_extra(self) -> int:
        """One normal."""
        return 1

    @property
    def scale_range(self) -> tuple[float, float]:
        """Infimum and supremum of the scales."""
        return (0.0, np.inf) if isinstance(self.distribution, str) else self.ends_of_own()

    @property
    def has_scales(self) -> bool:
        """True."""
        return True

    def quantiles(self, x: Array) -> Array:
        """Return the scales at standard normals x."""
        if callable(self.distribution):
            return self.of_own(x)
        return _scale(self.distribution, self.degrees_of_freedom or 0.0, x)

    def of_component(self, index: int, x: Array, extra: Array) -> Latents:
        """Return samples: z / s is Gaussian."""
        return Latents(x, self.quantiles(extra[0]), np.empty(0, dtype=np.intp))

    def far(self, index: int, x: Array) -> Array:
        """Return the points: all of latent space is reached."""
        return x

    def is_symmetric(self, basis: Array) -> bool:
        """Return True: the law has no direction."""
        return True


def unit_interval(u: Array) -> Array:
    """Stand in for a custom quantile function where the other settings are looked at."""
    return u
