"""Text of values with their standard errors, and tables of such texts."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

__all__ = ["text_table", "value_text"]


def value_text(
    value: float,
    stderr: float,
    *,
    most: int = 8,
    plain: str = ".6g",
    smallest: float = 0.0,
    sign: str = "+-",
    exact: str = "",
    unknown: str = "",
) -> str:
    """Write a value and its standard error, to two digits of the error.

    Parameters
    ----------
    value, stderr : float
    most : int
        Decimals at most; an error that is smaller has an exponent.
    plain : str
        Format of a value that stands alone: with no error, or one below `smallest`.
    smallest : float
    sign : str
        Between the two.
    exact, unknown : str
        What follows a value whose error is zero (or below `smallest`), or not finite.

    Examples
    --------
    >>> value_text(1.23456, 0.0123), value_text(1.23456, 0.0), value_text(float("inf"), 0.1)
    ('1.235 +- 0.012', '1.23456', 'inf')
    >>> value_text(1.23456, 2e-12), value_text(3e-10, 2e-12)
    ('1.23456 +- 2.0e-12', '3.000e-10 +- 2.0e-12')
    """
    if not math.isfinite(value):
        return f"{value:g}"
    if not math.isfinite(stderr):
        return f"{value:{plain}}{unknown}"
    if stderr <= 0.0 or stderr < smallest:
        return f"{value:{plain}}{exact}"
    size = math.floor(math.log10(stderr))
    if size < -most:
        small = 0.0 < abs(value) < 10.0**-most
        digits = max(math.floor(math.log10(abs(value))) - size, 0) + 1 if small else 0
        shown = f"{value:.{digits}e}" if small else f"{value:{plain}}"
        return f"{shown} {sign} {stderr:.1e}"
    digits = min(max(1 - size, 0), most)
    return f"{value:.{digits}f} {sign} {stderr:.{digits}f}"


def text_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)
) -> str:
    """Write columns of equal width, the columns in `left` on the left, the others on the right.

    Examples
    --------
    >>> print(text_table(["name", "n"], [["gelu", "8"], ["relu", "16"]]))
    name   n
    gelu   8
    relu  16
    """
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            f"{cell:{'<' if column in left else '>'}{widths[column]}}"
            for column, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )
