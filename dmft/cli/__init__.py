"""The command ``delta-nn``.

Exit codes: 0 done; 2 bad input, one line on stderr; 3 a numerical status other than success (what
was computed is still written); 130 interrupted. Whatever is slow to import is imported by the
command that needs it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING

from dmft.cli.arguments import command_parser
from dmft.cli.exits import BAD_INPUT, DONE, INTERRUPTED, NUMERICAL, PROGRAM, UsageError
from rmt.status import NumericalFailure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]

_FULL = frozenset(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)
)


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
        arguments = command_parser().parse_args(argv)
        module, _, function = arguments.run.partition(":")
        code: int = getattr(importlib.import_module(module), function)(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt as stop:
        print(": ".join([PROGRAM, "; ".join(["interrupted", *map(str, stop.args)])]),
              file=sys.stderr)  # fmt: skip
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe left; there is nobody to tell
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except NumericalFailure as failure:
        print(f"{PROGRAM}: {failure}", file=sys.stderr)
        return NUMERICAL
    except (ValueError, UsageError) as error:
        message = str(error)
    except MemoryError:
        message = f"not enough memory; reduce {getattr(arguments, 'memory', 'the problem')}"
    except OSError as error:
        message = _file_message(error, getattr(arguments, "out", None))
    print(f"{PROGRAM}: error: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT


def _file_message(error: OSError, folder: str | None) -> str:
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {reason}"
    # A write that fails half-way does not know its file's name.
    if error.errno in _FULL and folder is not None:
        return f"cannot write to {folder}: {reason}"
    return reason
