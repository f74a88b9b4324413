"""Base of the results that are dataclasses with their settings: saved and loaded as one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from dmft.io.quantities import public_arrays
from dmft.io.records import read_record, write_record
from dmft.io.result import Result
from dmft.io.stored_settings import check_settings

if TYPE_CHECKING:
    import os

__all__ = ["SavedResult"]


class SavedResult(Result):
    """Base of a dataclass that is written to one result file, as its annotations declare.

    Parameters
    ----------
    kind : str
        What files of this class say that they hold.
    settings : tuple of str
        The keys of `config`, as for `check_settings`.
    """

    _kind: ClassVar[str]
    _settings: ClassVar[tuple[str, ...]]

    config: dict[str, Any]

    def __init_subclass__(cls, *, kind: str, settings: tuple[str, ...]) -> None:
        cls._kind, cls._settings = kind, settings

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write data, configuration, version and seeds to one ``.npz`` file (atomically).

        Parameters
        ----------
        path : path-like
            The file; a missing ``.npz`` suffix is added.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left behind.
        """
        write_record(path, self._kind, self, public=public_arrays(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a result written by :meth:`save`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is of another kind, is damaged, or was written by a newer version.
        """
        return read_record(path, cls._kind, cls, cls.check_settings)

    def check_settings(self) -> None:
        """Raise unless the settings are complete and allowed, and fit the data."""
        check_settings(self.config, *self._settings)
