"""Quantities of a result by name, with their dimensions, units and errors, from its annotations.

What a table or a file for others needs to know of a result is declared where its contents are::

    @dataclass(frozen=True)
    class Curve(Result):
        _axes: ClassVar = {"S": "step", "n": "delta"}
        steps: Annotated[NDArray[np.intp], "S", STEPS]
        value: Annotated[FloatArray, "S", DELTA]
        stderr: Annotated[FloatArray, "S", DELTA, ErrorOf("value")]

Letters of the axes are those of `dmft.io.records`; ``_axes`` gives them names. Public properties
whose return types are numbers, or arrays annotated like fields, are quantities too. Standard errors
are found by their names (``gap_stderr``), or declared. Parts that are dataclasses are taken apart:
``limit_value`` is ``limit.value``.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from dmft.io.marks import STEPS, Along, Axes, EachOf, ErrorOf, Unit
from rmt.status import NumericalFailure

__all__ = [
    "Quantity",
    "notes",
    "public_arrays",
    "quantities",
    "singular",
]

_NUMBERS: Final = (float, int, bool)


@dataclass(frozen=True)
class Quantity:
    """Values of a quantity, one dimension name for each axis."""

    values: NDArray[Any]
    dims: tuple[str, ...]
    unit: str = "1"
    error_of: str = ""


@dataclass(frozen=True)
class _Declared:
    """Name, kind and metadata of a quantity as its class declares it."""

    name: str
    hint: Any
    axes: tuple[str, ...] | None
    marks: tuple[Any, ...]

    def mark(self, kind: type) -> Any:
        return next((mark for mark in self.marks if isinstance(mark, kind)), None)


def quantities(result: Any, names: typing.Collection[str] = ()) -> dict[str, Quantity]:
    """Return the quantities of a result by name: those named, or all that grow like its size.

    By default without those at two times, whose sizes grow with the square of the number of steps.

    Parameters
    ----------
    result : dataclass instance or Trajectory
    names : collection of str

    Returns
    -------
    dict of str to Quantity
        Standard errors under ``NAME_stderr``.

    Raises
    ------
    ValueError
        If there is no quantity of a name.
    """
    found: dict[str, Quantity] = {}
    for name, quantity in _of(result, "", set(names), {}):
        found[name] = quantity
    if names:
        unknown = [name for name in names if name not in found]
        if unknown:
            known = ", ".join(sorted({*quantities(result), *_two_times(type(result))}))
            raise ValueError(
                f"names must be quantities of the result ({known}), got {unknown[0]!r}"
            )
        coordinates = {name for name, entry in found.items() if entry.dims == (singular(name),)}
        errors = {name for name, entry in found.items() if _error_of(name, entry, found) in names}
        chosen = {*names, *coordinates, *errors}
        found = {name: entry for name, entry in found.items() if name in chosen}
    complete = {
        name: dataclasses.replace(entry, error_of=_error_of(name, entry, found))
        for name, entry in found.items()
    }
    return dict(sorted(complete.items(), key=lambda item: _place(item, list(complete))))


def public_arrays(result: Any) -> dict[str, NDArray[Any]]:
    """Return the quantities that a result file holds under their names, those of parts apart."""
    with np.errstate(all="ignore"):
        found = dict(_of(result, "", set(), {}, parts=False))
    return {name: entry.values for name, entry in found.items()}


def notes(result: Any) -> dict[str, str]:
    """Return what a result says in words: statuses, explanations, names."""
    found = {}
    for declared in _declared(_class(result)):
        hint = _plain_hint(declared.hint)
        value = getattr(result, declared.name, None)
        if isinstance(value, enum.Enum):
            found[declared.name] = value.name
        elif hint is str or isinstance(value, str):
            found[declared.name] = str(value)
        elif declared.axes is None and isinstance(value, tuple) and value and all(
            isinstance(entry, str) for entry in value
        ):  # fmt: skip
            found[declared.name] = "\n".join(value)
    return found


# -- declarations --------------------------------------------------------------------------------


@functools.cache
def _declared(cls: Any) -> tuple[_Declared, ...]:
    """Return the declared quantities of a class: fields or annotations, then properties."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = getattr(cls, "__dataclass_fields__", {})
    settings = [name for name in fields if not fields[name].metadata.get("stored", True)]
    found = [
        _declaration(name, hint)
        for name, hint in hints.items()
        if not name.startswith("_")
        and typing.get_origin(hint) is not ClassVar
        and name not in settings
    ]
    members = {name: getattr(cls, name) for base in reversed(cls.__mro__) for name in vars(base)}
    for name, member in members.items():
        function = getattr(member, "fget", None) or getattr(member, "func", None)
        if name.startswith("_") or name in hints or function is None:
            continue
        try:
            hint = typing.get_type_hints(function, include_extras=True).get("return")
        except NameError:  # a name that only type checkers know: no array or number
            continue
        if typing.get_origin(hint) is tuple and dataclasses.is_dataclass(typing.get_args(hint)[0]):
            continue  # parts that fields hold too
        found.append(_declaration(name, hint))
    return tuple(found)


def _class(result: Any) -> Any:
    return type(result)


def _declaration(name: str, hint: Any) -> _Declared:
    marks: tuple[Any, ...] = ()
    if typing.get_origin(hint) is typing.Annotated:
        hint, *extras = typing.get_args(hint)
        marks = tuple(extras)
    axes = next((mark for mark in marks if isinstance(mark, str)), None)
    axes = next((mark.letters for mark in marks if isinstance(mark, Axes)), axes)
    return _Declared(name, hint, None if axes is None else tuple(axes.split()), marks)


def _plain_hint(hint: Any) -> Any:
    """Return a type without ``| None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _two_times(cls: Any) -> list[str]:
    return [entry.name for entry in _declared(cls) if _is_at_two_times(entry)]


def _is_at_two_times(declared: _Declared) -> bool:
    axes = declared.axes or ()
    return axes.count("T") > 1


# -- values --------------------------------------------------------------------------------------


Sizes = dict[str, int]


def _of(
    result: Any, prefix: str, names: set[str], sizes: Sizes, *, parts: bool = True
) -> Iterator[tuple[str, Quantity]]:
    """Yield the quantities of a result or part: its own, then those of its parts."""
    cls = _class(result)
    names_of = _AxisNames(prefix, getattr(cls, "_axes", {}), getattr(cls, "_default_axes", ""))
    later = []
    for declared in _declared(cls):
        name = f"{prefix}{declared.name}"
        asked = {name, f"{name}_stderr", f"{name}_bias"} & names
        if (_is_at_two_times(declared) and not asked) or not _can_be(declared):
            continue
        try:
            value = getattr(result, declared.name)
        except (ValueError, NumericalFailure):  # a quantity that this result does not have
            continue
        if value is None:
            continue
        if _is_part(value, declared):
            later.append((declared, value, name))
            continue
        for key, entry in _taken(result, declared, value, name, names_of, names):
            sizes |= dict(zip(entry.dims, entry.values.shape, strict=True))
            yield key, entry
    for declared, value, name in later if parts else ():
        yield from _parts(declared, value, name, names_of, names, sizes)


def _part(part: Any, prefix: str, names: set[str], sizes: Sizes) -> Iterator[tuple[str, Quantity]]:
    """Yield the quantities of a part."""
    return _fitted(dict(_of(part, prefix, names, {})), prefix, sizes)


def _fitted(
    found: dict[str, Quantity], prefix: str, sizes: Sizes
) -> Iterator[tuple[str, Quantity]]:
    """Yield quantities of a part; dimensions whose length differs from others' get its prefix."""
    own = {
        dim: size
        for entry in found.values()
        for dim, size in zip(entry.dims, entry.values.shape, strict=True)
    }
    new = {
        dim: dim if sizes.setdefault(dim, size) == size else f"{prefix}{dim}"
        for dim, size in own.items()
    }
    for name, entry in found.items():
        yield name, dataclasses.replace(entry, dims=tuple(new[dim] for dim in entry.dims))


def _is_part(value: Any, declared: _Declared) -> bool:
    """Return whether an attribute is taken apart."""
    if dataclasses.is_dataclass(value) or (isinstance(value, tuple) and _records_of(value)):
        return True
    return isinstance(value, dict) and declared.mark(EachOf) is None


def _can_be(declared: _Declared) -> bool:
    """Return whether a declared attribute may hold quantities."""
    hint = _plain_hint(declared.hint)
    origin = typing.get_origin(hint)
    if declared.axes is not None or declared.marks or hint in _NUMBERS:
        return True
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return True
    return origin in (np.ndarray, tuple) or (
        origin is dict and dataclasses.is_dataclass(typing.get_args(hint)[1])
    )


@dataclass(frozen=True)
class _AxisNames:
    """Names of the axes of a result, or of a part whose names begin with a prefix."""

    prefix: str
    names: Mapping[str, str]
    default: str

    def dims(self, declared: _Declared, value: NDArray[Any]) -> tuple[str, ...]:
        letters = declared.axes
        if letters is None:
            letters = tuple(self.default.split())
        if len(letters) != value.ndim:
            letters = (f"{declared.name}_entry",) * value.ndim
        dims: list[str] = []
        for letter in letters:
            base = letter.partition("+")[0]
            name = self.names.get(base)
            if name is None or name.startswith("."):
                name = f"{self.prefix}{(name or base).lstrip('.')}"
            dims.append(name if name not in dims else f"{name}_2")
        return tuple(dims)


def _taken(
    result: Any, declared: _Declared, value: Any, name: str, axes: _AxisNames, names: set[str]
) -> Iterator[tuple[str, Quantity]]:
    """Take an attribute apart into quantities."""
    each, unit, error = (declared.mark(kind) for kind in (EachOf, Unit, ErrorOf))
    if isinstance(each, EachOf):
        yield from _each(result, each, value, axes, names)
        return
    array = _array(value)
    is_note = declared.axes is None and array is not None and array.dtype.kind == "U"
    if array is not None and not is_note:
        of = f"{axes.prefix}{error.name}" if error is not None else ""
        if of:  # the name by which errors are found
            name = f"{of}_stderr" if declared.name == "stderr" else name
        yield name, Quantity(array, axes.dims(declared, array), unit.name if unit else "1", of)


def _parts(
    declared: _Declared, value: Any, name: str, axes: _AxisNames, names: set[str], sizes: Sizes
) -> Iterator[tuple[str, Quantity]]:
    """Take an attribute that consists of parts."""
    along = declared.mark(Along)
    if isinstance(value, tuple):
        yield from _stacked(declared, value, name, axes, names, sizes)
    elif isinstance(along, Along):
        yield from _along(value, along.dimension, name, names, sizes)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if dataclasses.is_dataclass(entry):
                yield from _part(entry, f"{axes.prefix}{key}_", names, sizes)
    else:
        yield from _part(value, f"{name}_", names, sizes)


def _each(
    result: Any, each: EachOf, value: Mapping[str, Any], axes: _AxisNames, names: set[str]
) -> Iterator[tuple[str, Quantity]]:
    """Take a mapping of arrays by the name of a quantity."""
    for declared in _declared(_class(result)):
        plain = declared.name
        name = f"{axes.prefix}{each.pattern.format(plain)}"
        asked = names & {plain, name}
        if declared.axes is None or (_is_at_two_times(declared) and not asked):
            continue
        try:
            array = np.asarray(value[plain])
        except (KeyError, AttributeError):  # not one of those with an error
            continue
        full = axes.dims(declared, np.asarray(getattr(result, plain)))
        dims = tuple(dim for dim in full if dim != each.without)
        unit = declared.mark(Unit)
        yield name, Quantity(array, dims, unit.name if unit else "1")


def _along(
    entries: Mapping[Any, Any], dimension: str, name: str, names: set[str], sizes: Sizes
) -> Iterator[tuple[str, Quantity]]:
    """Stack the quantities of parts of one kind along a dimension."""
    if not entries:
        return
    yield dimension, Quantity(np.array(list(entries)), (dimension,))
    parts = [dict(_of(entry, f"{name}_", names, {})) for entry in entries.values()]
    found = {}
    for key, first in parts[0].items():
        arrays = [part[key].values for part in parts if key in part]
        if len(arrays) == len(parts) and len({array.ndim for array in arrays}) == 1:
            own = key.removeprefix(f"{name}_")
            if (
                first.unit == STEPS.name
                and first.dims == (singular(own),)
                and all(np.array_equal(array, arrays[0]) for array in arrays)
            ):
                found[own] = first  # a coordinate that all have in common
                continue
            dims = (dimension, *first.dims)
            found[key] = dataclasses.replace(first, values=_padded(arrays), dims=dims)
    yield from _fitted(found, f"{name}_", sizes)


def _stacked(
    declared: _Declared,
    value: tuple[Any, ...],
    name: str,
    axes: _AxisNames,
    names: set[str],
    sizes: Sizes,
) -> Iterator[tuple[str, Quantity]]:
    """Stack records of numbers; those with arrays are taken apart one by one."""
    single = singular(name)
    if isinstance(value[0], tuple):  # one tuple for each entry of an axis
        (outer,) = axes.dims(declared, np.empty(len(value)))
        records = next(row for row in value if row)
        columns = [dict(_numbers(row, single)) for row in value]
        for key in dict(_numbers(records, single)):
            rows = [column.get(key, np.empty(0)) for column in columns]
            yield key, Quantity(_padded(rows), (outer, single))
        return
    has_arrays = any(
        isinstance(entry, np.ndarray) for record in value for entry in vars(record).values()
    )
    if has_arrays:
        for index, record in enumerate(value):
            yield from _part(record, f"{name}_{index}_", names, sizes)
        return
    for key, array in _numbers(value, single):
        dims = (single, *(f"{key}_{axis}" for axis in range(1, array.ndim)))
        yield key, Quantity(array, dims)


def _numbers(records: tuple[Any, ...], name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Return the attributes of records as arrays, where they are numbers or names."""
    if not records:
        return
    for field in dataclasses.fields(records[0]):
        arrays = [_array(getattr(record, field.name)) for record in records]
        known = [array for array in arrays if array is not None]
        if len(known) == len(records) and len({array.ndim for array in known}) == 1:
            yield f"{name}_{field.name}", _padded(known)


def _records_of(value: tuple[Any, ...]) -> bool:
    """Return whether a tuple holds dataclasses, or tuples of them."""
    first = next((entry for entry in value if not isinstance(entry, tuple) or entry), None)
    if isinstance(first, tuple):
        return dataclasses.is_dataclass(first[0])
    return dataclasses.is_dataclass(first)


def _array(value: Any) -> NDArray[Any] | None:
    """Return numbers and names as an array; None for anything else."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, enum.Enum):
        return np.array(value.name)
    if isinstance(value, bool | int | float | np.generic):
        return np.asarray(value)
    if isinstance(value, tuple):
        if not value:
            return None
        if all(isinstance(entry, enum.Enum) for entry in value):
            return np.array([entry.name for entry in value])
        if all(entry is None or isinstance(entry, int | float) for entry in value):
            return np.array([np.nan if entry is None else entry for entry in value])
        if all(isinstance(entry, str) for entry in value):
            return np.array(value)
    return None


def _padded(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Stack arrays, filled up with NaN (empty texts) to one shape."""
    shape = np.max([array.shape for array in arrays], axis=0).astype(int).tolist()
    if all(list(array.shape) == shape for array in arrays):
        return np.stack(arrays)
    is_text = any(array.dtype.kind == "U" for array in arrays)
    dtype = np.result_type(*arrays) if is_text else np.float64
    found = np.full((len(arrays), *shape), "" if is_text else np.nan, dtype)
    for row, array in zip(found, arrays, strict=True):
        row[tuple(slice(size) for size in array.shape)] = array
    return found


def singular(name: str) -> str:
    """Return the dimension that a quantity of this name is the coordinate of.

    Examples
    --------
    >>> singular("steps"), singular("probabilities"), singular("delta")
    ('step', 'probability', 'delta')
    """
    return f"{name[:-3]}y" if name.endswith("ies") else name.removesuffix("s")


def _place(item: tuple[str, Quantity], names: list[str]) -> tuple[int, str]:
    """Sort errors and biases after what they belong to."""
    name, entry = item
    of = entry.error_of or name.removesuffix("_bias")
    return names.index(of if of in names else name), "" if of == name else name[::-1]


def _error_of(name: str, quantity: Quantity, found: Mapping[str, Quantity]) -> str:
    of = quantity.error_of or name.removesuffix("_stderr")
    return of if of != name and of in found else ""
