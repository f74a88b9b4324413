"""Suggestions for names and numbers that are not allowed.

Only the names of the catalogues are accepted. Others are suggestions and no aliases, because they
often stand for something else: Huber's loss is not the pseudo-Huber loss, and the mean squared
error has no factor 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Collection

__all__ = ["likely_names", "nearest_power_of_two"]

_MEANT = {
    "absolute": ("abs", "modulus"),
    "abs": ("modulus",),
    "bce": ("logistic",),
    "bernoulli": ("rademacher",),
    "binary": ("rademacher",),
    "cross-entropy": ("logistic",),
    "hard-tanh": ("clipped-linear",),
    "hardtanh": ("clipped-linear",),
    "identity": ("linear",),
    "l2": ("square",),
    "log-loss": ("logistic",),
    "mean-squared-error": ("square",),
    "mse": ("square",),
    "normal": ("gaussian",),
    "parity": ("product",),
    "quadratic": ("square",),
    "sigmoid": ("logistic", "erf"),
    "sign": ("rademacher",),
    "square": ("quadratic",),
    "swish": ("silu",),
    "xor": ("product",),
}


def likely_names(given: str, allowed: Collection[str]) -> list[str]:
    """Return the allowed names that a given name commonly stands for.

    Examples
    --------
    >>> likely_names("swish", ["gelu", "silu"])
    ['silu']
    """
    return [name for name in _MEANT.get(given, ()) if name in allowed]


def nearest_power_of_two(n: int, least: int, most: int) -> int:
    """Return the allowed power of two nearest to a number, in ratio.

    Examples
    --------
    >>> nearest_power_of_two(1000, 64, 2**29), nearest_power_of_two(3, 64, 2**29)
    (1024, 64)
    """
    return min(max(1 << round(math.log2(max(n, 1))), least), most)
