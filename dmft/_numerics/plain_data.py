"""Data as plain types that JSON has."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from typing import Any

__all__ = ["digest", "plain"]


def plain(data: Any, *, finite: bool = True) -> Any:
    """Return plain JSON types; NaN and infinities, which JSON does not have, become null.

    Unless `finite` is False: then they stay.
    """
    if hasattr(data, "tolist"):
        data = data.tolist()
    if isinstance(data, enum.Enum):
        return data.name
    if dataclasses.is_dataclass(data):
        data = {entry.name: getattr(data, entry.name) for entry in dataclasses.fields(data)}
    if isinstance(data, dict):
        return {str(key): plain(value, finite=finite) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value, finite=finite) for value in data]
    if finite and isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def digest(data: Any, digits: int) -> str:
    """Return so many hexadecimal digits that stand for data, whatever the order of its keys.

    Examples
    --------
    >>> digest({"a": 1, "b": [2.0]}, 8) == digest({"b": (2.0,), "a": 1}, 8)
    True
    """
    text = json.dumps(plain(data, finite=False), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
