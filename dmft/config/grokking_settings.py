"""Table ``[grokking]`` of run files: how many falls are predicted, from how many starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dmft._numerics.validation import check_integer
from dmft.config.options import Settings, option

__all__ = ["GrokkingSettings"]


@dataclass(frozen=True)
class GrokkingSettings(Settings):
    """Arguments of :func:`dmft.predict_grokking`; delta and d are those of the simulation."""

    drops: int | None = option(
        "falls of the test loss, by so many features", "F", check=partial(check_integer, minimum=1)
    )
    n_draws: int | None = option(
        "starts followed for each size at first", "N", check=partial(check_integer, minimum=4)
    )
    max_draws: int | None = option(
        "starts followed for each size at most", "N", check=partial(check_integer, minimum=4)
    )
