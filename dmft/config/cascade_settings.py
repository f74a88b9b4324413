"""Table ``[cascade]`` of run files: thresholds of all features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dmft._numerics.validation import check_integer, check_real
from dmft.config.options import option
from dmft.config.settings import CurveGridSettings, OfRuns

__all__ = ["CascadeSettings"]


def _learned(name: str, stages: Sequence[Any]) -> tuple[Any, ...]:
    """Check overlaps: for each stage a number, one for each hard direction, or rows of neurons."""
    return tuple(
        _learned(name, stage) if isinstance(stage, Sequence) else check_real(name, stage)
        for stage in stages
    )


@dataclass(frozen=True)
class CascadeSettings(OfRuns, CurveGridSettings):
    """Arguments of :func:`dmft.cascade`; bracket and criterion as for the curve, and no index."""

    learned: tuple[float | tuple[float | tuple[float, ...], ...], ...] | None = option(
        check=_learned
    )
    features: int | None = option(
        "thresholds of each stage at most", "J", check=lambda n, v: check_integer(n, v, minimum=1)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.index is not None:
            raise ValueError("index belongs to threshold and curve: a cascade has all thresholds")
