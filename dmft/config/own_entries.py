"""Entries of run files that name laws of one's own: labels and quantile functions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dmft.config.own_laws import anchored, is_own, own_law
from dmft.model.target import Target

__all__ = ["name_own", "placed", "target_of"]

_LAWS = ("label", "activation", "loss", "activations", "losses", "spectral_start")


def name_own(settings: dict[str, Any]) -> None:
    """Put functions of one's own into the settings of a problem that name them.

    The quantile function of a law of inputs, and the preprocessing of a spectral start.
    """
    start: Any = settings.get("spectral_start")
    if is_own(start):
        settings["spectral_start"] = own_law("preprocessing", start, "")
    inputs = settings.get("inputs")
    if isinstance(inputs, Mapping):
        own = {
            key: own_law("quantile", entry, "") for key, entry in inputs.items() if is_own(entry)
        }
        settings["inputs"] = {**inputs, **own}


def target_of(settings: dict[str, Any]) -> Target:
    """Return the target; where a label of one's own fails, with how many directions it did."""
    try:
        return Target(**settings)
    except ValueError as error:
        if (
            isinstance(settings.get("label"), str | None)
            or "k" in settings
            or "failed" not in str(error)
        ):
            raise
        raise ValueError(f"{error} (its number of directions, k, is 1 unless given)") from error


def placed(table: Any, folder: str | os.PathLike[str]) -> Any:
    """Return a table in which the files of own laws are those of a folder."""
    if not isinstance(table, Mapping):
        return table
    found = {key: anchored(table[key], folder) if key in _LAWS else table[key] for key in table}
    inputs = found.get("inputs")
    if isinstance(inputs, Mapping):  # a quantile function
        found["inputs"] = {key: anchored(inputs[key], folder) for key in inputs}
    return found
