"""Exit codes, and bad input as one line."""

from __future__ import annotations

__all__ = ["BAD_INPUT", "DONE", "INTERRUPTED", "NUMERICAL", "PROGRAM", "UsageError"]

PROGRAM = "delta-nn"
DONE, BAD_INPUT, NUMERICAL, INTERRUPTED = 0, 2, 3, 130


class UsageError(Exception):
    """Bad input, with the one line that says so."""
