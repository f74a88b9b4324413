"""What counts as a number: one rule for arguments of `rmt` and `dmft`.

A number is a real scalar of any type: int, float, Fraction, Decimal, a numpy scalar, an array
without axes. Booleans, text, complex numbers, dates and arrays with axes, even of one entry, are
none. In arrays the same holds for every entry.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "as_array",
    "check_array",
    "check_complex",
    "check_groups",
    "check_integer",
    "check_masses",
    "check_real",
    "shown",
]

Array = NDArray[np.float64]

_NOT_NUMBERS = (bool, np.bool_, str, bytes, bytearray, np.datetime64, np.timedelta64)


def check_real(
    name: str,
    value: object,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive: bool = False,
) -> float:
    """Return `value` as a finite float from `minimum` to `maximum`, ends `exclusive` or not.

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
    >>> check_real("delta", True)
    Traceback (most recent call last):
    ...
    ValueError: delta must be a finite number, got True
    """
    number = _number(value)
    out = number is None or not math.isfinite(number)
    if not out:
        assert number is not None
        for end, sign in ((minimum, 1.0), (maximum, -1.0)):
            beyond = 0.0 if end is None else sign * (number - end)
            out = out or beyond < 0.0 or (exclusive and end is not None and beyond == 0.0)
    if out:
        raise ValueError(f"{name} must be {_kind(minimum, maximum, exclusive)}, got {shown(value)}")
    assert number is not None
    return number


def _kind(minimum: float | None, maximum: float | None, exclusive: bool) -> str:
    """Return the allowed numbers in words."""
    if minimum is not None and maximum is not None:
        return f"a number {'between' if exclusive else 'from'} {minimum:g} " + (
            f"and {maximum:g}" if exclusive else f"to {maximum:g}"
        )
    if minimum == 0.0:
        return "a positive finite number" if exclusive else "a finite number >= 0"
    if minimum is not None:
        return f"a finite number {'>' if exclusive else '>='} {minimum:g}"
    if maximum is not None:
        return f"a finite number {'<' if exclusive else '<='} {maximum:g}"
    return "a finite number"


def _number(value: Any) -> float | None:
    """Return a real scalar as a float, which may be NaN or infinite; None for anything else."""
    if np.ma.is_masked(value):
        return None
    if not isinstance(value, np.generic) and hasattr(value, "__array__"):
        value = np.asarray(value)
        if value.ndim:
            return None
        value = value[()]
    if isinstance(value, _NOT_NUMBERS):
        return None
    if isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:  # an int beyond all floats
        return math.inf
    except (TypeError, ValueError):
        return None


def check_integer(
    name: str,
    value: object,
    *,
    minimum: int | None = None,
    maximum: int | None = 2**63 - 1,
) -> int:
    """Return `value` as an int; numpy integers are accepted, booleans and floats are not.

    Raises
    ------
    ValueError
        If `value` is not an integer, is below `minimum` or above `maximum` (of seeds: None).

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
    message = f"{name} must be {kind}, got {shown(value)}"
    if isinstance(value, bool | np.bool_):
        raise ValueError(message)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(message) from None
    if minimum is not None and number < minimum:
        raise ValueError(message)
    if maximum is not None and number > maximum:
        raise ValueError(f"{message}, above {maximum}")
    return number


def check_array(
    name: str, value: object, *, expected: str = "a rectangular array of real numbers"
) -> Array:
    """Return `value` as a new float64 array with finite entries, of any number of axes.

    Raises
    ------
    ValueError
        If an entry is not a real number or not finite, or rows differ in length.

    Examples
    --------
    >>> check_array("weights", [1, 2.5])
    array([1. , 2.5])
    >>> check_array("weights", [1.0, True])
    Traceback (most recent call last):
    ...
    ValueError: weights must be a rectangular array of real numbers, got [1.0, True]
    """
    if np.ma.is_masked(value):
        raise ValueError(f"{name} must be without masked entries, got {shown(value)}")
    array = None if _has_hidden(value) else _as_array(value)
    if array is None:
        raise ValueError(f"{name} must be {expected}, got {shown(value)}")
    finite = np.isfinite(array)
    if not finite.all():
        bad = array.size - int(np.count_nonzero(finite))
        raise ValueError(
            f"{name} must have finite entries, got {bad} that are NaN or infinite: {shown(value)}"
        )
    return array


def check_masses(value: ArrayLike | None, n: int, like: str) -> Array:
    """Return the masses (n,) of atoms, of sum one; equal ones where there are none.

    Raises
    ------
    ValueError
        If there is not one, at least 0, for each entry of the argument `like`, or the sum is not 1.
    """
    if value is None:
        return np.full(n, 1.0 / n)
    p = check_array("probabilities", value)
    if p.shape != (n,):
        raise ValueError(f"probabilities must have shape ({n},) like {like}, got {p.shape}")
    if np.any(p < 0):
        raise ValueError(f"probabilities must be non-negative, got {p.min()!r}")
    total = float(p.sum())
    if abs(total - 1.0) > 1e-9:
        raise ValueError(f"probabilities must sum to 1 (to 1e-9), got {total!r}")
    return np.asarray(p / total)


def check_groups(value: int | ArrayLike | None, n: int, like: str) -> NDArray[np.int64] | None:
    """Return the group (n,) of each atom; an integer makes so many of consecutive atoms.

    Raises
    ------
    ValueError
        If groups of equal size do not divide n, or there is not one label for each entry of the
        argument `like`.
    """
    if value is None:
        return None
    array = check_array("groups", value, expected="an integer or integer labels")
    if np.any(array != np.rint(array)):
        raise ValueError(f"groups must be an integer or integer labels, got {value!r}")
    if array.ndim == 0:
        count = int(array)
        if count < 1 or n % count:
            raise ValueError(f"groups must divide the number of {like} {n}, got {count}")
        return np.repeat(np.arange(count), n // count)
    if array.shape != (n,):
        raise ValueError(f"groups must have shape ({n},) like {like}, got {array.shape}")
    return array.astype(np.int64)


def as_array(name: str, value: object) -> Array:
    """Return an array of float64 as it is, neither copied nor read; others as `check_array` does.

    Examples
    --------
    >>> x = np.ones(3)
    >>> as_array("x", x) is x
    True
    """
    if type(value) is np.ndarray and value.dtype == np.float64:
        return value
    return check_array(name, value)


def check_complex(name: str, value: object) -> NDArray[np.complex128]:
    """Return `value` as a new complex128 array with finite entries.

    Raises
    ------
    ValueError
        If an entry is not a number or not finite, or rows differ in length.

    Examples
    --------
    >>> check_complex("z", [1, 2j])
    array([1.+0.j, 0.+2.j])
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        array = np.asarray(None)
    if _has_hidden(value) or (array.size and array.dtype.kind not in "fiuc"):
        raise ValueError(f"{name} must be an array of complex numbers, got {shown(value)}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must have finite entries, got {shown(value)}")
    return np.array(array, dtype=np.complex128)


def _as_array(value: object) -> Array | None:
    """Return real numbers as a new float64 array, or None."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if array.dtype.kind == "O":
        entries = [_number(entry) for entry in array.flat]
        return None if None in entries else np.array(entries, np.float64).reshape(array.shape)
    if array.size and array.dtype.kind not in "fiu":
        return None
    return np.array(array, dtype=np.float64)


def _has_hidden(value: object) -> bool:
    """Whether lists, which numpy would read as numbers, have booleans or masks in them."""
    if isinstance(value, list | tuple):
        return any(map(_has_hidden, value))
    if type(value) is float:
        return False
    is_boolean = isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_
    return is_boolean or bool(np.ma.is_masked(value))


def shown(value: object) -> str:
    """`repr` on one short line; numpy scalars appear as plain numbers."""
    if isinstance(value, np.generic):
        value = value.item()
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python prints no integer of more than some thousand digits
        return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else "?"
    return text if len(text) <= 80 else text[:77] + "..."
