r"""Orthogonality of fresh Gaussians: which rows of the basis they are made orthogonal to.

A Gaussian made orthogonal, as a sample average, to everything the trajectory has seen brings no
leading sampling fluctuations. So by default it loses its components along every row (`EveryRow`).

That has a price where directions of any size are kept. The residual of a gradient may be tiny
beside the gradient; normalised, it is known to few digits. A Gaussian made orthogonal to it mixes
its error with directions that weigh much more, and errors grow exponentially in time. An exact run
(`WellDeterminedRows`) therefore lets Gaussians keep their components along *ill-determined*
directions, a space of coefficients orthogonal to everything a Gaussian has to avoid. Rounding
errors then stay what they are, but gradients never settle below the fluctuations of those
components: rank and sampling errors are larger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft.solver.state import DeclaredState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["EveryRow", "WellDeterminedRows"]

# Of the largest gradient so far: rounding errors then stay below 1e-10 over hundreds of steps, and
# sampling errors are hardly larger than with Gaussians orthogonal to every row.
_ILL_DETERMINED = 3e-4


class EveryRow(DeclaredState):
    """Gaussians orthogonal to every row of the basis: the strategy of most runs.

    Attributes
    ----------
    capacity : int
        Rows of the basis to reserve at the start.
    can_truncate : bool
        Whether directions of a run may be discarded.
    """

    capacity = 128
    can_truncate = True

    def observe(self, size: float) -> None:
        """Record the size of a gradient."""

    def classify(self, norm: float, n_rows: int) -> None:
        """Record the residual norm of the last of so many rows of the basis."""

    def retained(self, components: FloatArray) -> FloatArray:
        """Return the components along the basis, (..., j), that Gaussians keep."""
        return np.zeros(components.shape)

    def retained_rows(self, components: FloatArray) -> FloatArray:
        """`retained`, of (m, n_rows); no rows where all of it is zero."""
        return components[:0]

    def avoid(self, vector: FloatArray) -> None:
        """Have later Gaussians avoid a unit vector, the last component of which is new."""


class WellDeterminedRows(EveryRow):
    """Gaussians that keep their components along ill-determined directions: exact runs.

    Parameters
    ----------
    threshold : float
        Rows with a residual norm below this much of the largest gradient so far are ill-determined.
    """

    # An exact run will need the rows.
    capacity = 512
    # The space of ill-determined directions does not follow a rotation of the basis.
    can_truncate = False
    _STATE = ("_space", "_largest")

    def __init__(self, threshold: float = _ILL_DETERMINED) -> None:
        self._threshold = threshold
        self._space = np.zeros((0, 0))  # orthonormal coefficient vectors; shorter ones are padded
        self._largest = 0.0

    def observe(self, size: float) -> None:
        """Record the size of a gradient."""
        self._largest = max(self._largest, size)

    def classify(self, norm: float, n_rows: int) -> None:
        """Add the last of so many rows of the basis to the space, if it is ill-determined."""
        if norm < self._threshold * self._largest:
            n_space, width = self._space.shape
            space = np.zeros((n_space + 1, n_rows))
            space[:n_space, :width] = self._space
            space[n_space, -1] = 1.0
            self._space = space

    def retained(self, components: FloatArray) -> FloatArray:
        """Project components along the basis, (..., j), onto the space."""
        space = self._space[:, : components.shape[-1]]
        padded = np.zeros((len(space), components.shape[-1]))
        padded[:, : space.shape[1]] = space
        return np.asarray((components @ padded.T) @ padded)

    def retained_rows(self, components: FloatArray) -> FloatArray:
        """`retained`, of (m, n_rows); no rows while the space is empty."""
        return self.retained(components) if len(self._space) else components[:0]

    def avoid(self, vector: FloatArray) -> None:
        """Take a unit vector, the last component of which is new, out of the space.

        A Householder reflection moves it to the last of the vectors that span it and the space.
        """
        n_space = len(self._space)
        if not n_space:
            return
        spanning = np.zeros((n_space + 1, len(vector)))
        spanning[:n_space, : self._space.shape[1]] = self._space
        spanning[-1, -1] = 1.0
        axis = spanning @ vector
        axis[-1] += np.copysign(np.linalg.norm(axis), axis[-1])
        axis /= np.linalg.norm(axis)
        spanning -= np.outer(2.0 * axis, axis @ spanning)
        self._space = spanning[:-1]
