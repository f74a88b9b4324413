"""Stamps: which settings of a command made a file, so that no other settings overwrite it."""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

__all__ = ["figure_metadata", "free_path", "header_entry", "settings_of", "stamped"]

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


def settings_of(header: dict[str, Any]) -> dict[str, str | None]:
    """Return the stamp that a header states, under the name of its entry; None without."""
    stamp = header.get(_KEY)
    return {_KEY: stamp if isinstance(stamp, str) else None}


def figure_metadata(kind: str) -> dict[str, str]:
    """Return what a figure of a format states of the settings."""
    stamp = _stamp.get()
    return {} if stamp is None or kind not in _FORMATS else {"Keywords": _TEXT + stamp}


def free_path(
    path: Path, stamp: str, contents: bytes | None = None, *, beside: Collection[str] = ()
) -> Path:
    """Return a path, with -2, -3, ... if need be, that no file of other settings has.

    With `contents`, a file that holds these is in nobody's way either. Nor has the path, with any
    of the suffixes `beside`, then: files of one run have one number.

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

    def is_taken(suffix: str) -> bool:
        file = free.with_suffix(suffix)
        # A table has no stamp, and belongs to the result beside it.
        known = file.with_suffix(".npz") if beside and suffix == ".csv" else file
        return file.is_file() and _stamp_of(known) != stamp and not _holds(file, contents)

    while any(map(is_taken, {path.suffix, *beside})):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _holds(path: Path, contents: bytes | None) -> bool:
    return contents is not None and path.read_bytes() == contents


def _stamp_of(path: Path) -> str | None:
    """Return the stamp of a file; None if it has none, or cannot be read."""
    try:
        if path.suffix != ".npz":
            found = re.search(_TEXT.encode() + rb"([0-9a-f]{16})", path.read_bytes())
            return None if found is None else found[1].decode()
        import numpy as np

        with np.load(path, allow_pickle=False) as file:
            header: Any = json.loads(file[_HEADER].tobytes())
        return settings_of(header)[_KEY]
    except Exception:  # a file of somebody else, or a damaged one
        return None
