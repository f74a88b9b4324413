"""Declared state: the attributes that a checkpoint keeps of an object, by name."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, ClassVar

__all__ = ["DeclaredState", "fields_of"]


class DeclaredState:
    """Base of objects whose state is a tuple of attribute names, ``_STATE``.

    The attributes are of types that ``dmft.io.snapshots.pack`` accepts.
    """

    _STATE: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict[str, Any]:
        """Return everything that later answers depend on."""
        return {name: getattr(self, name) for name in self._STATE}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        for name in self._STATE:
            setattr(self, name, state[name])


def fields_of(record: Any | None) -> dict[str, Any] | None:
    """Return the fields of a dataclass by name, None for None; not copies."""
    if record is None:
        return None
    return {field.name: getattr(record, field.name) for field in fields(record)}
