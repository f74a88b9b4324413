"""Fields of frozen dataclasses, set while an instance is built."""

from __future__ import annotations

__all__ = ["set_fields"]


def set_fields(instance: object, **values: object) -> None:
    """Set fields of a frozen instance to checked values.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Radius:
    ...     value: float
    ...     def __post_init__(self):
    ...         set_fields(self, value=float(self.value))
    >>> Radius(2)
    Radius(value=2.0)
    """
    for name, value in values.items():
        object.__setattr__(instance, name, value)
