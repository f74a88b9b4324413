"""Checks at the door: one-line ``ValueError``s that name argument, value and what is allowed."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._suggestions import likely_names

__all__ = [
    "check_choice",
    "check_finite_array",
    "check_integer",
    "check_keys",
    "check_real",
]


def check_real(
    name: str, value: object, *, minimum: float | None = None, exclusive: bool = False
) -> float:
    """Return `value` as a finite float, not below `minimum` (above it if `exclusive`).

    Raises
    ------
    ValueError
        If `value` is not a real number, not finite, or out of range.

    Examples
    --------
    >>> check_real("delta", 2, minimum=0.0, exclusive=True)
    2.0
    >>> check_real("delta", -1.0, minimum=0.0, exclusive=True)
    Traceback (most recent call last):
    ...
    ValueError: delta must be a positive finite number, got -1.0
    """
    kind = "a finite number"
    if minimum is not None:
        if minimum == 0.0:
            kind = "a positive finite number" if exclusive else "a finite number >= 0"
        else:
            kind = f"a finite number {'>' if exclusive else '>='} {minimum:g}"
    message = f"{name} must be {kind}, got {_shown(value)}"
    if isinstance(value, str | bytes | bool | np.bool_):
        raise ValueError(message)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(message) from None
    if not math.isfinite(number):
        raise ValueError(message)
    if minimum is not None and (number < minimum or (exclusive and number == minimum)):
        raise ValueError(message)
    return number


def check_integer(name: str, value: object, *, minimum: int | None = None) -> int:
    """Return `value` as an int; numpy integers are accepted, booleans and floats are not.

    Raises
    ------
    ValueError
        If `value` is not an integer, or is below `minimum`.

    Examples
    --------
    >>> check_integer("n_steps", 3, minimum=0)
    3
    >>> check_integer("n_steps", 2.5, minimum=0)
    Traceback (most recent call last):
    ...
    ValueError: n_steps must be an integer >= 0, got 2.5
    """
    kind = "an integer" if minimum is None else f"an integer >= {minimum}"
    message = f"{name} must be {kind}, got {_shown(value)}"
    if isinstance(value, bool | np.bool_):
        raise ValueError(message)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(message) from None
    if minimum is not None and number < minimum:
        raise ValueError(message)
    return number


def check_choice(name: str, value: object, allowed: Collection[str], *, also: str = "") -> str:
    """Return `value` if it is one of `allowed`, else say which names there are and the nearest.

    Raises
    ------
    ValueError
        If `value` is not one of `allowed`.

    Examples
    --------
    >>> check_choice("loss", "sqare", ["square", "logistic"])
    Traceback (most recent call last):
    ...
    ValueError: loss must be one of 'square', 'logistic'; got 'sqare' (did you mean 'square'?)
    """
    if isinstance(value, str) and value in allowed:
        return value
    names = ", ".join(repr(entry) for entry in allowed)
    message = f"{name} must be one of {names}{also}; got {_shown(value)}"
    if isinstance(value, str):
        folded = {entry.casefold(): entry for entry in allowed}
        wanted = value.strip().casefold().replace("_", "-").replace(" ", "-")
        # "huber" is far from "pseudo-huber" letter by letter, but it is what was meant.
        near = likely_names(wanted, folded)
        near = near or [entry for entry in folded if wanted and wanted in entry]
        near = near or difflib.get_close_matches(wanted, folded, n=1)
        if near:
            message += f" (did you mean {' or '.join(repr(folded[entry]) for entry in near)}?)"
    raise ValueError(message)


def check_instance(name: str, value: object, kind: type | tuple[type, ...]) -> None:
    """Raise unless `value` is of the given public class, or of one of several.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> check_instance("sampling", 1024, int)
    >>> check_instance("sampling", "x", int)
    Traceback (most recent call last):
    ...
    ValueError: sampling must be a dmft.int, got str
    """
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        allowed = " or ".join(f"dmft.{kind.__name__}" for kind in kinds)
        raise ValueError(f"{name} must be a {allowed}, got {type(value).__name__}")


def check_derivatives(name: str, value: object) -> str:
    """Return the name of an object with callables value, derivative and second_derivative.

    Raises
    ------
    ValueError
        If one of the callables is missing.

    Examples
    --------
    >>> check_derivatives("loss", 3)
    Traceback (most recent call last):
    ...
    ValueError: loss must be a catalogue name or have callables value, derivative and
    second_derivative; 3 lacks value, derivative, second_derivative
    """
    members = ("value", "derivative", "second_derivative")
    missing = [member for member in members if not callable(getattr(value, member, None))]
    if missing:
        raise ValueError(
            f"{name} must be a catalogue name or have callables value, derivative and "
            f"second_derivative; {value!r} lacks {', '.join(missing)}"
        )
    given = getattr(value, "name", None)
    return given if isinstance(given, str) else "custom"


def check_finite_array(
    name: str, value: object, *, ndim: int, expected: str
) -> NDArray[np.float64]:
    """Return `value` as a new float64 array with `ndim` axes and finite entries.

    Raises
    ------
    ValueError
        If `value` is not numeric, has another number of axes, or is not finite everywhere.

    Examples
    --------
    >>> check_finite_array("second_layer", [1, -0.5], ndim=1, expected="a sequence of numbers")
    array([ 1. , -0.5])
    """
    try:
        if np.asarray(value).dtype.kind == "c":  # numpy would drop the imaginary part
            raise TypeError("complex numbers")
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {expected}, got {_shown(value)}") from None
    if array.ndim != ndim:
        raise ValueError(f"{name} must be {expected}, got shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must have finite entries, got {_shown(array.tolist())}")
    return array


def check_keys(
    name: str, config: object, allowed: Collection[str], required: Collection[str] = ()
) -> dict[str, Any]:
    """Return `config` as a dict whose keys are all among `allowed` and include `required`.

    Raises
    ------
    ValueError
        If `config` is not a mapping, has an unknown key, or lacks a required one.

    Examples
    --------
    >>> check_keys("target", {"lable": "linear"}, ["label", "noise"])
    Traceback (most recent call last):
    ...
    ValueError: a key of target must be one of 'label', 'noise'; got 'lable' (did you mean 'label'?)
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"{name} must be a table of settings, got {_shown(config)}")
    for key in config:
        if key not in allowed:
            check_choice(f"a key of {name}", key, allowed)
    for key in required:
        if key not in config:
            raise ValueError(f"{name} must have a key {key!r}, got {sorted(config)}")
    return dict(config)


def _shown(value: object) -> str:
    """`repr` on one short line; numpy scalars appear as plain numbers."""
    if isinstance(value, np.generic):
        value = value.item()
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
