"""What one self-consistent run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rmt.status import Status

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from dmft.paths import Paths

    FloatArray = NDArray[np.float64]

__all__ = ["Run"]


@dataclass
class Run:
    """What one self-consistent run leaves behind; everything else is computed from it.

    ``n_times`` is the number of time points reached (n_steps + 1 unless the run ended early).

    Attributes
    ----------
    weights : ndarray, shape (n_times, m, n_coordinates)
        B_t, zero on coordinates opened later. Coordinates: z (k), xi (m), then fresh ones.
    gamma : ndarray, shape (n_times, m, n_directions)
        Gamma(t, v), the gradients on the kept directions.
    direction_step, direction_neuron : ndarray of int, shape (n_directions,)
        Which gradient opened which direction (and the fresh coordinate that goes with it).
    gradient_second_moment : ndarray, shape (n_times, m, m)
        E[g^t g^t^T].
    train_loss, squared_gradient_norm : ndarray, shape (n_times,)
    counts : ndarray of int, shape (n_times, 3)
        Coordinates, directions and rows of the basis that ``paths`` held *before* each step.
    latent : ndarray, shape (k, n_paths)
    labels : ndarray, shape (n_paths,)
    pre_activations : dict of step to ndarray, shape (m, n_paths)
    paths : Paths or None
        The coordinates and directions themselves, where they were kept. Those of an earlier step
        are the leading ones, see ``counts``.
    status : Status
    """

    weights: FloatArray
    gamma: FloatArray
    direction_step: NDArray[np.intp]
    direction_neuron: NDArray[np.intp]
    gradient_second_moment: FloatArray
    train_loss: FloatArray
    squared_gradient_norm: FloatArray
    latent: FloatArray
    labels: FloatArray
    pre_activations: dict[int, FloatArray] = field(default_factory=dict)
    counts: NDArray[np.intp] | None = None
    paths: Paths | None = None
    status: Status = Status.SUCCESS

    @property
    def n_times(self) -> int:
        """Number of time points reached."""
        return len(self.train_loss)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the paths: large, and computed again from the seed when needed."""
        return {**self.__dict__, "paths": None}
