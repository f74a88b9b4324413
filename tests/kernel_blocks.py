"""Compiled activations and losses, which take samples by blocks, at any number of arguments."""

import numpy as np

from dmft._numerics import kernels
from dmft._numerics.elementary import BLOCK


def in_blocks(function, codes, given, wanted):
    """Rows of blocks by name, (len(wanted), N), of arguments (N,) in the rows of their place."""
    n = len(next(iter(given.values())))
    found = np.empty((len(wanted), n))
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        block = np.zeros(kernels._NEURONS)
        for at, arguments in given.items():
            block[at : at + stop - start] = arguments[start:stop]
        function(*codes, block)
        for row, name in zip(found, wanted, strict=True):
            at = getattr(kernels, name)
            row[start:stop] = block[at : at + stop - start]
    return found
