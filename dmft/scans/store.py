"""Folder of a scan: one file for each computation that is done, under the hash of its settings."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from dmft.io.folders import check_folder
from dmft.io.results import software_commit, whole_file
from dmft.scans.readings import Reading
from dmft.scans.tasks import Outcome, Task
from rmt.status import Status

__all__ = ["PointStore"]

_START: Final = b'{"checksum": '


class PointStore:
    """Results of computations on disk, each complete or not there.

    A file holds what has been read from one computation so far, with the settings it depends on:
    another scan in the same folder finds what it shares. Damaged files count as missing, and a
    computation that has ended with an error is none that is done.

    Parameters
    ----------
    folder : path-like
        Made when the first result is written.

    Raises
    ------
    ValueError
        If the folder is no path, or an empty one.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = check_folder(folder)

    def open(self) -> None:
        """Make the folder, and check that it can be written to.

        Raises
        ------
        OSError
            If it cannot.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self.folder / "writable") as stream:
            stream.write(b"")
        (self.folder / "writable").unlink(missing_ok=True)

    def read(self, tasks: Iterable[Task]) -> dict[str, Outcome]:
        """Return what is stored of tasks, by key."""
        found = {}
        for task in tasks:
            outcome = self._read(task)
            if outcome is not None:
                found[task.key] = outcome
        return found

    def write(self, task: Task, outcome: Outcome, before: Outcome | None = None) -> None:
        """Write what was computed; on return it is on disk.

        Parameters
        ----------
        task : Task
        outcome : Outcome
        before : Outcome, optional
            What the file holds already, and keeps.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left behind.
        """
        kept = {} if before is None else dict(before.readings)
        kept |= {
            name: reading
            for name, reading in outcome.readings.items()
            if reading.status is not Status.FAILED
        }
        if not kept:
            return
        body: dict[str, Any] = {
            "computation": task.computation,
            "settings": task.config,
            "version": outcome.version,
            "commit": software_commit(),
            "seconds": round(outcome.seconds, 3),
            "readings": {
                name: [value, error, status.name, detail]
                for name, (value, error, status, detail) in kept.items()
            },
        }
        path = self._path(task.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as stream:
            stream.write(_file(body))

    def _path(self, key: str) -> Path:
        # Folders stay small: each is listed when a file is written.
        return self.folder / key[:2] / f"{key}.json"

    def _read(self, task: Task) -> Outcome | None:
        try:
            data = self._path(task.key).read_bytes()
        except FileNotFoundError:
            return None
        try:
            body = json.loads(data)["body"]
            if _file(body) != data:
                return None
            readings = {
                name: Reading(float(value), float(error), Status[status], detail)
                for name, (value, error, status, detail) in body["readings"].items()
            }
            return Outcome(task.key, readings, float(body["seconds"]), body["version"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


def _file(body: dict[str, Any]) -> bytes:
    """Return what a file holds: JSON that begins with a checksum of all that follows it."""
    # Numbers come back to the last bit; NaN and infinities are as Python reads them.
    text = b',\n"body": ' + json.dumps(body, indent=1).encode() + b"\n}\n"
    return _START + b'"%08x"' % zlib.crc32(text) + text
