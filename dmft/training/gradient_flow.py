r"""Gradient flow, the limit of gradient descent with small steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.validation import check_finite_array, check_integer, check_keys, check_real
from dmft.training.constraints import Constraint, check_constraint

__all__ = ["GradientFlow"]

_SMALLEST_TOL, _LARGEST_TOL = 1e-10, 0.1
_MAX_STEPS = 100_000
_POINTS = 60  # after time 0, where no times are given


@dataclass(frozen=True)
class GradientFlow:
    r"""Gradient flow on the empirical risk plus weight decay, up to a time.

    .. math:: \dot\Theta = -\nabla \mathrm{Risk}(\Theta) - \lambda \Theta, \qquad
              \dot b = -\kappa\,(\partial_b \mathrm{Risk} + \lambda_b b)

    (the latter where the biases b are trained) in the notation of Montanari & Wang,
    arXiv:2602.01434; the weight decays :math:`\lambda` and :math:`\lambda_b` belong to the
    `Problem`. Time t of the flow is step :math:`t / \eta` of gradient descent with a small step
    :math:`\eta`. Paths with a large curvature, which a finite step makes unstable, are not.

    The flow is integrated with adaptive steps and known at the points of `times`; "step" i of a
    result is the i-th of them.

    Parameters
    ----------
    t_max : float
        Last time, >= 0.
    tol : float
        Bound on the estimated error of the weights in each adaptive step, relative to their norm;
        1e-10 to 0.1. Directions of a weight below a tenth of it are truncated; what a gradient
        adds within the shortest time of decay counts as its weight, however long the step.
    times : sequence of float, optional
        Times at which the flow is asked for, increasing from 0 to `t_max`. Default: 61 times, even
        in log(1 + t).
    max_steps : int
        Evaluations of the gradient at most, the stages of all adaptive steps; a run that needs more
        ends with status MAX_STEPS at the last of the times it has reached. A flow to time 2000
        takes a few thousand; the number grows with `t_max` times the largest curvature, weight
        decay included.
    bias_rate : float
        :math:`\kappa \ge 0`, the step size of the biases relative to that of the first layer; zero
        for biases that are fixed.
    constraint : "sphere", optional
        Keep every neuron at the norm it starts with: the flow along the tangent part of the
        gradient, see `dmft.training.constraints`.

    Raises
    ------
    ValueError
        If a parameter is outside the range given above.

    Examples
    --------
    >>> flow = GradientFlow(t_max=100.0, tol=1e-4, times=[0, 10, 100])
    >>> flow.n_steps, flow.times
    (2, array([  0.,  10., 100.]))
    >>> flow.until(1)
    GradientFlow(t_max=10.0, tol=0.0001, times=[0.0, 10.0])
    >>> GradientFlow(t_max=-1.0)
    Traceback (most recent call last):
        ...
    ValueError: t_max must be a finite number >= 0, got -1.0
    """

    #: Options of `GradientDescent` that its limit of small steps does without.
    batch_fraction: ClassVar[float] = 1.0
    trains_second_layer: ClassVar[bool] = False
    fresh_batches: ClassVar[bool] = False

    t_max: float
    tol: float = 1e-3
    times: Any = field(default=None, compare=False)  # an array once made
    max_steps: int = _MAX_STEPS
    bias_rate: float = 0.0
    constraint: Constraint | None = None
    _key: tuple[float, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        t_max = check_real("t_max", self.t_max, minimum=0.0)
        tol = check_real("tol", self.tol, minimum=0.0, exclusive=True)
        if not _SMALLEST_TOL <= tol <= _LARGEST_TOL:
            raise ValueError(f"tol must lie in {_SMALLEST_TOL:g}..{_LARGEST_TOL:g}, got {tol:g}")
        max_steps = check_integer("max_steps", self.max_steps, minimum=1)
        bias_rate = check_real("bias_rate", self.bias_rate, minimum=0.0)
        times = _checked_times(self.times, t_max)
        times.flags.writeable = False
        key = tuple(times.tolist())
        set_fields(self, t_max=t_max, tol=tol, max_steps=max_steps, times=times, _key=key)
        constraint = check_constraint(self.constraint)
        set_fields(self, bias_rate=bias_rate, constraint=constraint)

    @property
    def n_steps(self) -> int:
        """Index of the last time."""
        return len(self.times) - 1

    @property
    def trains_biases(self) -> bool:
        """Whether biases move."""
        return self.bias_rate > 0.0

    def until(self, step: int) -> GradientFlow:
        """Return the same method, stopped at ``times[step]``."""
        step = check_integer("step", step, minimum=0)
        if step > self.n_steps:
            raise ValueError(f"step must be in 0..n_steps = 0..{self.n_steps}, got {step}")
        times = self.times[: step + 1]
        settings = self.tol, times, self.max_steps, self.bias_rate, self.constraint
        return GradientFlow(float(times[-1]), *settings)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.to_config().items())
        return f"GradientFlow({settings})"

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types, without options at their default."""
        config = {"t_max": self.t_max, "tol": self.tol, "times": self.times.tolist()}
        if self.max_steps != _MAX_STEPS:
            config["max_steps"] = self.max_steps
        if self.bias_rate:
            config["bias_rate"] = self.bias_rate
        return config if self.constraint is None else {**config, "constraint": self.constraint}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GradientFlow:
        """Return the method described by `config`, the inverse of `to_config`.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value is not allowed.
        """
        keys = ("t_max", "tol", "times", "max_steps", "bias_rate", "constraint")
        return cls(**check_keys("method", config, keys, required=keys[:1]))


def _checked_times(times: object, t_max: float) -> NDArray[np.float64]:
    if times is None:
        if t_max == 0.0:
            return np.zeros(1)
        default = np.expm1(np.linspace(0.0, np.log1p(t_max), _POINTS + 1))
        default[-1] = t_max
        return default
    expected = "increasing numbers from 0 to t_max"
    checked = check_finite_array("times", times, ndim=1, expected=expected)
    good = len(checked) > 0 and bool(np.all(np.diff(checked) > 0))
    if not good or checked[0] != 0.0 or checked[-1] != t_max:
        raise ValueError(
            f"times must be increasing numbers from 0 to t_max = {t_max:g}, got {times!r}"
        )
    return checked
