"""Checkpoint folders: the finished runs of a solve, and snapshots of the others.

A solve is one run over all paths and one for each replicate. Each has a file once it is finished,
``run-all.npz`` or ``run-000.npz``; before that ``run-all.snapshot-00007.npz``, one in a series, has
everything that the next step depends on, so that the run goes on from there to the same bits. The
snapshot before it is there too, for the case that the newest is damaged. Files appear complete or
not at all.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.sampling import RANDOM_NUMBERS
from dmft.io.folders import BoundFolder
from dmft.io.records import read_record, write_record
from dmft.io.results import OtherFileError, reporting, software_version
from dmft.io.snapshots import outline, read_snapshot, write_snapshot
from dmft.model.custom_laws import fingerprint
from dmft.solver.runs import Run

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.solver.fresh_batches import AnyProcess
    from dmft.solver.runs import Record
    from dmft.training.methods import Method

__all__ = ["Checkpoint", "RunCheckpoint", "configuration"]

_RUN, _SNAPSHOT = "finished run", "unfinished run"
# Of the states in snapshots; to be raised with them. Those of another layout are of another solve.
_LAYOUT = 3
# Snapshots take no more than this fraction of the time.
_MOST_TIME = 0.05


def configuration(
    problem: Problem, delta: float, method: Method, sampling: Sampling, keep: list[int]
) -> dict[str, Any]:
    """Return everything that the files of a solve depend on, as plain types."""
    return {
        "problem": problem.to_config(),
        "code of custom laws": fingerprint(problem),
        "delta": delta,
        "method": method.to_config(),
        "sampling": sampling.to_config(),
        "hessian_steps": sorted(set(keep)),
        "version": software_version(),
        "random numbers": RANDOM_NUMBERS,
        "layout of snapshots": _LAYOUT,
    }


@dataclass(frozen=True)
class _Finished:
    """The contents of the file of a finished run."""

    name: str
    configuration: dict[str, Any]
    run: Run


class Checkpoint(BoundFolder):
    """The folder of one solve; one process at a time has it.

    Parameters
    ----------
    folder : path-like
        Made by `open` when missing.
    config : mapping
        JSON-able configuration that every file must have.
    seconds : float
        Time between snapshots of a run; 0 for one after every step.
    quick : float
        Runs that take less time are not stored.

    Raises
    ------
    ValueError
        If the folder is no path, or an empty one.
    """

    task = "solve"
    names = re.compile(r"run-.*\.npz")
    exclusive = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: Mapping[str, Any],
        seconds: float,
        quick: float = 0.0,
    ) -> None:
        super().__init__(folder, config)
        self.seconds, self.quick = seconds, quick

    def run(self, name: str) -> RunCheckpoint:
        """Return the part of the folder that belongs to a run."""
        return RunCheckpoint(self, name)

    def _read(self, path: Path) -> Any:
        """Return the run or the state in a file."""
        if path.name.count(".") == 1:
            stored = read_record(path, _RUN, _Finished)
            self.check_file(path, stored.configuration, f"run-{stored.name}")
            return stored.run
        header, value = read_snapshot(path, _SNAPSHOT)
        with reporting(path):
            self.check_file(path, header["configuration"], f"run-{header['name']}")
        return value


class RunCheckpoint:
    """The files of one run in the folder.

    Parameters
    ----------
    checkpoint : Checkpoint
    name : str
        Of the run.
    """

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self._checkpoint = checkpoint
        self._name = name
        self._path = checkpoint.folder / f"run-{name}.npz"
        self._begun = time.monotonic()
        self._due = self._begun + checkpoint.seconds
        self._process: AnyProcess | None = None
        self._record: Record | None = None
        self._resumed = self._path

    def finished(self) -> Run | None:
        """Return the run if it is finished; snapshots that outlived its end go."""
        run: Run | None = self._checkpoint.read_file(self._path)
        if run is not None:
            self._discard()
        return run

    def finish(self, run: Run) -> None:
        """Store a finished run, without its paths, unless it is repeated as quickly."""
        if time.monotonic() - self._begun < self._checkpoint.quick and not self._snapshots():
            return
        finished = _Finished(self._name, self._checkpoint.config, run)
        write_record(self._path, _RUN, finished, compress=False)
        self._discard()

    def resume(self, process: AnyProcess, record: Record) -> dict[str, Any] | None:
        """Restore process and record from the newest snapshot; returns the state of the driver.

        Parameters
        ----------
        process : Process
        record : Record
            As they are at the start of the run; unchanged where None is returned. `offer` will
            write these.

        Raises
        ------
        ValueError
            If the labels are others than those of the snapshot, or it is of another run.
        """
        self._process, self._record, self._begun = process, record, time.monotonic()
        for path in self._snapshots():
            state = self._checkpoint.read_file(path)
            if state is None:
                continue
            with reporting(path):
                for ours, theirs in zip(_drawn(process), state["labels"], strict=True):
                    if not np.array_equal(ours, theirs):
                        raise OtherFileError(
                            f"checkpoint must be a folder of the same solve; {path} was made with "
                            "other labels: use another folder"
                        )
                stored = outline([state["process"], state["record"]])
                process.restore(state["process"])
                record.restore(state["record"])
                if outline([process.state(), record.state()]) != stored:
                    raise ValueError("its arrays are not those of this run")
                driver: dict[str, Any] = state["driver"]
                self._resumed = path
                return driver
        return None

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Name the snapshot in errors that its state causes."""
        return reporting(self._resumed)

    def offer(self, driver: Callable[[], dict[str, Any]]) -> None:
        """Write a snapshot, if one is due.

        Parameters
        ----------
        driver : callable
            Returns the state of the driver, besides process and record.
        """
        seconds, start = self._checkpoint.seconds, time.monotonic()
        if start < self._due or self._process is None or self._record is None:
            return
        state = {
            "labels": _drawn(self._process),
            "process": self._process.state(),
            "record": self._record.state(),
            "driver": driver(),
        }
        before = self._snapshots()
        number = 1 + max((_number(path) for path in before), default=0)
        header = {"configuration": self._checkpoint.config, "name": self._name}
        path = self._path.with_suffix(f".snapshot-{number:05d}.npz")
        write_snapshot(path, _SNAPSHOT, header, state)
        for path in before[1:]:
            path.unlink(missing_ok=True)
        if seconds:
            end = time.monotonic()
            self._due = end + max(seconds, (end - start) / _MOST_TIME)

    def _discard(self) -> None:
        """Remove the snapshots of a run whose end is stored; where they cannot be, they stay."""
        for path in self._snapshots():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _snapshots(self) -> list[Path]:
        """Snapshots of the run, the newest first."""
        found = self._path.parent.glob(f"{self._path.stem}.snapshot-*.npz")
        numbered = [path for path in found if _number(path)]
        return sorted(numbered, key=_number, reverse=True)


def _drawn(process: AnyProcess) -> list[NDArray[np.float64]]:
    """Return what the laws of labels and inputs have given to the paths."""
    return [*process.labels, *(scales for scales in process.scales if len(scales))]


def _number(path: Path) -> int:
    """Return the number of a snapshot by its name; 0 if it is none."""
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
