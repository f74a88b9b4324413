"""Entries of run files that name laws of one's own: labels and quantile functions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dmft.config.overrides import LAWS
from dmft.config.own_laws import anchored, is_own, own_law
from dmft.model.target import Target

__all__ = ["name_own", "placed", "placed_override", "target_of"]


def name_own(table: str, settings: dict[str, Any]) -> None:
    """Put laws of one's own into the settings of a table that name them.

    Those of `LAWS`, the quantile function of a law of inputs, the preprocessing of a start.
    """
    for key, entry in settings.items():
        kind = LAWS.get(f"{table}.{key}")
        if kind is not None and is_own(entry):
            settings[key] = own_law(kind, entry, "")
    inputs = settings.get("inputs")
    if table == "problem" and isinstance(inputs, Mapping):
        settings["inputs"] = {key: _quantiles(entry) for key, entry in inputs.items()}
    start = settings.get("spectral_start")
    if table == "problem" and isinstance(start, Mapping) and is_own(start.get("preprocessing")):
        own_start = own_law("preprocessing", start["preprocessing"], "")
        settings["spectral_start"] = {**start, "preprocessing": own_start}


def _quantiles(entry: Any) -> Any:
    """Return an entry of a law of inputs, or a list of such, with quantile functions for names."""
    if isinstance(entry, list):
        return [_quantiles(one) for one in entry]
    return own_law("quantile", entry, "") if is_own(entry) else entry


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


def placed(name: str, table: Any, folder: str | os.PathLike[str]) -> Any:
    """Return a table of a run file in which the files of own laws are those of a folder."""
    if not isinstance(table, Mapping):
        return table
    found = {
        key: anchored(entry, folder) if f"{name}.{key}" in LAWS else entry
        for key, entry in table.items()
    }
    inputs = found.get("inputs")
    if isinstance(inputs, Mapping):  # a quantile function
        found["inputs"] = {key: anchored(inputs[key], folder) for key in inputs}
    start = found.get("spectral_start")
    if isinstance(start, Mapping) and "preprocessing" in start:
        preprocessing = anchored(start["preprocessing"], folder)
        found["spectral_start"] = {**start, "preprocessing": preprocessing}
    return found


def placed_override(key: str, value: Any, folder: str | os.PathLike[str]) -> Any:
    """Return the value of a dotted key, in which files of own laws are those of a folder.

    Examples
    --------
    >>> placed_override("problem.inputs.scales", "mine.py:scales", "/home/me")
    '/home/me/mine.py:scales'
    """
    table, *path = key.split(".")
    for name in reversed(path):
        value = {name: value}
    found = placed(table, value, folder)
    for name in path:
        found = found[name]
    return found
