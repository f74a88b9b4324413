"""Second layer and biases along a run, where a method trains them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dmft.model.problem import Problem

__all__ = ["LayerStates", "at_time"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerStates:
    """Second layer and biases at each time; None stands for those of the problem.

    Attributes
    ----------
    second_layer, biases : ndarray, shape (n_times, m), or None
    """

    second_layer: Array | None = None
    biases: Array | None = None

    def __getitem__(self, times: Any) -> LayerStates:
        """Return those at some times."""
        return LayerStates(
            None if self.second_layer is None else self.second_layer[times],
            None if self.biases is None else self.biases[times],
        )


def at_time(problem: Problem, layers: LayerStates | None, t: int) -> Problem:
    """Return the problem with the layers of a time; None stands for its own.

    Examples
    --------
    >>> from dmft.model.problem import Problem
    >>> layers = LayerStates(biases=np.array([[0.5], [0.25]]))
    >>> at_time(Problem("linear"), layers, 1).network.biases
    (0.25,)
    """
    if layers is None:
        return problem
    found = layers[t]
    return problem.with_layers(found.second_layer, found.biases)
