"""Table ``[scaling-law]`` of run files: thresholds of all features at several widths."""

from __future__ import annotations

from dataclasses import dataclass

from dmft._numerics.validation import check_integer
from dmft.config.options import option
from dmft.config.settings import CurveGridSettings

__all__ = ["ScalingLawSettings"]


@dataclass(frozen=True)
class ScalingLawSettings(CurveGridSettings):
    """Arguments of :func:`dmft.scaling_law`; bracket as for the curve, one step, and no index."""

    widths: tuple[int, ...] | None = option(
        "numbers of neurons",
        "M",
        check=lambda n, v: tuple(check_integer(n, m, minimum=1) for m in v),
    )
    n_points: int | None = option(
        "points of the law of the label", "N", check=lambda n, v: check_integer(n, v, minimum=1)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.index is not None:
            raise ValueError("index belongs to threshold and curve: here features have names")
        if self.steps is not None and len(self.steps) != 1:
            raise ValueError(f"steps must be a single step here, got {list(self.steps)}")
