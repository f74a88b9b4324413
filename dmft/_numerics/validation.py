"""Checks at the door: one-line ``ValueError``s that name argument, value and what is allowed.

What counts as a number is decided in ``rmt._validation``, for both packages alike.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.suggestions import likely_names
from rmt._validation import as_array, check_array, check_integer, check_real, shown

__all__ = [
    "as_array",
    "check_array",
    "check_choice",
    "check_finite_array",
    "check_integer",
    "check_keys",
    "check_real",
    "own_parameter",
]


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
    message = f"{name} must be one of {names}{also}; got {shown(value)}"
    if isinstance(value, str):
        folded = {entry.casefold(): entry for entry in allowed}
        given = value.strip().casefold().replace("_", "-").replace(" ", "-")
        # "huber" is far from "pseudo-huber" letter by letter, but it is what was meant.
        near = likely_names(given, folded)
        near = near or [entry for entry in folded if given and given in entry]
        near = near or difflib.get_close_matches(given, folded, n=1)
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


def check_progress(value: object) -> None:
    """Raise unless something may be called with how far it has come, or is a bool or None.

    Raises
    ------
    ValueError
        If it is nothing of the kind.

    Examples
    --------
    >>> check_progress(True)
    >>> check_progress(3)
    Traceback (most recent call last):
    ...
    ValueError: progress must be a function of one number, True or None, got 3
    """
    if value is not None and not isinstance(value, bool) and not callable(value):
        raise ValueError(
            f"progress must be a function of one number, True or None, got {shown(value)}"
        )


def own_parameter(
    name: str,
    kind: str,
    parameters: Mapping[str, tuple[str, Any] | None],
    given: Mapping[str, object],
) -> tuple[str, Any] | None:
    """Return the parameter of a kind and its value or default; None for a kind without one.

    Parameters
    ----------
    name : str
        Of the argument that chooses the kind.
    kind : str
    parameters : mapping
        For each kind the name of its parameter and that parameter's default, or None.
    given : mapping
        Values of all parameters, None where there is none.

    Raises
    ------
    ValueError
        If a parameter of another kind is given.

    Examples
    --------
    >>> parameters = {"sign": ("flip", 0.0), "logistic": ("slope", 1.0)}
    >>> own_parameter("classes", "sign", parameters, {"flip": None, "slope": None})
    ('flip', 0.0)
    """
    own = parameters[kind]
    owners = {entry[0]: key for key, entry in parameters.items() if entry}
    for parameter, value in given.items():
        owner = owners[parameter]
        if value is not None and owner != kind:
            raise ValueError(
                f"{parameter} must be left out for {name} {kind!r} (it belongs to {owner!r}), "
                f"got {value!r}"
            )
    if own is None:
        return None
    value = given[own[0]]
    return own[0], own[1] if value is None else value


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
    array = check_array(name, value, expected=expected)
    if array.ndim != ndim:
        raise ValueError(f"{name} must be {expected}, got shape {array.shape}")
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
        raise ValueError(f"{name} must be a table of settings, got {shown(config)}")
    for key in config:
        if key not in allowed:
            check_choice(f"a key of {name}", key, allowed)
    for key in required:
        if key not in config:
            raise ValueError(f"{name} must have a key {key!r}, got {sorted(config)}")
    return dict(config)
