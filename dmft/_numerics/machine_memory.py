"""Memory that this process may still take, and checks that arguments fit in it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["available_memory", "check_fits", "readable"]

_NO_LIMIT = 2**60  # cgroups without a limit report a number like this


def available_memory(root: str | os.PathLike[str] = "/") -> float:
    """Return the bytes that this process may still take; infinite where they are not known.

    The least of what the machine has available, what the control groups (version 1 or 2) that the
    process is in leave of their limits, page cache that they would give back counted as free, and
    what ``ulimit -v`` leaves.

    Parameters
    ----------
    root : path-like
        Where ``proc`` and ``sys`` are.
    """
    return max(min(_of_machine(Path(root)), *_of_groups(Path(root)), _of_process(Path(root))), 0.0)


def check_fits(
    name: str,
    value: int,
    needed: Callable[[int], float],
    available: float,
    *,
    least: int = 1,
    halving: bool = False,
    advice: str = "",
) -> None:
    """Raise unless what an argument asks for fits in memory.

    Parameters
    ----------
    name : str
    value : int
    needed : callable
        Bytes that a value surely needs; not decreasing.
    available : float
        In bytes.
    least : int
        Smallest value that is allowed.
    halving : bool
        Whether only powers of two are allowed.
    advice : str
        What else helps; appended to the message.

    Raises
    ------
    ValueError
        Naming the largest value that would fit, where there is one.

    Examples
    --------
    >>> check_fits("d", 100, lambda d: 8.0 * d**2, 1e6)
    >>> check_fits("d", 100_000, lambda d: 8.0 * d**2, 1e9)
    Traceback (most recent call last):
    ...
    ValueError: d must be at most 11180 for the memory there is (1 GB), got 100000, which needs at
    least 80 GB
    """
    if needed(value) <= available:
        return
    fits = _largest(needed, available, least, value, halving)
    limit = f"at most {fits}" if fits >= least else "smaller, and other settings with it,"
    raise ValueError(
        f"{name} must be {limit} for the memory there is ({readable(available)}), got {value}, "
        f"which needs at least {readable(needed(value))}{advice}"
    )


def readable(n_bytes: float) -> str:
    """Return a number of bytes as a person reads it.

    Examples
    --------
    >>> readable(2.5e9), readable(3e6)
    ('2.5 GB', '3 MB')
    """
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.3g} MB"


def _largest(
    needed: Callable[[int], float], available: float, least: int, too_large: int, halving: bool
) -> int:
    """Return the largest value that fits, below `least` where none does."""
    if needed(least) > available:
        return least - 1
    if halving:
        while needed(too_large) > available:
            too_large //= 2
        return too_large
    fits = least
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        fits, too_large = (middle, too_large) if needed(middle) <= available else (fits, middle)
    return fits


def _of_machine(root: Path) -> float:
    """Return the bytes that the machine has available."""
    if (kilobytes := _entries(root / "proc/meminfo").get("MemAvailable:")) is not None:
        return 1024.0 * kilobytes
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # not on this system
        return math.inf


def _of_groups(root: Path) -> Iterator[float]:
    """Yield the bytes that each control group of this process leaves."""
    groups = {"": "/"}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers in ("", "memory") or "memory" in controllers.split(","):
            groups["memory" if controllers else ""] = path
    mount = root / "sys/fs/cgroup"
    names = {
        "": (mount, "memory.max", "memory.current", "inactive_file"),
        "memory": (
            mount / "memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    }
    for kind, path in groups.items():
        top, of_limit, of_usage, of_cache = names[kind]
        # A container sees its own group as the root, whatever path the kernel tells.
        folders = [top, *(top / part for part in _prefixes(path))]
        for folder in folders:
            limit, usage = _number(folder / of_limit), _number(folder / of_usage)
            if limit is not None and usage is not None and limit < _NO_LIMIT:
                cache = _entries(folder / "memory.stat").get(of_cache, 0.0)
                yield limit - max(usage - cache, 0.0)


def _of_process(root: Path) -> float:
    """Return the bytes that limits of the process leave."""
    try:
        import resource
    except ImportError:  # not on this system
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _text(root / "proc/self/statm").split()
    if limit == resource.RLIM_INFINITY or not pages:
        return math.inf
    return float(limit - int(pages[0]) * resource.getpagesize())


def _prefixes(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part and part != ".."]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _entries(file: Path) -> dict[str, float]:
    """Return the first number of each line, by its first word."""
    lines = (line.split() for line in _text(file).splitlines())
    return {words[0]: float(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def _number(file: Path) -> float | None:
    text = _text(file).strip()
    return float(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
