"""Result files of dataclasses: annotations declare the contents for writer, reader and checks.

The declaration is the annotations of a dataclass. An array says its axes, and a tuple its length,
by letters that mean the same number throughout one object::

    @dataclass(frozen=True)
    class Curve:
        points: Annotated[int, "n"]
        x: Annotated[FloatArray, "n"]
        y: Annotated[FloatArray, "R n+1"]
        names: Annotated[tuple[str, ...], "R"]
        status: Status
        config: dict[str, Any]

An axis may be a letter or word, such a name ``+1``, or a number. What else an annotation says
(units and the like, `dmft.io.quantities`) has no effect here. Fields may be other dataclasses,
tuples and dicts of all of these, and ``| None``. A new field needs nothing but its annotation;
files written before it have its default, and are refused where it has none.
Fields with the metadata `NOT_STORED` are not in the file, and left to the class; those with
`STORED_IF_SET` are where they are not None.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from dmft.io.results import read_result, write_result
from rmt._validation import shown
from rmt.status import Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

__all__ = ["NOT_STORED", "STORED_IF_SET", "check_status_names", "read_record", "write_record"]

Record = TypeVar("Record")

#: Metadata of a field that is not in the file.
NOT_STORED: Final = types.MappingProxyType({"stored": False})
#: Metadata of a field that is in the file only where it is not None, its default.
STORED_IF_SET: Final = types.MappingProxyType({"if_set": True})
_PLAIN: Final = {float: "a number", int: "an integer", bool: "true or false", str: "text"}


def write_record(
    path: str | os.PathLike[str],
    kind: str,
    record: Any,
    *,
    public: Arrays | None = None,
    compress: bool = True,
) -> Path:
    """Write a dataclass to a result file; it appears complete or not at all.

    Parameters
    ----------
    path, kind, compress
        As in `dmft.io.results.write_result`.
    record : dataclass instance
        Its arrays get the names of the fields, ``step_axis/reuse/value`` of inner ones.
    public : mapping of str to ndarray, optional
        Further arrays, for readers of the file other than `read_record`. Where two have a name in
        common, it is theirs, and the record's array gets the name ``record/NAME``.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    OSError
        If the directory cannot be written; nothing is left behind.
    """
    arrays: dict[str, NDArray[Any]] = {}
    config = _packed(record, "", arrays)
    more = {name: array for name, array in (public or {}).items() if arrays.get(name) is not array}
    if not more.keys().isdisjoint(arrays):
        arrays = {}
        config = _packed(record, "record", arrays)
    return write_result(path, kind, config, arrays, public=more, compress=compress)


def read_record(
    path: str | os.PathLike[str],
    kind: str,
    cls: type[Record],
    check: Callable[[Record], object] = lambda _: None,
) -> Record:
    """Read a dataclass written by `write_record`; fields that are `NOT_STORED` are None.

    Parameters
    ----------
    path, kind
        As in `dmft.io.results.read_result`.
    cls : type
    check : callable, optional
        Raises where the parts do not belong together; called before arrays are unpacked, with
        arrays of the right shapes and dtypes whose entries are zero.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedResultError
        If the file is damaged, or anything in it is not as declared; this is a ValueError.
    ValueError
        If the file is of another kind, or from a newer format.
    """
    config, arrays = read_result(
        path, kind, lambda config, arrays: check(_record(cls, config, arrays))
    )
    return _record(cls, config, arrays)


def check_status_names(names: NDArray[np.str_]) -> None:
    """Raise unless what a file holds as statuses are names of a Status.

    Raises
    ------
    ValueError
        With the first that is none, in alphabetical order.
    """
    for name in np.unique(names).tolist():
        if name not in Status.__members__:
            raise ValueError(f"statuses must be names of a Status, got {name!r}")


# -- into plain types ----------------------------------------------------------------------------


def _packed(value: Any, name: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return plain types, and add arrays to a dictionary by name."""
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {"array": name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, enum.Enum):
        return value.name
    if dataclasses.is_dataclass(value):
        entries = {
            field.name: getattr(value, field.name)
            for field in _stored(value)
            if not (field.metadata.get("if_set") and getattr(value, field.name) is None)
        }
        return {key: _packed(entry, _join(name, key), arrays) for key, entry in entries.items()}
    if isinstance(value, dict):
        packed = {}
        for index, (key, entry) in enumerate(value.items()):
            # Keys that users make up are no names of arrays.
            named = isinstance(key, int) or key.isidentifier()
            packed[str(key)] = _packed(entry, _join(name, key if named else index), arrays)
        return packed
    if isinstance(value, tuple | list):
        return [_packed(entry, _join(name, index), arrays) for index, entry in enumerate(value)]
    return value


def _join(name: str, key: Any) -> str:
    return f"{name}/{key}" if name else str(key)


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _stored(cls: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if field.metadata.get("stored", True)]


# -- and back ------------------------------------------------------------------------------------


def _record(cls: type[Record], config: Mapping[str, Any], arrays: Arrays) -> Record:
    """Return a dataclass from its stored fields, none missing and none too many."""
    reader = _Reader(arrays)
    found = reader.fields(cls, {key: config[key] for key in config if key != "version"}, "")
    unused = sorted(arrays.keys() - reader.used)
    if unused:
        raise ValueError(f"it has an array {unused[0]!r} that does not belong there")
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return cls(**{**{field.name: None for field in fields if not _has_default(field)}, **found})


class _Reader:
    """Arrays of a file, and the names of those already read."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self.used: set[str] = set()

    def fields(self, cls: type, entries: Any, where: str) -> dict[str, Any]:
        """Return the fields of a dataclass."""
        optional = {field.name for field in _stored(cls) if _has_default(field)}
        names = [field.name for field in _stored(cls)]
        if not isinstance(entries, dict):
            raise ValueError(f"{where or 'its header'} must be a table, got {shown(entries)}")
        # Files written before a field was there have its default.
        names = [name for name in names if name in entries or name not in optional]
        for name in [*names, *entries]:
            if name not in entries:
                raise ValueError(f"it lacks {_dotted(where, name)}")
            if name not in names:
                raise ValueError(f"it has an entry {_dotted(where, name)} that does not belong")
        hints = typing.get_type_hints(cls, include_extras=True)
        sizes: dict[str, int] = {}
        return {
            name: self.value(hints[name], entries[name], _dotted(where, name), sizes)
            for name in names
        }

    def value(self, hint: Any, found: Any, where: str, sizes: dict[str, int]) -> Any:
        """Return an entry as its annotation says; `sizes` are those of the axes so far."""
        axes: list[str] | None = None
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            texts = [text for text in arguments[1:] if isinstance(text, str)]
            axes = texts[0].split() if texts else None
            hint = arguments[0]
            origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            if found is None and type(None) in arguments:
                return None
            hint = next(option for option in arguments if option is not type(None))
            if axes is not None:
                hint = typing.Annotated[hint, " ".join(axes)]
            return self.value(hint, found, where, sizes)
        if origin is np.ndarray:
            return self._array(typing.get_args(arguments[1])[0], found, axes, where, sizes)
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            return hint(**self.fields(hint, found, where))
        if origin is tuple:
            return self._tuple(arguments, found, axes, where, sizes)
        if origin is dict or hint is dict:
            return self._dict(arguments, found, where, sizes)
        if hint is Any:
            return found
        return _plain(hint, origin, arguments, found, axes, where, sizes)

    def _array(
        self, dtype: Any, found: Any, axes: list[str] | None, where: str, sizes: dict[str, int]
    ) -> NDArray[Any]:
        name = found.get("array") if isinstance(found, dict) else None
        if not isinstance(name, str) or found.keys() != {"array"}:
            raise ValueError(f"{where} must be an array, got {shown(found)}")
        if name not in self._arrays or name in self.used:
            raise ValueError(f"it lacks the array {name!r}")
        self.used.add(name)
        array = self._arrays[name]
        wanted = np.dtype(dtype)
        if array.dtype.kind != wanted.kind or (wanted.itemsize not in (0, array.dtype.itemsize)):
            raise ValueError(f"array {name!r} must be of {wanted}, got {array.dtype}")
        if axes is not None:
            if len(axes) != array.ndim:
                raise ValueError(
                    f"array {name!r} must have shape ({', '.join(axes)}), got {array.shape}"
                )
            for axis, size in zip(axes, array.shape, strict=True):
                _bind(axis, size, f"array {name!r}, shape {array.shape},", sizes)
        return array

    def _tuple(
        self,
        arguments: tuple[Any, ...],
        found: Any,
        axes: list[str] | None,
        where: str,
        sizes: dict[str, int],
    ) -> tuple[Any, ...]:
        if not isinstance(found, list):
            raise ValueError(f"{where} must be a list, got {shown(found)}")
        if arguments[-1] is Ellipsis:
            arguments = arguments[:1] * len(found)
        if len(arguments) != len(found):
            raise ValueError(f"{where} must have {len(arguments)} entries, got {len(found)}")
        if axes is not None:
            _bind(axes[0], len(found), f"{where}, of {len(found)} entries,", sizes)
        return tuple(
            self.value(hint, entry, f"{where}[{index}]", sizes)
            for index, (hint, entry) in enumerate(zip(arguments, found, strict=True))
        )

    def _dict(
        self, arguments: tuple[Any, ...], found: Any, where: str, sizes: dict[str, int]
    ) -> dict[Any, Any]:
        if not isinstance(found, dict):
            raise ValueError(f"{where} must be a table, got {shown(found)}")
        of_key, of_entry = arguments
        if of_key is int and not all(key.isdecimal() for key in found):
            raise ValueError(f"the keys of {where} must be integers, got {shown(list(found))}")
        return {
            of_key(key): self.value(of_entry, entry, f"{where}.{key}", sizes)
            for key, entry in found.items()
        }


def _plain(
    hint: Any,
    origin: Any,
    arguments: tuple[Any, ...],
    found: Any,
    axes: list[str] | None,
    where: str,
    sizes: dict[str, int],
) -> Any:
    """Return a number, text or member of an enumeration as its annotation says."""
    if origin is typing.Literal:
        if found not in arguments or type(found) not in map(type, arguments):
            raise ValueError(f"{where} must be one of {arguments}, got {shown(found)}")
        return found
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        if not isinstance(found, str) or found not in hint.__members__:
            raise ValueError(f"{where} must be the name of a {hint.__name__}, got {shown(found)}")
        return hint[found]
    if hint not in _PLAIN:
        raise TypeError(f"{where} is declared as {hint}, which cannot be stored")
    if type(found) is not hint and not (hint is float and type(found) is int):
        raise ValueError(f"{where} must be {_PLAIN[hint]}, got {shown(found)}")
    if axes is not None:
        _bind(axes[0], found, where, sizes)
    return hint(found)


def _bind(axis: str, size: int, where: str, sizes: dict[str, int]) -> None:
    """Check the size of an axis against that of others of its name, if there are any so far."""
    if axis == "_":
        return
    name, _, more = axis.partition("+")
    if name.isdecimal():
        expected = int(name)
    else:
        expected = sizes.setdefault(name, size - int(more or 0)) + int(more or 0)
    if size != expected or size < 0:
        wanted = f"{expected}" if name.isdecimal() else f"{axis} = {expected}"
        raise ValueError(f"{where} must have {wanted} there, got {size}")


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
