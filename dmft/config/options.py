"""Options: one declaration from which run files, the command line and Python follow.

A table of a run file is a dataclass derived from `Settings`, with a field for each option, made by
`option`. Annotation and name say what TOML may hold; metavar and help text are those of the command
line, whose flag is the name with dashes; the check is that of all three. To add an option, add a
field, and read it where it is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

__all__ = [
    "TOO_DEEP",
    "Option",
    "Settings",
    "check_known",
    "check_plain",
    "converted",
    "declared",
    "one_line",
    "option",
    "read_table",
    "within",
]

_Table = TypeVar("_Table", bound="Settings")


@dataclass(frozen=True)
class Option:
    """Declaration of an option, in addition to its name, type and default.

    Attributes
    ----------
    help : str
        Text of the command line; for a flag that turns off what is on by default, empty.
    metavar : str or tuple of str, optional
        Default: the name in capitals.
    check : callable, optional
        Takes name and value; returns the value as it is stored, or raises a ValueError.
    reads : type, optional
        What a run file may hold, where it is more than the annotation says.
    off : tuple of str, optional
        Flag that turns the option off, and its help text.
    instead_of : tuple of str
        Options of the file that have no effect where this one is given on the command line.
    also : tuple of str
        Other names of the flag.
    required : bool
    """

    help: str = ""
    metavar: str | tuple[str, ...] | None = None
    check: Callable[[str, Any], Any] | None = None
    reads: Any = None
    off: tuple[str, str] | None = None
    instead_of: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    required: bool = False


def option(help: str = "", metavar: Any = None, default: Any = None, **more: Any) -> Any:
    """Declare a field of a `Settings` class; arguments as the attributes of `Option`."""
    return field(default=default, metadata={"option": Option(help, metavar, **more)})


@dataclass(frozen=True)
class Settings:
    """Base of all tables: options that are checked, None where the run file is silent."""

    def __post_init__(self) -> None:
        for name, (declaration, _) in declared(type(self)).items():
            value = getattr(self, name)
            if value is not None and declaration.check is not None:
                object.__setattr__(self, name, declaration.check(name, value))

    def stated(self, *names: str) -> dict[str, Any]:
        """Return the options that have a value, those named or all."""
        values = {name: getattr(self, name) for name in names or declared(type(self))}
        return {name: value for name, value in values.items() if value is not None}


def declared(table: type[Settings]) -> dict[str, tuple[Option, Any]]:
    """Return declaration and type of each option of a table."""
    hints = typing.get_type_hints(table)
    return {
        entry.name: (entry.metadata["option"], hints[entry.name])
        for entry in dataclasses.fields(table)
    }


# -- run files -----------------------------------------------------------------------------------


def read_table(table: type[_Table], name: str, entries: Any) -> _Table:
    """Convert a table of a run file, whose keys are known.

    Raises
    ------
    ValueError
        Naming table and key, what was found and what is allowed.
    """
    options = declared(table)
    values = {
        key: converted(value, options[key][0].reads or options[key][1], f"{name}.{key}")
        for key, value in converted(entries, dict[str, Any], name).items()
    }
    for key, (declaration, _) in options.items():
        if declaration.required and key not in values:
            raise ValueError(f"{name}.{key}: missing; it has no default")
    with within(name):
        return table(**values)


@contextlib.contextmanager
def within(table: str) -> Iterator[None]:
    """Add the name of the table to an error of its values."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"[{table}]: {error}") from error


_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "object": "a table",
    "array": "an array",
    "datetime": "a date",
}


def converted(value: Any, kind: Any, where: str) -> Any:
    """Return a value of a run file as a type; an error says what was expected and found."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        match = re.fullmatch(
            r"Expected `(.+?)`(?: of length (\d+))?, got `?(.+?)`?(?: - at `\$(.*)`)?", str(error)
        )
        if not match:
            raise ValueError(f"{where}: {error}") from None
        expected, length, found, inner = match.groups()
        # Null is how Python says that an option is left out; TOML has none.
        names = (part.strip() for part in expected.split("|"))
        allowed = " or ".join(_WORDS.get(part, part) for part in names if part != "null")
        where += inner or ""
        if length is not None:
            found = found.split()[-1]
            message = f"{where}: must be {allowed} of length {length}, got length {found}"
        else:
            message = f"{where}: must be {allowed}, got {_WORDS.get(found, found)}{_brief(value)}"
        raise ValueError(message) from None


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return ""
    text = " ".join(repr(value).split())
    return f" {text if len(text) <= 60 else text[:57] + '...'}"


# -- what can be no setting ----------------------------------------------------------------------

_DEEPEST = 16  # tables and arrays in one another; no setting needs more than four
TOO_DEEP = "tables and arrays are nested too deeply"


def check_plain(config: Mapping[str, Any]) -> None:
    """Refuse deep nesting and large integers, before anything recursive is done with a file."""
    todo: list[tuple[str, Any, int]] = [("", config, 0)]
    while todo:
        where, value, depth = todo.pop()
        if depth > _DEEPEST:
            raise ValueError(TOO_DEEP)
        if isinstance(value, Mapping):
            for key, inner in value.items():
                todo.append((f"{where}.{key}" if where else f"{key}", inner, depth + 1))
        elif isinstance(value, list | tuple):
            todo += [(where, inner, depth + 1) for inner in value]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(
                f"{one_line(where)}: integers must have at most 64 bits (TOML), got one of "
                f"{value.bit_length()}"
            )


def one_line(text: str) -> str:
    """Return text of a file for a message: short, and free of control characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def check_known(
    config: Mapping[str, Any], tables: Mapping[str, type[Settings]], others: Mapping[str, Any]
) -> None:
    """Raise at the first unknown key, naming the nearest known one."""
    top = (*others, *tables)
    for key, value in config.items():
        if key not in top:
            raise ValueError(f"{one_line(key)}: {_unknown(key, top, 'tables and keys', tables)}")
        if key in tables and isinstance(value, Mapping):
            allowed = tuple(declared(tables[key]))
            for inner in value:
                if inner not in allowed:
                    message = _unknown(inner, allowed, "keys here", tables)
                    raise ValueError(f"{key}.{one_line(inner)}: {message}")


def _unknown(
    key: str, allowed: tuple[str, ...], kind: str, tables: Mapping[str, type[Settings]]
) -> str:
    """Name the key nearest to an unknown one, or the table it belongs to."""
    near = list(map(repr, difflib.get_close_matches(key, allowed, n=2, cutoff=0.6)))
    near = near or [f"{name}.{key}" for name, table in tables.items() if key in declared(table)]
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return f"unknown key{hint}; allowed {kind}: {', '.join(allowed)}"
