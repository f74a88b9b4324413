"""Table ``[spectral-method]`` of run files: eigenvectors that recover latent directions."""

# ruff: noqa: RUF009 - `option` makes a field of a frozen dataclass

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dmft._numerics.validation import check_integer, check_real
from dmft.config.options import Settings, option
from dmft.config.own_laws import is_own, own_law
from dmft.recovery.spectral_methods import check_bracket, check_preprocessing

__all__ = ["SpectralMethodSettings"]


def _preprocessing(_: str, entry: Any) -> Any:
    return own_law("preprocessing", entry, "") if is_own(entry) else check_preprocessing(entry)


def _bracket(_: str, bracket: Sequence[float]) -> tuple[float, float]:
    return check_bracket(bracket)


@dataclass(frozen=True)
class SpectralMethodSettings(Settings):
    """Arguments of :func:`dmft.spectral_method`; delta is that of the trajectory."""

    preprocessing: str | dict[str, Any] | None = option(
        "of labels: optimal, optimal-scalar, clipped, or file.py:function", "T",
        check=_preprocessing,
    )  # fmt: skip
    cap: float | None = option(
        "of clipped", "CAP", check=partial(check_real, minimum=0.0, exclusive=True)
    )
    side: str | None = option("leading eigenvalues are those on the right or left", "SIDE")
    bracket: tuple[float, float] | None = option(
        "range of delta to search", ("LO", "HI"), check=_bracket
    )
    n_points: int | None = option("labels evaluated", "N", check=partial(check_integer, minimum=64))
