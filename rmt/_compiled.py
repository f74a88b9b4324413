"""Compiled functions that are kept on disk where that can be, and that run where it cannot.

numba raises where no folder can be written to, and takes what is in its files for code. Here, files
that are not exactly what was written for this function, signature and source count as missing.
"""

# What numba has is not typed.
# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from rmt._ahead import compile_ahead

__all__ = ["compiled", "could_not_keep", "note_not_kept"]

_DIGEST = hashlib.sha256().digest_size
_not_kept = False


def could_not_keep() -> bool:
    """Whether a compiled function could not be written to disk: the next process compiles anew."""
    return _not_kept


def note_not_kept() -> None:
    """Record that a compiled function could not be written, here or in a worker process."""
    global _not_kept
    _not_kept = True


def compiled(*, ahead: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate as `numba.njit` does; keep what is compiled in numba's folder, if there is one.

    Functions have no entry for callers in C, which would take a tenth of the time of compilation.

    Parameters
    ----------
    ahead : str, optional
        Module that a second process runs as soon as this function has to be compiled, to compile
        those called after it: `rmt._ahead.compile_ahead`.
    **options
        As for `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**{"no_cfunc_wrapper": True, **options})(function)
        if hasattr(dispatcher, "_cache"):  # a plain function where compilation is switched off
            try:
                dispatcher._cache = _Cache(function, ahead)
            except (RuntimeError, OSError):  # no folder to write to
                note_not_kept()
        return dispatcher

    return decorate


class _Cache(FunctionCache):
    """What numba does to keep a function, with files that are checked, and no error fatal."""

    def __init__(self, function: Callable[..., Any], ahead: str | None = None) -> None:
        super().__init__(function)
        self._ahead = ahead
        locator = self._impl.locator
        self._cache_file: Any = _CheckedFiles(
            Path(locator.get_cache_path()),
            self._impl.filename_base,
            (locator.get_source_stamp(), *_stamps_of_imported(function)),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = None
        with contextlib.suppress(Exception):  # whatever it is, compiling is the answer
            found = super().load_overload(sig, target_context)
        if found is None and self._ahead is not None and numba.config.NUMBA_NUM_THREADS > 1:
            compile_ahead(self._ahead)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:  # a full disk, a folder that has become read-only
            note_not_kept()


def _stamps_of_imported(function: Callable[..., Any]) -> list[tuple[float, int]]:
    """Return times and sizes of the files with compiled functions that one may call."""
    own = function.__code__.co_filename
    paths = {
        value.py_func.__code__.co_filename
        for value in function.__globals__.values()
        if hasattr(value, "py_func")
    }
    stats = [os.stat(path) for path in paths - {own}]
    return sorted((found.st_mtime, found.st_size) for found in stats)


class _CheckedFiles:
    """A file for each signature, with a checksum of the contents and of what they are.

    It takes the place of numba's index and data files, which may come to disagree.
    """

    def __init__(self, folder: Path, base: str, stamp: Any) -> None:
        self._folder, self._base = folder, base
        self._stamp = numba.__version__, stamp

    def flush(self) -> None:
        """Remove the files of this function."""
        for path in self._folder.glob(f"{self._base}.*.nbc"):
            path.unlink(missing_ok=True)

    def load(self, key: Any) -> Any:
        """Return what was saved under a key; None if there is nothing, or not all of it."""
        try:
            contents = self._path(key).read_bytes()
        except OSError:
            return None
        payload = contents[_DIGEST:]
        if contents[:_DIGEST] != self._digest(key, payload):
            return None
        return pickle.loads(payload)

    def save(self, key: Any, data: Any) -> None:
        """Write a file; it appears complete or not at all."""
        payload = dumps(data)
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(self._digest(key, payload) + payload)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _path(self, key: Any) -> Path:
        # Of signature and processor; another source of the same function takes the file over.
        name = hashlib.sha256(repr(key[:2]).encode()).hexdigest()[:16]
        return self._folder / f"{self._base}.{name}.nbc"

    def _digest(self, key: Any, payload: bytes) -> bytes:
        about = repr((self._base, self._stamp, key)).encode()
        return hashlib.sha256(about + b"\0" + payload).digest()
