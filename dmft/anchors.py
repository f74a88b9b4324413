"""A forecast of the gradients from those of earlier steps, so that little is left to look at.

Gradients change slowly along gradient descent. What a step adds to them can be told from rounding
only if it is looked at by itself: of a square that is known to 1e-16, a part of 1e-8 is all that
can be seen. So the gradients of two earlier steps are kept, the *anchors*, and of a new gradient
only its difference from their linear extrapolation is decomposed. Anchors lie in the span of the
basis (to rounding: what a tolerance left out is taken off them), so the difference decides whether
a step needs a new row, however many steps the anchors are old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Anchors"]

# The extrapolation reaches no further than this many times the distance of the anchors.
_REACH = 2.0


class Anchors:
    """Gradients of two earlier steps, on all paths, with their coefficients in the basis.

    Parameters
    ----------
    m : int
        Number of neurons.
    block_sizes : list of int
        Paths of each block.

    Attributes
    ----------
    rows : list of ndarray, shape (2, m, paths of the block)
        The newer anchor, then the older one; zero where there is none yet.
    """

    def __init__(self, m: int, block_sizes: list[int]) -> None:
        self.rows = [np.zeros((2, m, size)) for size in block_sizes]
        self._coefficients = [np.zeros((m, 0)), np.zeros((m, 0))]
        self._steps: list[int] = []

    def shares(self, step: int) -> FloatArray:
        """Weights of the two anchors in the forecast for a step, shape (2,)."""
        if not self._steps:
            return np.zeros(2)
        if len(self._steps) == 1:
            return np.array([1.0, 0.0])
        newer, older = self._steps
        beyond = min((step - newer) / (newer - older), _REACH)
        return np.array([1.0 + beyond, -beyond])

    def coefficients(self, shares: FloatArray, n_rows: int) -> FloatArray:
        """Coefficients of the forecast in the basis, shape (m, n_rows)."""
        forecast = np.zeros((len(self._coefficients[0]), n_rows))
        for share, known in zip(shares, self._coefficients, strict=True):
            forecast[:, : known.shape[1]] += share * known
        return forecast

    def replace(
        self,
        step: int,
        gradients: list[FloatArray],
        outside: list[FloatArray],
        left_out: NDArray[np.bool_],
        coefficients: FloatArray,
    ) -> None:
        """Take the gradients of a step as the newer anchor.

        Parameters
        ----------
        step : int
        gradients : list of ndarray, shape (m, paths of the block)
        outside : list of ndarray, shape (>= m, paths of the block)
            What is left of them outside the basis,
        left_out : ndarray of bool, shape (m,)
            for the neurons where it was left out, and is to be taken off.
        coefficients : ndarray, shape (m, n_rows)
        """
        for anchors, g, rest in zip(self.rows, gradients, outside, strict=True):
            anchors[1] = anchors[0]
            anchors[0] = g
            for j in np.flatnonzero(left_out):
                anchors[0, j] -= rest[j]
        self._coefficients = [coefficients, self._coefficients[0]]
        self._steps = [step, *self._steps[:1]]
