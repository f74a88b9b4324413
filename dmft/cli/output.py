"""Output of the commands: files, progress, text, JSON."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dmft._numerics.plain_data import plain
from dmft._numerics.value_text import value_text
from dmft.cli.exits import DONE, NUMERICAL, PROGRAM, UsageError
from dmft.cli.streams import put, say

if TYPE_CHECKING:
    import argparse
    import os
    from collections.abc import Callable, Iterator, Sequence

    from tqdm import tqdm

    from dmft._numerics.sampling import Sampling
    from dmft.config.config import RunFile
    from dmft.model.inputs import Inputs
    from rmt.status import Status

    Lines = list[tuple[str, str]]

__all__ = [
    "Output",
    "cell",
    "execution",
    "expected_solves",
    "finish",
    "inputs_line",
    "keeping_seeds",
    "paths_line",
    "picked",
    "print_json",
    "problem_lines",
    "progress",
    "unstable_line",
    "with_error",
]


class _Result(Protocol):
    def save(self, path: str | os.PathLike[str], /) -> object: ...


class _Run(Protocol):
    """Protocol of a run file, as much of one as a command needs."""

    @property
    def name(self) -> str: ...

    def to_config(self) -> dict[str, Any]: ...


class Output:
    """Folder of the results, checked before the computation."""

    def __init__(self, arguments: argparse.Namespace, run: _Run) -> None:
        self.folder = Path(arguments.out)
        self.files: list[Path] = []
        self._format = arguments.format
        self._json = arguments.json
        self._run = run
        self._made: list[Path] = []
        self._start = time.perf_counter()

    def __enter__(self) -> Output:
        import tempfile

        try:
            folders = (self.folder, *self.folder.parents)
            missing = [path for path in folders if not path.exists()]
            self.folder.mkdir(parents=True, exist_ok=True)
            self._made = missing
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            self._remove()
            reason = error.strerror or str(error)
            raise UsageError(f"--out must be a folder to write to, got {self.folder}: {reason}")\
                from error  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        """Remove the folders made here, deepest first, if they are empty."""
        for path in self._made:
            with contextlib.suppress(OSError):
                path.rmdir()

    def path(self, kind: str) -> Path:
        """Return the file or folder of this run for a kind of result."""
        return self.folder / f"{self._run.name}-{kind}"

    def subfolder(self, kind: str) -> Path:
        """Return a folder for the runs behind a result: not made here, but removed if empty."""
        path = self.path(kind)
        if not path.exists():
            self._made.insert(0, path)
        return path

    def save(self, kind: str, result: _Result) -> None:
        """Write the result file."""
        path = self.path(f"{kind}.npz")
        result.save(path)
        self.files.append(path)

    def draw(self, kind: str, plot: str, *results: Any) -> None:
        """Draw results with a function of `dmft.plotting` and write the figure.

        The result does not depend on it: where there can be no figure, one line says so.
        """
        path = self.path(f"{kind}.{self._format}")
        try:
            logging.getLogger("matplotlib").setLevel(logging.ERROR)
            from dmft import plotting

            figure = getattr(plotting, plot)(*results)
            self.files.append(plotting.save_figure(figure, path))
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            say(f"{PROGRAM}: no figure {path}: {reason}")

    def report(
        self,
        command: str,
        status: Status,
        data: dict[str, Any],
        lines: Sequence[tuple[str, str]],
        table: str = "",
    ) -> int:
        """Print `data` as JSON, or `lines` and a table that follows them; return the exit code."""
        from dmft.io.results import software_commit, software_version

        seconds = time.perf_counter() - self._start
        code = DONE if status.ok else NUMERICAL
        if self._json:
            print_json(
                {
                    "command": command,
                    "name": self._run.name,
                    "version": software_version(),
                    "commit": software_commit(),
                    "status": status.name,
                    "message": status.value,
                    **data,
                    "config": self._run.to_config(),
                    "files": [str(path) for path in self.files],
                    "seconds": round(seconds, 3),
                }
            )
            return code
        last = [
            ("status", status.name if status.ok else f"{status.name}: {status.value}"),
            *(("wrote", str(path)) for path in self.files),
            ("time", f"{seconds:.1f} s"),
        ]
        width = max(len(name) for name, _ in (*lines, *last))

        def block(part: Sequence[tuple[str, str]]) -> str:
            return "\n".join(f"{name:{width}}  {text}" for name, text in part)

        if table:
            parts = [block(lines), table, block(last)]
            put("\n\n".join(part for part in parts if part))
        else:
            put(block([*lines, *last]))
        return code


def finish() -> None:
    """Print a warning if compiled functions could not be kept for the next command."""
    from dmft._numerics.workers import functions_not_kept

    if functions_not_kept():
        say(
            f"{PROGRAM}: compiled functions could not be kept for the next command; set "
            "NUMBA_CACHE_DIR to a folder to write to"
        )


@contextlib.contextmanager
def execution(arguments: argparse.Namespace, total: int, unit: str) -> Iterator[dict[str, Any]]:
    """Provide threads, memory, checkpoint and a progress bar, as functions take them.

    An interrupt names the checkpoint from which the same command goes on.
    """
    from dmft._numerics.validation import check_real

    checkpoint = getattr(arguments, "checkpoint", None)
    memory = getattr(arguments, "max_memory", None)
    if memory is not None:
        memory = check_real("--max-memory", memory, minimum=0.0, maximum=1e9, exclusive=True)
        memory *= 1e9  # bytes
    try:
        with progress(total, unit) as advance:
            yield {
                "threads": arguments.threads,
                "progress": advance,
                "checkpoint": checkpoint,
                "max_memory": memory,
            }
    except KeyboardInterrupt:
        if checkpoint is None:
            raise
        raise KeyboardInterrupt(f"the same command goes on from {checkpoint}") from None


def expected_solves(points: int | None) -> int:
    """Estimate the number of solves of a search that begins with so many points."""
    return (9 if points is None else points) + 5  # by default, and what is usually added


@contextlib.contextmanager
def progress(total: int, unit: str) -> Iterator[Callable[[int], None] | None]:
    """Show progress on a terminal, nothing in a pipe; safe to call from several threads."""
    if not sys.stderr.isatty() or total == 0:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=f" {unit}", file=sys.stderr, leave=False, delay=0.3) as bar:
        yield _Bar(bar)


class _Bar:
    """Progress of a computation that may announce what is still to come."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar, self._lock = bar, threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._bar.total = max(self._bar.total, self._bar.n + count)
            self._bar.update(count)

    def expect(self, count: int, seconds: float, words: str) -> None:
        """Begin again, with the steps of the next part and the time it is likely to take."""
        with self._lock:
            self._bar.reset(total=count)
            self._bar.set_description(f"{words}, about {seconds:.0f} s")


@contextlib.contextmanager
def keeping_seeds(output: Output) -> Iterator[None]:
    """Add to an interrupt, or to the death of a worker, where finished seeds are kept."""
    from concurrent.futures.process import BrokenProcessPool

    kept = f"finished seeds are kept in {output.folder}, the same command resumes"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept) from None
    except BrokenProcessPool as error:
        raise UsageError(
            "a worker process was killed, perhaps for want of memory (give fewer --workers); "
            + kept
        ) from error


def problem_lines(run: RunFile) -> Lines:
    """Name problem and method."""
    from dmft.training.methods import describe

    problem, m = run.problem, run.problem.m
    neurons = f"{m} {problem.network.activation.name} neuron{'s' if m > 1 else ''}"
    return [
        (
            "problem",
            f"{run.name}: {problem.target.description}, {neurons}, {problem.loss.name} loss",
        ),
        ("method", describe(run.method)),
    ]


def inputs_line(inputs: Inputs | None) -> tuple[str, str]:
    """Name the law of the inputs."""
    config = {"law": "gaussian"} if inputs is None else inputs.to_config()
    law, *parameters = config.values()
    return "inputs", " ".join([law, *map(str, parameters)])


def paths_line(sampling: Sampling, run: RunFile, *, to_accuracy: bool = False) -> tuple[str, str]:
    """Name the sampling of the theory, and what has become of the accuracy of a run file.

    Parameters
    ----------
    sampling : Sampling
    run : RunFile
    to_accuracy : bool
        Whether the sampling was chosen for the accuracy; other commands say that it was not.
    """
    text = f"{sampling.replicates} x {sampling.n_paths}, seed {sampling.seed}"
    if run.accuracy is not None:
        rtol = f"{run.accuracy.rtol:g}"
        if to_accuracy:
            text = f"up to {text}, for an accuracy of {rtol}"
        else:
            text += f"; rtol = {rtol} is for threshold, curve and trajectory, and not used here"
    return "paths", text


def unstable_line(share: float, words: str) -> Lines:
    """Write the share of unstable paths in an average at a threshold, if it is too large."""
    from dmft.solver.stability import SHARE_TOLERANCE

    if not share > SHARE_TOLERANCE:  # also where it is not known
        return []
    text = f"carry {words}: a smaller step_size, or gradient flow, has fewer or none"
    return [("unstable paths", text)]


def print_json(data: Any) -> None:
    """Print as JSON on one line."""
    put(json.dumps(plain(data), allow_nan=False))


def picked(result: Any, names: str) -> dict[str, Any]:
    """Return attributes of a result by name."""
    return {name: getattr(result, name) for name in names.split()}


def with_error(value: float, stderr: float) -> str:
    """Write ``value +- stderr``, or the source of a value without error."""
    return value_text(value, stderr, exact=" (quadrature)", unknown=" (error unknown)")


def cell(value: float, error: float) -> str:
    """Write a number of a table with its error; "none" where there is none."""
    if not math.isfinite(value):
        return "none"
    # The extreme nodes of a quadrature move an edge by less than any digit shown.
    return with_error(float(value), 0.0 if error <= 1e-7 * abs(value) else float(error))
