r"""Mini-batches on paths: the masks of a step.

In mini-batch gradient descent each sample is used in a step with probability p, and its gradient
then counts 1/p times. On paths this is a factor b/p with b ~ Bernoulli(p), independent of
everything before (Gerbelot, Troiani, Mignacco, Krzakala & Zdeborova, arXiv:2210.06591).

The averages over paths need the right law for each path, not independence between paths. The
paths of a replicate are put in an order in which neighbours have similar leading coordinates, and
cut into small groups of neighbours; of each group as equal a share as possible is used, and of
neighbouring groups too. Averages of (b/p) times a function of the leading coordinates then
fluctuate little.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft._numerics.sampling import Sampling

    FloatArray = NDArray[np.float64]

__all__ = ["MaskStream"]

# The family of streams of a replicate; those of dmft._numerics.sampling have the small numbers.
_MASKS = 16
# Most paths in a group of neighbours, for a share p close to zero or one.
_MOST_IN_GROUP = 64
_GOLDEN = 0.5 * (5.0**0.5 - 1.0)
# Leading coordinates by which neighbours are told.
_MOST_COORDINATES = 4


class MaskStream:
    """The masks of one replicate, each a function of (seed, replicate, step) alone.

    Parameters
    ----------
    sampling : Sampling
    replicate : int
    fraction : float
        Probability p.
    leading : ndarray, shape (n, n_paths)
        Standard normal coordinates of the paths, the most important ones first.

    Examples
    --------
    >>> from dmft._numerics.sampling import Sampling
    >>> leading = np.random.default_rng(0).standard_normal((2, 128))
    >>> mask = MaskStream(Sampling(n_paths=128), 0, 0.25, leading).block(3)
    >>> np.unique(mask), mask.mean()
    (array([0., 4.]), np.float64(1.0))
    """

    def __init__(
        self, sampling: Sampling, replicate: int, fraction: float, leading: FloatArray
    ) -> None:
        self._key = (sampling.seed, replicate)
        self._fraction = fraction
        self._order = _neighbours(leading[:_MOST_COORDINATES])
        rarer = min(fraction, 1.0 - fraction)
        bits = math.ceil(-math.log2(rarer)) if rarer > 0.0 else 0
        self._size = min(2 ** max(bits, 1), _MOST_IN_GROUP)

    def block(self, step: int) -> FloatArray:
        """Return the factors b/p of a step, shape (n_paths,)."""
        seed, replicate = self._key
        sequence = np.random.SeedSequence(seed, spawn_key=(replicate, _MASKS, step))
        rng = np.random.Generator(np.random.SFC64(sequence))
        n, size = len(self._order), self._size
        # In each group the numbers are 0, ..., size - 1 over size, in random order, all moved by
        # the same amount: each is uniform on [0, 1), and their number below p the same up to one.
        # The amounts are equidistributed along the groups, so that these ones even out.
        places = np.argsort(rng.random((n // size, size)), axis=1)
        moved = (rng.random() + _GOLDEN * np.arange(n // size)) % 1.0
        uniform = np.empty(n)
        uniform[self._order] = ((places + moved[:, np.newaxis]) / size).ravel()
        return np.where(uniform < self._fraction, 1.0 / self._fraction, 0.0)


def _neighbours(leading: FloatArray) -> NDArray[np.intp]:
    """Order the paths along a curve through their leading coordinates (Morton's).

    Ranks instead of values: each bit halves the paths.
    """
    dimension, n = leading.shape
    ranks = np.argsort(np.argsort(leading, axis=1, kind="stable"), axis=1, kind="stable")
    bits = max(1, (n.bit_length() - 1) // max(dimension, 1) + 1)
    levels = (ranks * 2**bits) // n
    key = np.zeros(n, dtype=np.int64)
    for bit in reversed(range(bits)):
        for row in levels:
            key = 2 * key + ((row >> bit) & 1)
    return np.argsort(key, kind="stable")
