"""Result files: arrays, configuration, version and seed in one ``.npz``, written atomically.

A file is an ordinary ``.npz`` (``numpy.load`` reads it) whose zip comment, the last bytes, is a
checksum of all bytes before it. It is checked before anything else is looked at, so that a file
cut off, extended or changed anywhere is refused as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import math
import os
import re
import struct
import subprocess
import uuid
import zipfile
import zlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from dmft._numerics.machine_memory import available_memory
from dmft.io.stamps import header_entry, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Check = Callable[[dict[str, Any], dict[str, NDArray[Any]]], object]

__all__ = [
    "DamagedResultError",
    "OtherFileError",
    "read_header",
    "read_result",
    "reporting",
    "software_commit",
    "software_version",
    "whole_file",
    "write_result",
]

_FORMAT = "delta-nn"
_FORMAT_VERSION = 2
_HEADER = "header"
_MARK = b"delta-nn crc32 "
_CHUNK = 1 << 20
_LARGEST_RATIO = 1032  # of deflate
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.partial", re.DOTALL)


class DamagedResultError(ValueError):
    """A file that is no result file, or not all of one."""


class OtherFileError(ValueError):
    """A good file that is not the one asked for."""


def software_version() -> str:
    """Return the release that is installed or, between releases, the one before."""
    return _installed()[0]


@functools.cache
def software_commit() -> str | None:
    """Return the commit of the code, with ``-dirty`` for changes since; None where nobody knows.

    That of the clone whose code is running, or that the distribution was built from. A tagged
    release has none: its version says it.
    """
    root = Path(__file__).parents[2]
    if (root / ".git").exists() and (root / "pyproject.toml").exists():
        describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            found = subprocess.run(
                ["git", "--no-optional-locks", "-C", str(root), *describe],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=True,
            )  # fmt: skip
            return found.stdout.strip()
        return None
    # Local part of a version between tags: gCOMMIT, and a date if that was changed.
    found_in_version = re.fullmatch(r"g([0-9a-f]+)(\.d\d+)?", _installed()[1])
    if found_in_version is None:
        return None
    return found_in_version[1] + ("-dirty" if found_in_version[2] else "")


def _installed() -> tuple[str, str]:
    """Public and local part of the version of the installed distribution."""
    try:
        public, _, local = version("delta-nn").partition("+")
    except PackageNotFoundError:  # a source tree on the path, not installed
        return "unknown", ""
    return public, local


def write_result(
    path: str | os.PathLike[str],
    kind: str,
    config: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    *,
    public: Mapping[str, NDArray[Any]] | None = None,
    compress: bool = True,
) -> Path:
    """Write a result file; it appears complete or not at all.

    Parameters
    ----------
    path : path-like
        Suffix ``.npz`` is added when missing.
    kind : str
        What the file holds, checked by :func:`read_result`.
    config : mapping
        JSON-able configuration.
    arrays : mapping of str to ndarray
    public : mapping of str to ndarray, optional
        Arrays that follow from the others, for readers other than :func:`read_result`.
    compress : bool
        Whether to spend time on a smaller file.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    OSError
        If the directory cannot be written; nothing is left behind.
    """
    target = Path(path)
    if target.suffix != ".npz":
        target = target.with_name(target.name + ".npz")
    header = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "kind": kind,
        "version": software_version(),
        "commit": software_commit(),
        "config": dict(config),
        "public": sorted(public or ()),
        **header_entry(),
    }
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder to write to", str(target.parent))
    save = np.savez_compressed if compress else np.savez
    with whole_file(target) as stream:
        save(stream, **{_HEADER: text, **arrays, **(public or {})})  # type: ignore[arg-type]
        # The last field of a zip file is the length of the comment that follows.
        stream.seek(-2, os.SEEK_END)
        stream.write(struct.pack("<H", len(_MARK) + 8) + _MARK)
        stream.write(_checksum(stream, stream.tell()))
    return target


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write and read that appears, under its name, complete or not at all.

    Until then it has a name ending in ``.partial`` and a lock, so that what a killed process has
    left is told from what another is writing: it is removed here.

    Raises
    ------
    OSError
        Naming the file, where a failed write would name none, or the temporary one.
    """
    temporary = None
    try:
        _clear(path.parent)
        stream, temporary = _temporary(path)
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # or a power cut could leave the name without the contents
            if os.name == "posix":  # still locked: nobody takes it for a leftover
                os.replace(temporary, path)
        if os.name != "posix":
            os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            number, reason = error.errno or errno.EIO, error.strerror or str(error)
            raise OSError(number, reason, str(path)) from error
        raise


def _temporary(path: Path) -> tuple[BinaryIO, Path]:
    """Make a temporary file in the folder of another, and lock it."""
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        stream = temporary.open("x+b")
        try:
            # Taken for a leftover in the moment before it was locked?
            if _locked(stream) is not False and temporary.exists():
                return stream, temporary
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        stream.close()


def _clear(folder: Path) -> None:
    """Remove temporary files that no process is writing."""
    with contextlib.suppress(OSError):  # for the writing itself to report
        for name in os.listdir(folder):
            if _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError), (folder / name).open("r+b") as stream:
                    if _locked(stream):
                        (folder / name).unlink()


def _locked(stream: BinaryIO) -> bool | None:
    """Lock a file until it is closed: False if another has it; None if there are no locks."""
    try:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _checksum(stream: BinaryIO, end: int) -> bytes:
    """CRC-32 of the first bytes of a file, as eight digits; leaves the file at `end`."""
    stream.seek(0)
    value, left, buffer = 0, end, memoryview(bytearray(_CHUNK))
    while left > 0:
        count = stream.readinto(buffer[: min(left, _CHUNK)])  # type: ignore[attr-defined]
        if not count:
            break
        value = zlib.crc32(buffer[:count], value)
        left -= count
    stream.seek(end)
    return b"%08x" % value


def read_result(
    path: str | os.PathLike[str], kind: str, check: Check | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a file written by :func:`write_result`.

    Parameters
    ----------
    path : path-like
    kind : str
    check : callable, optional
        Called with what is returned before any array is unpacked; instead of these it gets arrays
        of the same shapes and dtypes that take no memory. It raises where something is wrong.

    Returns
    -------
    config : dict
        The configuration, with the software version under ``"version"``.
    arrays : dict of str to ndarray

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedResultError
        If the file is damaged, or not what `check` accepts; this is a ValueError.
    OtherFileError
        If the file is of another kind, or from a newer format; a ValueError too.
    """
    with _opened(path) as (archive, target):
        return _read(archive, target, kind, check)


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a result file says of itself.

    That is ``kind``, ``version``, ``commit``, ``config``, ``settings`` (`dmft.io.stamps`).

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        The commit is None where it is not known, the settings where no command has written it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedResultError
        If the file is damaged, or no result file; this is a ValueError.
    OtherFileError
        If the file is from a newer format; a ValueError too.
    """
    with _opened(path) as (archive, target):
        with archive.open(f"{_HEADER}.npy") as member:
            header = json.loads(bytes(np.lib.format.read_array(member, allow_pickle=False)))
        kind = str(header.get("kind")) if isinstance(header, dict) else ""
        config = _config(header, target, kind)
        return {
            "kind": kind, "version": config["version"], "commit": header.get("commit"),
            "config": header["config"], **settings_of(header),
        }  # fmt: skip


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[zipfile.ZipFile, Path]]:
    """Open a result file whose checksum is right; errors within name it."""
    target = Path(path)
    if target.suffix != ".npz" and not target.exists():
        target = target.with_name(target.name + ".npz")
    if target.is_dir():
        raise DamagedResultError(f"path must be a delta-nn result file; {target} is a folder")
    with target.open("rb") as stream:
        _check_bytes(stream, target)
        with reporting(target), zipfile.ZipFile(stream) as archive:
            yield archive, target


def _check_bytes(stream: BinaryIO, path: Path) -> None:
    """Raise unless the checksum at the end of a file is that of all bytes before it."""
    length = len(_MARK) + 8
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(end - length, 0))
    comment = stream.read()
    if not comment.startswith(_MARK):
        raise DamagedResultError(
            f"path must be a delta-nn result file; {path} is not one: it does not end in a "
            "checksum (it is another file, cut off, or older than version 0.1.0)"
        )
    if _checksum(stream, end - 8) != comment[-8:]:
        raise DamagedResultError(
            f"path must be a delta-nn result file; {path} is not one: it is damaged, its checksum "
            "is that of other contents"
        )


@contextlib.contextmanager
def reporting(path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert any error of reading wrong contents into one line that names the file."""
    try:
        yield
    except (DamagedResultError, OtherFileError):
        raise
    except Exception as error:  # wrong contents fail in more ways than can be listed
        told = isinstance(error, ValueError) and str(error)
        what = " ".join(str(error).split()) if told else f"{type(error).__name__} ({error})"
        raise DamagedResultError(
            f"path must be a delta-nn result file; {os.fspath(path)} is not one: {what}"
        ) from error


def _read(
    archive: zipfile.ZipFile, path: Path, kind: str, check: Check | None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise ValueError("two arrays have the same name")
    if _HEADER not in members:
        raise ValueError(f"it lacks the array {_HEADER!r}")
    outlines = {name: _outline(archive, name, info) for name, info in members.items()}
    total = sum(info.file_size for info in members.values())
    if total > available_memory():
        raise ValueError(f"its arrays need {total:.3g} bytes, more than this machine's memory")

    def array(name: str) -> NDArray[Any]:
        with archive.open(members[name]) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))

    header = json.loads(bytes(array(_HEADER)))
    config = _config(header, path, kind)
    del outlines[_HEADER]
    for name in _public(header):
        if outlines.pop(name, None) is None:
            raise ValueError(f"it lacks the array {name!r}")
    if check is not None:
        check(config, outlines)
    return config, {name: array(name) for name in outlines}


def _outline(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Return an array as large as a stored one, which takes no memory."""
    stored = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if not stored or info.file_size > _LARGEST_RATIO * (info.compress_size + 1):
        raise ValueError(f"the size of array {name!r} is impossible")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADER_READERS:
            raise ValueError(f"array {name!r} has an unknown format")
        shape, _, dtype = _HEADER_READERS[version](member)
        left = info.file_size - member.tell()
    if dtype.kind not in "biufU" or min(shape, default=0) < 0:
        raise ValueError(f"array {name!r} must hold plain numbers or text, got {dtype}")
    if math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"array {name!r} of shape {shape} and {dtype} is stored in {left} bytes")
    return np.broadcast_to(np.zeros((), dtype), shape)


def _public(header: dict[str, Any]) -> list[str]:
    """Return the names of arrays that follow from the others; older files have none."""
    names = header.get("public", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its header must list the public arrays by name")
    return names


def _config(header: Any, path: Path, kind: str) -> dict[str, Any]:
    """Check the header of a file, and return the configuration in it."""
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError(f"its header does not say {_FORMAT!r}")
    if header.get("kind") != kind:
        raise OtherFileError(
            f"path must be a delta-nn {kind} file; {path} holds {header.get('kind')!r}"
        )
    if type(header.get("format_version")) is not int:
        raise ValueError("its header lacks the version of the format")
    if header["format_version"] > _FORMAT_VERSION:
        raise OtherFileError(
            f"path must be a file of format {_FORMAT_VERSION} or older; {path} has format "
            f"{header['format_version']}: update delta-nn"
        )
    config, written_by = header.get("config"), header.get("version")
    if not isinstance(config, dict) or not isinstance(written_by, str):
        raise ValueError("its header lacks the configuration or the version")
    return {"version": written_by, **config}
