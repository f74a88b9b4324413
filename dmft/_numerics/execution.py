"""Execution settings of a computation, which its numbers do not depend on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dmft._numerics.frozen import set_fields
from dmft._numerics.validation import check_progress, check_real
from rmt.status import NumericalFailure, Status

__all__ = ["Execution"]


@dataclass(frozen=True)
class Execution:
    """Threads, progress, checkpoint folder, memory and treatment of failures of a computation.

    Parameters
    ----------
    threads : int, optional
        Threads at most; default: the number of cores.
    progress : callable, optional
        Called with the number of steps just finished.
    checkpoint : path-like, optional
        Folder in which the computation survives being killed.
    checkpoint_seconds : float
        Least time between two snapshots.
    max_memory : float, optional
        Bytes.
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
    progress: Callable[[int], None] | None = None
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_seconds: float = 60.0
    max_memory: float | None = None
    throw: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        check_progress(self.progress)
        seconds = check_real("checkpoint_seconds", self.checkpoint_seconds, minimum=0.0)
        set_fields(self, checkpoint_seconds=seconds)
        if self.max_memory is not None:
            memory = check_real("max_memory", self.max_memory, minimum=0.0, exclusive=True)
            set_fields(self, max_memory=memory)

    def part(self, name: str, *, silent: bool = True) -> Execution:
        """Return the execution of a part: in a subfolder, its failures no exceptions."""
        folder = None if self.checkpoint is None else Path(self.checkpoint) / name
        progress = None if silent else self.progress
        return replace(self, progress=progress, checkpoint=folder, throw=False)

    def options(self, *names: str) -> dict[str, Any]:
        """Return arguments of a public function by name; by default those of a search."""
        names = names or ("threads", "progress", "checkpoint", "max_memory")
        return {name: getattr(self, name) for name in names}

    def advance(self, count: int = 1) -> None:
        """Report finished steps."""
        if self.progress is not None:
            self.progress(count)

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
