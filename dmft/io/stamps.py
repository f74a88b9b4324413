"""Stamps: which settings of a command made a file, so that no other settings overwrite it."""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["figure_metadata", "free_path", "header_entry", "stamped"]

_HEADER = "header"
_KEY = "settings"
_TEXT = "delta-nn settings "
_FORMATS = ("png", "pdf", "svg")  # which hold keywords
_stamp: contextvars.ContextVar[str | None] = contextvars.ContextVar("stamp", default=None)


@contextlib.contextmanager
def stamped(stamp: str) -> Iterator[None]:
    """Have result files and figures that are written meanwhile state the settings.

    Parameters
    ----------
    stamp : str
        Digest of 16 hexadecimal digits.
    """
    token = _stamp.set(stamp)
    try:
        yield
    finally:
        _stamp.reset(token)


def header_entry() -> dict[str, str]:
    """Return what the header of a result file states of the settings."""
    stamp = _stamp.get()
    return {} if stamp is None else {_KEY: stamp}


def figure_metadata(kind: str) -> dict[str, str]:
    """Return what a figure of a format states of the settings."""
    stamp = _stamp.get()
    return {} if stamp is None or kind not in _FORMATS else {"Keywords": _TEXT + stamp}


def free_path(path: Path, stamp: str) -> Path:
    """Return a path, with -2, -3, ... if need be, that no file of other settings has.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "run.png")
    ...     first = free_path(path, "0af3").name
    ...     _ = path.write_bytes(b"a figure")
    ...     second = free_path(path, "0af3").name
    >>> first, second
    ('run.png', 'run-2.png')
    """
    free, number = path, 1
    while free.is_file() and _stamp_of(free) != stamp:
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _stamp_of(path: Path) -> str | None:
    """Return the stamp of a file; None if it has none, or cannot be read."""
    try:
        if path.suffix != ".npz":
            found = re.search(_TEXT.encode() + rb"([0-9a-f]{16})", path.read_bytes())
            return None if found is None else found[1].decode()
        import numpy as np

        with np.load(path, allow_pickle=False) as file:
            header: Any = json.loads(file[_HEADER].tobytes())
        stamp = header.get(_KEY)
        return stamp if isinstance(stamp, str) else None
    except Exception:  # a file of somebody else, or a damaged one
        return None
