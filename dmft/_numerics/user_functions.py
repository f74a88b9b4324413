"""Calls of functions that users supply, with errors that name the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["real_array", "result_of"]


def result_of(function: Callable[..., Any], *arguments: Any, failed: str) -> Any:
    """Return the result of a function.

    Raises
    ------
    ValueError
        Of one line that begins with `failed`, if the function raises anything, or exits.

    Examples
    --------
    >>> result_of(lambda r: r[7], np.zeros(3), failed="activation: value failed: ")
    Traceback (most recent call last):
    ...
    ValueError: activation: value failed: IndexError: index 7 is out of bounds for axis 0 with size 3
    """  # noqa: E501
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{failed}{type(error).__name__}: {said}") from error


def real_array(result: Any) -> NDArray[np.float64]:
    """Return what a function gave as a float64 array, itself if it is one.

    Raises
    ------
    TypeError
        If it is made of anything but real numbers, or masked.
    """
    array = np.asarray(result)
    if np.ma.is_masked(result) or array.dtype.kind not in "fiubO":  # comparisons return booleans
        raise TypeError
    return array.astype(np.float64, copy=False)
