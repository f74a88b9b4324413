"""A folder with one result file per finished seed, safe against being killed at any moment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dmft.io.folders import BoundFolder
from dmft.io.results import read_result, reporting, write_result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

__all__ = ["SeedStore"]

_KIND = "simulated seed"


class SeedStore(BoundFolder):
    """Folder with one file per seed, for several processes at once."""

    task = "simulation"
    names = re.compile(r"seed-(\d{5,})\.npz")

    def write(self, seed: int, status: str, arrays: Arrays) -> None:
        """Write the file of a finished seed; on return it is on disk.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left behind.
        """
        header = {"configuration": self.config, "seed": seed, "status": status}
        write_result(self.folder / f"{_name(seed)}.npz", _KIND, header, arrays)

    def read(self, seeds: Sequence[int]) -> dict[int, tuple[str, dict[str, NDArray[Any]]]]:
        """Return status and arrays of those of `seeds` that are there; changes nothing.

        Raises
        ------
        ValueError
            If another configuration is recorded in the folder, any seed there, asked for or not,
            has another one, or a file with the name of a seed holds something else.
        """
        if not self.folder.is_dir():
            return {}
        self.is_recorded()
        stored = [file for path in self.files() if (file := self.read_file(path)) is not None]
        asked = set(seeds)
        return {seed: (status, arrays) for seed, status, arrays in stored if seed in asked}

    def _read(self, path: Path) -> tuple[int, str, dict[str, NDArray[Any]]]:
        header, arrays = read_result(path, _KIND)
        with reporting(path):
            config, seed, status = (header[key] for key in ("configuration", "seed", "status"))
            self.check_file(path, config, _name(seed))
        return seed, status, arrays


def _name(seed: int) -> str:
    return f"seed-{seed:05d}"
