"""Readings: one number of a computation with its error and status; their names, and quantities."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dmft.config.options import one_line
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from dmft.config.config import RunFile

__all__ = ["Quantity", "Reading", "ReadingName", "failed"]

_TABLES: Final = {
    "threshold": ("threshold",), "curve": ("threshold", "curve"), "runs": ("sweep",),
    "spectral-method": ("spectral-method",), "spectral-threshold": ("spectral-method",),
}  # fmt: skip

_NAME = re.compile(r"\s*(\w+)\s*(?:\[\s*(\d+(?:\s*,\s*\d+)*)\s*\])?\s*(?:@\s*(\d+))?\s*")


class Reading(NamedTuple):
    """A number, its error, its status, and an explanation of that, which may be empty."""

    value: float
    error: float
    status: Status
    detail: str = ""

    @classmethod
    def of(cls, value: float, error: float, status: Status, detail: str = "") -> Reading:
        """Return a reading of plain numbers; no number has no error."""
        value, error = float(value), float(error)
        return cls(value, math.nan if math.isnan(value) else error, status, detail)

    @classmethod
    def missing(cls, status: Status, detail: str = "") -> Reading:
        """Return a reading without a number."""
        return cls(math.nan, math.nan, status, detail)


def failed(error: BaseException) -> Reading:
    """Return the reading of a computation that an exception has ended."""
    if isinstance(error, NumericalFailure):
        return Reading.missing(error.status, one_line(error.detail))
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    text = "not enough memory" if isinstance(error, MemoryError) else f"{kind}{error}"
    return Reading.missing(Status.FAILED, one_line(text))


@dataclass(frozen=True)
class ReadingName:
    """Name of a quantity with the entry of an array and the step that are meant.

    Attributes
    ----------
    quantity : str
    indices : tuple of int
    step : int or None

    Examples
    --------
    >>> ReadingName.parse("overlap[0, 1]@20")
    ReadingName(quantity='overlap', indices=(0, 1), step=20)
    >>> str(ReadingName("gap", step=40))
    'gap@40'
    """

    quantity: str
    indices: tuple[int, ...] = ()
    step: int | None = None

    @classmethod
    def parse(cls, text: str) -> ReadingName:
        """Read ``name[indices]@step``, of which the name alone is needed.

        Raises
        ------
        ValueError
            If the text is something else.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise ValueError(
                f"scan.quantity must be a name, gap or gap@40 or norm[0,1], got {one_line(text)!r}"
            )
        name, indices, step = match.groups()
        entries = tuple(int(index) for index in indices.split(",")) if indices else ()
        return cls(name, entries, None if step is None else int(step))

    def __str__(self) -> str:
        indices = f"[{','.join(map(str, self.indices))}]" if self.indices else ""
        return f"{self.quantity}{indices}" + ("" if self.step is None else f"@{self.step}")


@dataclass(frozen=True)
class Quantity:
    """A quantity that a scan can compute.

    Attributes
    ----------
    text : str
        What it is.
    error : str
        What its error is.
    label : str
        As axes of figures name it.
    computation : str
        What it is read from, see `dmft.scans.computations.COMPUTATIONS`.
    read : callable
        Takes the result of that and a `ReadingName`; returns a `Reading`.
    at_step : bool
        Whether ``@step`` chooses a step.
    indices : int
        Number of indices that choose an entry of an array; the first one by default.
    check : callable, optional
        Takes a run file; raises ValueError where the quantity does not exist.
    """

    text: str
    error: str
    label: str
    computation: str
    read: Callable[[Any, ReadingName], Reading]
    at_step: bool = False
    indices: int = 0
    check: Callable[[RunFile], object] = lambda _: None

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables of a run file that are about it alone."""
        return _TABLES.get(self.computation, ())
