"""Settings of the step axis: a time, step sizes to reach it, and runs to check one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft._numerics.validation import check_finite_array, check_integer, check_real
from dmft.training.gradient_flow import GradientFlow

__all__ = ["SimulationCheck", "StepSizes", "steps_to"]

_ROUNDING = 1e-9  # of the time, by which the steps may miss it


@dataclass(frozen=True)
class StepSizes:
    r"""Time at which to find delta_NN, and step sizes to reach it.

    Parameters
    ----------
    step_sizes : sequence of float
        Different numbers >= 0, of which 0 stands for gradient flow; kept in increasing order. Each
        must divide the time.
    time : float
        :math:`\tau > 0`, the sum of all step sizes.
    network : str, optional
        Name of the network; default: the first.
    compare_fresh : bool
        Also give every step n samples of its own. Gradient flow has no such version.
    flow_tol : float
        Tolerance of the gradient flow.

    Raises
    ------
    ValueError
        If an argument is out of range, or a step size does not divide the time.

    Examples
    --------
    >>> StepSizes([0.4, 0, 0.1], time=8.0).step_sizes
    (0.0, 0.1, 0.4)
    >>> StepSizes([0.3], time=8.0)
    Traceback (most recent call last):
    ...
    ValueError: step_sizes must divide time = 8 into whole steps, got 0.3 (26.6667 steps)
    """

    step_sizes: tuple[float, ...]
    time: float
    network: str | None = None
    compare_fresh: bool = True
    flow_tol: float = 1e-3

    def __post_init__(self) -> None:
        time = check_real("time", self.time, minimum=0.0, exclusive=True)
        sizes = check_finite_array(
            "step_sizes", self.step_sizes, ndim=1, expected="a sequence of numbers >= 0"
        )
        if not len(sizes) or len(np.unique(sizes)) < len(sizes) or sizes.min() < 0.0:
            raise ValueError(
                f"step_sizes must be one or more different numbers >= 0, got {sizes.tolist()}"
            )
        for size in sizes[sizes > 0.0].tolist():
            steps_to(time, size)
        GradientFlow(time, self.flow_tol)
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "step_sizes", tuple(sorted(sizes.tolist())))

    @property
    def n_searches(self) -> int:
        """Number of thresholds to find."""
        positive = sum(size > 0.0 for size in self.step_sizes)
        return len(self.step_sizes) + (positive if self.compare_fresh else 0)


@dataclass(frozen=True)
class SimulationCheck:
    """Runs of finite dimension to check the step axis at its largest step size with a threshold.

    Parameters
    ----------
    d : int
        Input dimension.
    seeds : int
        Number of runs at each delta, at least 2.
    factors : sequence of float
        Values of delta, in units of the threshold.
    workers : int, optional
        Processes, as in :func:`dmft.simulate`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> SimulationCheck(d=400, seeds=4)
    SimulationCheck(d=400, seeds=4, factors=(0.5, 0.75, 1.0, 1.5, 2.0), workers=None)
    """

    d: int
    seeds: int = 8
    factors: tuple[float, ...] = (0.5, 0.75, 1.0, 1.5, 2.0)
    workers: int | None = None

    def __post_init__(self) -> None:
        check_integer("d", self.d, minimum=1)
        check_integer("seeds", self.seeds, minimum=2)
        factors = check_finite_array(
            "factors", self.factors, ndim=1, expected="a sequence of positive numbers"
        )
        if not len(factors) or factors.min() <= 0.0:
            raise ValueError(f"factors must be one or more positive numbers, got {self.factors!r}")
        object.__setattr__(self, "factors", tuple(factors.tolist()))


def steps_to(time: float, step_size: float) -> int:
    """Return the number of steps that a time takes; 0 for gradient flow.

    Raises
    ------
    ValueError
        If that is not a whole number, to rounding.

    Examples
    --------
    >>> steps_to(8.0, 0.1), steps_to(8.0, 0.0)
    (80, 0)
    """
    if step_size == 0.0:
        return 0
    n_steps = round(time / step_size)
    if n_steps < 1 or abs(n_steps * step_size - time) > _ROUNDING * time:
        raise ValueError(
            f"step_sizes must divide time = {time:g} into whole steps, got {step_size:g} "
            f"({time / step_size:g} steps)"
        )
    return n_steps
