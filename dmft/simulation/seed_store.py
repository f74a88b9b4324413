"""A folder with one result file per finished seed, safe against being killed at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.io.folders import (
    CONFIGURATION,
    check_folder,
    configuration_file,
    first_difference,
    read_configuration,
)
from dmft.io.results import DamagedResultError, OtherFileError, read_result, reporting, write_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["FolderLock", "SeedStore"]

_KIND = "simulated seed"
_NAME = re.compile(r"seed-(\d{5,})\.npz")


class SeedStore:
    """One file per seed, all of the same configuration.

    ``configuration.json`` says which one from before the first seed is finished, so that processes
    which start together agree on it; a folder without that file is given it.

    A file appears complete or not at all. All that a killed process may leave is a temporary file
    whose name ends in ``.partial``; those are removed by the next process that has the folder to
    itself. A file damaged otherwise counts as missing.

    Parameters
    ----------
    folder : path-like
        Made by `open` when missing.
    config : mapping
        JSON-able configuration that every file must have.
    """

    def __init__(self, folder: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
        self.folder = check_folder(folder)
        # As it comes back from a file, where tuples are lists.
        self.config: dict[str, Any] = json.loads(json.dumps(dict(config)))

    def path(self, seed: int) -> Path:
        """File of a seed."""
        return self.folder / f"seed-{seed:05d}.npz"

    def write(self, seed: int, status: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the file of a finished seed; on return it is on disk.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left behind.
        """
        header = {"configuration": self.config, "seed": seed, "status": status}
        write_result(self.path(seed), _KIND, header, arrays)

    def read(self, seeds: Sequence[int]) -> dict[int, tuple[str, dict[str, NDArray[Any]]]]:
        """Status and arrays of those of `seeds` that are there; changes nothing.

        Raises
        ------
        ValueError
            If another configuration is recorded in the folder, any seed there, asked for or not,
            has another one, or a file with the name of a seed holds something else.
        """
        found: dict[int, tuple[str, dict[str, NDArray[Any]]]] = {}
        wanted = set(seeds)
        if not self.folder.is_dir():
            return found
        recorded = read_configuration(self.folder)
        if recorded is not None:
            self._check(self.folder / CONFIGURATION, recorded)
        for path in sorted(self.folder.iterdir()):
            name = _NAME.fullmatch(path.name)
            if name is None:
                continue
            try:
                header, arrays = read_result(path, _KIND)
                with reporting(path):
                    stored, seed, status = (
                        header[key] for key in ("configuration", "seed", "status")
                    )
                    self._check(path, stored)
                    if path != self.path(int(name[1])) or seed != int(name[1]):
                        raise OtherFileError(
                            "out must be a folder whose files hold the seed they are named after; "
                            f"{path} holds seed {seed}"
                        )
            except DamagedResultError:
                continue
            if seed in wanted:
                found[seed] = status, arrays
        return found

    def _check(self, path: Path, stored: Mapping[str, Any]) -> None:
        """Raise unless a file has the configuration asked for."""
        difference = first_difference("", stored, self.config)
        if difference is not None:
            key, there, asked = difference
            raise OtherFileError(
                f"out must be a folder of the same configuration; {path} was made with "
                f"{key} = {there!r}, asked for is {asked!r}: use another folder"
            )

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Make the folder, record the configuration in it, and clear leftovers before and after.

        Raises
        ------
        OSError
            If the folder cannot be made or written to.
        ValueError
            If it is of another configuration.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        probe = self.folder / f".{uuid.uuid4().hex}.partial"
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)
        with FolderLock(self.folder) as lock:
            self._clear(lock)
            self._record()
            try:
                yield
            finally:
                self._clear(lock, done=True)

    def _clear(self, lock: FolderLock, *, done: bool = False) -> None:
        """Remove temporary files, unless another process at work here may be writing them.

        When `done` without a single seed, the recorded configuration goes as well: nothing was made
        with it, and the folder is as free as it was before.
        """
        with lock.alone() as alone:
            if alone:
                for path in self.folder.glob(".*.partial"):
                    path.unlink(missing_ok=True)
                if done and not any(_NAME.fullmatch(path.name) for path in self.folder.iterdir()):
                    (self.folder / CONFIGURATION).unlink(missing_ok=True)

    def _record(self) -> None:
        """Record the configuration unless one is; raise if that is another one.

        Looking whether there is a file and making it are one operation, so that of processes that
        start at the same time one is the first and all others compare with what it recorded.
        """
        path = self.folder / CONFIGURATION
        if read_configuration(self.folder) is None:
            self.read(())  # the seeds may contradict where no record does
            # Not locked: a name that `whole_file` does not take for a leftover of its own.
            temporary = self.folder / f".{path.name}-{uuid.uuid4().hex}.partial"
            text = configuration_file(self.config)
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
        recorded = read_configuration(self.folder)
        if recorded is not None:
            self._check(path, recorded)


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


class FolderLock:
    """Advisory lock on a folder, shared by all processes that write results into it.

    The system drops it when a process ends, however it ends, and it leaves no file. Where there is
    no such lock, a process takes itself to be alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> FolderLock:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            self._descriptor = os.open(self._folder, os.O_RDONLY)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Yield whether no other process holds the lock, keeping others out meanwhile."""
        if self._descriptor is None:
            yield True
            return
        import fcntl

        alone = True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError:  # a file system without locks
            pass
        try:
            yield alone
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
