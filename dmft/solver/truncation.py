r"""Truncation of the space of a run to the directions that still matter.

Every direction that a gradient adds stays in the space of a run, and late in a long run most of
them are of no use: samples that changed sides long ago, modes that have decayed. What gradient
descent knows of the inputs is their restriction to a space, and any orthonormal combinations

    ghat' = U ghat,       q' = U q = U zeta - ghat' / sqrt(delta)

of directions and of the coordinates that belong to them are again directions and coordinates of
the process in section 2 of Celentano, Cheng and Montanari (arXiv:2112.07572). So the space is
truncated to the rows of U without error if neither the weights nor any later gradient have a
component outside them; a component that a later gradient has there after all is new to the run, and
extends the space or counts as truncated like any other (a thick restart, in the language of Krylov
methods).

``Activity`` decides what to keep. It averages the squares of what gradients had along each
direction, those at time s with weight (s/t)^p, so that memory reaches back by a factor in time and
not by a number of steps: the response of a run decays like a power of time, not exponentially.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft.solver.coefficients import widened
from dmft.solver.state import DeclaredState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Activity"]

# Averages give a gradient at time s < t the weight (s/t) to this power.
_POWER = 6
_LATEST = 1e50  # times beyond it weigh the same, so that weights stay numbers
# Gradients are added to the averages this many rows at a time.
_BATCH = 64
# Number of directions below which truncation is not worth it,
_LEAST = 64
# how much it must have grown since the last attempt,
_GROWTH = 1.25
# and how many of them must be discarded.
_LEAST_SHARE = 0.1
# Mean squares are known to this much of the largest; nothing is discarded for less.
_ROUNDING = 1e-14


class Activity(DeclaredState):
    """Weighted second moments of the recent gradients along each direction.

    Parameters
    ----------
    delta : float
        n/d.
    """

    _STATE = ("_moment", "_total", "_pending", "_last_size")

    def __init__(self, delta: float) -> None:
        self._delta = delta
        self._moment = np.zeros((0, 0))
        self._total = 0.0
        self._pending: list[FloatArray] = []
        self._last_size = _LEAST / _GROWTH

    def add(self, time: float, gamma: FloatArray, gradient: FloatArray) -> None:
        """Add a gradient to the averages.

        Parameters
        ----------
        time : float
            > 0, and not before that of earlier ones.
        gamma : ndarray, shape (m, n_directions)
            Its components along the directions,
        gradient : ndarray, shape (m, n_directions)
            and along the coordinates that belong to them; these count as much as what they do to
            the weights.
        """
        weight = min(time, _LATEST) ** _POWER
        self._total += weight
        rows = np.concatenate([gamma, np.sqrt(self._delta) * gradient])
        self._pending.append(np.sqrt(weight) * rows)
        if len(self._pending) * len(rows) >= _BATCH:
            self._flush()

    def rotation(self, protected: FloatArray, smallest: float) -> tuple[FloatArray, float] | None:
        """Return the combinations of directions to keep, None while truncation is not worth it.

        Parameters
        ----------
        protected : ndarray, shape (j, n_directions)
            Stay in the space, however small they are.
        smallest : float
            Combinations whose mean square is below the square of this are discarded.

        Returns
        -------
        rotation : ndarray, shape (n_kept, n_directions)
            With orthonormal rows.
        residual : float
            Root mean square of the gradients outside it.
        """
        n = protected.shape[1]
        if n < _GROWTH * self._last_size:
            return None
        self._last_size = n
        self._flush()
        self._grow(n)
        _, sizes, rows = np.linalg.svd(protected, full_matrices=False)
        fixed = rows[sizes > 1e-14 * max(sizes[0], 1e-300)]
        moment = self._moment / self._total
        moment -= fixed.T @ (fixed @ moment)
        moment -= (moment @ fixed.T) @ fixed
        values, vectors = np.linalg.eigh(moment)
        if smallest**2 < _ROUNDING * values[-1]:
            return None
        active = values >= smallest**2
        kept = np.concatenate([fixed, vectors[:, active].T])
        if len(kept) > (1.0 - _LEAST_SHARE) * n:
            return None
        # The fixed rows have eigenvalue zero but for rounding: once more, to be safe.
        rotation = np.linalg.qr(kept.T)[0].T
        self._moment = rotation @ self._moment @ rotation.T
        self._last_size = max(len(rotation), _LEAST / _GROWTH)
        return rotation, float(np.sqrt(np.sum(np.maximum(values[~active], 0.0))))

    def _flush(self) -> None:
        """Add pending gradients to the averages."""
        if not self._pending:
            return
        n = max(rows.shape[1] for rows in self._pending)
        table = np.concatenate([widened(rows, n) for rows in self._pending])
        self._grow(n)
        self._moment = self._moment + table.T @ table
        self._pending.clear()

    def _grow(self, n: int) -> None:
        """Make room for n directions; averages along those that came later are zero."""
        more = n - len(self._moment)
        self._moment = np.pad(self._moment, (0, more))
