"""Folders of result files that are bound to one configuration, and record which."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
import warnings
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dmft.io.results import DamagedResultError, OtherFileError

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping

__all__ = [
    "BoundFolder",
    "check_folder",
    "claimed",
    "read_configuration",
    "remove_empty",
    "renamed_out",
]

#: Name of the file with the configuration that all others in the folder have.
_CONFIGURATION = "configuration.json"
_START = b'{\n"checksum": '
_LONGEST = 80  # characters of a setting in a message


class BoundFolder(ABC):
    """Folder whose result files all have one configuration.

    ``configuration.json`` records it before the first result is finished, so that processes which
    start together agree on it; a folder without that file is given it.

    A file appears complete or not at all. All that a killed process may leave is a temporary file
    whose name ends in ``.partial``; those are removed by the next process that has the folder to
    itself. A file damaged otherwise counts as missing.

    Parameters
    ----------
    folder : path-like
        Made by `open` when missing.
    config : mapping
        JSON-able configuration that every file must have.

    Raises
    ------
    ValueError
        If the folder is no path, or an empty one.
    """

    #: What one folder is of, in messages.
    task: ClassVar[str]
    #: Names of the result files.
    names: ClassVar[re.Pattern[str]]
    #: Whether only one process at a time may have it open.
    exclusive: ClassVar[bool] = False

    def __init__(self, folder: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
        self.folder = check_folder(folder)
        # As it comes back from a file, where tuples are lists.
        self.config: dict[str, Any] = json.loads(json.dumps(dict(config)))

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Make the folder, record the configuration in it, and clear leftovers before and after.

        Raises
        ------
        OSError
            If the folder cannot be made or written to.
        ValueError
            If it is of another configuration, or exclusive and another process has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.exclusive:  # finished solves are read from where nothing can be written, too
            self._probe()
        with _descriptor(self.folder) as descriptor:
            if not _lock(descriptor, alone=self.exclusive):
                raise ValueError(
                    f"checkpoint must be a folder that no other {self.task} is using; one is at "
                    f"work in {self.folder}"
                )
            self._record()
            self._clear(descriptor)
            try:
                yield
            finally:
                self._clear(descriptor, done=True)

    @abstractmethod
    def _read(self, path: Path) -> Any:
        """Return what a file holds, after `check_file`."""

    def read_file(self, path: Path) -> Any:
        """Return what a file holds; None if it is missing or damaged.

        Raises
        ------
        ValueError
            If it is of another configuration, or something else.
        """
        try:
            return self._read(path)
        except (FileNotFoundError, DamagedResultError):
            return None

    def files(self) -> list[Path]:
        """Return the paths of the result files in order."""
        return sorted(path for path in self.folder.iterdir() if self.names.fullmatch(path.name))

    def is_recorded(self) -> bool:
        """Whether the configuration is recorded; raise if another one is."""
        recorded = read_configuration(self.folder)
        if recorded is not None:
            self._check(self.folder / _CONFIGURATION, recorded)
        return recorded is not None

    def check_file(self, path: Path, stored: Mapping[str, Any], holds: str) -> None:
        """Raise unless a file has the configuration asked for and holds what its name says."""
        self._check(path, stored)
        if holds != path.name.partition(".")[0]:
            raise OtherFileError(
                "checkpoint must be a folder whose files hold what they are named after; "
                f"{path} holds {holds}: move it back, or remove it"
            )

    def _check(self, path: Path, stored: Mapping[str, Any]) -> None:
        difference = _first_difference("", stored, self.config)
        if difference is not None:
            key, there, asked = difference
            if key.endswith(".sha256"):
                raise OtherFileError(
                    f"checkpoint must be a folder of the same {self.task}; {path} was made before "
                    f"the source code of {key.removesuffix('.sha256')} changed: use another folder"
                )
            raise OtherFileError(
                f"checkpoint must be a folder of the same {self.task}; {path} was made with "
                f"{key} = {_short(there)}, asked for is {_short(asked)}: use another folder"
            )

    def _probe(self) -> None:
        """Raise unless files can be made in the folder."""
        probe = self.folder / f".{uuid.uuid4().hex}.partial"
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)

    def _clear(self, descriptor: int | None, *, done: bool = False) -> None:
        """Remove temporary files, unless another process at work here may be writing them.

        When `done` without a single result, the recorded configuration goes as well: nothing was
        made with it, and the folder is as free as it was before.
        """
        if self.exclusive or _lock(descriptor, alone=True):
            for path in self.folder.glob(".*.partial"):
                path.unlink(missing_ok=True)
            if done and not self.files():
                (self.folder / _CONFIGURATION).unlink(missing_ok=True)
        if not self.exclusive:
            _lock(descriptor, alone=False)

    def _record(self) -> None:
        """Record the configuration unless one is; raise if that is another one.

        Looking whether there is a file and making it are one operation, so that of processes that
        start at the same time one is the first and all others compare with what it recorded.
        """
        if self.is_recorded():
            return
        for path in self.files():
            self.read_file(path)  # results may contradict where no record does
        # Not locked: a name that `whole_file` does not take for a leftover of its own.
        path = self.folder / _CONFIGURATION
        temporary = self.folder / f".{path.name}-{uuid.uuid4().hex}.partial"
        text = _configuration_file(self.config)
        try:
            _create(temporary, text)
            try:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    raise
                except OSError:  # a file system without hard links
                    _create(path, text)
            except FileExistsError:
                if read_configuration(self.folder) is None:  # it is damaged
                    os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self.is_recorded()


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Check the argument ``checkpoint``, a folder that results go to.

    Raises
    ------
    ValueError
        If it is no path, or an empty one.

    Examples
    --------
    >>> check_folder("")
    Traceback (most recent call last):
    ...
    ValueError: checkpoint must be the path of a folder, got ''
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise ValueError(f"checkpoint must be the path of a folder, got {folder!r}")
    return Path(folder)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Make a folder and hold it; provide whether no other process has it.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _descriptor(folder) as descriptor:
        yield _lock(descriptor, alone=True)


def remove_empty(folder: Path) -> None:
    """Remove a folder and those within it, as far as they are empty."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def renamed_out(
    checkpoint: str | os.PathLike[str] | None, out: str | os.PathLike[str] | None
) -> str | os.PathLike[str] | None:
    """Return the argument ``checkpoint`` where it may still be called ``out``.

    Raises
    ------
    ValueError
        If both are given.
    """
    if out is None:
        return checkpoint
    if checkpoint is not None:
        raise ValueError("out is the former name of checkpoint: give checkpoint only")
    warnings.warn("out is deprecated: call it checkpoint", DeprecationWarning, stacklevel=3)
    return out


def _configuration_file(config: dict[str, Any]) -> bytes:
    """Return what the file holds: JSON that begins with a checksum of all that follows it."""
    text = b',\n"configuration": ' + json.dumps(config, indent=1).encode() + b"\n}\n"
    return _START + b'"%08x"' % zlib.crc32(text) + text


def read_configuration(folder: Path) -> dict[str, Any] | None:
    """Return the recorded configuration; None if there is none or the file is damaged.

    Raises
    ------
    ValueError
        If there is a file of this name that is somebody else's.
    """
    path = folder / _CONFIGURATION
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
            f"checkpoint must be a folder for results; {path} is not a file of delta-nn that says "
            "which: use another folder"
        )
    config = found.get("configuration")
    whole = isinstance(config, dict) and _configuration_file(config) == data
    return config if whole else None


def _first_difference(key: str, there: Any, asked: Any) -> tuple[str, Any, Any] | None:
    """Name the first entry in which two configurations differ, and its value in both."""
    if isinstance(there, dict) and isinstance(asked, dict):
        for name in {**asked, **there}:
            inner = f"{key}.{name}" if key else name
            difference = _first_difference(inner, there.get(name), asked.get(name))
            if difference is not None:
                return difference
        return None
    return None if there == asked else (key, there, asked)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _create(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet; on return it is on disk."""
    with path.open("xb") as stream:
        try:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _descriptor(folder: Path) -> Iterator[int | None]:
    """Open a folder for `_lock`; None where the system cannot.

    The system drops the lock when the process ends, however it ends, and it leaves no file.
    """
    descriptor = None
    try:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int | None, *, alone: bool) -> bool:
    """Lock a folder, with others or `alone`; return whether no other process prevents it.

    Where there are no such locks, a process takes itself to be alone.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True
