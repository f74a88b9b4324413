r"""Gradient descent with mini-batches, momentum, schedules, trained second layer and biases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.validation import check_finite_array, check_integer, check_keys, check_real
from dmft.training.constraints import Constraint, check_constraint
from dmft.training.schedules import Schedule, schedule_from_config

__all__ = ["GradientDescent", "StepSize", "describe_method"]

Array = NDArray[np.float64]
#: A number, a sequence of numbers, or a schedule (as an object, or as the table of a run file).
StepSize = float | Sequence[float] | Array | Schedule | Mapping[str, Any]

# Where a gradient's weight through momentum is cut off: it has fallen to this much by then, ...
_LEFT_OF_MOMENTUM = 1e-3
# ... or after this many steps, for a momentum so close to one that no run would see the end.
_LONGEST_MEMORY = 10_000
_DEFAULTS = {
    "batch_fraction": 1.0,
    "momentum": 0.0,
    "second_layer_step_size": 0.0,
    "fresh_batches": False,
    "bias_step_size": 0.0,
    "nesterov": False,
    "constraint": None,
}


@dataclass(frozen=True, repr=False)
class GradientDescent:
    r"""Gradient descent on the empirical risk plus weight decay.

    .. math::

        V^{t+1} &= \beta V^t + \nabla \mathrm{Risk}_t(\Theta^t) + \lambda \Theta^t, \qquad
        \Theta^{t+1} = \Theta^t - \eta_t V^{t+1}, \qquad V^0 = 0, \\
        \mathrm{Risk}_t(\Theta) &= \frac1n \sum_i \frac{b_i^t}{p} L(f_\Theta(x_i), y_i), \qquad
        b_i^t \sim \mathrm{Bernoulli}(p)

    in the notation of Montanari & Wang, arXiv:2602.01434; any first-order method has such a limit
    (Celentano, Cheng & Montanari, arXiv:2112.07572). If the second layer is trained,

    .. math:: W^{t+1} = \beta W^t + \partial_a \mathrm{Risk}_t + \lambda_a a^t, \qquad
              a^{t+1} = a^t - \eta^a_t W^{t+1},

    and biases b likewise, with :math:`\eta^b_t` and :math:`\lambda_b`. The weight decays
    :math:`\lambda`, :math:`\lambda_a` and :math:`\lambda_b` belong to the `Problem`. With
    Nesterov's momentum the step is one of :math:`G^t + \beta V^{t+1}` in place of
    :math:`V^{t+1}`, with :math:`G^t` the gradient with weight decay: for one step size throughout,
    the points where Nesterov's method evaluates gradients (Sutskever et al., ICML 2013). On spheres
    each neuron is scaled back to its initial norm after the step, see
    `dmft.training.constraints`.

    Parameters
    ----------
    step_size : float, sequence of float, or schedule
        :math:`\eta_t`: a positive number; numbers >= 0, at least one for each step (more are cut
        off); or a schedule of `dmft.training.schedules`, also as the table of a run file.
    n_steps : int
        Number of steps :math:`T \ge 0`; the trajectory has :math:`T + 1` points.
    batch_fraction : float
        Probability :math:`0 < p \le 1` with which each sample is used in each step, independently.
    momentum : float
        :math:`0 \le \beta < 1` (heavy ball).
    second_layer_step_size : float, sequence of float, or schedule
        :math:`\eta^a_t`, as `step_size`; the number zero for a second layer that is fixed.
    fresh_batches : bool
        Whether each step takes n samples that no other step has seen, in place of the same ones
        again and again (`dmft.solver.fresh_batches`).
    bias_step_size : float, sequence of float, or schedule
        :math:`\eta^b_t`, as `step_size`; the number zero for biases that are fixed. They start from
        those of the `Network`, from zero where it has none.
    nesterov : bool
        Whether momentum is Nesterov's in place of the heavy ball.
    constraint : "sphere", optional
        Keep every neuron at the norm it starts with.

    Raises
    ------
    ValueError
        If a parameter is outside the range given above.

    Examples
    --------
    >>> GradientDescent(step_size=0.2, n_steps=40)
    GradientDescent(step_size=0.2, n_steps=40)
    >>> GradientDescent([0.4, 0.2, 0.1], 2, batch_fraction=0.5, momentum=0.9)
    GradientDescent(step_size=(0.4, 0.2), n_steps=2, batch_fraction=0.5, momentum=0.9)
    >>> GradientDescent(step_size=0.2, n_steps=-1)
    Traceback (most recent call last):
    ...
    ValueError: n_steps must be an integer >= 0, got -1
    """

    step_size: StepSize
    n_steps: int
    batch_fraction: float = 1.0
    momentum: float = 0.0
    second_layer_step_size: StepSize = 0.0
    fresh_batches: bool = False
    bias_step_size: StepSize = 0.0
    nesterov: bool = False
    constraint: Constraint | None = None
    # Of a truncated run: its later step sizes, which enter the weights of directions.
    _later: tuple[float, ...] = field(default=(), init=False, compare=False)

    def __post_init__(self) -> None:
        n_steps = check_integer("n_steps", self.n_steps, minimum=0)
        fraction = check_real("batch_fraction", self.batch_fraction)
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"batch_fraction must be above 0 and at most 1, got {fraction:g}")
        momentum = check_real("momentum", self.momentum)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum:g}")
        for name in ("fresh_batches", "nesterov"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {value!r}")
        if self.nesterov and momentum == 0.0:
            raise ValueError("momentum must be above 0 with nesterov, got 0")
        if self.fresh_batches and fraction < 1.0:
            raise ValueError(
                "batch_fraction must be 1 with fresh_batches (whose size is that of delta), "
                f"got {fraction:g}"
            )
        second = self.second_layer_step_size
        set_fields(
            self,
            step_size=_checked("step_size", self.step_size, n_steps),
            n_steps=n_steps,
            batch_fraction=fraction,
            momentum=momentum,
            constraint=check_constraint(self.constraint),
            second_layer_step_size=_checked(
                "second_layer_step_size", second, n_steps, zero_allowed=True
            ),
            bias_step_size=_checked(
                "bias_step_size", self.bias_step_size, n_steps, zero_allowed=True
            ),
        )

    @property
    def step_sizes(self) -> Array:
        r""":math:`\eta_t` of each step, shape (n_steps,).

        Examples
        --------
        >>> GradientDescent({"schedule": "warm-up", "peak": 0.3, "warmup_steps": 2}, 4).step_sizes
        array([0.1, 0.2, 0.3, 0.3])
        """
        return self._sizes(self.n_steps)

    @property
    def second_layer_step_sizes(self) -> Array:
        r""":math:`\eta^a_t` of each step, shape (n_steps,)."""
        return _sizes(self.second_layer_step_size, self.n_steps, self.n_steps)

    @property
    def trains_second_layer(self) -> bool:
        """Whether a step size is given for the second layer."""
        return self.second_layer_step_size != 0.0

    @property
    def bias_step_sizes(self) -> Array:
        r""":math:`\eta^b_t` of each step, shape (n_steps,)."""
        return _sizes(self.bias_step_size, self.n_steps, self.n_steps)

    @property
    def trains_biases(self) -> bool:
        """Whether a step size is given for the biases."""
        return self.bias_step_size != 0.0

    @property
    def is_plain(self) -> bool:
        """Whether this is full-batch descent of the first layer with one step size throughout."""
        sizes = self._sizes(max(self.n_steps, 1))
        options = self.batch_fraction < 1.0 or self.momentum > 0.0 or self.trains_second_layer
        options = options or self.fresh_batches or self.trains_biases
        options = options or self.constraint is not None
        return not options and bool(np.all(sizes == sizes[0]))

    @property
    def times(self) -> Array:
        """Time of every point of the trajectory, the sum of step sizes before it; (n_steps + 1,).

        Examples
        --------
        >>> GradientDescent([0.4, 0.2, 0.1], 3).times.round(3)
        array([0. , 0.4, 0.6, 0.7])
        """
        sizes = self.step_sizes
        if np.all(sizes == sizes[:1]):
            size = sizes[0] if len(sizes) else 1.0
            return np.arange(self.n_steps + 1, dtype=np.float64) * size
        return np.concatenate([np.zeros(1), np.cumsum(sizes)])

    @property
    def direction_weights(self) -> Array:
        r"""Total weight of a gradient in the updates after it, shape (n_steps + 1,).

        .. math:: \sum_{s \ge t} \beta^{s - t} \eta_s,

        for each step t, and for the step after the last: the weight of the direction by which the
        basis is extended. With Nesterov's momentum :math:`\beta` times that, and :math:`\eta_t`.
        """
        memory = 0
        if self.momentum > 0.0:
            memory = math.ceil(math.log(_LEFT_OF_MOMENTUM) / math.log(self.momentum))
            memory = min(memory, _LONGEST_MEMORY)
        n = self.n_steps + 1
        sizes = self._sizes(n + memory)
        if not memory:
            return sizes
        decay = self.momentum ** np.arange(memory + 1)
        heavy_ball: Array = np.convolve(sizes, decay[::-1])[memory : memory + n]
        return sizes[:n] + self.momentum * heavy_ball if self.nesterov else heavy_ball

    @property
    def largest_direction_weight(self) -> float:
        """Bound on `direction_weights` that does not depend on where the run ends."""
        given = self.step_size
        if isinstance(given, tuple):
            largest = max((*given, *self._later), default=0.0)
        else:
            largest = given.largest if isinstance(given, Schedule) else float(given)  # type: ignore[arg-type]
        return largest / (1.0 - self.momentum)

    def curvature_limits(self, delta: float, weight_decay: float) -> Array:
        r"""Return the curvature of a path above which a step is linearly unstable, (n_steps + 1,).

        Seen from a sample that is used, a step has the slope
        :math:`1 + \beta - \eta_t (D/(p\delta) + \lambda)` and takes back :math:`\beta` of the last
        one; it is stable for

        .. math:: D < p\,\delta\,\Big(\frac{2 (1 + \beta)}{\eta_t} - \lambda\Big).

        (For :math:`\beta = \lambda = 0` this is also where the mean square over batches begins to
        grow.) With Nesterov's momentum :math:`2 (1 + \beta) / (1 + 2 \beta)` stands in place of
        :math:`2 (1 + \beta)`. Infinite where the step size is zero. The last entry is that of a
        further step.
        """
        sizes = self._sizes(self.n_steps + 1)
        limits = np.full(len(sizes), np.inf)
        moves = sizes > 0.0
        scale = self.batch_fraction * delta
        most = 2.0 * (1.0 + self.momentum)
        if self.nesterov:
            most /= 1.0 + 2.0 * self.momentum
        limits[moves] = scale * (most / sizes[moves] - weight_decay)
        return limits

    def until(self, step: int) -> GradientDescent:
        """Return the same method, stopped after `step` steps, each of which is what it was.

        Examples
        --------
        >>> GradientDescent(0.2, 40).until(10)
        GradientDescent(step_size=0.2, n_steps=10)
        >>> cosine = GradientDescent({"schedule": "cosine", "peak": 0.4}, 40)
        >>> bool((cosine.until(10).step_sizes == cosine.step_sizes[:10]).all())
        True
        """
        first, second = self.step_size, self.second_layer_step_size
        known = (*first, *self._later) if isinstance(first, tuple) else ()
        method = GradientDescent(
            _over(known or first, self.n_steps),
            step,
            self.batch_fraction,
            self.momentum,
            _over(second, self.n_steps),
            self.fresh_batches,
            _over(self.bias_step_size, self.n_steps),
            self.nesterov,
            self.constraint,
        )
        set_fields(method, _later=known[step:])
        return method

    def _sizes(self, n: int) -> Array:
        """Return step sizes of the first n steps, beyond the end of the run too."""
        given = self.step_size
        known = (*given, *self._later) if isinstance(given, tuple) else given
        return _sizes(known, n, self.n_steps)

    def __repr__(self) -> str:
        values = {"step_size": self.step_size, "n_steps": self.n_steps, **self._options()}
        return f"GradientDescent({', '.join(f'{name}={v!r}' for name, v in values.items())})"

    def _options(self) -> dict[str, Any]:
        """Return the settings that are not the default."""
        values = {name: getattr(self, name) for name in _DEFAULTS}
        return {name: value for name, value in values.items() if value != _DEFAULTS[name]}

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types; options at their default are left out.

        Examples
        --------
        >>> GradientDescent(0.2, 40).to_config()
        {'step_size': 0.2, 'n_steps': 40}
        """
        values = {"step_size": self.step_size, "n_steps": self.n_steps, **self._options()}
        return {name: _plain(value) for name, value in values.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> GradientDescent:
        """Return the method described by `config`, the inverse of `to_config`.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value is not allowed.
        """
        required = ("step_size", "n_steps")
        return cls(**check_keys("method", config, (*required, *_DEFAULTS), required=required))


def describe_method(config: Mapping[str, Any]) -> str:
    """Name step sizes and options of a method, given by its ``to_config``, in a few words.

    Examples
    --------
    >>> describe_method(GradientDescent(0.2, 40).to_config())
    'step size 0.2'
    >>> describe_method(GradientDescent([0.2, 0.1], 2, 0.5, momentum=0.9).to_config())
    'step size 0.2 to 0.1, batches of 0.5 n, momentum 0.9'
    >>> cosine = {"schedule": "cosine", "peak": 0.4}
    >>> describe_method(GradientDescent(cosine, 40, second_layer_step_size=0.1).to_config())
    'step size cosine (peak 0.4, final 0, warmup steps 0), second layer 0.1'
    """
    parts = [f"step size {_described(config['step_size'])}"]
    if "batch_fraction" in config:
        parts.append(f"batches of {config['batch_fraction']:g} n")
    if "momentum" in config:
        kind = "Nesterov momentum" if config.get("nesterov") else "momentum"
        parts.append(f"{kind} {config['momentum']:g}")
    if "second_layer_step_size" in config:
        parts.append(f"second layer {_described(config['second_layer_step_size'])}")
    if "bias_step_size" in config:
        parts.append(f"biases {_described(config['bias_step_size'])}")
    if config.get("fresh_batches"):
        parts.append("fresh batches")
    if config.get("constraint"):
        parts.append("on spheres")
    return ", ".join(parts)


def _described(entry: float | Sequence[float] | Mapping[str, Any]) -> str:
    """Name a step size as a configuration has it."""
    if isinstance(entry, Mapping):
        rest = {key: value for key, value in entry.items() if key != "schedule"}
        said = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in rest.items())
        return f"{entry['schedule']} ({said})"
    if isinstance(entry, Sequence):
        return f"{entry[0]:g} to {entry[-1]:g}" if entry else "none"
    return f"{entry:g}"


def _checked(
    name: str, value: object, n_steps: int, *, zero_allowed: bool = False
) -> float | tuple[float, ...] | Schedule:
    """Return a step size in the form in which it is kept."""
    if isinstance(value, Schedule):
        return value
    if isinstance(value, Mapping):
        return schedule_from_config(name, value)
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if not is_list and not (isinstance(value, np.ndarray) and value.ndim > 0):
        return check_real(name, value, minimum=0.0, exclusive=not zero_allowed)
    expected = "a number, a sequence of numbers, one for each step, or a schedule"
    sizes = check_finite_array(name, value, ndim=1, expected=expected)
    if np.any(sizes < 0.0):
        raise ValueError(f"{name} must have entries >= 0, got {float(sizes.min()):g}")
    if len(sizes) < n_steps:
        raise ValueError(f"{name} must have at least n_steps = {n_steps} entries, got {len(sizes)}")
    return tuple(sizes[:n_steps].tolist())


def _sizes(given: StepSize, n: int, n_steps: int) -> Array:
    """Return step sizes of the first n steps; a shorter list goes on with its last entry."""
    if isinstance(given, Schedule):
        return given.sizes(n, n_steps)
    if not isinstance(given, tuple):
        return np.full(n, given)
    sizes = np.full(n, given[-1] if given else 0.0)
    sizes[: len(given)] = given[:n]
    return sizes


def _over(given: StepSize, n_steps: int) -> StepSize:
    """Return a step size that says by itself what a run of so many steps makes of it."""
    return given.over(n_steps) if isinstance(given, Schedule) else given


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.to_config()
    return list(value) if isinstance(value, tuple) else value
