"""Result files: arrays, configuration, version and seed in one ``.npz``, written atomically."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["DamagedResultError", "read_result", "software_version", "whole_file", "write_result"]

_FORMAT = "delta-nn"
_FORMAT_VERSION = 1
_HEADER = "header"


class DamagedResultError(ValueError):
    """A file that is no result file, or not all of one."""


def software_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("delta-nn")
    except PackageNotFoundError:  # a source tree on the path, not installed
        return "unknown"


def write_result(
    path: str | os.PathLike[str],
    kind: str,
    config: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    *,
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
        "config": dict(config),
    }
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder to write to", str(target.parent))
    save = np.savez_compressed if compress else np.savez
    with whole_file(target) as stream:
        save(stream, **{_HEADER: text, **arrays})  # type: ignore[arg-type]
    return target


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that appears, under its name, complete or not at all.

    Raises
    ------
    OSError
        Naming the file, where a failed write would name none, or the temporary one.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # or a power cut could leave the name without the contents
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            number, reason = error.errno or errno.EIO, error.strerror or str(error)
            raise OSError(number, reason, str(path)) from error
        raise


def read_result(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a file written by :func:`write_result`.

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
        If the file is damaged; this is a ValueError.
    ValueError
        If the file is of another kind, or from a newer format.
    """
    target = Path(path)
    if target.suffix != ".npz" and not target.exists():
        target = target.with_name(target.name + ".npz")
    try:
        with target.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            header = json.loads(bytes(data[_HEADER]))
            arrays = {name: data[name] for name in data.files if name != _HEADER}
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive fails in more ways than can be listed
        raise DamagedResultError(
            f"path must be a delta-nn result file; {target} is not one"
        ) from error
    if header.get("format") != _FORMAT or header.get("kind") != kind:
        raise ValueError(
            f"path must be a delta-nn {kind} file; {target} holds {header.get('kind')!r}"
        )
    if header["format_version"] > _FORMAT_VERSION:
        raise ValueError(
            f"path must be a file of format {_FORMAT_VERSION} or older; {target} has format "
            f"{header['format_version']}: update delta-nn"
        )
    return {"version": header["version"], **header["config"]}, arrays
