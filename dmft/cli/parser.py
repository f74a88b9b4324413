"""Parser that reports bad input as one line, and arguments made from declared options."""

from __future__ import annotations

import argparse
import re
import sys
import types
import typing
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from dmft.cli.exits import PROGRAM, UsageError
from dmft.cli.limits import check_address_space

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Parser", "Version", "add_options", "integer", "number"]

# What others call an option or a command.
_OPTIONS = {
    "dim": "d",
    "dimension": "d",
    "epochs": "n-steps",
    "eta": "step-size",
    "iterations": "n-steps",
    "jobs": "workers",
    "learning-rate": "step-size",
    "lr": "step-size",
    "output": "out",
    "processes": "workers",
}
_COMMANDS = {"hessian": "spectrum", "help": "--help", "sim": "simulate", "solve": "trajectory"}


class Parser(argparse.ArgumentParser):
    """Parser that reports errors as one line, with the nearest command or option.

    Parameters
    ----------
    fill : callable, optional
        Adds the arguments when something is to be parsed.
    """

    def __init__(self, *, fill: Callable[[Parser], object] | None = None, **settings: Any) -> None:
        super().__init__(formatter_class=_help_format, allow_abbrev=False, **settings)
        self._negative_number_matcher = re.compile(r"-(\d|\.\d|inf|nan)")  # also -1e3
        self._given: list[str] = []
        self._fill = fill

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; remaining arguments are an error of the command they were given to."""
        if self._fill is not None:  # only for the command that is given: it imports libraries
            check_address_space()
            self._fill(self)
        self._given = list(sys.argv[1:] if args is None else args)
        found, rest = super().parse_known_args(self._given, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Raise with the message and the nearest command or option."""
        unknown = re.match(
            r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)$", message
        )
        if unknown is not None:
            name, names = unknown[1], unknown[2].replace("'", "").split(", ")
            near = [_COMMANDS[name]] if name in _COMMANDS else get_close_matches(name, names, n=1)
            message = f"unknown command {name!r}{_meant(near)}, commands: {', '.join(names)}"
        else:
            message += _meant(self._meant_options())
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _meant_options(self) -> list[str]:
        """Return the options nearest to unknown ones."""
        options = {name.lstrip("-"): name for name in self._option_string_actions}
        given = [text.partition("=")[0] for text in self._given if re.match(r"--?[A-Za-z]", text)]
        found = []
        for name in (name for name in given if name not in options.values()):
            wanted = name.lstrip("-").lower().replace("_", "-")
            wanted = _OPTIONS.get(wanted, wanted)
            near = [wanted] if wanted in options else get_close_matches(wanted, options, n=1)
            found += [options[match] for match in near]
        return found


def _meant(names: Sequence[str]) -> str:
    return f" (did you mean {' and '.join(dict.fromkeys(names))}?)" if names else ""


def _help_format(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=26)


class Version(argparse.Action):
    """Action that prints the version, looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it and end."""
        from dmft.cli.streams import put
        from dmft.io.results import software_version

        put(f"{PROGRAM} {software_version()}")
        parser.exit()


# -- values --------------------------------------------------------------------------------------


def integer(text: str) -> int:
    """Convert to an integer of at most 64 bits."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, got {_short(text)}") from None
    if not -(2**63) <= value < 2**63:
        raise argparse.ArgumentTypeError(
            f"must be an integer of at most 64 bits, got {_short(text)}"
        )
    return value


def number(text: str) -> float:
    """Convert to a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {_short(text)}") from None


def _short(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:37]!r}..."


_TYPES: dict[Any, Callable[[str], Any]] = {int: integer, float: number}


# -- options of tables ---------------------------------------------------------------------------


def add_options(
    group: argparse._ActionsContainer,
    table: str,
    *names: str,
    prefix: str | None = None,
    **helps: str,
) -> None:
    """Add options as the table of a run file declares them.

    Parameters
    ----------
    group : container of arguments
    table : str
    *names : str
        A keyword argument of such a name gives another help text.
    prefix : str, optional
        Of the names in the namespace: by default the table and a dot, so that `run_file` lays what
        is given over the table.
    """
    from dmft.config.config import TABLES
    from dmft.config.options import declared

    options = declared(TABLES[table])
    for name in (*names, *helps):
        option, kind = options[name]
        text = helps.get(name, option.help)
        flag = f"--{name.replace('_', '-')}"
        settings: dict[str, Any] = {"dest": f"{table}." + name if prefix is None else prefix + name}
        if typing.get_origin(kind) in (types.UnionType, typing.Union):
            kind = typing.get_args(kind)[0]
        if kind is bool:
            either = group.add_mutually_exclusive_group()
            if text:
                either.add_argument(flag, action="store_const", const=True, help=text, **settings)
            if option.off is not None:
                flag, text = option.off
                either.add_argument(flag, action="store_const", const=False, help=text, **settings)
            continue
        if typing.get_origin(kind) is tuple:
            length = typing.get_args(kind)
            several = "*" if getattr(TABLES[table], name) == () else "+"
            settings["nargs"] = several if length[-1] is Ellipsis else len(length)
            kind = length[0]
        settings["metavar"] = option.metavar or name.upper()
        read = _TYPES.get(kind, str)
        group.add_argument(flag, *option.also, type=read, help=text, **settings)
