"""Marks in annotations of a result, which `dmft.io.quantities` reads: units, errors, dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DELTA", "STEPS", "TIME", "Along", "Axes", "EachOf", "ErrorOf", "Unit"]


@dataclass(frozen=True)
class Unit:
    """Unit of a quantity; numbers without one are pure."""

    name: str


@dataclass(frozen=True)
class Axes:
    """Axes of a field whose length files do not check: older ones may have it empty."""

    letters: str


@dataclass(frozen=True)
class ErrorOf:
    """The quantity whose standard error this is."""

    name: str


@dataclass(frozen=True)
class Along:
    """Dimension along which the entries of a dictionary lie; they are padded with NaN."""

    dimension: str


@dataclass(frozen=True)
class EachOf:
    """Pattern of the names in a mapping of arrays by quantity, and the dimension they lack."""

    pattern: str
    without: str = ""


DELTA: Final = Unit("samples per dimension")
STEPS: Final = Unit("steps")
TIME: Final = Unit("time, sum of the step sizes")
