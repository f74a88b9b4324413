r"""Full-batch gradient descent, the algorithm whose limit the equations describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._validation import check_integer, check_keys, check_real

__all__ = ["GradientDescent"]


@dataclass(frozen=True)
class GradientDescent:
    r"""Gradient descent with a constant step on the empirical risk plus weight decay.

    .. math:: \Theta^{t+1} = \Theta^t - \eta\,[\nabla \mathrm{Risk}(\Theta^t) + \lambda \Theta^t],
              \qquad \mathrm{Risk}(\Theta) = \frac1n \sum_i L(f_\Theta(x_i), y_i)

    in the notation of Montanari & Wang, arXiv:2602.01434. The weight decay :math:`\lambda` belongs
    to the `Problem`.

    Parameters
    ----------
    step_size : float
        :math:`\eta > 0`.
    n_steps : int
        Number of steps :math:`T \ge 0`; the trajectory has :math:`T + 1` points.

    Raises
    ------
    ValueError
        If `step_size` is not positive and finite, or `n_steps` not an integer >= 0.

    Examples
    --------
    >>> GradientDescent(step_size=0.2, n_steps=40)
    GradientDescent(step_size=0.2, n_steps=40)
    >>> GradientDescent(step_size=0.2, n_steps=-1)
    Traceback (most recent call last):
    ...
    ValueError: n_steps must be an integer >= 0, got -1
    """

    step_size: float
    n_steps: int

    def __post_init__(self) -> None:
        step_size = check_real("step_size", self.step_size, minimum=0.0, exclusive=True)
        object.__setattr__(self, "step_size", step_size)
        object.__setattr__(self, "n_steps", check_integer("n_steps", self.n_steps, minimum=0))

    @property
    def times(self) -> NDArray[np.float64]:
        """Time ``step_size * t`` of every point of the trajectory, shape (n_steps + 1,)."""
        return np.arange(self.n_steps + 1, dtype=np.float64) * self.step_size

    def until(self, step: int) -> GradientDescent:
        """Return the same method, stopped after `step` steps.

        Examples
        --------
        >>> GradientDescent(0.2, 40).until(10)
        GradientDescent(step_size=0.2, n_steps=10)
        """
        return GradientDescent(self.step_size, step)

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types.

        Examples
        --------
        >>> GradientDescent(0.2, 40).to_config()
        {'step_size': 0.2, 'n_steps': 40}
        """
        return {"step_size": self.step_size, "n_steps": self.n_steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GradientDescent:
        """Return the method described by `config`, the inverse of `to_config`.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value is not allowed.
        """
        keys = ("step_size", "n_steps")
        return cls(**check_keys("method", config, keys, required=keys))
