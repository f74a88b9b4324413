"""Progress of long work: a bar on terminals and in notebooks, a line a minute elsewhere.

A `progress` of the public functions is any function of the number of steps just finished. Those
here take fractions of a step as well, for work whose units take minutes (`in_parts`), and are told
what is to come (``announce``, ``expect``).
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ProgressBar", "ProgressLines", "duration", "in_parts", "shown_progress"]

# Of a bar: what tqdm writes by default, less the digits of fractions.
_FORMAT = "{l_bar}{bar}| {n:.0f}/{total:.0f}{unit} [{elapsed}<{remaining}]"
_SECONDS_BETWEEN_LINES = 60.0
_TOO_EARLY = 0.02  # of the work, for what it took to say how long the rest will take


class _Counted:
    """Progress that counts, and keeps its total above what is done; safe to call from threads."""

    takes_fractions = True

    def __init__(
        self, total: float | None, unit: str, begin: Callable[[], object] | None = None
    ) -> None:
        self._total, self._done, self._words = float(total or 0.0), 0.0, ""
        self._unit, self._is_announced = unit, total is not None
        self._first = begin
        self._lock = threading.Lock()

    def announce(self, total: float, unit: str) -> None:
        """Say how many steps there will be, and what they are.

        The first word counts, as that of the caller of all others: their work is part of these.
        """
        with self._lock:
            if not self._is_announced:
                self._total, self._unit, self._is_announced = float(total), unit, True

    def __call__(self, count: float) -> None:
        """Count steps just finished."""
        with self._lock:
            self._has_begun()
            self._done += count
            self._total = max(self._total, self._done)
            self._show(count)

    def expect(self, count: float, seconds: float, words: str) -> None:
        """Begin again, with the steps of the next part and the time it is likely to take."""
        with self._lock:
            self._has_begun()
            self._total, self._done = float(count), 0.0
            self._words = f"{words}, about {duration(seconds)}"
            self._begin()

    def _has_begun(self) -> None:
        """Call what is to be called when the work begins."""
        begin, self._first = self._first, None
        if begin is not None:
            begin()

    def _show(self, count: float) -> None:
        raise NotImplementedError

    def _begin(self) -> None:
        raise NotImplementedError


class ProgressBar(_Counted):
    """Progress bar.

    Parameters
    ----------
    make : callable
        ``tqdm``, or a class like it.
    total : float or None
        Steps expected; None: `announce` says.
    unit : str
        What a step is, in the plural.
    begin : callable, optional
        Called before the first step is counted.
    **options
        Of `make`.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        total: float | None = None,
        unit: str = "",
        begin: Callable[[], object] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(total, unit, begin)
        self._bar = make(total=self._total, unit=f" {unit}", bar_format=_FORMAT, **options)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _show(self, count: float) -> None:
        self._bar.total, self._bar.unit = self._total, f" {self._unit}"
        self._bar.update(count)

    def _begin(self) -> None:
        self._bar.reset(total=self._total)
        self._bar.set_description(self._words)


class ProgressLines(_Counted):
    """Progress in lines of text, at most one a minute, where nothing can be drawn over.

    Parameters
    ----------
    write : callable
        Takes a line.
    total : float or None
        Steps expected; None: `announce` says.
    unit : str
        What a step is, in the plural.
    seconds : float
        Between two lines.
    begin : callable, optional
        Called before the first step is counted.

    Examples
    --------
    >>> advance = ProgressLines(print, total=4, unit="solves", seconds=0.0)
    >>> advance(1)  # doctest: +ELLIPSIS
    1 of 4 solves, about ... left
    """

    def __init__(
        self,
        write: Callable[[str], object],
        total: float | None = None,
        unit: str = "",
        seconds: float = _SECONDS_BETWEEN_LINES,
        begin: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(total, unit, begin)
        self._write, self._seconds = write, seconds
        self._start = self._last = time.monotonic()

    def _show(self, count: float) -> None:
        now = time.monotonic()
        if now - self._last < self._seconds or not self._done:
            return
        self._last = now
        left = (now - self._start) * (self._total - self._done) / self._done
        words = f"{self._words}: " if self._words else ""
        done = f"{words}{self._done:.3g} of {self._total:.6g} {self._unit}"
        # What little is done may have been compiling.
        known = self._done > _TOO_EARLY * self._total
        self._write(f"{done}, about {duration(left)} left" if known else done)

    def _begin(self) -> None:
        self._start = time.monotonic()


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it.

    Examples
    --------
    >>> duration(8.4), duration(200), duration(9000), duration(3e5)
    ('8 s', '3 min', '2.5 h', '3.5 days')
    """
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    if seconds < 5400.0:
        return f"{seconds / 60.0:.0f} min"
    return f"{seconds / 3600.0:.1f} h" if seconds < 172800.0 else f"{seconds / 86400.0:.1f} days"


@contextlib.contextmanager
def in_parts(
    progress: Callable[[Any], object] | None, total: float
) -> Iterator[Callable[[float], None] | None]:
    """Provide the progress of one step that has parts; at the end the whole step counts.

    Parameters
    ----------
    progress : callable or None
    total : float
        Number of parts.

    Yields
    ------
    callable or None
        Takes the number of parts just finished; None where `progress` takes whole steps only.
    """
    if progress is None or not getattr(progress, "takes_fractions", False):
        yield None
        if progress is not None:
            progress(1)
        return
    done, lock = 0.0, threading.Lock()

    def advance(count: float) -> None:
        nonlocal done
        with lock:
            share = min(count / total, 1.0 - done)
            done += share
        progress(share)

    yield advance
    progress(1.0 - done)


@contextlib.contextmanager
def shown_progress(
    progress: Callable[[int], None] | bool | None, total: float, unit: str
) -> Iterator[Callable[[int], None] | None]:
    """Provide a progress bar where ``progress=True`` asks for one, else what was given.

    One that has a method ``announce`` is told the total.
    """
    if progress is not True:
        announce = getattr(progress, "announce", None)
        if announce is not None:
            announce(total, unit)
        yield None if isinstance(progress, bool) else progress
        return
    from tqdm.auto import tqdm

    with ProgressBar(tqdm, total, unit) as bar:
        yield bar
