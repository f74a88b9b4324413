"""Functions with two derivatives, of a catalogue or custom: the base of activation and loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_choice, check_keys

__all__ = ["CatalogueFunction", "supplied"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CatalogueFunction:
    """A function with its first two derivatives: the base of activations and losses.

    Parameters
    ----------
    value, derivative, second_derivative : callable
        Element by element; the derivatives are with respect to the first argument.
    name : str
    kernel_code : int or None
        Number of the compiled twin of a catalogue entry.

    Attributes
    ----------
    derivatives : str
        Where the derivatives come from.
    """

    value: Callable[..., Array]
    # Never None once built.
    derivative: Callable[..., Array] = None  # type: ignore[assignment]
    second_derivative: Callable[..., Array] = None  # type: ignore[assignment]
    name: str = "custom"
    kernel_code: int | None = None
    derivatives: str = field(init=False, default="given")

    kind: ClassVar[str]
    catalogue: ClassVar[Mapping[str, Any]]

    def __post_init__(self) -> None:
        for member in ("value", "derivative", "second_derivative"):
            given = getattr(self, member)
            if not callable(given) and (given is not None or member == "value"):
                raise ValueError(f"{self._label}: {member} must be callable, got {given!r}")

    @classmethod
    def of(cls, given: Any) -> Self:
        """Return the function for a catalogue name or for an object with value and derivatives.

        Raises
        ------
        ValueError
            If the name is unknown, the object has no value, or the class refuses it.
        """
        if isinstance(given, cls):
            changed = given.kernel_code is not None and not given.in_catalogue
            return replace(given, kernel_code=None) if changed else given  # a copy: checked
        if isinstance(given, str):
            entry: Self = cls.catalogue[check_choice(cls.kind, given, cls.catalogue)]
            return entry
        if not callable(getattr(given, "value", None)):
            raise ValueError(
                f"{cls.kind} must be a catalogue name or have a callable value, perhaps derivative "
                f"and second_derivative; {given!r} has none"
            )
        names = [entry.name for entry in fields(cls) if entry.init and entry.name != "kernel_code"]
        members = {name: getattr(given, name) for name in names if hasattr(given, name)}
        if not isinstance(members.get("name"), str):
            members["name"] = "custom"
        return cls(**members)

    @property
    def in_catalogue(self) -> bool:
        """Whether this is an entry of the catalogue."""
        return bool(self.catalogue.get(self.name) == self)

    @property
    def config(self) -> str | dict[str, str]:
        """Entry in a configuration: the name in the catalogue, or ``{"custom": name, ...}``."""
        if self.in_catalogue:
            return self.name
        numerical = {} if self.derivatives == "given" else {"derivatives": self.derivatives}
        return {"custom": self.name, **numerical}

    @property
    def _label(self) -> str:
        return f"{self.kind} {self.name!r}"


def supplied(argument: str, entry: object, given: object | None) -> Any:
    """Return the function of a configuration entry: itself, or the one that the caller supplies.

    Raises
    ------
    ValueError
        If the entry is that of a custom function, and none is supplied.
    """
    if not isinstance(entry, Mapping):
        return entry
    check_keys(argument, entry, ("custom", "derivatives"), required=("custom",))
    if given is None:
        raise ValueError(
            f"{argument} must be supplied: the configuration records only the name of a custom "
            f"one, {entry['custom']!r}"
        )
    return given
