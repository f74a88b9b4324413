"""The command ``delta-nn``.

Exit codes: 0 done; 2 bad input, one line on stderr; 3 a numerical status other than success (what
was computed is still written); 130 interrupted. A figure that cannot be drawn or written is one
line on stderr, and changes no exit code. Whatever is slow to import is imported by the command that
needs it; all else is imported where an interrupt is heard.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from dmft.cli.exits import BAD_INPUT, DONE, INTERRUPTED, NUMERICAL, PROGRAM, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]

# What numpy says of an array that no address could reach.
_TOO_LARGE = ("Maximum allowed dimension exceeded", "array is too big")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default: those of the process.

    Returns
    -------
    int
        Exit code.
    """
    arguments: argparse.Namespace | None = None
    try:
        from dmft.cli.interrupts import heard
        from dmft.cli.streams import usable_streams

        with heard(), usable_streams():
            import importlib

            from dmft.cli.arguments import command_parser
            from dmft.cli.output import finish

            arguments = command_parser().parse_args(argv)
            module, _, function = arguments.run.partition(":")
            code: int = getattr(importlib.import_module(module), function)(arguments)
            finish()
            return code
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt as stop:
        message, code = "; ".join(["interrupted", *map(str, stop.args)]), INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe left; there is nobody to tell
        return DONE
    except Exception as error:
        code, told = _told(error, arguments)
        if told is None:
            raise
        message = told if code == NUMERICAL else f"error: {told}"
    from dmft.cli.interrupts import forget
    from dmft.cli.streams import say

    say(f"{PROGRAM}: {message}")
    forget()
    return code


def _told(error: Exception, arguments: argparse.Namespace | None) -> tuple[int, str | None]:
    """Return the exit code and the one line of an error; None if it is one of the program."""
    status = sys.modules.get("rmt.status")
    if status is not None and isinstance(error, status.NumericalFailure):
        return NUMERICAL, str(error)
    what = getattr(arguments, "memory", "the problem")
    if isinstance(error, MemoryError) or str(error).startswith(_TOO_LARGE):
        return BAD_INPUT, f"not enough memory; reduce {what}"
    causes = _texts(error)
    if isinstance(error, ImportError | OSError) and "failed to map segment" in causes:
        return BAD_INPUT, "not enough memory to load the libraries (see `ulimit -v`)"
    if "can't start new thread" in causes:
        return BAD_INPUT, f"the system allows no more threads (see `ulimit`); reduce {what}"
    memory = sys.modules.get("dmft.solver.memory")
    if memory is not None and isinstance(error, memory.BudgetError):
        least = math.ceil(error.needed / 1e4) / 1e5
        return BAD_INPUT, (
            f"--max-memory must be at least {least:g} GB {error.purpose}, "
            f"got {error.given / 1e9:g} GB"
        )
    if isinstance(error, ValueError | UsageError):
        return BAD_INPUT, str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return BAD_INPUT, reason if error.filename is None else f"{error.filename}: {reason}"
    if isinstance(error, ImportError):
        return BAD_INPUT, f"cannot import {error.name or 'a library'}: {str(error).splitlines()[0]}"
    if isinstance(error, OverflowError):
        return BAD_INPUT, f"a number is too large: {error}"
    return BAD_INPUT, None


def _texts(error: BaseException | None) -> str:
    """Return the messages of an error and its causes."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "; ".join(texts)
