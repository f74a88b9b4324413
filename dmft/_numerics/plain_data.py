"""Data as plain types that JSON has."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any

__all__ = ["plain"]


def plain(data: Any) -> Any:
    """Return plain JSON types; NaN and infinities, which JSON does not have, become null."""
    if hasattr(data, "tolist"):
        data = data.tolist()
    if isinstance(data, enum.Enum):
        return data.name
    if dataclasses.is_dataclass(data):
        data = {entry.name: getattr(data, entry.name) for entry in dataclasses.fields(data)}
    if isinstance(data, dict):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
