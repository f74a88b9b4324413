"""Folders of results that belong to one configuration, and say which."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

__all__ = [
    "CONFIGURATION",
    "check_folder",
    "configuration_file",
    "first_difference",
    "read_configuration",
]

CONFIGURATION = "configuration.json"
"""Name of the file with the configuration that all others in the folder have."""

_START = b'{\n"checksum": '


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


def configuration_file(config: dict[str, Any]) -> bytes:
    """Return what the file holds: JSON that begins with a checksum of all that follows it."""
    text = b',\n"configuration": ' + json.dumps(config, indent=1).encode() + b"\n}\n"
    return _START + b'"%08x"' % zlib.crc32(text) + text


def read_configuration(folder: Path, name: str = "out") -> dict[str, Any] | None:
    """Return the recorded configuration; None if there is none or the file is damaged.

    Raises
    ------
    ValueError
        If there is a file of this name that is somebody else's; `name` is that of the argument.
    """
    path = folder / CONFIGURATION
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if "configuration" not in found and "checksum" not in found:
        raise ValueError(
            f"{name} must be a folder for results; {path} is not a file of delta-nn that says "
            "which: use another folder"
        )
    config = found.get("configuration")
    whole = isinstance(config, dict) and configuration_file(config) == data
    return config if whole else None


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
