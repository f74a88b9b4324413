r"""Step sizes that change from step to step: a catalogue of schedules.

A schedule gives the step size of step t = 0, 1, ... as a function of t. It stands wherever a step
size does, in Python as an object, in a run file as a table with its name and its parameters::

    step_size = { schedule = "cosine", peak = 0.4, final = 0.0, warmup_steps = 5 }

=================  ============================================================================
``constant``       eta_t = value
``warm-up``        linear to the peak, then constant
``cosine``         linear to the peak, then half a cosine down to ``final``
``inverse-time``   eta_t = peak / (1 + t / half_time)
=================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.validation import check_choice, check_integer, check_keys, check_real

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "InverseTime",
    "Schedule",
    "WarmUp",
    "schedule_from_config",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """Base of the schedules, which are its subclasses.

    Attributes
    ----------
    name : str
        In run files and results.
    """

    name: ClassVar[str] = ""

    @property
    def largest(self) -> float:
        """Largest step size there may be."""
        raise NotImplementedError

    def sizes(self, n: int, n_steps: int) -> Array:
        """Return the step sizes of the steps 0, ..., n - 1.

        Parameters
        ----------
        n : int
        n_steps : int
            Steps of the run, over which a schedule goes that does not state its own length.

        Returns
        -------
        ndarray, shape (n,)
        """
        raise NotImplementedError

    def over(self, n_steps: int) -> Schedule:
        """Return the same schedule with its length stated, so that a shorter run keeps it."""
        return self

    def to_config(self) -> dict[str, Any]:
        """Return name and parameters as a dict of plain types; None is left out.

        Examples
        --------
        >>> WarmUp(peak=0.4, warmup_steps=5).to_config()
        {'schedule': 'warm-up', 'peak': 0.4, 'warmup_steps': 5}
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        stated = {name: value for name, value in values.items() if value is not None}
        return {"schedule": self.name, **stated}

    def _check_positive(self, *names: str) -> None:
        for name in names:
            value = check_real(name, getattr(self, name), minimum=0.0, exclusive=True)
            set_fields(self, **{name: value})


@dataclass(frozen=True)
class Constant(Schedule):
    r"""The same step size throughout, :math:`\eta_t = \mathrm{value}`.

    Parameters
    ----------
    value : float
        Positive.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> Constant(0.2).sizes(3, 3)
    array([0.2, 0.2, 0.2])
    """

    value: float

    name: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        self._check_positive("value")

    @property
    def largest(self) -> float:
        """The value."""
        return self.value

    def sizes(self, n: int, n_steps: int) -> Array:
        """Return the step sizes of the steps 0, ..., n - 1; see `Schedule.sizes`."""
        return np.full(n, self.value)


@dataclass(frozen=True)
class WarmUp(Schedule):
    r"""Linear rise over the first steps, then constant.

    .. math:: \eta_t = \mathrm{peak}\cdot\min\Big(\frac{t + 1}{w + 1}, 1\Big)

    with w the number of warm-up steps: steps 0, ..., w - 1 are smaller than the peak, none is zero.

    Parameters
    ----------
    peak : float
        Positive.
    warmup_steps : int
        w >= 0.

    Raises
    ------
    ValueError
        If a parameter is outside the range given above.

    Examples
    --------
    >>> WarmUp(peak=0.4, warmup_steps=3).sizes(5, 5)
    array([0.1, 0.2, 0.3, 0.4, 0.4])
    """

    peak: float
    warmup_steps: int

    name: ClassVar[str] = "warm-up"

    def __post_init__(self) -> None:
        self._check_positive("peak")
        set_fields(self, warmup_steps=check_integer("warmup_steps", self.warmup_steps, minimum=0))

    @property
    def largest(self) -> float:
        """The peak."""
        return self.peak

    def sizes(self, n: int, n_steps: int) -> Array:
        """Return the step sizes of the steps 0, ..., n - 1; see `Schedule.sizes`."""
        return _rise(self.peak, self.warmup_steps, n)


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""Half a cosine from the peak down to a final value, after a linear rise if there is one.

    .. math:: \eta_t = \mathrm{final} + (\mathrm{peak} - \mathrm{final})\,
              \frac12\Big(1 + \cos\frac{\pi (t - w)}{n - w}\Big), \qquad w \le t \le n,

    with w the number of warm-up steps (as in `WarmUp`) and n the length; it is `final` from step n
    on, which is the step after the last one of a run of that length.

    Parameters
    ----------
    peak : float
        Positive.
    final : float
        From 0 to the peak.
    warmup_steps : int
        w >= 0.
    n_steps : int, optional
        Length n; that of the run if None. At least w.

    Raises
    ------
    ValueError
        If a parameter is outside the range given above.

    Examples
    --------
    >>> Cosine(peak=0.4).sizes(5, 4).round(3)
    array([0.4  , 0.341, 0.2  , 0.059, 0.   ])
    >>> Cosine(peak=0.4).over(4)
    Cosine(peak=0.4, final=0.0, warmup_steps=0, n_steps=4)
    """

    peak: float
    final: float = 0.0
    warmup_steps: int = 0
    n_steps: int | None = None

    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        self._check_positive("peak")
        final = check_real("final", self.final, minimum=0.0)
        if final > self.peak:
            raise ValueError(f"final must be at most peak = {self.peak:g}, got {final:g}")
        steps = check_integer("warmup_steps", self.warmup_steps, minimum=0)
        set_fields(self, final=final, warmup_steps=steps)
        if self.n_steps is not None:
            length = check_integer("n_steps", self.n_steps, minimum=0)
            if length < steps:
                raise ValueError(
                    f"n_steps of a cosine must be at least warmup_steps = {steps}, got {length}"
                )
            set_fields(self, n_steps=length)

    @property
    def largest(self) -> float:
        """The peak."""
        return self.peak

    def sizes(self, n: int, n_steps: int) -> Array:
        """Return the step sizes of the steps 0, ..., n - 1; see `Schedule.sizes`."""
        length = n_steps if self.n_steps is None else self.n_steps
        sizes = _rise(self.peak, self.warmup_steps, n)
        t = np.arange(self.warmup_steps, n)
        if not len(t):
            return sizes
        # A run that ends within its warm-up has no part of the cosine.
        phase = np.minimum((t - self.warmup_steps) / max(length - self.warmup_steps, 1), 1.0)
        fall = 0.5 * (1.0 + np.cos(np.pi * phase))
        sizes[self.warmup_steps :] = self.final + (self.peak - self.final) * fall
        return sizes

    def over(self, n_steps: int) -> Cosine:
        """Return the same schedule with its length stated; see `Schedule.over`."""
        if self.n_steps is not None:
            return self
        return replace(self, n_steps=max(n_steps, self.warmup_steps))


@dataclass(frozen=True)
class InverseTime(Schedule):
    r"""Decay as one over time, :math:`\eta_t = \mathrm{peak} / (1 + t/\tau)`.

    Parameters
    ----------
    peak : float
        Step size of step 0, positive.
    half_time : float
        :math:`\tau > 0`, the step at which it is half of that.

    Raises
    ------
    ValueError
        If a parameter is not positive.

    Examples
    --------
    >>> InverseTime(peak=0.6, half_time=2).sizes(5, 5)
    array([0.6 , 0.4 , 0.3 , 0.24, 0.2 ])
    """

    peak: float
    half_time: float

    name: ClassVar[str] = "inverse-time"

    def __post_init__(self) -> None:
        self._check_positive("peak", "half_time")

    @property
    def largest(self) -> float:
        """The peak."""
        return self.peak

    def sizes(self, n: int, n_steps: int) -> Array:
        """Return the step sizes of the steps 0, ..., n - 1; see `Schedule.sizes`."""
        return np.asarray(self.peak / (1.0 + np.arange(n) / self.half_time))


#: By their names in run files.
SCHEDULES: dict[str, type[Schedule]] = {
    schedule.name: schedule for schedule in (Constant, WarmUp, Cosine, InverseTime)
}


def schedule_from_config(name: str, config: Mapping[str, Any]) -> Schedule:
    """Return the schedule described by a table, the inverse of ``to_config``.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    config : mapping
        ``schedule``, a key of `SCHEDULES`, and the parameters of that schedule.

    Raises
    ------
    ValueError
        If a key is unknown or missing, or a value is not allowed.

    Examples
    --------
    >>> schedule_from_config("step_size", {"schedule": "constant", "value": 0.1})
    Constant(value=0.1)
    >>> schedule_from_config("step_size", {"schedule": "cosin", "peak": 0.1})
    Traceback (most recent call last):
    ...
    ValueError: schedule of step_size must be one of 'constant', 'warm-up', 'cosine',
    'inverse-time'; got 'cosin' (did you mean 'cosine'?)
    """
    if "schedule" not in config:
        raise ValueError(f"{name} must have a key 'schedule', got {sorted(config)}")
    kind = SCHEDULES[check_choice(f"schedule of {name}", config["schedule"], SCHEDULES)]
    known = fields(kind)
    allowed = ("schedule", *(field.name for field in known))
    required = [field.name for field in known if kind is not Cosine or field.name == "peak"]
    settings = check_keys(name, config, allowed, required)
    del settings["schedule"]
    try:
        return kind(**settings)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _rise(peak: float, warmup_steps: int, n: int) -> Array:
    """Return a linear rise to the peak, and the peak from step ``warmup_steps`` on."""
    rise = np.minimum((np.arange(n) + 1.0) / (warmup_steps + 1.0), 1.0)
    return np.asarray(peak * rise)
