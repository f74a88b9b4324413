"""Functions with two derivatives, of a catalogue or custom: the base of activation and loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.suggestions import likely_names
from dmft._numerics.validation import check_choice, check_keys
from dmft.model.law_sources import LawSource
from rmt._validation import shown

__all__ = ["CatalogueFunction", "law_name", "supplied"]

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
    family : tuple of str and parameters, optional
        Name in ``families()`` and parameters, of a member of one; leave None for your own.
    source : LawSource, optional
        Where a law named by a run file comes from; leave None for your own.

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
    family: tuple[str, tuple[tuple[str, float], ...]] | None = field(default=None, kw_only=True)
    source: LawSource | None = field(default=None, kw_only=True)
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
            changed = given.kernel_code is not None and not (given.in_catalogue or given.in_family)
            return replace(given, kernel_code=None) if changed else given  # a copy: checked
        families = cls.families()
        if isinstance(given, str):
            plain = [name for name, family in families.items() if not family.parameters]
            allowed = (*cls.catalogue, *plain)
            if given in families and given not in allowed and not likely_names(given, allowed):
                return cls.of({"name": given})  # which says what is missing
            name = check_choice(cls.kind, given, allowed)
            found: Self = cls.catalogue[name] if name in cls.catalogue else cls.of({"name": name})
            return found
        if isinstance(given, Mapping):
            parameters = dict(given)
            name = parameters.pop("name", None)
            if not families or name is None:
                raise ValueError(
                    f"{cls.kind} must be a catalogue name, or a table with the name of one that "
                    f"has parameters; got {shown(dict(given))}"
                )
            if isinstance(name, str) and name in cls.catalogue and name not in families:
                parameter = next(iter(parameters), None)
                if parameter is None:
                    return cls.of(name)
                raise ValueError(f"{cls.kind} {name!r} has no parameters, got {parameter}")
            member: Self = families[check_choice(cls.kind, name, families)].member(name, parameters)
            return member
        if not callable(getattr(given, "value", None)):
            if callable(given):
                name = cls.kind.capitalize()
                raise ValueError(f"{cls.kind} must be a dmft.{name}: write dmft.{name}({given!r})")
            raise ValueError(
                f"{cls.kind} must be a catalogue name or have a callable value, perhaps derivative "
                f"and second_derivative; {given!r} has none"
            )
        own = [entry.name for entry in fields(cls) if entry.init]
        names = [name for name in own if name not in ("kernel_code", "family", "source")]
        members = {name: getattr(given, name) for name in names if hasattr(given, name)}
        if not isinstance(members.get("name"), str):
            members["name"] = "custom"
        return cls(**members)

    @property
    def in_catalogue(self) -> bool:
        """Whether this is an entry of the catalogue."""
        return bool(self.catalogue.get(self.name) == self)

    @classmethod
    def families(cls) -> Mapping[str, Any]:
        """Return the families of functions with parameters, by name."""
        return {}

    @property
    def in_family(self) -> bool:
        """Whether this is a member of a family."""
        if self.family is None:
            return False
        name, parameters = self.family
        return bool(self.families()[name].member(name, dict(parameters)) == self)

    @property
    def config(self) -> str | dict[str, Any]:
        """Entry in a configuration.

        The name in the catalogue, ``{"name": name, ...}`` with the parameters of a family, or
        ``{"custom": name, ...}`` with the source code where that is known.
        """
        if self.in_catalogue:
            return self.name
        if self.family is not None and self.in_family:
            name, parameters = self.family
            return {"name": name, **dict(parameters)} if parameters else name
        numerical = {} if self.derivatives == "given" else {"derivatives": self.derivatives}
        stored = {} if self.source is None else self.source.to_config()
        return {"custom": self.name, **numerical, **stored}

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Restore members of a family from their parameters, to the same object."""
        if self.in_family:
            return type(self).of, (self.config,)
        return super().__reduce__()

    @property
    def _label(self) -> str:
        return f"{self.kind} {self.name!r}"


def law_name(entry: str | Mapping[str, Any]) -> str:
    """Return the name of a law by its entry in a configuration.

    Examples
    --------
    >>> law_name("gelu"), law_name({"custom": "mine"}), law_name({"name": "swish", "beta": 1.5})
    ('gelu', 'mine', 'swish(beta=1.5)')
    """
    if isinstance(entry, str):
        return entry
    if "custom" in entry:
        return str(entry["custom"])
    stated = ", ".join(f"{key}={entry[key]:.12g}" for key in entry if key != "name")
    return f"{entry['name']}({stated})" if stated else str(entry["name"])


def supplied(argument: str, entry: object, given: object | None) -> Any:
    """Return the function of a configuration entry: itself, or the one that the caller supplies.

    Raises
    ------
    ValueError
        If the entry is that of a custom function, and none is supplied.
    """
    if not isinstance(entry, Mapping):
        return entry
    if "name" in entry:  # of a family
        return entry
    keys = ("custom", "derivatives", *LawSource.KEYS)
    check_keys(argument, entry, keys, required=("custom",))
    if given is None:
        raise ValueError(
            f"{argument} must be supplied: the configuration records only the name of a custom "
            f"one, {entry['custom']!r}"
        )
    return given
