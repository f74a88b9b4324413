"""Overrides: keys of a run file replaced before anything is checked.

An override names a key as messages do, ``target.noise``, whether the file has it or not; so the
checks and suggestions of run files are those of overrides too.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from dmft.config.options import TOO_DEEP, Settings, declared, one_line

__all__ = ["LAWS", "OF_PROBLEM", "parse_override", "parse_overrides", "with_overrides"]

# Numbers of everybody but TOML.
_NUMBER = re.compile(r"[+-]?(\d+\.|\.\d+)([eE][+-]?\d+)?")
#: Tables of which a problem is made.
OF_PROBLEM = ("target", "network", "problem")
#: Keys that may name a law of one's own, or several, and its kind.
LAWS = {
    "target.label": "label",
    "network.activation": "activation",
    "problem.loss": "loss",
    "problem.spectral_start": "preprocessing",
    "spectral-method.preprocessing": "preprocessing",
    "algorithmic-gap.activations": "activation",
    "algorithmic-gap.losses": "loss",
}
_LONGEST = 2**16  # characters of one override


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``KEY=VALUE`` into a dotted key and its value.

    Parameters
    ----------
    text : str
        The value as TOML has it; words that are no TOML value are a string.

    Returns
    -------
    (str, object)

    Raises
    ------
    ValueError
        If there is no key, no value, or the value is TOML that cannot be read.

    Examples
    --------
    >>> parse_override("network.activation=gelu"), parse_override("target.noise=0.3")
    (('network.activation', 'gelu'), ('target.noise', 0.3))
    >>> parse_override("network.second_layer=[1, -0.5]")
    ('network.second_layer', [1, -0.5])
    """
    key, equals, value = (part.strip() for part in text[:_LONGEST].partition("="))
    if not key or not equals or not value or len(text) > _LONGEST:
        raise ValueError(
            f"an override must be KEY=VALUE, target.noise=0.3 say, got {one_line(text)!r}"
        )
    try:
        parsed = tomllib.loads(f"value = {value}")
        if parsed.keys() == {"value"}:
            return key, parsed["value"]
    except RecursionError:
        raise ValueError(f"{one_line(key)}: {TOO_DEEP}") from None
    except ValueError as error:
        # A file name may begin with a digit; brackets and quotes are always meant as TOML.
        if value[0] in "[{\"'":
            said = re.sub(r" \(at line.*\)$", "", one_line(str(error)))
            raise ValueError(
                f"{one_line(key)}: not a value of TOML: {said}, got {one_line(value)!r}"
            ) from None
    return key, float(value) if _NUMBER.fullmatch(value) else value


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Return overrides given as ``KEY=VALUE``.

    Raises
    ------
    ValueError
        As `parse_override`, and if a key is given twice.

    Examples
    --------
    >>> parse_overrides(["target.noise=0.3", "network.activation=erf"])
    {'target.noise': 0.3, 'network.activation': 'erf'}
    """
    found: dict[str, Any] = {}
    for key, value in map(parse_override, texts):
        if key in found:
            raise ValueError(f"{one_line(key)}: given twice")
        found[key] = value
    return found


def with_overrides(
    config: Mapping[str, Any],
    overrides: Mapping[str, Any],
    tables: Mapping[str, type[Settings]] | None = None,
) -> dict[str, Any]:
    """Return the tables of a run file with other values; what is given stays as it is.

    Parameters
    ----------
    config : mapping
        As a TOML parser returns it, not yet checked.
    overrides : mapping
        Values by dotted key. Tables on the way are made where there are none. None removes a key.
    tables : mapping, optional
        Declarations of the tables. An option that is `instead_of` others removes those from the
        file, unless they are overridden too.

    Returns
    -------
    dict
        To be checked by `RunFile.from_config`, which knows which keys there are.

    Raises
    ------
    ValueError
        If a key is empty, or goes through something that is no table.

    Examples
    --------
    >>> with_overrides({"target": {"label": "linear"}}, {"target.noise": 0.3, "title": "Noisy"})
    {'target': {'label': 'linear', 'noise': 0.3}, 'title': 'Noisy'}
    """
    changed = dict(config)
    for key in overrides:
        for other in _replaced(key, tables or {}):
            if other not in overrides:
                _set(changed, other, None)
    for key, value in overrides.items():
        _set(changed, key, value)
    return changed


def _replaced(key: str, tables: Mapping[str, type[Settings]]) -> list[str]:
    """Return the keys that have no effect where this one is given."""
    table, _, name = key.partition(".")
    if table not in tables or name not in (options := declared(tables[table])):
        return []
    return [f"{table}.{other}" for other in options[name][0].instead_of]


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, or remove it if the value is None."""
    *path, last = key.split(".")
    if not all((*path, last)):
        raise ValueError(
            f"a key must be that of a run file, target.noise say, got {one_line(key)!r}"
        )
    table = config
    for depth, name in enumerate(path, start=1):
        inner = table.get(name, {})
        if not isinstance(inner, Mapping):
            where = one_line(".".join(path[:depth]))
            raise ValueError(
                f"{one_line(key)}: unknown key; {where} is no table, got {inner!r:.60}"
            )
        if value is None and name not in table:
            return
        table[name] = table = dict(inner)
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value
