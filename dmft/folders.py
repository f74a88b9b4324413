"""Folders of results that belong to one configuration, and say which."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["CONFIGURATION", "check_folder", "first_difference", "read_configuration"]

CONFIGURATION = "configuration.json"
"""Name of the file with the configuration that all others in the folder have."""


def check_folder(folder: str | os.PathLike[str], name: str = "out") -> Path:
    """Return the folder that results go to; `name` is that of the argument.

    Raises
    ------
    ValueError
        If it is no path, or an empty one.

    Examples
    --------
    >>> check_folder("")
    Traceback (most recent call last):
    ...
    ValueError: out must be the path of a folder, got ''
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise ValueError(f"{name} must be the path of a folder, got {folder!r}")
    return Path(folder)


def read_configuration(folder: Path) -> dict[str, Any] | None:
    """Return the recorded configuration; None if there is none or the file is damaged."""
    try:
        recorded = json.loads((folder / CONFIGURATION).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return recorded if isinstance(recorded, dict) else None


def first_difference(key: str, there: Any, asked: Any) -> tuple[str, Any, Any] | None:
    """Name the first entry in which two configurations differ, and its value in both."""
    if isinstance(there, dict) and isinstance(asked, dict):
        for name in {**asked, **there}:
            inner = f"{key}.{name}" if key else name
            difference = first_difference(inner, there.get(name), asked.get(name))
            if difference is not None:
                return difference
        return None
    return None if there == asked else (key, there, asked)
