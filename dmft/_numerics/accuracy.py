"""An accuracy asked for: relative error, and the budget of paths and time to reach it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, fields
from typing import Any

from dmft._numerics.frozen import set_fields
from dmft._numerics.sampling import MOST_PATHS, power_of_two
from dmft._numerics.validation import check_integer, check_real

__all__ = ["Accuracy", "requested"]

# Runs begin with so many paths per replicate at least,
_FEWEST_PATHS = 1024
# and with so many for each unit of time: with fewer, the bias of finitely many paths may be larger
# than the gap well before the end. It sets in at a time proportional to the paths of a run.
_PATHS_PER_TIME = 2.5
# The error at the next number of paths is planned to be this much below the one asked for: an
# error over 8 replicates is known to a quarter of itself, and the number of paths is rounded up.
_MARGIN = 1.15
# The number of paths grows by a factor of this at most: what few paths say of many more is rough.
# Where parts of them overfit, errors fall much faster than by the square root.
_MOST_AT_ONCE = 8
_DEFAULT_MOST_PATHS = 2**21
# What has a sampling error reaches no more than a hundred thousandth with the most paths there are,
# and roots are not located more finely than this either.
_FINEST = 1e-9


@dataclass(frozen=True)
class Accuracy:
    """Relative error to be reached, and a budget.

    Parameters
    ----------
    rtol : float
        Error, of everything together, relative to the value; 1e-9 at least, below 1.
    max_paths : int
        Paths per replicate at most.
    max_seconds : float, optional
        No work is begun that is likely to end later than this.

    Raises
    ------
    ValueError
        If a value is not allowed.

    Examples
    --------
    >>> accuracy = Accuracy(rtol=0.01)
    >>> accuracy.more_paths(1024, statistical=0.02, bias=0.0)
    8192
    """

    rtol: float
    max_paths: int = _DEFAULT_MOST_PATHS
    max_seconds: float | None = None
    _start: float = field(default_factory=time.monotonic, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rtol = check_real("rtol", self.rtol, minimum=0.0, exclusive=True)
        if rtol >= 1.0:
            raise ValueError(f"rtol must be below 1, got {rtol:g}")
        if rtol < _FINEST:
            raise ValueError(
                f"rtol must be at least {_FINEST:g}, got {rtol:g}: errors fall like the root of "
                "the number of paths"
            )
        paths = check_integer("max_paths", self.max_paths, minimum=64, maximum=MOST_PATHS)
        set_fields(self, rtol=rtol, max_paths=paths)
        if self.max_seconds is not None:
            seconds = check_real("max_seconds", self.max_seconds, minimum=0.0, exclusive=True)
            set_fields(self, max_seconds=seconds)

    def first_paths(self, last_time: float) -> int:
        """Return the paths per replicate to begin with, for runs up to a time."""
        wanted = max(float(_FEWEST_PATHS), _PATHS_PER_TIME * min(last_time, MOST_PATHS))
        return min(power_of_two(wanted), self._most)

    def more_paths(self, n_paths: int, statistical: float, bias: float) -> int | None:
        """Return the paths per replicate after `n_paths`; None where the budget allows no more.

        Parameters
        ----------
        n_paths : int
        statistical, bias : float
            Errors reached with these, relative to the value: one falls like the root of the number
            of paths, the other like its inverse at least.

        Returns
        -------
        int or None
        """
        if n_paths >= self._most:
            return None
        wanted = max((_MARGIN * statistical / self.rtol) ** 2, _MARGIN * abs(bias) / self.rtol, 2.0)
        factor = min(wanted, _MOST_AT_ONCE) if math.isfinite(wanted) else _MOST_AT_ONCE
        return min(power_of_two(n_paths * factor), self._most)

    def has_time_for(self, seconds: float) -> bool:
        """Return whether work that takes so long ends in time."""
        if self.max_seconds is None:
            return True
        return time.monotonic() - self._start + seconds <= self.max_seconds

    def options(self) -> dict[str, Any]:
        """Return the settings other than defaults, as functions and run files take them."""
        names = [entry.name for entry in fields(self) if entry.init]
        values = {name: getattr(self, name) for name in names}
        values["max_paths"] = None if self.max_paths == _DEFAULT_MOST_PATHS else self.max_paths
        return {name: value for name, value in values.items() if value is not None}

    @property
    def _most(self) -> int:
        """Largest power of two within `max_paths`."""
        return 1 << (self.max_paths.bit_length() - 1)


def requested(
    rtol: float | None, max_paths: int | None, max_seconds: float | None
) -> Accuracy | None:
    """Return the accuracy that arguments of a public function ask for; None without `rtol`.

    Raises
    ------
    ValueError
        If a value is not allowed, or there is a budget without `rtol`.
    """
    budget = {"max_paths": max_paths, "max_seconds": max_seconds}
    stated = {name: value for name, value in budget.items() if value is not None}
    if rtol is not None:
        return Accuracy(rtol, **stated)  # type: ignore[arg-type]
    if stated:
        raise ValueError(f"{next(iter(stated))} must come with rtol, the accuracy it is a limit to")
    return None
