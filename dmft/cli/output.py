"""Output of the commands: files, progress, text, JSON."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dmft._numerics.plain_data import digest, plain
from dmft._numerics.progress import ProgressBar, ProgressLines
from dmft.cli.exits import DONE, NUMERICAL, PROGRAM, UsageError
from dmft.cli.run_files import settings_stamp
from dmft.cli.streams import put, say
from dmft.io.stamps import free_path, stamped

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from dmft._numerics.execution import Cache, Execution
    from dmft.config.config import RunFile
    from rmt.status import Status

    Lines = list[tuple[str, str]]

__all__ = [
    "Output",
    "execution",
    "finish",
    "first_lines",
    "keeping_seeds",
    "picked",
    "print_json",
    "problem_lines",
    "progress",
    "unused_accuracy",
]


# Letters of the names of lines that are printed before the others are known.
_FIRST_WIDTH = 14
# Of files that a run may write.
_SUFFIXES = (".npz", ".csv", ".png", ".pdf", ".svg")
# Settings of a run file that say how long to go on, not where to.
_COMMAND_SECONDS = 2.0  # of its start, of reading compiled functions, of figures
_BUDGETS = ("max_paths", "max_seconds")


class _Result(Protocol):
    def save(self, path: str | os.PathLike[str], /) -> object: ...


class _Table(Protocol):
    def to_csv(self, path: str | os.PathLike[str], /) -> Path: ...


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
        self._force = arguments.force
        self._stamp = settings_stamp(arguments, run.to_config())
        self._made: list[Path] = []
        self._stems: dict[str, str] = {}
        self._cache: Path | None = None
        self._kept = contextlib.ExitStack()
        self._unfinished = False
        self._begun: Lines = []
        self._width = _FIRST_WIDTH
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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        from dmft.io.folders import remove_empty

        if self._cache is not None:
            if kind is None and not self._unfinished:
                shutil.rmtree(self._cache, ignore_errors=True)
            remove_empty(self._cache.parent)
        self._kept.close()
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

    def cache(self, kind: str) -> Cache | None:
        """Return the folder of unfinished work on a result; None while another process has it.

        It is named after all settings, so that work of other settings is never in the way, and goes
        once there is a result; where a budget has ended before, another one goes on from there.
        """
        from dmft._numerics.execution import Cache
        from dmft.io.folders import claimed
        from dmft.io.results import software_version

        settings = self._run.to_config()
        sampling = settings.get("sampling") or {}
        settings["sampling"] = {key: sampling[key] for key in sampling if key not in _BUDGETS}
        problem = getattr(self._run, "problem", None)
        if problem is not None:
            from dmft.model.custom_laws import fingerprint

            settings["code of custom laws"] = fingerprint(problem)
        name = f"{self._run.name}-{kind}-{digest([kind, software_version(), settings], 12)}"
        folder = self.folder / "cache" / name
        if not self._kept.enter_context(claimed(folder)):
            return None
        self._cache = folder
        return Cache(folder / "solves")  # a solve locks its own folder

    def save(self, kind: str, result: _Result, *, of_folder: bool = False) -> None:
        """Write the result file.

        One ``of_folder`` holds the seeds of the folder of its kind, which refuses other settings.
        """
        from rmt.status import Status

        path = self.path(f"{kind}.npz") if of_folder else self._free(kind, ".npz")
        with stamped(self._stamp):
            result.save(path)
        self.files.append(path)
        status = getattr(result, "status", None)
        self._unfinished |= status in (Status.MAX_PATHS, Status.OUT_OF_MEMORY)

    def table(self, kind: str, result: _Table) -> None:
        """Write the table of a result, which has been saved, beside it."""
        self.files.append(result.to_csv(self._free(kind, ".csv")))

    def _free(self, kind: str, suffix: str) -> Path:
        """Return a path that overwrites no file made with other settings, unless by --force.

        All files of a kind have one number.
        """
        path = self.path(f"{kind}{suffix}")
        if kind not in self._stems:
            first = self.path(f"{kind}.npz")
            free = first if self._force else free_path(first, self._stamp, beside=_SUFFIXES)
            self._stems[kind] = free.stem
            if free != first:
                other = free.with_suffix(suffix)
                say(
                    f"{PROGRAM}: {self.path(kind)} has files of other settings: writing {other} "
                    "(or use --force)"
                )
        return path.with_name(f"{self._stems[kind]}{suffix}")

    def draw(self, kind: str, plot: str, *results: Any) -> None:
        """Draw results with a function of `dmft.plotting` and write the figure.

        The result does not depend on it: where there can be no figure, one line says so.
        """
        path = self._free(kind, f".{self._format}")
        try:
            logging.getLogger("matplotlib").setLevel(logging.ERROR)
            from dmft import plotting

            figure = getattr(plotting, plot)(*results)
            with stamped(self._stamp):
                self.files.append(plotting.save_figure(figure, path))
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            say(f"{PROGRAM}: no figure {path}: {reason}")

    def begin(self, first_lines: Callable[[], Lines], width: int = 0) -> None:
        """Print the first lines of the report before the work begins; with JSON there are none."""
        from dmft.io.report_text import report_text

        if not self._json:
            self._begun = first_lines()
            self._width = max(width, _FIRST_WIDTH)
            put(report_text(self._begun, [], width=self._width))

    def report(
        self,
        command: str,
        status: Status,
        data: dict[str, Any],
        lines: Sequence[tuple[str, str]],
        table: str = "",
        text: str = "",
    ) -> int:
        """Print `data` as JSON, or `lines` and a table that follows them; return the exit code.

        With `text` in place of what the status says.
        """
        from dmft.io.report_text import report_text, status_line
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
                    "message": text or status.value,
                    **data,
                    "config": self._run.to_config(),
                    "files": [str(path) for path in self.files],
                    "seconds": round(seconds, 3),
                }
            )
            return code
        last = [
            status_line(status, text),
            *(("wrote", str(path)) for path in self.files),
            ("time", f"{seconds:.1f} s"),
        ]
        left = [line for line in lines if line not in self._begun]
        put(report_text(left, last, table, width=self._width if self._begun else 0))
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
def execution(
    arguments: argparse.Namespace,
    output: Output | None = None,
    kind: str = "",
    begin: Callable[[], Lines] | None = None,
    total: int | None = None,
    unit: str = "",
) -> Iterator[Execution]:
    """Provide threads, processes, memory, checkpoint and a progress bar.

    Of several computations the bar needs total and unit; a single one tells them itself. The
    checkpoint is that asked for, or a cache beside the result of this kind. An interrupt names it,
    if the same command goes on from there. The lines that `begin` returns are printed at once.
    """
    from dmft._numerics.execution import Cache, Execution
    from dmft._numerics.validation import check_real

    checkpoint = getattr(arguments, "checkpoint", None)
    if checkpoint is None and output is not None:
        checkpoint = output.cache(kind)
    memory = getattr(arguments, "max_memory", None)
    if memory is not None:
        memory = check_real("--max-memory", memory, minimum=0.0, maximum=1e9, exclusive=True)
        memory *= 1e9  # bytes
    try:
        first = None
        if output is not None and begin is not None:
            first = functools.partial(output.begin, begin)
        with progress(first, total, unit) as advance:
            yield Execution(
                threads=getattr(arguments, "threads", None),
                progress=advance,
                checkpoint=checkpoint,
                max_memory=memory,
                workers=getattr(arguments, "workers", None),
            )
    except KeyboardInterrupt:
        if checkpoint is None or (isinstance(checkpoint, Cache) and not _has_files(checkpoint)):
            raise
        folder = os.fspath(checkpoint)
        raise KeyboardInterrupt(f"the same command goes on from {folder}") from None


def first_lines(run: RunFile, computation: str, parts: Sequence[tuple[RunFile, str]] = ()) -> Lines:
    """Name problem and method, and about what the command, or all of its parts, take."""
    from dmft._numerics.machine_memory import readable
    from dmft._numerics.progress import duration
    from dmft.scans.cost import roughly

    each = [roughly(*part) for part in parts or [(run, computation)]]
    seconds, n_bytes = sum(time for time, _ in each), max(memory for _, memory in each)
    took = f"about {duration(seconds + _COMMAND_SECONDS)} of processor time, {readable(n_bytes)}"
    return [*problem_lines(run), ("estimate", took)]


def _has_files(folder: str | os.PathLike[str]) -> bool:
    return any(names for _, _, names in os.walk(folder))


@contextlib.contextmanager
def progress(
    begin: Callable[[], object] | None = None, total: int | None = None, unit: str = ""
) -> Iterator[Callable[[int], None] | None]:
    """Show progress: a bar on a terminal, elsewhere a line a minute on stderr.

    With `begin`, which is called once the arguments have been found right and the work begins.
    """
    if total == 0 or sys.stderr is None:
        yield None
    elif not sys.stderr.isatty():
        yield ProgressLines(lambda line: say(f"{PROGRAM}: {line}"), total, unit, begin=begin)
    else:
        from tqdm import tqdm

        options: dict[str, Any] = {"file": sys.stderr, "leave": False, "delay": 0.3}
        with ProgressBar(tqdm, total, unit, begin, **options) as bar:
            yield bar


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
    """Name problem and method of a run file."""
    from dmft.io.report_text import problem_lines

    config = {"problem": run.problem.to_config(), "method": run.method.to_config()}
    return problem_lines(config, run.name)


def unused_accuracy(lines: Lines, run: RunFile) -> Lines:
    """Say of a command that reaches no accuracy that it does not use that of a run file."""
    if run.accuracy is None:
        return lines
    from dmft.io.report_text import paths_line

    told = f"rtol = {run.accuracy.rtol:g} is for threshold, curve and trajectory, and not used here"
    found = dict(lines).get("paths") or paths_line(run.sampling.to_config())[1]
    paths = ("paths", f"{found}; {told}")
    if "paths" not in dict(lines):
        return [*lines, paths]
    return [paths if name == "paths" else (name, text) for name, text in lines]


def print_json(data: Any) -> None:
    """Print as JSON on one line."""
    put(json.dumps(plain(data), allow_nan=False))


def picked(result: Any, names: str) -> dict[str, Any]:
    """Return attributes of a result by name."""
    return {name: getattr(result, name) for name in names.split()}
