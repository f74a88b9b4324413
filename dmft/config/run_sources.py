"""Texts of run files: read once, from a path or a preset, and parsed, not yet checked."""

from __future__ import annotations

import codecs
import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from dmft.config.options import TOO_DEEP, one_line

__all__ = ["RunSource", "preset_names", "preset_text", "source_of_file", "source_of_preset"]

_LARGEST_FILE = 2**24  # bytes


@dataclass(frozen=True)
class RunSource:
    """A run file that has been read.

    Attributes
    ----------
    tables : mapping
        As a TOML parser returns them.
    name : str
        Of the preset, or of the file without its suffix.
    where : str
        What messages call it.
    folder : path-like
        Where the Python files of own laws are looked for.
    """

    tables: Mapping[str, Any]
    name: str
    where: str
    folder: str | os.PathLike[str] = ""


def source_of_file(path: str | os.PathLike[str]) -> RunSource:
    """Read a TOML file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is too large, or no TOML.
    """
    path = Path(path)
    with path.open("rb") as stream:  # which may have no end
        contents = stream.read(_LARGEST_FILE + 1)
    if len(contents) > _LARGEST_FILE:
        raise ValueError(f"{path}: must be a TOML file of at most {_LARGEST_FILE} bytes")
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if contents.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            where = "this one is in UTF-16"
        else:
            where = f"it is not in line {contents.count(10, 0, error.start) + 1}"
        raise ValueError(f"{path}: must be a TOML file in UTF-8; {where}") from None
    return RunSource(_parsed(text, str(path)), path.stem, str(path), path.parent)


def source_of_preset(name: str) -> RunSource:
    """Read a preset.

    Raises
    ------
    ValueError
        As `preset_text`.
    """
    where = f"preset {name}"
    return RunSource(_parsed(preset_text(name), where), name, where)


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets that come with the package.

    Examples
    --------
    >>> "robust-phase-retrieval" in preset_names()
    True
    """
    folder = resources.files("dmft") / "presets"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name[: -len(".toml")] for name in names if name.endswith(".toml")))


def preset_text(name: str) -> str:
    """Return the run file of a preset, as text to start your own from.

    Raises
    ------
    ValueError
        If there is no preset of that name; the message lists them, and the nearest.
    """
    names = preset_names()
    if name not in names:
        near = [entry for entry in names if name and name in entry]
        near = near or difflib.get_close_matches(name, names, n=2)
        hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
        raise ValueError(f"preset must be one of {', '.join(names)}; got {name!r}{hint}")
    return (resources.files("dmft") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{where}: {TOO_DEEP}") from None
    except ValueError as error:  # of TOML, or a number of too many digits
        raise ValueError(f"{where}: not valid TOML: {one_line(str(error))}") from None
