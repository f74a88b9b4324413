"""Arrays that begin on a cache line.

The widest loads of a processor are as wide as a cache line. Of rows that begin elsewhere each of
them touches two, and compiled kernels on data in cache take up to twice as long. And a cache keeps
few lines whose addresses differ by a large power of two: columns of an array with rows that long
(``padded_rows`` avoids it) evict each other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PADDING", "aligned_empty", "aligned_zeros", "padded_rows"]

_LINE = 64  # bytes of a cache line
PADDING = 72  # numbers: an odd number of cache lines


def aligned_empty(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """`numpy.empty` on a cache line; so are its rows if they have a multiple of 8 numbers."""
    size = 8 * math.prod(shape)
    memory = np.empty(size + _LINE, dtype=np.uint8)
    first = -memory.ctypes.data % _LINE
    return memory[first : first + size].view(np.float64).reshape(shape)


def aligned_zeros(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """`aligned_empty`, of zeros."""
    array = aligned_empty(shape)
    array[...] = 0.0
    return array


def padded_rows(n_rows: int, n_columns: int) -> NDArray[np.float64]:
    """`aligned_empty` of so many columns, and `PADDING` more where they are a multiple of 512."""
    return aligned_empty((n_rows, n_columns + (0 if n_columns % 512 else PADDING)))
