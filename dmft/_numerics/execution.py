"""Execution settings of a computation, which its numbers do not depend on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dmft._numerics.frozen import set_fields
from dmft._numerics.progress import shown_progress
from dmft._numerics.validation import check_progress, check_real
from rmt.status import NumericalFailure, Status

__all__ = ["Cache", "Execution"]

# Runs that take less are repeated as quickly as their files are written and read.
_QUICK_SECONDS = 1.0


@dataclass(frozen=True)
class Cache(os.PathLike[str]):
    """Checkpoint folder that nobody asked for: quick runs are not worth a file in it."""

    folder: Path

    def __fspath__(self) -> str:
        return str(self.folder)


@dataclass(frozen=True)
class Execution:
    """Threads, progress, checkpoint folder, memory and treatment of failures of a computation.

    Parameters
    ----------
    threads : int, optional
        Threads at most; default: the number of cores.
    progress : callable or True, optional
        Called with the number of steps just finished; True for a progress bar.
    checkpoint : path-like, optional
        Folder in which the computation survives being killed.
    checkpoint_seconds : float
        Least time between two snapshots.
    max_memory : float, optional
        Bytes.
    quick_seconds : float
        Runs that take less are not stored in the checkpoint; given by a `Cache`.
    throw : bool
        Whether a status other than SUCCESS is raised.
    workers : int, optional
        Processes at most, for runs of finite dimension; default: the number of cores.

    Raises
    ------
    ValueError
        If a value is not allowed.
    """

    threads: int | None = None
    progress: Callable[[int], None] | bool | None = None
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_seconds: float = 60.0
    max_memory: float | None = None
    throw: bool = False
    workers: int | None = None
    quick_seconds: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.checkpoint, Cache):
            set_fields(self, quick_seconds=_QUICK_SECONDS)
        check_progress(self.progress)
        seconds = check_real("checkpoint_seconds", self.checkpoint_seconds, minimum=0.0)
        set_fields(self, checkpoint_seconds=seconds)
        if self.max_memory is not None:
            memory = check_real("max_memory", self.max_memory, minimum=0.0, exclusive=True)
            set_fields(self, max_memory=memory)

    @contextlib.contextmanager
    def shown(self, total: float, unit: str) -> Iterator[Execution]:
        """Provide the execution with a progress bar where ``progress=True`` asks for one.

        Parameters
        ----------
        total : float
            Steps expected.
        unit : str
            What a step is, in the plural.
        """
        with shown_progress(self.progress, total, unit) as progress:
            yield replace(self, progress=progress)

    def part(self, name: str, *, silent: bool = True) -> Execution:
        """Return the execution of a part: in a subfolder, its failures no exceptions."""
        folder = None if self.checkpoint is None else Path(self.checkpoint) / name
        progress = None if silent else self.progress
        return replace(self, progress=progress, checkpoint=folder, throw=False)

    def options(self, *names: str) -> dict[str, Any]:
        """Return arguments of a public function by name; by default those of a search."""
        names = names or ("threads", "progress", "checkpoint", "max_memory")
        return {name: getattr(self, name) for name in names}

    @property
    def counting(self) -> Callable[[int], None] | None:
        """The function that counts finished steps; None where there is none, or no bar yet."""
        return None if isinstance(self.progress, bool) else self.progress

    def advance(self, count: int = 1) -> None:
        """Report finished steps."""
        if self.counting is not None:
            self.counting(count)

    def expect(self, count: int, seconds: float, words: str) -> None:
        """Announce so many further steps, the seconds they are likely to take, and what they are.

        To a `progress` that has a method ``expect``.
        """
        expect = getattr(self.progress, "expect", None)
        if expect is not None:
            expect(count, seconds, words)

    def settle(self, status: Status, words: str = "") -> None:
        """Raise `NumericalFailure` for a status other than SUCCESS, if ``throw`` is set."""
        if self.throw and not status.ok:
            raise NumericalFailure(status, words)
